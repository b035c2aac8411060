"""Every benchmark loads: nothing that it takes from another, or from the library, has gone or has another name."""

import importlib.machinery
import os
import pathlib
import subprocess
import sys

FOLDER = pathlib.Path(__file__).parent
NAMES = sorted({path.stem for path in FOLDER.glob('*.py') if not path.stem.startswith('test_')})
# bench.py is what they share
SCRIPTS = [name for name in NAMES if name != 'bench']
LOAD = 'import importlib, sys; [importlib.import_module(name).main for name in sys.argv[1:]]'


def test_every_benchmark_loads_and_has_a_main():
    # in a process of their own, as they are run
    path = os.pathsep.join([str(FOLDER.parents[1]), os.environ.get('PYTHONPATH', '')])
    command = [sys.executable, '-c', LOAD, *SCRIPTS]
    done = subprocess.run(command, cwd=FOLDER, env=os.environ | {'PYTHONPATH': path}, capture_output=True, text=True)
    assert len(SCRIPTS) > 10 and done.returncode == 0, done.stderr


def test_no_benchmark_has_the_name_of_a_package():
    # its folder is first on sys.path when it runs: whoever imports the package would get the benchmark
    elsewhere = [path for path in sys.path if pathlib.Path(path or '.').resolve() != FOLDER]
    taken = [name for name in NAMES if importlib.machinery.PathFinder.find_spec(name, elsewhere)]
    assert taken == [] and not set(NAMES) & set(sys.stdlib_module_names)
