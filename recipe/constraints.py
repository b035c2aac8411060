"""Print pip constraints that keep what QIIME 2 brings at the versions that are installed for this Python."""

import importlib
import importlib.metadata

# distribution: module; Debian names some distributions differently, there the module itself tells its version
BROUGHT_BY_QIIME2 = {
    'attrs': 'attr',
    'bibtexparser': 'bibtexparser',
    'biom-format': 'biom',
    'certifi': 'certifi',
    'click': 'click',
    'decorator': 'decorator',
    'dill': 'dill',
    'emperor': 'emperor',
    'flufl.lock': 'flufl.lock',
    'h5py': 'h5py',
    'ijson': 'ijson',
    'Jinja2': 'jinja2',
    'jsonschema': 'jsonschema',
    'lxml': 'lxml',
    'MarkupSafe': 'markupsafe',
    'matplotlib': 'matplotlib',
    'networkx': 'networkx',
    'numpy': 'numpy',
    'packaging': 'packaging',
    'pandas': 'pandas',
    'parsl': 'parsl',
    'patsy': 'patsy',
    'psutil': 'psutil',
    'pyparsing': 'pyparsing',
    'python-dateutil': 'dateutil',
    'PyYAML': 'yaml',
    'requests': 'requests',
    'scikit-bio': 'skbio',
    'scikit-learn': 'sklearn',
    'scipy': 'scipy',
    'seaborn': 'seaborn',
    'statsmodels': 'statsmodels',
    'tzlocal': 'tzlocal',
    'unifrac': 'unifrac',
    'urllib3': 'urllib3',
}
# torch 2.13 needs 77.0.3; 82 took pkg_resources away, through which QIIME 2 up to 2024.10 loads its plugins, and from
# 80.9 on every call of qiime would print a warning about that
SETUPTOOLS = 'setuptools>=77.0.3,<80.9'


def installed_version(distribution, module):
    """Return the version that is installed, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        pass
    try:
        return getattr(importlib.import_module(module), '__version__', None)
    except ImportError:
        return None


def setuptools_rule(installed):
    """Return the constraint on setuptools where the version `installed` (a str or None) was found.

    One that is new enough for torch already, 82 included, is what this QIIME 2 lives with, and is left alone.
    """
    if installed and tuple(int(part) for part in installed.split('.')[:3] if part.isdigit()) >= (77, 0, 3):
        return f'setuptools=={installed}'
    return SETUPTOOLS


def constraints():
    """Return one line a distribution, sorted."""
    lines = [setuptools_rule(installed_version('setuptools', 'setuptools'))]
    for distribution, module in BROUGHT_BY_QIIME2.items():
        if version := installed_version(distribution, module):
            # what Debian adds to a version (0.13.5+dfsg) is unknown to package indexes
            lines.append(f'{distribution}=={version.split("+")[0]}')
    return sorted(lines, key=str.lower)


if __name__ == '__main__':
    print('\n'.join(constraints()))
