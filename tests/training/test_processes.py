"""Trainings in several processes: what one process learns, and what happens where one of them fails or is killed."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from q2_aam import bundle
from q2_aam.errors import MachineError, UserError
from q2_aam.runtime import launch
from q2_aam.runtime.device import _fault_of_compiler
from q2_aam.training import job
from tests.conftest import run_fit, run_fit_classifier, run_pretrain

FAST = {'abundance_ensemble': False}
TELLS_TIME, NUMBER = re.compile(r', step [\d,]+/'), re.compile(r'-?\d+(?:\.\d+)?(?:e-?\d+)?')
WHERE = re.compile(r'on \d devices \(cpu\)(, its weights divided among them)?')


@pytest.fixture
def with_fault(monkeypatch):
    """Let rank 1 of the processes that are started have a fault."""

    def make(fault):
        monkeypatch.setenv('FAULT', fault)
        # tests are no part of what is installed
        monkeypatch.setenv('PYTHONPATH', str(pathlib.Path(__file__).parents[2]))
        monkeypatch.setattr(job, 'WORKER', 'tests.training.faulty_worker')

    return make


def compare(several, one, tolerance=1e-3):
    assert [row[:4] for row in several.history.rows] == [row[:4] for row in one.history.rows]
    values = [[row[4] for row in run.history.rows] for run in (several, one)]
    np.testing.assert_allclose(*values, rtol=tolerance, atol=1e-4)
    # an epoch has a line, which ends with the time that is left; a busy machine may add one every minute
    lines = [[line.rsplit('|', 1)[0] for line in run.lines if not TELLS_TIME.search(line)] for run in (several, one)]
    texts = [[NUMBER.sub('#', WHERE.sub('on cpu', line)) for line in every] for every in lines]
    assert texts[0] == texts[1]
    # three digits of what is nearly the same
    values = [[float(n) for line in every for n in NUMBER.findall(WHERE.sub('on cpu', line))] for every in lines]
    np.testing.assert_allclose(*values, rtol=tolerance, atol=2e-3)


@pytest.fixture
def taken_port(monkeypatch):
    """Let another program take the port that the launcher would choose for its processes before they do."""
    from torch.distributed.elastic.rendezvous import api

    with socket.socket() as taken:
        taken.bind(('localhost', 0))
        taken.listen()
        monkeypatch.setattr(api, 'get_free_port', lambda: taken.getsockname()[1])
        yield


def test_a_fit_in_two_processes_is_that_in_one(tiny, tmp_path, with_fault, taken_port):
    with_fault('none')
    one = run_fit(tiny, tmp_path / 'one', **FAST)
    two = run_fit(tiny, tmp_path / 'two', devices=2, files=one.files, **FAST)
    compare(two, one)
    assert any(line.endswith('seed 7, on 2 devices (cpu).') for line in two.lines)
    np.testing.assert_allclose(two.predictions, one.predictions, rtol=1e-3)
    assert bundle.read_config(two.folder).call.runtime.devices == 2
    card = json.loads((two.folder / bundle.CARD_FILE).read_text())
    assert (card['devices'], card['nodes'], card['strategy']) == (2, 1, 'ddp')


STRATEGIES = pytest.mark.parametrize('strategy', ['ddp', 'fsdp'])


@pytest.mark.slow
@STRATEGIES
def test_an_error_of_one_process_is_said_with_its_rank(tiny, tmp_path, with_fault, strategy):
    with_fault('wrong')
    with pytest.raises(UserError) as error:
        run_fit(tiny, tmp_path, devices=2, strategy=strategy, **FAST)
    assert type(error.value) is UserError and str(error.value) == 'Rank 1 of 2: This is wrong; mend it.'


@pytest.mark.slow
def test_a_defect_is_shown_with_its_traceback(tiny, tmp_path, with_fault):
    with_fault('broken')
    with pytest.raises(RuntimeError) as error:
        run_fit(tiny, tmp_path, devices=2, **FAST)
    first, *_, last = str(error.value).splitlines()
    assert first == "Rank 1 of 2: KeyError: 'this is a defect'" and last == "KeyError: 'this is a defect'"


@pytest.mark.slow
def test_what_is_wrong_with_an_input_is_said_without_a_rank(tiny, tmp_path):
    with pytest.raises(UserError) as error:
        run_pretrain(tiny, tmp_path, devices=2, matrix=False, nucleotide_weight=0.0)
    assert str(error.value).startswith('There is nothing to learn: nucleotide_weight and abundance_weight are 0')


@pytest.mark.slow
def test_every_kind_of_model_is_learned_by_several_processes(tiny, tmp_path):
    one = run_pretrain(tiny, tmp_path / 'one', epochs=3)
    compare(run_pretrain(tiny, tmp_path / 'three', epochs=3, devices=3, files=one.files), one)
    classes = run_fit_classifier(tiny, tmp_path / 'classes', encoder=one.folder, quick=False, patience=1)
    several = run_fit_classifier(
        tiny, tmp_path / 'several', encoder=one.folder, quick=False, patience=1, devices=2, files=classes.files
    )
    compare(several, classes)
    assert several.predictions.equals(classes.predictions)


@pytest.mark.slow
@STRATEGIES
def test_compiled_layers_learn_the_same_in_several_processes(tiny, tmp_path, with_fault, strategy):
    if (fault := _fault_of_compiler(torch.device('cpu'))) is not None:
        pytest.skip(f'PyTorch cannot compile here: {fault}')
    one = run_fit(tiny, tmp_path / 'one', **FAST)
    with_fault('compiled')
    options = {'devices': 2, 'strategy': strategy, 'compile': True, **FAST}
    two = run_fit(tiny, tmp_path / 'two', files=one.files, **options)
    compare(two, one)
    np.testing.assert_allclose(two.predictions, one.predictions, rtol=1e-3)


@pytest.mark.slow
@STRATEGIES
def test_a_training_whose_process_is_killed_gives_the_model_of_one_that_is_not(tiny, tmp_path, with_fault, strategy):
    options = {'devices': 2, 'epochs': 3, 'strategy': strategy, 'ema_decay': 0.9, **FAST}
    undisturbed = run_fit(tiny, tmp_path / 'undisturbed', **options)
    with_fault('killed')
    killed = run_fit(tiny, tmp_path / 'killed', files=undisturbed.files, **options)
    assert 'A process was killed: all go on from the last checkpoint (restart 1).' in killed.lines
    assert [line for line in killed.lines if line.startswith('Resumed after 4 of ')]
    weights = [(run.folder / bundle.MODEL_FILE).read_bytes() for run in (killed, undisturbed)]
    assert weights[0] == weights[1]
    assert killed.history.rows == undisturbed.history.rows


@pytest.mark.slow
@STRATEGIES
def test_a_process_that_is_killed_again_and_again_is_given_up_and_one_goes_on(tiny, tmp_path, with_fault, strategy):
    with_fault('killed for ever')
    files = tiny.write(tmp_path / 'files')
    with pytest.raises(MachineError) as error:
        run_fit(tiny, tmp_path, devices=2, max_restarts=1, files=files, strategy=strategy, **FAST)
    assert str(error.value) == (
        'Rank 1 of 2 ended by signal 9 after 1 restart, without a word of its own: memory may have run out; give more '
        'memory or fewer devices, and give the same command again: it resumes from its checkpoint.'
    )
    # each time one step was taken
    again = run_fit(tiny, tmp_path, files=files, **FAST)
    assert [line for line in again.lines if line.startswith('Resumed after 2 of ')]


@pytest.mark.slow
def test_two_machines_train_as_one_does(tiny, tmp_path):
    # two launchers on one machine, which know of each other no more than the port
    one = run_fit(tiny, tmp_path / 'one', **FAST)
    with socket.socket() as free:
        free.bind(('localhost', 0))
        rendezvous = f'localhost:{free.getsockname()[1]}'
    other = subprocess.Popen(
        [sys.executable, '-m', 'q2_aam.training.node', '--rendezvous', rendezvous, '--nodes', '2', '--device', 'cpu'],
        stderr=subprocess.PIPE,
        text=True,
    )
    two = run_fit(tiny, tmp_path / 'two', nodes=2, rendezvous=rendezvous, files=one.files, **FAST)
    _, errors = other.communicate(timeout=60)
    assert other.returncode == 0, errors
    compare(two, one)


# A machine whose processes, and which itself, are those of the tests.
MACHINE = """
import sys
from q2_aam.runtime import launch
from q2_aam.training import node
launch.SECONDS_OF_SILENCE, launch.SECONDS_FOR_OTHERS = 12, 3
node.WORKER = 'tests.training.faulty_worker'
sys.exit(node.main(sys.argv[1:]))
"""


@pytest.fixture
def machines(monkeypatch, with_fault):
    """Let machines find out in seconds that another one is gone; return what starts one: (rendezvous, nodes)."""
    monkeypatch.setattr(launch, 'SECONDS_OF_SILENCE', 12)
    monkeypatch.setattr(launch, 'SECONDS_FOR_OTHERS', 3)
    started = []

    def start(rendezvous, nodes):
        call = [sys.executable, '-c', MACHINE, '--rendezvous', rendezvous, '--nodes', nodes, '--device', 'cpu']
        started.append(subprocess.Popen(call, env=os.environ | {'FAULT': 'none'}))
        return started[-1]

    with_fault('waiting')
    yield start
    for machine in started:
        machine.kill()
        machine.wait()


@pytest.fixture
def rendezvous():
    with socket.socket() as free:
        free.bind(('localhost', 0))
        return f'localhost:{free.getsockname()[1]}'


def meanwhile(work):
    """Do work beside the test; return what waits for it and raises what it has raised."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    return lambda: future.result(timeout=60)


@pytest.mark.slow
def test_machines_go_on_without_one_that_leaves_for_good(tiny, tmp_path, work_dir, machines, rendezvous):
    one = run_fit(tiny, tmp_path / 'one', epochs=4, **FAST)
    other = machines(rendezvous, '1:2')

    def leave():
        folder = wait_for(work_dir, '*/processes/waits', size=0).parent
        assert json.loads((folder / 'members.json').read_text())['processes'] == 2
        other.kill()
        other.wait()
        (folder / 'goes-on').touch()

    left = meanwhile(leave)
    options = {'nodes': '1:2', 'rendezvous': rendezvous, 'epochs': 4, **FAST}
    two = run_fit(tiny, tmp_path / 'two', files=one.files, **options)
    left()
    assert 'A machine has left: 1 process goes on from the last checkpoint.' in two.lines
    assert (two.folder / bundle.CARD_FILE).exists()
    compare_rows(two, one)


@pytest.mark.slow
def test_machines_take_in_one_that_comes_later(tiny, tmp_path, work_dir, machines, rendezvous):
    one = run_fit(tiny, tmp_path / 'one', epochs=4, **FAST)

    def join():
        folder = wait_for(work_dir, '*/processes/waits', size=0).parent
        machine = machines(rendezvous, '1:2')
        deadline = time.monotonic() + 120
        while json.loads((folder / 'members.json').read_text())['processes'] == 1 and time.monotonic() < deadline:
            time.sleep(0.1)
        (folder / 'goes-on').touch()
        return machine

    joined = meanwhile(join)
    options = {'nodes': '1:2', 'rendezvous': rendezvous, 'epochs': 4, **FAST}
    two = run_fit(tiny, tmp_path / 'two', files=one.files, **options)
    machine = joined()
    assert machine.wait(timeout=60) == 0
    assert 'A machine has joined: 2 processes go on from the last checkpoint.' in two.lines
    assert json.loads((two.folder / bundle.CARD_FILE).read_text())['nodes'] == 2
    compare_rows(two, one)


def compare_rows(several, one):
    assert [row[:4] for row in several.history.rows] == [row[:4] for row in one.history.rows]
    values = [[row[4] for row in run.history.rows] for run in (several, one)]
    np.testing.assert_allclose(*values, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(several.predictions, one.predictions, rtol=1e-3)


CALL = """
import pathlib, sys
from q2_aam.training import job
from tests.conftest import make_tiny, run_fit
job.WORKER = 'tests.training.faulty_worker'
run_fit(make_tiny(), pathlib.Path(sys.argv[1]), devices=2, abundance_ensemble=False, say=lambda line: None)
"""


@pytest.mark.slow
@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_call_that_is_interrupted_leaves_no_process(tmp_path, work_dir, with_fault, how):
    with_fault('slow')
    caller = subprocess.Popen([sys.executable, '-c', CALL, str(tmp_path)], stderr=subprocess.PIPE, text=True)
    pids = [int(wait_for(work_dir, f'*/processes/pid-{rank}').read_text()) for rank in range(2)]
    # rank 1 sleeps in its second step, and rank 0 waits for it
    wait_for(work_dir, '*/network/state.json')
    assert all(map(is_running, pids))
    caller.send_signal(how)
    _, errors = caller.communicate(timeout=60)
    assert caller.returncode == (1 if how == signal.SIGINT else -how) or caller.returncode == -signal.SIGINT
    assert how != signal.SIGINT or errors.rstrip().endswith('KeyboardInterrupt')
    deadline = time.monotonic() + 10
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(is_running, pids))


def wait_for(folder, pattern, seconds=120, size=1):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := [path for path in folder.glob(pattern) if path.stat().st_size >= size]:
            return found[0]
        time.sleep(0.1)
    raise TimeoutError(pattern)


def is_running(pid):
    try:
        # what has ended but was not waited for is a zombie
        return pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0] != 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return False
