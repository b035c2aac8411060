"""Weights that are divided between two processes, by FSDP2 over gloo, are those that one process learns."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from q2_aam.runtime.ranks import ONE
from tests.training.divided import OPTIONS, SIZE, STEPS
from tests.training.test_ranks import learn, prepare_tiny, to_float64


@pytest.fixture(scope='module')
def divided(tmp_path_factory):
    """What each of the processes has learned."""
    folder = tmp_path_factory.mktemp('divided')
    environment = os.environ | {'PYTHONPATH': str(pathlib.Path(__file__).parents[2]), 'OMP_NUM_THREADS': '1'}
    started = [
        subprocess.Popen(
            [sys.executable, '-m', 'tests.training.divided', str(folder), str(rank)],
            env=environment, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(SIZE)
    ]  # fmt: skip
    errors = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0] * SIZE, errors
    return [np.load(folder / f'{rank}.npz') for rank in range(SIZE)]


@pytest.mark.parametrize('kind', OPTIONS)
def test_losses_and_weights_are_those_of_one_process_however_work_is_cut(divided, tmp_path, monkeypatch, kind):
    to_float64(monkeypatch)
    losses, weights, _ = learn(prepare_tiny(kind, tmp_path / 'run', **OPTIONS[kind]), ONE, STEPS)
    assert weights.dtype == np.float64 and len(losses) == STEPS
    for found in divided:
        for name in ('whole', 'cut'):
            np.testing.assert_allclose(found[f'{kind}.{name}.losses'], losses, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(found[f'{kind}.{name}.weights'], weights, rtol=1e-7, atol=1e-9)
