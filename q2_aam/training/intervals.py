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
    groups : int
        Groups (samples, where there are no groups) that are exchangeable with that of a new sample.
    scores : list of float
        Absolute errors, sorted, each divided by the difficulty of its sample where there is one. [N]
    weights : list of float
        Weight of each score: 1 over the samples of its group. [N]
    members : list of int or None
        For CV+ the member that had not learned from the sample. [N]
    by_difficulty : bool
        Whether scores are in units of a difficulty.
    """

    groups: int
    scores: list
    weights: list
    members: list | None = None
    by_difficulty: bool = False

    def __post_init__(self):
        if not self._is_sound():
            raise ValueError(
                'The calibration of a model must be sorted scores of 0 or more, whose weights sum to the number of '
                'groups; train the model again.'
            )

    def _is_sound(self):
        members = [] if self.members is None else self.members
        if not all(isinstance(own, list) for own in (self.scores, self.weights, members)):
            return False
        counts = [self.groups, *members]
        if not all(type(count) is int for count in counts) or type(self.by_difficulty) is not bool:
            return False
        if len({len(self.scores), len(self.weights), len(self.scores if self.members is None else self.members)}) > 1:
            return False
        if not self.scores or not all(type(number) is float for number in [*self.scores, *self.weights]):
            return False
        scores, weights = np.array(self.scores), np.array(self.weights)
        # written so that NaN fails
        return bool(
            scores[0] >= 0
            and (np.diff(scores) >= 0).all()
            and np.isfinite(scores[-1])
            and (weights > 0).all()
            and abs(weights.sum() - self.groups) <= ROUNDING * self.groups
            and min(counts) >= 0
        )

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
        the quantile would be infinite; then the interval reaches as far as `coverage` of the scores that were seen, and
        promises nothing. Nor is anything proven where several models made the scores, each of samples that it had left
        out; in practice the coverage holds there too (docs/accuracy.md).

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
        scores, weights = np.array(self.scores), np.array(self.weights)
        # the group to come is left out where with it there would be no finite quantile
        rank = coverage * (self.groups + (self.attainable(coverage) == coverage))
        predictions = np.asarray(predictions, dtype=np.float64)
        scale = np.ones(predictions.shape[-1]) if difficulty is None else np.asarray(difficulty, dtype=np.float64)
        if self.members is None:
            reach = scale * _quantile(scores[None], weights, rank)
            return predictions - reach, predictions + reach
        lower, upper = np.empty(predictions.shape[1]), np.empty(predictions.shape[1])
        step = max(1, FLOATS // len(scores))
        for start in range(0, len(lower), step):
            own = slice(start, start + step)
            centers, reach = predictions[np.array(self.members), own].T, scale[own, None] * scores
            upper[own] = _quantile(centers + reach, weights, rank)
            lower[own] = -_quantile(reach - centers, weights, rank)
        return lower, upper


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
    _, group, sizes = np.unique(names, return_inverse=True, return_counts=True)
    order = np.argsort(scores, kind='stable')
    return Calibration(
        len(sizes),
        scores[order].tolist(),
        (1 / sizes[group])[order].tolist(),
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
            f'{calibration.groups}: these hold {coverage:g} of the errors that were seen, and promise nothing for new '
            f'groups; label more groups or lower coverage to {np.floor(100 * attainable) / 100:g} or less.',
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
