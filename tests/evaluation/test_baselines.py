"""Baselines are what researchers have already, and no sample of the fold helps to learn."""

import dataclasses

import biom
import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import scipy.sparse
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.feature_extraction import DictVectorizer

from q2_aam.data.counts import read_fold, read_fold_distances
from q2_aam.evaluation import baselines
from q2_aam.evaluation.baselines import (
    gaussian_process,
    limit_asvs,
    limit_samples,
    predict_classes,
    predict_fold,
    predict_numbers,
    random_forest_classes,
    random_forest_numbers,
)

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


def of_files(training_table, test_table, target, seed, distance_matrix=None):
    target = target.sort_index()
    ids, counts, new_counts = read_fold(training_table, test_table, list(target.index))
    distances = None
    if distance_matrix is not None:
        distances = read_fold_distances(distance_matrix, list(target.index), ids)
    return predict_fold(counts, target, new_counts, ids, seed, distances=distances)


def dictionaries(counts):
    """Samples as q2-sample-classifier hands them to its DictVectorizer."""
    table = biom.Table(counts.to_numpy().T, list(counts.columns), list(counts.index))
    ids = table.ids('observation')
    return [{ids[at]: value for at, value in zip(row.indices, row.data)} for row in table.matrix_data.T]


def test_forests_predict_what_those_of_sample_classifier_predict(fold):
    tiny, training, test, target, true = fold
    result = of_files(training.table, test.table, target, seed=3)
    features = DictVectorizer()
    learned = features.fit_transform(dictionaries(tiny.counts.loc[target.index]))
    forest = RandomForestRegressor(n_estimators=100, random_state=3).fit(learned, target)
    expected = forest.predict(features.transform(dictionaries(tiny.counts.loc[true.index])))
    np.testing.assert_allclose(result.loc[true.index, 'random_forest'], expected, rtol=1e-12)

    classes = pd.Series(np.where(target > 6, 'late', 'early'), target.index)
    result = of_files(training.table, test.table, classes, seed=3)
    forest = ExtraTreesClassifier(n_estimators=100, random_state=3).fit(learned, classes)
    expected = forest.predict_proba(features.transform(dictionaries(tiny.counts.loc[true.index])))
    np.testing.assert_allclose(result.loc[true.index, ['extra_trees|early', 'extra_trees|late']], expected, rtol=1e-12)


def test_every_method_but_the_guess_learns_a_target_that_the_table_tells(fold):
    _, training, test, target, true = fold
    result = of_files(training.table, test.table, target, seed=1, distance_matrix=training.distance_matrix)
    assert list(result) == NUMERIC
    errors = result.sub(true, axis=0).abs().mean()
    assert (errors[NUMERIC[:-1]] < errors['median'] / 2).all()
    assert (result['median'] == target.median()).all()


def test_order_of_samples_and_features_does_not_matter(fold, tmp_path):
    tiny, training, test, target, _ = fold
    result = of_files(training.table, test.table, target, seed=1, distance_matrix=training.distance_matrix)
    other = tiny.shuffled()
    other.counts = other.counts.loc[other.counts.index.isin(target.index)]
    files = other.write(tmp_path / 'other')
    again = of_files(files.table, test.table, target[::-1], seed=1, distance_matrix=files.distance_matrix)
    np.testing.assert_allclose(result, again.loc[result.index], rtol=1e-6)


def test_samples_that_are_not_in_the_matrix_are_left_to_the_other_methods(fold, tmp_path):
    tiny, training, test, target, true = fold
    without = [true.index[0], target.index[0]]
    tiny.distances = tiny.distances.drop(index=without, columns=without)
    matrix = tiny.write(tmp_path / 'fewer').distance_matrix
    result = of_files(training.table, test.table, target, seed=1, distance_matrix=matrix)
    unknown = result.isna()
    assert unknown.loc[true.index[0]].tolist() == [
        name in ('nearest_neighbours', 'gaussian_process') for name in result
    ]
    assert not unknown.drop(index=true.index[0]).any(axis=None)


def test_without_distances_those_who_need_them_predict_nothing():
    counts = scipy.sparse.csr_matrix(np.eye(4))
    distances = np.full((6, 4), np.nan)
    numbers = predict_numbers(counts, np.arange(4.0), counts[:2], 1, distances=distances)
    assert np.isnan([numbers['nearest_neighbours'], numbers['gaussian_process']]).all()
    assert np.isfinite(numbers['ridge']).all()
    classes = predict_classes(counts, np.array(list('abab'), dtype=object), counts[:2], 1, distances=distances)
    assert np.isnan(classes['nearest_neighbours']).all() and classes['nearest_neighbours'].shape == (2, 2)


def test_nearest_neighbours_are_those_of_the_training_samples():
    training = scipy.sparse.csr_matrix(np.ones((6, 1)))
    places, new = np.array([0.0, 1, 2, 3, 4, 100]), np.array([2.0, 99])
    distances = np.abs(np.concatenate([places, new])[:, None] - places)
    result = predict_numbers(training, np.array([1.0, 2, 3, 4, 5, 60]), training[:2], 1, distances=distances)
    # the five nearest to 2 are the first five, to 99 the last five
    assert result['nearest_neighbours'].tolist() == [3.0, 14.8]


def test_probabilities_of_classes_sum_to_1_and_the_majority_is_its_share():
    random = np.random.default_rng(1)
    classes = np.array(['b', 'a', 'a', 'c', 'a', 'b'], dtype=object)
    counts = scipy.sparse.csr_matrix(random.integers(0, 20, (6, 8)).astype(float))
    distances = np.abs(random.normal(size=(9, 6)))
    np.fill_diagonal(distances, 0)
    result = predict_classes(counts, classes, counts[:3], 1, distances=distances)
    assert list(result) == ['random_forest', 'extra_trees', 'logistic', 'nearest_neighbours', 'majority']
    assert all(np.allclose(shares.sum(axis=1), 1) and shares.shape == (3, 3) for shares in result.values())
    np.testing.assert_allclose(result['majority'], np.tile([3 / 6, 2 / 6, 1 / 6], (3, 1)))


def test_a_sample_of_unknown_features_only_is_still_predicted():
    training = scipy.sparse.csr_matrix(np.array([[3.0, 0], [5, 0], [2, 0]]))
    test = scipy.sparse.csr_matrix(np.array([[0.0, 7]]))
    result = predict_numbers(training, np.array([1.0, 2, 3]), test, 1)
    assert all(np.isfinite(values).all() for values in result.values())


def test_the_gaussian_process_finds_scale_and_noise_and_predicts_as_the_textbook_does():
    random = np.random.default_rng(5)
    places = np.sort(random.uniform(0, 10, 60))
    new = np.linspace(1, 9, 20)
    truth = np.sin
    values = truth(places) + 7 + random.normal(0, 0.1, 60)
    distances, to_new = np.abs(places[:, None] - places), np.abs(new[:, None] - places)
    result = gaussian_process(distances, values, to_new)
    assert np.abs(result - truth(new) - 7).max() < 0.2

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
    np.testing.assert_allclose(result, max(grid, key=lambda one: one[0])[1], atol=1e-6)


def test_the_gaussian_process_gives_the_mean_where_there_is_nothing_to_learn():
    assert gaussian_process(np.zeros((3, 3)), np.array([1.0, 2, 6]), np.zeros((2, 3))).tolist() == [3.0, 3.0]
    distances = np.ones((3, 3)) - np.eye(3)
    assert gaussian_process(distances, np.full(3, 4.0), np.ones((1, 3))).tolist() == [4.0]


@pytest.fixture
def sparse():
    random = np.random.default_rng(6)
    counts = random.poisson(1.0, (30, 12)).astype(float)
    counts[:20, 3] = 0
    return scipy.sparse.csr_matrix(counts[:20]), scipy.sparse.csr_matrix(counts[20:])


def test_the_one_forest_is_that_of_scikit_learn(sparse):
    counts, new_counts = sparse
    values = np.arange(20.0)
    forest = RandomForestRegressor(n_estimators=100, random_state=3).fit(counts, values)
    assert np.array_equal(random_forest_numbers(counts, values, new_counts, 3), forest.predict(new_counts))
    few = RandomForestRegressor(n_estimators=7, random_state=3).fit(counts, values).predict(new_counts)
    assert np.array_equal(random_forest_numbers(counts, values, new_counts, 3, trees=7), few)
    classes = np.repeat([0, 1], [15, 5])
    for weight in (None, 'balanced'):
        forest = RandomForestClassifier(n_estimators=100, random_state=3, class_weight=weight).fit(counts, classes)
        predicted = random_forest_classes(counts, classes, new_counts, 3, 1, weight)
        assert np.array_equal(predicted, forest.predict_proba(new_counts))


def test_a_class_without_samples_to_learn_from_has_probability_0(sparse):
    counts, new_counts = sparse
    predicted = random_forest_classes(counts, np.repeat([1, 3], 10), new_counts, 3, number_of_classes=5)
    assert predicted.shape == (10, 5) and not predicted[:, [0, 2, 4]].any()
    np.testing.assert_allclose(predicted.sum(axis=1), 1)


def test_a_forest_beside_a_fit_takes_some_samples_and_the_commonest_asvs(sparse, monkeypatch):
    counts, new_counts = sparse
    rows = np.arange(5, 25)
    # ASVs that no sample has are none that are left out
    assert [part.shape[1] for part in limit_asvs(counts, new_counts)[:2]] == [11, 11]
    assert limit_asvs(counts, new_counts)[2] == ''
    every, limit = limit_samples(rows, np.random.default_rng(1))
    assert np.array_equal(every, rows) and limit == ''
    monkeypatch.setattr(baselines, 'MAX_FOREST_SAMPLES', 4)
    monkeypatch.setattr(baselines, 'MAX_FOREST_ASVS', 3)
    some, limit = limit_samples(rows, np.random.default_rng(1))
    assert limit == '4 samples' and len(set(some) & set(rows)) == 4 and (np.diff(some) > 0).all()
    fewer, new_fewer, limit = limit_asvs(counts, new_counts)
    held = np.sort((counts.toarray() > 0).sum(axis=0))
    assert limit == '3 ASVs' and np.sort((fewer.toarray() > 0).sum(axis=0)).tolist() == held[-3:].tolist()
    assert new_fewer.shape == (10, 3)


def test_covariates_stand_beside_the_counts_and_not_beside_distances(fold):
    tiny, training, test, target, true = fold
    # of each sample, what it is to be told by: nothing else in the table says so
    random = np.random.default_rng(1)
    side = pd.Series(random.integers(0, 2, len(tiny.counts)), tiny.counts.index)
    ids, counts, new_counts = read_fold(training.table, test.table, sorted(target.index))
    distances = read_fold_distances(training.distance_matrix, sorted(target.index), ids)
    columns = tuple(np.eye(2)[side[names]] for names in (sorted(target.index), ids))
    for values in (side.astype(float), side.map({0: 'left', 1: 'right'})):
        learned = values[sorted(target.index)]
        without, given = (
            predict_fold(counts, learned, new_counts, ids, 1, distances=distances, covariates=one)
            for one in (None, columns)
        )
        for name in given:
            method = name.split('|')[0]
            told = values[ids] == name.split('|')[1] if '|' in name else values[ids]
            errors = [(frame[name] - told).abs().mean() for frame in (without, given)]
            if method in ('random_forest', 'extra_trees', 'ridge', 'logistic'):
                assert errors[1] < 0.75 * errors[0], name
            else:
                assert errors[1] == errors[0]
