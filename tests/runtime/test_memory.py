"""How much a chunk may hold; when memory runs out, chunks are halved and the work is done again."""

import os
import pathlib
import platform
import resource
import types

import pytest
import torch

from q2_aam.config import AUTO
from q2_aam.errors import MachineError, UserError
from q2_aam.runtime import memory
from q2_aam.runtime.memory import MAX_HALVINGS, floats_per_chunk, with_less_memory


class Network(torch.nn.Linear):
    def __init__(self):
        super().__init__(2, 2)
        self.max_floats = 2**20


def test_memory_is_counted_in_floats(monkeypatch):
    cpu, cuda = types.SimpleNamespace(type='cpu'), types.SimpleNamespace(type='cuda')
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device: (10e9, 20e9))
    assert floats_per_chunk(2.0, cpu) == floats_per_chunk(2.0, cuda) == 250_000_000
    for machine_gb, floats in ((128.0, 500_000_000), (16.0, 125_000_000), (2.0, 31_250_000)):
        monkeypatch.setattr(memory, 'available_memory_gb', lambda gb=machine_gb: gb)
        assert floats_per_chunk(AUTO, cpu) == floats
    assert floats_per_chunk(AUTO, cuda) == 1_000_000_000


@pytest.mark.parametrize(
    'error',
    [torch.OutOfMemoryError('CUDA out of memory'), MemoryError(), RuntimeError("can't allocate memory: 9 bytes")],
)
def test_work_that_runs_out_of_memory_is_done_again_in_smaller_chunks(error):
    network, seen = Network(), []

    def work():
        seen.append(network.max_floats)
        network(torch.ones(2)).sum().backward()
        if network.max_floats > 2**18:
            raise error
        return network.weight.grad.clone()

    assert torch.equal(with_less_memory(network, work), torch.ones(2, 2))
    assert seen == [2**20, 2**19, 2**18]


def test_memory_that_never_suffices_is_one_sentence():
    network, tries = Network(), []

    def work():
        tries.append(1)
        raise MemoryError

    with pytest.raises(MachineError) as error:
        with_less_memory(network, work)
    assert str(error.value) == (
        'Memory ran out even with the smallest chunks of work; lower batch_size or max_asvs_per_sample, or use a '
        'smaller model (width, asv_layers, sample_layers).'
    )
    assert len(tries) == MAX_HALVINGS + 1


def test_other_errors_pass():
    def work():
        raise RuntimeError('shapes do not fit')

    with pytest.raises(RuntimeError, match='^shapes do not fit$'):
        with_less_memory(Network(), work)


CPU = torch.device('cpu')


def test_a_model_that_does_not_fit_is_refused_with_what_it_needs_and_what_there_is(monkeypatch):
    monkeypatch.setattr(memory, 'available_memory_gb', lambda: 2.5)
    monkeypatch.setattr(memory, 'held_memory_gb', lambda: 0.5)
    with torch.device('meta'):
        fits, model = torch.nn.Linear(10_000, 11_000, bias=False), torch.nn.Linear(10_000, 12_000, bias=False)
    # what a chunk may hold at most, it need not hold
    memory.check_room(fits, CPU, 10**12)
    for floats, more in ((10**8, 3 * 10**8), (0, 4 * 10**8)):
        with pytest.raises(UserError) as error:
            memory.check_room(model, CPU, floats, more)
        assert str(error.value) == (
            'Training this model of 120,000,000 weights takes at least 2.3 GB of memory, but 2.0 GB are left for this '
            'process; use a smaller model (width, asv_layers, sample_layers), or give more memory.'
        )


def test_weights_that_are_divided_take_less_of_each_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device: (2e9, 20e9))
    with torch.device('meta'):
        model = torch.nn.Linear(10_000, 15_000, bias=False)
    gpu = types.SimpleNamespace(type='cuda')
    # all of them once, and of four copies a quarter each
    memory.check_room(model, gpu, 0, processes=4)
    for processes, needed in ((1, 2.4), (2, 1.8)):
        monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device, needed=needed: ((needed - 0.01) * 1e9, 20e9))
        with pytest.raises(UserError, match=f'takes at least {needed} GB of memory'):
            memory.check_room(model, gpu, 0, processes=processes)


def test_on_a_gpu_its_free_memory_counts(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device: (1e9, 20e9))
    with torch.device('meta'):
        model = torch.nn.Linear(10_000, 12_000)
    with pytest.raises(UserError, match='but 1.0 GB are free on the GPU; '):
        memory.check_room(model, types.SimpleNamespace(type='cuda'), 0)


def test_freed_memory_is_given_back_where_the_c_library_can(monkeypatch):
    asked = []
    monkeypatch.setattr(memory, '_malloc_trim', lambda: asked.append)
    memory.give_back_memory()
    assert asked == [0]
    monkeypatch.setattr(memory, '_malloc_trim', lambda: None)
    memory.give_back_memory()


@pytest.mark.parametrize('error', [AttributeError, OSError, TypeError])
def test_another_c_library_is_no_error(monkeypatch, error):
    memory._malloc_trim.cache_clear()

    def nothing(name):
        raise error('no such function')

    monkeypatch.setattr(memory.ctypes, 'CDLL', nothing)
    assert memory._malloc_trim() is None
    memory._malloc_trim.cache_clear()


@pytest.mark.skipif(
    platform.libc_ver()[0] != 'glibc' or bool({'LD_PRELOAD', 'MALLOC_MMAP_THRESHOLD_'} & set(os.environ)),
    reason='it is what glibc does where nothing else is asked of it',
)
def test_a_process_is_smaller_after_giving_back():
    def held():
        return int(pathlib.Path('/proc/self/statm').read_text().split()[1]) * resource.getpagesize()

    # pieces too small to be given back by themselves, with others between them that stay
    pieces = [b'x' * 2**16 for _ in range(2000)]
    staying = pieces[::8]
    del pieces
    before = held()
    memory.give_back_memory()
    assert held() < before - 2**25 and len(staying) == 250
