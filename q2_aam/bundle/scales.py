"""How a numeric target is learned: on which scale, and which of its quantiles."""

import dataclasses
from collections.abc import Callable

import numpy as np

from .untrusted import brief

# Logarithms above this are of numbers that no column may hold (1e18).
MAX_LOGARITHM = 44.0
# Quantiles that are learned.
MAX_LEVELS = 1000


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
