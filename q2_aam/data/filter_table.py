"""Some samples of a feature table, written as a table of their own."""

import collections.abc
import os

import h5py
import numpy as np
import scipy.sparse

from .table import MATRIX, read_table

# version 2.1 of the format: https://biom-format.org/documentation/format_versions/biom-2.1.html
_FORMAT_URL, _FORMAT_VERSION = 'http://biom-format.org', (2, 1)
# The same samples of the same table are the same file.
_DATE = '1970-01-01T00:00:00'
_COMPRESSION = {'compression': 'gzip', 'compression_opts': 1}


def filter_samples(table: str | os.PathLike, path: str | os.PathLike, keep: collections.abc.Iterable[str]) -> None:
    """Write the samples `keep` of a table, in its order, with those features that any of them has.

    Values are copied as they are. biom-format up to 2.1.12 writes ids that are not ASCII, but cannot read them back.

    Parameters
    ----------
    table : path
        BIOM 2.1 HDF5.
    path : path
        Where the new table is written.
    keep : iterable of str

    Raises
    ------
    q2_aam.errors.UserError
        If the table cannot be used.
    """
    # refuses what is damaged
    opened = read_table(table)
    keep = set(keep)
    rows = np.array([row for row, name in enumerate(opened.sample_ids) if name in keep], dtype=np.int64)
    counts = _rows_of(table, rows, len(opened.feature_ids))
    columns = np.flatnonzero(np.diff(counts.tocsc().indptr))
    counts = counts[:, columns]
    with h5py.File(path, 'w') as file:
        _write_axis(file, 'sample', counts, [opened.sample_ids[row] for row in rows])
        _write_axis(file, 'observation', counts.T.tocsr(), [opened.feature_ids[column] for column in columns])
        file.attrs.update(
            {
                'id': 'No Table ID',
                'type': '',
                'format-url': _FORMAT_URL,
                'format-version': _FORMAT_VERSION,
                'generated-by': 'q2-aam',
                'creation-date': _DATE,
                'shape': counts.shape[::-1],
                'nnz': counts.nnz,
            }
        )


def _rows_of(path, rows, features):
    """Return the counts of some samples, float64 [rows, features], without zeros that are stored."""
    with h5py.File(path, 'r') as file:
        group = file[MATRIX]
        offsets = group['indptr'][:].astype(np.int64)
        # as large as the file anyhow, and read at once
        arrays = group['data'][:].astype(np.float64), group['indices'][:].astype(np.int32), offsets
    counts = scipy.sparse.csr_matrix(arrays, shape=(len(offsets) - 1, features))[rows]
    counts.eliminate_zeros()
    counts.sum_duplicates()
    return counts


def _write_axis(file, axis, counts, ids):
    """Write the ids of one axis, and the counts, sparse [axis, other axis], by its rows."""
    group = file.create_group(axis)
    group.create_group('metadata')
    group.create_group('group-metadata')
    group.create_dataset('ids', data=ids, dtype=h5py.string_dtype('utf-8'), **(_COMPRESSION if ids else {}))
    counts.sort_indices()
    matrix = group.create_group('matrix')
    for name, array in (
        ('data', counts.data),
        ('indices', counts.indices.astype(np.int32)),
        ('indptr', counts.indptr.astype(np.int32)),
    ):
        matrix.create_dataset(name, data=array, **(_COMPRESSION if len(array) else {}))
