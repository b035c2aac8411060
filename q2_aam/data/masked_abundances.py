"""Abundances that are masked for a network, so that it learns to tell them from what else a sample holds.

Shapes: B samples, H of them that are read again, N their non-zeros.
"""

import dataclasses

import numpy as np

from .batches import Drawn, positions_of

# In place of the share of an ASV that is masked.
MASKED = -1.0


@dataclasses.dataclass(frozen=True)
class MaskedAbundances:
    """Samples as they are read again.

    Attributes
    ----------
    places : int64 [N]
        Of each non-zero among the distinct ASVs of the batch.
    abundances : float32 [N]
        Shares of the reads that are shown, or MASKED.
    offsets : int64 [H + 1]
    depths : float32 [H]
        Reads that are shown.
    true : float32 [N]
        Shares of all reads; NaN where they are shown.
    """

    places: np.ndarray
    abundances: np.ndarray
    offsets: np.ndarray
    depths: np.ndarray
    true: np.ndarray


def mask_abundances(drawn: Drawn, samples: int, ratio: float, generator: np.random.Generator) -> MaskedAbundances:
    """Mask the abundances of a share of the ASVs of some samples, drawn at random.

    At least one ASV of a sample is masked and at least one is shown; the sample of a single ASV shows it.

    Parameters
    ----------
    drawn : Drawn
    samples : int
        H, at most B.
    ratio : float
    generator : numpy.random.Generator
    """
    chosen = np.sort(generator.permutation(len(drawn.rows))[:samples])
    where, offsets = positions_of(drawn.offsets, chosen)
    richness = np.diff(offsets)
    sample_N = np.repeat(np.arange(len(chosen)), richness)
    # rank within the sample, so that the share is the same in each
    order = np.lexsort((generator.random(len(where)), sample_N))
    rank_N = np.empty(len(where), dtype=np.int64)
    rank_N[order] = np.arange(len(where)) - np.repeat(offsets[:-1], richness)
    number_H = np.minimum(np.maximum(1, np.round(ratio * richness)), richness - 1).astype(np.int64)
    masked_N = rank_N < number_H[sample_N]
    shares_N = drawn.abundances[where].astype(np.float64)
    # the sum of what is shown would tell that of what is masked
    all_H, shown_H = (np.add.reduceat(one, offsets[:-1]) for one in (shares_N, np.where(masked_N, 0.0, shares_N)))
    depths = np.ones(len(chosen)) if drawn.depths is None else drawn.depths[chosen]
    return MaskedAbundances(
        drawn.inverse[where],
        np.where(masked_N, MASKED, shares_N / shown_H[sample_N]).astype(np.float32),
        offsets,
        (depths * shown_H / all_H).astype(np.float32),
        np.where(masked_N, shares_N / all_H[sample_N], np.nan).astype(np.float32),
    )
