"""Covariates of new samples: asked for by name, unknown where they are missing or new, and each sample by itself."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from q2_aam import bundle
from q2_aam.errors import AAMWarning, UserError
from tests.conftest import run_fit_classifier, run_predict, run_predict_classes

DAMAGED_IN_ALL = 'every covariate is unknown; use the same IDs in both.'


@pytest.fixture
def predict(facility_regressor, tmp_path):
    """Predict samples of the study: (covariates, names of some samples, ...) -> predictions, details, lines."""
    calls = []

    def run(covariates=facility_regressor.covariates, ids=None, model=None):
        tiny, lines = facility_regressor.tiny, []
        ids = list(tiny.counts.index) if ids is None else ids
        calls.append(ids)
        some = dataclasses.replace(tiny, counts=tiny.counts.loc[ids])
        place = tmp_path / f'call{len(calls)}'
        model = model or facility_regressor.folder
        predictions, details = run_predict(some, place, model, say=lines.append, covariates=covariates)
        return predictions, details, lines

    return run


@pytest.fixture
def ids(facility_regressor):
    """Some of the samples."""
    return list(facility_regressor.tiny.counts.index[:6])


def test_predictions_are_those_of_the_fit(predict, facility_regressor):
    predictions, _, lines = predict()
    details = facility_regressor.run.details
    tested = details.index[details['part'] == 'test']
    assert predictions[tested].to_numpy() == pytest.approx(details.loc[tested, 'prediction'].to_numpy(), rel=1e-5)
    assert not any('unknown' in line for line in lines) and not details['covariates_unknown'].any()


def test_the_facility_tells(predict, facility_regressor, ids):
    covariates = facility_regressor.covariates
    north, west = (predict(covariates.assign(facility=name), ids)[0] for name in ('north', 'west'))
    assert (west - north).min() > 4


def test_one_sample_alone_is_predicted_as_in_any_table(predict, facility_regressor):
    covariates = facility_regressor.covariates.copy()
    covariates.loc['sample002', 'facility'], covariates.loc['sample003', 'visit'] = 'east', np.nan
    covariates = covariates.drop('sample004')
    together, details, _ = predict(covariates)
    for name in ('sample002', 'sample003', 'sample005'):
        alone, row, _ = predict(covariates.loc[[name]], [name])
        assert alone[name] == pytest.approx(together[name], rel=1e-6)
        assert list(row['flag']) == [details.loc[name, 'flag']]
    with pytest.warns(AAMWarning, match=DAMAGED_IN_ALL):
        alone, *_ = predict(covariates, ['sample004'])
    assert alone['sample004'] == pytest.approx(together['sample004'], rel=1e-6)


def test_a_new_category_and_a_missing_value_are_unknown_and_counted(predict, facility_regressor, ids):
    covariates = facility_regressor.covariates.loc[ids].copy()
    covariates.loc[ids[:3], 'facility'] = ['east', 'NORTH', None]
    covariates.loc[ids[1], 'visit'] = np.nan
    given, details, lines = predict(covariates, ids)
    assert details['covariates_unknown'].tolist() == [1, 2, 1, 0, 0, 0]
    said = [line for line in lines if line.startswith('Covariates that are unknown')]
    assert said == [
        "Covariates that are unknown, as the model was trained for: 'facility' (3 samples, with categories that the "
        "model has not learned: 'NORTH', 'east'), 'visit' (1 sample)."
    ]
    # whatever stands there
    covariates.loc[ids[:3], 'facility'] = None
    again, *_ = predict(covariates, ids)
    assert np.array_equal(given, again)
    # between what it would be at the facilities, or near
    ends = [predict(covariates.assign(facility=name), ids)[0][ids[0]] for name in ('north', 'west')]
    assert ends[0] - 2 < again[ids[0]] < ends[1] + 2


def test_the_order_of_rows_and_columns_and_further_ones_change_nothing(predict, facility_regressor, ids):
    covariates = facility_regressor.covariates
    one, *_ = predict(covariates, ids)
    other, *_ = predict(covariates.iloc[::-1][['visit', 'facility']].assign(more='x'), ids)
    assert np.array_equal(one, other)


@pytest.mark.parametrize(
    'change, sentence',
    [
        (
            lambda covariates: None,
            "The model was trained with 2 covariates ('facility', 'visit'); give metadata with such columns as "
            'covariates, and leave empty what is not known of a sample.',
        ),
        (
            lambda covariates: covariates[['visit']],
            "The covariates lack 1 column that the model was trained with: 'facility'; add it, and leave empty what is "
            'not known of a sample.',
        ),
        (
            lambda covariates: covariates.assign(visit='first'),
            "Covariate 'visit' is numeric in the model, but categorical in the metadata given; give numbers, and leave "
            'empty what is not known.',
        ),
    ],
)
def test_covariates_that_are_missing_are_asked_for_by_name(predict, facility_regressor, change, sentence):
    with pytest.raises(UserError) as error:
        predict(change(facility_regressor.covariates))
    assert str(error.value) == sentence


def test_a_table_without_a_sample_of_the_covariates_is_warned_of(predict, facility_regressor, ids):
    covariates = facility_regressor.covariates.rename(index=lambda name: f'x{name}')
    with pytest.warns(AAMWarning) as warned:
        predict(covariates, ids)
    assert str(warned[0].message) == (
        "The feature table and the covariates share no sample IDs (e.g. 'sample000' in the table, 'xsample000' in the "
        f'covariates), so that {DAMAGED_IN_ALL}'
    )


def test_covariates_for_a_model_without_any_change_nothing_and_are_warned_of(tiny, tiny_regressor, predicted):
    without, _ = predicted(tiny, tiny_regressor.folder, 'without')
    with pytest.warns(AAMWarning) as warned:
        given, _ = predicted(
            tiny, tiny_regressor.folder, 'given', covariates=pd.DataFrame({'x': 1.0}, tiny.counts.index)
        )
    assert str(warned[0].message) == 'The model was trained without covariates, so that those given change nothing.'
    assert np.array_equal(without, given)


def test_a_classifier_reads_covariates(facility_regressor, tmp_path):
    tiny, covariates = facility_regressor.tiny, facility_regressor.covariates
    # whether the facility is north is told by it, and by nothing else
    target = covariates['facility'].where(covariates['facility'] == 'north', 'elsewhere').rename('place')
    given = covariates.replace({'facility': {'north': 'a', 'south': 'b', 'west': 'c'}})
    fitted = run_fit_classifier(tiny, tmp_path / 'fit', target=target, covariates=given)
    assert bundle.read_config(fitted.folder).covariates.names == ['facility', 'visit']
    for name, expected in (('a', 'north'), ('b', 'elsewhere')):
        place = tmp_path / f'predict-{name}'
        classes, _, _ = run_predict_classes(tiny, place, fitted.folder, given.assign(facility=name))
        assert (classes == expected).mean() > 0.9
