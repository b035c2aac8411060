"""Linear members of the abundance ensemble: outputs are weighted sums of the logarithms of abundances.

Shapes: M members, B samples, C ASVs of the vocabulary, O outputs.
"""

import dataclasses

import numpy as np

from .member_arrays import LINEAR, check_shape


@dataclasses.dataclass(frozen=True, eq=False)
class LinearMembers:
    """M linear models side by side.

    Attributes
    ----------
    weight : float32 [M, C, O]
        0 for ASVs that the training samples of a member do not hold.
    bias : float32 [M, O]
    """

    ARRAYS = {'weight': 'float32', 'bias': 'float32'}

    weight: np.ndarray
    bias: np.ndarray

    def outputs(self, abundances_BC) -> np.ndarray:
        """Return the outputs of every member, float64 [M, B, O], for samples in a sparse matrix of the vocabulary."""
        return np.stack([abundances_BC @ weight + bias for weight, bias in zip(self.weight, self.bias)]).astype(float)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return {name: array}: everything that :meth:`from_arrays` needs."""
        return {'weight': self.weight, 'bias': self.bias}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], known: np.ndarray, outputs: int) -> 'LinearMembers':
        """Read what :meth:`arrays` gave; ValueError unless it is of these sizes. `known` is uint8 [M, C]."""
        check_shape(f'{LINEAR}.weight', arrays['weight'], (*known.shape, outputs))
        check_shape(f'{LINEAR}.bias', arrays['bias'], (len(known), outputs))
        return cls(arrays['weight'], arrays['bias'])
