"""Logarithms of abundances: by ASV of a study, or by ASV of a vocabulary that models keep from study to study.

Shapes: B samples, A distinct ASVs of the study, C ASVs of the vocabulary.
"""

import numpy as np
import scipy.sparse

from .augmentation import Augment
from .batches import draw_samples
from .study import Study

# log(READS * share + 1): abundances count by their order of magnitude, those far below one read in 10,000 for little.
READS = 1e4


def log_abundances(study: Study, rows: np.ndarray, augment: Augment | None = None) -> scipy.sparse.csr_matrix:
    """Return log(10,000 p + 1) of the shares p of reads, scipy.sparse.csr_matrix, float32 [B, A].

    Parameters
    ----------
    study : q2_aam.data.study.Study
    rows : int64 [B]
    augment : callable, optional
        See :func:`q2_aam.data.batches.draw_samples`.
    """
    drawn = draw_samples(study, rows, augment)
    weights = np.log1p(READS * drawn.abundances).astype(np.float32)
    return scipy.sparse.csr_matrix((weights, drawn.asvs, drawn.offsets), shape=(len(drawn.rows), len(study.codes)))


def to_vocabulary(
    log_abundances_BA: scipy.sparse.csr_matrix, keys_A: np.ndarray, keys_C: np.ndarray
) -> scipy.sparse.csr_matrix:
    """Return the columns of a vocabulary, float32 [B, C]: 0 where the study lacks an ASV, other ASVs are left out.

    Parameters
    ----------
    log_abundances_BA : scipy.sparse.csr_matrix [B, A]
    keys_A, keys_C : int64
        Keys of the ASVs of the study and of the vocabulary (:func:`q2_aam.data.sequences.sequence_keys`), in any order,
        none twice.
    """
    order_C = np.argsort(keys_C)
    # keys are compared and never subtracted: two may be farther apart than int64 can tell
    place_A = np.searchsorted(keys_C, keys_A, sorter=order_C)
    candidates = np.flatnonzero(place_A < len(keys_C))
    columns = order_C[place_A[candidates]]
    shared = keys_C[columns] == keys_A[candidates]
    onto_AC = scipy.sparse.csr_matrix(
        (np.ones(shared.sum(), dtype=np.float32), (candidates[shared], columns[shared])),
        shape=(len(keys_A), len(keys_C)),
    )
    return scipy.sparse.csr_matrix(log_abundances_BA @ onto_AC)


def most_common(counts_BA: scipy.sparse.csr_matrix, maximum: int) -> np.ndarray:
    """Return the columns with non-zeros of a sparse matrix, sorted: the `maximum` that most samples have, if more."""
    samples_A = np.bincount(counts_BA.indices, minlength=counts_BA.shape[1])
    order = np.argsort(-samples_A, kind='stable')[:maximum]
    return np.sort(order[samples_A[order] > 0])


def shares_of(log_abundances: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
    """Return the shares of reads of which these are the logarithms."""
    return log_abundances.expm1() / READS


def squares_outside(all_BA: scipy.sparse.csr_matrix, known_BC: scipy.sparse.csr_matrix) -> np.ndarray:
    """Return the sum of the squared logarithms of ASVs outside the vocabulary, float64 [B]."""
    every, known = (
        np.asarray(matrix.multiply(matrix).sum(axis=1), dtype=np.float64).ravel() for matrix in (all_BA, known_BC)
    )
    return np.maximum(every - known, 0)
