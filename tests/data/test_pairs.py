"""True distances are aligned to a study by id, scaled on the training split, and NaN where they are not known."""

import warnings

import numpy as np
import pytest

from q2_aam.data.batches import Drawn
from q2_aam.data.distance_matrix import Distances
from q2_aam.data.pairs import align_distances, warn_of_alike
from q2_aam.errors import AAMWarning, UserError

# distances of places on a line: a at 0, b at 0.2, c at 0.6, d at 1
PLACES = {'d': 1.0, 'a': 0.0, 'c': 0.6, 'b': 0.2}


def matrix(scale=1.0, without=()):
    places = {name: place * scale for name, place in PLACES.items() if name not in without}
    where = np.array(list(places.values()), dtype=np.float32)
    return Distances(list(places), np.abs(where[:, None] - where))


def align(distances, training=(0, 1, 2, 3), samples=('a', 'b', 'c', 'd')):
    return align_distances(distances, list(samples), np.array(training))


def test_distances_are_found_by_sample_id_and_left_alone_up_to_1():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        pairs = align(matrix())
    assert pairs.divisor == 1
    np.testing.assert_allclose(pairs.among(np.array([0, 1, 3])), [[0, 0.2, 1], [0.2, 0, 0.8], [1, 0.8, 0]], atol=1e-6)
    known = [0.2, 0.6, 1.0, 0.4, 0.8, 0.4]
    np.testing.assert_allclose([pairs.mean, pairs.variance], [np.mean(known), np.var(known)], rtol=1e-5)


def test_distances_of_drawn_samples_are_those_of_their_rows():
    with pytest.warns(AAMWarning, match='lacks 1 sample'):
        pairs = align(matrix(without='c'))
    # whatever is drawn of them
    drawn = Drawn(np.array([3, 2, 0]), np.arange(3), np.ones(3, dtype=np.float32), np.arange(4))
    nan = np.nan
    np.testing.assert_allclose(pairs.of(drawn), [[0, nan, 1], [nan, nan, nan], [1, nan, 0]])


def test_mean_variance_and_divisor_are_those_of_the_training_split():
    with pytest.warns(AAMWarning) as caught:
        pairs = align(matrix(scale=10), training=[2, 0, 1])
    assert [str(one.message) for one in caught] == [
        'Distances between training samples reach 6, which is above 1; all distances are divided by it.'
    ]
    known = np.array([2, 6, 4]) / 6
    np.testing.assert_allclose([pairs.divisor, pairs.mean, pairs.variance], [6, known.mean(), known.var()], rtol=1e-5)
    # a sample outside the training split may lie farther away
    np.testing.assert_allclose(pairs.among(np.array([0, 3])), [[0, 10 / 6], [10 / 6, 0]], rtol=1e-6)


def test_the_matrix_itself_is_not_changed():
    distances = matrix(scale=10)
    before = distances.values.copy()
    with pytest.warns(AAMWarning):
        pairs = align(distances)
    pairs.among(np.array([0, 1]))[:] = 7
    np.testing.assert_array_equal(distances.values, before)


def test_samples_without_distances_are_warned_of_and_unknown():
    with pytest.warns(AAMWarning) as caught:
        pairs = align(matrix(without='b'), samples='abcde', training=range(5))
    assert [str(one.message) for one in caught] == [
        "The distance matrix lacks 2 samples of the table (e.g. 'b'); they are used without distances."
    ]
    assert pairs.place.tolist() == [1, -1, 2, 0, -1]
    distances = pairs.among(np.arange(5))
    unknown = np.zeros((5, 5), dtype=bool)
    unknown[[1, 4]] = unknown[:, [1, 4]] = True
    np.testing.assert_array_equal(np.isnan(distances), unknown)
    np.testing.assert_allclose(distances[0, [0, 2, 3]], [0, 0.6, 1], rtol=1e-6)
    np.testing.assert_allclose(pairs.mean, np.mean([0.6, 1.0, 0.4]), rtol=1e-6)


def test_the_order_of_the_matrix_does_not_matter():
    distances = matrix()
    order = [2, 0, 3, 1]
    shuffled = Distances([distances.ids[i] for i in order], distances.values[np.ix_(order, order)])
    one, two = align(distances), align(shuffled)
    np.testing.assert_array_equal(one.among(np.arange(4)), two.among(np.arange(4)))
    np.testing.assert_allclose([one.mean, one.variance], [two.mean, two.variance], rtol=1e-12)


def test_a_matrix_of_other_samples_is_refused_with_an_example_of_both():
    distances = Distances(['12802.b', '12802.a'], np.float32([[0, 1], [1, 0]]))
    with pytest.raises(UserError) as error:
        align(distances)
    assert str(error.value) == (
        "The distance matrix must contain at least two training samples of the feature table, but has 0 (e.g. 'a' in "
        "the table, '12802.a' in the matrix); provide a matrix of the samples in the table."
    )


def test_a_matrix_with_one_training_sample_is_refused():
    with pytest.raises(UserError, match='at least two training samples of the feature table, but has 1 '):
        align(matrix(), training=[1])


def test_a_matrix_of_equal_distances_is_refused():
    values = np.full((4, 4), 0.25, dtype=np.float32) - 0.25 * np.eye(4, dtype=np.float32)
    with pytest.raises(UserError) as error:
        align(Distances(list('abcd'), values))
    assert str(error.value) == (
        'Distances must differ, but all distances between training samples are 0.25 in the distance matrix; provide '
        'another matrix.'
    )


def alike(spread):
    random = np.random.default_rng(1)
    values = 0.961 + spread * random.standard_normal((30, 30))
    values = np.float32((values + values.T) / 2**0.5 - 0.961 * (2**0.5 - 1))
    np.fill_diagonal(values, 0)
    return Distances([f's{i:02}' for i in range(30)], values)


def test_distances_that_hardly_differ_are_warned_of():
    matrix = alike(0.002)
    with pytest.warns(AAMWarning) as caught:
        align(matrix, training=range(30), samples=matrix.ids)
    assert [str(one.message) for one in caught] == [
        'Distances between training samples hardly differ in the distance matrix (0.961 +- 0.002), so that little can '
        'be learned from them; another metric may tell samples apart better.'
    ]


def test_distances_of_0_961_and_a_deviation_of_0_048_are_warned_of_but_those_of_ecam_are_not():
    with pytest.warns(AAMWarning, match=r'hardly differ in the distance matrix \(0\.961 \+- 0\.048\)'):
        warn_of_alike(0.961, 0.048**2, 'in the distance matrix')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for mean, deviation in ((0.62, 0.103), (0.875, 0.118), (0.844, 0.079)):
            warn_of_alike(mean, deviation**2, 'in the distance matrix')
