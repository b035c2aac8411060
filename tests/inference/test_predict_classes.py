"""Predicting classes: what it has in common with numbers is tested there; here are classes and their probabilities."""

import numpy as np
import pytest

from q2_aam.errors import AAMWarning, UserError

CLASSES = ['10 weeks', 'mid way', 'später']


def test_what_fitting_gave_comes_back(tiny, predicted_classes, tiny_classifier):
    predictions, probabilities, details = predicted_classes(tiny, tiny_classifier.folder)
    fitted, test = tiny_classifier.details, tiny_classifier.predictions.index
    assert (predictions.name, predictions.index.name, probabilities.index.name) == ('stage', 'id', 'id')
    assert list(probabilities.columns) == CLASSES and list(probabilities.index) == list(fitted.index)
    assert probabilities.loc[test].to_numpy() == pytest.approx(tiny_classifier.probabilities.to_numpy(), abs=1e-5)
    assert list(predictions[test]) == list(tiny_classifier.predictions)
    assert list(predictions) == list(details['prediction'])
    assert list(details.columns)[:6] == ['part', 'prediction', 'true', *(f'probability_{name}' for name in CLASSES)]
    assert set(details['part']) == {'new'} and details['true'].isna().all()


def test_one_sample_alone_is_predicted_as_in_any_batch(tiny, predicted_classes, tiny_classifier):
    _, together, _ = predicted_classes(tiny, tiny_classifier.folder)
    counts = tiny.counts
    tiny.counts = counts.iloc[[11]]
    _, alone, _ = predicted_classes(tiny, tiny_classifier.folder, 'alone')
    assert alone.to_numpy()[0] == pytest.approx(together.loc[counts.index[11]].to_numpy(), abs=1e-5)


def test_a_sample_without_reads_has_details_without_class_and_probability(tiny, predicted_classes, tiny_classifier):
    empty = tiny.counts.index[2]
    tiny.counts.loc[empty] = 0
    with pytest.warns(AAMWarning, match='^Ignored: 1 sample without reads '):
        predictions, probabilities, details = predicted_classes(tiny, tiny_classifier.folder)
    assert empty not in predictions.index and empty not in probabilities.index and len(predictions) == 23
    assert np.isfinite(probabilities.to_numpy()).all() and predictions.isin(CLASSES).all()
    row = details.loc[empty]
    assert row[['prediction', 'true', *(f'probability_{name}' for name in CLASSES)]].isna().all()
    assert (row['part'], row['reads_used']) == ('new', 0) and list(details.index) == sorted(details.index)


def test_a_model_abstains_from_samples_that_it_does_not_cover(tiny, predicted_classes, tiny_classifier):
    random = np.random.default_rng(9)
    names = [f'feature{i:02d}' for i in range(10)]
    tiny.sequences |= {name: ''.join(random.choice(list('ACGT'), 50)) for name in names}
    strangers = tiny.counts.index[tiny.counts[names].sum(axis=1) > 0.5 * tiny.counts.sum(axis=1)]
    predictions, probabilities, details = predicted_classes(tiny, tiny_classifier.folder, abstain=True)
    assert list(predictions.index) == list(probabilities.index) == list(details.index[details['flag'] == 'ok'])
    flagged = details.index[details['flag'] != 'ok']
    assert 0 < len(strangers) < len(flagged) == 24 - len(predictions) and set(strangers) < set(flagged)
    empty = details.loc[flagged, ['prediction', *(f'probability_{name}' for name in CLASSES)]]
    assert empty.isna().all(axis=None) and probabilities.notna().all(axis=None)


def test_a_model_of_another_kind_is_refused(tiny, predicted, predicted_classes, tiny_classifier, tiny_regressor):
    with pytest.raises(UserError) as error:
        predicted_classes(tiny, tiny_regressor.folder)
    assert str(error.value) == (
        'The model is of the kind regressor, but classifier is needed; give a model of that kind.'
    )
    with pytest.raises(UserError) as error:
        predicted(tiny, tiny_classifier.folder, 'number')
    assert str(error.value) == (
        'The model is of the kind classifier, but regressor is needed; give a model of that kind.'
    )
