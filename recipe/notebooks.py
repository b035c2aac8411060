"""Run the notebooks of the documentation and store what they show: python recipe/notebooks.py [NAME ...].

They are run where QIIME 2 and this plugin are, on one core; docs/notebooks/ then holds their outputs.
"""

import copy
import os
import pathlib
import re
import sys
import tempfile

FOLDER = pathlib.Path(__file__).parents[1] / 'docs' / 'notebooks'
# What no stored output may show: where things lie on the machine that ran it.
MACHINE = re.compile(r'(?<![\w.])/(?:home|root|work|tmp|usr|opt|var|mnt|Users)/|site-packages|\.venv\b')
# of one cell, on a machine that does other things, too
SECONDS = 600


def names():
    """Return the names of all notebooks."""
    return sorted(path.stem for path in FOLDER.glob('*.ipynb'))


def read(name):
    """Return a notebook as it is stored."""
    import nbformat

    return nbformat.read(FOLDER / f'{name}.ipynb', as_version=4)


def run(notebook, folder=FOLDER, environment=None):
    """Return a copy of a notebook with what its cells give, run by this very Python.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
    folder : path
        Where it runs.
    environment : dict, optional
        Environment variables of its process, beside those of this one.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails.
    """
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from nbclient import NotebookClient

    class Here(KernelSpecManager):
        """Knows one kernel, this Python: the one that a system has installed may be another."""

        def get_kernel_spec(self, kernel_name):
            argv = [sys.executable, '-m', 'ipykernel_launcher', '-f', '{connection_file}']
            return KernelSpec(argv=argv, display_name='Python 3', language='python')

    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == 'code':
            cell.outputs, cell.execution_count = [], None
    with tempfile.TemporaryDirectory() as scratch:
        variables = os.environ | {'OMP_NUM_THREADS': '1', 'AAM_WORK_DIR': scratch} | (environment or {})
        # no word about a debugger that nobody uses
        variables['PYDEVD_DISABLE_FILE_VALIDATION'] = '1'
        manager = AsyncKernelManager(kernel_spec_manager=Here())
        client = NotebookClient(notebook, km=manager, timeout=SECONDS, record_timing=False)
        client.resources = {'metadata': {'path': str(folder)}}
        # a manager that it is given it would leave running
        client.execute(cleanup_kc=True, env=variables)
    _tidy(notebook)
    return notebook


def shown(notebook):
    """Return what each code cell shows, as a list of kinds: 'stream', 'image/png', 'text/html' ..."""
    kinds = []
    for cell in notebook.cells:
        if cell.cell_type == 'code':
            kinds.append(sorted({kind for output in cell.outputs for kind in _kinds(output)}))
    return kinds


def texts(notebook):
    """Return all text that the outputs of a notebook hold."""
    found = []
    for cell in notebook.cells:
        for output in cell.get('outputs', ()):
            found += [output.get('text', '')]
            found += [value for kind, value in output.get('data', {}).items() if kind.startswith('text/')]
    return '\n'.join(found)


def _kinds(output):
    return [output.output_type] if output.output_type in ('stream', 'error') else list(output.data)


def _tidy(notebook):
    """Put lines that were printed one after the other together; a picture needs no text beside it."""
    for cell in notebook.cells:
        kept = []
        for output in cell.get('outputs', ()):
            last = kept[-1] if kept else {}
            if output.output_type == 'stream' and (last.get('output_type'), last.get('name')) == (
                'stream',
                output.name,
            ):
                last['text'] += output.text
                continue
            if 'image/png' in output.get('data', {}):
                output.data.pop('text/plain', None)
            kept.append(output)
        if cell.cell_type == 'code':
            cell.outputs = kept


def main(chosen):
    import nbformat

    for name in chosen or names():
        notebook = run(read(name))
        notebook.metadata = {
            'kernelspec': {'display_name': 'Python 3', 'language': 'python', 'name': 'python3'},
            'language_info': {'name': 'python'},
        }
        nbformat.write(notebook, FOLDER / f'{name}.ipynb')
        print(f'{name}: {sum(cell.cell_type == "code" for cell in notebook.cells)} cells ran.')


if __name__ == '__main__':
    main(sys.argv[1:])
