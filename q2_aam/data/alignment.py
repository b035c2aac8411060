"""Alignment without gaps: where on the training ASVs a read begins, and with which of them it agrees.

Shapes: C training ASVs, Q reads, S strands and offsets of reads, L nucleotides of the longest training ASV, D offsets,
P pairs of a read at an offset and a training ASV.
"""

import dataclasses

import numpy as np

from .sequences import PAD, UNKNOWN, A, T

# Nucleotides of a seed. Two unrelated stretches of 200 nucleotides share one by chance once in 100,000 pairs.
KMER = 16
# By how many nucleotides a read may begin earlier or later than training ASVs: a primer left on, or trimmed off twice.
MAX_OFFSET = 40
# Nucleotides that a read and a training ASV must have in common, and which share of either.
MIN_OVERLAP, MIN_SHARE = 60, 0.5
# Offsets of a read, those with most seeds, at which it is compared with training ASVs.
OFFSETS = 2
# Beside the rarest, k-mers that more training ASVs have at their place are no seeds: conserved ones cost much and tell
# little.
MAX_SEEDED = 512
# What a mismatch costs, in nucleotides of overlap.
MISMATCH = 10
# More than any nucleotide's place in a sequence that a model reads (2**16).
PLACES = 2**17
# Nucleotides that are compared at a time, 4 MB.
NUCLEOTIDES = 2**22


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Reads and the training ASVs that they agree with best, several where they agree with several equally well."""

    rows: np.ndarray
    asvs: np.ndarray
    offsets: np.ndarray


class Aligner:
    """Training ASVs and where their k-mers stand.

    Parameters
    ----------
    codes : uint8 [C, L]
        As in :mod:`q2_aam.data.sequences`, 0 after the end of a sequence.
    max_mismatches : int
        At how many nucleotides a read may differ from a training ASV with which it still agrees.
    """

    def __init__(self, codes: np.ndarray, max_mismatches: int):
        self.codes, self.max_mismatches = codes, max_mismatches
        self.lengths = (codes != PAD).sum(axis=1)
        numbers, unambiguous = kmers_of(codes)
        asvs, places = np.nonzero(unambiguous)
        keys = numbers[unambiguous] * PLACES + places
        order = np.argsort(keys, kind='stable')
        # of each k-mer at each place: where the ASVs begin that have it there, and how many they are
        self.keys, self.starts, self.counts = np.unique(keys[order], return_index=True, return_counts=True)
        self.asvs = asvs[order]

    def votes(self, codes_QL: np.ndarray) -> np.ndarray:
        """Return how many k-mers of each read stand in training ASVs at each offset, int64 [Q, D].

        Column ``MAX_OFFSET + d`` is of reads that begin d nucleotides later than training ASVs.
        """
        width = 2 * MAX_OFFSET + 1
        numbers, unambiguous = kmers_of(codes_QL)
        rows, places = np.nonzero(unambiguous)
        keys = numbers[unambiguous] * PLACES
        low = np.searchsorted(self.keys, keys + np.maximum(places - MAX_OFFSET, 0))
        high = np.searchsorted(self.keys, keys + places + MAX_OFFSET, side='right')
        which, where = _ranges(low, high - low)
        offsets = self.keys[where] % PLACES - places[which] + MAX_OFFSET
        return np.bincount(rows[which] * width + offsets, minlength=len(codes_QL) * width).reshape(-1, width)

    def agreeing(self, codes_QL: np.ndarray, votes_QD: np.ndarray) -> Pairs:
        """Return the training ASVs that each read agrees with best, at those offsets that have most votes.

        A read agrees that differs from an ASV in at most `max_mismatches` nucleotides, unknown ones aside, on all that
        both have in common, which is 60 nucleotides and half of both, or more.
        """
        best = np.argsort(-votes_QD, axis=1, kind='stable')[:, :OFFSETS]
        rows, ranks = np.nonzero(np.take_along_axis(votes_QD, best, axis=1))
        offsets = best[rows, ranks] - MAX_OFFSET
        shifted_SL = self._shifted(codes_QL[rows], offsets)
        sizes_S = (codes_QL[rows] != PAD).sum(axis=1)
        pairs, asvs = self._seeded(shifted_SL)
        scores = self._scores(shifted_SL, sizes_S, pairs, asvs)
        agree = scores >= 0
        rows, offsets, asvs, scores = rows[pairs[agree]], offsets[pairs[agree]], asvs[agree], scores[agree]
        highest = np.full(len(codes_QL), -1)
        np.maximum.at(highest, rows, scores)
        chosen = scores == highest[rows]
        # the same ASV may agree at two offsets of a repeat
        unique, first = np.unique(rows[chosen] * len(self.codes) + asvs[chosen], return_index=True)
        return Pairs(unique // len(self.codes), unique % len(self.codes), offsets[chosen][first])

    def _shifted(self, codes_SL, offsets_S):
        """Return the nucleotides of reads at the places of training ASVs, uint8 [S, L]; 0 where they have none."""
        places = np.arange(self.codes.shape[1]) - offsets_S[:, None]
        inside = (places >= 0) & (places < codes_SL.shape[1])
        return np.where(inside, np.take_along_axis(codes_SL, np.where(inside, places, 0), axis=1), PAD).astype(np.uint8)

    def _seeded(self, shifted_SL):
        """Return rows and training ASVs that share one of the rarest k-mers at its place, int64 [P] each.

        Of disjoint k-mers, a mismatch touches one: of one more than there may be mismatches, one is without. Two more
        are taken, because training ASVs may end before others.
        """
        numbers, unambiguous = kmers_of(shifted_SL)
        # reads begin and end anywhere
        starts = (shifted_SL != PAD).argmax(axis=1)
        segments = np.arange(0, max(1, shifted_SL.shape[1] - KMER + 1), KMER)
        places = starts[:, None] + segments
        inside = places < numbers.shape[1]
        if not numbers.shape[1] or not len(self.keys):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        places = np.where(inside, places, 0)
        rows = np.arange(len(places))[:, None]
        keys = numbers[rows, places] * PLACES + places
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        shared = inside & unambiguous[rows, places] & (self.keys[at] == keys)
        sizes = np.where(shared, self.counts[at], PLACES)
        rarest = np.argsort(sizes, axis=1, kind='stable')[:, : self.max_mismatches + 2]
        few = np.take_along_axis(sizes, rarest, axis=1) <= MAX_SEEDED
        few[:, 0] = True
        rows, ranks = np.nonzero(np.take_along_axis(shared, rarest, axis=1) & few)
        chosen = at[rows, rarest[rows, ranks]]
        which, where = _ranges(self.starts[chosen], self.counts[chosen])
        pairs = np.unique(rows[which] * len(self.codes) + self.asvs[where])
        return pairs // len(self.codes), pairs % len(self.codes)

    def _scores(self, shifted_SL, sizes_S, rows, asvs):
        """Return for each pair the nucleotides in common less what mismatches cost, int64 [P]; -1: they disagree."""
        scores = np.full(len(rows), -1)
        step = max(1, NUCLEOTIDES // self.codes.shape[1])
        for start in range(0, len(rows), step):
            row, asv = rows[start : start + step], asvs[start : start + step]
            read, known = shifted_SL[row], self.codes[asv]
            common = (read != PAD) & (known != PAD)
            clear = common & (read != UNKNOWN) & (known != UNKNOWN)
            mismatches = (clear & (read != known)).sum(axis=1)
            overlap = common.sum(axis=1)
            agree = (
                (mismatches <= self.max_mismatches)
                & (clear.sum(axis=1) >= MIN_OVERLAP)
                & (overlap >= MIN_SHARE * np.maximum(sizes_S[row], self.lengths[asv]))
            )
            scores[start : start + step] = np.where(agree, np.maximum(overlap - MISMATCH * mismatches, 0), -1)
        return scores


def kmers_of(codes_QL: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of the k-mer at each place, int64 [Q, L - 15], and whether all its nucleotides are known."""
    places = max(0, codes_QL.shape[1] - KMER + 1)
    numbers = np.zeros((len(codes_QL), places), dtype=np.int64)
    unambiguous = np.ones(numbers.shape, dtype=bool)
    for place in range(KMER):
        column = codes_QL[:, place : place + places]
        numbers = 4 * numbers + (column.astype(np.int64) - A)
        unambiguous &= (column >= A) & (column <= T)
    return numbers, unambiguous


def _ranges(starts, sizes):
    """Return (which range, place) of all places of ranges that begin at `starts`."""
    which = np.repeat(np.arange(len(starts)), sizes)
    ends = np.cumsum(sizes)
    return which, np.arange(len(which)) - np.repeat(ends - sizes, sizes) + starts[which]
