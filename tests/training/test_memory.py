"""When memory runs out, work is cut into smaller chunks and done again; precision follows the device."""

import types

import pytest
import torch

from q2_aam.config import PretrainConfig
from q2_aam.errors import UserError
from q2_aam.training.devices import MOST_HALVINGS, choose_precision, place, with_less_memory


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
    cpu = torch.device('cpu')
    assert choose_precision('auto', cpu) == torch.float32
    assert choose_precision('bfloat16', cpu) == torch.bfloat16
    assert choose_precision('float32', types.SimpleNamespace(type='cuda')) == torch.float32


def test_placing_sets_memory_and_precision():
    network = place(
        Network(),
        PretrainConfig.from_flat({'precision': 'bfloat16', 'max_memory_gb': 1.0}).runtime,
        torch.device('cpu'),
    )
    assert network.precision == torch.bfloat16
    assert network.max_floats == 125_000_000
