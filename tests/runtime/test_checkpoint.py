"""Checkpoints: tensors and JSON only, written so that a kill at any moment leaves a sound one."""

import dataclasses
import errno
import json
import math
import os
import warnings

import pytest
import torch
from torch import nn

from q2_aam.data.atomic import write_json
from q2_aam.errors import AAMWarning
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


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


# what a full disk, a kill of the machine or a bad sector leaves
DAMAGE = {
    'empty': lambda content: b'',
    'half': lambda content: content[: len(content) // 2],
    'one bit': lambda content: flipped(content, len(content) // 2),
    'last bit': lambda content: flipped(content, len(content) - 4),
    'other JSON': lambda content: b'{"step": 14}',
    'zeros': lambda content: bytes(len(content)),
    'missing': None,
}


@pytest.mark.parametrize('name', ['state.json', '14.tensors.safetensors'])
@pytest.mark.parametrize('damage', DAMAGE)
def test_a_damaged_checkpoint_is_set_aside_and_the_run_begins_anew(tmp_path, trained, name, damage):
    folder = tmp_path / 'network'
    Checkpoint(folder, 0).save(*trained)
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if DAMAGE[damage] is not None:
        (folder / name).write_bytes(DAMAGE[damage](content))
    new, new_optimizer = fresh()
    before = {key: value.clone() for key, value in new.state_dict().items()}
    with pytest.warns(AAMWarning) as caught:
        resumed = Checkpoint(folder, 0).resume(new, new_optimizer)
    (message,) = (str(one.message) for one in caught)
    assert message.startswith(f'The checkpoint in the run directory, {folder}, is damaged ({name} ')
    assert message.endswith('; set aside as network.damaged); its training begins anew.')
    assert dataclasses.replace(resumed, history=None) == State(history=None)
    assert same(new.state_dict(), before) and not new_optimizer.state_dict()['state']
    assert [path.name for path in tmp_path.iterdir()] == ['network.damaged']
    # the next one is sound
    Checkpoint(folder, 0).save(*trained)
    assert Checkpoint(folder, 0).resume(*fresh()).step == 14


def test_a_checkpoint_of_another_seed_is_not_resumed_from(tmp_path, trained):
    Checkpoint(tmp_path / 'network', 0, seed=3).save(*trained)
    assert Checkpoint(tmp_path / 'network', 0, seed=3).resume(*fresh()).step == 14
    with pytest.warns(AAMWarning, match='it belongs to a run with another seed'):
        assert Checkpoint(tmp_path / 'network', 0, seed=4).resume(*fresh()).step == 0


@pytest.mark.parametrize('part', ['module', 'best', 'optimizer'])
def test_tensors_of_another_model_change_nothing(tmp_path, trained, part):
    network, optimizer, state = trained
    other = nn.Linear(5, 4)
    other_optimizer = torch.optim.AdamW(other.parameters())
    other(torch.ones(4, 5)).sum().backward()
    other_optimizer.step()
    state.best_weights = other.state_dict() if part == 'best' else state.best_weights
    Checkpoint(tmp_path / 'network', 0).save(
        other if part == 'module' else network, other_optimizer if part == 'optimizer' else optimizer, state
    )
    new, new_optimizer = fresh()
    before = {key: value.clone() for key, value in new.state_dict().items()}
    with pytest.warns(AAMWarning, match='is damaged .* another model'):
        Checkpoint(tmp_path / 'network', 0).resume(new, new_optimizer)
    assert same(new.state_dict(), before) and not new_optimizer.state_dict()['state']


def test_numbers_that_are_missing_from_a_state_are_damage(tmp_path, trained):
    Checkpoint(tmp_path / 'network', 0).save(*trained)
    write_json(tmp_path / 'network' / 'state.json', {'step': 14, 'seed': 0})
    with pytest.warns(AAMWarning, match='is damaged'):
        assert Checkpoint(tmp_path / 'network', 0).resume(*fresh()).step == 0


@pytest.mark.parametrize('where', ['save_file', 'write_json', 'fsync'])
def test_a_full_disk_is_warned_of_once_and_training_goes_on_without_checkpoints(tmp_path, trained, monkeypatch, where):
    network, optimizer, state = trained
    checkpoint = Checkpoint(tmp_path / 'network', 0)
    checkpoint.save(network, optimizer, state)

    def full(*_):
        if where == 'save_file':
            raise module.SafetensorError('I/O error: No space left on device (os error 28)')
        raise OSError(errno.ENOSPC, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(os if where == 'fsync' else module, where, full)
        state.step = 15
        with pytest.warns(AAMWarning) as caught:
            checkpoint.save(network, optimizer, state)
        assert [str(one.message) for one in caught] == [
            f'The run directory {tmp_path} cannot be written (No space left on device): training goes on without '
            'checkpoints; to have them, free disk space or set the environment variable AAM_WORK_DIR to a folder that '
            'has it.'
        ]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        checkpoint.save(network, optimizer, state)
        # the one before is still sound
        assert Checkpoint(tmp_path / 'network', 0).resume(*fresh()).step == 14
