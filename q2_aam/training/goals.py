"""What learning a column of numbers or of classes aims at: its loss, its calibration and its figures.

Both kinds have the same parts, and :mod:`q2_aam.training.fit` knows them by nothing else.
Shapes: B samples of a batch, C classes.
"""

import dataclasses

import numpy as np
import scipy.optimize
import scipy.special
import torch
from sklearn import metrics

from q2_aam import bundle
from q2_aam.data.targets import align_classes, align_labels
from q2_aam.model.losses import TARGET_LOSSES, class_loss

from .evaluate import interval_figures, regression_figures
from .intervals import calibrate, warn_of_few_groups
from .kernel import blend

# Temperatures from e^-3 to e^3; beyond them probabilities are all alike, or 0 and 1.
LARGEST_LOG_TEMPERATURE = 3.0
CALIBRATION_BINS = 10
# Its best epoch was chosen on the very samples that then weigh it against the kernel head, so that it looks too good.
SAMPLES_TO_TRUST_NETWORK = 200


class NumericGoal:
    """Learn a column of numbers, scaled; score it in its own unit.

    Attributes
    ----------
    kind, call : str
        Of the bundle, and of the action.
    score : str
        The figure of the validation part that is to be small.
    headline : str
        The figure of the test part that its user is told.
    outputs : int
        Of the network.
    align : callable
        See :func:`q2_aam.data.targets.align_labels`.
    """

    kind, call, score, headline = bundle.REGRESSOR, 'fit-regressor', 'mae', 'mae'
    align = staticmethod(align_labels)

    def __init__(self, labels, training_rows, training):
        self.values, self.groups, self.coverage = labels.values, labels.groups, training.coverage
        self.target = scaling_of(labels.name, labels.values[training_rows], training.target_scaling)
        self.outputs = self.target.outputs
        self.loss_of_scaled = TARGET_LOSSES[training.loss]

    @staticmethod
    def strata(labels):
        """Return what each part is to have its share of: nothing, parts are blind to numbers."""
        return None

    def loss(self, outputs_BO, rows):
        """Return the loss of the network's outputs for `rows` of the study."""
        true_B = torch.from_numpy(self.target.scaled(self.values[rows]).astype(np.float32)).to(outputs_BO.device)
        return self.loss_of_scaled(outputs_BO[:, 0], true_B)

    def calibrated(self, outputs, rows):
        """Return the target of the bundle, whose prediction intervals are as wide as errors on these samples ask for.

        `outputs` are for `rows` of the study, of which the model that gave them has learned none.
        """
        calibration = calibrate(self.target.unscaled(outputs[:, 0]) - self.values[rows], self.groups[rows])
        return dataclasses.replace(self.target, calibration=calibration, coverage=self.coverage)

    @staticmethod
    def warn_of(target):
        """Warn the user of what a calibrated target cannot promise."""
        warn_of_few_groups(target.calibration, target.coverage)

    def figures(self, target, outputs, rows):
        """Return {figure: value} of outputs for `rows`, read as `target` tells."""
        return self.figures_of(target.unscaled(outputs[:, 0]), rows)

    def figures_of(self, predicted, rows):
        """Return {figure: value} of predictions for `rows`, whoever made them."""
        return regression_figures(predicted, self.values[rows])

    def test_figures(self, target, outputs, rows):
        """Return figures, too, that mean something only where `rows` had no say in the calibration."""
        columns = target.columns(outputs)
        return interval_figures(columns[bundle.LOWER], columns[bundle.UPPER], self.values[rows])

    def points(self, target, outputs, rows):
        """Yield (plot, predicted, true)."""
        yield 'target', target.unscaled(outputs[:, 0]), self.values[rows]

    def kernel_targets(self, rows):
        """Return what the kernel head learns of `rows` of the study, float64 [rows, outputs]."""
        return self.target.scaled(self.values[rows])[:, None]

    def weights(self, network, kernel, rows, prior):
        """Return with which weights outputs for `rows`, of which neither has learned, are best put together.

        `prior` is the weight of the network where there is no telling.
        """
        return blend([network, kernel], self.kernel_targets(rows), [prior, 1 - prior], SAMPLES_TO_TRUST_NETWORK)


class CategoricalGoal:
    """Learn a column of classes; see :class:`NumericGoal` for what it has."""

    kind, call = bundle.CLASSIFIER, 'fit-classifier'
    align = staticmethod(align_classes)

    def __init__(self, labels, training_rows, training):
        names, self.values = np.unique(labels.values, return_inverse=True)
        self.groups = labels.groups
        self.target = bundle.Classes(labels.name, tuple(names), 1.0)
        self.outputs = self.target.outputs
        self.balanced = training.class_weights == 'balanced'
        self.score = 'balanced_log_loss' if self.balanced else 'log_loss'
        self.headline = 'balanced_accuracy' if self.balanced else 'accuracy'
        samples_C = np.bincount(self.values[training_rows], minlength=self.outputs)
        weights_C = samples_C.sum() / (self.outputs * samples_C) if self.balanced else np.ones(self.outputs)
        self.weights_C = torch.from_numpy(weights_C.astype(np.float32))

    @staticmethod
    def strata(labels):
        """Return the class of each sample: each part is to have its share of each."""
        return labels.values

    def loss(self, outputs_BC, rows):
        """Return the loss of the network's outputs for `rows` of the study."""
        device = outputs_BC.device
        return class_loss(outputs_BC, torch.from_numpy(self.values[rows]).to(device), self.weights_C.to(device))

    def calibrated(self, outputs, rows):
        """Return the target of the bundle, with the temperature that fits these samples.

        The loop scores every epoch so: an epoch that tells classes apart well is not passed over because it is too
        sure of itself, which the temperature mends (Berta et al. 2025, arXiv:2501.19195).
        """
        temperature = best_temperature(outputs, self.values[rows], self.balanced)
        return bundle.Classes(self.target.name, self.target.classes, temperature)

    @staticmethod
    def warn_of(target):
        """Probabilities promise no coverage: there is nothing to warn of."""

    def figures(self, target, outputs, rows):
        """Return {figure: value} of outputs for `rows`, read as `target` tells."""
        return self.figures_of(target.probabilities(outputs), rows)

    def figures_of(self, probabilities, rows):
        """Return {figure: value} of probabilities for `rows`, whoever made them."""
        return classification_figures(probabilities, self.values[rows], self.balanced)

    def test_figures(self, target, outputs, rows):
        """Return nothing: every figure of classes means something everywhere."""
        return {}

    def points(self, target, outputs, rows):
        """Yield (plot, predicted, true) for each class: its probability, and 1 for samples that are of it, else 0."""
        for code, column in enumerate(target.probabilities(outputs).T):
            yield bundle.PROBABILITY + target.classes[code], column, (self.values[rows] == code).astype(float)

    def kernel_targets(self, rows):
        """Return 1 for the class of a sample and 0 for the others; balanced, as if classes were equally common."""
        targets_NC = np.eye(self.outputs)[self.values[rows]]
        return targets_NC / (self.outputs * targets_NC.mean(axis=0)) if self.balanced else targets_NC

    def weights(self, network, kernel, rows, prior):
        """Return the weights that make both as sure as they may be on `rows`, times `prior` and the rest.

        Which of two is the better classifier, the few samples of a validation part do not tell.
        """
        own, other = (best_temperature(outputs, self.values[rows], self.balanced) for outputs in (network, kernel))
        return prior / own, (1 - prior) / other


def scaling_of(name, values, how):
    """Learn the scaling of a numeric target on training values."""
    if how == 'none' or values.max() == values.min():
        return bundle.Target(name, 0.0, 1.0)
    if how == 'minmax':
        return bundle.Target(name, float(values.min()), float(values.max() - values.min()))
    if how == 'root':
        return bundle.Target(name, float(np.sqrt(values).mean()), float(np.sqrt(values).std()), root=True)
    return bundle.Target(name, float(values.mean()), float(values.std()))


def best_temperature(outputs, true, balanced=False):
    """Find the temperature at which the probabilities of samples have the smallest log loss (Guo et al. 2017).

    Few samples that are all told right would ask for certainty. So the logarithm of the temperature is taken to be
    normal (0, 1) before anything is seen, which a hundred samples outweigh.

    Parameters
    ----------
    outputs : float64 [samples, C]
    true : int64 [samples]
    balanced : bool
        Whether each class counts the same, however many samples it has.
    """
    weights = sample_weights(true, balanced)

    def cost(logarithm):
        own = scipy.special.log_softmax(outputs / np.exp(logarithm), axis=1)[np.arange(len(true)), true]
        return -np.average(own, weights=weights) + logarithm**2 / (2 * len(true))

    bounds = (-LARGEST_LOG_TEMPERATURE, LARGEST_LOG_TEMPERATURE)
    return float(np.exp(scipy.optimize.minimize_scalar(cost, bounds=bounds, method='bounded').x))


def sample_weights(true, balanced):
    """Return a weight for each sample: 1, or balanced, so much that each class counts the same."""
    return 1 / np.bincount(true)[true] if balanced else np.ones(len(true))


def classification_figures(probabilities, true, balanced=False):
    """Return the figures of probabilities, float64 [samples, C], for classes int64 [samples].

    Classes without samples have no part in the averages over classes. ``roc_auc`` (each class against the rest) is NaN
    where all samples are of one class. ``calibration_error`` is how far confidence and accuracy lie apart on average
    over ten bins of confidence (Naeini et al. 2015); balanced, each class has the same weight in it.
    """
    predicted = probabilities.argmax(axis=1)
    present = np.unique(true)
    areas = [metrics.roc_auc_score(true == code, probabilities[:, code]) for code in present if len(present) > 1]
    every = np.arange(probabilities.shape[1])
    return {
        'accuracy': float(metrics.accuracy_score(true, predicted)),
        'balanced_accuracy': float(metrics.recall_score(true, predicted, labels=present, average='macro')),
        'macro_f1': float(metrics.f1_score(true, predicted, labels=present, average='macro')),
        'roc_auc': float(np.mean(areas)) if areas else float('nan'),
        'log_loss': float(metrics.log_loss(true, probabilities, labels=every)),
        'balanced_log_loss': float(
            metrics.log_loss(true, probabilities, labels=every, sample_weight=sample_weights(true, True))
        ),
        'calibration_error': calibration_error(probabilities, true, sample_weights(true, balanced)),
    }


def calibration_error(probabilities, true, weights):
    """Return the expected calibration error of the likeliest class."""
    confidence = probabilities.max(axis=1)
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    surplus = weights * (confidence - (probabilities.argmax(axis=1) == true))
    return float(np.abs(np.bincount(bins, surplus)).sum() / weights.sum())
