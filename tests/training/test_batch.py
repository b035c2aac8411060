"""Batches made ahead are those that would have been made in time; losses that are read later are the same losses."""

import itertools
import threading
import types

import numpy as np
import pytest
import torch

from q2_aam import bundle
from q2_aam.data.batches import Batch
from q2_aam.data.tensors import moved, with_tensors
from q2_aam.errors import UserError
from q2_aam.runtime.checkpoint import Checkpoint, State
from q2_aam.training import train
from q2_aam.training.batch import made_ahead
from q2_aam.training.steps import STEPS_UNREAD, Unread
from tests.training.line import Line, run

GPU = types.SimpleNamespace(type='cuda')


@pytest.mark.parametrize('by_thread', [True, False])
@pytest.mark.parametrize('number', [0, 1, 4])
def test_batches_come_in_their_order_with_their_numbers(number, by_thread):
    made = made_ahead(lambda *values: values, iter('abcd'[:number]), itertools.count(7), by_thread)
    assert list(made) == list(zip('abcd'[:number], range(7, 11)))


def test_the_next_batch_is_made_while_the_last_one_is_in_use():
    made = {letter: threading.Event() for letter in 'abc'}

    def make(letter, number):
        made[letter].set()
        return letter

    ahead = made_ahead(make, iter('abc'), itertools.count())
    assert next(ahead) == 'a'
    assert made['b'].wait(10) and not made['c'].is_set()
    ahead.close()
    # the thread ends with its user
    assert not any(thread.name.startswith('batches') for thread in threading.enumerate())


@pytest.mark.parametrize('by_thread', [True, False])
def test_what_goes_wrong_in_making_a_batch_goes_wrong_where_it_is_asked_for(by_thread):
    def make(letter, number):
        return letter if letter == 'a' else 1 / 0

    ahead = made_ahead(make, iter('abc'), itertools.count(), by_thread)
    assert next(ahead) == 'a'
    with pytest.raises(ZeroDivisionError):
        next(ahead)


def test_a_batch_for_which_there_was_no_memory_beside_the_step_is_made_after_it():
    makers = []

    def make(letter, number):
        makers.append((letter, number, threading.current_thread() is threading.main_thread()))
        if makers[-1] == ('b', 1, False):
            raise torch.OutOfMemoryError('CUDA out of memory')
        return letter

    assert list(made_ahead(make, iter('abc'), itertools.count())) == ['a', 'b', 'c']
    assert sorted(makers) == [('a', 0, False), ('b', 1, False), ('b', 1, True), ('c', 2, False)]


def test_a_model_is_the_same_bit_for_bit_whoever_makes_its_batches(tiny, pretrained, monkeypatch):
    models, makers = [], set()
    make = train.make

    def noting(*values):
        makers.add(threading.current_thread().name.partition('_')[0])
        return make(*values)

    monkeypatch.setattr(train, 'make', noting)
    for cpus, threads in ((1, 0), (2, 1), (2, 0)):
        monkeypatch.setattr(train, 'available_cpus', lambda cpus=cpus: cpus)
        makers.clear()
        models.append((pretrained(tiny, f'{cpus}-{threads}', threads=threads).folder / bundle.MODEL_FILE).read_bytes())
        assert makers == {'batches' if (cpus, threads) == (2, 0) else 'MainThread'}
    assert models[0] == models[1] == models[2]


def test_losses_on_a_gpu_are_read_some_steps_at_a_time_and_sum_up_to_the_same():
    sums = []
    for device in (torch.device('cpu'), GPU):
        state = State()
        unread, read = Unread(state, device), []
        for step in range(STEPS_UNREAD + 3):
            metrics = {'loss': torch.tensor(1.0 + step).double(), 'twice': torch.tensor(2.0 + 2 * step).double()}
            unread.add(step, metrics, 5)
            read.append(state.samples // 5)
        assert read[-1] == (STEPS_UNREAD if device is GPU else STEPS_UNREAD + 3)
        unread.read()
        sums.append((state.sums, state.samples))
    assert sums[0] == sums[1] and set(sums[0][0]) == {'loss', 'twice'}


def test_the_first_loss_that_is_not_finite_is_named_with_its_step():
    unread = Unread(State(), GPU)
    for step, loss in enumerate([1.0, 2.0, float('nan'), float('inf')], 40):
        unread.add(step, {'loss': torch.tensor(loss).double()}, 5)
    with pytest.raises(UserError, match=r'^The loss is nan in step 43; lower learning_rate\.$'):
        unread.read()


def test_no_weights_are_saved_of_which_a_loss_is_unread(tmp_path, monkeypatch):
    network = Line()
    # all steps of an epoch stay unread, as on a GPU
    monkeypatch.setattr('q2_aam.training.loop.device_of', lambda module: GPU)
    monkeypatch.setattr('q2_aam.training.loop.used_gb', lambda device: 0.0)
    monkeypatch.setattr('q2_aam.training.loop.make_scaler', lambda *_: torch.amp.GradScaler('cpu', enabled=False))

    def loss(rows, step):
        value, metrics, samples = network.loss(rows, step)
        return value * (float('nan') if step == 1 else 1), metrics, samples

    with pytest.raises(UserError, match='The loss is nan in step 2'):
        run(network, loss=loss, checkpoint=Checkpoint(tmp_path / 'network', seconds_between=0.0))
    saved = Checkpoint(tmp_path / 'network').resume(Line(), torch.optim.AdamW(Line().parameters()))
    assert saved.step <= 1


def test_a_batch_is_pinned_and_moved_in_all_its_parts():
    batch = Batch(('target',), embeddings=torch.ones(2, 3), labels={'target': torch.ones(2)}, given={'a': [None]})
    seen = []
    with_tensors(batch, lambda tensor: seen.append(tuple(tensor.shape)) or tensor)
    assert sorted(seen) == [(2,), (2, 3)]
    meta = moved(batch, torch.device('meta'))
    assert meta.labels['target'].is_meta and meta.given == {'a': [None]} and meta.heads == ('target',)
    assert np.all(batch.labels['target'].numpy() == 1)
