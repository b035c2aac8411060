"""What pyproject.toml, the conda recipe and the environment files ask for agree."""

import pathlib
import re
import runpy
import sys

import pytest
import setuptools

import q2_aam

yaml = pytest.importorskip('yaml')

ROOT = pathlib.Path(__file__).parents[2]
# where the QIIME 2 Library looks for them
ENVIRONMENTS = sorted((ROOT / 'environment-files').glob('*.yml'))
REPOSITORY = 'https://github.com/q2-aam/q2-aam'
# distribution on PyPI: package on conda-forge, where they differ
CONDA_NAMES = {'torch': 'pytorch'}
BROUGHT_BY_QIIME2 = {
    'biom-format',
    'h5py',
    'numpy',
    'pandas',
    'q2-feature-table',
    'q2-sample-classifier',
    'q2-types',
    'q2cli',
    'q2templates',
    'qiime2',
    'scikit-bio',
    'scikit-learn',
    'scipy',
    'threadpoolctl',
}


def parsed(requirements):
    """Return {name: range} of lines like 'torch>=2.5,<3'."""
    pairs = (re.fullmatch(r'([A-Za-z0-9_.-]+)\s*(.*)', line).groups() for line in requirements)
    return {name: bounds.replace(' ', '') for name, bounds in pairs}


def ranges(bounds):
    """Return the bounds of '>=2.5,<3' in any order."""
    return set(bounds.split(','))


@pytest.fixture
def declared(monkeypatch):
    """The package as setuptools reads it from pyproject.toml and setup.py."""
    attributes = {}
    monkeypatch.setattr(setuptools, 'setup', attributes.update)
    monkeypatch.chdir(ROOT)
    # an import of the package to learn its version would fail
    monkeypatch.setitem(sys.modules, 'q2_aam', None)
    monkeypatch.setitem(sys.modules, 'torch', None)
    runpy.run_path(str(ROOT / 'setup.py'))
    distribution = setuptools.Distribution(attributes)
    distribution.parse_config_files()
    return distribution


@pytest.fixture
def recipe():
    text = (ROOT / 'recipe' / 'meta.yaml').read_text('utf-8')
    version = re.search(r"{% set version = '(.+)' %}", text)[1]
    text = re.sub(r'{%.*?%}', '', text).replace('{{ version }}', version).replace('{{ PYTHON }}', 'python')
    return yaml.safe_load(text)


def test_every_requirement_is_in_the_conda_recipe_with_the_same_range(declared, recipe):
    run = parsed(recipe['requirements']['run'])
    for name, bounds in parsed(declared.install_requires).items():
        assert ranges(run[CONDA_NAMES.get(name, name)]) == ranges(bounds)
    assert ranges(run['python']) == ranges(str(declared.python_requires))


def test_the_rest_of_the_conda_recipe_is_what_qiime2_brings(declared, recipe):
    own = {CONDA_NAMES.get(name, name) for name in parsed(declared.install_requires)}
    assert set(parsed(recipe['requirements']['run'])) - own - {'python'} == BROUGHT_BY_QIIME2


def test_nothing_is_required_that_qiime2_brings(declared):
    assert not set(parsed(declared.install_requires)) & BROUGHT_BY_QIIME2


def test_one_version_and_one_license_are_told_everywhere(declared, recipe):
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text('utf-8'))
    version = q2_aam.__version__
    assert declared.metadata.version == str(recipe['package']['version']) == citation['version'] == version
    assert citation['license'] == recipe['about']['license'] == declared.metadata.license == 'BSD-3-Clause'


def test_the_conda_recipe_tells_where_the_plugin_comes_from_and_tests_it(recipe):
    about = recipe['about']
    assert about['home'] == about['dev_url'] == REPOSITORY
    assert {'qiime info', 'qiime aam --help'} <= set(recipe['test']['commands'])
    assert 'q2_aam.plugin_setup' in recipe['test']['imports']
    tested = [line for line in recipe['test']['commands'] if 'pytest' in line][0].split()
    rooms = [word for word in tested if word.startswith('tests/')]
    assert rooms and all((ROOT / room).is_dir() for room in rooms)
    assert {'tests', 'pyproject.toml'} <= set(recipe['test']['source_files'])


def test_qiime2_finds_the_plugin_in_one_group_only(declared):
    assert declared.metadata.name == 'q2-aam'
    assert declared.entry_points == {
        'qiime2.plugins': ['q2-aam = q2_aam.plugin_setup:plugin'],
        'console_scripts': [
            'q2-aam-serve = q2_aam.serve.main:main',
            'q2-aam-worker = q2_aam.training.node:main',
        ],
    }


def test_type_hints_and_citations_are_packaged(declared):
    assert {'citations.bib', 'py.typed'} <= set(declared.package_data['q2_aam'])
    assert (ROOT / 'q2_aam' / 'py.typed').exists()


def test_every_room_is_packaged(declared):
    rooms = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / 'q2_aam').rglob('*.py')}
    assert rooms == {name.replace('.', '/') for name in declared.packages}


def test_there_are_environment_files_for_an_old_and_a_new_release():
    # plugin, distribution (qiime2 since 2026.7, amplicon before) and release
    assert [path.stem for path in ENVIRONMENTS] == ['q2-aam-qiime2-2026.7', 'q2-aam-qiime2-amplicon-2024.10']


@pytest.mark.parametrize('path', ENVIRONMENTS, ids=lambda path: path.stem)
def test_an_environment_file_has_no_name_and_installs_the_plugin_without_a_checkout(path):
    environment = yaml.safe_load(path.read_text('utf-8'))
    release = path.stem.rsplit('-', 1)[1]
    assert 'name' not in environment
    distribution = 'amplicon' if 'amplicon' in path.stem else 'qiime2'
    assert environment['channels'][0] == f'https://packages.qiime2.org/qiime2/{release}/{distribution}/released'
    *conda, with_pip = environment['dependencies']
    # pip fetches the plugin with git
    assert {'pip', 'git'} <= set(conda)
    assert any(line.startswith('qiime2') for line in conda)
    assert with_pip == {'pip': [f'q2-aam@git+{REPOSITORY}']}


@pytest.mark.parametrize('path', ENVIRONMENTS, ids=lambda path: path.stem)
def test_an_environment_file_keeps_pkg_resources_where_qiime2_loads_plugins_through_it(path):
    bounds = parsed(line for line in yaml.safe_load(path.read_text('utf-8'))['dependencies'] if isinstance(line, str))
    assert bounds['setuptools'].startswith('>=77.0.3')
    if path.stem.endswith('2024.10'):
        assert bounds['setuptools'] == '>=77.0.3,<80.9'


def test_the_library_is_tested_on_the_torch_that_is_installed():
    common = (ROOT / 'recipe' / 'common.sh').read_text('utf-8')
    pin = re.search(r"^torch_pin='(.+)'$", common, re.MULTILINE)[1]
    assert pin in (ROOT / 'recipe' / 'requirements-today.txt').read_text('utf-8').split()
