"""Weights of samples."""

import numpy as np
import pandas as pd
import pytest

from q2_aam.data.weights import weights_of
from q2_aam.errors import AAMWarning, UserError

IDS = ['a', 'b', 'c', 'd']
TRAINING = np.array([0, 1])


def column(*values):
    return pd.Series(values, IDS, name='w', dtype=float)


def test_the_mean_weight_of_training_samples_is_1():
    assert weights_of(column(1, 3, 0, 8), IDS, TRAINING).tolist() == [0.5, 1.5, 0, 4]


def test_weights_that_leave_a_few_samples_are_warned_of():
    ids = [f's{number}' for number in range(20)]
    weights = pd.Series([1.0, 1.0] + [0.0] * 18, ids, name='w')
    with pytest.warns(AAMWarning) as warned:
        weights_of(weights, ids, np.arange(20))
    assert str(warned[0].message) == (
        "Metadata column 'w' (sample_weights) makes 20 training samples teach no more than 2.0 would that all count "
        'the same; give more of them weight.'
    )


@pytest.mark.parametrize(
    'values, sentence',
    [
        (
            (1, -2, 1, 1),
            "Metadata column 'w' (sample_weights) must have weights from 0 to 1e+06, but has -2 for sample 'b'; "
            'correct it.',
        ),
        (
            (0, 0, 1, 1),
            "Metadata column 'w' (sample_weights) is 0 for all training samples, which could teach nothing; give some "
            'a weight above 0.',
        ),
        (
            (1, 1, np.nan, np.nan),
            "Metadata column 'w' (sample_weights) has no value for 2 labelled samples (e.g. 'c'); give every labelled "
            'sample a weight, 0 for one that is to teach nothing.',
        ),
    ],
)
def test_other_weights_are_refused_in_one_sentence(values, sentence):
    with pytest.raises(UserError) as error:
        weights_of(column(*values), IDS, TRAINING)
    assert str(error.value) == sentence
