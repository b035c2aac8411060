"""Counts of a fold stand on the features of the training table, and what cannot be found is named or NaN."""

import dataclasses

import numpy as np
import pytest

from q2_aam.data.counts import counts_of, read_fold, read_fold_distances
from q2_aam.data.inputs import read_study
from q2_aam.errors import UserError


@pytest.fixture
def fold(tiny, tmp_path):
    """Every third sample is a test sample; returns the study, the tables of both splits and the ids of both."""
    test = np.arange(len(tiny.counts)) % 3 == 1
    paths = []
    for name, split in (('training', ~test), ('test', test)):
        some = dataclasses.replace(tiny, counts=tiny.counts[split].loc[:, tiny.counts[split].sum() > 0])
        paths.append(some.write(tmp_path / name).table)
    return tiny, *paths, list(tiny.counts.index[~test]), list(tiny.counts.index[test])


def test_counts_are_those_of_the_training_features_in_order_of_ids(fold):
    tiny, training, test, training_ids, test_ids = fold
    training_ids = training_ids[::-1]
    ids, counts, new_counts = read_fold(training, test, training_ids)
    features = sorted(name for name in tiny.counts if tiny.counts.loc[training_ids, name].any())
    assert sorted(ids) == test_ids and counts.dtype == new_counts.dtype == np.float64
    assert np.array_equal(counts.toarray(), tiny.counts.loc[training_ids, features])
    assert np.array_equal(new_counts.toarray(), tiny.counts.loc[ids, features])


def test_features_that_one_table_lacks_count_0_or_are_left_out(fold):
    tiny, training, test, training_ids, _ = fold
    # as if the splits were the other way round
    ids, counts, new_counts = read_fold(test, training, tiny.counts.index[1::3].to_list())
    assert sorted(ids) == training_ids
    assert counts.shape[1] == new_counts.shape[1] == (tiny.counts[1::3].sum() > 0).sum()


def test_a_label_without_a_sample_is_refused_by_name(fold):
    _, training, test, training_ids, _ = fold
    with pytest.raises(UserError) as caught:
        read_fold(training, test, [*training_ids, 'sample-of-visit-01'])
    assert str(caught.value) == (
        "Every labelled sample must be in the training table: 'sample-of-visit-01' is not; remove its label, or add "
        'the sample to the table.'
    )


def test_distances_are_from_all_samples_to_the_training_samples(fold, tmp_path):
    tiny, _, _, training_ids, test_ids = fold
    path = tiny.write(tmp_path / 'all').distance_matrix
    distances = read_fold_distances(path, training_ids, test_ids)
    np.testing.assert_allclose(distances, tiny.distances.loc[training_ids + test_ids, training_ids], rtol=1e-6)


def test_distances_of_samples_that_are_not_in_the_matrix_are_nan(fold, tmp_path):
    tiny, _, _, training_ids, test_ids = fold
    absent = [training_ids[2], test_ids[1]]
    tiny.distances = tiny.distances.drop(index=absent, columns=absent)
    unknown = np.isnan(read_fold_distances(tiny.write(tmp_path / 'some').distance_matrix, training_ids, test_ids))
    expected = np.zeros(unknown.shape, dtype=bool)
    expected[[2, len(training_ids) + 1]] = True
    expected[:, 2] = True
    assert np.array_equal(unknown, expected)


def test_counts_of_a_study_are_those_of_its_table(tiny, tmp_path):
    files = tiny.write(tmp_path / 'inputs')
    study, _ = read_study(files.table, files.sequences)
    rows = np.array([3, 17, 4])
    counts = counts_of(study, rows)
    expected = tiny.counts.loc[[study.sample_ids[row] for row in rows], study.feature_ids]
    np.testing.assert_allclose(counts.toarray(), expected, rtol=1e-6)
