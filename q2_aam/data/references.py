"""Training ASVs that stand for all of them, and how similar to one of them an ASV must be to count as near.

Shapes: U ASVs, L nucleotides, R references, C candidates, K k-mers there are (4 to the power of their length).
"""

import dataclasses

import numpy as np

from .sequences import UNKNOWN, A, T, reverse_codes, reverse_complement_codes
from .study import Study

# 1,024 sequences of 150 nucleotides are 0.15 MB. With half as many, sequences of a study of 2,000 ASVs from which
# 5 % of the nucleotides were changed are near in 94 % of the cases instead of 97 %.
MAX_REFERENCES = 1024
# Training ASVs, drawn at random, among which references are chosen and on which thresholds are learned.
MAX_CANDIDATES = 4096
# Floats of their k-mer profiles, 64 MB: 1,024 candidates of 7-mers, 256 of 8-mers.
MAX_CANDIDATE_FLOATS = 2**24
# Share of the training ASVs that would not be near the others. Of ASVs of ECAM that were held out 98 % are near then,
# of those of whole families that were held out 82 % (means of ten draws of a third); with 0.05 it is 95 and 66 %.
NOT_NEAR = 0.02
# Quantile of the similarities between sequences of no relation. Other regions of the same gene stay below it (ECAM and
# 2,000 genes of Greengenes: 0.40, against 0.30 to 0.34 in 99 % of the windows of regions V1, V5, V6 and V7).
BY_CHANCE = 0.99
# At least as many k-mers for each position of a sequence, so that unrelated ones share few by chance: 5-mers up to 170
# nucleotides, 6-mers up to 682, then 7-mers.
MIN_KMERS_PER_POSITION = 6
# 65,536 k-mers; enough for 10,000 nucleotides, and what longer sequences get too.
MAX_KMER = 8
# Lengths that the middle 99 % of the training ASVs have, and a little more: a primer cut off less cleanly.
LENGTHS = (0.005, 0.995)
LENGTH_TOLERANCE = 0.05
# Floats of k-mer profiles that are held at a time, 16 MB.
FLOATS = 2**22


@dataclasses.dataclass(frozen=True)
class Similarity:
    """How similar each ASV is to the training ASVs.

    Attributes
    ----------
    similarity : float32 [U]
        Share of its k-mers that the most similar reference has too.
    near : bool [U]
        It is as similar to a training ASV as these are to each other.
    reverse_complement : bool [U]
        It is not near, and its reverse complement is more similar to a training ASV than by chance.
    other_region : bool [U]
        Neither the one nor the other: it is no more similar to a training ASV than by chance.
    other_length : bool [U]
        It is shorter or longer than the training ASVs.
    """

    similarity: np.ndarray
    near: np.ndarray
    reverse_complement: np.ndarray
    other_region: np.ndarray
    other_length: np.ndarray


@dataclasses.dataclass(frozen=True)
class References:
    """Training ASVs that stand for all of them; nothing here tells of samples, ids or counts.

    Attributes
    ----------
    codes : uint8 [R, L]
        As in :mod:`q2_aam.data.sequences`.
    kmer : int
        Length of the k-mers that are compared.
    near : float
        Similarity from which on an ASV is near.
    chance : float
        Similarity up to which chance alone explains it.
    shortest, longest : int
        Lengths of the training ASVs, with a tolerance.
    """

    codes: np.ndarray
    kmer: int
    near: float
    chance: float
    shortest: int
    longest: int

    def __post_init__(self):
        codes, kmer = self.codes, self.kmer
        integers = all(type(number) is int for number in (kmer, self.shortest, self.longest))
        shares = all(type(share) is float and 0 <= share <= 1 for share in (self.near, self.chance))
        if not (
            integers
            and shares
            and 1 <= kmer <= MAX_KMER
            and 0 <= self.shortest <= self.longest
            and codes.dtype == np.uint8
            and codes.ndim == 2
            and codes.size
            and codes.max() <= UNKNOWN
        ):
            raise ValueError(
                'The applicability references of the model are damaged: they must be sequences and thresholds; train '
                'the model again.'
            )

    @property
    def numbers(self) -> dict[str, int | float]:
        """All but the sequences, {field: number}: JSON as it is, and ``References(codes, **numbers)`` is the same."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != 'codes'}

    def of_study(self, study: Study) -> Similarity:
        """Compare all ASVs of a study."""
        return self.similarity(study.codes, study.lengths)

    def similarity(self, codes_UL: np.ndarray, lengths_U: np.ndarray) -> Similarity:
        """Compare ASVs with the references.

        The similarity is the share of an ASV's distinct k-mers that the reference has too. A changed nucleotide
        touches at most k of them (Ukkonen 1992, doi:10.1016/0304-3975(92)90143-4), so that without any alignment it
        falls with the edit distance; a piece of a reference is as similar as the whole. Where in the sequence the
        k-mers stand does not matter. A truncated sequence is compared by what is left of it.

        Parameters
        ----------
        codes_UL : uint8 [U, L]
        lengths_U : int [U]

        Returns
        -------
        Similarity
        """
        similarity = np.zeros(len(codes_UL), dtype=np.float32)
        of_complement = np.zeros_like(similarity)
        references_RK = _profiles(self.codes, self.kmer)
        step = max(1, FLOATS // 4**self.kmer)
        for start in range(0, len(codes_UL), step):
            codes, lengths = codes_UL[start : start + step], lengths_U[start : start + step]
            similarity[start : start + step] = _similarity(codes, references_RK, self.kmer).max(axis=1)
            far = np.flatnonzero(similarity[start : start + step] < self.near)
            if len(far):
                complement = reverse_complement_codes(codes[far], lengths[far])
                of_complement[start + far] = _similarity(complement, references_RK, self.kmer).max(axis=1)
        near = similarity >= self.near
        complement = ~near & (of_complement > self.chance) & (of_complement > similarity)
        return Similarity(
            similarity,
            near,
            complement,
            ~near & ~complement & (similarity <= self.chance),
            (lengths_U < self.shortest) | (lengths_U > self.longest),
        )


def build_references(codes_UL: np.ndarray, lengths_U: np.ndarray, generator: np.random.Generator) -> References:
    """Choose references among training ASVs, and derive from these what is near.

    Up to 1,024 references are chosen one after the other, each the one that is least similar to those before (Gonzalez
    1985, doi:10.1016/0304-3975(85)90224-5), among up to 4,096 ASVs drawn at random. Near is as similar to a reference
    as 98 % of these ASVs are, none compared with itself. Chance is what 99 % of these ASVs stay below when
    they are reversed (not complemented), which keeps their composition and nothing else.

    Parameters
    ----------
    codes_UL : uint8 [U, L]
        Each distinct ASV of the training split once.
    lengths_U : int [U]
    generator : numpy.random.Generator

    Returns
    -------
    References
    """
    lengths_U = np.asarray(lengths_U)
    shortest, longest = np.quantile(lengths_U, LENGTHS)
    shortest = int(np.floor(shortest * (1 - LENGTH_TOLERANCE)))
    longest = int(np.ceil(longest * (1 + LENGTH_TOLERANCE)))
    # a single long sequence must not make the rows of all others as long
    width = min(codes_UL.shape[1], longest)
    kmer = _kmer_length(width)
    candidates = min(MAX_CANDIDATES, MAX_CANDIDATE_FLOATS // 4**kmer)
    if len(codes_UL) > candidates:
        drawn = np.sort(generator.choice(len(codes_UL), candidates, replace=False))
        codes_UL, lengths_U = codes_UL[drawn], lengths_U[drawn]
    codes_CL, lengths_C = np.ascontiguousarray(codes_UL[:, :width]), np.minimum(lengths_U, width)
    similarity_CC = _all_similarities(codes_CL, codes_CL, kmer)
    np.fill_diagonal(similarity_CC, 0.0)
    chosen = _spread_out(similarity_CC, MAX_REFERENCES)
    unrelated_CR = _all_similarities(reverse_codes(codes_CL, lengths_C), codes_CL[chosen], kmer)
    chance = float(np.quantile(unrelated_CR.max(axis=1), BY_CHANCE))
    usual = float(np.quantile(similarity_CC[:, chosen].max(axis=1), NOT_NEAR))
    return References(
        codes_CL[chosen],
        kmer,
        # a similarity by chance is never near, not even where training ASVs have nothing in common
        max(usual, chance),
        chance,
        shortest,
        longest,
    )


def _kmer_length(longest):
    kmer = 1
    while 4**kmer < MIN_KMERS_PER_POSITION * longest and kmer < MAX_KMER:
        kmer += 1
    return kmer


def _profiles(codes_UL, kmer):
    """Return which k-mers each sequence has, 0 or 1, float32 [U, K]; none that holds an unknown nucleotide."""
    profiles_UK = np.zeros((len(codes_UL), 4**kmer), dtype=np.float32)
    places = max(0, codes_UL.shape[1] - kmer + 1)
    number = np.zeros((len(codes_UL), places), dtype=np.int32)
    unambiguous = np.ones(number.shape, dtype=bool)
    for place in range(kmer):
        column = codes_UL[:, place : place + places]
        number = 4 * number + column - A
        unambiguous &= (column >= A) & (column <= T)
    profiles_UK[np.nonzero(unambiguous)[0], number[unambiguous]] = 1.0
    return profiles_UK


def _similarity(codes_UL, references_RK, kmer):
    """Return the share of the k-mers of each sequence that each reference has, float32 [U, R]; 0 where it has none."""
    profiles_UK = _profiles(codes_UL, kmer)
    return profiles_UK @ references_RK.T / np.maximum(profiles_UK.sum(axis=1, keepdims=True), 1.0)


def _all_similarities(codes_UL, references_RL, kmer):
    references_RK = _profiles(references_RL, kmer)
    step = max(1, FLOATS // 4**kmer)
    starts = range(0, len(codes_UL), step)
    return np.concatenate([_similarity(codes_UL[start : start + step], references_RK, kmer) for start in starts])


def _spread_out(similarity_CC, number):
    """Return up to `number` rows, sorted: the one most similar to all others, then each time the least similar one."""
    count = len(similarity_CC)
    if count <= number:
        return np.arange(count)
    chosen = [int(similarity_CC.sum(axis=0).argmax())]
    nearest = similarity_CC[:, chosen[0]].copy()
    nearest[chosen[0]] = np.inf
    while len(chosen) < number:
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, similarity_CC[:, chosen[-1]])
        nearest[chosen[-1]] = np.inf
    return np.sort(np.array(chosen))
