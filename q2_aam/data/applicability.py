"""How well each sample is covered by the training ASVs of a model."""

import numpy as np
import pandas as pd

from .augmentation import Augment
from .references import Similarity
from .study import Study
from .table import BLOCK, blocks_of

OK, REVERSE_COMPLEMENT, OTHER_REGION, OTHER_TRIMMING, FEW_NEAR, OTHER_LENGTH, FEW_READS = (
    'ok', 'reverse_complement', 'other_region', 'other_trimming', 'few_near', 'other_length', 'few_reads'
)  # fmt: skip
# of a sample that is in no study
NO_READS = 'no_reads'
# A sample is flagged by what the majority of its reads is.
MAJORITY = 0.5
# An ASV of 5 % of a sample is missed by 100 reads in fewer than 1 of 100 cases (0.95**100).
MIN_READS = 100
SHARES = {
    'share_of_reads_near': 'near',
    'share_of_reads_reverse_complement': 'reverse_complement',
    'share_of_reads_other_region': 'other_region',
    'share_of_reads_other_length': 'other_length',
}


def applicability(
    study: Study, similarity: Similarity, augment: Augment | None = None, other_trimming: np.ndarray | None = None
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

    Returns
    -------
    pandas.DataFrame
        Index ``id``; columns share_of_reads_near, share_of_reads_reverse_complement, share_of_reads_other_region,
        share_of_reads_other_length and flag: the first that is true of

        - reverse_complement: at least half of the reads are in ASVs whose reverse complement is similar to training
          ASVs,
        - other_region: in ASVs that are similar to training ASVs in neither orientation,
        - other_trimming: in ASVs that begin elsewhere than training ASVs and could be read as none of them,
        - few_near: less than half are near training ASVs,
        - other_length: at least half are in ASVs that are shorter or longer than training ASVs,
        - few_reads: fewer than 100 reads (not asked of proportions),
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
    columns['flag'] = _flags(columns, study.reads, np.zeros(len(study)) if other_trimming is None else other_trimming)
    return pd.DataFrame(columns, index=pd.Index(study.sample_ids, name='id'))


def _flags(shares, reads, other_trimming):
    # the reads of a table of proportions sum to 1
    are_counts = reads.max() > 1 + 1e-3
    return np.select(
        [
            shares['share_of_reads_reverse_complement'] >= MAJORITY,
            shares['share_of_reads_other_region'] >= MAJORITY,
            other_trimming >= MAJORITY,
            shares['share_of_reads_near'] < MAJORITY,
            shares['share_of_reads_other_length'] >= MAJORITY,
            are_counts & (reads < MIN_READS),
        ],
        [REVERSE_COMPLEMENT, OTHER_REGION, OTHER_TRIMMING, FEW_NEAR, OTHER_LENGTH, FEW_READS],
        OK,
    ).astype(object)
