"""Where to compute: a GPU only where one really computes, threads and memory as asked for."""

import os
import pathlib
import platform
import resource
import types
import warnings

import pytest
import torch

from q2_aam.config import AUTO
from q2_aam.errors import AAMWarning, UserError
from q2_aam.runtime import device as devices


@pytest.fixture
def gpu(monkeypatch):
    """Pretend that torch finds a GPU; the fault is what its test calculation says."""

    def pretend(fault=None, available=True):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: available)
        monkeypatch.setattr(devices, '_fault_of_gpu', lambda: fault)

    return pretend


def chosen_quietly(name):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        return devices.choose_device(name).type


def test_the_cpu_is_taken_where_it_is_asked_for(gpu):
    gpu()
    assert chosen_quietly('cpu') == 'cpu'


def test_auto_takes_a_gpu_that_computes(gpu):
    gpu()
    assert chosen_quietly(AUTO) == chosen_quietly('cuda') == 'cuda'


def test_auto_takes_the_cpu_quietly_where_there_is_no_gpu(gpu):
    gpu('no driver', available=False)
    assert chosen_quietly(AUTO) == 'cpu'


def test_auto_falls_back_and_says_why_where_a_gpu_does_not_compute(gpu):
    gpu('no kernel image is available')
    with pytest.warns(AAMWarning) as said:
        assert devices.choose_device(AUTO).type == 'cpu'
    assert [str(one.message) for one in said] == [
        'There is a GPU, but it does not compute (no kernel image is available); the CPU is used instead.'
    ]


def test_cuda_without_a_gpu_is_refused(gpu):
    gpu('no driver', available=False)
    with pytest.raises(UserError) as error:
        devices.choose_device('cuda')
    assert str(error.value) == 'Parameter device is cuda, but no GPU computes here (no driver); use auto or cpu.'


def test_the_test_calculation_says_in_one_line_what_fails(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError('CUDA error: device-side assert\nCompile with TORCH_USE_CUDA_DSA\n')

    monkeypatch.setattr(torch, 'ones', fail)
    assert devices._fault_of_gpu() == 'CUDA error: device-side assert'


@pytest.mark.parametrize(('factor', 'fault'), [(1.0, None), (0.5, 'its results are wrong')])
def test_the_test_calculation_looks_at_its_result(monkeypatch, factor, fault):
    ones = torch.ones
    monkeypatch.setattr(torch, 'ones', lambda *size, device: factor * ones(*size))
    assert devices._fault_of_gpu() == fault


def test_threads_are_those_asked_for_and_put_back_even_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), devices.use_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    assert torch.get_num_threads() == before


def test_0_threads_are_all_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(devices.os, 'sched_getaffinity', lambda _: {0, 3, 5}, raising=False)
    with devices.use_threads(0):
        assert torch.get_num_threads() == 3


def test_where_affinity_is_unknown_the_cpus_are_counted(monkeypatch):
    monkeypatch.delattr(devices.os, 'sched_getaffinity', raising=False)
    monkeypatch.setattr(devices.os, 'cpu_count', lambda: 6)
    assert devices._available_cpus() == 6


def test_memory_is_shared_out_in_floats(monkeypatch):
    cpu, cuda = types.SimpleNamespace(type='cpu'), types.SimpleNamespace(type='cuda')
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda: (10e9, 20e9))
    assert devices.floats_a_chunk(2.0, cpu) == devices.floats_a_chunk(2.0, cuda) == 250_000_000
    assert devices.floats_a_chunk(AUTO, cpu) == 31_250_000
    assert devices.floats_a_chunk(AUTO, cuda) == 1_000_000_000


def test_freed_memory_is_given_back_where_the_c_library_can(monkeypatch):
    asked = []
    monkeypatch.setattr(devices, '_malloc_trim', lambda: asked.append)
    devices.give_back_memory()
    assert asked == [0]
    monkeypatch.setattr(devices, '_malloc_trim', lambda: None)
    devices.give_back_memory()


@pytest.mark.parametrize('error', [AttributeError, OSError, TypeError])
def test_another_c_library_is_no_error(monkeypatch, error):
    devices._malloc_trim.cache_clear()

    def nothing(name):
        raise error('no such function')

    monkeypatch.setattr(devices.ctypes, 'CDLL', nothing)
    assert devices._malloc_trim() is None
    devices._malloc_trim.cache_clear()


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
    devices.give_back_memory()
    assert held() < before - 2**25 and len(staying) == 250
