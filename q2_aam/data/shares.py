"""A batch that several processes compute together: its distinct ASVs and its samples are dealt out among them by cost.

Every process draws the same batch, because all chance follows from (seed, stream, step), and computes its share of it:

1. distinct ASVs, each encoded by one process; then their embeddings are gathered by all;
2. samples, which are read by one process each from those embeddings; then what heads read of them is gathered by all;
3. masked ASVs and the outputs of their masked tokens, likewise;
4. distances, of some samples to all by each process;
5. other heads, and losses, over the whole batch, by all of them.

So a loss is that of one process, pairwise distances included, and objectives know nothing of processes.

Shapes: U rows (ASVs or samples), N processes, P rows of the largest share, M tokens.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Callable

import numpy as np
import torch

from .batches import Batch, Budget, Drawn, SampleChunk, make_batch, positions_of, sample_chunks, sequence_chunks


class Alone:
    """One process that computes the whole batch."""

    def make_batch(self, drawn: Drawn, budget: Budget, heads=(), embeddings=None) -> Batch:
        """Return what this process computes of a batch; see :func:`q2_aam.data.batches.make_batch`."""
        return make_batch(drawn, budget, heads, embeddings)

    def divide_masked(self, batch: Batch, budget: Budget) -> None:
        """Leave in a batch what this process computes of masked sequences and of masked abundances."""

    def join(self, level: str, *parts: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return what all processes have computed of a level, in the order of the batch, from the part of this one.

        Parameters
        ----------
        level : str
            'sequences', 'samples', 'masked', 'masked_samples' or 'pairs'.
        *parts : tensor
            Of as many rows each.
        """
        return parts

    def own_rows(self, level: str, rows: int) -> torch.Tensor:
        """Return which rows of a level this process computes, each of which costs the same, int64."""
        return torch.arange(rows)

    def held(self, chunks: list[SampleChunk]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return which ASVs the samples of the whole batch hold, int64 [non-zeros], and how many each, int64 [B]."""
        asvs, richness = ([getattr(chunk, name) for chunk in chunks] for name in ('asvs', 'richness'))
        return (asvs[0], richness[0]) if len(chunks) == 1 else (torch.cat(asvs), torch.cat(richness))


ALONE = Alone()


class Share(Alone):
    """The share of one process among several, of one batch.

    Parameters
    ----------
    rank, size : int
        The number of this process, and of all.
    gather : callable
        Takes [P, D] of each process and returns [N x P, D] to all; the gradient of a part is the sum of those that all
        processes have for it.
    most : callable, optional
        Returns the largest of the numbers of all processes. With it, all compute equally many chunks of each level, and
        compute as many again for the gradient, as processes must among which weights are divided.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        gather: Callable[[torch.Tensor], torch.Tensor],
        most: Callable[[int], int] | None = None,
    ):
        self.rank, self.size, self.gather, self.most = rank, size, gather, most
        self.places: dict[str, tuple[torch.Tensor, int]] = {}
        self.whole: tuple[torch.Tensor, torch.Tensor] | None = None

    def make_batch(self, drawn: Drawn, budget: Budget, heads=(), embeddings=None) -> Batch:
        """Return the part of a batch that this process computes."""
        batch = Batch(tuple(heads), embeddings=embeddings)
        if embeddings is None:
            if drawn.codes is None or drawn.lengths is None:
                raise TypeError('A batch needs sequences or embeddings of its ASVs; draw them with their sequences.')
            own = self._deal('sequences', sequence_costs(drawn.lengths, budget))
            chunks = sequence_chunks(drawn.codes[own], drawn.lengths[own], budget)
            batch.sequences = self._evened(
                chunks, sequence_chunks(drawn.codes[own[:1]], drawn.lengths[own[:1]], budget)
            )
        richness = np.diff(drawn.offsets)
        own = self._deal('samples', sample_costs(richness, budget))
        batch.samples = self._evened(_chunks_of(drawn, own, budget), _chunks_of(drawn, own[:1], budget))
        self.whole = torch.from_numpy(drawn.inverse.astype(np.int64)), torch.from_numpy(richness)
        return batch

    def divide_masked(self, batch: Batch, budget: Budget) -> None:
        """Leave in a batch what this process computes of masked sequences and masked abundances; labels stay of all."""
        if batch.masked:
            self._divide_sequences(batch, budget)
        if batch.masked_samples:
            self._divide_masked_samples(batch, budget)

    def _divide_masked_samples(self, batch, budget):
        whole = {
            name: np.concatenate([getattr(chunk, name).numpy() for chunk in batch.masked_samples])
            for name in ('asvs', 'abundances', 'richness', 'depths')
        }
        offsets = np.concatenate([[0], np.cumsum(whole['richness'])])
        own = self._deal('masked_samples', sample_costs(whole['richness'], budget), whole['richness'])

        def chunks_of(rows):
            where, starts = positions_of(offsets, rows)
            read = whole['asvs'][where], whole['abundances'][where]
            return sample_chunks(*read, starts, budget, None, whole['depths'][rows])

        batch.masked_samples = self._evened(chunks_of(own), chunks_of(own[:1]))

    def _divide_sequences(self, batch, budget):
        codes, masked = (_stacked([getattr(chunk, name) for chunk in batch.masked]) for name in ('codes', 'masked'))
        # 0 stands behind the end of a sequence and nowhere else
        lengths = np.count_nonzero(codes, axis=1).astype(np.int64)
        own = self._deal('masked', sequence_costs(lengths, budget), masked.sum(axis=1))
        batch.masked = self._evened(
            *(
                sequence_chunks(
                    np.ascontiguousarray(codes[rows, : int(lengths[rows].max())]), lengths[rows], budget, masked[rows]
                )
                for rows in (own, own[:1])
            )
        )

    def join(self, level: str, *parts: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Gather what all processes have computed of a level, and put it into the order of the batch."""
        places, most = self.places[level]
        # in one piece: each exchange has to wait for all
        part = torch.cat([part.flatten(1) for part in parts], dim=1)
        # what was computed for the sake of others only comes last
        padded = torch.nn.functional.pad(part[:most], (0, 0, 0, max(0, most - len(part))))
        whole = self.gather(padded).index_select(0, places.to(part.device))
        return whole.split([part.shape[1] for part in parts], dim=1)

    def own_rows(self, level: str, rows: int) -> torch.Tensor:
        """Return which rows of a level this process computes, int64."""
        return torch.from_numpy(self._deal(level, np.ones(rows)))

    def held(self, chunks: list[SampleChunk]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return which ASVs the samples of the whole batch hold, and how many each; all processes have drawn them."""
        if self.whole is None:
            raise TypeError('A batch was joined that was not made by this share.')
        asvs, richness = self.whole
        return asvs.to(chunks[0].asvs.device), richness.to(chunks[0].asvs.device)

    def _evened(self, chunks, spare):
        """Return chunks, as many as all processes have: more of them are `spare`, a single one of one row."""
        if self.most is None:
            return chunks
        number, again = self.most(len(chunks)), self.most(sum(not chunk.kept for chunk in chunks))
        chunks = chunks + spare * (number - len(chunks))
        return [dataclasses.replace(chunk, kept=place >= again) for place, chunk in enumerate(chunks)]

    def _deal(self, level, costs_U, rows_U=None):
        """Note where the rows of a level will stand among those of all processes; return which are dealt to this one.

        Each of the U is as many rows as `rows_U` says, by default one.
        """
        owner_U = deal(costs_U, self.size)
        rows_U = np.ones(len(costs_U), dtype=np.int64) if rows_U is None else rows_U
        places, most = places_of(owner_U, rows_U, self.size)
        self.places[level] = torch.from_numpy(places), most
        own = np.flatnonzero(owner_U == self.rank)
        # a process without any computes the first one, too, so that all have the same to exchange: nobody reads it
        return own if len(own) else np.zeros(1, dtype=np.int64)


def sequence_costs(lengths: np.ndarray, budget: Budget) -> np.ndarray:
    """Return about what encoding each sequence costs, up to a factor, float64 [U]."""
    tokens_U = -(-lengths // budget.nucleotides_per_token)
    return budget.per_sequence_token * tokens_U + budget.per_pair * tokens_U.astype(np.float64) ** 2


def sample_costs(richness: np.ndarray, budget: Budget) -> np.ndarray:
    """Return about what reading each sample costs, up to a factor, float64 [B]."""
    tokens_B = richness + 1.0
    return budget.per_sample_token * tokens_B + budget.per_pair * tokens_B**2 + budget.per_asv * richness


def deal(costs: np.ndarray, size: int) -> np.ndarray:
    """Return to which of `size` processes each thing goes, int64 [U], so that all have about as much to do.

    The dearest first, each to the process that has least so far (Graham 1969, doi:10.1137/0117039): the dearest share
    is at most a third above the best possible.
    """
    owner = np.empty(len(costs), dtype=np.int64)
    loads = [(0.0, rank) for rank in range(size)]
    for number in np.argsort(-costs, kind='stable').tolist():
        load, rank = loads[0]
        owner[number] = rank
        heapq.heapreplace(loads, (load + float(costs[number]), rank))
    return owner


def places_of(owner: np.ndarray, rows: np.ndarray, size: int) -> tuple[np.ndarray, int]:
    """Return where each row stands once all processes have gathered their shares, and the rows of the largest share.

    Parameters
    ----------
    owner : int64 [U]
        From :func:`deal`.
    rows : int64 [U]
        Rows of each thing.
    size : int

    Returns
    -------
    places : int64 [rows.sum()]
        Among the rows of all shares, each padded to the largest.
    most : int
    """
    starts = np.empty(len(owner), dtype=np.int64)
    totals = np.zeros(size, dtype=np.int64)
    for rank in range(size):
        own = np.flatnonzero(owner == rank)
        ends = np.cumsum(rows[own])
        starts[own] = ends - rows[own]
        totals[rank] = ends[-1] if len(own) else 0
    most = int(totals.max())
    before = np.cumsum(rows) - rows
    return np.arange(int(rows.sum())) + np.repeat(owner * most + starts - before, rows), most


def _chunks_of(drawn, own, budget):
    where, offsets = positions_of(drawn.offsets, own)
    covariates = None if drawn.covariates is None else drawn.covariates.of(own)
    depths = None if drawn.depths is None else drawn.depths[own]
    return sample_chunks(drawn.inverse[where], drawn.abundances[where], offsets, budget, covariates, depths)


def _stacked(parts):
    """Return the arrays of several chunks of sequences in one, filled up with zeros to the widest."""
    arrays = [part.numpy() for part in parts]
    width = max(array.shape[1] for array in arrays)
    return np.concatenate([np.pad(array, ((0, 0), (0, width - array.shape[1]))) for array in arrays])
