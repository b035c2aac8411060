"""Weights of samples in the loss, from a metadata column. Importable without torch."""

import warnings

import numpy as np
import pandas as pd

from q2_aam.errors import AAMWarning, UserError, counted, shown

from .categories import codes_of, learn_categories

MAX_WEIGHT = 1e6
# Weights that leave less than so many samples, and less than half of them, are warned of.
MIN_SAMPLES = 5


def weights_of(column: pd.Series, sample_ids: list[str], training: np.ndarray) -> np.ndarray:
    """Return the weight of each sample, float64 [samples]; their mean over training samples is 1.

    Parameters
    ----------
    column : pandas.Series
        Numbers by sample id.
    sample_ids : list of str
        Labelled samples.
    training : int64
        Which of them are training samples.

    Raises
    ------
    UserError
        If a sample has no weight, if one is below 0 or too large, or if those of all training samples are 0.

    Warns
    -----
    AAMWarning
        If next to nothing counts but a few samples, by their effective number (Kish 1965, Survey Sampling).
    """
    what = f'Metadata column {shown(column.name)} (sample_weights)'
    weights = column.reindex(sample_ids).astype(np.float64)
    if missing := list(weights.index[weights.isna()]):
        raise UserError(
            f'{what} has no value for {counted(len(missing), "labelled sample")} (e.g. {shown(missing[0])}); give '
            'every labelled sample a weight, 0 for one that is to teach nothing.'
        )
    wrong = weights.index[~((weights >= 0) & (weights <= MAX_WEIGHT))]
    if len(wrong):
        raise UserError(
            f'{what} must have weights from 0 to {MAX_WEIGHT:g}, but has {weights[wrong[0]]:g} for sample '
            f'{shown(wrong[0])}; correct it.'
        )
    mean = weights.to_numpy()[training].mean()
    if not mean > 0:
        raise UserError(f'{what} is 0 for all training samples, which could teach nothing; give some a weight above 0.')
    known = weights.to_numpy()[training] / mean
    effective = len(known) ** 2 / np.square(known).sum()
    if effective < min(MIN_SAMPLES, len(known) / 2):
        warnings.warn(
            f'{what} makes {counted(len(known), "training sample")} teach no more than {effective:.1f} would that all '
            'count the same; give more of them weight.',
            AAMWarning,
            stacklevel=2,
        )
    return weights.to_numpy() / mean


def weights_beside_fit(
    target: pd.Series,
    groups: np.ndarray,
    sample_weights: pd.Series | None,
    categories: pd.Series | None,
    of_classes: dict[str, float],
) -> np.ndarray | None:
    """Return the weights with which baselines learn beside a fit that has such weights, float64 [samples].

    A fit checks its weights itself. None where all samples count the same.

    Parameters
    ----------
    target : pandas.Series
        Numbers, or words (classes), of the samples that are learned from, by their ids.
    groups : object [samples]
    sample_weights : pandas.Series or None
        Of each sample, by its id.
    categories : pandas.Series or None
        Category of each sample by its id, where all categories are to count the same.
    of_classes : dict
        {class: weight}; empty where each sample of a class counts the same as of another.
    """
    ids = list(target.index)
    weights = np.ones(len(ids))
    if sample_weights is not None:
        weights = weights * sample_weights.reindex(ids).fillna(0.0).to_numpy(dtype=np.float64)
    if categories is not None:
        codes = codes_of(categories, ids, learn_categories(categories, ids, groups))
        weights = weights / np.maximum(np.bincount(codes), 1)[codes]
    if of_classes:
        weights = weights * target.map(of_classes).fillna(0.0).to_numpy(dtype=np.float64)
    if not weights.any() or (weights == weights[0]).all():
        return None
    return weights / weights.mean()
