"""Which ASVs an encoder learned from, by their keys: it tells these apart by memberships, and new ones less well.

Importable without torch.
"""

import dataclasses

import numpy as np

# Names of the arrays of a bundle.
KEYS, LENGTH = 'known_asvs.keys', 'known_asvs.length'
ARRAYS = {KEYS: 'int64', LENGTH: 'float64'}


@dataclasses.dataclass(frozen=True, eq=False)
class KnownASVs:
    """The ASVs that an encoder learned from.

    Attributes
    ----------
    keys : int64 [A]
        Of their sequences (:func:`q2_aam.data.sequences.sequence_keys`), ascending, none twice.
    length : float64 [1]
        By what the length of their own branches is multiplied: from 0 to 1.

    Raises
    ------
    ValueError
        If they are something else.
    """

    keys: np.ndarray
    length: np.ndarray

    def __post_init__(self):
        keys, length = self.keys, self.length
        ascending = keys.ndim == 1 and (keys[1:] > keys[:-1]).all()
        if not (ascending and length.shape == (1,) and 0 <= length[0] <= 1):
            raise ValueError(
                "The model's known ASVs are damaged: they must be keys, each once, and a share; train the model again."
            )

    def factors(self, keys: np.ndarray) -> np.ndarray:
        """Return by what the length of the own branch of each ASV is multiplied, float32, from the keys of the ASVs."""
        return np.where(np.isin(keys, self.keys), self.length[0], 1.0).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return {name: array} as a bundle has them."""
        return {KEYS: self.keys, LENGTH: self.length}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> 'KnownASVs | None':
        """Read what :meth:`arrays` gave; None where there are no arrays."""
        given = [arrays[name] for name in ARRAYS if name in arrays]
        if not given:
            return None
        if len(given) < len(ARRAYS):
            raise ValueError('The model lacks the keys or the length of its known ASVs; train it again.')
        return cls(*given)
