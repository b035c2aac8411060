"""How many processes a training has, and how their errors reach the caller."""

import json
import types

import pytest
import torch

from q2_aam.config.runtime import ClusterRuntime
from q2_aam.data.atomic import write_json
from q2_aam.errors import MachineError, UserError
from q2_aam.runtime import launch
from q2_aam.runtime.launch import Processes, count_devices


@pytest.fixture
def gpus(monkeypatch):
    def make(number):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: number > 0)
        monkeypatch.setattr(torch.cuda, 'device_count', lambda: number)

    return make


@pytest.mark.parametrize(
    'devices, device, there, number',
    [(1, 'auto', 8, 1), (4, 'auto', 8, 4), ('auto', 'auto', 8, 8), ('auto', 'cpu', 8, 1), (4, 'cpu', 2, 4),
     (3, 'auto', 0, 3), ('auto', 'cuda', 0, 1)],
)  # fmt: skip
def test_auto_is_all_gpus_and_a_cpu_has_as_many_processes_as_are_asked_for(gpus, devices, device, there, number):
    gpus(there)
    assert count_devices(devices, device) == number


def test_more_devices_than_gpus_are_refused(gpus):
    gpus(1)
    with pytest.raises(UserError) as error:
        count_devices(2, 'auto')
    assert str(error.value) == 'Parameter devices is 2, but there is 1 GPU; give at most that number, or auto.'


def test_a_cpu_is_not_divided_into_more_processes_than_it_can_bear(gpus, monkeypatch):
    gpus(0)
    monkeypatch.setattr(launch, 'available_cpus', lambda: 2)
    assert count_devices(8, 'auto') == 8
    with pytest.raises(UserError) as error:
        count_devices(99, 'cpu')
    assert str(error.value) == (
        'Parameter devices is 99, but without GPUs they share 2 CPUs and would take longer than one; give at most 8, '
        'or auto.'
    )


def test_each_machine_has_its_devices(gpus):
    gpus(0)
    processes = Processes.of(ClusterRuntime(devices=3, nodes=2, rendezvous='one:29400'))
    assert (processes.number, processes.max_restarts) == (6, 2)
    assert Processes.of(ClusterRuntime()).number == 1


def test_machines_may_be_a_range(gpus):
    gpus(0)
    processes = Processes.of(ClusterRuntime(devices=3, nodes='2:4', rendezvous='one:29400'))
    assert (processes.number, processes.nodes, processes.least_nodes, processes.is_elastic) == (12, 4, 2, True)
    assert not Processes.of(ClusterRuntime(nodes=2, rendezvous='one:29400')).is_elastic
    assert not Processes.of(ClusterRuntime()).is_elastic


@pytest.mark.parametrize('nodes, least, silence', [(3, 3, 300), ('2:3', 2, 30)])
def test_who_can_do_without_a_machine_does_not_wait_long_for_it(gpus, monkeypatch, tmp_path, nodes, least, silence):
    from torch.distributed import launcher

    gpus(0)
    configs = []
    monkeypatch.setattr(launcher, 'elastic_launch', lambda config, _: configs.append(config) or (lambda *_: None))
    processes = Processes.of(ClusterRuntime(nodes=nodes, rendezvous='one:29400'))
    launch.launch_beside('module', processes, tmp_path)
    (config,) = configs
    assert (config.min_nodes, config.max_nodes) == (least, 3)
    waits = config.rdzv_configs
    assert waits['keep_alive_interval'] * waits['keep_alive_max_attempt'] == silence
    assert waits['join_timeout'] == 3600


def test_machines_that_do_not_come_are_missed(gpus, monkeypatch, tmp_path):
    from torch.distributed import launcher
    from torch.distributed.elastic.rendezvous import RendezvousTimeoutError

    def late(*_):
        raise RendezvousTimeoutError

    gpus(0)
    monkeypatch.setattr(launcher, 'elastic_launch', lambda *_: late)
    processes = Processes(1, nodes=4, rendezvous='one:29400', least_nodes=2)
    with pytest.raises(MachineError) as error:
        launch.launch('module', tmp_path, processes, print)
    assert str(error.value) == (
        'Fewer than 2 machines have come to one:29400 within 60 minutes; start q2-aam-worker with this rendezvous on '
        'the others, and give the same command again.'
    )


def test_a_training_that_is_over_cannot_be_joined(gpus, monkeypatch, tmp_path):
    from torch.distributed import launcher
    from torch.distributed.elastic.rendezvous import RendezvousClosedError

    def closed(*_):
        raise RendezvousClosedError

    gpus(0)
    monkeypatch.setattr(launcher, 'elastic_launch', lambda *_: closed)
    with pytest.raises(MachineError) as error:
        launch.launch_beside('module', Processes(1, nodes=2, rendezvous='one:29400'), tmp_path)
    assert str(error.value) == (
        'No training can be joined at one:29400: it is over, or was not started there within 60 minutes; give the '
        'rendezvous of the action, and start both together.'
    )


def test_a_single_device_is_one_of_all(gpus):
    gpus(8)
    assert Processes.of(ClusterRuntime(devices='auto')).number == 8
    assert Processes.of(ClusterRuntime(devices='auto', strategy='single')).number == 1
    assert Processes.of(ClusterRuntime(strategy='fsdp', nodes=2, rendezvous='one:29400')).number == 2


@pytest.mark.parametrize(
    'options, sentence',
    [
        (
            {'nodes': 2},
            'Parameter nodes is 2, but no rendezvous is given; give the name of this machine and a free port of it, '
            'such as node-1:29400.',
        ),
        (
            {'nodes': 2, 'rendezvous': 'node'},
            "Parameter rendezvous must be the name of a machine and a port, such as node-1:29400, but it is 'node'.",
        ),
        (
            {'rendezvous': 'node:1'},
            'Parameter rendezvous is of no use where nodes is 1; set nodes, or leave it out.',
        ),
        (
            {'strategy': 'single', 'devices': 2},
            'Parameter strategy is single, but devices is 2; set devices to 1, or strategy to auto.',
        ),
        (
            {'strategy': 'fsdp'},
            'Parameter strategy is fsdp, but devices is 1, so that nothing is shared; raise devices, or set strategy '
            'to auto.',
        ),
        (
            {'strategy': 'single', 'nodes': 2, 'rendezvous': 'node:1'},
            'Parameter strategy is single, but nodes is 2; set nodes to 1, or strategy to auto.',
        ),
    ],
)
def test_machines_need_a_place_to_find_each_other(options, sentence):
    with pytest.raises(ValueError) as error:
        ClusterRuntime(**options)
    assert str(error.value) == sentence


@pytest.fixture
def launched(tmp_path, monkeypatch):
    """Launch processes that leave these errors and lines: (lines, errors by rank, what the launcher returns)."""

    def make(lines=(), errors=(), failed=None):
        def run(module, folder, processes, logs, is_first):
            for line in lines:
                with (folder / launch.LINES).open('a') as handle:
                    handle.write(json.dumps(line) + '\n')
            for error in errors:
                write_json(folder / launch.ERROR.format(error['rank']), error | {'processes': 2})
            return failed

        monkeypatch.setattr(launch, '_run', run)
        said = []
        launch.launch('module', tmp_path, Processes(2, 1), said.append)
        return said

    return make


def test_lines_of_progress_are_passed_on_in_order(launched):
    assert launched(['one', 'two\n"lines"', 'drei ä']) == ['one', 'two\n"lines"', 'drei ä']


@pytest.mark.parametrize(
    'ranks, kind, sentence',
    [
        ((1,), UserError, 'Rank 1 of 2: It is wrong.'),
        ((1,), MachineError, 'Rank 1 of 2: It is wrong.'),
        ((0,), MachineError, 'Rank 0 of 2: It is wrong.'),
        # rank 0 reads the inputs, and what all have found is nothing that one of them has
        ((0,), UserError, 'It is wrong.'),
        ((0, 1), UserError, 'It is wrong.'),
    ],
)
def test_the_sentence_of_a_process_is_raised_with_its_rank(launched, ranks, kind, sentence):
    errors = [{'rank': rank, 'kind': kind.__name__, 'text': 'It is wrong.', 'traceback': ''} for rank in ranks]
    with pytest.raises(UserError) as error:
        launched(errors=errors)
    assert type(error.value) is kind and str(error.value) == sentence


def test_any_other_error_is_raised_with_its_traceback(launched):
    with pytest.raises(RuntimeError, match='^Rank 0 of 2: KeyError: 3\n\nTraceback of it$'):
        launched(errors=[{'rank': 0, 'kind': None, 'text': 'KeyError: 3', 'traceback': 'Traceback of it'}])


@pytest.mark.parametrize('status', [launch.DISCONNECTED, -15])
def test_a_process_that_is_killed_too_often_is_said(launched, status):
    failure = types.SimpleNamespace(exitcode=-9, local_rank=1)
    # rank 0 has only missed rank 1, or was ended then
    other = types.SimpleNamespace(exitcode=status, local_rank=0)
    failed = types.SimpleNamespace(failures={0: other, 1: failure})
    with pytest.raises(MachineError) as error:
        launched(failed=failed)
    assert str(error.value) == (
        'Rank 1 of 2 ended by signal 9 after 1 restart, without a word of its own: memory may have run out; give more '
        'memory or fewer devices, and give the same command again: it resumes from its checkpoint.'
    )
