"""Baselines are what researchers have already, and no sample of the fold helps to learn."""

import dataclasses

import biom
import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import scipy.sparse
from sklearn.ensemble import ExtraTreesClassifier, RandomForestRegressor
from sklearn.feature_extraction import DictVectorizer

from q2_aam.errors import UserError
from q2_aam.evaluation.baselines import gaussian_process, predict_classes, predict_fold, predict_numbers

NUMERIC = ['random_forest', 'extra_trees', 'ridge', 'nearest_neighbours', 'gaussian_process', 'median']


@pytest.fixture
def fold(tiny, tmp_path):
    """Every third sample is to be predicted; returns the study, the files of its two parts and the training target."""
    test = np.arange(len(tiny.counts)) % 3 == 1
    paths = []
    for name, part in (('training', ~test), ('test', test)):
        part = dataclasses.replace(tiny, counts=tiny.counts[part].loc[:, tiny.counts[part].sum() > 0])
        paths.append(part.write(tmp_path / name))
    return tiny, paths[0], paths[1], tiny.target[~test], tiny.target[test]


def dictionaries(counts):
    """Samples as q2-sample-classifier hands them to its DictVectorizer."""
    table = biom.Table(counts.to_numpy().T, list(counts.columns), list(counts.index))
    ids = table.ids('observation')
    return [{ids[at]: value for at, value in zip(row.indices, row.data)} for row in table.matrix_data.T]


def test_forests_predict_what_those_of_sample_classifier_predict(fold):
    tiny, training, test, target, true = fold
    found = predict_fold(training.table, test.table, target, seed=3)
    features = DictVectorizer()
    learned = features.fit_transform(dictionaries(tiny.counts.loc[target.index]))
    forest = RandomForestRegressor(n_estimators=100, random_state=3).fit(learned, target)
    expected = forest.predict(features.transform(dictionaries(tiny.counts.loc[true.index])))
    np.testing.assert_allclose(found.loc[true.index, 'random_forest'], expected, rtol=1e-12)

    classes = pd.Series(np.where(target > 6, 'late', 'early'), target.index)
    found = predict_fold(training.table, test.table, classes, seed=3)
    forest = ExtraTreesClassifier(n_estimators=100, random_state=3).fit(learned, classes)
    expected = forest.predict_proba(features.transform(dictionaries(tiny.counts.loc[true.index])))
    np.testing.assert_allclose(found.loc[true.index, ['extra_trees|early', 'extra_trees|late']], expected, rtol=1e-12)


def test_every_method_but_the_guess_learns_a_target_that_the_table_tells(fold):
    _, training, test, target, true = fold
    found = predict_fold(training.table, test.table, target, seed=1, distance_matrix=training.distance_matrix)
    assert list(found) == NUMERIC
    errors = found.sub(true, axis=0).abs().mean()
    assert (errors[NUMERIC[:-1]] < errors['median'] / 2).all()
    assert (found['median'] == target.median()).all()


def test_order_of_samples_and_features_does_not_matter(fold, tmp_path):
    tiny, training, test, target, _ = fold
    found = predict_fold(training.table, test.table, target, seed=1, distance_matrix=training.distance_matrix)
    other = tiny.shuffled()
    other.counts = other.counts.loc[other.counts.index.isin(target.index)]
    files = other.write(tmp_path / 'other')
    again = predict_fold(files.table, test.table, target[::-1], seed=1, distance_matrix=files.distance_matrix)
    np.testing.assert_allclose(found, again.loc[found.index], rtol=1e-6)


def test_samples_that_are_not_in_the_matrix_are_left_to_the_other_methods(fold, tmp_path):
    tiny, training, test, target, true = fold
    without = [true.index[0], target.index[0]]
    tiny.distances = tiny.distances.drop(index=without, columns=without)
    matrix = tiny.write(tmp_path / 'fewer').distance_matrix
    found = predict_fold(training.table, test.table, target, seed=1, distance_matrix=matrix)
    unknown = found.isna()
    assert unknown.loc[true.index[0]].tolist() == [name in ('nearest_neighbours', 'gaussian_process') for name in found]
    assert not unknown.drop(index=true.index[0]).any(axis=None)


def test_a_matrix_of_other_samples_gives_no_prediction(fold, tmp_path):
    tiny, training, test, target, _ = fold
    tiny.distances = tiny.distances.rename(index='other-{}'.format, columns='other-{}'.format)
    matrix = tiny.write(tmp_path / 'others').distance_matrix
    found = predict_fold(training.table, test.table, target, seed=1, distance_matrix=matrix)
    assert found[['nearest_neighbours', 'gaussian_process']].isna().all(axis=None)
    classes = pd.Series(np.where(target > 6, 'late', 'early'), target.index)
    found = predict_fold(training.table, test.table, classes, seed=1, distance_matrix=matrix)
    assert found.filter(like='nearest_neighbours').isna().all(axis=None)


def test_a_label_without_a_sample_is_refused_by_name(fold):
    _, training, test, target, true = fold
    with pytest.raises(UserError) as caught:
        predict_fold(training.table, test.table, pd.concat([target, true[:1]]), seed=1)
    assert str(caught.value) == (
        'The training table lacks sample sample-of-visit-01, which has a label; give labels of its samples alone.'
    )


def test_nearest_neighbours_are_those_of_the_training_samples():
    training = scipy.sparse.csr_matrix(np.ones((6, 1)))
    places, new = np.array([0.0, 1, 2, 3, 4, 100]), np.array([2.0, 99])
    distances = np.abs(np.concatenate([places, new])[:, None] - places)
    found = predict_numbers(training, np.array([1.0, 2, 3, 4, 5, 60]), training[:2], 1, distances=distances)
    # the five nearest to 2 are the first five, to 99 the last five
    assert found['nearest_neighbours'].tolist() == [3.0, 14.8]


def test_probabilities_of_classes_sum_to_1_and_the_majority_is_its_share():
    random = np.random.default_rng(1)
    classes = np.array(['b', 'a', 'a', 'c', 'a', 'b'], dtype=object)
    counts = scipy.sparse.csr_matrix(random.integers(0, 20, (6, 8)).astype(float))
    distances = np.abs(random.normal(size=(9, 6)))
    np.fill_diagonal(distances, 0)
    found = predict_classes(counts, classes, counts[:3], 1, distances=distances)
    assert list(found) == ['random_forest', 'extra_trees', 'logistic', 'nearest_neighbours', 'majority']
    assert all(np.allclose(shares.sum(axis=1), 1) and shares.shape == (3, 3) for shares in found.values())
    np.testing.assert_allclose(found['majority'], np.tile([3 / 6, 2 / 6, 1 / 6], (3, 1)))


def test_a_sample_of_unknown_features_only_is_still_predicted():
    training = scipy.sparse.csr_matrix(np.array([[3.0, 0], [5, 0], [2, 0]]))
    test = scipy.sparse.csr_matrix(np.array([[0.0, 7]]))
    found = predict_numbers(training, np.array([1.0, 2, 3]), test, 1)
    assert all(np.isfinite(values).all() for values in found.values())


def test_the_gaussian_process_finds_scale_and_noise_and_predicts_as_the_textbook_does():
    random = np.random.default_rng(5)
    places = np.sort(random.uniform(0, 10, 60))
    new = np.linspace(1, 9, 20)
    truth = np.sin
    values = truth(places) + 7 + random.normal(0, 0.1, 60)
    distances, to_new = np.abs(places[:, None] - places), np.abs(new[:, None] - places)
    found = gaussian_process(distances, values, to_new)
    assert np.abs(found - truth(new) - 7).max() < 0.2

    # the same by a direct solution at the grid's best point, found by brute force
    def solution(length, noise):
        covariance = np.exp(-(distances**2) / (2 * length**2)) + noise * np.eye(60)
        factor = scipy.linalg.cho_factor(covariance)
        centered = values - values.mean()
        weights = scipy.linalg.cho_solve(factor, centered)
        signal = centered @ weights / 60
        likelihood = -30 * np.log(signal) - np.log(np.diagonal(factor[0])).sum()
        return likelihood, values.mean() + np.exp(-(to_new**2) / (2 * length**2)) @ weights

    apart = np.median(distances[distances > 0])
    grid = [solution(apart * 2.0**power, 10.0**tenth) for power in range(-2, 5) for tenth in np.arange(-3, 2.5, 0.5)]
    np.testing.assert_allclose(found, max(grid, key=lambda one: one[0])[1], atol=1e-6)


def test_the_gaussian_process_gives_the_mean_where_there_is_nothing_to_learn():
    assert gaussian_process(np.zeros((3, 3)), np.array([1.0, 2, 6]), np.zeros((2, 3))).tolist() == [3.0, 3.0]
    distances = np.ones((3, 3)) - np.eye(3)
    assert gaussian_process(distances, np.full(3, 4.0), np.ones((1, 3))).tolist() == [4.0]
