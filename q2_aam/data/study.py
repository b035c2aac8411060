"""The aligned study: every sample's ASVs, each distinct sequence once, in an order that depends on content alone."""

import dataclasses
import functools
import json
import os
import pathlib
import warnings

import numpy as np
import scipy.sparse

from q2_aam.errors import AAMWarning, UserError, counted

from .sequences import encode, sequence_keys
from .table import BLOCK, blocks_of

IDS = ('sample_ids', 'feature_ids')
ARRAYS = ('codes', 'lengths', 'cut', 'offsets', 'asvs', 'abundances', 'reads')
# arrays that grow with ASVs times nucleotides or with non-zeros; the others are read into memory
LARGE = ('codes', 'asvs', 'abundances')
# written last: a folder that holds it holds a whole study
MARKER = 'study.json'
# Sequences that are encoded at a time.
SEQUENCES = 2**16


@dataclasses.dataclass(frozen=True)
class Study:
    """Samples and their ASVs. N non-zeros, A distinct ASVs of up to L nucleotides.

    Samples are sorted by id and ASVs by sequence, so that the order in a table changes nothing.

    Attributes
    ----------
    sample_ids : list of str
    feature_ids : list of str
        One for each row of `codes`: the smallest where a sequence stands under several.
    codes : uint8 [A, L]
        Nucleotides (see :mod:`q2_aam.data.sequences`), 0 after the end of a shorter sequence.
    lengths : int32 [A]
        Nucleotides of each ASV that are read.
    cut : bool [A]
        ASVs that are longer than the model reads.
    offsets : int64 [samples + 1]
        Where each sample begins in `asvs` and `abundances`.
    asvs : int32 [N]
        Row in `codes` of each non-zero of the table.
    abundances : float32 [N]
        Share of the sample's reads; sums to 1 in each sample.
    reads : float64 [samples]
        Read depth (1 for a table of relative frequencies).
    """

    sample_ids: list
    feature_ids: list
    codes: np.ndarray
    lengths: np.ndarray
    cut: np.ndarray
    offsets: np.ndarray
    asvs: np.ndarray
    abundances: np.ndarray
    reads: np.ndarray

    def __len__(self):
        return len(self.sample_ids)

    @property
    def richness(self):
        """Number of ASVs of each sample, int64 [samples]."""
        return np.diff(self.offsets)

    @property
    def longest(self):
        """Length of the longest sequence that is read."""
        return int(self.lengths.max())

    @functools.cached_property
    def keys(self):
        """Number by which each ASV is known from study to study, int64 [A]."""
        return sequence_keys(self.codes, self.lengths)

    def rows_of(self, ids):
        """Return the row of each sample id, int64; every id is in the study."""
        row = {sample: i for i, sample in enumerate(self.sample_ids)}
        return np.array([row[sample] for sample in ids], dtype=np.int64)

    def cut_share(self):
        """Return, for each sample, the number of ASVs that are cut and the share of its reads in them."""
        number, share = np.zeros(len(self), dtype=np.int64), np.zeros(len(self))
        for start, stop in blocks_of(self.offsets, BLOCK) if self.cut.any() else ():
            own = slice(self.offsets[start], self.offsets[stop])
            hit, begin = self.cut[self.asvs[own]], self.offsets[start:stop] - self.offsets[start]
            number[start:stop] = np.add.reduceat(hit, begin, dtype=np.int64)
            share[start:stop] = np.add.reduceat(self.abundances[own] * hit, begin, dtype=np.float64)
        return number, share


def load_study(folder):
    """Read back a finished study.

    Parameters
    ----------
    folder : path
        Where :func:`build_study` wrote it.

    Returns
    -------
    tuple or None
        What :func:`build_study` returned; None if the folder holds no finished study.

    Warns
    -----
    AAMWarning
        Of what was said when the study was built.
    """
    if not (pathlib.Path(folder) / MARKER).exists():
        return None
    study, without_reads, said = _load(pathlib.Path(folder))
    for sentence in said:
        warnings.warn(sentence, AAMWarning, stacklevel=2)
    return study, without_reads


def build_study(table, sequences, max_length=None, keep=None, folder=None):
    """Align a table and its sequences, block by block of the table.

    Parameters
    ----------
    table : q2_aam.data.table.Table
    sequences : list of str
        One for each feature of the table, in its order.
    max_length : int, optional
        Nucleotides that the model reads of each sequence, from its first on; default all.
    keep : iterable of str, optional
        Samples that the study is to hold; default all. Features that none of them has are not in it.
    folder : path, optional
        Where the study is written, for :func:`load_study`; it exists. Without it all arrays are kept in memory.

    Returns
    -------
    study : Study
        Its large arrays are memory-mapped where there is a folder.
    without_reads : list of str
        Ids of samples that have no reads, and so are not in the study.

    Raises
    ------
    UserError
        If no sample has reads, or if the folder has no room.

    Warns
    -----
    AAMWarning
        If samples have no reads, if sequences stand under two ids (their counts are added), or if sequences are longer
        than `max_length`.
    """
    folder = None if folder is None else pathlib.Path(folder)
    said = []
    distinct, column = np.unique(np.array(sequences, dtype=object), return_inverse=True)
    column = column.astype(np.int32)
    _say_merged(table.feature_ids, column, len(distinct), said)
    chosen = _chosen(table, keep)
    richness, occurs = _measure(table, column, len(distinct), chosen)
    order, without_reads = _sorted_samples(table.sample_ids, chosen, richness, said)
    present, feature_ids = _smallest_ids(table.feature_ids, column, occurs)
    arrays, longest = _encoded([distinct[i] for i in present], max_length, folder)
    # features that do not occur get any column: nothing is in them
    column = np.searchsorted(present, column).astype(np.int32)
    filled, share = _filled(table, column, order, richness, arrays['cut'], folder)
    if arrays['cut'].any():
        _say_cut(arrays['cut'], longest, max_length, share, said)
    arrays |= filled
    sample_ids = [table.sample_ids[i] for i in order]
    if folder is None:
        return Study(sample_ids, feature_ids, **arrays), without_reads
    _finish(folder, arrays, sample_ids=sample_ids, feature_ids=feature_ids, without_reads=without_reads, said=said)
    return _load(folder)[:2]


def _new_array(folder, name, shape, dtype):
    """Return an array of zeros: a file of the folder, memory-mapped, or in memory where there is no folder."""
    if folder is None:
        return np.zeros(shape, dtype)
    path = folder / f'{name}.npy'
    array = np.lib.format.open_memmap(path, 'w+', dtype, shape)
    # a mapped file that the disk has no room for would end the process without a word when it is written
    if hasattr(os, 'posix_fallocate'):
        try:
            with path.open('r+b') as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            raise UserError(
                f'The folder for working files, {folder}, cannot take {array.nbytes / 1e9:.1f} GB ({error.strerror}); '
                'make room, or set the environment variable AAM_WORK_DIR to a folder that can.'
            ) from error
    return array


def _finish(folder, arrays, **rest):
    for array in arrays.values():
        array.flush()
    half = folder / f'{MARKER}.half'
    half.write_text(json.dumps(rest), encoding='utf-8')
    half.replace(folder / MARKER)


def _load(folder):
    rest = json.loads((folder / MARKER).read_text(encoding='utf-8'))
    arrays = {
        name: np.load(folder / f'{name}.npy', mmap_mode='r' if name in LARGE else None, allow_pickle=False)
        for name in ARRAYS
    }
    return Study(**{name: rest[name] for name in IDS}, **arrays), rest['without_reads'], rest['said']


def _say(said, sentence):
    said.append(sentence)
    warnings.warn(sentence, AAMWarning, stacklevel=3)


def _say_merged(feature_ids, column, distinct, said):
    if distinct == len(feature_ids):
        return
    where = np.argsort(column, kind='stable')
    twin = int(np.flatnonzero(np.diff(column[where]) == 0)[0])
    one, two = feature_ids[where[twin]], feature_ids[where[twin + 1]]
    repeated = int((np.bincount(column) > 1).sum())
    _say(
        said,
        f'Features of the same sequence are merged and their counts added: {counted(repeated, "sequence")} under two '
        f'feature ids or more (e.g. {one} and {two}).',
    )


def _chosen(table, keep):
    """Return which samples of the table are kept, bool [samples of the table]."""
    if keep is None:
        return np.ones(len(table.sample_ids), dtype=bool)
    keep = set(keep)
    return np.fromiter((sample in keep for sample in table.sample_ids), dtype=bool, count=len(table.sample_ids))


def _kept_blocks(table, chosen):
    """Yield the rows in the table of the chosen samples of each block, and a copy of their counts."""
    first = 0
    for counts in table.blocks():
        own = np.flatnonzero(chosen[first : first + counts.shape[0]])
        yield first + own, counts[own]
        first += counts.shape[0]


def _merge(counts, column, columns):
    """Move the counts of each feature to its column, adding those that meet; works in place."""
    merged = scipy.sparse.csr_matrix(
        (counts.data, column[counts.indices], counts.indptr), shape=(counts.shape[0], columns)
    )
    merged.sum_duplicates()
    return merged


def _measure(table, column, columns, chosen):
    """Return the richness of each sample of the table (0 if not chosen), and which features the chosen samples have."""
    richness = np.zeros(len(table.sample_ids), dtype=np.int64)
    occurs = np.zeros(len(table.feature_ids), dtype=bool)
    for rows, counts in _kept_blocks(table, chosen):
        occurs[counts.indices] = True
        richness[rows] = np.diff(_merge(counts, column, columns).indptr)
    return richness, occurs


def _sorted_samples(sample_ids, chosen, richness, said):
    """Return the rows of the study's samples in the table, sorted by id, and the ids of those without reads."""
    order = np.argsort(np.array(sample_ids, dtype=object), kind='stable')
    order = order[chosen[order]]
    has_reads = richness[order] > 0
    without_reads = [sample_ids[i] for i in order[~has_reads]]
    if not has_reads.any():
        raise UserError('No sample of the table has any reads; give a table with counts above 0.')
    if without_reads:
        _say(
            said,
            f'Left out: {counted(len(without_reads), "sample")} of the table without any reads (e.g. '
            f'{without_reads[0]}).',
        )
    return order[has_reads], without_reads


def _smallest_ids(feature_ids, column, occurs):
    """Return the columns that occur, sorted, and for each the smallest id of the features in it that occur."""
    occurring = np.flatnonzero(occurs)
    ids = np.array(feature_ids, dtype=object)[occurring]
    by_id = np.argsort(ids, kind='stable')
    present, first = np.unique(column[occurring[by_id]], return_index=True)
    return present, list(ids[by_id[first]])


def _encoded(sequences, max_length, folder):
    """Return codes, lengths and cut of the study, and the length of the longest sequence before any is cut."""
    whole = np.fromiter(map(len, sequences), dtype=np.int32, count=len(sequences))
    longest = int(whole.max())
    width = min(longest, max_length or longest)
    codes = _new_array(folder, 'codes', (len(sequences), width), np.uint8)
    for start in range(0, len(sequences), SEQUENCES):
        part, _ = encode(sequences[start : start + SEQUENCES])
        codes[start : start + SEQUENCES, : part.shape[1]] = part[:, :width]
    lengths = _new_array(folder, 'lengths', (len(sequences),), np.int32)
    cut = _new_array(folder, 'cut', (len(sequences),), bool)
    lengths[:], cut[:] = np.minimum(whole, width), whole > width
    return {'codes': codes, 'lengths': lengths, 'cut': cut}, longest


def _filled(table, column, order, richness, cut, folder):
    """Return offsets, asvs, abundances and reads of the study, and the share of all reads that are in cut ASVs."""
    starts = np.concatenate([[0], np.cumsum(richness[order])]).astype(np.int64)
    arrays = {
        name: _new_array(folder, name, (size,), dtype)
        for name, size, dtype in (
            ('offsets', len(starts), np.int64),
            ('asvs', int(starts[-1]), np.int32),
            ('abundances', int(starts[-1]), np.float32),
            ('reads', len(order), np.float64),
        )
    }
    arrays['offsets'][:] = starts
    place = np.full(len(table.sample_ids), -1, dtype=np.int64)
    place[order] = np.arange(len(order))
    in_cut = 0.0
    for rows, counts in _kept_blocks(table, place >= 0):
        counts, own = _merge(counts, column, len(cut)), place[rows]
        reads = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
        sizes = np.diff(counts.indptr)
        where = np.arange(counts.nnz) + np.repeat(starts[own] - counts.indptr[:-1], sizes)
        arrays['asvs'][where] = counts.indices
        arrays['abundances'][where] = counts.data / np.repeat(reads, sizes)
        arrays['reads'][own] = reads
        in_cut += counts.data[cut[counts.indices]].sum(dtype=np.float64)
    return arrays, in_cut / arrays['reads'].sum()


def _say_cut(cut, longest, max_length, share, said):
    _say(
        said,
        f'The model reads the first {max_length} nucleotides of a sequence and longer ones are cut there: '
        f'{counted(int(cut.sum()), "sequence")} of up to {longest} nucleotides, which touches {share:.1%} of all '
        'reads.',
    )
