"""The feature table is read into arrays as it is, or refused in one sentence."""

import biom
import h5py
import numpy as np
import pytest
import scipy.sparse

from q2_aam.data.table import blocks_of, read_table
from q2_aam.errors import UserError


def write_biom(path, counts, sample_ids=None, feature_ids=None):
    """Write `counts` [samples, features] as BIOM 2.1 HDF5."""
    counts = np.asarray(counts)
    sample_ids = sample_ids or [f's{i}' for i in range(counts.shape[0])]
    feature_ids = feature_ids or [f'f{i}' for i in range(counts.shape[1])]
    with h5py.File(path, 'w') as file:
        biom.Table(counts.T, feature_ids, sample_ids).to_hdf5(file, 'test')
    return path


def counts_of(path, block=1000):
    """Read all counts, so many non-zeros a block."""
    return scipy.sparse.vstack(list(read_table(path, block).blocks()), format='csr')


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'table.biom'


COUNTS = [[5, 0, 1], [0, 0, 0], [0, 2, 70000]]


def test_counts_and_ids_are_read_samples_as_rows(path):
    table = read_table(write_biom(path, COUNTS, feature_ids=['ACGT', 'é', 'f']))
    assert table.sample_ids == ['s0', 's1', 's2']
    assert table.feature_ids == ['ACGT', 'é', 'f']
    (counts,) = table.blocks()
    assert counts.dtype == np.float32
    np.testing.assert_array_equal(counts.toarray(), COUNTS)


def test_a_sample_without_reads_is_kept_as_an_empty_row(path):
    assert np.diff(counts_of(write_biom(path, COUNTS)).indptr).tolist() == [2, 0, 2]


def test_explicit_zeros_are_removed_and_columns_are_sorted(path):
    write_biom(path, [[1, 2, 3]])
    with h5py.File(path, 'r+') as file:
        file['sample/matrix/data'][:] = [3, 0, 1]
        file['sample/matrix/indices'][:] = [2, 1, 0]
    counts = counts_of(path)
    assert (counts.indices.tolist(), counts.data.tolist()) == ([0, 2], [1, 3])


def test_relative_frequencies_are_read(path):
    np.testing.assert_allclose(counts_of(write_biom(path, [[0.25, 0.75]])).toarray(), [[0.25, 0.75]])


@pytest.mark.parametrize('shape, what', [((0, 2), 'no samples'), ((2, 0), 'no features'), ((0, 0), 'no samples')])
def test_a_table_without_samples_or_features_is_refused(path, shape, what):
    write_biom(path, np.zeros(shape))
    with pytest.raises(UserError, match=f'^The feature table is empty: it has {what}; .*counts above 0.$'):
        read_table(path)


def test_a_table_of_zeros_is_refused(path):
    write_biom(path, np.zeros((2, 3)))
    with pytest.raises(UserError, match='^The feature table is empty: all counts are 0; '):
        counts_of(path)


@pytest.mark.parametrize('value, text', [(-1, '-1'), (np.nan, 'nan'), (np.inf, 'inf'), (1e36, '1e+36')])
@pytest.mark.parametrize('block', [1, 1000])
def test_a_value_that_is_no_count_is_refused_with_its_place(path, value, text, block):
    write_biom(path, [[5.0, 0, 1], [0, 0, 0], [0, 2, value]])
    with pytest.raises(UserError) as error:
        counts_of(path, block)
    assert str(error.value) == (
        f'Counts and relative frequencies must be numbers from 0 to 1e+15: the feature table has {text} for feature '
        "'f2' in sample 's2'; correct or remove it."
    )


def test_a_file_that_is_not_hdf5_is_refused(path):
    path.write_text('{"format": "Biological Observation Matrix 1.0.0"}')
    with pytest.raises(UserError, match='^The feature table cannot be read as BIOM 2.1 HDF5 .*FeatureTable artifact.$'):
        read_table(path)


def test_an_hdf5_file_that_is_not_biom_is_refused(path):
    with h5py.File(path, 'w') as file:
        file['something'] = [1, 2]
    with pytest.raises(UserError, match='^The feature table is damaged or is not BIOM 2.1 HDF5 .*create it again.$'):
        read_table(path)


def test_a_column_index_beyond_the_features_is_refused(path):
    write_biom(path, COUNTS)
    with h5py.File(path, 'r+') as file:
        file['sample/matrix/indices'][0] = 99
    with pytest.raises(UserError, match='^The feature table is damaged .*create it again.$'):
        counts_of(path)


@pytest.mark.parametrize('offsets', [[0, 4], [0, 2, 2, 3], [1, 2, 2, 4], [0, 3, 2, 4]])
def test_row_offsets_that_do_not_fit_the_samples_are_refused(path, offsets):
    write_biom(path, COUNTS)
    with h5py.File(path, 'r+') as file:
        del file['sample/matrix/indptr']
        file['sample/matrix/indptr'] = np.array(offsets, dtype=np.int32)
    with pytest.raises(UserError) as error:
        read_table(path)
    assert str(error.value) == (
        'The feature table is damaged (its row offsets do not fit 3 samples with 4 values); create it again.'
    )


def test_values_without_their_column_indices_are_refused(path):
    write_biom(path, COUNTS)
    with h5py.File(path, 'r+') as file:
        file['sample/matrix/short'] = file['sample/matrix/indices'][:3]
        file['sample/matrix'].move('short', 'moved')
        del file['sample/matrix/indices']
        file['sample/matrix'].move('moved', 'indices')
    with pytest.raises(UserError, match='^The feature table is damaged .*create it again.$'):
        counts_of(path)


def test_a_table_is_the_same_in_blocks_of_any_size(path):
    generator = np.random.default_rng(2)
    counts = generator.poisson(0.7, (40, 9))
    write_biom(path, counts)
    for block in (1, 5, 17, 1000):
        blocks = list(read_table(path, block).blocks())
        assert sum(one.shape[0] for one in blocks) == 40
        assert all(one.nnz <= block or one.shape[0] == 1 for one in blocks)
        np.testing.assert_array_equal(scipy.sparse.vstack(blocks).toarray(), counts)


def test_counts_are_read_anew_at_each_call(path):
    table = read_table(write_biom(path, COUNTS))
    for _ in range(2):
        assert [one.toarray().tolist() for one in table.blocks()] == [COUNTS]


def test_blocks_hold_neighbours_up_to_the_limit_and_a_large_sample_alone():
    offsets = np.array([0, 2, 4, 4, 13, 14, 14])
    assert list(blocks_of(offsets, 4)) == [(0, 3), (3, 4), (4, 6)]
    assert list(blocks_of(offsets, 1)) == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 6)]
    assert list(blocks_of(offsets, 100)) == [(0, 6)]


def test_an_id_that_occurs_twice_is_refused(path):
    write_biom(path, COUNTS)
    with h5py.File(path, 'r+') as file:
        file['observation/ids'][2] = 'f1'
    with pytest.raises(UserError, match="^Feature IDs must be unique: 'f1' occurs twice in the feature table; "):
        read_table(path)


@pytest.mark.parametrize('name', ['a\tb', 'a\nb', 'a\rb', ' ', ' S1', '#abc', 'NA', 'id'])
def test_sample_ids_that_no_result_could_have_are_refused_when_the_table_is_opened(path, name):
    write_biom(path, COUNTS, sample_ids=['s0', name, 's2'])
    with pytest.raises(UserError) as error:
        read_table(path)
    assert str(error.value).startswith('Sample IDs must not ') and repr(name) in str(error.value)
    # features may have any names: they are looked up, not written
    write_biom(path, COUNTS, feature_ids=['f0', name, 'f2'])
    assert read_table(path).feature_ids[1] == name
