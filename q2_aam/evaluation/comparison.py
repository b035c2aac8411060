"""Which of several methods is better on the same folds: metrics, and paired differences with intervals.

Shapes: S samples, G groups of them, K classes.
"""

import dataclasses

import numpy as np
import pandas as pd
import scipy.special

from q2_aam.stats.metrics import classification_metrics, interval_metrics, regression_metrics

from .out_of_fold import OURS

COVERAGE = 0.95
DRAWS = 4000
# Cells of the table of draws by groups that are made at once.
CELLS = 2**20


def metrics_of(out_of_fold, method, rows):
    """Score a method on those of `rows` that it predicted.

    Parameters
    ----------
    out_of_fold : q2_aam.evaluation.out_of_fold.OutOfFold
    method : str
    rows : int64 [rows]

    Returns
    -------
    metrics : dict
        {metric: value}; metrics that are not defined on these rows are left out.
    samples : int
        How many of the rows it predicted.
    """
    rows = rows[~np.isnan(out_of_fold.errors(method)[rows])]
    if not len(rows):
        return {}, 0
    score = classification_metrics if out_of_fold.classes else regression_metrics
    metrics = score(out_of_fold.predicted[method][rows], out_of_fold.true[rows])
    if method == OURS and out_of_fold.bounds is not None and not np.isnan(out_of_fold.bounds[rows]).any():
        lower, upper = out_of_fold.bounds[rows].T
        metrics |= interval_metrics(lower, upper, out_of_fold.true[rows])
    return {name: value for name, value in metrics.items() if not np.isnan(value)}, len(rows)


def best_baseline(out_of_fold):
    """Return the baseline with the smallest mean error, on the samples of all that predicted half of them or more.

    Every class has the same weight, however many of these samples it has. None if there is no baseline.
    """
    errors = pd.DataFrame({method: out_of_fold.errors(method) for method in out_of_fold.baselines})
    errors = errors.loc[:, errors.notna().mean() >= 0.5].dropna()
    if errors.empty:
        return None
    if out_of_fold.classes:
        errors = errors.groupby(out_of_fold.true[errors.index]).mean()
    return str(errors.mean().idxmin())


@dataclasses.dataclass(frozen=True)
class Difference:
    """Error of ours minus error of another method, both on `samples`; the bounds are NaN with fewer than 2 groups."""

    value: float
    lower: float
    upper: float
    samples: int
    ours: float
    other: float


def paired_difference(out_of_fold, method, generator, balanced=False, coverage=COVERAGE):
    """Compare the errors of ours with those of `method`, sample by sample, with an interval that respects groups.

    Differences are averaged over repeats; then whole groups are drawn with replacement. Percentiles are widened as
    a t distribution is wider than a normal one (Hesterberg 2015, The American Statistician 69:371, "expanded
    percentile"), because with few groups plain ones are too narrow. What another training set would change is not
    in the interval.

    Parameters
    ----------
    out_of_fold : OutOfFold
    method : str
    generator : numpy.random.Generator
    balanced : bool
        Whether to average over samples within each class, then over classes: those of the samples that both predicted
        and, in a draw of groups, those that are in the draw.
    coverage : float

    Returns
    -------
    Difference
    """
    errors = np.stack([out_of_fold.errors(name) for name in (OURS, method)])
    rows = np.flatnonzero(~np.isnan(errors).any(axis=0))
    if not len(rows):
        return Difference(np.nan, np.nan, np.nan, 0, np.nan, np.nan)
    _, first, sample = np.unique(out_of_fold.sample_ids[rows], return_index=True, return_inverse=True)
    ours_S, other_S = (np.bincount(sample, one) / np.bincount(sample) for one in errors[:, rows])
    first = rows[first]
    group_S = np.unique(out_of_fold.groups[first].astype(str), return_inverse=True)[1]
    class_S = np.unique(out_of_fold.true[first], return_inverse=True)[1] if balanced else np.zeros(len(first), int)

    def total_GK(values):
        sums = np.zeros((group_S.max() + 1, class_S.max() + 1))
        np.add.at(sums, (group_S, class_S), values)
        return sums

    sizes_GK, ours_GK, other_GK = total_GK(1), total_GK(ours_S), total_GK(other_S)
    ours, other = (float((sums.sum(axis=0) / sizes_GK.sum(axis=0)).mean()) for sums in (ours_GK, other_GK))
    lower, upper = interval_of_ratios(ours_GK - other_GK, sizes_GK, generator, coverage)
    return Difference(ours - other, lower, upper, len(first), ours, other)


def interval_of_ratios(sums_GK, sizes_GK, generator, coverage):
    """Return the bounds of the mean over classes of sum(sums) / sum(sizes) when groups are drawn with replacement."""
    groups = len(sums_GK)
    if groups < 2:
        return np.nan, np.nan
    means, at_once = [], max(1, CELLS // groups)
    for start in range(0, DRAWS, at_once):
        draws = min(at_once, DRAWS - start)
        drawn = generator.integers(groups, size=(draws, groups)) + groups * np.arange(draws)[:, None]
        times = np.bincount(drawn.ravel(), minlength=draws * groups).reshape(draws, groups).astype(np.float64)
        with np.errstate(invalid='ignore'):
            # a class that has no sample in a draw is NaN there
            means.append(np.nanmean((times @ sums_GK) / (times @ sizes_GK), axis=1))
    quantile = scipy.special.stdtrit(groups - 1, (1 - coverage) / 2) * np.sqrt(groups / (groups - 1))
    tail = scipy.special.ndtr(quantile)
    lower, upper = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(lower), float(upper)
