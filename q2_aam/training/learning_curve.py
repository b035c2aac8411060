"""A learning curve from what is fitted in seconds: linear models and trees, each part of the groups by itself.

Shapes: N labelled samples, C ASVs, M members, O outputs.
"""

import dataclasses
import time

import numpy as np
import pandas as pd

from q2_aam import bundle
from q2_aam.data.log_abundances import log_abundances, most_common
from q2_aam.runtime.seeds import Stream, numpy_generator

from .members import QUICK_TREES, MemberData, deal, fit_extra_trees, fit_linear
from .prepare import FOLDS_TO_CHOOSE, MAX_ASVS_TO_CHOOSE, PreparedFit

SEED = 1
# Parts into which groups are dealt, each of which is cross-validated by itself, and what a part must have.
PARTS, MIN_GROUPS, MIN_SAMPLES = (8, 4, 2, 1), 5, 20
# Samples of which a learning curve is made; more are drawn, whole groups at a time.
MAX_SAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class LearningCurve:
    """Out-of-fold errors by the number of groups that were learned from.

    Attributes
    ----------
    errors : pandas.DataFrame
        By sample id: `group`; `guess`, the error of a guess; and, by number of parts into which the groups were dealt,
        the error. Of classes 1 for a wrong one, times a weight by which all classes count the same.
    linear, trees : float
        Seconds that linear models and trees took where there is one part.
    """

    errors: pd.DataFrame
    linear: float = 0.0
    trees: float = 0.0


def learning_curve(prepared: PreparedFit) -> LearningCurve:
    """Deal the groups to parts, and cross-validate each part by itself.

    Each sample is so predicted once at each size, by models that have learned from so many groups less.
    """
    labels, rows = prepared.labels, _some_groups(prepared.labels.groups)
    groups, values = labels.groups[rows], labels.values[rows]
    abundances = log_abundances(prepared.study, rows, prepared.augment)
    abundances = abundances[:, most_common(abundances, MAX_ASVS_TO_CHOOSE)]
    is_class = prepared.kind != bundle.REGRESSOR
    numbers = pd.factorize(values, sort=True)[0] if is_class else values.astype(np.float64)
    weights = _class_weights(numbers) if is_class else np.ones(len(rows))
    index = pd.Index([labels.sample_ids[row] for row in rows], name='id')
    errors = pd.DataFrame({'group': groups, 'guess': _guess(numbers, is_class) * weights}, index)
    seconds = {}
    for parts in PARTS:
        part = deal(groups, parts, numpy_generator(SEED, Stream.CHOICE, parts))
        members = [np.flatnonzero(part == number) for number in range(parts)]
        if not all(_is_enough(numbers[one], groups[one], is_class) for one in members):
            continue
        found = np.empty(len(rows))
        for one in members:
            found[one], seconds = _errors(abundances[one], numbers[one], groups[one], is_class)
        errors[parts] = found * weights
    return LearningCurve(errors, **seconds)


def _is_enough(numbers, groups, is_class):
    several = not is_class or len(set(numbers)) > 1
    return len(numbers) >= MIN_SAMPLES and len(set(groups)) >= MIN_GROUPS and several


def _class_weights(numbers):
    """Return the weight of each sample where every class counts the same, 1 in the mean, float64 [N]."""
    sizes = np.bincount(numbers)
    return len(numbers) / (len(sizes) * sizes[numbers])


def _some_groups(groups):
    """Return samples, sorted: all, or those of groups that are drawn."""
    names, group = np.unique(groups.astype(str), return_inverse=True)
    drawn = numpy_generator(SEED, Stream.CHOSEN).permutation(len(names))
    sizes = np.cumsum(np.bincount(group)[drawn])
    kept = drawn[: max(1, int(np.searchsorted(sizes, MAX_SAMPLES, side='right')))]
    return np.flatnonzero(np.isin(group, kept))


def _errors(abundances, numbers, groups, is_class):
    """Return out-of-fold errors of linear models and trees together, and the seconds that both took."""
    classes = int(numbers.max()) + 1 if is_class else 0
    fold = deal(groups, FOLDS_TO_CHOOSE, numpy_generator(SEED, Stream.CHOICE, 0))
    data = MemberData(abundances, numbers, classes, is_class, fold, np.arange(fold.max() + 1))
    seconds, outputs = {}, []
    for name, fit in (('linear', lambda: fit_linear(data)), ('trees', lambda: fit_extra_trees(data, QUICK_TREES))):
        began = time.monotonic()
        members = fit()
        seconds[name] = time.monotonic() - began
        if members is not None:
            made = data.out_of_fold(members.outputs(abundances))
            outputs.append(_log_shares(made) if is_class else made)
    mean = np.mean(outputs, axis=0)
    wrong = mean.argmax(axis=1) != numbers if is_class else np.abs(mean[:, 0] - numbers)
    return np.asarray(wrong, dtype=np.float64), seconds


def _log_shares(logits):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _guess(numbers, is_class):
    if is_class:
        # every class counts the same: of K of them, a guess is right in one of K cases
        return np.full(len(numbers), 1 - 1 / len(set(numbers)))
    return np.abs(numbers - np.median(numbers))
