"""The aligned study: every sample's ASVs, each distinct sequence once, in an order that depends on content alone."""

import dataclasses
import json
import pathlib
import warnings

import numpy as np
import scipy.sparse

from q2_aam.errors import AAMWarning, UserError, counted

from .sequences import encode

ARRAYS = ('codes', 'lengths', 'cut', 'offsets', 'asvs', 'abundances', 'reads')
IDS_FILE = 'samples.json'


@dataclasses.dataclass(frozen=True)
class Study:
    """Samples and their ASVs. N non-zeros, A distinct ASVs of up to L nucleotides.

    Samples are sorted by id and ASVs by sequence, so that the order in a table changes nothing.

    Attributes
    ----------
    sample_ids : list of str
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

    def rows_of(self, ids):
        """Return the row of each sample id, int64; every id is in the study."""
        row = {sample: i for i, sample in enumerate(self.sample_ids)}
        return np.array([row[sample] for sample in ids], dtype=np.int64)

    def cut_share(self):
        """Return, for each sample, the number of ASVs that are cut and the share of its reads in them."""
        hit = self.cut[self.asvs]
        return (
            np.add.reduceat(hit.astype(np.int64), self.offsets[:-1]),
            np.add.reduceat(self.abundances * hit, self.offsets[:-1], dtype=np.float64),
        )

    def save(self, folder):
        """Write the study as .npy files and a list of ids, into `folder`, which exists."""
        folder = pathlib.Path(folder)
        for name in ARRAYS:
            np.save(folder / f'{name}.npy', getattr(self, name), allow_pickle=False)
        (folder / IDS_FILE).write_text(json.dumps(self.sample_ids), encoding='utf-8')

    @classmethod
    def load(cls, folder):
        """Read back what :meth:`save` wrote; the arrays stay on disk, memory-mapped."""
        folder = pathlib.Path(folder)
        arrays = {name: np.load(folder / f'{name}.npy', mmap_mode='r', allow_pickle=False) for name in ARRAYS}
        return cls(json.loads((folder / IDS_FILE).read_text(encoding='utf-8')), **arrays)


def build_study(table, sequences, max_length=None):
    """Align a table and its sequences.

    Parameters
    ----------
    table : q2_aam.data.table.Table
    sequences : list of str
        One for each feature of the table, in its order.
    max_length : int, optional
        Nucleotides that the model reads of each sequence, from its first on; default all.

    Returns
    -------
    study : Study
    without_reads : list of str
        Ids of samples that have no reads, and so are not in the study.

    Raises
    ------
    UserError
        If no sample has reads.

    Warns
    -----
    AAMWarning
        If samples have no reads, if sequences stand under two ids (their counts are added), or if sequences are longer
        than `max_length`.
    """
    counts, sequences = _merge_duplicates(table, sequences)
    counts, ids, without_reads = _sorted_samples(counts, table.sample_ids)
    codes, lengths = encode(sequences)
    cut = lengths > (max_length or np.iinfo(np.int32).max)
    if cut.any():
        _warn_of_cut(counts, cut, int(lengths[cut].max()), max_length)
        codes, lengths = codes[:, :max_length], np.minimum(lengths, max_length)
    reads = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    study = Study(
        sample_ids=ids,
        codes=np.ascontiguousarray(codes),
        lengths=lengths.astype(np.int32),
        cut=cut,
        offsets=counts.indptr.astype(np.int64),
        asvs=counts.indices.astype(np.int32),
        abundances=(counts.data / np.repeat(reads, np.diff(counts.indptr))).astype(np.float32),
        reads=reads,
    )
    return study, without_reads


def _merge_duplicates(table, sequences):
    """Return counts [samples, distinct ASVs that occur] and their sequences, sorted."""
    distinct, column = np.unique(np.array(sequences, dtype=object), return_inverse=True)
    if len(distinct) < len(sequences):
        where = np.argsort(column, kind='stable')
        twin = int(np.flatnonzero(np.diff(column[where]) == 0)[0])
        one, two = table.feature_ids[where[twin]], table.feature_ids[where[twin + 1]]
        repeated = int((np.bincount(column) > 1).sum())
        warnings.warn(
            f'{counted(repeated, "sequence")} of the table stand under two feature ids or more (e.g. '
            f'{one} and {two}); they are merged and their counts added.',
            AAMWarning,
            stacklevel=2,
        )
    counts = table.counts
    # a copy: summing works in place, and the arrays are those of the caller's table
    merged = scipy.sparse.csr_matrix(
        (counts.data, column[counts.indices], counts.indptr), shape=(counts.shape[0], len(distinct)), copy=True
    )
    merged.sum_duplicates()
    present = np.flatnonzero(np.bincount(merged.indices, minlength=len(distinct)))
    return merged[:, present], [distinct[i] for i in present]


def _sorted_samples(counts, sample_ids):
    order = np.argsort(np.array(sample_ids, dtype=object), kind='stable')
    has_reads = np.diff(counts.indptr)[order] > 0
    without_reads = [sample_ids[i] for i in order[~has_reads]]
    if not has_reads.any():
        raise UserError('No sample of the table has any reads; give a table with counts above 0.')
    if without_reads:
        warnings.warn(
            f'{counted(len(without_reads), "sample")} of the table (e.g. {without_reads[0]}) without any reads '
            'cannot be read by a model and are left out.',
            AAMWarning,
            stacklevel=2,
        )
    counts = counts[order[has_reads]]
    counts.sort_indices()
    return counts, [sample_ids[i] for i in order[has_reads]], without_reads


def _warn_of_cut(counts, cut, longest, max_length):
    share = counts[:, np.flatnonzero(cut)].sum(dtype=np.float64) / counts.sum(dtype=np.float64)
    warnings.warn(
        f'{counted(int(cut.sum()), "sequence")} (up to {longest} nucleotides) are longer than the {max_length} '
        f'nucleotides that the model reads; only their first {max_length} are used, which touches {share:.1%} of '
        'all reads.',
        AAMWarning,
        stacklevel=2,
    )
