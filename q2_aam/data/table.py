"""The feature table: read from BIOM 2.1 HDF5 straight into arrays, samples as rows."""

import dataclasses

import h5py
import numpy as np
import scipy.sparse

from q2_aam.errors import UserError

IDS = {'sample': 'sample/ids', 'feature': 'observation/ids'}
MATRIX = 'sample/matrix'


@dataclasses.dataclass(frozen=True)
class Table:
    """A feature table.

    Attributes
    ----------
    sample_ids, feature_ids : list of str
    counts : scipy.sparse.csr_matrix, float32 [samples, features]
        Counts or relative frequencies, all above 0 where stored; column indices are sorted in each row. A sample
        without reads is an empty row.
    """

    sample_ids: list
    feature_ids: list
    counts: scipy.sparse.csr_matrix


def read_table(path):
    """Read a feature table.

    Parameters
    ----------
    path : path
        A BIOM 2.1 HDF5 file (https://biom-format.org/documentation/format_versions/biom-2.1.html).

    Returns
    -------
    Table

    Raises
    ------
    UserError
        If the file is no BIOM 2.1 HDF5 file or is damaged, if the table is empty, if an id stands in it twice, or if a
        value is negative, infinite or not a number.
    """
    try:
        file = h5py.File(path, 'r')
    except OSError as error:
        raise UserError(
            f'The feature table cannot be read as BIOM 2.1 HDF5 ({_first_line(error)}); give a FeatureTable artifact.'
        ) from error
    with file:
        try:
            ids = {axis: _read_ids(file, place) for axis, place in IDS.items()}
            for axis, names in ids.items():
                _check_ids(axis, names)
            values, columns, offsets = _read_arrays(file)
        except UserError:
            raise
        except (KeyError, OSError, TypeError, ValueError) as error:
            raise UserError(
                f'The feature table is damaged or is not BIOM 2.1 HDF5 ({_first_line(error)}); make it anew.'
            ) from error
    return Table(ids['sample'], ids['feature'], _to_matrix(values, columns, offsets, ids['sample'], ids['feature']))


def _read_ids(file, place):
    dataset = file[place]
    # an empty axis is written with whatever type numpy gives an empty list
    return list(dataset.asstr()[:]) if dataset.size else []


def _read_arrays(file):
    """Return values (float32), column indices and row offsets, read without a detour over a wider type."""
    group = file[MATRIX]
    values = np.empty(group['data'].shape, dtype=np.float32)
    if values.size:
        group['data'].read_direct(values)
    return values, group['indices'][:].astype(np.int32), group['indptr'][:].astype(np.int64)


def _to_matrix(values, columns, offsets, sample_ids, feature_ids):
    try:
        counts = scipy.sparse.csr_matrix((values, columns, offsets), shape=(len(sample_ids), len(feature_ids)))
        counts.check_format(full_check=True)
    except ValueError as error:
        raise UserError(f'The feature table is damaged ({_first_line(error)}); make it anew.') from error
    # written so that NaN is found too
    wrong = np.flatnonzero(~((values >= 0) & (values < np.inf)))
    if len(wrong):
        sample = sample_ids[int(np.searchsorted(offsets, wrong[0], side='right')) - 1]
        raise UserError(
            f'The feature table holds {values[wrong[0]]:g} for feature {feature_ids[columns[wrong[0]]]} in sample '
            f'{sample}; give a table of counts or of relative frequencies, none of them negative or missing.'
        )
    counts.eliminate_zeros()
    counts.sum_duplicates()
    if not counts.nnz:
        raise UserError('The feature table is empty: all its counts are 0; give a table with counts above 0.')
    return counts


def _check_ids(axis, names):
    if not names:
        raise UserError(f'The feature table is empty: it has no {axis}s; give a table with counts above 0.')
    if len(set(names)) < len(names):
        seen = set()
        twice = next(name for name in names if name in seen or seen.add(name))
        raise UserError(f'The feature table has the {axis} id {twice} twice; give every {axis} an id of its own.')


def _first_line(error):
    return (str(error).strip('\'"').splitlines() or [type(error).__name__])[0]
