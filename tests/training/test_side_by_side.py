"""Runs beside others in one process: each gives what it gives alone, and leaves the process's random numbers alone."""

import concurrent.futures
import json
import random
import threading

import numpy as np
import pytest
import torch

from q2_aam import bundle


@pytest.fixture(autouse=True)
def few_steps(quick_members):
    """Once for all runs: each on its own would undo it while another still runs."""


@pytest.fixture
def start(tiny, tmp_path, fitted, pretrained):
    """Start a run: (kind, name of its folder, seed, what takes lines)."""
    files = tiny.write(tmp_path / 'inputs')

    def make(kind, name, seed, say=lambda line: None):
        options = {'files': files, 'epochs': 3, 'random_seed': seed, 'say': say, 'matrix': True}
        if kind == 'encoder':
            return pretrained(tiny, name, **options)
        return fitted(tiny, name, quick=False, patience=3, **options)

    return make


def result_of(run):
    """Return all that a run gives: its files, its history and its details."""
    card = json.loads((run.folder / bundle.CARD_FILE).read_text())
    del card['wall_seconds']
    files = [(run.folder / name).read_bytes() for name in (bundle.MODEL_FILE, bundle.CONFIG_FILE)]
    details = run.details.to_csv() if hasattr(run, 'details') else None
    return files, card, repr(run.history.rows), repr(run.history.points), details


@pytest.mark.filterwarnings('ignore::q2_aam.errors.AAMWarning')
@pytest.mark.parametrize('calls', [(('regressor', 7), ('encoder', 7)), (('regressor', 7), ('regressor', 8))])
def test_two_runs_in_two_threads_give_what_each_gives_alone(start, calls):
    alone = [result_of(start(kind, f'alone-{number}', seed)) for number, (kind, seed) in enumerate(calls)]
    assert alone[0][0] != alone[1][0]
    # neither runs ahead of the other
    barrier = threading.Barrier(2, timeout=120)

    def meet(line):
        if line.startswith(('Samples: ', 'epoch ')):
            barrier.wait()

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        runs = [
            threads.submit(start, kind, f'together-{number}', seed, meet) for number, (kind, seed) in enumerate(calls)
        ]
        together = [result_of(run.result()) for run in runs]
    for one, other in zip(alone, together):
        assert one == other


@pytest.mark.filterwarnings('ignore::q2_aam.errors.AAMWarning')
@pytest.mark.parametrize('kind', ['regressor', 'encoder'])
def test_a_run_neither_reads_nor_changes_the_random_numbers_of_the_process(start, kind):
    def state():
        return torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()

    before, seen = state(), []
    first = start(kind, 'first', 7, lambda line: seen.append(state() == before))
    # at every line that is said, not only at the end
    assert len(seen) > 6 and all(seen) and state() == before
    torch.manual_seed(99)
    np.random.seed(99)
    random.seed(99)
    assert result_of(start(kind, 'second', 7)) == result_of(first)
