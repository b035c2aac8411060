"""The walls and doors of the house: sizes of files, and who may import whom (enforced by ruff)."""

import importlib.util
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SOURCES = sorted(path for folder in ('q2_aam', 'tests', 'recipe') for path in (ROOT / folder).rglob('*.py'))

needs_ruff = pytest.mark.skipif(importlib.util.find_spec('ruff') is None, reason='ruff is not installed')


def broken_rules(path, line):
    """Return the import rules that `line` breaks in a file at `path`."""
    command = [sys.executable, '-m', 'ruff', 'check', '--no-cache', '--select', 'TID251,TID253']
    command += ['--output-format', 'concise', '--stdin-filename', path, '-']
    done = subprocess.run(command, input=line + '\n', capture_output=True, text=True, cwd=ROOT)
    assert done.returncode in (0, 1), done.stderr
    return {rule for rule in ('TID251', 'TID253') if rule in done.stdout}


@needs_ruff
@pytest.mark.parametrize(
    'path, line, broken',
    [
        ('q2_aam/bundle.py', 'import torch', {'TID253'}),
        ('q2_aam/bundle.py', 'from q2_types.feature_table import FeatureTable', {'TID251'}),
        ('q2_aam/config/new.py', 'import torch', {'TID251', 'TID253'}),
        ('q2_aam/config/new.py', 'from ..data import study', {'TID251'}),
        ('q2_aam/data/new.py', 'import torch', set()),
        ('q2_aam/data/new.py', 'from torch import distributed', {'TID251'}),
        ('q2_aam/data/new.py', 'from q2_aam.model import layers', {'TID251'}),
        ('q2_aam/model/new.py', 'import torch', set()),
        ('q2_aam/model/new.py', 'from .. import bundle', {'TID251'}),
        ('q2_aam/data/new.py', 'from q2_aam.bundle.schema import Target', {'TID251'}),
        ('q2_aam/model/new.py', 'import pathlib', {'TID251'}),
        ('q2_aam/training/new.py', 'import torch.distributed', set()),
        ('q2_aam/training/new.py', 'import qiime2', {'TID251'}),
        ('q2_aam/training/new.py', 'from q2_aam.actions import fit', {'TID251'}),
        ('q2_aam/inference/new.py', 'import torch.distributed', {'TID251'}),
        ('q2_aam/inference/new.py', 'import q2_sample_classifier', {'TID251'}),
        ('q2_aam/types/new.py', 'import qiime2', set()),
        ('q2_aam/types/new.py', 'from torch import nn', {'TID253'}),
        ('q2_aam/actions/new.py', 'import torch', {'TID253'}),
        ('q2_aam/visualizers/new.py', 'import torch', {'TID253'}),
        ('q2_aam/plugin_setup.py', 'import torch', {'TID253'}),
    ],
)
def test_a_door_is_open_or_shut(path, line, broken):
    assert broken_rules(path, line) == broken


@pytest.mark.parametrize('path', SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_is_longer_than_about_400_lines(path):
    assert len(path.read_text('utf-8').splitlines()) <= 420


@pytest.mark.parametrize('path', SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_says_in_its_first_line_what_it_is_for(path):
    text = path.read_text('utf-8')
    assert not text or text.startswith(('"""', '#!', 'r"""'))
