"""The objective of a numeric metadata column: learned scaled, scored in its own unit.

Shapes: N samples, O outputs: one, or with the quantile loss three.
"""

import dataclasses

import numpy as np
import torch

from q2_aam.bundle import NumericTarget
from q2_aam.bundle.scales import COLUMN, LOG, SQRT, Scale
from q2_aam.bundle.targets import features_of
from q2_aam.config import AUTO
from q2_aam.data.details import LOWER, UPPER
from q2_aam.data.labels import align_numbers
from q2_aam.data.splits import TRAINING, VALIDATION
from q2_aam.errors import UserError, shown
from q2_aam.model.losses import TARGET_LOSSES, asymmetric_loss, quantile_loss, weighted_mean
from q2_aam.model.member_arrays import EXTRA_TREES, LINEAR, PERCEPTRONS
from q2_aam.stats.conformal import calibrate, warn_of_few_groups
from q2_aam.stats.difficulty import Difficulty
from q2_aam.stats.metrics import interval_metrics, regression_metrics
from q2_aam.stats.stacking import combined_shares, cost_of_numbers, shrinkage, stack_least_squares

from .by_category import (
    categories_of,
    learned_categories,
    loss_weights,
    scaled_by,
    weights_of_forest,
    words_of_weights,
)
from .outputs import all_levels, head_of, limits_of, shown_levels
from .protocol import TargetObjective

# The metric of the validation split that each value of select_by means, and whether it is to be large.
LOSS = 'target_loss'
SCORES = {
    'loss': (LOSS, False),
    'mae': ('mae', False),
    'rmse': ('rmse', False),
    'r2': ('r2', True),
}
# A square root must take away this share of the error: among few samples it may seem better by chance.
MIN_GAIN = 0.01
# Differences among numbers, as a share of the largest of them, that may be rounding alone.
MIN_SPREAD = 1e-14


class Regression(TargetObjective):
    """Learn a column of numbers; see :class:`q2_aam.objectives.protocol.TargetObjective`."""

    headline = error = 'mae'
    # perceptrons err least on ages and scores, where the mean over members counts for most (docs/accuracy.md)
    priors = {LINEAR: 0.15, EXTRA_TREES: 0.15, PERCEPTRONS: 0.7}
    align_labels = staticmethod(align_numbers)

    def __init__(self, context):
        labels, training = context.labels, context.config.training
        self.values, self.groups, self.coverage = labels.values, labels.groups, training.coverage
        scaling = scaling_of(labels.name, labels.values[context.rows[TRAINING]], training.target_scaling)
        self.categories = categories_of(context)
        learn = SCALINGS[training.target_scaling]
        scaling = scaled_by(scaling, self.categories, self.values, context.rows[TRAINING], learn)
        self.codes = None if self.categories is None else self.categories.codes
        self.weights = loss_weights(context, training, self.codes)
        self.weighted = words_of_weights(context, training)
        learned = np.concatenate([context.rows[TRAINING], context.rows[VALIDATION]])
        lowest, highest = limits_of(labels, learned, training)
        self.levels: tuple[float, ...] = (0.5, (1 - self.coverage) / 2, (1 + self.coverage) / 2)
        if training.quantiles:
            self.levels = all_levels(self.levels, training.quantiles)
        self.target = dataclasses.replace(
            scaling,
            quantiles=training.loss == 'quantile',
            levels=self.levels if training.quantiles else (),
            shown=shown_levels(training.quantiles),
            lowest=lowest,
            highest=highest,
        )
        self.head = head_of(self.target, training)
        self.dropout, self.width = training.head_dropout, context.config.model.width
        if training.loss in ('quantile', 'asymmetric'):
            # others know no quantiles, and err as much on either side
            self.kinds = (PERCEPTRONS,)
        self.training = training
        self.score, self.larger = SCORES[_select_by(training)]
        self.validation_rows = context.rows[VALIDATION]
        if self.larger and np.ptp(self.values[self.validation_rows]) == 0:
            raise UserError(
                f'Parameter select_by is r2, but {shown(labels.name)} is the same for all validation samples; choose '
                'mae or rmse, or raise validation_fraction.'
            )

    @staticmethod
    def strata(labels):
        return None

    @staticmethod
    def resolved(training, labels, rows, predict, scale_by=None):
        """Return the training configuration with 'auto' of its target_scaling, on `rows`, and select_by resolved."""
        scaling = choose_scaling(labels, rows, training.target_scaling, predict, scale_by)
        return dataclasses.replace(training, target_scaling=scaling, select_by=_select_by(training))

    def learned(self, rows):
        return self._scaled(rows), 0, False

    def _scaled(self, rows):
        return self.read_as(self.target, rows).scaled(self.values[rows])

    def combine(self, outputs, rows, noise=None, prior=None):
        """Stack the (median) outputs; see :func:`q2_aam.stats.stacking.cost_of_numbers`."""
        numbers_KN = np.stack([numbers[:, 0] for numbers in outputs])
        cost = cost_of_numbers(numbers_KN, self._scaled(rows), noise)
        shares = combined_shares(len(outputs), self.groups[rows], cost, prior)
        return shares, np.ones(len(shares)), cost(shares)

    def labels_of(self, rows):
        return torch.from_numpy(self._scaled(rows).astype(np.float32))

    def outputs_loss(self, outputs_NO, true_N, weights_N=None):
        training = self.training
        if self.target.quantiles:
            return quantile_loss(outputs_NO, true_N, self.levels, weights_N)
        if training.loss == 'asymmetric':
            return asymmetric_loss(outputs_NO[:, 0], true_N, training.over_penalty, training.under_penalty, weights_N)
        return weighted_mean(TARGET_LOSSES[training.loss](outputs_NO[:, 0], true_N), weights_N)

    def metrics(self, network, reader):
        self.validation_outputs = reader.outputs(network, self.name, self.validation_rows)
        return self.metrics_of(self.target, self.validation_outputs, self.validation_rows)

    def describe(self):
        by_category = '' if self.categories is None else self.categories.describe()
        return f'Target: {shown(self.target.name)}, {self.target.on_scale.words}{self.weighted}{by_category}.'

    def share(self, network, ensemble, gate, rows, prior):
        """Stack the (median) outputs; see :func:`q2_aam.stats.stacking.stack_least_squares`.

        Outputs of the network are shrunk to the mean of the target first: where it is alone, one that has learned
        little is not to err more than a guess.
        """
        true = self._scaled(rows)
        scale = shrinkage(network[:, 0], true)
        share = stack_least_squares(scale * network[:, 0], ensemble[:, 0], gate, true, self.groups[rows], prior)
        return share, scale, 1.0

    def calibrated(self, outputs, rows, signs=None, thinned=(), generator=None):
        """Return the target whose prediction intervals are as wide as out-of-fold errors on `rows` ask for."""
        target, true, groups = self.read_as(self.target, rows), self.values[rows], self.groups[rows]
        errors, hardness, difficulty = target.errors(outputs, true), target.difficulty_of(outputs, None), None
        if signs is not None and not target.quantiles:
            # by category, difficulties are multiples of its scale
            unit = 1.0 if self.codes is None else hardness
            more = [(target.errors(other, true) / unit, features_of(other, found)) for other, found in thinned]
            fitted, honest = Difficulty.fit(errors / unit, features_of(outputs, signs), groups, generator, more)
            if fitted.coefficients.any():
                difficulty, hardness = fitted, honest * unit
        calibration = calibrate(errors, groups, hardness)
        warn_of_few_groups(calibration, self.coverage)
        return dataclasses.replace(self.target, calibration=calibration, difficulty=difficulty, coverage=self.coverage)

    def metrics_of(self, target, outputs, rows):
        metrics = regression_metrics(self.read_as(target, rows).predictions(outputs), self.values[rows])
        return metrics | {LOSS: self._loss_of(outputs, rows)} if self.score == LOSS else metrics

    def score_of(self, outputs, rows):
        if self.score == LOSS:
            return self._loss_of(outputs, rows)
        errors = self.read_as(self.target, rows).predictions(outputs) - self.values[rows]
        # what R2 is short of 1, in units of the variance, orders epochs as R2 does
        return float(np.abs(errors).mean() if self.score == 'mae' else np.sqrt(np.square(errors).mean()))

    def _loss_of(self, outputs, rows):
        outputs = torch.from_numpy(outputs.astype(np.float32))
        # weights of samples are of training alone: those of a validation split may even all be 0
        return self.outputs_loss(outputs, self.labels_of(rows)).item()

    def beside_guess(self, target, outputs, rows, fold):
        """Return absolute errors; the guess is the median."""
        true = self.values[rows]
        guesses = np.empty(len(rows))
        for number in np.unique(fold):
            guesses[fold == number] = np.median(true[fold != number])
        return (
            np.abs(self.read_as(target, rows).predictions(outputs) - true),
            np.abs(guesses - true),
            np.ones(len(rows)),
        )

    def test_metrics(self, target, outputs, rows, signs=None):
        columns = self.read_as(target, rows).columns(outputs, signs)
        return interval_metrics(columns[LOWER], columns[UPPER], self.values[rows])

    def points_of(self, target, outputs, rows):
        yield 'target', self.read_as(target, rows).predictions(outputs), self.values[rows]

    def random_forest(self, counts, rows, new_counts, new_rows, seed, threads):
        # scikit-learn takes a second to load
        from q2_aam.evaluation.baselines import random_forest_numbers

        weights = weights_of_forest(self.weights, rows)
        predictions = random_forest_numbers(counts, self.values[rows], new_counts, seed, threads, weights=weights)
        return regression_metrics(predictions, self.values[new_rows])


def _select_by(training):
    if training.select_by != AUTO:
        return training.select_by
    return 'loss' if training.loss == 'asymmetric' else 'mae'


def choose_scaling(labels, rows, how, predict, scale_by=None):
    """Return `how` a numeric target is to be scaled, with 'auto' resolved.

    The square root is taken of a target that is never below 0 where left-out groups are predicted better with it: a few
    large values would dominate the loss otherwise. Where the target is scaled by category, what is predicted is the
    target as it is scaled, and errors are in units of the spread of their category, so that all categories count.

    Parameters
    ----------
    labels : q2_aam.data.labels.Labels
    rows : int64 [N]
        Rows that may be learned from; no others are looked at.
    how : str
        The parameter target_scaling.
    predict : callable
        Takes scaled numbers for `rows`, float64 [N], and returns out-of-fold predictions of them.
    scale_by : pandas.Series, optional
        Category by sample id.

    Raises
    ------
    UserError
        If the square root or the logarithm is asked for, but there are values below 0; or if there are no categories
        that could be learned.
    """
    values = labels.values[rows]
    if how in TRANSFORMED and values.min() < 0:
        raise UserError(
            f'Parameter target_scaling is {how}, but {shown(labels.name)} is {values.min():g} for sample '
            f'{shown(labels.sample_ids[rows[values.argmin()]])}; choose standard.'
        )
    if how != AUTO:
        return how
    if values.min() < 0 or np.ptp(np.sqrt(values)) <= MIN_SPREAD * np.sqrt(values.max()):
        return 'standard'
    categories = None if scale_by is None else learned_categories(scale_by, labels, rows)
    codes = None if categories is None else categories.codes[rows]
    errors, units = {}, 1.0 if codes is None else _spreads(values, codes)
    for name in ('standard', 'sqrt'):
        scaling = scaled_by(scaling_of(labels.name, values, name), categories, labels.values, rows, SCALINGS[name])
        scaling = scaling.of(codes)
        errors[name] = (np.abs(scaling.predictions(predict(scaling.scaled(values))[:, None]) - values) / units).mean()
    return 'sqrt' if errors['sqrt'] < (1 - MIN_GAIN) * errors['standard'] else 'standard'


def _spreads(values, codes):
    """Return the standard deviation of the category of each value; where it is 0, that of all."""
    spreads = np.zeros(codes.max() + 1)
    for code in np.unique(codes):
        spreads[code] = values[codes == code].std()
    return np.where(spreads > 0, spreads, values.std())[codes]


def _standard(values):
    return float(values.mean()), float(values.std())


def _minmax(values):
    return float(values.min()), float(values.max() - values.min())


# how training values, once they are on their scale, become center and scale: a new scaling is an entry here and in the
# choices of target_scaling
SCALINGS = {
    'standard': _standard,
    'sqrt': _standard,
    'log_standard': _standard,
    'minmax': _minmax,
    'log_minmax': _minmax,
    'none': lambda values: (0.0, 1.0),
}
# those of another scale than the column's
TRANSFORMED: dict[str, Scale] = {'sqrt': SQRT, 'log_standard': LOG, 'log_minmax': LOG}


def scaling_of(name, values, how):
    """Learn the scaling of a numeric target on training values; return a NumericTarget."""
    if values.max() == values.min():
        how = 'none'
    on_scale = TRANSFORMED.get(how, COLUMN)
    center, scale = SCALINGS[how](on_scale.to_scale(values))
    return NumericTarget(name, center, scale, sqrt=on_scale is SQRT, log=on_scale is LOG)
