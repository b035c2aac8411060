"""The notebooks of the documentation: they run, show what is stored of them, and tell nothing of a machine."""

import pytest

from recipe import notebooks

nbformat = pytest.importorskip('nbformat', reason='nbformat is not installed: notebooks cannot be read')
NAMES = notebooks.names()
# The one that trains nothing.
QUICKEST = 'distances'


def needs_jupyter():
    for name in ('qiime2', 'nbclient', 'ipykernel', 'q2_feature_table', 'q2_diversity_lib'):
        pytest.importorskip(name, reason=f'{name} is not installed: notebooks are run where QIIME 2 is')


def test_there_are_four():
    assert len(NAMES) == 4 and QUICKEST in NAMES


@pytest.mark.parametrize('name', NAMES)
def test_what_is_stored_has_run_and_tells_nothing_of_a_machine(name):
    notebook = notebooks.read(name)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == 'code']
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = {kind for shown in notebooks.shown(notebook) for kind in shown}
    assert kinds <= {'stream', 'text/plain', 'text/html', 'image/png'} and 'image/png' in kinds
    assert notebooks.MACHINE.findall(notebooks.texts(notebook)) == []
    assert {output.get('name', 'stdout') for cell in code for output in cell.outputs} == {'stdout'}


@pytest.mark.parametrize('text, found', [
    ('/home/me/table.qza: 3', True),
    ("File '/usr/lib/python3/dist-packages/x.py'", True),
    ('k__Bacteria/ and 3/usr', False),
    ('https://view.qiime2.org/tmp', False),
])  # fmt: skip
def test_a_path_of_a_machine_is_recognised(text, found):
    assert bool(notebooks.MACHINE.search(text)) == found


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=() if name == QUICKEST else pytest.mark.slow) for name in NAMES
])  # fmt: skip
def test_a_notebook_runs_and_shows_what_is_stored(name):
    needs_jupyter()
    # ipykernel brings it
    import psutil

    stored = notebooks.read(name)
    assert notebooks.shown(notebooks.run(stored)) == notebooks.shown(stored)
    left = [' '.join(process.cmdline()) for process in psutil.Process().children(recursive=True)]
    assert not [command for command in left if 'ipykernel' in command]
