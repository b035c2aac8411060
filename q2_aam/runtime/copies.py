"""A network on several devices, each of which reads a part of what is to be read: a thread for each, in one process.

Nothing is exchanged but the inputs and outputs of a part, so that no processes are needed. Kernels run while Python
waits for them, which lets the threads go on beside each other.
"""

from __future__ import annotations

import collections
import copy
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from q2_aam.config.runtime import PredictionRuntime
from q2_aam.model.network import Network

from .device import place
from .gpus import take_gpus
from .launch import count_devices

Part = TypeVar('Part')
Result = TypeVar('Result')
# Parts that are begun before the first is taken, for each device.
PARTS_AHEAD = 2


def place_copies(network: Network, runtime: PredictionRuntime, device: torch.device) -> Network:
    """Put a network on `device` as :func:`q2_aam.runtime.device.place` does, and copies of it on others; return it.

    Its ``copies`` are set: one for each further device. On a CPU they share its threads.

    Raises
    ------
    q2_aam.errors.UserError
        If `runtime` asks for more GPUs than there are.
    """
    number = count_devices(runtime.devices, runtime.device)
    # before anything is compiled, which would stay bound to the original
    copies = [copy.deepcopy(network) for _ in range(number - 1)]
    network = place(network, runtime, device)
    others = _others(device, len(copies))
    network.copies = [place(one, runtime, other) for one, other in zip(copies, others)]
    return network


def _others(first, number):
    if first.type != 'cuda' or not number:
        return [first] * number
    gpus = take_gpus(number + 1, first.index or 0)
    return [torch.device('cuda', gpu) for gpu in gpus[1:]]


def part_of(things: int, at_once: int, network: Network) -> int:
    """Return how many of so many things make a part: at most `at_once`, and so few that each device has some."""
    return max(1, min(at_once, -(-things // (1 + len(network.copies)))))


def dealt_out(network: Network, parts: Sequence[Part], work: Callable[[Network, Part], Result]) -> Iterator[Result]:
    """Yield ``work(network, part)`` of each part, in order; each is done by the network or one of its copies."""
    networks = [network, *network.copies]
    if len(networks) == 1 or len(parts) <= 1:
        for part in parts:
            yield work(network, part)
        return
    free: queue.SimpleQueue[Network] = queue.SimpleQueue()
    for one in networks:
        # it may have been halved since, where memory ran out
        one.max_floats = network.max_floats
        free.put(one)

    def do(part):
        one = free.get()
        try:
            with torch.no_grad():
                return work(one, part)
        finally:
            free.put(one)

    begun: collections.deque[Future[Result]] = collections.deque()
    threads = max(1, torch.get_num_threads() // len(networks))
    with ThreadPoolExecutor(len(networks), initializer=torch.set_num_threads, initargs=(threads,)) as pool:
        try:
            for part in parts:
                begun.append(pool.submit(do, part))
                if len(begun) > PARTS_AHEAD * len(networks):
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()
