"""Conformal prediction intervals, from the errors of a model on samples that it did not learn from.

Shapes: N calibration samples, G groups of them, B samples to predict.
"""

import dataclasses
import warnings

import numpy as np

from q2_aam.errors import AAMWarning, counted

# Sums of weights may be off by this much, relative to the sum.
ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """What prediction intervals are made from. It holds no ids.

    Attributes
    ----------
    scores : float64 [N]
        Absolute errors, sorted, each divided by the difficulty of its sample where there is one.
    groups : int64 [N]
        Number of the group of each score, from 0 in order of first occurrence. Groups (single samples, where there are
        no groups) are exchangeable with that of a new sample.
    by_difficulty : bool
        Whether scores are in units of a difficulty.

    Raises
    ------
    ValueError
        If the arrays are not as described.
    """

    scores: np.ndarray
    groups: np.ndarray
    by_difficulty: bool = False

    def __post_init__(self):
        if not self._is_sound():
            raise ValueError(
                'The calibration of the model is damaged: it must hold sorted scores of 0 or more and the number of '
                'the group of each; train the model again.'
            )

    def _is_sound(self):
        scores, groups = self.scores, self.groups
        for array, kind in ((scores, np.float64), (groups, np.int64)):
            if not isinstance(array, np.ndarray) or array.dtype != kind or array.ndim != 1:
                return False
        if len(scores) == 0 or len(scores) != len(groups) or type(self.by_difficulty) is not bool:
            return False
        # written so that NaN fails
        sorted_scores = scores[0] >= 0 and (scores[1:] >= scores[:-1]).all() and np.isfinite(scores[-1])
        # each is of a group that has occurred before it, or of the next
        numbered = groups[0] == 0 and groups.min() >= 0 and (groups[1:] - np.maximum.accumulate(groups)[:-1] <= 1).all()
        return bool(sorted_scores and numbered)

    def __eq__(self, other):
        if not isinstance(other, Calibration):
            return NotImplemented
        arrays = (self.scores, other.scores), (self.groups, other.groups)
        return self.by_difficulty == other.by_difficulty and all(np.array_equal(*pair) for pair in arrays)

    @property
    def number_of_groups(self):
        """The number of groups, G."""
        return int(self.groups.max()) + 1

    def attainable(self, coverage):
        """Return the coverage that intervals can guarantee when `coverage` is asked for.

        Of G groups and a new one, each is as likely as any other to have the largest error, so that no finite interval
        can guarantee more than G / (G + 1): 9 groups are needed for 0.9, 19 for 0.95.
        """
        return min(coverage, self.number_of_groups / (self.number_of_groups + 1))

    def bounds(self, predictions, coverage, difficulty=None):
        """Return the ends of the prediction intervals, on the scale on which the errors were.

        The half-width is the weighted quantile of the scores, where each group has weight 1, shared by its samples, and
        the group to come has weight 1 at infinity. Whatever the model and the distribution, intervals then hold the
        true value of a sample of a new group with a probability of at least `coverage` (hierarchical conformal
        prediction: Lee, Barber and Willett 2023, doi:10.48550/arXiv.2306.06342; with groups of one sample it is split
        conformal prediction: Lei et al. 2018, doi:10.1080/01621459.2017.1307116). Where groups are too few for that,
        the quantile would be infinite. The half-width is then the largest over groups of the quantile within the group:
        intervals hold `coverage` of the samples of every calibration group, and guarantee nothing for new ones; they
        may be narrower than those of the largest coverage that can be guaranteed, whose half-width is the largest
        score. Nor is anything proven where several models made the errors, each of samples outside its training
        folds; in practice the coverage holds there too (docs/accuracy.md).

        Parameters
        ----------
        predictions : float64 [B]
        coverage : float
            Above 0 and below 1.
        difficulty : float64 [B], optional
            As was given to :func:`calibrate`, for these samples.

        Returns
        -------
        lower, upper : float64 [B]

        Raises
        ------
        ValueError
            If a difficulty is given and was not in calibration, or the other way round.
        """
        if (difficulty is not None) != self.by_difficulty:
            raise ValueError('A difficulty is needed for intervals if, and only if, it was there in calibration.')
        predictions = np.asarray(predictions, dtype=np.float64)
        scale = 1.0 if difficulty is None else np.asarray(difficulty, dtype=np.float64)
        half_width = scale * self._quantile(coverage)
        return predictions - half_width, predictions + half_width

    def _quantile(self, coverage):
        """Return the score up to which intervals must reach."""
        sizes = np.bincount(self.groups)
        if self.attainable(coverage) == coverage:
            reached = np.cumsum(1 / sizes[self.groups])
            place = np.searchsorted(reached, coverage * (len(sizes) + 1) * (1 - ROUNDING))
            # all weights together reach every rank that can be guaranteed; rounding must not deny it
            return self.scores[min(place, len(reached) - 1)]
        # group after group, each sorted by score
        order = np.argsort(self.groups, kind='stable')
        ranks = np.ceil(np.minimum(coverage * (sizes + 1), sizes) * (1 - ROUNDING)).astype(np.int64)
        starts = np.cumsum(sizes) - sizes
        return self.scores[order[starts + np.maximum(ranks, 1) - 1]].max()


def calibrate(errors, groups=None, difficulty=None):
    """Learn how wide intervals must be from errors on samples that the model did not learn from.

    Parameters
    ----------
    errors : float64 [N]
        Predicted minus true value of each sample, on any scale.
    groups : array [N], optional
        Group of each sample: samples of one group err together, so that a group counts once, however many samples it
        has. By default each sample is a group.
    difficulty : float64 [N], optional
        Above 0: how hard each sample is to predict, known without its true value. Intervals are then wider for samples
        that are harder, in proportion.

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
    return Calibration(scores[order], number[group].astype(np.int64), difficulty is not None)


def warn_of_few_groups(calibration, coverage):
    """Issue an AAMWarning if the calibration groups are too few to guarantee the coverage that is asked for."""
    attainable = calibration.attainable(coverage)
    if attainable < coverage:
        needed = int(np.ceil(coverage / (1 - coverage) - ROUNDING))
        groups = counted(calibration.number_of_groups, 'group')
        warnings.warn(
            f'Prediction intervals with a guaranteed coverage of {coverage:g} need at least {needed} groups of '
            'calibration samples (each sample is a group if no groups are given), but this model has '
            f'{groups}: its intervals are wide enough for {coverage:g} of the samples of each calibration group, with '
            f'no guarantee for new groups; label more groups, or lower coverage to {np.floor(100 * attainable) / 100:g}'
            ' or less, which can be guaranteed, though with intervals that may be wider.',
            AAMWarning,
            stacklevel=2,
        )
