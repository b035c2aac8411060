"""Augmentation: what is read of samples, all of it or, while training, a random variation.

Shapes: N non-zeros of a batch, B samples, U ASVs, L nucleotides.
"""

import collections.abc
import dataclasses
import typing

import numpy as np

from q2_aam.config.data import InputData
from q2_aam.config.schedule import Schedule

from .sequences import PAD, UNKNOWN, A, T

if typing.TYPE_CHECKING:
    # torch comes with it
    from .batches import Drawn

# Takes abundances [N] and offsets [B + 1]; returns which non-zeros are kept, bool [N], and the abundances, float32 [N].
Augment = collections.abc.Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

# Share of the ASVs of a batch whose start is varied, and whose end is.
VARIED = 0.5
# Of sums of shares of reads, which are float32.
ROUNDING = 1e-6


def make_augmentation(
    data: InputData, training: Schedule | None = None, generator: np.random.Generator | None = None
) -> Augment | None:
    """Return the augmentation that a configuration asks for.

    Parameters
    ----------
    data : q2_aam.config.data.InputData
    training : q2_aam.config.schedule.Schedule, optional
        Together with `generator`: samples are varied at random, as in training.
    generator : numpy.random.Generator, optional

    Returns
    -------
    callable or None
        What :func:`q2_aam.data.batches.draw_samples` takes: of abundances [N] and offsets [B + 1] it returns which
        non-zeros are kept, bool [N], and the abundances, float32 [N]. None where samples are read as they are.
    """
    limit = data.max_asvs_per_sample
    depth, dropout = (training.rarefaction_depth, training.asv_dropout) if training else (0, 0.0)
    depth_range = training.rarefaction_range if training else 1.0
    if not (limit or depth or dropout):
        return None

    def augment(abundances, offsets):
        keep = np.ones(len(abundances), dtype=bool)
        if generator is not None and (depth or dropout):
            depths = depth if depth_range == 1 else random_depths(len(offsets) - 1, depth, depth_range, generator)
            keep, abundances = resample(abundances, offsets, depths, dropout, generator)
        if limit:
            order = abundances
            if generator is not None and data.asv_choice == 'random':
                order = generator.random(len(abundances))
            order = np.where(keep, order, -1.0)
            if limit >= 1:
                keep = keep & largest_of_each(order, offsets, int(limit))
            else:
                keep = keep & first_of_each(order, abundances, offsets, limit)
        return keep, abundances

    return augment


def random_depths(samples: int, depth: float, depth_range: float, generator: np.random.Generator) -> np.ndarray:
    """Return a read depth for each sample, float64 [B]: `depth` / `depth_range` to `depth`, even in its logarithm."""
    return depth * depth_range ** -generator.random(samples)


def resample(
    abundances: np.ndarray,
    offsets: np.ndarray,
    depth: float | np.ndarray,
    dropout: float,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the reads of each sample again and leave out ASVs at random; every sample keeps at least one ASV.

    Parameters
    ----------
    abundances : float32 [N]
        Shares of reads.
    offsets : int64 [B + 1]
    depth : number or float64 [B]
        Expected number of reads (Poisson: each ASV on its own); 0 keeps the shares.
    dropout : float
        Probability that an ASV is left out.
    generator : numpy.random.Generator

    Returns
    -------
    keep : bool [N]
    abundances : float32 [N]
        Shares of what is kept; they sum to 1 in each sample.
    """
    drawn = abundances.astype(np.float64)
    if np.any(depth):
        depth_N = np.repeat(np.broadcast_to(depth, len(offsets) - 1), np.diff(offsets))
        drawn = generator.poisson(depth_N * drawn).astype(np.float64)
    drawn = drawn * (generator.random(len(abundances)) >= dropout)
    empty = np.add.reduceat(drawn, offsets[:-1]) == 0
    # a sample of which nothing is left keeps its most abundant ASV
    first = largest_of_each(abundances, offsets, 1) & np.repeat(empty, np.diff(offsets))
    drawn = np.where(first, 1.0, drawn)
    totals = np.repeat(np.add.reduceat(drawn, offsets[:-1]), np.diff(offsets))
    return drawn > 0, (drawn / totals).astype(np.float32)


def largest_of_each(values: np.ndarray, offsets: np.ndarray, limit: int) -> np.ndarray:
    """Mark the `limit` largest values of each sample, bool [N]; of equal ones those that come first."""
    sample = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((-values, sample))
    rank = np.empty(len(values), dtype=np.int64)
    rank[order] = np.arange(len(values)) - np.repeat(offsets[:-1], np.diff(offsets))
    return rank < limit


def first_of_each(values: np.ndarray, abundances: np.ndarray, offsets: np.ndarray, share: float) -> np.ndarray:
    """Mark the largest values of each sample, bool [N], as few as together hold `share` of its abundances."""
    sample = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((-values, sample))
    # what is left out already, below 0, holds nothing
    held = np.where(values < 0, 0.0, abundances.astype(np.float64))
    totals = np.add.reduceat(held, offsets[:-1])
    running = np.cumsum(held[order])
    before = running - held[order] - np.concatenate([[0.0], running])[offsets[:-1]][sample]
    enough = before >= (share - ROUNDING) * totals[sample]
    marked = np.empty(len(values), dtype=bool)
    marked[order] = ~enough
    return marked


def add_nucleotide_noise(codes: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """Replace a share of the nucleotides of uint8 [U, L] by random ones (a quarter of which are the same again)."""
    replaced = (generator.random(codes.shape, dtype=np.float32) < share) & (codes != PAD)
    return np.where(replaced, generator.integers(A, T + 1, size=codes.shape, dtype=np.uint8), codes)


def vary_sequences(drawn: 'Drawn', training: Schedule, generator: np.random.Generator) -> 'Drawn':
    """Vary what is read of each distinct ASV of a batch, as the configuration asks for: its start, end and nucleotides.

    An ASV has one variation in all samples of the batch.

    Parameters
    ----------
    drawn : q2_aam.data.batches.Drawn
        With its sequences.
    training : q2_aam.config.schedule.Schedule
    generator : numpy.random.Generator
    """
    codes, lengths = drawn.codes, drawn.lengths
    if codes is None or lengths is None:
        return drawn
    if training.max_shift or training.max_trim:
        codes, lengths = trim_at_random(codes, lengths, training.max_shift, training.max_trim, generator)
    if training.nucleotide_noise:
        codes = add_nucleotide_noise(codes, training.nucleotide_noise, generator)
    return dataclasses.replace(drawn, codes=codes, lengths=lengths)


def trim_at_random(
    codes: np.ndarray, lengths: np.ndarray, max_shift: int, max_trim: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Let half of the sequences begin elsewhere and half of them end earlier, each drawn on its own.

    A quarter of a sequence is cut off in front at most, and half of it is left.

    Parameters
    ----------
    codes : uint8 [U, L]
    lengths : int64 [U]
    max_shift : int
        Nucleotides by which a sequence begins later, or earlier: these are unknown. A read is not longer for it than
        the longest of the batch.
    max_trim : int
        Nucleotides that it lacks at its end.
    generator : numpy.random.Generator

    Returns
    -------
    codes : uint8 [U, L]
    lengths : int64 [U]
    """
    number, least = len(codes), -(-lengths // 2)
    shift = generator.integers(-max_shift, max_shift + 1, number) * (generator.random(number) < VARIED)
    trim = generator.integers(0, max_trim + 1, number) * (generator.random(number) < VARIED)
    shift = np.clip(shift, -(lengths // 4), lengths // 4)
    lengths = np.maximum(np.minimum(lengths - shift, codes.shape[1]) - trim, least)
    return shift_codes(codes, lengths, shift), lengths


def shift_codes(codes: np.ndarray, lengths: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Let each of uint8 [U, L] begin `shift` nucleotides later and have the length that is given.

    Below 0 it begins earlier, with unknown nucleotides.
    """
    places = np.arange(codes.shape[1])
    source = places + shift[:, None]
    shifted = np.take_along_axis(codes, np.clip(source, 0, codes.shape[1] - 1), axis=1)
    shifted = np.where(source < 0, np.uint8(UNKNOWN), shifted)
    return np.where((places < lengths[:, None]) & (source < codes.shape[1]), shifted, np.uint8(PAD))
