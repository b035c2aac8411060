"""Logarithms of abundances: of the ASVs of a study, and under keys that ASVs keep from study to study."""

import numpy as np
import pytest
import scipy.sparse

from q2_aam.data.log_abundances import READS, log_abundances, most_common, to_vocabulary
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
        truncated=np.zeros(3, dtype=bool),
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
    weights = log_abundances(study, [1, 0])
    expected = np.log1p(READS * np.array([[0, 0, 1.0], [0.75, 0.25, 0]]))
    assert scipy.sparse.issparse(weights) and weights.dtype == np.float32
    np.testing.assert_allclose(weights.toarray(), expected, rtol=1e-6)


def test_an_augmentation_decides_what_counts(study):
    first = log_abundances(study, [0], augment=lambda abundances, offsets: (np.array([True, False]), abundances))
    np.testing.assert_allclose(first.toarray(), [[np.log1p(READS * 0.75), 0, 0]], rtol=1e-6)
    assert first.nnz == 1


def test_samples_of_a_study_with_other_rows_and_columns_are_the_same_in_a_vocabulary(study_of):
    one = study_of({'a': {'AC': 3, 'G': 1}, 'b': {'TTT': 5, 'AC': 5}})
    two = study_of({'c': {'CCC': 9}, 'b': {'AC': 50, 'TTT': 50}, 'd': {'G': 2, 'TTT': 1}})
    keys_C = np.unique(sequence_keys(one.codes, one.lengths))
    first, second = (to_vocabulary(log_abundances(s, s.rows_of(['b'])), s.keys, keys_C) for s in (one, two))
    assert first.shape == second.shape == (1, 3) and first.nnz == 2
    np.testing.assert_array_equal(first.toarray(), second.toarray())


def test_asvs_of_the_vocabulary_are_matched_by_key_and_others_are_left_out():
    weights_BA = scipy.sparse.csr_matrix(np.array([[2.0, 1, 0, 4], [0, 0, 3, 5]], dtype=np.float32))
    # 7 and 90 are not in the vocabulary; -5 and 40 stand in another order; 3 is not in the study
    columns = to_vocabulary(weights_BA, np.array([40, -5, 7, 90]), np.array([-5, 3, 40]))
    assert isinstance(columns, scipy.sparse.csr_matrix) and columns.dtype == np.float32
    np.testing.assert_array_equal(columns.toarray(), [[1, 0, 2], [0, 0, 0]])


def test_keys_at_the_ends_of_their_range_and_in_any_order_are_matched():
    weights_BA = scipy.sparse.csr_matrix(np.array([[1.0, 2, 3, 4]], dtype=np.float32))
    least, greatest = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    keys_A, keys_C = np.array([greatest, 0, least, greatest - 1]), np.array([least, greatest, least + 1, -1])
    np.testing.assert_array_equal(to_vocabulary(weights_BA, keys_A, keys_C).toarray(), [[3, 1, 0, 0]])


@pytest.mark.filterwarnings('ignore::q2_aam.errors.AAMWarning')
def test_asvs_that_are_one_once_truncated_are_merged_before_their_logarithms_are_taken(study_of):
    truncated = study_of({'a': {'ACGTA': 3, 'ACGTC': 1, 'TTTT': 4}}, max_length=4)
    merged = study_of({'a': {'ACGT': 4, 'TTTT': 4}})
    keys_C = np.unique(merged.keys)
    columns, expected = (to_vocabulary(log_abundances(s, [0]), s.keys, keys_C) for s in (truncated, merged))
    np.testing.assert_allclose(expected.toarray(), np.full((1, 2), np.log1p(READS / 2)), rtol=1e-6)
    np.testing.assert_array_equal(columns.toarray(), expected.toarray())


def test_a_study_without_any_asv_of_the_vocabulary_is_empty():
    weights_BA = scipy.sparse.csr_matrix(np.ones((2, 2), dtype=np.float32))
    for keys_C in ([1, 2, 3], []):
        columns = to_vocabulary(weights_BA, np.array([8, 9]), np.array(keys_C, dtype=np.int64))
        assert columns.shape == (2, len(keys_C)) and columns.nnz == 0


def test_the_most_common_asvs_are_those_in_most_samples_in_order_of_the_study():
    counts = scipy.sparse.csr_matrix([[0, 9.0, 1, 0, 5], [0, 0, 1, 2, 5], [0, 0, 1, 2, 0]])
    assert list(most_common(counts, 9)) == [1, 2, 3, 4]
    assert list(most_common(counts, 3)) == [2, 3, 4] and list(most_common(counts, 1)) == [2]
