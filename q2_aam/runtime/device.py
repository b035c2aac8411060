"""Where to compute, with how many threads, and how much one chunk of work may hold."""

import contextlib
import ctypes
import functools
import os
import warnings

import threadpoolctl
import torch

from q2_aam.config import AUTO
from q2_aam.errors import AAMWarning, UserError
from q2_aam.model.layers import Block

BYTES_A_FLOAT = 4
# The least with which a step of 64 ECAM samples at the size of docs/performance.md computes next to nothing twice. Rich
# samples train faster with 1 GB; the figures stand there.
CPU_GB = 0.25
# Weights, gradients, inputs and what the allocator wastes share the memory with the activations of a chunk.
SHARE_FOR_ACTIVATIONS = 0.5
SHARE_OF_FREE_GPU_MEMORY = 0.8
# How often chunks are halved when memory runs out: to a thousandth of what was thought to fit.
MOST_HALVINGS = 10


def choose_device(name):
    """Return the torch.device that `name` ('auto', 'cpu' or 'cuda') means here.

    Raises
    ------
    UserError
        If 'cuda' is asked for and does not compute.

    Warns
    -----
    AAMWarning
        If there is a GPU, 'auto' is asked for, and it does not compute; the CPU is used then.
    """
    if name == 'cpu' or (name == AUTO and not torch.cuda.is_available()):
        return torch.device('cpu')
    fault = _fault_of_gpu()
    if fault is None:
        return torch.device('cuda')
    if name == AUTO:
        warnings.warn(
            f'There is a GPU, but it does not compute ({fault}); the CPU is used instead.', AAMWarning, stacklevel=2
        )
        return torch.device('cpu')
    raise UserError(f'Parameter device is cuda, but no GPU computes here ({fault}); use auto or cpu.')


def _fault_of_gpu():
    """Return None if the GPU multiplies two matrices rightly, else why not in a few words."""
    try:
        ones = torch.ones(64, 64, device='cuda')
        return None if (ones @ ones).sum().item() == 64.0**3 else 'its results are wrong'
    except (RuntimeError, AssertionError) as error:
        return str(error).strip().splitlines()[0]


@contextlib.contextmanager
def use_threads(threads):
    """Let torch and numpy compute with this many CPU threads (0: all that this process may use)."""
    before = torch.get_num_threads()
    number = threads or _available_cpus()
    torch.set_num_threads(number)
    try:
        with threadpoolctl.threadpool_limits(number):
            yield
    finally:
        torch.set_num_threads(before)


def _available_cpus():
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        # not on macOS
        return os.cpu_count() or 1


def floats_a_chunk(max_memory_gb, device):
    """Return how many floats of activations a chunk of work may hold."""
    if max_memory_gb != AUTO:
        available = max_memory_gb * 1e9
    elif device.type == 'cuda':
        available = SHARE_OF_FREE_GPU_MEMORY * torch.cuda.mem_get_info()[0]
    else:
        available = CPU_GB * 1e9
    return int(SHARE_FOR_ACTIVATIONS * available / BYTES_A_FLOAT)


def choose_precision(name, device):
    """Return the torch.dtype that `name` ('auto', 'float32', 'bfloat16' or 'float16') means on `device`."""
    if name == AUTO:
        name = 'bfloat16' if device.type == 'cuda' and torch.cuda.is_bf16_supported(False) else 'float32'
    return getattr(torch, name)


def place(network, runtime, device):
    """Put `network` on `device` with the memory and precision of `runtime`, compiled if asked for, and return it.

    Raises
    ------
    UserError
        If `runtime` asks for a compiled network and PyTorch cannot compile here.
    """
    network = network.to(device)
    network.max_floats = floats_a_chunk(runtime.max_memory_gb, device)
    network.precision = choose_precision(runtime.precision, device)
    # TF32: matrix products in float32 on a GPU with 10 bits of mantissa, as PyTorch advises for training
    torch.backends.cuda.matmul.allow_tf32 = True
    if runtime.compile:
        fault = _fault_of_compiler(device)
        if fault is not None:
            raise UserError(
                f'Parameter compile is given, but PyTorch cannot compile here ({fault}); leave it out, or install a '
                'C++ compiler (on a GPU also Triton).'
            )
        # block by block: the same code for all of them, so that it is compiled once
        for part in network.modules():
            if isinstance(part, Block):
                part.compile_products()
    return network


def _fault_of_compiler(device):
    """Return None if torch compiles a sum rightly, else why not in a few words."""
    ones = torch.ones(64, device=device)
    try:
        return None if torch.equal(torch.compile(torch.add)(ones, ones), ones + 1) else 'its results are wrong'
    # whatever a missing compiler, linker or driver raises
    except Exception as error:
        return str(error).strip().splitlines()[0]


def with_less_memory(network, work):
    """Call `work`; where memory runs out, cut the network's work into smaller chunks and try again.

    Chunks never change a result, so that what fails is done again as if nothing had happened.

    Raises
    ------
    UserError
        If memory runs out although the chunks are as small as they get.
    """
    smallest = network.max_floats >> MOST_HALVINGS
    while True:
        try:
            return work()
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if network.max_floats <= smallest:
                raise UserError(
                    'Memory ran out although the work was cut into small chunks; lower batch_size or '
                    'max_asvs_per_sample, or use a smaller model (width, asv_layers, sample_layers).'
                ) from error
        network.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        network.max_floats //= 2


def _is_out_of_memory(error):
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def give_back_memory():
    """Give back to the operating system the memory that was freed, which glibc keeps in pieces.

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
