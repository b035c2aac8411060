"""Numbers that cannot be computed with are refused, and numbers that seem to be dates are warned of."""

import warnings

import numpy as np
import pandas as pd
import pytest

from q2_aam.data.numbers import check_numbers, warn_of_codes, warn_of_times
from q2_aam.errors import AAMWarning, UserError


def series(*values):
    return pd.Series(values, [f's{i}' for i in range(len(values))], dtype=float)


@pytest.mark.parametrize(
    'values, sentence',
    [
        (
            (1, 1e200, -1e300),
            "Metadata column 'age' must have values from -1e+18 to 1e+18, but has 1e+200 for sample 's1' (2 such "
            'samples); correct them, give them in another unit, or leave them empty.',
        ),
        (
            (1e-310, 2e-310, 3e-310),
            "Metadata column 'age' has values that differ too little to compute with (from 1e-310 to 3e-310, a range "
            'of 2e-310); give them in another unit, or choose another column.',
        ),
        (
            (1e9, 1e9 + 1e-6, 1e9),
            "Metadata column 'age' has values that differ too little to compute with (from 1e+09 to 1e+09, a range of "
            '9.5e-07); give them in another unit, or choose another column.',
        ),
        (
            (1, np.inf),
            "Metadata column 'age' must have finite values: the one of sample 's1' is infinite; correct it or leave it "
            'empty.',
        ),
    ],
)
def test_values_that_cannot_be_computed_with_are_refused(values, sentence):
    with pytest.raises(UserError) as caught:
        check_numbers(series(*values), 'age')
    assert str(caught.value) == sentence


@pytest.mark.parametrize('values', [(0, 1e-15), (1e17, -1e17), (1.6e9, 1.6e9 + 60), (1e-12, 3e-9)])
def test_values_of_any_usual_unit_are_taken(values):
    check_numbers(series(*values), 'age')


@pytest.mark.parametrize(
    'values, what',
    [
        (
            (20210315, 20210401, 20191231),
            'dates written as numbers (e.g. 20191231), whose differences are no spans of time',
        ),
        (
            (1609459200, 1612137600, 1614556800),
            'Unix times in seconds (e.g. 1609459200), in which predictions and errors will be, too',
        ),
        (
            (1609459200000, 1612137600000, 1614556800000),
            'Unix times in milliseconds (e.g. 1609459200000), in which predictions and errors will be, too',
        ),
    ],
)
def test_dates_and_times_as_numbers_are_warned_of(values, what):
    with pytest.warns(AAMWarning) as caught:
        warn_of_times(series(*values), 'collected')
    assert [str(one.message) for one in caught] == [
        f"The values of metadata column 'collected' seem to be {what}; if so, give days since a first day instead."
    ]


@pytest.mark.parametrize(
    'values',
    [
        (20210315, 20210401, 20191331),
        (20210315, 20210401),
        (2019, 2020, 2021),
        (0.5, 3, 7),
        (1609459200.5, 1612137600, 1614556800),
        (10, 1609459200, 1612137600),
    ],
)
def test_other_numbers_are_not(values):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warn_of_times(series(*values), 'collected')


@pytest.mark.parametrize(
    'values, sentence',
    [
        ((-999, 0, -999, 18.5, 3), '-999 (2 samples), far from all others, which are 0 to 18.5'),
        ((999, 36.5, 37, -99, 999, -99), '-99 (2 samples), 999 (2 samples), far from all others, which are 36.5 to 37'),
    ],
)
def test_numbers_that_stand_for_a_missing_value_are_warned_of_with_their_numbers(values, sentence):
    with pytest.warns(AAMWarning) as caught:
        warn_of_codes(series(*values), 'age')
    assert [str(one.message) for one in caught] == [
        f"Metadata column 'age' has numbers that mean a missing value, it seems: {sentence}; if so, leave such samples "
        'without a value.'
    ]


@pytest.mark.parametrize(
    # once only; among other values; not so far from them; nothing else is there
    'values',
    [(-999, 0, 1), (-9, -9, -11, 4), (-99, -99, 0, 200), (999, 999, 400, 1000), (-9, -9, -9)],
)
def test_codes_that_may_be_values_are_not(values):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warn_of_codes(series(*values), 'age')
