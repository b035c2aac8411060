"""How processes share a network follows from the parameter and from whether all of it fits on each device."""

import dataclasses

import pytest
import torch

from q2_aam.errors import UserError
from q2_aam.runtime import memory
from q2_aam.runtime.ranks import ONE
from q2_aam.training.strategy import choose_strategy
from tests.runtime.lines import run_threads


@pytest.fixture
def choose(made, monkeypatch, make_run):
    """Let processes with room for so many copies of the weights each choose; return their strategies or errors."""

    def choose(strategy, rooms, size=2):
        devices = size if size > 1 else 'auto'
        prepared = made(strategy=strategy, devices=devices, width=16, max_memory_gb=0.05)
        with torch.device('meta'):
            network = torch.nn.Linear(10_000, 10_000, bias=False)
        # what a chunk of work holds comes on top
        chunk = 0.5 * 0.05e9

        def work(ranks):
            device = torch.device('cpu', ranks.rank)
            choose_strategy(prepared, network, dataclasses.replace(make_run(), ranks=ranks, device=device))
            return ranks.strategy

        def room(device):
            return (4 * rooms[device.index] * 10**8 + chunk) / 1e9, 'are left for this process'

        monkeypatch.setattr(memory, 'room_gb', room)
        return run_threads(size, work) if size > 1 else work(ONE)

    return choose


def test_a_network_is_divided_where_it_does_not_fit_on_some_device(choose):
    assert choose('auto', (4.1, 4.1)) == ['ddp', 'ddp']
    assert choose('auto', (4.1, 3.9)) == ['fsdp', 'fsdp']
    # where there are two, one copy and half of each of four
    assert [type(error) for error in choose('auto', (2.9, 2.9))] == [UserError, UserError]


def test_what_is_asked_for_is_done(choose):
    assert choose('fsdp', (9, 9)) == ['fsdp', 'fsdp']
    refused = choose('ddp', (3.9, 3.9))
    assert ['use a smaller model' in str(error) for error in refused] == [True, True]


def test_one_process_has_nothing_to_choose(choose):
    assert choose('auto', (4.1,), 1) == 'single' == choose('fsdp', (4.1,), 1)
    with pytest.raises(UserError, match='takes at least'):
        choose('auto', (3.9,), 1)
