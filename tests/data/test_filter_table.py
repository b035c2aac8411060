"""Some samples of a table become a table of their own, as q2-feature-table makes it, whatever their ids."""

import biom
import h5py
import numpy as np
import pytest

from q2_aam.data.filter_table import filter_samples
from q2_aam.data.table import read_table
from q2_aam.errors import UserError

COUNTS = np.array([[5, 0, 1, 0], [0, 0, 0, 0], [0, 2, 70000.25, 0], [0, 0, 3, 9]])
SAMPLES, FEATURES = ['probe-ä', 'S1', '試料', 'S3'], ['ACGT', 'é', 'GT', 'TT']


@pytest.fixture
def table(tmp_path):
    path = tmp_path / 'table.biom'
    with h5py.File(path, 'w') as file:
        biom.Table(COUNTS.T, FEATURES, SAMPLES).to_hdf5(file, 'test')
    return path


def read(path):
    """Return the ids and, exactly, the counts of a table."""
    opened = read_table(path)
    with h5py.File(path) as file:
        assert file['sample/matrix/data'].dtype == np.float64
    return opened.sample_ids, opened.feature_ids, np.vstack([block.toarray() for block in opened.blocks()])


def test_samples_are_kept_in_order_of_the_table_with_the_features_that_they_have(table, tmp_path):
    filter_samples(table, tmp_path / 'few.biom', ['試料', 'probe-ä', 'elsewhere'])
    samples, features, counts = read(tmp_path / 'few.biom')
    assert (samples, features) == (['probe-ä', '試料'], ['ACGT', 'é', 'GT'])
    np.testing.assert_array_equal(counts, [[5, 0, 1], [0, 2, 70000.25]])


def test_zeros_that_are_stored_are_no_reads(table, tmp_path):
    with h5py.File(table, 'r+') as file:
        # the first value of the file is that of the first sample for the first feature
        file['sample/matrix/data'][0] = 0
    filter_samples(table, tmp_path / 'few.biom', ['probe-ä'])
    assert read(tmp_path / 'few.biom')[1] == ['GT']


def test_biom_reads_what_is_written_on_both_axes(table, tmp_path):
    with h5py.File(table, 'w') as file:
        biom.Table(COUNTS.T, ['a', 'b', 'c', 'd'], ['S0', 'S1', 'S2', 'S3']).to_hdf5(file, 'test')
    filter_samples(table, tmp_path / 'few.biom', ['S3', 'S2'])
    for axis in ('sample', 'observation'):
        with h5py.File(tmp_path / 'few.biom') as file:
            filtered = biom.Table.from_hdf5(file, axis=axis)
        assert filtered == biom.Table(COUNTS[2:, 1:].T, ['b', 'c', 'd'], ['S2', 'S3'])


def test_the_same_samples_are_the_same_file(table, tmp_path):
    for name in 'ab':
        filter_samples(table, tmp_path / name, SAMPLES[:3])
    assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()


def test_a_sample_without_reads_is_kept(table, tmp_path):
    filter_samples(table, tmp_path / 'few.biom', ['S1', 'S3'])
    assert read(tmp_path / 'few.biom')[0] == ['S1', 'S3']


def test_a_damaged_table_is_refused(table, tmp_path):
    table.write_bytes(table.read_bytes()[:300])
    with pytest.raises(UserError, match='^The feature table cannot be read as BIOM 2.1 HDF5 '):
        filter_samples(table, tmp_path / 'few.biom', ['S1'])
