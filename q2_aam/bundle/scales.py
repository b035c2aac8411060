"""How a numeric target is learned: on which scale, scaled by which categories, and which of its quantiles.

Shapes: N samples.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from q2_aam.data.covariates import MAX_CATEGORIES
from q2_aam.data.names import OF_CLASSES, OF_COLUMNS, first_fault

from .untrusted import brief

# Logarithms above this are of numbers that no column may hold (1e18).
MAX_LOGARITHM = 44.0
# Quantiles that are learned.
MAX_LEVELS = 1000
# Values of a column are from -1e18 to 1e18 and span 1e-18 or more (q2_aam.data.numbers); the training split alone may
# span less. Beyond these, outputs in float32 could not become finite numbers of float64.
MAX_CENTER, MIN_SCALE, MAX_SCALE = 1e18, 1e-30, 1e19


@dataclasses.dataclass(frozen=True)
class Scale:
    """How values of a column become those of the scale, and back.

    Attributes
    ----------
    to_scale, to_unit : callable
        Of float64 [N]; where the scale begins at 0, values below are taken as 0.
    from_zero : bool
        Whether it knows no values below 0.
    words : str
        What is learned, for the user.
    """

    to_scale: Callable[[np.ndarray], np.ndarray]
    to_unit: Callable[[np.ndarray], np.ndarray]
    from_zero: bool
    words: str


COLUMN = Scale(lambda values: values, lambda values: values, False, 'a number')
SQRT = Scale(
    lambda values: np.sqrt(np.maximum(values, 0)),
    lambda values: np.square(np.maximum(values, 0)),
    True,
    'its square root is learned, and squared again in predictions',
)
LOG = Scale(
    lambda values: np.log1p(np.maximum(values, 0)),
    lambda values: np.expm1(np.clip(values, 0, MAX_LOGARITHM)),
    True,
    'the logarithm of 1 + its value is learned, and undone in predictions',
)


@dataclasses.dataclass(frozen=True)
class ByCategory:
    """Scaling of a target by the category of each sample, on the scale on which it is learned.

    Attributes
    ----------
    name : str
        Of the metadata column.
    categories : tuple of str
        Those with training samples enough; any other is unknown.
    centers, scales : tuple of float
        Of each category.
    """

    name: str
    categories: tuple
    centers: tuple
    scales: tuple

    def __post_init__(self):
        for name in ('categories', 'centers', 'scales'):
            # JSON has lists
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        number = len(self.categories) if isinstance(self.categories, tuple) else 0
        sound = isinstance(self.name, str) and number and all(isinstance(one, str) for one in self.categories)
        if not sound or not 1 <= number <= MAX_CATEGORIES or len(set(self.categories)) < number:
            raise ValueError(
                f'A target that is scaled by category must have 1 to {MAX_CATEGORIES:,} different categories, but has '
                f'{brief(self.categories)}.'
            )
        if first_fault([self.name], OF_COLUMNS) or first_fault(self.categories, OF_CLASSES):
            raise ValueError(
                'Names of the categories by which a target is scaled must be such as QIIME 2 metadata have, but they '
                f'are {brief(self.categories)} of {brief(self.name)}.'
            )
        for values, low, high in ((self.centers, -MAX_CENTER, MAX_CENTER), (self.scales, MIN_SCALE, MAX_SCALE)):
            numbers = isinstance(values, tuple) and all(
                type(one) in (int, float) and low <= one <= high for one in values
            )
            if not numbers or len(values) != number:
                raise ValueError(
                    f'A target that is scaled by category must have a number from {low:g} to {high:g} for each of '
                    f'{number} categories, but has {brief(values)}.'
                )


def check_levels(levels: object, shown: object, quantiles: bool) -> None:
    """Raise ValueError, in one sentence, unless these can be the levels of the outputs of a target, and those shown."""
    if not isinstance(levels, tuple) or not isinstance(shown, tuple) or len(levels) > MAX_LEVELS:
        raise ValueError(f'The levels of the target must be a list of up to {MAX_LEVELS}, but are {brief(levels)}.')
    sound = all(isinstance(level, float) and 0 < level < 1 for level in levels) and len(set(levels)) == len(levels)
    if levels and not (sound and quantiles and len(levels) > 2 and levels[1] < levels[0] == 0.5 < levels[2]):
        raise ValueError(
            'The levels of the target must be 0.5, two around it and any others between 0 and 1, but are '
            f'{brief(levels)}.'
        )
    if not all(isinstance(level, float) and level in levels for level in shown):
        raise ValueError(f'The levels of the target that are shown must be some of them, but are {brief(shown)}.')
