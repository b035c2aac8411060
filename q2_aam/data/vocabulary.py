"""The vocabulary of a model: the ASVs that it knows as such, whatever a study calls them.

Shapes: C ASVs of the vocabulary, L nucleotides.
"""

import dataclasses
import functools

import numpy as np

from .sequences import UNKNOWN, sequence_keys


@dataclasses.dataclass(frozen=True, eq=False)
class Vocabulary:
    """Sequences, sorted by their keys.

    Attributes
    ----------
    codes : uint8 [C, L]
        As in :mod:`q2_aam.data.sequences`, 0 after the end of a sequence.
    abundance : float32 [C], optional
        Mean share of each in training samples, by which reads that may be of several ASVs are shared out; None: alike.

    Raises
    ------
    ValueError
        If they are not different sequences, sorted by their keys, each with an abundance.
    """

    codes: np.ndarray
    abundance: np.ndarray | None = None

    def __post_init__(self):
        codes, abundance = self.codes, self.abundance
        if codes.dtype != np.uint8 or codes.ndim != 2 or not codes.size or codes.max() > UNKNOWN:
            raise ValueError("The model's vocabulary is damaged: it must be sequences; train the model again.")
        if not (self.keys[1:] > self.keys[:-1]).all():
            raise ValueError("The model's vocabulary is damaged: its sequences are not sorted; train the model again.")
        if abundance is not None and (
            abundance.shape != (len(codes),) or not ((abundance >= 0) & (abundance <= 1)).all()
        ):
            raise ValueError(
                "The model's vocabulary is damaged: the abundances of its sequences must be shares, one for each; "
                'train the model again.'
            )

    def __len__(self):
        return len(self.codes)

    @functools.cached_property
    def keys(self) -> np.ndarray:
        """The key of each sequence (:func:`q2_aam.data.sequences.sequence_keys`), int64 [C]."""
        return sequence_keys(self.codes, (self.codes > 0).sum(axis=1))

    @classmethod
    def of(cls, codes_AL: np.ndarray, lengths_A: np.ndarray, abundance_A: np.ndarray | None = None) -> 'Vocabulary':
        """Return the vocabulary of these sequences, each given once."""
        order = np.argsort(sequence_keys(codes_AL, lengths_A), kind='stable')
        abundance = None if abundance_A is None else np.minimum(abundance_A[order], 1.0).astype(np.float32)
        return cls(np.ascontiguousarray(codes_AL[order, : int(lengths_A.max())]), abundance)
