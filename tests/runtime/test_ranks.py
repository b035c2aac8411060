"""What processes, here threads, agree on, and that all learn where one fails."""

import math

import pytest
import torch

from q2_aam.errors import MachineError
from q2_aam.runtime import ranks as module
from q2_aam.runtime.checkpoint import Checkpoint, State
from q2_aam.runtime.ranks import ONE, OthersFailed, OthersOutOfMemory, Parted
from tests.runtime.lines import run_threads
from tests.training.line import Line


def test_one_process_does_everything_itself():
    checkpoint = Checkpoint(None)
    assert ONE.on_first(max)(2, 3) == 3 and ONE.in_turn(lambda: 4) == 4 and ONE.together(lambda: 5) == 5
    assert ONE.checkpoint(checkpoint) is checkpoint and ONE.part() is None


def test_rank_0_alone_computes_and_all_are_told_to_the_last_bit():
    called = []

    def work(ranks):
        def third_of(value):
            called.append(ranks.rank)
            return {'a': value / 3, 'b': math.nan, 'c': None}

        return ranks.on_first(third_of)(1.0)

    results = run_threads(3, work)
    assert called == [0]
    assert [(result['a'], result['c'], math.isnan(result['b'])) for result in results] == [(1 / 3, None, True)] * 3


def test_rank_0_goes_first():
    order = []
    run_threads(3, lambda ranks: ranks.in_turn(lambda: order.append(ranks.rank)))
    assert order[0] == 0 and sorted(order) == [0, 1, 2]


@pytest.mark.parametrize('floats', [10**6, 2])
def test_gradients_become_their_mean_and_those_that_there_are_not_stay_away(monkeypatch, floats):
    monkeypatch.setattr(module, 'FLOATS_AT_ONCE', floats)

    def work(ranks):
        network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
        for number, parameter in enumerate(network[0].parameters()):
            parameter.grad = torch.full_like(parameter, float(10 * number + ranks.rank))
        ranks.average(network)
        return [None if p.grad is None else p.grad.unique().tolist() for p in network.parameters()]

    assert run_threads(4, work) == [[[1.5], [11.5], None, None]] * 4


def test_the_gradient_of_a_part_is_the_sum_of_what_all_have_for_it():
    def work(ranks):
        part = torch.full((2, 1), float(ranks.rank), requires_grad=True)
        whole = ranks.share().gather(part)
        (whole.squeeze(1) * torch.arange(6.0) * (1 + ranks.rank)).sum().backward()
        return whole.squeeze(1).tolist(), part.grad.squeeze(1).tolist()

    results = run_threads(3, work)
    assert [whole for whole, _ in results] == [[0, 0, 1, 1, 2, 2]] * 3
    # 1 + 2 + 3 times the places of its rows
    assert [grad for _, grad in results] == [[0, 6], [12, 18], [24, 30]]


def test_a_divided_network_cannot_do_a_step_again_and_nobody_is_waited_for():
    def work(ranks):
        ranks.strategy = 'fsdp'
        if ranks.rank == 1:
            with pytest.raises(MachineError) as error:
                ranks.together(runs_out)
            return str(error.value)

    def runs_out():
        raise MemoryError

    assert run_threads(2, work)[1] == (
        'Memory ran out, and a network that is divided among devices (strategy fsdp) cannot do a step again in smaller '
        'pieces; give the same command with a lower max_memory_gb, or with more devices: it resumes from its '
        'checkpoint.'
    )


def test_memory_that_runs_out_in_one_runs_out_in_all():
    def work(ranks):
        def one():
            if ranks.rank == 1:
                raise MemoryError
            ranks.meet()

        return ranks.together(one)

    kinds = [type(result) for result in run_threads(3, work)]
    assert kinds == [OthersOutOfMemory, MemoryError, OthersOutOfMemory]


@pytest.mark.parametrize('rows', [1, 2, 3, 7])
def test_rows_that_are_divided_come_back_in_order(rows):
    def work(ranks):
        own = ranks.own_rows(rows)
        return ranks.gather_rows(torch.from_numpy(own)[:, None], rows)[:, 0].tolist()

    assert run_threads(3, work) == [list(range(rows))] * 3
    assert work(ONE) == list(range(rows))


def test_weights_become_those_of_rank_0():
    def work(ranks):
        network = Line()
        network.offset.data += ranks.rank
        ranks.copy_weights(network)
        return network.offset.item()

    assert run_threads(3, work) == [0.0] * 3


def test_rank_0_goes_on_alone_and_tells_nobody_that_it_fails_then():
    def work(ranks):
        ranks.part()
        ranks.fail()
        return 'on'

    results = run_threads(3, work)
    assert results[0] == 'on' and [type(result) for result in results[1:]] == [Parted, Parted]


def train_a_little(folder, ranks, steps=1):
    network = Line()
    optimizer = torch.optim.AdamW(network.parameters())
    checkpoint = ranks.checkpoint(Checkpoint(folder, seconds_between=0.0))
    state = checkpoint.resume(network, optimizer)
    resumed = state.step
    for _ in range(steps):
        network.loss([1, 2], 0)[0].backward()
        optimizer.step()
    checkpoint.save(network, optimizer, State(step=resumed + steps))
    return resumed, network.slope.item()


def test_rank_0_alone_saves_and_all_resume(tmp_path):
    def work(ranks):
        saves = []
        for _ in range(2):
            ranks.in_turn(lambda: None)
            saves.append(train_a_little(tmp_path / 'network', ranks))
            # a process may be ahead of what rank 0 saves
            ranks.on_first(lambda: 0)()
        return saves

    results = run_threads(2, work)
    assert results[0] == results[1] and [step for step, _ in results[0]] == [0, 1]
    assert train_a_little(tmp_path / 'network', ONE, 0)[0] == 2


def test_checkpoints_that_differ_are_refused(tmp_path):
    folders = [tmp_path / 'one', tmp_path / 'other']
    train_a_little(folders[0], ONE)

    def work(ranks):
        train_a_little(folders[ranks.rank], ranks)
        # where they meet next
        ranks.in_turn(lambda: None)

    results = run_threads(2, work)
    assert type(results[1]) is MachineError and type(results[0]) is OthersFailed
    assert str(results[1]) == (
        f'The checkpoint in the run directory, {folders[1]}, is not the same on all machines; set the environment '
        'variable AAM_WORK_DIR to a folder that all of them share.'
    )
