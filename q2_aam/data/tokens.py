"""The tokens of sequences by numbers: which nucleotides stand where.

Importable without torch. Shapes: U sequences, L nucleotides, T tokens of a sequence.
"""

import numpy as np

from .sequences import A, T

NUCLEOTIDES = 4
# What is no whole token: it has unknown nucleotides, or the sequence ends in it.
NOT_WHOLE = -1
# Of a token of more nucleotides the number has no room for the place.
MAX_SIZE = 24


def token_keys(codes_UL: np.ndarray, size: int) -> np.ndarray:
    """Return a number for each token of each sequence, the same wherever these nucleotides stand at this place.

    Parameters
    ----------
    codes_UL : uint8 [U, L]
        As :func:`q2_aam.data.sequences.encode` gives them.
    size : int
        Nucleotides of a token; at most :data:`MAX_SIZE`.

    Returns
    -------
    int64 [U, T]
        -1 where a token is not whole.
    """
    if size > MAX_SIZE:
        raise ValueError(f'Tokens of {size} nucleotides have no numbers: at most {MAX_SIZE} are allowed.')
    sequences, length = codes_UL.shape
    tokens = length // size
    keys_UT = np.zeros((sequences, tokens), dtype=np.int64)
    whole_UT = np.ones((sequences, tokens), dtype=bool)
    for place in range(size):
        codes_UT = codes_UL[:, place : tokens * size : size]
        whole_UT &= (codes_UT >= A) & (codes_UT <= T)
        keys_UT = keys_UT * NUCLEOTIDES + (codes_UT.astype(np.int64) - A)
    keys_UT += np.arange(tokens, dtype=np.int64) * NUCLEOTIDES**size
    return np.where(whole_UT, keys_UT, NOT_WHOLE)


def distinct_keys(codes_UL: np.ndarray, size: int) -> np.ndarray:
    """Return the keys of the whole tokens that sequences have (:func:`token_keys`), int64, ascending, none twice."""
    keys = np.unique(token_keys(codes_UL, size))
    return keys[keys != NOT_WHOLE]
