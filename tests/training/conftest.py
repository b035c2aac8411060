"""What tests of training share: prepared data and a run without the files of a call."""

import time

import pytest
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
