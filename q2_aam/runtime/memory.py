"""How much a chunk of work may hold, and what to do when memory runs out all the same."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import TypeVar

import torch

from q2_aam.config import AUTO
from q2_aam.errors import MachineError, UserError

from .limits import available_memory_gb, held_memory_gb, is_out_of_memory

BYTES_PER_FLOAT = 4
# What a chunk may take on a CPU: so much is enough for most batches; less where the machine has less than so many times
# that, since folds may run side by side. The measurements are in docs/performance.md.
CPU_GB, PARTS_OF_MEMORY = 4.0, 16
# The least of it: a step of 64 ECAM samples at the size there computes next to nothing twice.
LEAST_CPU_GB = 0.25
# Weights, gradients, inputs and what the allocator wastes share the memory with the activations of a chunk.
SHARE_FOR_ACTIVATIONS = 0.5
SHARE_OF_FREE_GPU_MEMORY = 0.8
# How often chunks are halved when memory runs out: to a thousandth of the first estimate.
MAX_HALVINGS = 10
# What AdamW holds for each weight: the weight, its gradient and two moments.
COPIES_OF_WEIGHTS = 4

Result = TypeVar('Result')


def floats_per_chunk(max_memory_gb: float | str, device: torch.device) -> int:
    """Return how many floats of activations a chunk of work may hold."""
    if max_memory_gb != AUTO:
        available = float(max_memory_gb) * 1e9
    elif device.type == 'cuda':
        available = SHARE_OF_FREE_GPU_MEMORY * torch.cuda.mem_get_info(device)[0]
    else:
        available = cpu_gb() * 1e9
    return int(SHARE_FOR_ACTIVATIONS * available / BYTES_PER_FLOAT)


def cpu_gb() -> float:
    """Return how much memory a chunk of work on a CPU may take; the same in each process of a machine."""
    return min(CPU_GB, max(LEAST_CPU_GB, available_memory_gb() / PARTS_OF_MEMORY))


def check_room(
    module: torch.nn.Module, device: torch.device, max_floats: int, more_bytes: int = 0, processes: int = 1
) -> None:
    """Refuse to train a model for which there is no memory: the system would end the process without a word.

    Parameters
    ----------
    module : torch.nn.Module
        Its weights may be on the meta device, where they take no memory yet.
    device : torch.device
        Where it is to be trained.
    max_floats : int
        Floats of activations that a chunk of work may hold.
    more_bytes : int
        What else will be held beside the weights.
    processes : int
        Among which weights are divided. Each draws all of them first, and one of them validates with all.

    Raises
    ------
    UserError
    """
    weights = sum(parameter.numel() for parameter in module.parameters())
    # a chunk may hold more, but need not
    copies = COPIES_OF_WEIGHTS if processes == 1 else 1 + COPIES_OF_WEIGHTS / processes
    floats = copies * weights + min(max_floats, int(SHARE_FOR_ACTIVATIONS * LEAST_CPU_GB * 1e9 / BYTES_PER_FLOAT))
    needed = (BYTES_PER_FLOAT * floats + more_bytes) / 1e9
    room, where = room_gb(device)
    if needed > room:
        raise UserError(
            f'Training this model of {weights:,} weights takes at least {needed:,.1f} GB of memory, but {room:,.1f} GB '
            f'{where}; use a smaller model (width, asv_layers, sample_layers), or give more memory.'
        )


def room_gb(device: torch.device) -> tuple[float, str]:
    """Return how many GB there are for more on a device, and the words for a sentence that says so."""
    if device.type == 'cuda':
        return torch.cuda.mem_get_info(device)[0] / 1e9, 'are free on the GPU'
    # what is held already counts: the arrays of the study, and the libraries themselves
    return max(0.0, available_memory_gb() - held_memory_gb()), 'are left for this process'


def used_gb(device: torch.device) -> float:
    """Return how many GB this process holds; on a GPU the most that it held there since it was asked last."""
    if device.type != 'cuda':
        return held_memory_gb()
    used = torch.cuda.max_memory_allocated(device) / 1e9
    torch.cuda.reset_peak_memory_stats(device)
    return used


def with_less_memory(module: torch.nn.Module, work: Callable[[], Result]) -> Result:
    """Return `work()`; where memory runs out, halve the chunks (``module.max_floats``) and try again.

    The size of chunks never changes a result, so that what failed is done again as if nothing had happened. Gradients
    are discarded before each new try.

    Raises
    ------
    MachineError
        If memory runs out although the chunks are as small as they get.
    """
    smallest = module.max_floats >> MAX_HALVINGS
    while True:
        try:
            return work()
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if module.max_floats <= smallest:
                raise MachineError(
                    'Memory ran out even with the smallest chunks of work; lower batch_size or max_asvs_per_sample, '
                    'or use a smaller model (width, asv_layers, sample_layers).'
                ) from error
        module.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        module.max_floats //= 2


def give_back_memory() -> None:
    """Return freed memory, which glibc keeps in pieces, to the operating system.

    Batches are of many sizes, and what one leaves free seldom fits the next: without this a process grows for hours.
    It takes some 20 milliseconds.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@functools.cache
def _malloc_trim():
    """Return glibc's function, or None where there is another C library."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    trim.argtypes = [ctypes.c_size_t]
    return trim
