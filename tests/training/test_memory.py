"""When memory runs out, work is cut into smaller chunks and done again; precision and compiler are as asked for."""

import types

import pytest
import torch

from q2_aam.config import PretrainConfig
from q2_aam.errors import UserError
from q2_aam.model.layers import Block, layout_of
from q2_aam.runtime import device as devices
from q2_aam.runtime.device import MOST_HALVINGS, choose_precision, place, with_less_memory

CPU = torch.device('cpu')


class Network(torch.nn.Linear):
    def __init__(self):
        super().__init__(2, 2)
        self.max_floats = 2**20


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

    with pytest.raises(UserError) as error:
        with_less_memory(network, work)
    assert str(error.value) == (
        'Memory ran out although the work was cut into small chunks; lower batch_size or max_asvs_per_sample, or use a '
        'smaller model (width, asv_layers, sample_layers).'
    )
    assert len(tries) == MOST_HALVINGS + 1


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match='shapes'):
        with_less_memory(Network(), lambda: _raise('shapes do not fit'))


def _raise(text):
    raise RuntimeError(text)


def test_precision_follows_the_device_unless_it_is_given():
    assert choose_precision('auto', CPU) == torch.float32
    assert choose_precision('bfloat16', CPU) == torch.bfloat16
    assert choose_precision('float16', CPU) == torch.float16
    assert choose_precision('float32', types.SimpleNamespace(type='cuda')) == torch.float32


def test_placing_sets_memory_and_precision():
    network = place(
        Network(),
        PretrainConfig.from_flat({'precision': 'bfloat16', 'max_memory_gb': 1.0}).runtime,
        CPU,
    )
    assert network.precision == torch.bfloat16
    assert network.max_floats == 125_000_000


def test_a_compiler_that_fails_is_one_sentence(monkeypatch):
    def fail(*_):
        raise RuntimeError('No working C++ compiler found\nset CXX')

    monkeypatch.setattr(torch, 'compile', lambda function: fail)
    with pytest.raises(UserError) as error:
        place(Network(), PretrainConfig.from_flat({'compile': True}).runtime, CPU)
    assert str(error.value) == (
        'Parameter compile is given, but PyTorch cannot compile here (No working C++ compiler found); leave it out, or '
        'install a C++ compiler (on a GPU also Triton).'
    )


@pytest.mark.slow
def test_a_compiled_network_gives_the_same_outputs_and_gradients():
    fault = devices._fault_of_compiler(CPU)
    if fault is not None:
        pytest.skip(f'PyTorch cannot compile here: {fault}')
    torch.manual_seed(1)
    network = torch.nn.ModuleList([Block(16, 2, 2), Block(16, 2, 2)])

    def run(sizes):
        generator = torch.Generator().manual_seed(2)
        layout = layout_of([0, *torch.tensor(sizes).cumsum(0).tolist()])
        x = layout.spread(torch.randn(sum(sizes), 16, generator=generator))
        network.zero_grad()
        for block in network:
            x = block(x, layout)
        layout.collect(x).sin().sum().backward()
        return [x.detach(), *(parameter.grad.clone() for parameter in network.parameters())]

    plain = [run(sizes) for sizes in ([3, 9, 4], [5, 5])]
    names = list(network.state_dict())
    place(network, PretrainConfig.from_flat({'compile': True}).runtime, CPU)
    assert network[0]._feed_forward is not network[1]._feed_forward
    torch.testing.assert_close([run(sizes) for sizes in ([3, 9, 4], [5, 5])], plain, rtol=1e-4, atol=1e-5)
    assert list(network.state_dict()) == names
