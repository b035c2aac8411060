"""How hard a sample is to predict, from what is known without its true value: a handful of numbers.

Shapes: N samples, F features.
"""

import dataclasses

import numpy as np

from .familiarity import group_quantile

# As many groups as the prior counts for, by which all samples are as hard: with that many groups, coefficients are
# about half of what the errors alone say. On 12 tasks, intervals are 1 % wider with 10 than with 40; 80 changes little.
PRIOR_GROUPS = 40
# Groups below which all samples are as hard.
MIN_GROUPS = 10
# Least and largest difficulty, in units of the median.
MIN_FACTOR, MAX_FACTOR = 1 / 3, 5.0
# Features are clipped to what all but so large a share of samples have, on either side.
TAIL = 0.02
# Parts that groups are dealt to, each of which is told how hard it is by the others.
FOLDS = 10
STEPS, HALVINGS = 50, 30
# Disagreement counts by its logarithm; what it is less than says nothing, in standard deviations of the target.
MIN_DISAGREEMENT = 0.05
# Familiarity beyond which all samples are as strange.
MAX_FAMILIARITY = 3.0
NAMES = ('coefficients', 'lowest', 'highest', 'intercept')
# Of difficulty_features.
FEATURES = 6


def disagreement_of(outputs):
    """Return how far the kinds of members are apart, float64 [N]: their standard deviation, averaged over outputs.

    Parameters
    ----------
    outputs : float64 [K, N, O] or [K, M, N, O]
        Of K kinds; outputs on the scaled target, or probabilities of classes. Where there are M members of each, the
        disagreement within each is averaged, so that it is on the scale of out-of-fold samples, which have one.
    """
    spread = np.asarray(outputs, dtype=np.float64).std(axis=0).mean(axis=-1)
    return spread if spread.ndim == 1 else spread.mean(axis=0)


def difficulty_features(predictions, disagreement=None, coverage=None, familiarity=None):
    """Return what the difficulty of a sample may depend on, float64 [N, 6].

    Beside the three signs that a model is out of its depth, the predicted value: errors may grow or fall with it, or be
    smaller towards both ends of a bounded target.

    Parameters
    ----------
    predictions : float64 [N]
        On the scaled target.
    disagreement, coverage, familiarity : float64 [N], optional
        What is not there has no part in the difficulty. Familiarity may be NaN, where there is no telling.
    """
    predictions = np.asarray(predictions, dtype=np.float64)
    nothing = np.zeros(len(predictions))
    apart = nothing if disagreement is None else np.log(np.asarray(disagreement) + MIN_DISAGREEMENT)
    missing = nothing if coverage is None else 1 - np.asarray(coverage)
    strange = nothing if familiarity is None else np.minimum(np.nan_to_num(familiarity), MAX_FAMILIARITY)
    return np.column_stack([apart, missing, strange, predictions, -predictions, -np.abs(predictions)])


@dataclasses.dataclass(frozen=True, eq=False)
class Difficulty:
    """log difficulty = intercept + coefficients x features: none is negative, so that no warning sign makes it easier.

    Attributes
    ----------
    coefficients : float64 [F]
        0 or more; all 0 where groups are too few.
    lowest, highest : float64 [F]
        What features are clipped to.
    intercept : float64 [1]
        So that the median difficulty of the samples that it was learned from is 1.

    Raises
    ------
    ValueError
        If the arrays are not as described.
    """

    coefficients: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    intercept: np.ndarray

    def __post_init__(self):
        if not self._is_sound():
            raise ValueError(
                'The difficulty of the model is damaged: it must hold coefficients of 0 or more, the range of each '
                'feature and an intercept, all finite; train the model again.'
            )

    def _is_sound(self):
        for name in NAMES:
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != np.float64 or not np.isfinite(array).all():
                return False
        features = self.coefficients.shape
        if len(features) != 1 or self.lowest.shape != features or self.highest.shape != features:
            return False
        return bool(
            self.intercept.shape == (1,) and (self.coefficients >= 0).all() and (self.lowest <= self.highest).all()
        )

    @classmethod
    def fit(cls, errors, features, groups, generator, more=()):
        """Learn from out-of-fold errors which samples are hard.

        The mean absolute error is taken to be proportional to the difficulty, the likelihood that of Laplace; it is
        convex, and shrunk to a constant as if there were 40 groups more that speak against any difference.

        Parameters
        ----------
        errors : float64 [N]
            Predicted minus true value, on any scale.
        features : float64 [N, F]
            The larger, the harder.
        groups : array [N]
            Groups of samples that err together; each counts once.
        generator : numpy.random.Generator
        more : iterable of (float64 [N], float64 [N, F]), optional
            Errors and features of the same samples under other circumstances, as where a share of the vocabulary was
            hidden; together they count as much as the first.

        Returns
        -------
        difficulty : Difficulty
        honest : float64 [N]
            The difficulty of each sample, as it is without its group: what :func:`q2_aam.stats.conformal.calibrate`
            takes.
        """
        _, group = np.unique(np.asarray(groups), return_inverse=True)
        errors, features = np.abs(np.asarray(errors, dtype=np.float64)), np.asarray(features, dtype=np.float64)
        more = [(np.abs(other), np.asarray(values, dtype=np.float64)) for other, values in more]
        difficulty = cls._of(errors, features, group, more)
        if not difficulty.coefficients.any():
            return difficulty, np.ones(len(errors))
        fold = (generator.permutation(group.max() + 1) % FOLDS)[group]
        honest = np.empty(len(errors))
        for number in np.unique(fold):
            rest = fold != number
            others = [(other[rest], values[rest]) for other, values in more]
            honest[~rest] = cls._of(errors[rest], features[rest], group[rest], others)(features[~rest])
        return difficulty, honest

    @classmethod
    def _of(cls, errors, features, group, more):
        _, group, sizes = np.unique(group, return_inverse=True, return_counts=True)
        every = np.concatenate([features, *(values for _, values in more)])
        numbers = np.concatenate([errors, *(other for other, _ in more)])
        # without more, or with it: as many as there are groups
        counts = [np.ones(len(errors)), *(np.full(len(errors), 1 / len(more)) for _ in more)]
        weights = np.concatenate(counts) * np.tile(1 / sizes[group], 1 + len(more))
        weights *= len(sizes) / weights.sum()
        again = np.tile(group, 1 + len(more))
        lowest, highest = (
            np.array([group_quantile(column, again, share) for column in every.T]) for share in (TAIL, 1 - TAIL)
        )
        coefficients = np.zeros(features.shape[1])
        if len(sizes) >= MIN_GROUPS and numbers @ weights > 0:
            coefficients = _coefficients(numbers, np.clip(every, lowest, highest), weights)
        middle = group_quantile(np.clip(features, lowest, highest) @ coefficients, group, 0.5)
        return cls(coefficients, lowest, highest, np.array([-middle]))

    def __call__(self, features):
        """Return how hard samples with features [N, F] are, float64 [N]: from 1/3 to 5; 1 is as half of them."""
        clipped = np.clip(np.asarray(features, dtype=np.float64), self.lowest, self.highest)
        return np.clip(np.exp(self.intercept[0] + clipped @ self.coefficients), MIN_FACTOR, MAX_FACTOR)

    def arrays(self):
        """Return {name: array}: everything that :meth:`from_arrays` needs."""
        return {name: getattr(self, name) for name in NAMES}

    @classmethod
    def from_arrays(cls, arrays, features):
        """Read what :meth:`arrays` gave; ValueError unless it is sound and of so many features."""
        difficulty = cls(**{name: arrays[name] for name in NAMES})
        if len(difficulty.coefficients) != features:
            raise ValueError(
                f'The difficulty of the model belongs to another model: it has {len(difficulty.coefficients)} features '
                f'instead of {features}; train the model again.'
            )
        return difficulty


def _coefficients(errors, features, weights):
    """Return the coefficients, none negative, of the largest likelihood, shrunk to 0: a projected Newton method."""
    centered = features - np.average(features, axis=0, weights=weights)
    deviations = np.sqrt(np.average(centered**2, axis=0, weights=weights))
    deviations = np.where(deviations > 0, deviations, 1.0)
    # 1 for the intercept, which is not shrunk
    design = np.column_stack([np.ones(len(errors)), centered / deviations])
    penalty = np.r_[0.0, np.full(features.shape[1], float(PRIOR_GROUPS))]
    found = np.zeros(design.shape[1])
    found[0] = np.log(weights @ errors / weights.sum())

    def loss(at):
        logs = design @ at
        return weights @ (logs + errors * np.exp(-logs)) + penalty @ at**2 / 2

    for _ in range(STEPS):
        relative = weights * errors * np.exp(-design @ found)
        gradient = design.T @ (weights - relative) + penalty * found
        free = np.r_[True, (found[1:] > 0) | (gradient[1:] < 0)]
        hessian = (design * relative[:, None]).T @ design + np.diag(penalty)
        step = np.zeros(len(found))
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
        size, before = 1.0, loss(found)
        for _ in range(HALVINGS):
            trial = np.r_[found[0] - size * step[0], np.maximum(found[1:] - size * step[1:], 0)]
            if loss(trial) <= before:
                break
            size /= 2
        if np.abs(trial - found).max() < 1e-9:
            break
        found = trial
    return found[1:] / deviations
