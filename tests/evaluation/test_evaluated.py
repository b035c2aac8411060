"""Predictions beside true values: which samples count, and what bad input gets."""

import numpy as np
import pandas as pd
import pytest

from q2_aam.errors import UserError
from q2_aam.evaluation.evaluated import MAX_CLASSES, evaluated

IDS = [f'S{number}' for number in range(6)]


def series(values, ids=IDS, name='age'):
    return pd.Series(values, index=pd.Index(ids, name='id'), name=name)


def details(**columns):
    return pd.DataFrame({'part': 'test', 'prediction': 1.0, **columns}, index=pd.Index(IDS, name='id'))


def test_errors_are_distances_from_the_true_value():
    seen = evaluated(series(list('123456')), series([1.0, 4, 3, 3, 5, 0]))
    assert list(seen.frame['error']) == [0, 2, 0, 1, 0, 6]
    assert list(seen.frame['residual']) == [0, -2, 0, 1, 0, 6]
    assert (seen.target, seen.classes, seen.notes, seen.grouped) == ('age', (), [], False)


def test_the_error_of_a_class_is_whether_it_is_wrong():
    seen = evaluated(series(list('abaabb')), series(list('aaabbb')))
    assert list(seen.frame['error']) == [0, 1, 0, 1, 0, 0]
    assert seen.classes == ('a', 'b') and seen.probabilities is None


def test_classes_that_look_like_numbers_stay_what_they_are():
    seen = evaluated(series(['01', '1', '01', '1', '1', '1']), series(['01', '1', '1', '1', '01', '1']))
    assert seen.classes == ('01', '1') and seen.frame['error'].sum() == 2


def test_true_values_of_the_details_serve_where_no_column_is_given():
    seen = evaluated(series(list('123456')), details=details(true=[1.0, 2, 3, 4, 5, np.nan]))
    assert list(seen.frame.index) == IDS[:5] and seen.frame['error'].sum() == 0
    assert seen.notes == ["1 predicted sample without a true value is left out (e.g. 'S5')."]


def test_samples_that_trained_the_model_are_left_out():
    parts = ['training', 'test', 'validation', 'test', 'test', 'training']
    seen = evaluated(series(list('123456')), series([1.0] * 3 + [2.0] * 3), details(part=parts))
    assert list(seen.frame.index) == ['S1', 'S3', 'S4']
    assert seen.notes == ['3 training or validation samples are left out: the model has seen their labels.']


def test_without_a_test_sample_validation_samples_are_taken_and_it_is_said():
    parts = ['training', 'validation', 'validation', 'validation', 'training', 'training']
    seen = evaluated(series(list('123456')), series([1.0, 2, 3, 4, 5, 6]), details(part=parts))
    assert list(seen.frame.index) == ['S1', 'S2', 'S3']
    assert seen.notes[0].startswith('There is no test sample: these are validation samples, which stopped the training')


def test_abstained_samples_are_in_no_score_and_counted():
    seen = evaluated(series(['1', '2', np.nan, '4', '5', 'nan']), series([1.0, 2, 3, 4, 5, 6]))
    assert len(seen.frame) == 4
    assert seen.notes == ["2 samples have no prediction, because the model abstained (e.g. 'S2'), and are in no score."]


def test_abstained_samples_that_predictions_leave_out_are_counted_from_the_details():
    seen = evaluated(
        series(list('12345'), IDS[:5]), series([1.0, 2, 3, 4, 5, 6]), details(prediction=[1, 2, 3, 4, 5, np.nan])
    )
    assert seen.notes == ["1 sample has no prediction, because the model abstained (e.g. 'S5'), and is in no score."]


def test_a_sample_without_a_group_is_its_own():
    seen = evaluated(
        series(list('123456')), series([1.0, 2, 3, 4, 5, 6]), groups=series(['g', 'g', 'h', 'h', 'h', None])
    )
    assert list(seen.frame['group']) == ['g', 'g', 'h', 'h', 'h', 'S5 (no group)'] and seen.grouped
    assert seen.notes == ['1 sample without a group is taken as a group of one.']


def test_probabilities_of_other_samples_are_not_taken_and_it_is_said():
    shares = pd.DataFrame({'a': 0.5, 'b': 0.5}, index=IDS[:4])
    seen = evaluated(series(list('abaabb')), series(list('aaabbb')), probabilities=shares)
    assert seen.probabilities is None and seen.notes == [
        "2 samples without probabilities (e.g. 'S4'): no curve is drawn; give the probabilities that came with the "
        'predictions.'
    ]


def test_more_classes_than_fit_become_one():
    ids = [f'S{number}' for number in range(200)]
    names = [f'class {number % 40:02d}' for number in range(200)]
    shares = pd.DataFrame(np.full((200, 40), 1 / 40), index=ids, columns=sorted(set(names)))
    seen = evaluated(series(names, ids), series(names, ids), probabilities=shares)
    assert len(seen.classes) == MAX_CLASSES and seen.classes[-1] == 'other (11 classes)'
    assert seen.frame['true'].eq('other (11 classes)').sum() == 55
    assert np.allclose(seen.probabilities.sum(axis=1), 1) and list(seen.probabilities) == list(seen.classes)
    assert seen.notes == [
        "Of 40 classes, the 29 with the most samples are told apart; the others are one, 'other (11 classes)', within "
        'which no error is counted.'
    ]


@pytest.mark.parametrize(
    'given, sentence',
    [
        (
            {'predictions': series(list('123456')), 'truth': series([1.0, 2], ['A', 'B'])},
            "The predictions and the metadata column 'age' have no sample in common (e.g. 'S0' is predicted, 'A' has a "
            'true value): give the metadata of the samples that were predicted.',
        ),
        (
            {'predictions': series(list('123456')), 'truth': series([3.0] * 6)},
            "All 6 samples to evaluate have the same value of 'age', 3.0: no error can be judged; give samples with "
            'several values.',
        ),
        (
            {'predictions': series(['nan'] * 6), 'truth': series([1.0, 2, 3, 4, 5, 6])},
            "None of the 6 samples with a true value has a prediction (e.g. 'S0' has none): the model abstained from "
            'all of them; look at the flags in the details.',
        ),
        (
            {'predictions': series(list('abcabc')), 'truth': series([1.0, 2, 3, 4, 5, 6])},
            "The metadata column 'age' is numeric, but the predictions are classes (e.g. 'a'): give the categorical "
            'column that they are predictions of.',
        ),
        (
            {'predictions': series(['1.5', '2.5'] * 3), 'truth': series(list('abcabc'), name='stage')},
            "No predicted class (e.g. '1.5') occurs in the metadata column 'stage' (e.g. 'a'): give the column that "
            'was predicted.',
        ),
        (
            {'predictions': series(list('123456')), 'details': details()},
            'There are no true values to compare the predictions with: give the metadata column with them (truth), or '
            'details of samples whose true value is known.',
        ),
    ],
    ids=['no sample in common', 'one value', 'all abstained', 'classes of numbers', 'numbers of classes', 'no truth'],
)
def test_bad_input_gets_one_sentence(given, sentence):
    with pytest.raises(UserError) as error:
        evaluated(**given)
    assert str(error.value) == sentence


def test_probabilities_of_baselines_are_those_that_all_samples_have():
    ids = ['a', 'b']
    predictions = pd.Series(['x', 'y'], ids, name='kind')
    details = pd.DataFrame(
        {'part': 'test', 'prediction': predictions, 'true': ['x', 'y'], 'forest|x': [0.75, 0.5],
         'forest|y': [0.25, 0.5], 'near|x': [np.nan, 0.5], 'near|y': [np.nan, 0.5], 'a|note': ['n', 'n']}, ids,
    )  # fmt: skip
    seen = evaluated(predictions, None, details)
    assert list(seen.of_baselines) == ['forest']
    assert seen.of_baselines['forest'].to_dict('list') == {'x': [0.75, 0.5], 'y': [0.25, 0.5]}
