"""QIIME 2 loads every plugin to run any action: ours must be light, and its library must do without QIIME 2."""

import importlib.util
import pathlib
import subprocess
import sys

import pytest

import q2_aam

PACKAGE = pathlib.Path(q2_aam.__file__).parent
# no QIIME 2 in any of these, and neither QIIME 2 nor torch at load in those that plugin_setup loads
CORE = (
    'config',
    'stats',
    'data',
    'model',
    'bundle',
    'encoders',
    'runtime',
    'objectives',
    'evaluation',
    'training',
    'inference',
    'serve',
)
LIGHT = ('config', 'stats', 'bundle', 'evaluation')
FRAMEWORK = ('qiime2', 'rachis', 'q2_types', 'q2_sample_classifier')
# Of the processor's seconds that the plugins take which it builds on: a ratio holds on slow and busy machines, too.
LOADING_SHARE = 0.25

needs_qiime2 = pytest.mark.skipif(
    importlib.util.find_spec('q2_types') is None, reason='q2-types is not installed; it is not on PyPI'
)


def fresh(code):
    """Run code in a fresh interpreter and return what it printed."""
    run = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, cwd=PACKAGE.parent, timeout=300
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def modules(*rooms):
    """Names of every module of some rooms of the house."""
    files = [path for room in rooms for path in sorted((PACKAGE / room).rglob('*.py'))]
    parts = [path.relative_to(PACKAGE.parent).with_suffix('').parts for path in files]
    return ['.'.join(part[:-1] if part[-1] == '__init__' else part) for part in parts]


def import_all(names, forbidden):
    """Import modules where others cannot be imported, and return those that were loaded all the same."""
    # a finder: where sys.modules has None for torch, scipy 1.17 fails
    return fresh(f"""
import importlib, importlib.abc, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition('.')[0] in {forbidden!r}:
            raise ModuleNotFoundError(f'{{name}} is blocked', name=name)
sys.meta_path.insert(0, Blocked())
for name in {names!r}:
    importlib.import_module(name)
print(*[name for name in {forbidden!r} if name in sys.modules])
""")


@needs_qiime2
def test_loading_every_plugin_does_not_import_torch():
    # from 0.7 on, scikit-bio itself imports torch where it finds it
    loaded = fresh("""
import sys
import skbio
before = set(sys.modules)
import qiime2.sdk
print('aam' in qiime2.sdk.PluginManager().plugins)
print(*({'torch', 'safetensors'} & (set(sys.modules) - before)))
""")
    assert loaded == ['True']


@needs_qiime2
def test_the_qiime2_layer_loads_where_there_is_no_torch():
    names = ['q2_aam.plugin_setup', *modules('types', 'actions', 'visualizers')]
    assert import_all(names, ['torch', 'safetensors']) == []


@needs_qiime2
def test_loading_takes_little_beyond_the_plugins_it_builds_on():
    code = """
import time
start = time.process_time()
import q2_types.plugin_setup, q2_sample_classifier.plugin_setup
others = time.process_time()
import q2_aam.plugin_setup
print((time.process_time() - others) / (others - start))
"""
    shares = []
    # the best of several: other programs can only make it slower
    while len(shares) < 5 and min(shares, default=1) >= LOADING_SHARE:
        shares.append(float(fresh(code)[0]))
    assert min(shares) < LOADING_SHARE, f'loading took {shares} times what the others take'


def test_the_library_does_without_qiime2():
    pytest.importorskip('torch')
    names = [*modules(*CORE), 'q2_aam.errors']
    assert len(names) > 15
    assert import_all(names, list(FRAMEWORK)) == []


def test_what_the_plugin_loads_does_without_torch():
    names = [*modules(*LIGHT), 'q2_aam.errors', 'q2_aam.data.details', 'q2_aam.runtime.history']
    assert import_all(names, ['torch', *FRAMEWORK]) == []


def test_a_forbidden_import_would_be_caught():
    with pytest.raises(AssertionError, match='torch'):
        import_all(['q2_aam.runtime.history', 'torch'], ['torch'])
