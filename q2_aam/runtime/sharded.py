"""A network whose weights are divided among processes, by PyTorch's FSDP2 (Zhao et al. 2023, arXiv:2304.11277).

Each process keeps a part of every weight, of its gradient, of the moments of the optimizer and of averaged weights. The
weights of a layer are gathered when it computes, and its gradients are summed and divided when they are there; all
other weights (embeddings, heads) are whole from the beginning of a step to its end.

FSDP averages gradients over processes, as :mod:`q2_aam.runtime.ranks` does, and for the same reason that is exact. All
processes must call each layer equally often, in the same order: :class:`q2_aam.data.shares.Share` sees to it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from q2_aam.model.layers import Block
from q2_aam.model.network import Network

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule


def shard(network: Network) -> None:
    """Divide the weights of a network, which are the same in all processes, among them."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(next(network.parameters()).device.type, (dist.get_world_size(),))
    for part in list(network.modules()):
        if isinstance(part, Block):
            fully_shard(part, mesh=mesh)
    fully_shard(network, mesh=mesh)


@contextlib.contextmanager
def unsharded(network: FSDPModule) -> Iterator[None]:
    """Let all processes hold the whole network, which one of them may then use alone, without learning."""
    parts = _sharded_parts(network)
    network.set_reshard_after_forward(False)
    for part in parts:
        part.unshard()
    yield
    for part in parts:
        part.reshard()
        # the weights of the network itself, outside of layers, are whole from forward to backward
        part.set_reshard_after_forward(part is not network, recurse=False)


def joined(network: Network, plain: Network) -> Network:
    """Return `plain`, which has no memory yet, with all weights of a sharded one; all processes do so together."""
    plain.load_state_dict({name: whole(value) for name, value in network.state_dict().items()}, assign=True)
    plain.max_floats, plain.precision = network.max_floats, network.precision
    return plain.eval()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor, all of it where processes hold parts of it; they do so together."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def placed_like(tensor: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return a whole tensor on the device of another one or, where that is sharded, this process's part of it."""
    if not is_sharded(other):
        return tensor.to(other.device)
    from torch.distributed.tensor import distribute_tensor

    # without a source: all processes have it
    return distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements, src_data_rank=None)


def is_sharded(tensor: torch.Tensor) -> bool:
    """Tell whether processes hold parts of a tensor; loading its class takes a second, and is not needed for that."""
    return hasattr(tensor, 'full_tensor')


def _sharded_parts(network):
    from torch.distributed.fsdp import FSDPModule

    return [part for part in network.modules() if isinstance(part, FSDPModule)]
