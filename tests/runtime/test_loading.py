"""What is loaded with the plugin, or by it, waits for torch until it is used."""

import subprocess
import sys

LIGHT = (
    'history', 'seeds', 'content', 'run_directory', 'run_root', 'recorder', 'progress', 'limits', 'results',
    'pipeline_seed',
)  # fmt: skip


def test_light_modules_load_without_torch():
    code = f'import sys; from q2_aam.runtime import {", ".join(LIGHT)}; print("torch" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ('False\n', '')
