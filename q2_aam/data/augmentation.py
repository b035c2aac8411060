"""What one reading of a sample takes from the table: all of it, or, while training, a random variation of it.

Shapes: N non-zeros of a batch, B samples, U ASVs, L nucleotides.
"""

import numpy as np

A_TO_T = (1, 5)


def reading_of(data, training=None, generator=None):
    """Return the reading that a configuration asks for.

    Parameters
    ----------
    data : q2_aam.config.data.PretrainData or FitData
    training : q2_aam.config.training.Schedule, optional
        Together with `generator`: read as in training, with random variation.
    generator : numpy.random.Generator, optional

    Returns
    -------
    callable or None
        Takes abundances [N] and offsets [B + 1]; returns which non-zeros are kept, bool [N], and the abundances,
        float32 [N]. None where samples are read as they are.
    """
    limit = data.max_asvs_per_sample
    varied = training is not None and (training.rarefaction_depth or training.asv_dropout)
    if not (limit or varied):
        return None

    def reading(abundances, offsets):
        keep = np.ones(len(abundances), dtype=bool)
        if varied:
            keep, abundances = read_anew(
                abundances, offsets, training.rarefaction_depth, training.asv_dropout, generator
            )
        if limit:
            at_random = generator is not None and data.asv_choice == 'random'
            order = generator.random(len(abundances)) if at_random else abundances
            keep = keep & most_of_each(np.where(keep, order, -1.0), offsets, limit)
        return keep, abundances

    return reading


def read_anew(abundances, offsets, depth, dropout, generator):
    """Draw the reads of each sample anew and leave out ASVs at random; every sample keeps one ASV at least.

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
    first = most_of_each(abundances, offsets, 1) & np.repeat(empty, np.diff(offsets))
    drawn = np.where(first, 1.0, drawn)
    totals = np.repeat(np.add.reduceat(drawn, offsets[:-1]), np.diff(offsets))
    return drawn > 0, (drawn / totals).astype(np.float32)


def most_of_each(values, offsets, limit):
    """Mark the `limit` largest values of each sample, bool [N]; of equal ones those that come first."""
    sample = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((-values, sample))
    rank = np.empty(len(values), dtype=np.int64)
    rank[order] = np.arange(len(values)) - np.repeat(offsets[:-1], np.diff(offsets))
    return rank < limit


def with_noise(codes, share, generator):
    """Replace a share of the nucleotides of uint8 [U, L] by random ones (a quarter of which are the same again)."""
    hit = (generator.random(codes.shape, dtype=np.float32) < share) & (codes > 0)
    return np.where(hit, generator.integers(*A_TO_T, size=codes.shape, dtype=np.uint8), codes)
