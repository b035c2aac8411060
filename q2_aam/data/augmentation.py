"""Augmentation: what is read of samples, all of it or, while training, a random variation.

Shapes: N non-zeros of a batch, B samples, U ASVs, L nucleotides.
"""

import collections.abc

import numpy as np

from q2_aam.config.data import InputData
from q2_aam.config.training import Schedule

from .sequences import PAD, A, T

# Takes abundances [N] and offsets [B + 1]; returns which non-zeros are kept, bool [N], and the abundances, float32 [N].
Augment = collections.abc.Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def make_augmentation(
    data: InputData, training: Schedule | None = None, generator: np.random.Generator | None = None
) -> Augment | None:
    """Return the augmentation that a configuration asks for.

    Parameters
    ----------
    data : q2_aam.config.data.InputData
    training : q2_aam.config.training.Schedule, optional
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
    if not (limit or depth or dropout):
        return None

    def augment(abundances, offsets):
        keep = np.ones(len(abundances), dtype=bool)
        if generator is not None and (depth or dropout):
            keep, abundances = resample(abundances, offsets, depth, dropout, generator)
        if limit:
            order = abundances
            if generator is not None and data.asv_choice == 'random':
                order = generator.random(len(abundances))
            keep = keep & largest_of_each(np.where(keep, order, -1.0), offsets, limit)
        return keep, abundances

    return augment


def resample(
    abundances: np.ndarray, offsets: np.ndarray, depth: int, dropout: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the reads of each sample again and leave out ASVs at random; every sample keeps at least one ASV.

    Parameters
    ----------
    abundances : float32 [N]
        Shares of reads.
    offsets : int64 [B + 1]
    depth : int
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
    drawn = generator.poisson(depth * abundances.astype(np.float64)) if depth else abundances.astype(np.float64)
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


def add_nucleotide_noise(codes: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """Replace a share of the nucleotides of uint8 [U, L] by random ones (a quarter of which are the same again)."""
    replaced = (generator.random(codes.shape, dtype=np.float32) < share) & (codes != PAD)
    return np.where(replaced, generator.integers(A, T + 1, size=codes.shape, dtype=np.uint8), codes)
