"""Where to compute: device, CPU threads, precision, deterministic kernels, compiler."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator
from typing import TypeVar

import threadpoolctl
import torch

from q2_aam.config import AUTO, RuntimeConfig
from q2_aam.errors import AAMWarning, UserError

from .gpus import count_gpus, take_gpus
from .limits import available_cpus
from .memory import floats_per_chunk

Module = TypeVar('Module', bound=torch.nn.Module)


def choose_device(name: str, gpu: int | None = None) -> torch.device:
    """Return the device that `name` ('auto', 'cpu' or 'cuda') means here.

    Where there are several GPUs, it is one with the fewest runs (:func:`q2_aam.runtime.gpus.take_gpus`), or `gpu`.

    Raises
    ------
    UserError
        If 'cuda' is asked for and no GPU works.

    Warns
    -----
    AAMWarning
        If 'auto' is asked for and there is a GPU that does not work; the CPU is used then.
    """
    if name == 'cpu' or (name == AUTO and not torch.cuda.is_available()):
        return torch.device('cpu')
    if gpu is None and count_gpus() > 1:
        (gpu,) = take_gpus()
    device = torch.device('cuda') if gpu is None else torch.device('cuda', gpu)
    fault = _fault_of_gpu(device)
    if fault is None:
        return device
    if name == AUTO:
        warnings.warn(f'There is a GPU, but it does not work ({fault}); the CPU is used instead.', AAMWarning)
        return torch.device('cpu')
    raise UserError(f'Parameter device is cuda, but there is no working GPU ({fault}); use auto or cpu.')


def _fault_of_gpu(device):
    """Return None if the GPU multiplies two matrices correctly, else why not in a few words."""
    try:
        if device.index is not None:
            # in this thread, whatever does not name its GPU is on it, too
            torch.cuda.set_device(device)
        ones = torch.ones(64, 64, device=device)
        return None if (ones @ ones).sum().item() == 64.0**3 else 'its results are wrong'
    except (RuntimeError, AssertionError) as error:
        return str(error).strip().splitlines()[0]


def device_name(device: torch.device) -> str:
    """Return 'cpu', or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == 'cuda' else 'cpu'


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the number format that `name` ('auto', 'float32', 'bfloat16' or 'float16') means on `device`."""
    if name == AUTO:
        name = 'bfloat16' if device.type == 'cuda' and torch.cuda.is_bf16_supported(False) else 'float32'
    return getattr(torch, name)


@contextlib.contextmanager
def use_threads(threads: int) -> Iterator[None]:
    """Let torch, in the calling thread, and numpy compute with this many CPU threads (0: all available ones)."""
    before = torch.get_num_threads()
    number = threads or available_cpus()
    torch.set_num_threads(number)
    try:
        with threadpoolctl.threadpool_limits(number):
            yield
    finally:
        torch.set_num_threads(before)


# torch has one switch for the whole process: how many runs need it now, and what is to be restored after the last one
_switch = threading.Lock()
_runs_inside = 0
_outside: tuple[bool, bool, bool] = (False, False, True)


@contextlib.contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Allow only deterministic kernels on a CPU, until the last run that is inside in any thread has left.

    A GPU keeps its faster kernels: nothing is changed for it. Random numbers are not seeded here; they come from
    generators (:mod:`q2_aam.runtime.seeds`).
    """
    if device.type != 'cpu':
        yield
        return
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter():
    global _runs_inside, _outside
    with _switch:
        if not _runs_inside:
            _outside = (
                torch.are_deterministic_algorithms_enabled(),
                torch.is_deterministic_algorithms_warn_only_enabled(),
                torch.utils.deterministic.fill_uninitialized_memory,
            )
            torch.use_deterministic_algorithms(True)
            # nothing here reads memory that was never written; filling it costs time
            torch.utils.deterministic.fill_uninitialized_memory = False
        _runs_inside += 1


def _leave():
    global _runs_inside
    with _switch:
        _runs_inside -= 1
        if not _runs_inside:
            enabled, warn_only, fill = _outside
            torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
            torch.utils.deterministic.fill_uninitialized_memory = fill


def place(network: Module, runtime: RuntimeConfig, device: torch.device) -> Module:
    """Put `network` on `device` with the memory and precision of `runtime`, compiled if asked for, and return it.

    Parameters
    ----------
    network : q2_aam.model.network.Network
        Its ``max_floats`` and ``precision`` are set.
    runtime : q2_aam.config.RuntimeConfig
    device : torch.device

    Raises
    ------
    UserError
        If `runtime` asks for a compiled network and PyTorch cannot compile here.
    """
    network = network.to(device)
    network.max_floats = floats_per_chunk(runtime.max_memory_gb, device)
    network.precision = choose_precision(runtime.precision, device)
    # TF32: matrix products in float32 on a GPU with 10 bits of mantissa, as PyTorch advises for training
    torch.backends.cuda.matmul.allow_tf32 = True
    # cuDNN's attention plans anew for each shape, and buckets differ from batch to batch: steps took 14 times as long
    torch.backends.cuda.enable_cudnn_sdp(False)
    if runtime.compile:
        fault = _fault_of_compiler(device)
        if fault is not None:
            raise UserError(
                f'Parameter compile is on, but PyTorch cannot compile on this machine ({fault}); turn it off, or '
                'install a C++ compiler (for a GPU also Triton).'
            )
        network.compile_blocks()
    return network


def _fault_of_compiler(device):
    """Return None if torch compiles a sum correctly, else why not in a few words."""
    ones = torch.ones(64, device=device)
    try:
        return None if torch.equal(torch.compile(torch.add)(ones, ones), ones + 1) else 'its results are wrong'
    # whatever a missing compiler, linker or driver raises
    except Exception as error:
        return str(error).strip().splitlines()[0]
