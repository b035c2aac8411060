"""What a kernel compares samples by: which ASVs they hold and how much of each, and what these ASVs are like.

Shapes: B samples, A distinct ASVs of the study, D width of an ASV's embedding.
"""

import dataclasses
import hashlib

import numpy as np
import scipy.sparse

from .batches import read_samples

# log(READS * share + 1): abundances count by their order of magnitude, those far below one read in 10,000 for little.
READS = 1e4
KEY_BYTES = 8


@dataclasses.dataclass(frozen=True)
class Composition:
    """B samples as a kernel sees them.

    Attributes
    ----------
    asvs_BA : scipy.sparse.csr_matrix, float32 [B, A]
        Logarithm of 1 + 10,000 times the share of reads.
    keys_A : int64 [A]
        From :func:`sequence_keys`: the same ASV has the same key in every study.
    mean_BD : float32 [B, D], or None
        Mean embedding of the ASVs that a sample holds, however few its reads in them.
    """

    asvs_BA: scipy.sparse.csr_matrix
    keys_A: np.ndarray
    mean_BD: np.ndarray | None


def sequence_keys(codes_AL, lengths_A):
    """Return a number for each sequence that is the same wherever the sequence is read, int64 [A].

    Eight bytes of a cryptographic hash: among a million sequences two share a key once in tens of millions of studies.
    """
    keys = [
        hashlib.blake2b(row[:length].tobytes(), digest_size=KEY_BYTES).digest()
        for row, length in zip(codes_AL, lengths_A)
    ]
    return np.frombuffer(b''.join(keys), dtype='<i8').astype(np.int64)


def composition_of(study, rows, keys_A, asvs_AD=None, reading=None):
    """Return the :class:`Composition` of `rows` of a study.

    Parameters
    ----------
    study : q2_aam.data.study.Study
    rows : int64 [B]
    keys_A : int64 [A]
        Of all ASVs of the study, from :func:`sequence_keys`.
    asvs_AD : float32 [A, D], optional
        Embeddings of all ASVs of the study.
    reading : callable, optional
        See :func:`q2_aam.data.batches.make_batch`.
    """
    where, abundances, offsets = read_samples(study, np.asarray(rows, dtype=np.int64), reading)
    weights = np.log1p(READS * abundances).astype(np.float32)
    shape = (len(rows), len(keys_A))
    asvs_BA = scipy.sparse.csr_matrix((weights, study.asvs[where], offsets), shape=shape)
    mean_BD = None
    if asvs_AD is not None:
        present_BA = scipy.sparse.csr_matrix((np.ones_like(weights), asvs_BA.indices, asvs_BA.indptr), shape=shape)
        mean_BD = ((present_BA @ asvs_AD) / np.diff(offsets)[:, None]).astype(np.float32)
    return Composition(asvs_BA, keys_A, mean_BD)
