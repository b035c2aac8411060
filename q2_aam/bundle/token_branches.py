"""Branches of tokens, which samples share if both have these nucleotides at this place; memberships are beside them.

Importable without torch. Shapes: U sequences, L nucleotides, T tokens of a sequence, B samples, K distinct tokens, N
non-zeros.
"""

import dataclasses

import numpy as np
import scipy.sparse

from q2_aam.data.tokens import distinct_keys, token_keys

# Names of the arrays of a bundle.
KEYS, LENGTHS = 'token_branches.keys', 'token_branches.lengths'
ARRAYS = {KEYS: 'int64', LENGTHS: 'float64'}
# Multipliers and shifts of splitmix64 (Steele et al. 2014, doi:10.1145/2660193.2660195): tokens have numbers in order,
# and what comes of these is spread evenly.
MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
LAST_SHIFT, STEP = 31, 0x9E3779B97F4A7C15
# Of short sequences memberships are told apart less well, too: with the second power, R2 is nearly as good for those of
# 100 nucleotides as for those of 150 (docs/encoders.md). What is shorter than half counts no more than that.
POWER, MAX_SHORTER = 2, 2.0


@dataclasses.dataclass(frozen=True, eq=False)
class TokenBranches:
    """How long the branches of tokens are: of those that an encoder learned from, and of all others.

    Attributes
    ----------
    keys : int64 [K]
        Of the tokens that it learned from (:func:`q2_aam.data.tokens.token_keys`), ascending, none twice.
    lengths : float64 [2]
        Of these, and of all others; not below 0. Memberships have lengths of up to about 1.

    Raises
    ------
    ValueError
        If they are something else.
    """

    keys: np.ndarray
    lengths: np.ndarray

    def __post_init__(self):
        keys, lengths = self.keys, self.lengths
        ascending = keys.ndim == 1 and (keys[1:] > keys[:-1]).all() and (keys >= 0).all()
        # written so that NaN fails
        if not (ascending and lengths.shape == (2,) and (lengths >= 0).all() and np.isfinite(lengths).all()):
            raise ValueError(
                "The model's branches of tokens are damaged: they must be keys, each once, and two lengths; train the "
                'model again.'
            )

    def of_samples(
        self, codes_UL: np.ndarray, asvs_N: np.ndarray, offsets: np.ndarray, size: int, tokens: int
    ) -> tuple[scipy.sparse.csr_matrix, np.ndarray, np.ndarray]:
        """Return the branches that samples have.

        Parameters
        ----------
        codes_UL : uint8 [U, L]
            Their sequences (:func:`q2_aam.data.sequences.encode`).
        asvs_N : int [N]
            Which sequences each sample has, one sample after another.
        offsets : int64 [B + 1]
            Where each sample begins in `asvs_N`.
        size : int
            Nucleotides of a token.
        tokens : int
            Of the longest sequence that the encoder reads.

        Returns
        -------
        lengths_BK : scipy.sparse.csr_matrix, float32 [B, K]
        keys_K : int64
            A number for each branch that is the same in all studies, spread evenly over all of int64.
        scale_B : float32
            What the lengths count: more in a sample whose sequences are shorter and have fewer tokens, 1 in others.
        """
        tokens_UT = token_keys(codes_UL, size)
        whole_UT = tokens_UT >= 0
        tokens_K, columns = np.unique(tokens_UT[whole_UT], return_inverse=True)
        shape = len(tokens_UT), len(tokens_K)
        rows_U = np.concatenate([[0], np.cumsum(whole_UT.sum(axis=1))])
        of_asvs_UK = scipy.sparse.csr_matrix((np.ones(len(columns), np.float32), columns.ravel(), rows_U), shape=shape)
        present = np.ones(len(asvs_N), np.float32), np.asarray(asvs_N), np.asarray(offsets)
        samples_BU = scipy.sparse.csr_matrix(present, shape=(len(offsets) - 1, len(tokens_UT)))
        lengths_BK = samples_BU @ of_asvs_UK
        held_B = samples_BU @ whole_UT.sum(axis=1, dtype=np.float32) / np.diff(offsets).clip(1)
        scale_B = np.clip(tokens / held_B.clip(1), 1, MAX_SHORTER).astype(np.float32) ** POWER
        lengths_BK.sort_indices()
        lengths_K = self.lengths[np.where(np.isin(tokens_K, self.keys), 0, 1)].astype(np.float32)
        lengths_BK.data = lengths_K[lengths_BK.indices]
        return lengths_BK, _mixed(tokens_K), scale_B

    def among(
        self, codes_UL: np.ndarray, asvs_N: np.ndarray, offsets: np.ndarray, size: int, tokens: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return how long the branches are that two samples share, float32 [B, B], and those that each has, [B].

        Parameters are those of :meth:`of_samples`.
        """
        lengths_BK, _, scale_B = self.of_samples(codes_UL, asvs_N, offsets, size, tokens)
        root_BK = lengths_BK.sqrt().multiply(np.sqrt(scale_B)[:, None]).tocsr()
        shared_BB = (root_BK @ root_BK.T).toarray()
        return shared_BB, np.ascontiguousarray(np.diagonal(shared_BB))

    def learned_from(self, codes_UL: np.ndarray, size: int) -> 'TokenBranches':
        """Return the branches of an encoder that has learned from these sequences, too: their tokens are new no more.

        Parameters
        ----------
        codes_UL : uint8 [U, L]
            As far as the encoder reads them.
        size : int
            Nucleotides of a token.
        """
        return dataclasses.replace(self, keys=np.union1d(self.keys, distinct_keys(codes_UL, size)))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return {name: array} as a bundle has them."""
        return {KEYS: self.keys, LENGTHS: self.lengths}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> 'TokenBranches | None':
        """Read what :meth:`arrays` gave; None where there are no arrays."""
        given = [arrays[name] for name in ARRAYS if name in arrays]
        if not given:
            return None
        if len(given) < len(ARRAYS):
            raise ValueError('The model lacks the keys or the lengths of its branches of tokens; train it again.')
        return cls(*given)


def _mixed(keys_K):
    """Return numbers that are as good as random, int64, from numbers in order."""
    mixed = keys_K.astype(np.uint64) * np.uint64(STEP)
    for shift, factor in MIX:
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed ^ (mixed >> np.uint64(LAST_SHIFT))).view(np.int64)
