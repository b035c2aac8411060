"""The walls and doors of the house: sizes of files, and who may import whom."""

import ast
import importlib.util
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = ROOT / 'q2_aam'
SOURCES = sorted(path for folder in ('q2_aam', 'tests', 'recipe') for path in (ROOT / folder).rglob('*.py'))
# From the bottom up: a room imports only from itself and from those before it.
ROOMS = (
    'errors', 'config', 'stats', 'data', 'evaluation', 'model', 'bundle', 'encoders', 'runtime', 'objectives',
    'training', 'inference', 'estimators', 'serve', 'types', 'visualizers', 'actions', 'plugin_setup',
)  # fmt: skip
MAX_LINES = {'q2_aam': 350, 'tests': 420, 'recipe': 350}

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
        ('q2_aam/errors.py', 'import torch', {'TID253'}),
        ('q2_aam/errors.py', 'from q2_types.feature_table import FeatureTable', {'TID251'}),
        ('q2_aam/bundle/new.py', 'import torch', {'TID253'}),
        ('q2_aam/bundle/new.py', 'from safetensors.torch import save_file', {'TID253'}),
        ('q2_aam/bundle/new.py', 'from q2_aam.model.network import Network', set()),
        ('q2_aam/bundle/new.py', 'from ..runtime import device', {'TID251'}),
        ('q2_aam/bundle/new.py', 'from q2_aam.training import loop', {'TID251'}),
        ('q2_aam/config/new.py', 'import torch', {'TID251', 'TID253'}),
        ('q2_aam/config/new.py', 'from ..data import study', {'TID251'}),
        ('q2_aam/data/new.py', 'import torch', set()),
        ('q2_aam/data/new.py', 'from torch import distributed', {'TID251'}),
        ('q2_aam/data/new.py', 'from q2_aam.model import layers', {'TID251'}),
        ('q2_aam/data/new.py', 'from q2_aam.evaluation import folds', {'TID251'}),
        ('q2_aam/evaluation/new.py', 'import torch', {'TID251', 'TID253'}),
        ('q2_aam/evaluation/new.py', 'import sklearn.ensemble', set()),
        ('q2_aam/evaluation/new.py', 'from q2_aam.stats import metrics', set()),
        ('q2_aam/evaluation/new.py', 'from q2_aam import bundle', {'TID251'}),
        ('q2_aam/model/new.py', 'import torch', set()),
        ('q2_aam/model/new.py', 'from .. import bundle', {'TID251'}),
        ('q2_aam/data/new.py', 'from q2_aam.bundle.schema import Target', {'TID251'}),
        ('q2_aam/model/new.py', 'import pathlib', {'TID251'}),
        ('q2_aam/objectives/new.py', 'import torch', set()),
        ('q2_aam/objectives/new.py', 'from q2_aam.runtime import encode', set()),
        ('q2_aam/objectives/new.py', 'import torch.distributed', {'TID251'}),
        ('q2_aam/objectives/new.py', 'from ..training.loop import Task', {'TID251'}),
        ('q2_aam/objectives/new.py', 'from q2_aam.inference import predict', {'TID251'}),
        ('q2_aam/runtime/new.py', 'import torch.distributed', set()),
        ('q2_aam/runtime/new.py', 'from q2_aam import objectives', {'TID251'}),
        ('q2_aam/runtime/new.py', 'from q2_aam.training import loop', {'TID251'}),
        ('q2_aam/runtime/new.py', 'import rachis', {'TID251'}),
        ('q2_aam/stats/new.py', 'import torch', {'TID251', 'TID253'}),
        ('q2_aam/stats/new.py', 'from sklearn import metrics', {'TID251'}),
        ('q2_aam/stats/new.py', 'from q2_aam.data import table', {'TID251'}),
        ('q2_aam/stats/new.py', 'from q2_aam.errors import UserError', set()),
        ('q2_aam/training/new.py', 'import torch', set()),
        ('q2_aam/training/new.py', 'from q2_aam.inference import predict', {'TID251'}),
        ('q2_aam/training/new.py', 'import qiime2', {'TID251'}),
        ('q2_aam/training/new.py', 'from q2_aam.actions import fit', {'TID251'}),
        ('q2_aam/inference/new.py', 'import torch.distributed', {'TID251'}),
        ('q2_aam/inference/new.py', 'import q2_sample_classifier', {'TID251'}),
        ('q2_aam/estimators/new.py', 'import torch', {'TID253'}),
        ('q2_aam/estimators/new.py', 'import qiime2', {'TID251'}),
        ('q2_aam/estimators/new.py', 'from q2_aam.actions import fit', {'TID251'}),
        ('q2_aam/estimators/new.py', 'from q2_aam.inference import predict', set()),
        ('q2_aam/serve/new.py', 'import torch', {'TID253'}),
        ('q2_aam/serve/new.py', 'import qiime2', {'TID251'}),
        ('q2_aam/serve/new.py', 'from q2_aam.types import AAMRegressor', {'TID251'}),
        ('q2_aam/serve/new.py', 'from q2_aam.inference import predict', set()),
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
def test_no_file_is_longer_than_it_may_be(path):
    lines = path.read_text('utf-8').count('\n')
    assert lines <= MAX_LINES[path.relative_to(ROOT).parts[0]]


@pytest.mark.parametrize('path', SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_says_in_its_first_line_what_it_is_for(path):
    text = path.read_text('utf-8')
    assert not text or text.startswith(('"""', '#!', 'r"""'))


def rooms_imported(text, path):
    """Return (line, room) of everything that a file at `path`, below the package, imports from rooms of the house.

    Imports inside functions count too: they only come later.
    """
    package = ('q2_aam', *path.parts[:-1])
    rooms = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = '.'.join((*start, *filter(None, [node.module])))
            # what is imported may itself be a room: from q2_aam import bundle
            names = [f'{module}.{alias.name}' for alias in node.names]
        else:
            continue
        parts = [name.split('.') for name in names]
        rooms += [(node.lineno, part[1]) for part in parts if part[0] == 'q2_aam' and len(part) > 1]
    return rooms


def test_every_way_to_import_from_a_room_is_seen():
    text = """import numpy as np, q2_aam.data.table
import q2_aam
from q2_aam import bundle, config
from . import sibling
from .. import errors
from ..stats.metrics import log_loss
if np:
    def late():
        from q2_aam.training.loop import (
            Task,
        )
        import torch.data
"""
    seen = [(1, 'data'), (3, 'bundle'), (3, 'config'), (4, 'model'), (5, 'errors'), (6, 'stats'), (9, 'training')]
    assert sorted(rooms_imported(text, pathlib.Path('model/new.py'))) == seen


def test_no_import_runs_up_the_house():
    files = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob('*.py') if path != PACKAGE / '__init__.py')
    upward = []
    for path in files:
        room = path.parts[0].removesuffix('.py')
        assert room in ROOMS, f'{path} is in a room that has no place in the order'
        for line, other in rooms_imported((PACKAGE / path).read_text('utf-8'), path):
            assert other in ROOMS, f'{path}:{line} imports q2_aam.{other}, which is no room'
            if ROOMS.index(other) > ROOMS.index(room):
                upward.append(f'{path}:{line} imports {other}')
    assert len(files) > 80 and upward == []


def test_nothing_is_imported_by_a_name_that_cannot_be_read():
    # such an import would escape the order of the rooms
    ways = ('import_module', '__import__')
    assert [path for path in PACKAGE.rglob('*.py') if any(way in path.read_text('utf-8') for way in ways)] == []
