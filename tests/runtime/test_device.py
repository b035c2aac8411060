"""Where to compute: a GPU only where one works; threads, precision, kernels and compiler as asked for."""

import threading
import types
import warnings

import numpy as np
import pytest
import torch

from q2_aam.config import AUTO, PretrainConfig
from q2_aam.data.layouts import layout_of
from q2_aam.errors import AAMWarning, UserError
from q2_aam.model.layers import Block
from q2_aam.runtime import device as devices
from q2_aam.runtime.device import choose_precision, deterministic, device_name, place

CPU = torch.device('cpu')


@pytest.fixture
def gpu(monkeypatch):
    """Pretend that torch finds a GPU; the fault is what its test calculation says."""

    def pretend(fault=None, available=True):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: available)
        monkeypatch.setattr(devices, '_fault_of_gpu', lambda device: fault)

    return pretend


def chosen_quietly(name):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        return devices.choose_device(name).type


def test_the_cpu_is_taken_where_it_is_asked_for(gpu):
    gpu()
    assert chosen_quietly('cpu') == 'cpu'


def test_auto_takes_a_gpu_that_works(gpu):
    gpu()
    assert chosen_quietly(AUTO) == chosen_quietly('cuda') == 'cuda'


def test_auto_takes_the_cpu_quietly_where_there_is_no_gpu(gpu):
    gpu('no driver', available=False)
    assert chosen_quietly(AUTO) == 'cpu'


def test_auto_falls_back_and_says_why_where_a_gpu_does_not_work(gpu):
    gpu('no kernel image is available')
    with pytest.warns(AAMWarning) as warned:
        assert devices.choose_device(AUTO).type == 'cpu'
    assert [str(one.message) for one in warned] == [
        'There is a GPU, but it does not work (no kernel image is available); the CPU is used instead.'
    ]


def test_cuda_without_a_gpu_is_refused(gpu):
    gpu('no driver', available=False)
    with pytest.raises(UserError) as error:
        devices.choose_device('cuda')
    assert str(error.value) == 'Parameter device is cuda, but there is no working GPU (no driver); use auto or cpu.'


def test_the_test_calculation_says_in_one_line_what_fails(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError('CUDA error: device-side assert\nCompile with TORCH_USE_CUDA_DSA\n')

    monkeypatch.setattr(torch, 'ones', fail)
    assert devices._fault_of_gpu(torch.device('cuda')) == 'CUDA error: device-side assert'


@pytest.mark.parametrize(('factor', 'fault'), [(1.0, None), (0.5, 'its results are wrong')])
def test_the_test_calculation_looks_at_its_result(monkeypatch, factor, fault):
    ones = torch.ones
    monkeypatch.setattr(torch, 'ones', lambda *size, device: factor * ones(*size))
    assert devices._fault_of_gpu(torch.device('cuda')) == fault


def test_threads_are_those_asked_for_and_put_back_even_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), devices.use_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    assert torch.get_num_threads() == before


def test_0_threads_are_all_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(devices, 'available_cpus', lambda: 3)
    with devices.use_threads(0):
        assert torch.get_num_threads() == 3


def test_a_device_has_a_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device: f'the GPU {device.index}')
    assert device_name(CPU) == 'cpu'
    assert device_name(torch.device('cuda', 1)) == 'the GPU 1'


def test_precision_follows_the_device_unless_it_is_given():
    assert choose_precision('auto', CPU) == torch.float32
    assert choose_precision('bfloat16', CPU) == torch.bfloat16
    assert choose_precision('float16', CPU) == torch.float16
    assert choose_precision('float32', types.SimpleNamespace(type='cuda')) == torch.float32


def switches():
    return torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory


def test_kernels_are_deterministic_within_and_as_before_afterwards():
    assert switches() == (False, True)
    with pytest.raises(KeyError), deterministic(CPU):
        assert switches() == (True, False)
        raise KeyError
    assert switches() == (False, True)


def test_what_the_caller_has_set_is_put_back():
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with deterministic(CPU):
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_nothing_is_changed_for_a_gpu():
    with deterministic(torch.device('cuda')):
        assert switches() == (False, True)
        with deterministic(CPU), deterministic(torch.device('cuda')):
            assert switches() == (True, False)


def test_random_numbers_of_the_process_are_left_alone():
    before = torch.get_rng_state()
    with deterministic(CPU):
        assert torch.equal(torch.get_rng_state(), before)


def test_a_run_that_ends_leaves_kernels_deterministic_for_one_in_another_thread():
    entered, first_is_over, seen = threading.Event(), threading.Event(), []

    def second():
        with deterministic(CPU):
            entered.set()
            first_is_over.wait(10)
            seen.append(switches())

    thread = threading.Thread(target=second)
    with deterministic(CPU):
        thread.start()
        assert entered.wait(10)
    first_is_over.set()
    thread.join()
    assert seen == [(True, False)]
    assert switches() == (False, True)


class Network(torch.nn.ModuleList):
    """The part of a network that is compiled."""

    def __init__(self):
        super().__init__([Block(16, 2, 2), Block(16, 2, 2)])

    def compile_blocks(self):
        for block in self:
            block.compile_products()


def test_placing_sets_memory_and_precision():
    runtime = PretrainConfig.from_flat({'precision': 'bfloat16', 'max_memory_gb': 1.0}).runtime
    network = place(Network(), runtime, CPU)
    assert network.precision == torch.bfloat16
    assert network.max_floats == 125_000_000


def test_attention_is_not_left_to_cudnn_which_plans_for_each_shape():
    torch.backends.cuda.enable_cudnn_sdp(True)
    place(Network(), PretrainConfig().runtime, CPU)
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    # what it has instead
    assert torch.backends.cuda.flash_sdp_enabled() and torch.backends.cuda.mem_efficient_sdp_enabled()


def test_a_compiler_that_fails_is_one_sentence(monkeypatch):
    def fail(*_):
        raise RuntimeError('No working C++ compiler found\nset CXX')

    monkeypatch.setattr(torch, 'compile', lambda function: fail)
    with pytest.raises(UserError) as error:
        place(Network(), PretrainConfig.from_flat({'compile': True}).runtime, CPU)
    assert str(error.value) == (
        'Parameter compile is on, but PyTorch cannot compile on this machine (No working C++ compiler found); turn it '
        'off, or install a C++ compiler (for a GPU also Triton).'
    )


def test_a_network_is_compiled_if_that_is_asked_for(monkeypatch):
    compiled = []
    monkeypatch.setattr(devices, '_fault_of_compiler', lambda device: None)
    monkeypatch.setattr(Network, 'compile_blocks', lambda network: compiled.append(network))
    networks = [place(Network(), PretrainConfig.from_flat({'compile': on}).runtime, CPU) for on in (False, True)]
    assert [id(network) for network in compiled] == [id(networks[1])]


@pytest.mark.slow
def test_a_compiled_network_gives_the_same_outputs_and_gradients():
    fault = devices._fault_of_compiler(CPU)
    if fault is not None:
        pytest.skip(f'PyTorch cannot compile here: {fault}')
    torch.manual_seed(1)
    network = Network()

    def run(sizes):
        generator = torch.Generator().manual_seed(2)
        layout = layout_of(np.array(sizes))
        x = layout.to_places(torch.randn(sum(sizes), 16, generator=generator))
        network.zero_grad()
        for block in network:
            x = block(x, layout)
        layout.to_tokens(x).sin().sum().backward()
        return [x.detach(), *(parameter.grad.clone() for parameter in network.parameters())]

    plain = [run(sizes) for sizes in ([3, 9, 4], [5, 5])]
    names = list(network.state_dict())
    place(network, PretrainConfig.from_flat({'compile': True}).runtime, CPU)
    assert network[0]._mlp is not network[1]._mlp
    torch.testing.assert_close([run(sizes) for sizes in ([3, 9, 4], [5, 5])], plain, rtol=1e-4, atol=1e-5)
    assert list(network.state_dict()) == names
