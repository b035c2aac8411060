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

    Raises
    ------
    ValueError
        If they are not different sequences, sorted by their keys.
    """

    codes: np.ndarray

    def __post_init__(self):
        codes = self.codes
        if codes.dtype != np.uint8 or codes.ndim != 2 or not codes.size or codes.max() > UNKNOWN:
            raise ValueError("The model's vocabulary is damaged: it must be sequences; train the model again.")
        if not (self.keys[1:] > self.keys[:-1]).all():
            raise ValueError("The model's vocabulary is damaged: its sequences are not sorted; train the model again.")

    def __len__(self):
        return len(self.codes)

    @functools.cached_property
    def keys(self) -> np.ndarray:
        """The key of each sequence (:func:`q2_aam.data.sequences.sequence_keys`), int64 [C]."""
        return sequence_keys(self.codes, (self.codes > 0).sum(axis=1))

    @classmethod
    def of(cls, codes_AL: np.ndarray, lengths_A: np.ndarray) -> 'Vocabulary':
        """Return the vocabulary of these sequences, each given once."""
        order = np.argsort(sequence_keys(codes_AL, lengths_A), kind='stable')
        return cls(np.ascontiguousarray(codes_AL[order, : int(lengths_A.max())]))
