"""What a model knows of the samples that it was trained for: how far from them a new one may lie. No sample is in it.

Importable without torch.
"""

import dataclasses

import numpy as np

from q2_aam.stats.familiarity import NAMES, Familiarity
from q2_aam.stats.separation import check_quantiles

# Names of the arrays of a bundle; the last is of Domain itself.
PREFIX, QUANTILES = 'familiarity.', 'familiarity.quantiles'
ARRAYS = {
    'familiarity.center': 'float32',
    'familiarity.basis': 'float32',
    'familiarity.deviations': 'float32',
    'familiarity.units': 'float64',
    'familiarity.unit_length': 'uint8',
    QUANTILES: 'float64',
}


@dataclasses.dataclass(frozen=True, eq=False)
class Domain:
    """The samples that a model was trained for.

    Attributes
    ----------
    familiarity : q2_aam.stats.familiarity.Familiarity
        Of log abundances of the ASVs of the vocabulary.
    quantiles : float64 [101]
        Of the distances of left-out groups, by which a whole table is compared.

    Raises
    ------
    ValueError
        If the quantiles are not ascending numbers.
    """

    familiarity: Familiarity
    quantiles: np.ndarray

    def __post_init__(self):
        check_quantiles(self.quantiles)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return {name: array} as a bundle has them."""
        arrays = {PREFIX + name: array for name, array in self.familiarity.arrays().items()}
        return arrays | {QUANTILES: self.quantiles}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], features: int) -> 'Domain | None':
        """Read what :meth:`arrays` gave, of so many features; None where there are no arrays, as in older bundles."""
        given = {name: array for name, array in arrays.items() if name in ARRAYS}
        if not given:
            return None
        if missing := sorted(set(ARRAYS) - set(given)):
            raise ValueError(f'The model lacks the numbers {missing[0]}; train it again.')
        familiarity = Familiarity.from_arrays({name: given[PREFIX + name] for name in NAMES}, features)
        return cls(familiarity, given[QUANTILES])
