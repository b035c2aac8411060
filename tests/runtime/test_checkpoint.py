"""Checkpoints: tensors and JSON only, written so that a kill at any moment leaves a sound one."""

import dataclasses
import json
import math
import os

import pytest
import torch
from torch import nn

from q2_aam.runtime import checkpoint as module
from q2_aam.runtime.checkpoint import Checkpoint, State
from q2_aam.runtime.history import History

# what a torch.amp.GradScaler gives
SCALE = torch.amp.GradScaler('cpu', init_scale=0.1 + 0.2).state_dict()


class Normalised(nn.Module):
    """A module with parameters, with buffers of two kinds, and with a part that learns no more."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Linear(3, 3).requires_grad_(False)
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer('places', torch.zeros(2, dtype=torch.int64))


@pytest.fixture
def trained():
    """A network and an optimizer after a step, and the state of the run."""
    torch.manual_seed(1)
    network = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    network(torch.ones(4, 3)).square().mean().backward()
    optimizer.step()
    history = History()
    history.log(1, 1, 'training', loss=1 / 3, r=float('nan'))
    best = {name: value.detach() + 1 for name, value in network.state_dict().items()}
    return network, optimizer, State(14, 4, 2, 0.1 + 0.2, best, history, {'loss': 1 / 7}, 9, SCALE)


def fresh():
    network = nn.Linear(3, 2)
    return network, torch.optim.AdamW(network.parameters(), lr=0.1)


def same(one, two):
    return set(one) == set(two) and all(torch.equal(one[name], two[name]) for name in one)


def test_what_is_saved_comes_back_bit_for_bit(tmp_path, trained):
    network, optimizer, state = trained
    Checkpoint(tmp_path, 0).save(*trained)
    new, new_optimizer = fresh()
    resumed = Checkpoint(tmp_path, 0).resume(new, new_optimizer)
    assert same(new.state_dict(), network.state_dict())
    for index, values in optimizer.state_dict()['state'].items():
        assert same(new_optimizer.state_dict()['state'][index], values)
    assert (resumed.step, resumed.epoch, resumed.best_epoch, resumed.best_score) == (14, 4, 2, 0.1 + 0.2)
    assert (resumed.sums, resumed.samples, resumed.scale) == ({'loss': 1 / 7}, 9, SCALE)
    assert same(resumed.best_weights, state.best_weights)
    assert resumed.history.rows[0] == state.history.rows[0]
    assert math.isnan(resumed.history.rows[1][4])


def test_buffers_and_frozen_parameters_of_any_module_come_back_too(tmp_path):
    torch.manual_seed(1)
    module, other = Normalised(), Normalised()
    optimizers = [torch.optim.AdamW(one.norm.parameters(), lr=0.1) for one in (module, other)]
    module.places += 2**40
    module.norm(module.frozen(torch.ones(2, 3))).sum().backward()
    optimizers[0].step()
    Checkpoint(tmp_path, 0).save(module, optimizers[0], State(step=1))
    Checkpoint(tmp_path, 0).resume(other, optimizers[1])
    assert same(other.state_dict(), module.state_dict())
    assert other.places.tolist() == [2**40] * 2 and other.norm.num_batches_tracked == 1


def test_a_scale_of_the_loss_goes_on_from_where_it_was(tmp_path, trained):
    Checkpoint(tmp_path, 0).save(*trained)
    scaler = torch.amp.GradScaler('cpu')
    scaler.load_state_dict(Checkpoint(tmp_path, 0).resume(*fresh()).scale)
    assert scaler.get_scale() == 0.1 + 0.2


def test_a_run_without_score_has_none_after_resuming_either(tmp_path, trained):
    network, optimizer, _ = trained
    Checkpoint(tmp_path, 0).save(network, optimizer, State(step=3, epoch=1))
    resumed = Checkpoint(tmp_path, 0).resume(*fresh())
    assert (resumed.best_score, resumed.best_weights) == (math.inf, None)


def test_a_folder_without_checkpoint_begins_anew(tmp_path):
    for folder in (tmp_path, None):
        resumed = Checkpoint(folder).resume(*fresh())
        assert dataclasses.replace(resumed, history=None) == State(history=None) and resumed.history.rows == []


def test_without_a_folder_nothing_is_kept(tmp_path, trained, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Checkpoint(None, 0).save(*trained)
    assert list(tmp_path.iterdir()) == []


def test_saves_are_apart_by_the_given_time(tmp_path, trained, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, 'monotonic', lambda: now[0])
    checkpoint = Checkpoint(tmp_path)
    for moment, saved in ((129.0, False), (130.0, True)):
        now[0] = moment
        checkpoint.save(*trained)
        assert (tmp_path / module.STATE_FILE).exists() is saved
    (tmp_path / module.STATE_FILE).unlink()
    now[0] = 159.0
    checkpoint.save(*trained)
    assert not (tmp_path / module.STATE_FILE).exists()


def test_saves_that_take_long_are_further_apart(tmp_path, trained, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, 'monotonic', lambda: now[0])
    checkpoint = Checkpoint(tmp_path)
    replace = os.replace

    def slow(*paths):
        now[0] += 5
        replace(*paths)

    monkeypatch.setattr(module.os, 'replace', slow)
    now[0] = 130.0
    checkpoint.save(*trained)
    # two files, 10 seconds: not before 200 more
    for moment, saved in ((339.0, False), (340.0, True)):
        now[0] = moment
        trained[2].step += 1
        checkpoint.save(*trained)
        assert (json.loads((tmp_path / module.STATE_FILE).read_text())['step'] != 14) is saved


def test_only_the_last_checkpoint_is_kept_and_nothing_is_pickled(tmp_path, trained):
    network, optimizer, state = trained
    checkpoint = Checkpoint(tmp_path, 0)
    for state.step in (14, 15):
        checkpoint.save(network, optimizer, state)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['15.tensors.safetensors', 'state.json']
    assert json.loads((tmp_path / 'state.json').read_text())['step'] == 15


@pytest.mark.parametrize('fatal', [1, 2])
def test_a_kill_while_writing_leaves_the_checkpoint_before(tmp_path, trained, monkeypatch, fatal):
    network, optimizer, state = trained
    checkpoint = Checkpoint(tmp_path, 0)
    checkpoint.save(network, optimizer, state)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    replace, calls = os.replace, []

    def killed(*paths):
        calls.append(paths)
        if len(calls) == fatal:
            raise KeyboardInterrupt
        replace(*paths)

    monkeypatch.setattr(module.os, 'replace', killed)
    state.step = 15
    with torch.no_grad():
        network.weight.add_(1)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(network, optimizer, state)
    new, new_optimizer = fresh()
    assert Checkpoint(tmp_path, 0).resume(new, new_optimizer).step == 14
    assert same(new.state_dict(), before)
