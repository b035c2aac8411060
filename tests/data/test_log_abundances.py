"""Profiles: the logarithm of shares, under keys that ASVs keep from study to study."""

import numpy as np
import pytest
import scipy.sparse

from q2_aam.data.log_abundances import READS, known_asvs, most_common, profiles_of
from q2_aam.data.sequences import sequence_keys
from q2_aam.data.study import Study


@pytest.fixture
def study():
    """Two samples on three ASVs: 3/4 of AC and 1/4 of ACG; all of T."""
    return Study(
        sample_ids=['a', 'b'],
        feature_ids=['AC', 'ACG', 'T'],
        codes=np.array([[1, 2, 0], [1, 2, 3], [4, 0, 0]], dtype=np.uint8),
        lengths=np.array([2, 3, 1], dtype=np.int32),
        cut=np.zeros(3, dtype=bool),
        offsets=np.array([0, 2, 3]),
        asvs=np.array([0, 1, 2], dtype=np.int32),
        abundances=np.array([0.75, 0.25, 1.0], dtype=np.float32),
        reads=np.array([4.0, 9.0]),
    )


def test_a_sequence_has_the_same_key_in_every_study(study):
    longer = np.pad(study.codes, ((0, 0), (0, 5)))
    keys = sequence_keys(study.codes, study.lengths)
    np.testing.assert_array_equal(keys, sequence_keys(longer, study.lengths))
    assert len(set(keys)) == 3
    # written down once, because models on disk hold keys
    assert (keys.dtype, keys[0]) == (np.int64, 3486908633402805293)


def test_abundances_count_by_their_logarithm(study):
    found = profiles_of(study, [1, 0])
    wanted = np.log1p(READS * np.array([[0, 0, 1.0], [0.75, 0.25, 0]]))
    assert scipy.sparse.issparse(found) and found.dtype == np.float32
    np.testing.assert_allclose(found.toarray(), wanted, rtol=1e-6)


def test_a_reading_decides_what_counts(study):
    first = profiles_of(study, [0], reading=lambda abundances, offsets: (np.array([True, False]), abundances))
    np.testing.assert_allclose(first.toarray(), [[np.log1p(READS * 0.75), 0, 0]], rtol=1e-6)
    assert first.nnz == 1


def test_samples_of_a_study_with_other_rows_and_columns_have_the_same_profiles(study_of):
    one = study_of({'a': {'AC': 3, 'G': 1}, 'b': {'TTT': 5, 'AC': 5}})
    two = study_of({'c': {'CCC': 9}, 'b': {'AC': 50, 'TTT': 50}, 'd': {'G': 2, 'TTT': 1}})
    keys_C = np.unique(sequence_keys(one.codes, one.lengths))
    first, second = (known_asvs(profiles_of(own, [own.sample_ids.index('b')]), own.keys, keys_C) for own in (one, two))
    assert first.shape == second.shape == (1, 3) and first.nnz == 2
    np.testing.assert_array_equal(first.toarray(), second.toarray())


def test_known_asvs_are_found_by_key_and_others_are_passed_over():
    profiles_BA = scipy.sparse.csr_matrix(np.array([[2.0, 1, 0, 4], [0, 0, 3, 5]], dtype=np.float32))
    # 7 and 90 are not known; -5 and 40 stand in another order; 3 is not in the study
    found = known_asvs(profiles_BA, np.array([40, -5, 7, 90]), np.array([-5, 3, 40]))
    assert isinstance(found, scipy.sparse.csr_matrix) and found.dtype == np.float32
    np.testing.assert_array_equal(found.toarray(), [[1, 0, 2], [0, 0, 0]])


def test_a_study_without_any_known_asv_is_empty():
    profiles_BA = scipy.sparse.csr_matrix(np.ones((2, 2), dtype=np.float32))
    found = known_asvs(profiles_BA, np.array([8, 9]), np.array([1, 2, 3]))
    assert found.shape == (2, 3) and found.nnz == 0


def test_the_most_common_asvs_are_those_in_most_samples_in_order_of_the_study():
    found = scipy.sparse.csr_matrix([[0, 9.0, 1, 0, 5], [0, 0, 1, 2, 5], [0, 0, 1, 2, 0]])
    assert list(most_common(found, 9)) == [1, 2, 3, 4]
    assert list(most_common(found, 3)) == [2, 3, 4] and list(most_common(found, 1)) == [2]
