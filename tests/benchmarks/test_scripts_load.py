"""Every benchmark loads: nothing that it takes from another, or from the library, has gone or has another name."""

import os
import pathlib
import subprocess
import sys

FOLDER = pathlib.Path(__file__).parent
# bench.py is what they share
SCRIPTS = sorted({path.stem for path in FOLDER.glob('*.py') if not path.stem.startswith('test_')} - {'bench'})
LOAD = 'import importlib, sys; [importlib.import_module(name).main for name in sys.argv[1:]]'


def test_every_benchmark_loads_and_has_a_main():
    # in a process of their own: one of them has the name of a package, unifrac
    path = os.pathsep.join([str(FOLDER.parents[1]), os.environ.get('PYTHONPATH', '')])
    command = [sys.executable, '-c', LOAD, *SCRIPTS]
    done = subprocess.run(command, cwd=FOLDER, env=os.environ | {'PYTHONPATH': path}, capture_output=True, text=True)
    assert len(SCRIPTS) > 10 and done.returncode == 0, done.stderr
