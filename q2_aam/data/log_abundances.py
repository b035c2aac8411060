"""Profiles: which ASVs samples hold and how much of each, as numbers that ASVs keep from study to study.

Shapes: B samples, A distinct ASVs of the study, C ASVs that a model knows.
"""

import numpy as np
import scipy.sparse

from .batches import read_samples

# log(READS * share + 1): abundances count by their order of magnitude, those far below one read in 10,000 for little.
READS = 1e4


def profiles_of(study, rows, reading=None):
    """Return log(10,000 p + 1) of the shares p of reads, scipy.sparse.csr_matrix, float32 [B, A].

    Parameters
    ----------
    study : q2_aam.data.study.Study
    rows : int64 [B]
    reading : callable, optional
        See :func:`q2_aam.data.batches.make_batch`.
    """
    where, abundances, offsets = read_samples(study, np.asarray(rows, dtype=np.int64), reading)
    weights = np.log1p(READS * abundances).astype(np.float32)
    return scipy.sparse.csr_matrix((weights, study.asvs[where], offsets), shape=(len(rows), len(study.codes)))


def known_asvs(profiles_BA, keys_A, keys_C):
    """Return the columns of the ASVs whose sorted keys are `keys_C`, sparse [B, C]: 0 where a study has no such ASV."""
    place_A = np.searchsorted(keys_C, keys_A).clip(max=len(keys_C) - 1)
    known = np.flatnonzero(keys_C[place_A] == keys_A)
    onto_AC = scipy.sparse.csr_matrix(
        (np.ones(len(known), dtype=np.float32), (known, place_A[known])), shape=(len(keys_A), len(keys_C))
    )
    return scipy.sparse.csr_matrix(profiles_BA @ onto_AC)


def most_common(found_BA, most):
    """Return the columns of the ASVs that a sparse matrix holds, in order: those in most samples if above `most`."""
    samples_A = np.bincount(found_BA.indices, minlength=found_BA.shape[1])
    order = np.argsort(-samples_A, kind='stable')[:most]
    return np.sort(order[samples_A[order] > 0])
