"""Processes that train one network together: what they exchange, and how all of them learn that one has failed.

Each has a rank, from 0 on. All do the same steps on the same batches, each its share of the work
(:mod:`q2_aam.data.shares`), and average their gradients; rank 0 alone validates, decides, reports and saves, and tells
the others. Before anything is exchanged all of them meet, in one number: whoever has failed tells it there, so that
nobody waits for ever. One that was killed is missed by the launcher, which starts all of them again.

Gradients are exact. Every process computes the whole loss from gathered outputs, so that the gradients of gathered
parts, summed over N processes, are N times those of one process, and their mean over processes is theirs. They are
averaged here after the backward pass and not by DistributedDataParallel, which counts on one forward pass a step
through one module and on its hooks being called in the same order everywhere: here work is cut into chunks by the
memory of each process, chunks are computed again for the gradient, and heads that a task does not use stay as they
are. A network that is too large for a device is divided among them (:mod:`q2_aam.runtime.sharded`).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from q2_aam.config.runtime import DDP, FSDP, SINGLE
from q2_aam.data.shares import ALONE, Alone, Share
from q2_aam.errors import MachineError

from . import sharded
from .checkpoint import Checkpoint, State, tensors_of
from .limits import is_out_of_memory

Result = TypeVar('Result')

# What a process tells the others when they meet: the larger one counts.
GOES_ON, OUT_OF_MEMORY, FAILED = range(3)
# Gradients that are averaged in one piece, 64 MB.
FLOATS_AT_ONCE = 2**24


class OthersOutOfMemory(MemoryError):
    """Memory ran out in another process: this one does the same work again, too."""


class OthersFailed(Exception):
    """Another process has failed, and reports it."""


class Parted(Exception):
    """Processes are done with what they do together, and this one is not rank 0."""


class Lines(Protocol):
    """What carries tensors and bytes between processes; all of them call the same in the same order."""

    def most(self, number: int) -> int:
        """Return the largest of the numbers of all."""

    def gather(self, part: torch.Tensor) -> torch.Tensor:
        """Return the parts of all, [P, D] each, one after another, [N x P, D]."""

    def add(self, whole: torch.Tensor) -> None:
        """Add up the tensors of all, in place."""

    def add_own(self, whole: torch.Tensor) -> torch.Tensor:
        """Return the part [P, D] of this process of the sum of the tensors [N x P, D] of all."""

    def send(self, text: str | None) -> str:
        """Return the text of rank 0; that of others does not count."""

    def copy(self, tensor: torch.Tensor) -> None:
        """Make a tensor that of rank 0, in place."""


class Ranks:
    """One process alone, which has nobody to agree with.

    Attributes
    ----------
    rank, size : int
        Its number, and how many there are.
    strategy : str
        SINGLE, DDP or FSDP.
    nodes : int
        How many machines they are on.
    """

    rank, size, strategy, nodes = 0, 1, SINGLE, 1

    def share(self) -> Alone:
        """Return the share of this process in the next batch."""
        return ALONE

    def together(self, work: Callable[[], Result]) -> Result:
        """Return `work()`, in which all processes exchange the same; memory that runs out in one does so in all."""
        return work()

    def most(self, number: int) -> int:
        """Return the largest of the numbers of all."""
        return number

    def average(self, module: torch.nn.Module) -> None:
        """Make the gradients of `module` their mean over processes."""

    def on_first(self, function: Any) -> Callable[..., Any]:
        """Return a function that rank 0 alone computes, and alone needs; all are told its result, as JSON holds it."""
        return function

    def in_turn(self, function: Callable[[], Result]) -> Result:
        """Return `function()`, which rank 0 calls before all others, so that they find what it has written."""
        return function()

    def checkpoint(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return a checkpoint that rank 0 alone saves and from which all resume."""
        return checkpoint

    def own_rows(self, rows: int) -> np.ndarray:
        """Return which of so many rows this process computes for :meth:`gather_rows`, int64; there is one at least."""
        return np.arange(rows)

    def gather_rows(self, part: torch.Tensor, rows: int) -> torch.Tensor:
        """Return what all have computed, in order, [rows, D], from the part of this one; it has no gradient."""
        return part

    def copy_weights(self, module: torch.nn.Module) -> None:
        """Give the module the weights that it has in rank 0."""

    def divide(self, network: Any) -> None:
        """Divide the weights of a network among processes, in place, where that is the strategy."""

    @contextlib.contextmanager
    def whole(self, network: torch.nn.Module) -> Iterator[None]:
        """Let rank 0 use a network alone, whose weights may be divided; nothing is learned meanwhile."""
        yield

    def joined(self, network: Any, make: Callable[[], Any]) -> Any:
        """Return a network; where its weights were divided, one of its form, from `make`, with all of them."""
        return network

    def part(self) -> None:
        """End what processes do together: rank 0 alone goes on."""


ONE = Ranks()


class Several(Ranks):
    """One of several processes.

    Parameters
    ----------
    rank, size : int
        Its number, and how many there are.
    lines : Lines
    """

    def __init__(self, rank: int, size: int, lines: Lines):
        self.rank, self.size, self.lines = rank, size, lines
        self.strategy, self.parted = DDP, False

    def meet(self, state: int = GOES_ON) -> None:
        """Wait for all others, and learn how they are.

        Raises
        ------
        OthersFailed, OthersOutOfMemory
            Where another is worse off than this one.
        """
        worst = self.lines.most(state)
        if worst > state:
            raise OthersFailed if worst == FAILED else OthersOutOfMemory

    def fail(self) -> None:
        """Tell the others, if they are still there, that this one has failed."""
        if not self.parted:
            self.meet(FAILED)

    def share(self):
        most = self.most if self.strategy == FSDP else None
        return Share(self.rank, self.size, lambda part: _Gathered.apply(part, self), most)

    def together(self, work):
        try:
            result = work()
            # from here on nobody does it again
            self.meet()
            return result
        except Exception as error:
            if is_out_of_memory(error) and not isinstance(error, OthersOutOfMemory):
                if self.strategy == FSDP:
                    # others may be within an exchange of weights, which cannot be left
                    raise MachineError(
                        'Memory ran out, and a network that is divided among devices (strategy fsdp) cannot do a step '
                        'again in smaller pieces; give the same command with a lower max_memory_gb, or with more '
                        'devices: it resumes from its checkpoint.'
                    ) from error
                self.meet(OUT_OF_MEMORY)
            raise

    def most(self, number):
        self.meet()
        return self.lines.most(number)

    def average(self, module):
        if self.strategy == FSDP:
            # done, layer by layer
            return
        for gradients in _buckets([parameter.grad for parameter in module.parameters()]):
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            self.meet()
            self.lines.add(flat)
            flat /= self.size
            for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients])):
                gradient.copy_(mean.view_as(gradient))

    def on_first(self, function):
        def agreed(*values):
            text = None if self.rank else json.dumps(function(*values), default=float)
            self.meet()
            return json.loads(self.lines.send(text))

        return agreed

    def in_turn(self, function):
        if not self.rank:
            result = function()
            self.meet()
            return result
        self.meet()
        return function()

    def checkpoint(self, checkpoint):
        return _Shared(checkpoint, self)

    def own_rows(self, rows):
        return self._divided(rows)[self.rank]

    def gather_rows(self, part, rows):
        divided = self._divided(rows)
        most = max(map(len, divided))
        self.meet()
        whole = self.lines.gather(torch.nn.functional.pad(part, (0, 0, 0, most - len(part))))
        return torch.cat([whole[rank * most :][: len(own)] for rank, own in enumerate(divided)])[:rows]

    def _divided(self, rows):
        # of fewer rows than processes the first is computed by all the others, too, and comes behind the last
        return [own if len(own) else np.zeros(1, dtype=np.int64) for own in np.array_split(np.arange(rows), self.size)]

    def copy_weights(self, module):
        if any(map(sharded.is_sharded, module.parameters())):
            # they were copied before
            return
        for value in module.state_dict().values():
            self.meet()
            self.lines.copy(value)

    def divide(self, network):
        if self.strategy == FSDP:
            self.copy_weights(network)
            sharded.shard(network)

    @contextlib.contextmanager
    def whole(self, network):
        with sharded.unsharded(network) if self.strategy == FSDP else contextlib.nullcontext():
            yield

    def joined(self, network, make):
        return sharded.joined(network, make()) if self.strategy == FSDP else network

    def part(self):
        self.meet()
        self.parted = True
        if self.rank:
            raise Parted


class _Gathered(torch.autograd.Function):
    """The parts of all processes; the gradient of a part is the sum of those that all have for it."""

    @staticmethod
    def forward(ctx, part, ranks):
        ctx.ranks = ranks
        ranks.meet()
        return ranks.lines.gather(part.contiguous())

    @staticmethod
    def backward(ctx, whole):
        ctx.ranks.meet()
        return ctx.ranks.lines.add_own(whole.contiguous()), None


class _Shared(Checkpoint):
    """A checkpoint of several processes, which see the same folder."""

    def __init__(self, checkpoint: Checkpoint, ranks: Several):
        super().__init__(checkpoint.folder, checkpoint.seconds_between, checkpoint.seed)
        self.ranks = ranks

    def save(self, module, optimizer, state, settle=lambda: None) -> None:
        if self.ranks.strategy == FSDP:
            self._save_divided(module, optimizer, state, settle)
        elif not self.ranks.rank:
            super().save(module, optimizer, state, settle)

    def _save_divided(self, module, optimizer, state, settle):
        """Save what one process would save, so that any number of processes can go on."""
        if not self.ranks.on_first(self.is_due)():
            return
        settle()
        # each is whole on a device for a moment only
        tensors = {}
        for name, tensor in tensors_of(module, optimizer, state).items():
            gathered = sharded.whole(tensor)
            if not self.ranks.rank:
                tensors[name] = gathered.cpu()
        if not self.ranks.rank:
            self.write(tensors, state)

    def resume(self, module, optimizer) -> State:
        state = self.ranks.in_turn(lambda: super(_Shared, self).resume(module, optimizer))
        if self.ranks.on_first(lambda: state.step)() != state.step:
            raise MachineError(
                f'The checkpoint in the run directory, {self.folder}, is not the same on all machines; set the '
                'environment variable AAM_WORK_DIR to a folder that all of them share.'
            )
        return state


def _buckets(gradients: list) -> Iterator[list[torch.Tensor]]:
    """Yield the gradients that there are, as many at a time as are averaged in one piece."""
    bucket: list[torch.Tensor] = []
    for gradient in filter(lambda one: one is not None, gradients):
        if bucket and sum(one.numel() for one in bucket) + gradient.numel() > FLOATS_AT_ONCE:
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket
