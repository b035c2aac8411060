"""Profiles: which ASVs samples hold and how much of each, as numbers that ASVs keep from study to study.

Shapes: B samples, A distinct ASVs of the study, C ASVs that a model knows.
"""

import hashlib

import numpy as np
import scipy.sparse

from .batches import read_samples

# log(READS * share + 1): abundances count by their order of magnitude, those far below one read in 10,000 for little.
READS = 1e4
KEY_BYTES = 8


def sequence_keys(codes_AL, lengths_A):
    """Return a number for each sequence that is the same wherever the sequence is read, int64 [A].

    Eight bytes of a cryptographic hash: among a million sequences two share a key once in tens of millions of studies.
    """
    keys = [
        hashlib.blake2b(row[:length].tobytes(), digest_size=KEY_BYTES).digest()
        for row, length in zip(codes_AL, lengths_A)
    ]
    return np.frombuffer(b''.join(keys), dtype='<i8').astype(np.int64)


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
