"""The objective of a numeric metadata column: learned scaled, scored in its own unit.

Shapes: N samples, O outputs: one, or with the quantile loss three.
"""

import dataclasses
import warnings

import numpy as np
import scipy.stats
import torch

from q2_aam.bundle import NumericTarget
from q2_aam.config import AUTO, HeadConfig
from q2_aam.data.details import LOWER, UPPER
from q2_aam.data.labels import align_numbers
from q2_aam.data.splits import TRAINING, VALIDATION
from q2_aam.errors import UserError, shown
from q2_aam.model.losses import TARGET_LOSSES, quantile_loss
from q2_aam.stats.conformal import calibrate, warn_of_few_groups
from q2_aam.stats.metrics import interval_metrics, regression_metrics
from q2_aam.stats.stacking import stack_least_squares

from .protocol import TargetObjective

# A square root must make a target this much less skewed: among few samples it may look so by chance.
MIN_GAIN = 0.1


class Regression(TargetObjective):
    """Learn a column of numbers; see :class:`q2_aam.objectives.protocol.TargetObjective`."""

    score = headline = 'mae'
    align_labels = staticmethod(align_numbers)

    def __init__(self, context):
        labels, training = context.labels, context.config.training
        self.values, self.groups, self.coverage = labels.values, labels.groups, training.coverage
        scaling = scaling_of(labels.name, labels.values[context.rows[TRAINING]], training.target_scaling)
        self.target = dataclasses.replace(scaling, quantiles=training.loss == 'quantile')
        self.head = HeadConfig('target', self.target.outputs)
        self.loss_name, self.levels = training.loss, (0.5, (1 - self.coverage) / 2, (1 + self.coverage) / 2)
        self.validation_rows = context.rows[VALIDATION]

    @staticmethod
    def strata(labels):
        return None

    @staticmethod
    def resolved(training, labels, rows):
        """Return the training configuration with 'auto' of its target_scaling resolved on `rows`."""
        return dataclasses.replace(training, target_scaling=choose_scaling(labels, rows, training.target_scaling))

    def labels_of(self, rows):
        return torch.from_numpy(self.target.scaled(self.values[rows]).astype(np.float32))

    def outputs_loss(self, outputs_NO, true_N):
        if self.target.quantiles:
            return quantile_loss(outputs_NO, true_N, self.levels)
        return TARGET_LOSSES[self.loss_name](outputs_NO[:, 0], true_N)

    def metrics(self, network, reader):
        self.validation_outputs = reader.outputs(network, self.name, self.validation_rows)
        return self.metrics_of(self.target, self.validation_outputs, self.validation_rows)

    def describe(self):
        how = 'its square root is learned, and squared again in predictions' if self.target.sqrt else 'a number'
        return f'Target: {shown(self.target.name)}, {how}.'

    def share(self, network, ensemble, gate, rows, prior):
        """Stack the (median) outputs; see :func:`q2_aam.stats.stacking.stack_least_squares`."""
        true = self.target.scaled(self.values[rows])
        return (
            stack_least_squares(network[:, 0], ensemble[:, 0], gate, true, self.groups[rows], prior),
            1.0,
            1.0,
        )

    def calibrated(self, outputs, rows):
        """Return the target whose prediction intervals are as wide as out-of-fold errors on `rows` ask for."""
        errors = self.target.errors(outputs, self.values[rows])
        calibration = calibrate(errors, self.groups[rows], self.target.difficulty(outputs))
        warn_of_few_groups(calibration, self.coverage)
        return dataclasses.replace(self.target, calibration=calibration, coverage=self.coverage)

    def metrics_of(self, target, outputs, rows):
        return regression_metrics(target.predictions(outputs), self.values[rows])

    def score_of(self, outputs, rows):
        return float(np.abs(self.target.predictions(outputs) - self.values[rows]).mean())

    def test_metrics(self, target, outputs, rows):
        columns = target.columns(outputs)
        return interval_metrics(columns[LOWER], columns[UPPER], self.values[rows])

    def points_of(self, target, outputs, rows):
        yield 'target', target.predictions(outputs), self.values[rows]

    def random_forest(self, counts, rows, new_counts, new_rows, seed, threads):
        # scikit-learn takes a second to load
        from q2_aam.evaluation.baselines import random_forest_numbers

        predictions = random_forest_numbers(counts, self.values[rows], new_counts, seed, threads)
        return regression_metrics(predictions, self.values[new_rows])


def choose_scaling(labels, rows, how):
    """Return `how` a numeric target is to be scaled, with 'auto' resolved.

    The square root is taken of a target that is never below 0 where it is nearer to symmetric: a few large values
    would dominate the loss otherwise.

    Parameters
    ----------
    labels : q2_aam.data.labels.Labels
    rows : int64 [N]
        Rows that may be learned from; no others are looked at.
    how : str
        The parameter target_scaling.

    Raises
    ------
    UserError
        If the square root is asked for, but there are values below 0.
    """
    values = labels.values[rows]
    if how == 'sqrt' and values.min() < 0:
        raise UserError(
            f'Parameter target_scaling is sqrt, but {shown(labels.name)} is {values.min():g} for sample '
            f'{shown(labels.sample_ids[rows[values.argmin()]])}; choose standard.'
        )
    if how != AUTO:
        return how
    if values.min() < 0 or values.min() == values.max():
        return 'standard'
    with np.errstate(all='ignore'), warnings.catch_warnings():
        # values that hardly differ have no skew to speak of
        warnings.simplefilter('ignore', RuntimeWarning)
        as_it_is, of_sqrt = (abs(scipy.stats.skew(numbers)) for numbers in (values, np.sqrt(values)))
    return 'sqrt' if of_sqrt < as_it_is - MIN_GAIN else 'standard'


def _standard(values):
    return float(values.mean()), float(values.std())


# how training values become center and scale: a new scaling is an entry here and in the choices of target_scaling
SCALINGS = {
    'standard': _standard,
    'sqrt': lambda values: _standard(np.sqrt(values)),
    'minmax': lambda values: (float(values.min()), float(values.max() - values.min())),
    'none': lambda values: (0.0, 1.0),
}


def scaling_of(name, values, how):
    """Learn the scaling of a numeric target on training values; return a NumericTarget."""
    if values.max() == values.min():
        how = 'none'
    center, scale = SCALINGS[how](values)
    return NumericTarget(name, center, scale, sqrt=how == 'sqrt')
