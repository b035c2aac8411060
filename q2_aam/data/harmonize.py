"""Harmonized reads: sequences of another trimming or orientation are read as the training ASVs that they are.

Each sequence is aligned by itself, so that what is made of a sample depends on no other sample of its table.

Shapes: F features of a table, R sequences that are read, C training ASVs, Q sequences of a block, D offsets.
"""

import collections.abc
import dataclasses

import numpy as np
import pandas as pd
import scipy.sparse

from .alignment import MAX_OFFSET, Aligner
from .references import References
from .sequences import encode, reverse_complement, sequence_keys
from .table import Table
from .vocabulary import Vocabulary

# At how many nucleotides a read may differ from the training ASV as which it is read (docs/accuracy.md).
MAX_MISMATCHES = 3
# Shared k-mers from which on the offset of a sequence that agrees with no training ASV is clear, and what share of them
# may stand at offset 0: a new ASV with an insertion has k-mers there, too, and so has a shifted one, of training ASVs
# with an insertion. Of 1,500 ASVs of studies that an encoder of 21 others never saw, 95 % of those that begin one
# nucleotide later are recognised (81 % with 0.1, 97 % with 0.5), and 0.7 % of those that begin where they should are
# moved (0.5 and 0.9 %).
MIN_VOTES, MAX_ELSEWHERE = 10, 0.3
# Counts are split in parts of 1/1024, so that they add up again: reads stay whole.
PARTS = 1024
# Sequences that are aligned at a time.
SEQUENCES = 2**10
# Sequences whose keys are computed at a time.
BLOCK = 2**14
# Offsets that are told of a table.
MAX_SHOWN = 3
LETTERS = np.array(list('?ACGTN'))


@dataclasses.dataclass(frozen=True)
class Harmonized:
    """What each feature of a table is read as.

    Attributes
    ----------
    sequences : list of str
        That are read, R of them: one for each feature that is read as it is, and what others are read as.
    parts : scipy.sparse.csr_matrix, float32 [F, R]
        Share of the counts of each feature that each sequence gets; 1 in sum.
    mapped : bool [F]
        It is read as a training ASV, or several, which it is not as it stands.
    shifted : bool [F]
        It is none of these, but begins earlier or later than training ASVs, and is read from where these begin.
    reverse_complement : bool [F]
        Its reverse complement is read.
    offset : int64 [F]
        By how many nucleotides it begins later (above 0) or earlier (below 0) than training ASVs.
    """

    sequences: list[str]
    parts: scipy.sparse.csr_matrix
    mapped: np.ndarray
    shifted: np.ndarray
    reverse_complement: np.ndarray
    offset: np.ndarray

    @property
    def changed(self) -> np.ndarray:
        """Which features are not read as they are, bool [F]."""
        return self.mapped | self.shifted | self.reverse_complement

    def table(self, table: Table) -> Table:
        """Return the table of the sequences that are read; their ids are those of some feature of each."""
        by_sequence = self.parts.tocsc()
        features = by_sequence.indices[by_sequence.indptr[:-1]]

        def blocks():
            for counts in table.blocks():
                moved = scipy.sparse.csr_matrix(counts @ self.parts, dtype=np.float32)
                # of shares next to 0
                moved.eliminate_zeros()
                moved.sort_indices()
                yield moved

        return Table(table.sample_ids, [table.feature_ids[feature] for feature in features], blocks)

    def samples(self, table: Table) -> pd.DataFrame:
        """Return what was done to each sample of a table, whose index are their ids.

        Returns
        -------
        pandas.DataFrame
            Columns share_of_reads_harmonized; offset, the most common one by reads, int64; and, not for the details,
            shares of reads that are shifted, mapped and reverse_complement. All are 0 of a sample without reads.
        """
        offsets, inverse = np.unique(self.offset, return_inverse=True)
        every = np.arange(len(inverse))
        by_offset = scipy.sparse.csr_matrix((np.ones(len(every)), (every, inverse)), shape=(len(every), len(offsets)))
        kinds = np.column_stack([self.changed, self.shifted, self.mapped, self.reverse_complement]).astype(float)
        shares, common, reads = [], [], []
        for counts in table.blocks():
            total = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
            shares.append(np.minimum(counts @ kinds / np.maximum(total, 1e-300)[:, None], 1.0))
            common.append(np.where(total > 0, offsets[(counts @ by_offset).toarray().argmax(axis=1)], 0))
            reads.append(total)
        names = ('share_of_reads_harmonized', 'shifted', 'mapped', 'reverse_complement')
        frame = pd.DataFrame(np.concatenate(shares), columns=list(names), index=pd.Index(table.sample_ids, name='id'))
        return frame.assign(offset=np.concatenate(common).astype(np.int64), reads=np.concatenate(reads))


def describe(samples: pd.DataFrame) -> str:
    """Return one line on the reads of a whole table, of whose samples :meth:`Harmonized.samples` tells."""
    reads = samples['reads']

    def share(name):
        value = np.average(samples[name], weights=reads)
        return 'less than 1%' if 0 < value < 0.005 else f'{value:.0%}'

    offsets = reads[samples['offset'] != 0].groupby(samples['offset']).sum().nlargest(MAX_SHOWN) / reads.sum()
    moved = ', '.join(f'{offset:+d} in samples with {part:.0%}' for offset, part in offsets.items())
    return (
        f'Harmonized {share("share_of_reads_harmonized")} of reads: {share("mapped")} are read as training ASVs, '
        f'{share("reverse_complement")} are reverse-complemented; start moved by {moved or "0"}.'
    )


def harmonize(
    sequences: collections.abc.Sequence[str],
    references: References,
    vocabulary: Vocabulary | None = None,
    max_length: int | None = None,
) -> Harmonized | None:
    """Find what each sequence of a table is read as.

    A sequence that is a training ASV as it stands is left alone. One that agrees with a training ASV on all that both
    have in common is read as that; if it agrees with several, its counts go to them in proportion to their abundance in
    training. Of others only orientation and start are corrected, where these are clear: leading nucleotides are
    dropped, or N put in front.

    Parameters
    ----------
    sequences : list of str
        One for each feature.
    references : q2_aam.data.references.References
    vocabulary : q2_aam.data.vocabulary.Vocabulary, optional
        Without it, as a model without an ensemble has none, sequences are aligned to the references, which are training
        ASVs, too, and no mismatch is allowed.
    max_length : int, optional
        Nucleotides that the model reads.

    Returns
    -------
    Harmonized or None
        None where all sequences are read as they are.
    """
    max_mismatches = MAX_MISMATCHES
    if vocabulary is None:
        vocabulary, max_mismatches = Vocabulary.of(references.codes, (references.codes > 0).sum(axis=1)), 0
    read = [sequence[:max_length] for sequence in sequences]
    new = np.flatnonzero(~np.isin(_keys_of(read), vocabulary.keys))
    fate = _Fate(len(sequences))
    aligner = Aligner(vocabulary.codes, max_mismatches) if len(new) else None
    for start in range(0, len(new), SEQUENCES):
        rows = new[start : start + SEQUENCES]
        _align([sequences[row] for row in rows], rows, aligner, vocabulary, references, max_length, fate)
    if not (fate.mapped | fate.shifted | fate.reverse_complement).any():
        return None
    return _collected(sequences, max_length, vocabulary, fate)


class _Fate:
    """What becomes of each feature, as far as is known."""

    def __init__(self, features):
        self.mapped, self.shifted, self.reverse_complement = (np.zeros(features, dtype=bool) for _ in range(3))
        self.offset = np.zeros(features, dtype=np.int64)
        # feature and training ASV of each pair that agrees, some arrays of both
        self.pairs: list[tuple[np.ndarray, np.ndarray]] = []


def _keys_of(sequences):
    return np.concatenate(
        [sequence_keys(*encode(sequences[start : start + BLOCK])) for start in range(0, len(sequences), BLOCK)]
    )


def _align(sequences, features, aligner, vocabulary, references, max_length, fate):
    """Find what becomes of a block of `features`, whose sequences these are."""
    complements = [reverse_complement(sequence) for sequence in sequences]
    # one too short to be aligned can be known as a whole
    exact = np.isin(_keys_of([sequence[:max_length] for sequence in complements]), vocabulary.keys)
    # what is beyond the end of all training ASVs, wherever a read begins, says nothing
    longest = aligner.codes.shape[1] + MAX_OFFSET
    forward, backward = (_codes_of(strand, longest) for strand in (sequences, complements))
    votes, backward_votes = aligner.votes(forward), aligner.votes(backward)
    complemented = exact | (backward_votes.max(axis=1) > votes.max(axis=1))
    unclear = np.flatnonzero(~exact & (np.maximum(votes, backward_votes).max(axis=1) < MIN_VOTES))
    if len(unclear):
        complemented[unclear] = references.similarity(*encode([sequences[i] for i in unclear])).reverse_complement
    codes = np.where(complemented[:, None], backward, forward)
    votes = np.where(complemented[:, None], backward_votes, votes)
    pairs = aligner.agreeing(codes, votes)
    agree = np.zeros(len(features), dtype=bool)
    agree[pairs.rows] = True
    offset = votes.argmax(axis=1) - MAX_OFFSET
    offset[pairs.rows] = pairs.offsets
    most = votes.max(axis=1)
    clear = (most >= MIN_VOTES) & (votes[:, MAX_OFFSET] <= MAX_ELSEWHERE * most)
    # as a whole it is known better than by its parts
    agree, clear = agree & ~exact, clear & ~agree & ~exact
    fate.reverse_complement[features] = complemented
    fate.mapped[features], fate.shifted[features] = agree, clear
    fate.offset[features] = np.where(agree | clear, offset, 0)
    known = agree[pairs.rows]
    fate.pairs.append((features[pairs.rows[known]], pairs.asvs[known]))


def _codes_of(sequences, width):
    codes, _ = encode([sequence[:width] for sequence in sequences])
    return np.pad(codes, [(0, 0), (0, width - codes.shape[1])])


def _collected(sequences, max_length, vocabulary, fate):
    """Return the Harmonized of all features."""
    changed = fate.mapped | fate.shifted | fate.reverse_complement
    unchanged = np.flatnonzero(~changed)
    out = [sequences[feature] for feature in unchanged]
    rows, shares = list(unchanged), [1.0] * len(out)
    places = list(range(len(out)))
    # by what is read of them: features that are one only now are merged here, and nobody is warned of them
    columns = {sequence[:max_length]: place for place, sequence in reversed(list(enumerate(out)))}

    def add(feature, sequence, share):
        place = columns.setdefault(sequence[:max_length], len(out))
        if place == len(out):
            out.append(sequence)
        rows.append(feature)
        places.append(place)
        shares.append(share)

    for feature in np.flatnonzero(changed & ~fate.mapped):
        sequence, offset = sequences[feature], int(fate.offset[feature])
        if fate.reverse_complement[feature]:
            sequence = reverse_complement(sequence)
        add(feature, 'N' * offset + sequence[max(0, -offset) :], 1.0)
    for feature, asvs, parts in _shared(fate.pairs, vocabulary.abundance):
        for asv, part in zip(asvs, parts):
            codes = vocabulary.codes[asv]
            add(feature, ''.join(LETTERS[codes[codes > 0]]), part)
    matrix = scipy.sparse.csr_matrix(
        (np.array(shares, dtype=np.float32), (rows, places)), shape=(len(sequences), len(out))
    )
    return Harmonized(out, matrix, fate.mapped, fate.shifted, fate.reverse_complement, fate.offset)


def _shared(pairs, abundance):
    """Yield each feature that agrees with training ASVs, these, and the share of its counts that each of them gets."""
    features, asvs = (np.concatenate(parts) for parts in zip(*pairs))
    for feature, start, size in zip(*np.unique(features, return_index=True, return_counts=True)):
        some = asvs[start : start + size]
        weights = np.zeros(size) if abundance is None else abundance[some].astype(np.float64)
        weights = weights / weights.sum() if weights.sum() > 0 else np.full(size, 1 / size)
        parts = np.floor(PARTS * weights)
        parts[weights.argmax()] += PARTS - parts.sum()
        held = parts > 0
        yield int(feature), some[held], parts[held] / PARTS
