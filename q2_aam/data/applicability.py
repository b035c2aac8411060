"""How well each sample is covered by what a model was trained on."""

import numpy as np
import pandas as pd

from .table import BLOCK, blocks_of

OK, REVERSED, OTHER_REGION, FEW_NEAR, OTHER_LENGTH, FEW_READS = (
    'ok', 'reversed', 'other_region', 'few_near', 'other_length', 'few_reads'
)  # fmt: skip
# of a sample that is in no study
NO_READS = 'no_reads'
# A sample is flagged by what most of its reads are.
MOST = 0.5
# An ASV of 5 % of a sample is missed by 100 reads in fewer than 1 of 100 cases (0.95**100).
ENOUGH_READS = 100
SHARES = {
    'share_of_reads_near': 'near',
    'share_of_reads_reversed': 'reversed',
    'share_of_reads_other_region': 'other_region',
    'share_of_reads_other_length': 'other_length',
}


def applicability(study, nearness, reading=None):
    """Return what share of each sample's reads is like what the model was trained on, and a flag.

    Parameters
    ----------
    study : q2_aam.data.study.Study
    nearness : q2_aam.data.references.Nearness
        One entry for each ASV of the study.
    reading : callable, optional
        See :func:`q2_aam.data.batches.make_batch`: shares are of the reads that are read.

    Returns
    -------
    pandas.DataFrame
        Index ``id``; columns share_of_reads_near, share_of_reads_reversed, share_of_reads_other_region,
        share_of_reads_other_length and flag: the first that is true of

        - reversed: half of the reads or more are in ASVs whose reverse complement is like those of training,
        - other_region: in ASVs that are like those of training in neither direction,
        - few_near: less than half are near ASVs of training,
        - other_length: half or more are in ASVs that are shorter or longer than those of training,
        - few_reads: fewer than 100 reads (not asked of proportions),
        - ok: none of these.
    """
    columns = {name: np.zeros(len(study)) for name in SHARES}
    for start, stop in blocks_of(study.offsets, BLOCK):
        own = slice(study.offsets[start], study.offsets[stop])
        offsets = study.offsets[start : stop + 1] - study.offsets[start]
        asvs, abundances = study.asvs[own], study.abundances[own]
        if reading is not None:
            keep, abundances = reading(abundances, offsets)
            abundances = np.where(keep, abundances, 0.0)
        total = np.add.reduceat(abundances, offsets[:-1], dtype=np.float64)
        for name, field in SHARES.items():
            hit = getattr(nearness, field)[asvs]
            columns[name][start:stop] = np.add.reduceat(abundances * hit, offsets[:-1], dtype=np.float64) / total
    # rounding of float32 shares
    columns = {name: np.minimum(values, 1.0) for name, values in columns.items()}
    columns['flag'] = _flags(columns, study.reads)
    return pd.DataFrame(columns, index=pd.Index(study.sample_ids, name='id'))


def _flags(shares, reads):
    # the reads of a table of proportions sum to 1
    counts = reads.max() > 1 + 1e-3
    return np.select(
        [
            shares['share_of_reads_reversed'] >= MOST,
            shares['share_of_reads_other_region'] >= MOST,
            shares['share_of_reads_near'] < MOST,
            shares['share_of_reads_other_length'] >= MOST,
            counts & (reads < ENOUGH_READS),
        ],
        [REVERSED, OTHER_REGION, FEW_NEAR, OTHER_LENGTH, FEW_READS],
        OK,
    ).astype(object)
