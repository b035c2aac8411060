"""Hiding a part of the vocabulary, so that a model can be asked about samples of which it knows less.

Shapes: N samples, C ASVs of the vocabulary.
"""

import collections.abc

import numpy as np
import scipy.sparse

# Shares of the ASVs of the vocabulary that are hidden, each so many times. Samples of other studies have a third to
# four fifths of their logarithms in ASVs of the vocabulary.
SHARES, DRAWS = (0.3, 0.6), 2


def thinned(
    log_abundances_NC: scipy.sparse.csr_matrix,
    generator: np.random.Generator,
    shares: collections.abc.Sequence[float] = SHARES,
    draws: int = DRAWS,
) -> collections.abc.Iterator[tuple[np.ndarray, scipy.sparse.csr_matrix]]:
    """Yield samples of which some ASVs of the vocabulary are hidden, the same ones in all samples.

    So it is with samples of another run or site: what is unknown of one of them is unknown of all. One is yielded for
    each draw of each share; they differ in the ASVs that are hidden.

    Parameters
    ----------
    log_abundances_NC : scipy.sparse.csr_matrix [N, C]
        See :func:`q2_aam.data.log_abundances.to_vocabulary`; it is not changed.
    generator : numpy.random.Generator
    shares : sequence of float
        From 0 to 1: of the ASVs, rounded down.
    draws : int

    Yields
    ------
    kept_C : bool [C]
    thinned_NC : scipy.sparse.csr_matrix [N, C]
        Without non-zeros in the columns that are hidden; the sum of a sample's logarithms, by which coverage is
        measured, is that of the whole sample still.
    """
    matrix = scipy.sparse.csr_matrix(log_abundances_NC)
    for share in shares:
        for _ in range(draws):
            kept_C = np.ones(matrix.shape[1], dtype=bool)
            kept_C[generator.permutation(len(kept_C))[: int(share * len(kept_C))]] = False
            seen = kept_C[matrix.indices]
            offsets = np.r_[0, np.cumsum(seen)][matrix.indptr]
            yield kept_C, scipy.sparse.csr_matrix((matrix.data[seen], matrix.indices[seen], offsets), matrix.shape)
