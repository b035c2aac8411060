"""Folds are put together sample by sample, whatever order and whatever classes each of them knows."""

import numpy as np
import pandas as pd
import pytest

from q2_aam.evaluation.out_of_fold import OURS, OutOfFold, gather_classes, gather_numbers, mean_probabilities, means_of


@pytest.fixture
def numbers():
    """Two repeats of two folds on three samples."""
    target = pd.Series([1.0, 2.0, 4.0], ['a', 'b', 'c'], name='age')
    ours = [
        pd.DataFrame({'prediction': values, 'lower_bound': low, 'flag': 'ok', 'upper_bound': high}, list(ids))
        for ids, values, low, high in (
            ('ac', [1.5, 4.0], [1.0, 3.0], [2.0, 5.0]),
            ('b', [2.0], [0.5], [4.0]),
            ('b', [np.nan], [np.nan], [np.nan]),
            ('ca', [5.0, 1.0], [4.5, 0.0], [6.0, 1.5]),
        )
    ]
    # the rows of other methods may stand in another order
    baselines = [pd.DataFrame({'ridge': one['prediction'][::-1] + 1}) for one in ours]
    return gather_numbers(target, pd.Series(['x', 'x', 'y'], ['a', 'b', 'c']), ours, baselines, folds=2)


def test_each_row_is_a_sample_of_a_fold_of_a_repeat(numbers):
    assert numbers.sample_ids.tolist() == ['a', 'c', 'b', 'b', 'c', 'a']
    assert numbers.repeats.tolist() == [0, 0, 0, 1, 1, 1]
    assert numbers.folds.tolist() == [0, 0, 1, 0, 1, 1]
    assert numbers.groups.tolist() == ['x', 'y', 'x', 'x', 'y', 'x']
    assert numbers.true.tolist() == [1, 4, 2, 2, 4, 1]
    np.testing.assert_array_equal(numbers.predicted['ridge'], numbers.predicted[OURS] + 1)


def test_intervals_stand_beside_the_predictions_that_they_are_of(numbers):
    expected = [[1, 2], [3, 5], [0.5, 4], [np.nan, np.nan], [4.5, 6], [0, 1.5]]
    np.testing.assert_array_equal(numbers.bounds, expected)
    assert numbers.predicted[OURS].tolist()[:3] == [1.5, 4, 2]


def test_predictions_without_intervals_have_none():
    target = pd.Series([1.0, 2.0], ['a', 'b'], name='age')
    result = gather_numbers(target, None, [pd.DataFrame({'prediction': [1.0, 2.0]}, ['a', 'b'])], [], folds=1)
    np.testing.assert_array_equal(result.bounds, np.full((2, 2), np.nan))


def test_means_over_repeats_ignore_what_was_not_predicted(numbers):
    means = means_of(numbers)
    assert means.index.tolist() == ['a', 'b', 'c'] and means.index.name == 'id'
    assert list(means) == ['fold', 'prediction', 'prediction_sd', 'ridge']
    assert means['fold'].tolist() == [1, 2, 1]
    assert means['prediction'].tolist() == [1.25, 2.0, 4.5]
    assert means['prediction_sd'].tolist()[::2] == [pytest.approx(0.5 / 2**0.5), pytest.approx(0.5**0.5)]


def test_one_repeat_has_no_standard_deviation_and_no_groups_mean_samples():
    target = pd.Series([1.0, 2.0], ['a', 'b'], name='age')
    ours = [pd.DataFrame({'prediction': [1.0]}, ['a']), pd.DataFrame({'prediction': [2.0]}, ['b'])]
    result = gather_numbers(target, None, ours, [], folds=2)
    assert list(means_of(result)) == ['fold', 'prediction']
    assert result.groups.tolist() == ['a', 'b']


def test_a_class_that_no_training_sample_had_has_probability_0():
    target = pd.Series(['x', 'y', 'y'], ['a', 'b', 'c'], name='stage')
    ours = [pd.DataFrame({'x': [0.25], 'y': [0.75]}, ['a']), pd.DataFrame({'y': [1.0, 1.0]}, ['b', 'c'])]
    baselines = [
        pd.DataFrame({'near|x': [np.nan], 'near|y': [np.nan], 'nearest|x': [0.5], 'nearest|y': [0.5]}, ['a']),
        pd.DataFrame({'near|y': [1.0, 1.0], 'nearest|y': [1.0, 1.0]}, ['c', 'b']),
    ]
    result = gather_classes(target, None, ours, baselines, folds=2)
    assert result.classes == ('x', 'y') and result.true.tolist() == [0, 1, 1]
    assert result.predicted[OURS].tolist() == [[0.25, 0.75], [0, 1], [0, 1]]
    assert result.baselines == ['near', 'nearest']
    assert result.predicted['nearest'].tolist() == [[0.5, 0.5], [0, 1], [0, 1]]
    np.testing.assert_array_equal(result.predicted['near'], [[np.nan, np.nan], [0, 1], [0, 1]])
    assert mean_probabilities(result).to_dict('list') == {'x': [0.25, 0, 0], 'y': [0.75, 1, 1]}
    means = means_of(result)
    assert means['fold'].tolist() == [1, 2, 2] and means['nearest|x'].tolist() == [0.5, 0, 0]
    assert list(means) == ['fold', 'near|x', 'near|y', 'nearest|x', 'nearest|y'] and means['near|x'].isna().sum() == 1


def test_the_guess_and_baselines_of_very_many_classes_have_no_columns_of_probabilities():
    target = pd.Series(
        [f'c{number:02d}' for number in range(31)], [f'S{number:02d}' for number in range(31)], name='kind'
    )
    ours = [pd.DataFrame(np.eye(31), target.index, list(target))]
    baselines = [ours[0].add_prefix('forest|').join(ours[0].add_prefix('majority|'))]
    assert list(means_of(gather_classes(target, None, ours, baselines, folds=1))) == ['fold']
    some = target.iloc[:5]
    few = [frame.loc[some.index].filter(regex='c0[0-4]$') for frame in (ours[0], baselines[0])]
    means = means_of(gather_classes(some, None, few[:1], few[1:], folds=1))
    assert list(means) == ['fold', *(f'forest|{name}' for name in some)]


def made(predicted, classes=(), true=(0, 1, 1, 1)):
    rows = np.arange(len(true))
    return OutOfFold('stage', rows.astype(str), rows, rows * 0, rows * 0, np.array(true), {OURS: predicted}, classes)


def test_errors_of_numbers_are_absolute_and_missing_where_nothing_was_predicted():
    result = made(np.array([1.0, np.nan, -1, 1]))
    np.testing.assert_array_equal(result.errors(OURS), [1, np.nan, 2, 0])


def test_errors_of_classes_are_1_where_the_likeliest_is_wrong():
    shares = np.array([[0.2, 0.8], [0.9, 0.1], [0.4, 0.6], [np.nan, np.nan]])
    np.testing.assert_array_equal(made(shares, ('x', 'y')).errors(OURS), [1, 1, 0, np.nan])
