"""What tests of training share: prepared data and a run without the files of a call."""

import time

import numpy as np
import pytest
import scipy.sparse
import torch


@pytest.fixture(autouse=True, scope='module')
def one_thread():
    """Tensors this small are slower on several threads, and much slower where other work is going on."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='session')
def prepare_labels():
    """Prepare learning the labels of a study: (study, labels, rows by split, kind of model, parameters)."""
    from q2_aam.bundle import CALLS
    from q2_aam.objectives import TARGETS, Context, Inputs
    from q2_aam.training.prepare import PreparedFit

    def prepare(study, labels, rows, kind='regressor', **options):
        config = CALLS[kind].from_flat({'threads': 1, 'device': 'cpu', 'target_scaling': 'standard'} | options)
        target = TARGETS[kind].align(Context(Inputs('table.biom'), study, rows, config, 7, labels))
        return PreparedFit(kind, config, study, rows, (target,), target=target, labels=labels)

    return prepare


@pytest.fixture
def make_run(tmp_path):
    """Make a run on the CPU: (seed, say, name of its directory)."""
    from q2_aam.runtime.recorder import Recorder
    from q2_aam.runtime.run import Run

    def make(seed=7, say=lambda line: None, name='run'):
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        return Run(directory, seed, torch.device('cpu'), Recorder(say), {}, time.monotonic())

    return make


@pytest.fixture
def made(prepare_labels):
    """Prepare random counts and a target: how the first two ASVs, both common, stand to each other.

    `rows` are labelled, the other samples are test samples; `values` (of the counts) are another target.
    """
    from q2_aam.data.labels import Labels
    from q2_aam.data.splits import TEST, TRAINING, VALIDATION
    from q2_aam.data.study import build_study
    from q2_aam.data.table import Table

    def make(
        samples=24, asvs=12, seed=1, groups=None, counts=None, rows=None, kind='regressor', values=None, **options
    ):
        random = np.random.default_rng(seed)
        if counts is None:
            counts = random.poisson(3, (samples, asvs)) * random.integers(1, 30, (samples, asvs))
            counts[:, :2] += 1
        ids = [f's{row:04d}' for row in range(samples)]
        letters = np.random.default_rng(0)
        sequences = [''.join(letters.choice(list('ACGT'), 30)) for _ in range(asvs)]
        table = Table(ids, sequences, lambda: [scipy.sparse.csr_matrix(counts.astype(np.float32))])
        numbers = np.log(counts[:, 0] + 1) - np.log(counts[:, 1] + 1) if values is None else values(counts)
        if kind == 'classifier':
            middle = np.median(numbers) if values is None else np.mean(numbers)
            numbers = np.where(numbers > middle, 'more', 'less').astype(object)
        labels = Labels('ratio', ids, numbers, np.array(ids if groups is None else groups))
        every = np.arange(samples)
        rows = every if rows is None else rows
        # of every four labelled samples one is a validation sample, which makes no difference here
        parts = {TRAINING: rows[rows % 4 > 0], VALIDATION: rows[rows % 4 == 0], TEST: np.setdiff1d(every, rows)}
        return prepare_labels(build_study(table, sequences)[0], labels, parts, kind, **options)

    return make
