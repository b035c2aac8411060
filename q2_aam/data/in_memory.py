"""Tables, columns and sequences that are given in memory: checked, and written as the files that a call takes.

Shapes: N samples, M features.
"""

import collections.abc
import dataclasses
import io
import os
import pathlib
import typing

import numpy as np
import pandas as pd
import scipy.sparse

from q2_aam.errors import UserError, counted, shown

KINDS = (
    'a pandas.DataFrame (samples by features), a biom.Table, an AnnData or (matrix, sample IDs, feature IDs) with a '
    'matrix of samples by features'
)


@dataclasses.dataclass(frozen=True, eq=False)
class Counts:
    """A feature table in memory.

    Attributes
    ----------
    matrix : scipy.sparse.csr_matrix, float64 [N, M]
    sample_ids, feature_ids : list of str
    """

    matrix: scipy.sparse.csr_matrix
    sample_ids: list[str]
    feature_ids: list[str]

    def write(self, path: str | os.PathLike) -> None:
        """Write the table as BIOM 2.1 HDF5."""
        import biom
        import h5py

        table = biom.Table(self.matrix.T.tocsr(), self.feature_ids, self.sample_ids)
        # HDF5 may end the process where it writes to a full disk: it writes into memory
        content = io.BytesIO()
        with h5py.File(content, 'w') as file:
            table.to_hdf5(file, 'q2-aam')
        pathlib.Path(path).write_bytes(content.getbuffer())


def counts_of(table: typing.Any) -> Counts:
    """Return a feature table, of any kind that is known.

    Parameters
    ----------
    table : pandas.DataFrame, biom.Table, AnnData or tuple
        A DataFrame has samples as rows, a tuple is (matrix [N, M], dense or sparse, sample ids, feature ids). An
        AnnData is known by what it has (X, obs_names, var_names), and so need not be one.

    Raises
    ------
    UserError
        If it is of another kind, holds no numbers, has no ids of text or too few or many, or an id twice.
    """
    if isinstance(table, pd.DataFrame):
        matrix, samples, features = _of_frame(table), table.index, table.columns
    elif hasattr(table, 'matrix_data') and callable(getattr(table, 'ids', None)):
        matrix, samples, features = table.matrix_data.T, table.ids('sample'), table.ids('observation')
    elif all(hasattr(table, name) for name in ('X', 'obs_names', 'var_names')):
        matrix, samples, features = table.X, table.obs_names, table.var_names
    elif isinstance(table, tuple) and len(table) == 3:
        matrix, samples, features = table
    else:
        raise UserError(f'The feature table must be {KINDS}, but it is {_kind(table)}.')
    counts = _numbers(matrix)
    ids = list(samples), list(features)
    if counts.shape != tuple(map(len, ids)):
        raise UserError(
            f'The matrix of the feature table is {counts.shape[0]:,} by {counts.shape[1]:,}, but there are '
            f'{counted(len(ids[0]), "sample ID")} and {counted(len(ids[1]), "feature ID")}; give one ID for each row '
            'and each column.'
        )
    for axis, names, place in zip(('sample', 'feature'), ids, ('index', 'columns')):
        _check_ids(axis, names, place)
    return Counts(counts, *([str(name) for name in names] for names in ids))


def column_of(values: typing.Any, sample_ids: list[str], what: str, name: str | None = None) -> pd.Series:
    """Return a column of metadata: a Series as it is, other values by the ids of the samples they are given for.

    Parameters
    ----------
    values : pandas.Series or sequence
        A Series is by sample id, in any order; it may lack samples and have others. A sequence has one value for each
        sample of the table, in its order.
    sample_ids : list of str
        Those of the table.
    what : str
        What it is called in a message.
    name : str, optional
        Of the column, where it has none.

    Raises
    ------
    UserError
        If it is neither, if there are not as many values as samples, or if an id occurs twice.
    """
    if isinstance(values, pd.Series):
        if not values.index.is_unique:
            twice = values.index[values.index.duplicated()][0]
            raise UserError(f'Each sample has one value in {what}, but {shown(twice)} occurs twice; keep one of them.')
        return values if values.name is not None else values.rename(name or what)
    if isinstance(values, (pd.DataFrame, str, bytes, collections.abc.Mapping)) or np.ndim(values) != 1:
        raise UserError(
            f'{what} must be a pandas.Series by sample ID, or a list with one value for each sample of the table in '
            f'its order, but it is {_kind(values)}.'
        )
    if len(values) != len(sample_ids):
        raise UserError(
            f'{what} has {counted(len(values), "value")}, but the feature table has '
            f'{counted(len(sample_ids), "sample")}; give one value for each in the order of the table, or a '
            'pandas.Series by sample ID.'
        )
    return pd.Series(values, index=sample_ids, name=name or what)


def frame_of(values: typing.Any, what: str) -> pd.DataFrame:
    """Return metadata with several columns; UserError unless it is a DataFrame with names, by sample id."""
    if not isinstance(values, pd.DataFrame):
        raise UserError(f'{what} must be a pandas.DataFrame by sample ID, but it is {_kind(values)}.')
    if not values.index.is_unique:
        twice = values.index[values.index.duplicated()][0]
        raise UserError(f'Each sample has one row in {what}, but {shown(twice)} occurs twice; keep one of them.')
    names = values.columns
    wrong = [name for name in names if not isinstance(name, str)] or list(names[names.duplicated()])
    if wrong:
        raise UserError(f'Columns of {what} must have names of their own, but one is {shown(wrong[0])}; rename it.')
    return values.astype({name: object for name in names if isinstance(values[name].dtype, pd.CategoricalDtype)})


def numbers_of(column: pd.Series, what: str) -> pd.Series:
    """Return a column as numbers, NaN where there is none; UserError, which shows it, for a value that is no number."""
    try:
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        wrong = next((value for value in column[column.notna()] if not _is_number(value)), column.dtype)
        raise UserError(
            f'{what} must hold numbers, but it has {shown(wrong)}; give numbers, and None where there is none.'
        ) from error
    return pd.Series(values, column.index, name=column.name)


def classes_of(column: pd.Series, what: str) -> pd.Series:
    """Return a column as names of classes; UserError, which shows it, for a value that is no text.

    A model knows classes by name: a number would come back as text from a model that was saved.
    """
    named = column.astype(object)
    if wrong := [value for value in named[named.notna()] if not isinstance(value, str)]:
        raise UserError(
            f'{what} must hold names of classes, which are text, but it has {shown(wrong[0])}; name the classes (for '
            'example with .astype(str), where no value is missing).'
        )
    return named


def write_fasta(sequences: typing.Any, feature_ids: list[str], path: str | os.PathLike) -> None:
    """Write the sequences of features as FASTA; those that have none are left to whoever reads it.

    Parameters
    ----------
    sequences : mapping
        Sequence by feature id: a dict or a pandas.Series of text, or of what is text by ``str``.
    feature_ids : list of str
    path : path

    Raises
    ------
    UserError
        If it is no mapping, or an id could not be read back from FASTA.
    """
    if not isinstance(sequences, (collections.abc.Mapping, pd.Series)):
        raise UserError(
            f'sequences must be a dict with the sequence of each feature by its ID, but it is {_kind(sequences)}.'
        )
    known = [name for name in feature_ids if name in sequences]
    if blank := [name for name in known if name.split() != [name]]:
        raise UserError(
            f'Feature IDs must have no blanks where sequences are given, but there is {shown(blank[0])}; rename it in '
            'both.'
        )
    if feature_ids and not known:
        raise UserError(
            f'The sequences have none of the features of the table (e.g. {shown(feature_ids[0])}); give the sequence '
            'of each by its ID, or leave sequences out where the IDs are the sequences.'
        )
    pathlib.Path(path).write_text(''.join(f'>{name}\n{sequences[name]}\n' for name in known), encoding='utf-8')


def write_distances(distances: typing.Any, path: str | os.PathLike) -> None:
    """Write distances between samples as tab-separated text.

    Parameters
    ----------
    distances : pandas.DataFrame or skbio.DistanceMatrix
        The latter is known by what it has (ids, data).
    path : path

    Raises
    ------
    UserError
        If it is neither.
    """
    if hasattr(distances, 'ids') and hasattr(distances, 'data'):
        distances = pd.DataFrame(distances.data, index=distances.ids, columns=distances.ids)
    if not isinstance(distances, pd.DataFrame):
        raise UserError(
            'distance_matrix must be a pandas.DataFrame of samples by samples, or a skbio.DistanceMatrix, but it is '
            f'{_kind(distances)}.'
        )
    distances.to_csv(path, sep='\t', na_rep='nan')


def _of_frame(frame):
    # as it is stored: a wide table of few counts has no room as a dense one
    if frame.shape[1] and all(isinstance(kind, pd.SparseDtype) and kind.fill_value == 0 for kind in frame.dtypes):
        return frame.sparse.to_coo()
    return frame.to_numpy()


def _numbers(matrix):
    """Return a matrix as csr, float64."""
    # the matrix of an AnnData may be in a file
    matrix = matrix.to_memory() if hasattr(matrix, 'to_memory') else matrix
    matrix = matrix if scipy.sparse.issparse(matrix) else np.asarray(matrix)
    if matrix.ndim != 2:
        raise UserError('The feature table must have a matrix of samples by features; give one.')
    try:
        return scipy.sparse.csr_matrix(matrix.astype(np.float64))
    except (TypeError, ValueError) as error:
        raise UserError(
            f'The feature table must hold numbers only ({error}); leave out columns that are no features.'
        ) from error


def _check_ids(axis, names, place):
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise UserError(
            f'{axis.capitalize()} IDs must be text, but the feature table has {shown(wrong[0])}: it may have no IDs at '
            f'all; give them (of a DataFrame, in its {place}).'
        )
    if len(set(names)) < len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))
        raise UserError(
            f'{axis.capitalize()} IDs must be unique: {shown(twice)} occurs twice in the feature table; rename one of '
            'them.'
        )


def _is_number(value):
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _kind(value):
    return f'of the type {type(value).__name__}'
