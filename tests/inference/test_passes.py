"""Predictions of several passes over random subsets of ASVs."""

import numpy as np
import pytest

from q2_aam.data.inputs import read_study
from q2_aam.inference.passes import random_subset


@pytest.fixture
def study(tiny, tmp_path):
    files = tiny.write(tmp_path / 'study')
    return read_study(files.table, files.sequences)[0]


def held(study, row):
    """Return {key of an ASV: its share} of a sample."""
    inside = slice(study.offsets[row], study.offsets[row + 1])
    return dict(zip(study.keys[study.asvs[inside]].tolist(), study.abundances[inside].tolist()))


def test_a_pass_reads_some_of_the_asvs_and_another_reads_others(study):
    one, other = (random_subset(study, number, 0.3) for number in (0, 1))
    shares = [len(some.asvs) / len(study.asvs) for some in (one, other)]
    assert shares == pytest.approx([0.7, 0.7], abs=0.08)
    assert held(one, 3).keys() != held(other, 3).keys()
    for row in range(len(study)):
        whole, some = held(study, row), held(one, row)
        total = sum(whole[key] for key in some)
        assert some == pytest.approx({key: whole[key] / total for key in some}, rel=1e-5)
        assert one.reads[row] == pytest.approx(total * study.reads[row])


def test_no_sample_loses_all_and_a_limit_is_kept(study):
    few = random_subset(study, 0, 0.999999)
    assert (few.richness == 1).all()
    assert all(max(held(study, row), key=held(study, row).get) in held(few, row) for row in range(24))
    limited = random_subset(study, 0, 0.2, limit=4)
    assert limited.richness.max() == 4
    # not the most abundant ones
    assert any(max(held(study, row), key=held(study, row).get) not in held(limited, row) for row in range(24))


def test_the_mean_of_passes_is_predicted_with_its_spread(tiny, tiny_regressor, predicted):
    folder = tiny_regressor.folder
    plain, _ = predicted(tiny, folder, 'plain')
    values, details = predicted(tiny, folder, 'passes', prediction_passes=8)
    again, _ = predicted(tiny.shuffled(), folder, 'again', prediction_passes=8)
    np.testing.assert_allclose(again.sort_index(), values.sort_index(), rtol=0, atol=1e-5)
    assert (details['passes_sd'] > 0).all() and not values.equals(plain)
    # a few standard errors of the mean apart
    assert ((values - plain).abs() < 3 * details['passes_sd'].max()).all()
    assert 'passes_sd' not in predicted(tiny, folder, 'one')[1]


def test_passes_of_a_sample_do_not_depend_on_its_table(tiny, tiny_regressor, predicted):
    values, details = predicted(tiny, tiny_regressor.folder, 'all', prediction_passes=3)
    alone = tiny.counts.iloc[[7]]
    tiny.counts = alone.loc[:, (alone > 0).any()]
    tiny.sequences = {name: tiny.sequences[name] for name in tiny.counts.columns}
    value, detail = predicted(tiny, tiny_regressor.folder, 'alone', prediction_passes=3)
    assert value.iloc[0] == pytest.approx(values.iloc[7], abs=1e-5)
    assert detail['passes_sd'].iloc[0] == pytest.approx(details['passes_sd'].iloc[7], abs=1e-5)


def test_classes_have_the_spread_of_the_probability_of_the_one_that_is_predicted(
    tiny, tiny_classifier, predicted_classes
):
    predictions, probabilities, details = predicted_classes(tiny, tiny_classifier.folder, prediction_passes=4)
    assert details['passes_sd'].between(0, 0.5).all() and (details['passes_sd'] > 0).any()
    assert (probabilities.sum(axis=1) - 1).abs().max() < 1e-9
    assert (predictions == probabilities.idxmax(axis=1)).all()


def test_extra_targets_are_means_over_passes_too(tiny, fitted, predicted):
    import pandas as pd

    extra = pd.DataFrame({'weight': 9 + tiny.target})
    options = {'abundance_ensemble': False, 'epochs': 2, 'learning_rate': 0.01}
    run = fitted(tiny, more={'extra_targets': extra}, **options)
    plain, mean = (predicted(tiny, run.folder, f'p{passes}', prediction_passes=passes)[1] for passes in (1, 4))
    assert ((plain['extra_weight'] - mean['extra_weight']).abs() > 1e-6).any()
    # subsets say about what the whole sample says
    spread = plain['extra_weight'].std()
    assert ((plain['extra_weight'] - mean['extra_weight']).abs() < 5 * spread).all()
