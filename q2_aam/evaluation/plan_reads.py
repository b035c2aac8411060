"""Whether reads can carry a model: lengths, orientation, where they begin, depth, richness, and what samples share.

Shapes: A distinct ASVs of the study, L nucleotides, S samples, D offsets.
"""

import dataclasses

import numpy as np

from q2_aam.data.alignment import KMER, MAX_OFFSET, Aligner, kmers_of
from q2_aam.data.applicability import MAX_PROPORTION, MIN_READS
from q2_aam.data.harmonize import LETTERS, harmonize
from q2_aam.data.references import build_references
from q2_aam.data.sequences import reverse_complement_codes
from q2_aam.errors import counted, have, shown

from .plan import ERROR, NOTE, WARNING, Finding

# Share of the reads beyond which a fault is told; in ECAM there are none in reverse complement or at another start.
MAX_ODD = 0.02
# An ASV is of another length that differs so much from the median.
LENGTH_TOLERANCE, MAX_OTHER_LENGTH = 0.1, 0.05
# ASVs that are compared with each other, those with most reads, and the share of the k-mers of an ASV that stand in
# others at another place if it begins elsewhere.
MAX_COMPARED, MIN_SHIFTED = 4000, 0.9
# How often the majority orientation is sought.
ROUNDS = 4
# Reads of a sample in the median below which rare ASVs are lost.
SHALLOW = 1000
# ASVs of a sample in the median below which a table was collapsed, or holds few organisms.
FEW_ASVS = 5
# Mean share of the reads in ASVs of one sample (or group) alone, beyond which samples have little in common.
MAX_PRIVATE = 0.5
# Reads that a model must know.
MIN_NEAR = 0.5


@dataclasses.dataclass(frozen=True)
class Shared:
    """What samples have in common.

    Attributes
    ----------
    in_samples : int64 [A]
        In how many samples each ASV is.
    private : float64 [S]
        Share of the reads of each sample in ASVs that no other sample has.
    private_to_group : float64 [S]
        The same of ASVs that no other group has; `private` where there are no groups.
    """

    in_samples: np.ndarray
    private: np.ndarray
    private_to_group: np.ndarray


def shared_asvs(study, groups):
    """Return what the samples of a study share.

    Parameters
    ----------
    study : q2_aam.data.study.Study
    groups : object [S]
        Names; a sample without one is its own.
    """
    sample = np.repeat(np.arange(len(study)), study.richness)
    in_samples = np.bincount(study.asvs, minlength=len(study.codes))
    _, group = np.unique(groups.astype(str), return_inverse=True)
    pairs = np.unique(study.asvs.astype(np.int64) * (group.max() + 1) + group[sample])
    in_groups = np.bincount(pairs // (group.max() + 1), minlength=len(study.codes))

    def share(alone):
        return np.bincount(sample, study.abundances * alone[study.asvs], minlength=len(study))

    return Shared(in_samples, share(in_samples == 1), share(in_groups == 1))


def check_depth(study, without_reads, shared, grouped):
    """Return findings on reads and ASVs of samples.

    Parameters
    ----------
    study : q2_aam.data.study.Study
    without_reads : list of str
        Samples of the table that are not in the study.
    shared : Shared
    grouped : bool
    """
    found = []
    if without_reads:
        found.append(
            Finding(
                NOTE, 'no_reads', 'table',
                f'{counted(len(without_reads), "sample")} {have(len(without_reads))} no reads (e.g. '
                f'{shown(without_reads[0])}).', 'They are ignored.',
            )
        )  # fmt: skip
    if study.reads.max() > MAX_PROPORTION:
        shallow = np.flatnonzero(study.reads < MIN_READS)
        if len(shallow):
            found.append(
                Finding(
                    WARNING, 'shallow', 'table',
                    f'{counted(len(shallow), "sample")} of {len(study):,} {have(len(shallow))} fewer than {MIN_READS} '
                    f'reads (e.g. {shown(study.sample_ids[shallow[0]])}: {study.reads[shallow[0]]:,.0f}), which miss '
                    'rare ASVs.',
                    'Leave them out (feature-table filter-samples), or expect large errors for them.',
                )
            )  # fmt: skip
        elif np.median(study.reads) < SHALLOW:
            found.append(
                Finding(
                    NOTE, 'shallow', 'table', f'Half of the samples have {np.median(study.reads):,.0f} reads or less.',
                    'Do not rarefy further: fitting and predicting labels need no rarefaction.',
                )
            )  # fmt: skip
    if np.median(study.richness) < FEW_ASVS:
        found.append(
            Finding(
                WARNING, 'few_asvs', 'table',
                f'Half of the samples have {np.median(study.richness):.0f} ASVs or fewer.',
                'Give a table of ASVs, neither collapsed by taxonomy nor filtered to a few features.',
            )
        )  # fmt: skip
    private = shared.private_to_group.mean()
    if len(study) > 1 and private > MAX_PRIVATE:
        found.append(
            Finding(
                WARNING, 'private_asvs', 'table',
                f'On average {100 * private:.0f} % of the reads of a sample are in ASVs that no other '
                f'{"group" if grouped else "sample"} has.',
                'Check that all samples were processed alike: new features are known by their clades, if at all.'
                if study.named
                else 'Check that all samples were denoised and trimmed alike. If they were, give an encoder: it reads '
                'ASVs that it has never seen.',
            )
        )  # fmt: skip
    return found


def check_lengths(study, weights):
    """Return findings on lengths of sequences; `weights` are the shares of all reads of the ASVs, float64 [A]."""
    median = _weighted_median(study.lengths, weights)
    other = np.abs(study.lengths - median) > LENGTH_TOLERANCE * median
    share = weights[other].sum()
    if share <= MAX_OTHER_LENGTH:
        return []
    return [
        Finding(
            WARNING, 'lengths', 'sequences',
            f'{100 * share:.0f} % of the reads are in {counted(int(other.sum()), "ASV")} whose length is more than '
            f'{100 * LENGTH_TOLERANCE:.0f} % away from the median, {median:.0f} nucleotides ({study.lengths.min()} to '
            f'{study.lengths.max()}).',
            'Trim all reads alike. A marker gene whose length varies (ITS) is read as it is.',
        )
    ]  # fmt: skip


def _weighted_median(values, weights):
    order = np.argsort(values, kind='stable')
    return float(values[order][np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)])


def reverse_complements(study, weights, generator):
    """Return which ASVs are reverse complements to the majority of reads, bool [A].

    Orientation is relative: from the ASV with most reads on, each ASV is turned to how it resembles those that were
    turned before; then references are made of the majority, and the rest is compared with these.
    """
    complements = reverse_complement_codes(study.codes, study.lengths)
    some = _most_reads(weights)
    turned = np.zeros(len(study.codes), dtype=bool)
    known = some[:1]
    for _ in range(ROUNDS):
        codes = np.where(turned[known, None], complements[known], study.codes[known])
        forward, backward = _in_common(study.codes[some], codes), _in_common(complements[some], codes)
        turned[some] = backward > forward
        known = some[(backward != forward) | np.isin(some, known)]
    if weights[turned].sum() > weights[some].sum() / 2:
        turned[some] = ~turned[some]
    majority = some[~turned[some]]
    references = build_references(study.codes[majority], study.lengths[majority], generator)
    return references.similarity(study.codes, study.lengths).reverse_complement


def _most_reads(weights):
    return np.argsort(-weights, kind='stable')[:MAX_COMPARED]


def _in_common(codes, others):
    """Return how many k-mers of each sequence are in any of the others, int64."""
    numbers, unambiguous = kmers_of(codes)
    known, certain = kmers_of(others)
    return (np.isin(numbers, np.unique(known[certain])) & unambiguous).sum(axis=1)


def check_orientation(study, weights, generator):
    """Return findings on reads in two orientations."""
    turned = reverse_complements(study, weights, generator)
    share = weights[turned].sum()
    if share <= MAX_ODD:
        return []
    example = study.feature_ids[int(np.flatnonzero(turned)[weights[turned].argmax()])]
    return [
        Finding(
            WARNING, 'orientation', 'sequences',
            f'{100 * share:.0f} % of the reads, in {counted(int(turned.sum()), "ASV")} (e.g. {shown(example)}), are '
            'reverse complements of what the others are.',
            'Bring all reads into one orientation before denoising (q2-rescript orient-seqs, cutadapt --revcomp).',
        )
    ]  # fmt: skip


def starts(study, weights):
    """Return by how many nucleotides each ASV begins later than others that it agrees with, int64 [A]; mostly 0.

    An ASV of one run that begins elsewhere has nearly all of its k-mers in ASVs of another run, all of them as many
    places away. Where ASVs begin that most reads are in, is 0.
    """
    some = _most_reads(weights)
    codes = study.codes[some]
    votes = Aligner(codes, 0).votes(codes)
    possible = np.maximum(1, study.lengths[some, None] - KMER + 1 - np.abs(np.arange(-MAX_OFFSET, MAX_OFFSET + 1)))
    agree = votes >= MIN_SHIFTED * possible
    # every ASV is at its own place
    agree[:, MAX_OFFSET] = False
    later = np.zeros(len(study.codes), dtype=np.int64)
    for offset in np.unique(np.flatnonzero(agree.any(axis=0)) - MAX_OFFSET):
        if offset <= 0:
            continue
        # those that begin later, and those that begin earlier, by as much
        after, before = some[agree[:, MAX_OFFSET + offset]], some[agree[:, MAX_OFFSET - offset]]
        rare, sign = (after, 1) if weights[after].sum() <= weights[before].sum() else (before, -1)
        later[rare[later[rare] == 0]] = sign * offset
    return later


def check_starts(study, weights):
    """Return findings on reads that begin at several places."""
    later = starts(study, weights)
    share = weights[later != 0].sum()
    if share <= MAX_ODD:
        return []
    offsets, inverse = np.unique(later, return_inverse=True)
    by_offset = np.bincount(inverse, weights)
    by_offset[offsets == 0] = 0
    most = int(offsets[by_offset.argmax()])
    example = study.feature_ids[int(np.flatnonzero(later == most)[weights[later == most].argmax()])]
    return [
        Finding(
            WARNING, 'offset', 'sequences',
            f'{100 * share:.0f} % of the reads are in ASVs that begin elsewhere than others of the same sequence, most '
            f'of them {counted(abs(most), "nucleotide")} {"later" if most > 0 else "earlier"} (e.g. {shown(example)}): '
            'one organism has several ASVs.',
            'Trim all runs at the same place before denoising.',
        )
    ]  # fmt: skip


def check_encoder(study, weights, references, max_length):
    """Return findings on reads that an encoder has not learned to read.

    Parameters
    ----------
    study : q2_aam.data.study.Study
        With whole sequences.
    weights : float64 [A]
    references : q2_aam.data.references.References or None
        Of the encoder; those of older encoders have none.
    max_length : int
        Nucleotides that it reads.
    """
    found = []
    longer = study.lengths > max_length
    if longer.any():
        found.append(
            Finding(
                WARNING, 'truncated', 'encoder',
                f'The encoder reads {max_length:,} nucleotides of a sequence; {100 * weights[longer].sum():.0f} % of '
                f'the reads are in {counted(int(longer.sum()), "ASV")} that are longer.',
                'Trim to the length that it was pretrained on, or pretrain on these data.',
            )
        )  # fmt: skip
    if references is None:
        return found
    similar = references.similarity(study.codes, study.lengths)
    for fault, which, words, action in (
        ('orientation', similar.reverse_complement, 'reverse complements of what the encoder has read',
         'Bring them into its orientation.'),
        ('other_region', similar.other_region, 'unlike anything that the encoder has read',
         'Use an encoder of the same region and primers, or pretrain on these data.'),
    ):  # fmt: skip
        share = weights[which].sum()
        if share > MAX_ODD and (fault == 'orientation' or share > 1 - MIN_NEAR):
            found.append(
                Finding(
                    WARNING if share < 1 - MIN_NEAR else ERROR, fault, 'encoder',
                    f'{100 * share:.0f} % of the reads are {words}.', action,
                )
            )  # fmt: skip
    near = weights[similar.near].sum()
    if near < MIN_NEAR and not found:
        found.append(
            Finding(
                WARNING, 'few_near', 'encoder', f'Only {100 * near:.0f} % of the reads are near what it has read.',
                'Pretrain on these data, with those of the encoder if you have them.',
            )
        )  # fmt: skip
    return found + _offset_of_encoder(study, weights, references)


def _offset_of_encoder(study, weights, references):
    # a fit reads sequences as they are
    sequences = [''.join(LETTERS[codes[codes > 0]]) for codes in study.codes]
    harmonized = harmonize(sequences, references)
    if harmonized is None:
        return []
    moved = harmonized.offset != 0
    share = weights[moved].sum()
    if share <= MAX_ODD:
        return []
    offsets, inverse = np.unique(harmonized.offset[moved], return_inverse=True)
    most = int(offsets[np.bincount(inverse, weights[moved]).argmax()])
    return [
        Finding(
            WARNING, 'offset', 'encoder',
            f'{100 * share:.0f} % of the reads begin elsewhere than those of the encoder, most of them '
            f'{counted(abs(most), "nucleotide")} {"later" if most > 0 else "earlier"}.',
            'Trim them where its reads begin; a fit reads sequences as they are.',
        )
    ]  # fmt: skip
