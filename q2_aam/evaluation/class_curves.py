"""Curves of predicted probabilities: ROC, precision and recall, reliability.

Shapes: S samples, T thresholds.
"""

import numpy as np
import pandas as pd

from .error_analysis import wilson_interval

# Points of a curve that is averaged over folds.
GRID = 101
MAX_BINS, SAMPLES_IN_BIN = 10, 25


def roc_curve(scores_S, positive_S):
    """Return (false positive rate [T], true positive rate [T]) as the threshold falls, from (0, 0) to (1, 1).

    Parameters
    ----------
    scores_S : float [S]
    positive_S : bool [S]
        There must be positive and negative samples.
    """
    true_T, false_T = _counts(scores_S, positive_S)
    return np.r_[0, false_T] / false_T[-1], np.r_[0, true_T] / true_T[-1]


def precision_recall_curve(scores_S, positive_S):
    """Return (recall [T], precision [T]) as the threshold falls; there must be a positive sample."""
    true_T, false_T = _counts(scores_S, positive_S)
    return true_T / true_T[-1], true_T / (true_T + false_T)


def _counts(scores_S, positive_S):
    """Return how many positive and negative samples lie at or above each distinct score, from the highest."""
    order = np.argsort(-np.asarray(scores_S), kind='stable')
    scores, positive = np.asarray(scores_S)[order], np.asarray(positive_S)[order]
    last = np.r_[np.flatnonzero(np.diff(scores)), len(scores) - 1]
    true = np.cumsum(positive)[last]
    return true, last + 1 - true


def roc_on_grid(scores_S, positive_S):
    """Return the true positive rate at GRID false positive rates from 0 to 1."""
    false, true = roc_curve(scores_S, positive_S)
    grid = np.linspace(0, 1, GRID)
    # the highest point of a vertical step; where it begins is (0, 0)
    values = np.interp(grid, false, true)
    steps = pd.Series(true).groupby(false).max()
    values[0] = steps.iloc[0]
    return values


def precision_on_grid(scores_S, positive_S):
    """Return the precision at GRID recalls from 0 to 1: the best that reaches each recall."""
    recall, precision = precision_recall_curve(scores_S, positive_S)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return best[np.searchsorted(recall, np.linspace(0, 1, GRID) - 1e-12)]


CURVES = {'roc': roc_on_grid, 'precision': precision_on_grid}


def curves_of_class(kind, scores, positive, folds=None):
    """Return one curve of a class, with a band over folds where there are folds.

    Parameters
    ----------
    kind : str
        A key of CURVES.
    scores, positive : [S]
    folds : [S], optional
        The band is the mean over folds plus and minus their standard deviation; folds of one kind of sample are left
        out. The curve itself is of all samples.

    Returns
    -------
    pandas.DataFrame
        Columns x, y, lower and upper; the last two are NaN without a band.
    """
    scores, positive = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    on_grid = CURVES[kind]
    frame = pd.DataFrame({'x': np.linspace(0, 1, GRID), 'y': on_grid(scores, positive)})
    frame['lower'] = frame['upper'] = np.nan
    if folds is not None:
        members = [np.asarray(folds) == fold for fold in np.unique(folds)]
        of_folds = [on_grid(scores[rows], positive[rows]) for rows in members if 0 < positive[rows].sum() < rows.sum()]
        if len(of_folds) > 1:
            mean, sd = np.mean(of_folds, axis=0), np.std(of_folds, axis=0, ddof=1)
            frame['lower'], frame['upper'] = np.clip(mean - sd, 0, 1), np.clip(mean + sd, 0, 1)
    return frame


def reliability(confidence_S, right_S):
    """Return how often predictions of like confidence are right.

    Parameters
    ----------
    confidence_S : float [S]
        Probability of the predicted class.
    right_S : bool [S]

    Returns
    -------
    pandas.DataFrame
        Columns confidence (mean of the bin), samples, value (share that is right), lower and upper. Bins hold as many
        samples each, since the ends of the range may have few.
    """
    confidence_S, right_S = np.asarray(confidence_S, dtype=np.float64), np.asarray(right_S, dtype=bool)
    count = int(np.clip(len(confidence_S) // SAMPLES_IN_BIN, 1, MAX_BINS))
    # equal confidences are in one bin
    bins = np.searchsorted(np.quantile(confidence_S, np.arange(1, count) / count), confidence_S, side='left')
    rows = []
    for number in np.unique(bins):
        inside = bins == number
        right, total = int(right_S[inside].sum()), int(inside.sum())
        rows.append((confidence_S[inside].mean(), total, right / total, *wilson_interval(right, total)))
    return pd.DataFrame(rows, columns=['confidence', 'samples', 'value', 'lower', 'upper'])
