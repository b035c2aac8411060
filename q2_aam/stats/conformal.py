"""Conformal prediction intervals: how far off predictions were on samples that the model had not learned from.

Shapes: N calibration samples, M members (models that each left out some of these), B samples to predict.
"""

import dataclasses
import warnings

import numpy as np

from q2_aam.errors import AAMWarning

# Floats of members' predictions plus scores that are held at a time, 32 MB.
FLOATS = 2**22
# What sums of weights may be off by, relative to the sum.
ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What prediction intervals are made from. It holds no ids, and is plain numbers and lists: JSON as it is.

    Attributes
    ----------
    scores : list of float
        Absolute errors, sorted, each divided by the difficulty of its sample where there is one. [N]
    group : list of int
        Number of the group of each score, from 0 in the order in which groups first have one. Groups (samples, where
        there are no groups) are exchangeable with that of a new sample. [N]
    members : list of int or None
        For CV+ the member that had not learned from the sample. [N]
    by_difficulty : bool
        Whether scores are in units of a difficulty.
    """

    scores: list
    group: list
    members: list | None = None
    by_difficulty: bool = False

    def __post_init__(self):
        if not self._is_sound():
            raise ValueError(
                'The calibration of a model must be sorted scores of 0 or more, each with the number of its group; '
                'train the model again.'
            )

    def _is_sound(self):
        members = self.group if self.members is None else self.members
        if not all(isinstance(own, list) for own in (self.scores, self.group, members)):
            return False
        if not self.scores or not len(self.scores) == len(self.group) == len(members):
            return False
        kinds = {float: self.scores, int: self.group + members}
        if not all(type(one) is kind for kind, own in kinds.items() for one in own):
            return False
        scores = np.array(self.scores)
        # written so that NaN fails
        sorted_scores = scores[0] >= 0 and (np.diff(scores) >= 0).all() and np.isfinite(scores[-1])
        firsts = list(dict.fromkeys(self.group))
        numbered = firsts == list(range(len(firsts)))
        return bool(sorted_scores and numbered and min(members) >= 0 and type(self.by_difficulty) is bool)

    @property
    def groups(self):
        """The number of groups."""
        return max(self.group) + 1

    def attainable(self, coverage):
        """Return the coverage that intervals can promise when `coverage` is asked for.

        Of G groups and a new one, each is as likely as any other to have the largest error, so that no finite interval
        can promise more than G / (G + 1): 9 groups are needed for 0.9, 19 for 0.95.
        """
        return min(coverage, self.groups / (self.groups + 1))

    def bounds(self, predictions, coverage, difficulty=None):
        """Return the ends of the prediction intervals.

        The interval reaches as far as the weighted quantile of the scores, where each group has weight 1, shared by its
        samples, and the group to come has weight 1 at infinity. Whatever the model and the distribution, it then holds
        the true value of a sample of a new group with a probability of `coverage` at least (hierarchical conformal
        prediction: Lee, Barber and Willett 2023, doi:10.48550/arXiv.2306.06342; with groups of one sample it is split
        conformal prediction: Lei et al. 2018, doi:10.1080/01621459.2017.1307116). Where groups are too few for that,
        the quantile would be infinite; then the interval reaches as far as the quantile of the one group in which it
        lies farthest, holds `coverage` of the samples of every group that was seen, and promises nothing: it may be
        narrower than one of the largest coverage that can be promised, which reaches up to the largest score. Nor is
        anything proven where several models made the scores, each of samples that it had left out; in practice the
        coverage holds there too (docs/accuracy.md).

        With members it is CV+ (Barber et al. 2021, doi:10.1214/20-AOS1965; jackknife+ where each left out one group):
        quantiles of each member's prediction plus and minus the errors on what that member had left out. It promises
        2 coverage - 1, and has about `coverage` in practice.

        Parameters
        ----------
        predictions : float64 [B]; with members [M, B]
        coverage : float
            Above 0 and below 1.
        difficulty : float64 [B], optional
            As was given to :func:`calibrate`, for these samples.

        Returns
        -------
        lower, upper : float64 [B]
        """
        if (difficulty is not None) != self.by_difficulty:
            raise ValueError('A difficulty is needed for intervals if, and only if, it was there in calibration.')
        scores = np.array(self.scores)
        predictions = np.asarray(predictions, dtype=np.float64)
        scale = np.ones(predictions.shape[-1]) if difficulty is None else np.asarray(difficulty, dtype=np.float64)
        if self.members is None:
            reach = scale * self._reach(scores[None], coverage)
            return predictions - reach, predictions + reach
        lower, upper = np.empty(predictions.shape[1]), np.empty(predictions.shape[1])
        step = max(1, FLOATS // len(scores))
        for start in range(0, len(lower), step):
            own = slice(start, start + step)
            centers, reach = predictions[np.array(self.members), own].T, scale[own, None] * scores
            upper[own] = self._reach(centers + reach, coverage)
            lower[own] = -self._reach(reach - centers, coverage)
        return lower, upper

    def _reach(self, values, coverage):
        """Return how far an interval must reach, float64 [rows], if `values` [rows, N] are where it would for each."""
        group = np.array(self.group)
        if self.attainable(coverage) == coverage:
            weights = 1 / np.bincount(group)[group]
            return _quantile(values, weights, coverage * (self.groups + 1))
        farthest = []
        for number in range(self.groups):
            own = values[:, group == number]
            size = own.shape[1]
            farthest.append(_quantile(own, np.ones(size), min(coverage * (size + 1), size)))
        return np.max(farthest, axis=0)


def calibrate(errors, groups=None, difficulty=None, members=None):
    """Learn from errors on samples that the model had not learned from how wide intervals must be.

    Parameters
    ----------
    errors : float64 [N]
        Predicted minus true value of each sample.
    groups : array [N], optional
        Group of each sample: samples of one group are wrong together, so that a group counts once, however many
        samples it has. By default each sample is a group.
    difficulty : float64 [N], optional
        Above 0: how hard each sample is to predict, known without its true value. Intervals are then wider for samples
        that are harder, in proportion.
    members : int [N], optional
        For CV+: the row, in the predictions that :meth:`Calibration.bounds` takes, of the member that had learned
        from neither the sample nor others of its group.

    Returns
    -------
    Calibration
    """
    scores = np.abs(np.asarray(errors, dtype=np.float64))
    if difficulty is not None:
        scores = scores / np.asarray(difficulty, dtype=np.float64)
    names = np.arange(len(scores)) if groups is None else np.asarray(groups)
    order = np.argsort(scores, kind='stable')
    _, first, group = np.unique(names[order], return_index=True, return_inverse=True)
    number = np.argsort(np.argsort(first))
    return Calibration(
        scores[order].tolist(),
        number[group].tolist(),
        None if members is None else np.asarray(members)[order].tolist(),
        difficulty is not None,
    )


def interval_figures(lower, upper, true):
    """Return the share of true values that their interval holds, ends included, and the mean width of the intervals."""
    return {
        'interval_coverage': float(((lower <= true) & (true <= upper)).mean()),
        'interval_width': float((upper - lower).mean()),
    }


def warn_of_few_groups(calibration, coverage):
    """Say, in an AAMWarning, that the groups are too few to promise the coverage that is asked for, if so."""
    attainable = calibration.attainable(coverage)
    if attainable < coverage:
        needed = int(np.ceil(coverage / (1 - coverage) - ROUNDING))
        warnings.warn(
            f'Prediction intervals that promise a coverage of {coverage:g} need {needed} groups of labelled samples '
            f'(samples, where there are no groups), and there {"is" if calibration.groups == 1 else "are"} '
            f'{calibration.groups}: these hold {coverage:g} of the samples of every one of those, and promise nothing '
            f'for new groups; label more groups, or lower coverage to {np.floor(100 * attainable) / 100:g} or less, '
            'which they can promise, though with intervals that may be wider.',
            AAMWarning,
            stacklevel=2,
        )


def _quantile(values, weights, rank):
    """Return the smallest value of each row [rows, N] up to which the weights sum to `rank`, float64 [rows]."""
    order = np.argsort(values, axis=1, kind='stable')
    reached = np.cumsum(weights[order], axis=1) >= rank * (1 - ROUNDING)
    # all weights together reach every rank that is promised; rounding must not deny it
    reached[:, -1] = True
    place = np.take_along_axis(order, reached.argmax(axis=1)[:, None], axis=1)
    return np.take_along_axis(values, place, axis=1)[:, 0]
