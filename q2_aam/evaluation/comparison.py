"""Which of several methods is better on the same folds: figures, and paired differences with intervals."""

import dataclasses

import numpy as np
import pandas as pd
import scipy.stats

from q2_aam.stats.conformal import interval_figures

from .out_of_fold import OURS

COVERAGE = 0.95
DRAWS = 4000
# Cells of the table of draws by groups that are made at once.
CELLS = 2**20
# The smallest probability that a logarithm is taken of.
LEAST = 1e-15


def figures_of(found, method, rows):
    """Return {metric: value} over those of `rows` that `method` predicted, and how many these are.

    Parameters
    ----------
    found : q2_aam.evaluation.out_of_fold.OutOfFold
    method : str
    rows : int64 [rows]
    """
    rows = rows[~np.isnan(found.errors(method)[rows])]
    if not len(rows):
        return {}, 0
    of = class_figures if found.classes else number_figures
    figures = of(found.predicted[method][rows], found.true[rows])
    if method == OURS and found.bounds is not None and not np.isnan(found.bounds[rows]).any():
        lower, upper = found.bounds[rows].T
        figures |= interval_figures(lower, upper, found.true[rows])
    return figures, len(rows)


def number_figures(predicted, true):
    """Return mean and median absolute error, root mean squared error and, where `true` varies, R2."""
    errors = predicted - true
    found = {
        'mae': np.abs(errors).mean(),
        'median_absolute_error': np.median(np.abs(errors)),
        'rmse': np.sqrt((errors**2).mean()),
    }
    if np.ptp(true) > 0:
        found['r2'] = 1 - (errors**2).mean() / true.var()
    return found


def class_figures(probabilities, true):
    """Return accuracy, balanced accuracy, log loss and, where there are two classes or more, the area under the ROC.

    Balanced accuracy and area (one class against the rest) are means over the classes that are among `true`.
    """
    right = np.argmax(probabilities, axis=1) == true
    present = np.unique(true)
    shares = probabilities / probabilities.sum(axis=1, keepdims=True)
    own = np.maximum(shares[np.arange(len(true)), true.astype(int)], LEAST)
    found = {
        'accuracy': right.mean(),
        'balanced_accuracy': np.mean([right[true == one].mean() for one in present]),
        'log_loss': -np.log(own).mean(),
    }
    if len(present) > 1:
        found['roc_auc'] = np.mean([_area(shares[:, int(one)], true == one) for one in present])
    return found


def _area(scores, positive):
    """Return how often a positive sample scores above a negative one (ties count half): the Mann-Whitney statistic."""
    ranks, count = scipy.stats.rankdata(scores)[positive].sum(), positive.sum()
    return (ranks - count * (count + 1) / 2) / (count * (~positive).sum())


def best_baseline(found):
    """Return the baseline with the smallest mean error, on the samples of all that predicted half of them or more.

    None if there is no baseline.
    """
    errors = pd.DataFrame({method: found.errors(method, balanced=True) for method in list(found.predicted)[1:]})
    errors = errors.loc[:, errors.notna().mean() >= 0.5].dropna()
    return None if errors.empty else str(errors.mean().idxmin())


@dataclasses.dataclass(frozen=True)
class Difference:
    """Error of ours minus error of another method, both on `samples`; the bounds are NaN with fewer than 2 groups."""

    value: float
    lower: float
    upper: float
    samples: int
    ours: float
    other: float


def paired_difference(found, method, generator, balanced=False, coverage=COVERAGE):
    """Compare the errors of ours with those of `method`, sample by sample, with an interval that respects groups.

    Differences are averaged over repeats; then whole groups are drawn with replacement. Percentiles are widened as
    a t distribution is wider than a normal one (Hesterberg 2015, The American Statistician 69:371, "expanded
    percentile"), because with few groups plain ones are too narrow. What another training set would change is not
    in the interval.

    Parameters
    ----------
    found : OutOfFold
    method : str
    generator : numpy.random.Generator
    balanced : bool
        Whether every class counts the same.
    coverage : float

    Returns
    -------
    Difference
    """
    both = pd.DataFrame({'ours': found.errors(OURS, balanced), 'other': found.errors(method, balanced)}).dropna()
    rows = both.index
    both = both.groupby(found.sample_ids[rows]).mean()
    if both.empty:
        return Difference(np.nan, np.nan, np.nan, 0, np.nan, np.nan)
    group_of = dict(zip(found.sample_ids, found.groups))
    member = np.unique([str(group_of[name]) for name in both.index], return_inverse=True)[1]
    sums = np.bincount(member, both['ours'] - both['other'])
    means = both.mean()
    lower, upper = _interval(sums, np.bincount(member), generator, coverage)
    return Difference(means['ours'] - means['other'], lower, upper, len(both), means['ours'], means['other'])


def _interval(sums, sizes, generator, coverage):
    """Return the bounds of sum(sums) / sum(sizes) when groups are drawn with replacement."""
    groups = len(sums)
    if groups < 2:
        return np.nan, np.nan
    drawn, at_once = [], max(1, CELLS // groups)
    for start in range(0, DRAWS, at_once):
        chosen = generator.integers(groups, size=(min(at_once, DRAWS - start), groups))
        drawn.append(sums[chosen].sum(axis=1) / sizes[chosen].sum(axis=1))
    quantile = scipy.stats.t.ppf((1 - coverage) / 2, groups - 1) * np.sqrt(groups / (groups - 1))
    tail = scipy.stats.norm.cdf(quantile)
    return tuple(np.quantile(np.concatenate(drawn), [tail, 1 - tail]))
