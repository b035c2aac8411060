"""The aligned study: every sample's ASVs, each distinct sequence once, in an order that depends on content alone."""

import collections.abc
import dataclasses
import functools
import os
import pathlib
import typing
import warnings

import numpy as np
import scipy.sparse

from q2_aam.config import ModelConfig
from q2_aam.errors import AAMWarning, UserError, counted, shown

from .covariates import Covariates
from .sequences import encode, sequence_keys
from .study_files import finish, load, new_array, read_arrays
from .study_warnings import warn, warn_of_merged, warn_of_truncated
from .table import BLOCK, Table, blocks_of

IDS = ('sample_ids', 'feature_ids')
# Sequences that are encoded at a time.
SEQUENCES = 2**16
# Nucleotides that a model can read of a sequence.
MAX_LENGTH = next(int(opt.high or 0) for opt in ModelConfig.options() if opt.name == 'max_sequence_length')


@dataclasses.dataclass(frozen=True)
class Study:
    """Samples and their ASVs. N non-zeros, A distinct ASVs of up to L nucleotides.

    Samples are sorted by id and ASVs by sequence, so that the order in a table changes nothing. An ASV is what the
    model reads: features whose sequences are the same, or the same once truncated, are one.

    Attributes
    ----------
    sample_ids : list of str
    feature_ids : list of str
        One for each row of `codes`: the smallest of the features that are one.
    codes : uint8 [A, L]
        Nucleotides (see :mod:`q2_aam.data.sequences`), 0 after the end of a shorter sequence.
    lengths : int32 [A]
        Nucleotides of each ASV that are read.
    truncated : bool [A]
        ASVs of which some sequence is longer than what is read.
    offsets : int64 [samples + 1]
        Where each sample begins in `asvs` and `abundances`.
    asvs : int32 [N]
        Row in `codes` of each non-zero of the table.
    abundances : float32 [N]
        Share of the sample's reads; sums to 1 in each sample.
    reads : float64 [samples]
        Read depth (1 for a table of relative frequencies).
    covariates : q2_aam.data.covariates.Covariates or None
        Of the samples, where a model reads some; they are not written with the study.
    named : bool
        Whether features have names and no sequences: `codes` then stand for names
        (:mod:`q2_aam.data.feature_names`), and the network reads `tokens`, which are not written either.
    tokens : int32 [A, T] or None
        Of each feature (:mod:`q2_aam.data.known_features`), 0 after their end and for one that is unknown.
    """

    sample_ids: list[str]
    feature_ids: list[str]
    codes: np.ndarray
    lengths: np.ndarray
    truncated: np.ndarray
    offsets: np.ndarray
    asvs: np.ndarray
    abundances: np.ndarray
    reads: np.ndarray
    covariates: Covariates | None = None
    named: bool = False
    tokens: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.sample_ids)

    @property
    def richness(self) -> np.ndarray:
        """Number of ASVs of each sample, int64 [samples]."""
        return np.diff(self.offsets)

    @property
    def longest(self) -> int:
        """Length of the longest sequence that is read, or number of tokens where features are named."""
        return int(self.lengths.max()) if self.tokens is None else int((self.tokens > 0).sum(axis=1).max())

    @functools.cached_property
    def readable(self) -> np.ndarray:
        """Features that a network can read, bool [A]: all but named ones that it neither knows nor can place."""
        return np.ones(len(self.feature_ids), dtype=bool) if self.tokens is None else self.tokens[:, 0] > 0

    @functools.cached_property
    def keys(self) -> np.ndarray:
        """Number by which each ASV is known from study to study, int64 [A]."""
        return sequence_keys(self.codes, self.lengths)

    def rows_of(self, ids: collections.abc.Iterable[str]) -> np.ndarray:
        """Return the row of each sample id, int64; every id is in the study."""
        row = {sample: i for i, sample in enumerate(self.sample_ids)}
        return np.array([row[sample] for sample in ids], dtype=np.int64)

    def truncated_share(self) -> tuple[np.ndarray, np.ndarray]:
        """Return, for each sample, the number of ASVs that are truncated and the share of its reads in them."""
        number, share = np.zeros(len(self), dtype=np.int64), np.zeros(len(self))
        for start, stop in blocks_of(self.offsets, BLOCK) if self.truncated.any() else ():
            inside = slice(self.offsets[start], self.offsets[stop])
            truncated, begin = self.truncated[self.asvs[inside]], self.offsets[start:stop] - self.offsets[start]
            number[start:stop] = np.add.reduceat(truncated, begin, dtype=np.int64)
            share[start:stop] = np.add.reduceat(self.abundances[inside] * truncated, begin, dtype=np.float64)
        return number, share


def load_study(folder: str | os.PathLike) -> tuple[Study, list[str]] | None:
    """Read back a finished study.

    Parameters
    ----------
    folder : path
        Where :func:`build_study` wrote it.

    Returns
    -------
    tuple or None
        What :func:`build_study` returned; None if the folder has no finished study, or a damaged one.

    Warns
    -----
    AAMWarning
        With all warnings of when the study was built, or if it is damaged.
    """
    loaded = load(pathlib.Path(folder))
    if loaded is None:
        return None
    arrays: dict[str, typing.Any] = loaded[0]
    rest = loaded[1]
    for message in rest['messages']:
        warnings.warn(message, AAMWarning, stacklevel=2)
    return Study(rest['sample_ids'], rest['feature_ids'], **arrays), rest['without_reads']


def build_study(
    table: Table,
    sequences: list[str],
    max_length: int | None = None,
    keep: collections.abc.Iterable[str] | None = None,
    folder: str | os.PathLike | None = None,
    messages: list[str] | None = None,
) -> tuple[Study, list[str]]:
    """Align a table and its sequences, block by block of the table.

    Parameters
    ----------
    table : q2_aam.data.table.Table
    sequences : list of str
        One for each feature of the table, in its order.
    max_length : int, optional
        Nucleotides that the model reads of each sequence, from its first on; default all.
    keep : iterable of str, optional
        Samples that the study is to have; default all. Features that none of them has are not in it.
    folder : path, optional
        Where the study is written, for :func:`load_study`; it exists. Without it all arrays are kept in memory.
    messages : list of str, optional
        Texts of what was warned of before, of the same inputs, for :func:`load_study`.

    Returns
    -------
    study : Study
        Its large arrays are memory-mapped where there is a folder.
    without_reads : list of str
        Ids of samples that have no reads, and so are not in the study.

    Raises
    ------
    UserError
        If no sample has reads, if a sequence is too long for any model and none is to be truncated, or if the folder
        has no room.

    Warns
    -----
    AAMWarning
        If samples have no reads, if features have the same sequence or the same once truncated (their counts are
        added), or if sequences are longer than `max_length`.
    """
    folder = None if folder is None else pathlib.Path(folder)
    messages = list(messages or [])
    read = [sequence[:max_length] for sequence in sequences] if max_length else sequences
    distinct, inverse = np.unique(np.array(read, dtype=object), return_inverse=True)
    column: np.ndarray = inverse.astype(np.int32)
    if len(distinct) < len(sequences):
        warn_of_merged(table.feature_ids, sequences, column, max_length, messages)
    chosen = _chosen(table, keep)
    richness, occurs = _measure(table, column, len(distinct), chosen)
    order, without_reads = _sorted_samples(table.sample_ids, chosen, richness, messages)
    present, feature_ids = _smallest_ids(table.feature_ids, column, occurs)
    # features that do not occur get any column: nothing is in them
    column = np.searchsorted(present, column).astype(np.int32)
    read_sequences = [distinct[i] for i in present]
    if max_length is None:
        _check_lengths(read_sequences, feature_ids)
    arrays = _encoded(read_sequences, folder)
    longer = [i for i in np.flatnonzero(occurs) if len(sequences[i]) > len(read[i])]
    arrays['truncated'] = new_array(folder, 'truncated', (len(present),), bool)
    arrays['truncated'][column[longer]] = True
    filled, share = _filled(table, column, order, richness, arrays['truncated'], folder)
    if longer:
        warn_of_truncated({sequences[i] for i in longer}, max_length, share, messages)
    arrays |= filled
    sample_ids = [table.sample_ids[i] for i in order]
    if folder is not None:
        ids = {'sample_ids': sample_ids, 'feature_ids': feature_ids, 'without_reads': without_reads}
        finish(folder, arrays, **ids, messages=messages)
        arrays = read_arrays(folder)
    return Study(sample_ids, feature_ids, **arrays), without_reads


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
        rows = np.flatnonzero(chosen[first : first + counts.shape[0]])
        yield first + rows, counts[rows]
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


def _sorted_samples(sample_ids, chosen, richness, messages):
    """Return the rows of the study's samples in the table, sorted by id, and the ids of those without reads."""
    order = np.argsort(np.array(sample_ids, dtype=object), kind='stable')
    order = order[chosen[order]]
    has_reads = richness[order] > 0
    without_reads = [sample_ids[i] for i in order[~has_reads]]
    if not has_reads.any():
        raise UserError(
            'The feature table has no reads for any of the samples used; provide a table with counts above 0.'
        )
    if without_reads:
        warn(
            messages,
            f'Ignored: {counted(len(without_reads), "sample")} without reads (e.g. {shown(without_reads[0])}).',
        )
    return order[has_reads], without_reads


def _smallest_ids(feature_ids, column, occurs):
    """Return the columns that occur, sorted, and for each the smallest id of the features in it that occur."""
    occurring = np.flatnonzero(occurs)
    ids = np.array(feature_ids, dtype=object)[occurring]
    by_id = np.argsort(ids, kind='stable')
    present, first = np.unique(column[occurring[by_id]], return_index=True)
    return present, list(ids[by_id[first]])


def _check_lengths(sequences, feature_ids):
    lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
    longest, number = int(lengths.argmax()), int((lengths > MAX_LENGTH).sum())
    if number:
        raise UserError(
            f'A model reads at most {MAX_LENGTH:,} nucleotides of a sequence, but {counted(number, "sequence")} '
            f'{"is" if number == 1 else "are"} longer (e.g. that of feature {shown(feature_ids[longest])}, '
            f'{lengths[longest]:,}); filter such features from the table, or set the parameter max_sequence_length, to '
            f'which sequences are truncated (half of them have {int(np.median(lengths)):,} nucleotides or less).'
        )


def _encoded(sequences, folder):
    """Return codes and lengths of the study."""
    sizes = np.fromiter(map(len, sequences), dtype=np.int32, count=len(sequences))
    codes = new_array(folder, 'codes', (len(sequences), int(sizes.max())), np.uint8)
    for start in range(0, len(sequences), SEQUENCES):
        block, _ = encode(sequences[start : start + SEQUENCES])
        codes[start : start + SEQUENCES, : block.shape[1]] = block
    lengths = new_array(folder, 'lengths', (len(sequences),), np.int32)
    lengths[:] = sizes
    return {'codes': codes, 'lengths': lengths}


def _filled(table, column, order, richness, truncated, folder):
    """Return offsets, asvs, abundances and reads of the study, and the share of all reads in truncated ASVs."""
    starts = np.concatenate([[0], np.cumsum(richness[order])]).astype(np.int64)
    arrays = {
        name: new_array(folder, name, (size,), dtype)
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
    in_truncated = 0.0
    for rows, counts in _kept_blocks(table, place >= 0):
        counts, samples = _merge(counts, column, len(truncated)), place[rows]
        reads = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
        sizes = np.diff(counts.indptr)
        where = np.arange(counts.nnz) + np.repeat(starts[samples] - counts.indptr[:-1], sizes)
        arrays['asvs'][where] = counts.indices
        arrays['abundances'][where] = counts.data / np.repeat(reads, sizes)
        arrays['reads'][samples] = reads
        in_truncated += counts.data[truncated[counts.indices]].sum(dtype=np.float64)
    return arrays, in_truncated / arrays['reads'].sum()
