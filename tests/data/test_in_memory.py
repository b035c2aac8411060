"""Tables, columns, sequences and distances in memory become the files that a call takes, or a sentence says why not."""

import types

import biom
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from skbio import DistanceMatrix

from q2_aam.data.distance_matrix import read_distances
from q2_aam.data.in_memory import (
    classes_of,
    column_of,
    counts_of,
    frame_of,
    numbers_of,
    write_distances,
    write_fasta,
)
from q2_aam.data.sequences import read_fasta
from q2_aam.data.table import read_table
from q2_aam.errors import UserError

SAMPLES, FEATURES = ['s2', 'später', 's1'], ['f1', 'f2']
MATRIX = np.array([[1.0, 0.0], [0.0, 2.5], [3.0, 4.0]])
FRAME = pd.DataFrame(MATRIX, SAMPLES, FEATURES)


def anndata(matrix, samples=SAMPLES):
    """What makes an AnnData, which need not be installed."""
    return types.SimpleNamespace(X=matrix, obs_names=pd.Index(samples), var_names=pd.Index(FEATURES))


class InAFile:
    """The matrix of an AnnData that is backed by a file."""

    def to_memory(self):
        return scipy.sparse.csr_matrix(MATRIX)


TABLES = {
    'frame': FRAME,
    'whole numbers and truth': pd.DataFrame({'f1': [True, False, True], 'f2': [0, 2, 4]}, SAMPLES),
    'sparse frame': FRAME.astype(pd.SparseDtype(float, 0.0)),
    'sparse frame of another fill': FRAME.astype(pd.SparseDtype(float, np.nan)),
    'biom': biom.Table(MATRIX.T, FEATURES, SAMPLES),
    'anndata': anndata(MATRIX.astype(np.float32)),
    'sparse anndata': anndata(scipy.sparse.csc_matrix(MATRIX)),
    'anndata in a file': anndata(InAFile()),
    'sparse matrix and ids': (scipy.sparse.coo_matrix(MATRIX), SAMPLES, np.array(FEATURES)),
    'matrix and ids': (MATRIX.tolist(), pd.Index(SAMPLES), FEATURES),
}


@pytest.mark.parametrize('name', TABLES)
def test_a_table_of_any_kind_is_written_as_it_is(name, tmp_path):
    counts = counts_of(TABLES[name])
    expected = np.array([[1, 0], [0, 2], [1, 4]]) if name.startswith('whole') else MATRIX
    assert (counts.sample_ids, counts.feature_ids) == (SAMPLES, FEATURES)
    assert counts.matrix.dtype == np.float64 and (counts.matrix.toarray() == expected).all()
    counts.write(tmp_path / 'table.biom')
    table = read_table(tmp_path / 'table.biom')
    assert (table.sample_ids, table.feature_ids) == (SAMPLES, FEATURES)
    assert (np.vstack([block.toarray() for block in table.blocks()]) == expected).all()


def test_an_empty_table_is_written_for_its_reader_to_refuse(tmp_path):
    counts_of(FRAME.iloc[:0]).write(tmp_path / 'table.biom')
    with h5py.File(tmp_path / 'table.biom') as file:
        assert tuple(file.attrs['shape']) == (2, 0)
    with pytest.raises(UserError, match='^The feature table is empty: it has no samples'):
        read_table(tmp_path / 'table.biom')


@pytest.mark.parametrize(
    'table, sentence',
    [
        (MATRIX, '^The feature table must be a pandas.DataFrame .* but it is of the type ndarray'),
        ('table.biom', '^The feature table must be a pandas.DataFrame .* but it is of the type str'),
        (pd.DataFrame(MATRIX), '^Sample IDs must be text, but the feature table has 0: .* in its index'),
        (pd.DataFrame(MATRIX, SAMPLES), '^Feature IDs must be text, but the feature table has 0: .* in its columns'),
        (FRAME.rename({'s1': 's2'}), "^Sample IDs must be unique: 's2' occurs twice in the feature table"),
        (FRAME.rename(columns={'f1': 'f2'}), "^Feature IDs must be unique: 'f2' occurs twice"),
        (FRAME.assign(f1='gut'), '^The feature table must hold numbers only .*gut.*; leave out columns'),
        (anndata(None), '^The feature table must have a matrix of samples by features'),
        (anndata(MATRIX[0]), '^The feature table must have a matrix of samples by features'),
        (
            (MATRIX, SAMPLES[:2], FEATURES),
            '^The matrix of the feature table is 3 by 2, but there are 2 sample',
        ),
    ],
)
def test_what_is_no_table_with_ids_is_refused_in_a_sentence(table, sentence):
    with pytest.raises(UserError, match=sentence):
        counts_of(table)


def test_a_column_is_by_id_or_in_the_order_of_the_table():
    by_id = pd.Series([1, 2], ['s1', 'elsewhere'], name='age')
    assert column_of(by_id, SAMPLES, 'y') is by_id
    assert column_of(by_id.rename(None), SAMPLES, 'y', 'target').name == 'target'
    for values in ([1, 2, None], np.array([1, 2, np.nan]), (1, 2, None)):
        column = column_of(values, SAMPLES, 'y')
        assert list(column.index) == SAMPLES and column.name == 'y' and list(column.isna()) == [False, False, True]


@pytest.mark.parametrize(
    'values, sentence',
    [
        ([1, 2], '^y has 2 values, but the feature table has 3 samples; give one value for each'),
        (np.ones((3, 1)), '^y must be a pandas.Series by sample ID, or a list .* of the type ndarray'),
        ('age', '^y must be a pandas.Series by sample ID, or a list .* of the type str'),
        ({'s1': 1}, '^y must be a pandas.Series by sample ID, or a list .* of the type dict'),
        (FRAME, '^y must be a pandas.Series by sample ID, or a list .* of the type DataFrame'),
        (pd.Series([1, 2], ['s1', 's1']), "^Each sample has one value in y, but 's1' occurs twice"),
    ],
)
def test_what_is_no_column_is_refused_in_a_sentence(values, sentence):
    with pytest.raises(UserError, match=sentence):
        column_of(values, SAMPLES, 'y')


@pytest.mark.parametrize(
    'values', [[1, None, '2.5'], pd.array([1, None, 2], dtype='Int64'), np.array([1, np.nan, 2], np.float32)], ids=str
)
def test_numbers_of_any_type_are_read(values):
    column = numbers_of(pd.Series(values, SAMPLES, name='age'), 'y')
    assert column.dtype == np.float64 and column.name == 'age' and list(column.index) == SAMPLES
    assert column['s2'] == 1 and np.isnan(column['später']) and column['s1'] >= 2


def test_values_that_are_no_numbers_or_no_names_are_refused_in_a_sentence():
    with pytest.raises(UserError, match="^y must hold numbers, but it has 'ten'; give numbers, and None"):
        numbers_of(pd.Series([1, None, 'ten']), 'y')
    with pytest.raises(UserError, match='^y must hold names of classes, which are text, but it has True; name'):
        classes_of(pd.Series(['a', None, True]), 'y')
    named = classes_of(pd.Series(pd.Categorical(['b', None, 'a'])), 'y')
    assert named.dtype == object and list(named.dropna()) == ['b', 'a']


def test_metadata_must_be_a_frame_with_names():
    frame = pd.DataFrame({'site': pd.Categorical(['a', 'b', None]), 'age': [1, 2, 3]}, SAMPLES)
    read = frame_of(frame, 'covariates')
    assert read['site'].dtype == object and read['age'].dtype == frame['age'].dtype
    for wrong, sentence in (
        (frame['age'], '^covariates must be a pandas.DataFrame by sample ID, but it is of the type Series'),
        (frame.rename({'s1': 's2'}), "^Each sample has one row in covariates, but 's2' occurs twice"),
        (frame.rename(columns={'age': 3}), '^Columns of covariates must have names of their own, but one is 3'),
        (
            frame.rename(columns={'age': 'site'}),
            "^Columns of covariates must have names .* but one is 'site'",
        ),
    ):
        with pytest.raises(UserError, match=sentence):
            frame_of(wrong, 'covariates')


def test_sequences_are_written_for_the_features_of_the_table(tmp_path):
    path = tmp_path / 'sequences.fasta'
    for sequences in ({'f1': 'ACGT', 'f2': 'TT', 'other': 'A'}, pd.Series({'f2': 'TT', 'f1': 'ACGT'})):
        write_fasta(sequences, FEATURES, path)
        assert read_fasta(path) == {'f1': 'ACGT', 'f2': 'TT'}
    for wrong, features, sentence in (
        (['ACGT'], FEATURES, '^sequences must be a dict with the sequence of each feature by its ID, .* type list'),
        ({'other': 'A'}, FEATURES, "^The sequences have none of the features of the table .*'f1'"),
        ({'f 1': 'A'}, ['f 1'], "^Feature IDs must have no blanks where sequences are given, but there is 'f 1'"),
    ):
        with pytest.raises(UserError, match=sentence):
            write_fasta(wrong, features, path)


def test_distances_are_written_to_the_last_bit(tmp_path):
    path, values = tmp_path / 'distances.tsv', np.array([[0, 0.1], [0.1, 0]])
    for distances in (pd.DataFrame(values, SAMPLES[:2], SAMPLES[:2]), DistanceMatrix(values, SAMPLES[:2])):
        write_distances(distances, path)
        read = read_distances(path)
        assert read.ids == SAMPLES[:2] and (read.values == values.astype(np.float32)).all()
    with pytest.raises(UserError, match='^distance_matrix must be a pandas.DataFrame .* of the type ndarray'):
        write_distances(values, path)
