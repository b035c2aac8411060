"""How well each sample is covered by the training ASVs of a model."""

import numpy as np
import pandas as pd

from q2_aam.stats.familiarity import group_quantile

from .augmentation import Augment
from .references import Similarity
from .study import Study
from .table import BLOCK, blocks_of

OK, REVERSE_COMPLEMENT, OTHER_REGION, OTHER_TRIMMING, FEW_NEAR, OTHER_LENGTH, FEW_READS = (
    'ok', 'reverse_complement', 'other_region', 'other_trimming', 'few_near', 'other_length', 'few_reads'
)  # fmt: skip
LOW_COVERAGE, UNLIKE_TRAINING = 'low_vocabulary_coverage', 'unlike_training'
# of a sample that is in no study
NO_READS = 'no_reads'
# A sample is flagged by what the majority of its reads is.
MAJORITY = 0.5
# An ASV of 5 % of a sample is missed by 100 reads in fewer than 1 of 100 cases (0.95**100).
MIN_READS = 100
# Sums of counts are whole numbers up to this much, relative to the sum; those of proportions are below this.
WHOLE, MAX_PROPORTION = 1e-6, 1.5
# Familiarity beyond which a sample is unlike training samples: in 16 studies 2.5 % of the samples of left-out groups
# are (4.2 % at most), and 88 % of those of other studies; beyond 1.25 it would be 4.6 % (6.2 %) and 93 %.
MAX_FAMILIARITY = 1.5
# How far coverage may fall short of the median of left-out groups, in units of their 95 % quantile, which is taken to
# be this much at least. It must do so by logarithms and by reads: of samples of other studies 93 % do by logarithms,
# but so do all with sequencing errors (rare ASVs count for much); by reads, many do if the commonest ASV has one. By
# both, 0.4 % of the samples of left-out groups do (2.5 % at most), 1 % of those with 1 % errors, and 78 % of those of
# other studies; together with familiarity 2.5 % (4.2 %), 8 % and 93 %.
MAX_SHORTFALL, MIN_SHORTFALL, SHORTFALL_SHARE = 2.0, 0.05, 0.95
SHARES = {
    'share_of_reads_near': 'near',
    'share_of_reads_reverse_complement': 'reverse_complement',
    'share_of_reads_other_region': 'other_region',
    'share_of_reads_other_length': 'other_length',
}


def applicability(
    study: Study,
    similarity: Similarity,
    augment: Augment | None = None,
    other_trimming: np.ndarray | None = None,
    *,
    vocabulary_coverage: np.ndarray | None = None,
    share_of_reads_in_vocabulary: np.ndarray | None = None,
    familiarity: np.ndarray | None = None,
    disagreement: np.ndarray | None = None,
    min_coverage: tuple[float, float] = (0.0, 0.0),
    proportions: bool | None = None,
) -> pd.DataFrame:
    """Return what share of each sample's reads is similar to the training ASVs of a model, and a flag.

    Parameters
    ----------
    study : q2_aam.data.study.Study
    similarity : q2_aam.data.references.Similarity
        One entry for each ASV of the study.
    augment : callable, optional
        See :func:`q2_aam.data.batches.draw_samples`: shares are of the reads that it keeps.
    other_trimming : float64 [samples], optional
        Share of reads that begin elsewhere than training ASVs and could be read as none of them.
    vocabulary_coverage : float64 [samples], optional
        Share of each sample in ASVs of the vocabulary, as the abundance ensemble weighs them: by logarithms.
    share_of_reads_in_vocabulary : float64 [samples], optional
        The same by reads.
    familiarity : float64 [samples], optional
        Distance from training samples (:mod:`q2_aam.stats.familiarity`); NaN where there is no telling.
    disagreement : float64 [samples], optional
        How far the members of the abundance ensemble are apart.
    min_coverage : (float, float)
        Least coverage by logarithms and by reads (:func:`least_coverage` of each).
    proportions : bool, optional
        Whether the artifact holds relative frequencies. By default each sample tells by itself: it holds proportions
        where its abundances do not sum to a whole number, or to about 1. That suffices: counts sum to a whole number,
        even where a read was shared among several ASVs, and one read in all, which sums to 1 like proportions, is the
        only sample of counts that is taken for something else; percentages sum to 100, which are not few.

    Returns
    -------
    pandas.DataFrame
        Index ``id``; columns share_of_reads_near, share_of_reads_reverse_complement, share_of_reads_other_region,
        share_of_reads_other_length; those of vocabulary_coverage, share_of_reads_in_vocabulary, familiarity and
        disagreement that are given; and flag: the first that is true of

        - reverse_complement: at least half of the reads are in ASVs whose reverse complement is similar to training
          ASVs,
        - other_region: in ASVs that are similar to training ASVs in neither orientation,
        - other_trimming: in ASVs that begin elsewhere than training ASVs and could be read as none of them,
        - few_near: less than half are near training ASVs,
        - other_length: at least half are in ASVs that are shorter or longer than training ASVs,
        - few_reads: fewer than 100 reads (not asked of proportions),
        - low_vocabulary_coverage: less of the sample is in ASVs of the vocabulary than of left-out groups is, by
          logarithms and by reads alike,
        - unlike_training: it lies more than 1.5 times as far from the training samples as 95 % of left-out groups,
        - ok: none of these.
    """
    columns = {name: np.zeros(len(study)) for name in SHARES}
    for start, stop in blocks_of(study.offsets, BLOCK):
        inside = slice(study.offsets[start], study.offsets[stop])
        offsets = study.offsets[start : stop + 1] - study.offsets[start]
        asvs, abundances = study.asvs[inside], study.abundances[inside]
        if augment is not None:
            keep, abundances = augment(abundances, offsets)
            abundances = np.where(keep, abundances, 0.0)
        total = np.add.reduceat(abundances, offsets[:-1], dtype=np.float64)
        for name, field in SHARES.items():
            counts = abundances * getattr(similarity, field)[asvs]
            columns[name][start:stop] = np.add.reduceat(counts, offsets[:-1], dtype=np.float64) / total
    # rounding of float32 shares
    columns = {name: np.minimum(values, 1.0) for name, values in columns.items()}
    nothing = np.zeros(len(study))
    coverage = vocabulary_coverage, share_of_reads_in_vocabulary
    more = {
        OTHER_TRIMMING: (nothing if other_trimming is None else other_trimming) >= MAJORITY,
        FEW_READS: _few_reads(study.reads, proportions),
        LOW_COVERAGE: np.logical_and.reduce(
            [nothing > 0 if share is None else share < least for share, least in zip(coverage, min_coverage)]
        ),
        UNLIKE_TRAINING: (nothing if familiarity is None else familiarity) > MAX_FAMILIARITY,
    }
    given = {
        'vocabulary_coverage': vocabulary_coverage, 'share_of_reads_in_vocabulary': share_of_reads_in_vocabulary,
        'familiarity': familiarity, 'disagreement': disagreement,
    }  # fmt: skip
    flags = _flags(columns, more)
    columns |= {name: values for name, values in given.items() if values is not None}
    return pd.DataFrame(columns | {'flag': flags}, index=pd.Index(study.sample_ids, name='id'))


def least_coverage(coverage: np.ndarray, groups: np.ndarray) -> float:
    """Return the least coverage that is not low, by logarithms or by reads, from that of left-out groups.

    What is not covered may be twice as far above its median as the 95 % quantile is, each group counting once, and 0.1
    above it in any case. That depends on the study: its ASVs may be shared by all groups or by few.

    Parameters
    ----------
    coverage : float64 [N]
        Share of each labelled sample in ASVs that the member knows that left its group out.
    groups : array [N]

    Returns
    -------
    float
        From 0 to 1.
    """
    missing = 1 - np.asarray(coverage, dtype=np.float64)
    median, high = (group_quantile(missing, groups, share) for share in (0.5, SHORTFALL_SHARE))
    return float(np.clip(1 - median - MAX_SHORTFALL * max(high - median, MIN_SHORTFALL), 0, 1))


def _few_reads(reads, proportions):
    """Return whether samples have few reads, each by itself."""
    if proportions is None:
        counts = (np.abs(reads - np.rint(reads)) <= WHOLE * reads) & (reads > MAX_PROPORTION)
    else:
        counts = not proportions
    return counts & (reads < MIN_READS)


def _flags(shares, more):
    flags = {
        REVERSE_COMPLEMENT: shares['share_of_reads_reverse_complement'] >= MAJORITY,
        OTHER_REGION: shares['share_of_reads_other_region'] >= MAJORITY,
        OTHER_TRIMMING: more[OTHER_TRIMMING],
        FEW_NEAR: shares['share_of_reads_near'] < MAJORITY,
        OTHER_LENGTH: shares['share_of_reads_other_length'] >= MAJORITY,
        FEW_READS: more[FEW_READS],
        LOW_COVERAGE: more[LOW_COVERAGE],
        UNLIKE_TRAINING: more[UNLIKE_TRAINING],
    }
    return np.select(list(flags.values()), list(flags), OK).astype(object)
