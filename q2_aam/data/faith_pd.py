"""Faith's phylogenetic diversity of samples that were drawn: the length of all branches above their ASVs."""

import numpy as np

from .batches import Drawn
from .phylogeny import Phylogeny


def faith_pd(tree: Phylogeny, drawn: Drawn) -> np.ndarray:
    """Return the diversity of each sample, float64 [B], of the ASVs that were drawn (Faith 1992).

    Branches count from the tips up to the root of the tree as the file has it, as in
    :class:`q2_aam.data.unifrac.UnifracDistances`; doi 10.1016/0006-3207(92)91201-3.
    """
    position = tree.position[drawn.asvs]
    sums = np.empty(len(drawn.rows))
    for row, (start, end) in enumerate(zip(drawn.offsets[:-1], drawn.offsets[1:])):
        # how many of its tips come before each tip: the tips of a node are an interval of all
        before = np.zeros(len(tree.position) + 1, dtype=np.int64)
        before[position[start:end] + 1] = 1
        np.cumsum(before, out=before)
        sums[row] = tree.length[before[tree.last] > before[tree.first]].sum()
    return sums
