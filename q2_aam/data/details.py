"""Prediction details: one row a sample, with its split, what is predicted for it and what of it was read."""

import collections.abc

import numpy as np
import pandas as pd

from .augmentation import Augment
from .study import Study

# Before the name of a class: the column of its probability.
PROBABILITY = 'probability_'
# Before the level of a quantile: its column.
QUANTILE = 'quantile_'
# Columns of the prediction interval.
LOWER, UPPER = 'lower_bound', 'upper_bound'


def details_of(
    study: Study,
    parts: np.ndarray,
    predicted: collections.abc.Mapping[str, np.ndarray],
    true: np.ndarray | None = None,
    augment: Augment | None = None,
) -> pd.DataFrame:
    """Return one row a sample: its split, what is predicted for it and what of it was read.

    Parameters
    ----------
    study : q2_aam.data.study.Study
    parts : object [samples]
        The split of each sample, or ``'new'``.
    predicted : dict
        {column: [samples]}, with ``prediction`` among them.
    true : [samples], optional
        Numbers or names of classes.
    augment : callable, optional
        See :func:`q2_aam.data.batches.draw_samples`.

    Returns
    -------
    pandas.DataFrame
        Index ``id``; columns part, prediction, true, the others of `predicted`, reads_used, asvs_used, asvs_truncated
        (longer than the model reads), share_of_reads_truncated (share of reads in those), share_of_reads_left_out (in
        ASVs beyond max_asvs_per_sample) and, where the model reads covariates, covariates_unknown (how many are).
    """
    asvs_truncated, share_truncated = study.truncated_share()
    kept = np.ones(len(study.asvs), dtype=bool) if augment is None else augment(study.abundances, study.offsets)[0]
    richness = np.add.reduceat(kept.astype(np.int64), study.offsets[:-1])
    left_out = np.add.reduceat(study.abundances * ~kept, study.offsets[:-1], dtype=np.float64)
    return pd.DataFrame(
        {
            'part': parts,
            'prediction': predicted['prediction'],
            'true': np.full(len(study), np.nan) if true is None else true,
            **predicted,
            'reads_used': study.reads,
            'asvs_used': richness,
            'asvs_truncated': asvs_truncated,
            'share_of_reads_truncated': share_truncated,
            'share_of_reads_left_out': left_out,
            **({} if study.covariates is None else {'covariates_unknown': study.covariates.unknown}),
        },
        index=pd.Index(study.sample_ids, name='id'),
    )


def probabilities_of(classes: collections.abc.Sequence[str], details: pd.DataFrame) -> pd.DataFrame:
    """Return the probabilities in details as a table of their own, one column a class, by its name."""
    return details[[PROBABILITY + name for name in classes]].set_axis(list(classes), axis=1)
