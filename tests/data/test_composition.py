"""What a kernel compares samples by."""

import numpy as np

from q2_aam.data.composition import READS, composition_of, sequence_keys
from q2_aam.data.study import Study


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


def test_a_sequence_has_the_same_key_in_every_study():
    one = study()
    longer = np.pad(one.codes, ((0, 0), (0, 5)))
    np.testing.assert_array_equal(sequence_keys(one.codes, one.lengths), sequence_keys(longer, one.lengths))
    assert len(set(sequence_keys(one.codes, one.lengths))) == 3
    # written down once, because models on disk hold keys
    assert sequence_keys(one.codes, one.lengths)[0] == 3486908633402805293


def test_abundances_count_by_their_logarithm():
    one = study()
    found = composition_of(one, [1, 0], sequence_keys(one.codes, one.lengths))
    wanted = np.log1p(READS * np.array([[0, 0, 1.0], [0.75, 0.25, 0]]))
    np.testing.assert_allclose(found.asvs_BA.toarray(), wanted, rtol=1e-6)
    assert found.mean_BD is None


def test_the_mean_embedding_counts_each_asv_the_same():
    one = study()
    embeddings = np.array([[1.0, 0], [3, 2], [5, 5]], dtype=np.float32)
    found = composition_of(one, [0, 1], sequence_keys(one.codes, one.lengths), embeddings)
    np.testing.assert_allclose(found.mean_BD, [[2, 1], [5, 5]])


def test_a_reading_decides_what_counts():
    one = study()
    first = composition_of(
        one, [0], sequence_keys(one.codes, one.lengths), np.eye(3, dtype=np.float32),
        reading=lambda abundances, offsets: (np.array([True, False]), abundances),
    )  # fmt: skip
    np.testing.assert_allclose(first.asvs_BA.toarray(), [[np.log1p(READS * 0.75), 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(first.mean_BD, [[1, 0, 0]])
