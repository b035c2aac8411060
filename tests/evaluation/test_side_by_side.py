"""Models on the same samples: differences, who wins, and how alike they err."""

import numpy as np
import pandas as pd
import pytest

from q2_aam.errors import UserError
from q2_aam.evaluation.evaluated import evaluated
from q2_aam.evaluation.side_by_side import correlations, differences, side_by_side

IDS = pd.Index([f'S{number}' for number in range(40)], name='id')
TRUTH = pd.Series(np.linspace(0, 20, 40), IDS, name='age')


def of_errors(errors, ids=IDS, groups=None):
    predicted = (TRUTH + np.asarray(errors))[ids]
    return evaluated(predicted.map(str), TRUTH, groups=groups)


def test_the_model_that_errs_less_comes_first_with_its_difference():
    random = np.random.default_rng(1)
    noise = random.uniform(0.5, 1.5, 40)
    compared = side_by_side([of_errors(3 * noise), of_errors(noise), of_errors(-2 * noise)], ['c', 'a', 'b'])
    assert compared.ranked == ['a', 'b', 'c']
    pairs = differences(compared)
    assert pairs[['better', 'other']].values.tolist() == [['a', 'b'], ['a', 'c'], ['b', 'c']]
    assert pairs['value'].tolist() == pytest.approx(list(noise.mean() * np.array([-1, -2, -1])))
    assert (pairs['upper'] < 0).all() and (pairs['better_for'] == 1).all()


def test_models_that_err_in_opposite_directions_are_correlated_by_minus_one():
    random = np.random.default_rng(2)
    noise = random.normal(size=40)
    matrix = correlations(side_by_side([of_errors(noise), of_errors(-noise)]))
    assert matrix.loc['model 1', 'model 2'] == pytest.approx(-1) and matrix.loc['model 1', 'model 1'] == pytest.approx(
        1
    )


def test_only_samples_of_all_models_are_compared_and_it_is_said():
    compared = side_by_side([of_errors(np.ones(40)), of_errors(np.ones(40), IDS[:30])])
    assert len(compared.errors) == 30
    assert compared.notes == ['model 1: 10 samples that other models did not predict left out.']


def test_bad_comparisons_get_one_sentence():
    one = of_errors(np.ones(40), IDS[:20])
    for given, names, sentence in (
        ([one], None, 'A comparison needs the predictions of two models or more: give each with --i-predictions.'),
        (
            [one, one], ['a', 'a'],
            'There are 2 sets of predictions and 1 different name for them: give one name for each, in the same order.',
        ),
        (
            [one, of_errors(np.ones(40), IDS[20:])], None,
            "The models predicted no sample in common (e.g. 'S0' is in the first only): give predictions of the same "
            'samples.',
        ),
    ):  # fmt: skip
        with pytest.raises(UserError) as error:
            side_by_side(given, names)
        assert str(error.value) == sentence
