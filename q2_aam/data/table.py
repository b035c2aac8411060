"""The feature table: read from BIOM 2.1 HDF5 in blocks of samples, so that its size does not matter."""

import collections.abc
import contextlib
import dataclasses
import os

import h5py
import numpy as np
import scipy.sparse

from q2_aam.errors import UserError, shown

from .names import check_sample_ids

IDS = {'sample': 'sample/ids', 'feature': 'observation/ids'}
MATRIX = 'sample/matrix'
# Non-zeros of a block: some 50 MB with all that is made of it, and few blocks where a table fits into memory.
BLOCK = 2**21
# More reads than any sample has. Sums over the features of a sample are float32, which ends at 3e38.
MAX_COUNT = 1e15


@dataclasses.dataclass(frozen=True)
class Table:
    """A feature table.

    Attributes
    ----------
    sample_ids, feature_ids : list of str
    blocks : callable
        Reads the counts anew at each call: yields scipy.sparse.csr_matrix, float32 [samples of the block, features], in
        the order of `sample_ids`. They are counts or relative frequencies, all above 0 where stored; column indices are
        sorted in each row. A sample without reads is an empty row.
    """

    sample_ids: list[str]
    feature_ids: list[str]
    blocks: collections.abc.Callable[[], collections.abc.Iterable[scipy.sparse.csr_matrix]]


def read_table(path: str | os.PathLike, block: int = BLOCK) -> Table:
    """Open a feature table: its ids are read now, its counts block by block when they are asked for.

    Parameters
    ----------
    path : path
        A BIOM 2.1 HDF5 file (https://biom-format.org/documentation/format_versions/biom-2.1.html).
    block : int
        Maximum number of non-zeros in a block of several samples.

    Returns
    -------
    Table

    Raises
    ------
    UserError
        If the file is no BIOM 2.1 HDF5 file or is damaged, if the table has no samples or features, if an id occurs
        twice, or if results for a sample of that id could not be written. Its blocks raise it too, for a value that is
        negative, above 1e15 or not a number, and if all are 0.
    """
    with _opened(path) as file:
        ids = {axis: _read_ids(file, place) for axis, place in IDS.items()}
        for axis, names in ids.items():
            _check_ids(axis, names)
        check_sample_ids(ids['sample'])
        offsets = _read_offsets(file[MATRIX], len(ids['sample']))
    return Table(
        ids['sample'], ids['feature'], lambda: _read_blocks(path, ids['sample'], ids['feature'], offsets, block)
    )


def blocks_of(offsets: np.ndarray, maximum: int) -> collections.abc.Iterator[tuple[int, int]]:
    """Yield (start, stop) of neighbouring samples with at most `maximum` non-zeros together, or of a single one."""
    start = 0
    while start < len(offsets) - 1:
        stop = int(np.searchsorted(offsets, offsets[start] + maximum, side='right')) - 1
        stop = max(stop, start + 1)
        yield start, stop
        start = stop


@contextlib.contextmanager
def _opened(path):
    try:
        file = h5py.File(path, 'r')
    except OSError as error:
        raise UserError(
            f'The feature table cannot be read as BIOM 2.1 HDF5 ({_first_line(error)}); provide a FeatureTable '
            'artifact.'
        ) from error
    with file:
        try:
            yield file
        except UserError:
            raise
        except (KeyError, OSError, TypeError, ValueError) as error:
            raise UserError(
                f'The feature table is damaged or is not BIOM 2.1 HDF5 ({_first_line(error)}); create it again.'
            ) from error


def _read_ids(file, place):
    dataset = file[place]
    # an empty axis is written with whatever type numpy gives an empty list
    return list(dataset.asstr()[:]) if dataset.size else []


def _read_offsets(group, samples):
    offsets = group['indptr'][:].astype(np.int64)
    stored = len(group['data'])
    if len(offsets) != samples + 1 or offsets[0] or offsets[-1] != stored or (np.diff(offsets) < 0).any():
        raise UserError(
            f'The feature table is damaged (its row offsets do not fit {samples:,} samples with {stored:,} values); '
            'create it again.'
        )
    return offsets


def _read_blocks(path, sample_ids, feature_ids, offsets, block):
    empty = True
    with _opened(path) as file:
        group = file[MATRIX]
        for start, stop in blocks_of(offsets, block):
            values, columns = _read_arrays(group, offsets[start], offsets[stop])
            begins = offsets[start : stop + 1] - offsets[start]
            counts = _to_matrix(values, columns, begins, sample_ids[start:stop], feature_ids)
            empty = empty and not counts.nnz
            yield counts
    if empty:
        raise UserError('The feature table is empty: all counts are 0; provide a table with counts above 0.')


def _read_arrays(group, start, stop):
    """Return values (float32) and column indices, read without a detour over a wider type."""
    values = np.empty(stop - start, dtype=np.float32)
    if values.size:
        group['data'].read_direct(values, source_sel=np.s_[start:stop])
    return values, group['indices'][start:stop].astype(np.int32)


def _to_matrix(values, columns, offsets, sample_ids, feature_ids):
    try:
        counts = scipy.sparse.csr_matrix((values, columns, offsets), shape=(len(sample_ids), len(feature_ids)))
        counts.check_format(full_check=True)
    except ValueError as error:
        raise UserError(f'The feature table is damaged ({_first_line(error)}); create it again.') from error
    # true of NaN, too
    wrong = np.flatnonzero(~((values >= 0) & (values <= MAX_COUNT)))
    if len(wrong):
        sample = sample_ids[int(np.searchsorted(offsets, wrong[0], side='right')) - 1]
        raise UserError(
            f'Counts and relative frequencies must be numbers from 0 to {MAX_COUNT:g}: the feature table has '
            f'{values[wrong[0]]:g} for feature {shown(feature_ids[columns[wrong[0]]])} in sample '
            f'{shown(sample)}; correct or remove it.'
        )
    counts.eliminate_zeros()
    counts.sum_duplicates()
    return counts


def _check_ids(axis, names):
    if not names:
        raise UserError(f'The feature table is empty: it has no {axis}s; provide a table with counts above 0.')
    if len(set(names)) < len(names):
        seen = set()
        twice = next(name for name in names if name in seen or seen.add(name))
        raise UserError(
            f'{axis.capitalize()} IDs must be unique: {shown(twice)} occurs twice in the feature table; rename one of '
            'them.'
        )


def _first_line(error):
    return (str(error).strip('\'"').splitlines() or [type(error).__name__])[0]
