"""Values of a numeric metadata column: whether they can be computed with, and whether they are what they seem."""

import re
import warnings

import numpy as np
import pandas as pd

from q2_aam.errors import AAMWarning, UserError, counted, listed, shown

from .names import OF_MISSING_VALUES

# The network computes in float32, of which squares are taken: its limits are 1e-38 and 3e38.
MAX_VALUE, MIN_RANGE = 1e18, 1e-18
# A range that is a smaller share of the values is rounding: float64 holds 16 digits.
MIN_RELATIVE_RANGE = 1e-12

# From so many different values on, that all of them look like times is no chance.
MIN_TIMES = 3
# Seconds since 1970 in 1990 and 2100.
UNIX_TIMES = (631_152_000, 4_102_444_800)
# What stands for a missing value in tables of numbers, where it is far from all other values and not there once only.
CODES_OF_MISSING = (-9, -99, -777, -888, -999, -9999, -99999, 777, 888, 999, 9999, 99999)
_DATE = re.compile(r'(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])')


def check_numbers(values: pd.Series, name: str) -> None:
    """Raise UserError unless values are finite, neither too large nor too alike, and differ.

    Parameters
    ----------
    values : pandas.Series
        float64 by sample id, none missing.
    name : str
        Of the metadata column.
    """
    column = f'Metadata column {shown(name)}'
    infinite = values.index[~np.isfinite(values)]
    if len(infinite):
        raise UserError(
            f'{column} must have finite values: the one of sample {shown(infinite[0])} is infinite; correct it or '
            'leave it empty.'
        )
    if values.nunique() == 1:
        raise UserError(
            f'{column} has only the value {values.iloc[0]:g} ({counted(len(values), "labelled sample")}); choose a '
            'column whose values differ.'
        )
    largest = values.abs().max()
    if largest > MAX_VALUE:
        wrong = values.index[values.abs() > MAX_VALUE]
        raise UserError(
            f'{column} must have values from -{MAX_VALUE:g} to {MAX_VALUE:g}, but has {values[wrong[0]]:g} for sample '
            f'{shown(wrong[0])} ({counted(len(wrong), "such sample")}); correct them, give them in another unit, or '
            'leave them empty.'
        )
    spread = values.max() - values.min()
    if spread < max(MIN_RANGE, MIN_RELATIVE_RANGE * largest):
        raise UserError(
            f'{column} has values that differ too little to compute with (from {values.min():g} to {values.max():g}, a '
            f'range of {spread:.2g}); give them in another unit, or choose another column.'
        )


def warn_of_times(values: pd.Series, name: str) -> None:
    """Warn if all values seem to be dates or times that are written as one number; see :func:`check_numbers`."""
    distinct = np.unique(values)
    if len(distinct) < MIN_TIMES or (distinct != np.floor(distinct)).any():
        return
    example = f'{distinct[0]:.0f}'
    if all(_DATE.fullmatch(f'{value:.0f}') for value in distinct):
        what = f'dates written as numbers (e.g. {example}), whose differences are no spans of time'
    elif unit := _unit_of_unix_times(distinct):
        what = f'Unix times in {unit} (e.g. {example}), in which predictions and errors will be, too'
    else:
        return
    warnings.warn(
        f'The values of metadata column {shown(name)} seem to be {what}; if so, give days since a first day instead.',
        AAMWarning,
        stacklevel=4,
    )


def warn_of_codes(values: pd.Series, name: str) -> None:
    """Warn if some values seem to be codes of a missing value, such as -999; see :func:`check_numbers`."""
    is_code = values.isin(CODES_OF_MISSING)
    others = values[~is_code]
    if others.empty:
        return
    low, high = others.min(), others.max()
    found = [
        f'{code:g} ({counted(number, "sample")})'
        for code, number in values[is_code].value_counts().sort_index().items()
        if number > 1 and max(low - code, code - high) > high - low
    ]
    if found:
        warnings.warn(
            f'Metadata column {shown(name)} has numbers {OF_MISSING_VALUES}, it seems: {listed(found)}, far from all '
            f'others, which are {low:g} to {high:g}; if so, leave such samples without a value.',
            AAMWarning,
            stacklevel=4,
        )


def _unit_of_unix_times(values):
    for unit, factor in (('seconds', 1), ('milliseconds', 1000)):
        low, high = (bound * factor for bound in UNIX_TIMES)
        if low <= values.min() and values.max() <= high:
            return unit
    return None
