"""What learning a column of numbers or of classes aims at: its loss, its calibration and its figures.

Both kinds have the same parts, and :mod:`q2_aam.training.fit` knows them by nothing else.
Shapes: B samples of a batch, C classes.
"""

import dataclasses
import warnings

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats
import torch
from sklearn import metrics

from q2_aam import bundle
from q2_aam.config import AUTO
from q2_aam.data.labels import align_classes, align_labels
from q2_aam.errors import UserError
from q2_aam.model.losses import TARGET_LOSSES, class_loss, quantile_loss
from q2_aam.runtime.encode import regression_figures
from q2_aam.stats.conformal import calibrate, interval_figures, warn_of_few_groups

# Temperatures from e^-3 to e^3; beyond them probabilities are all alike, or 0 and 1.
LARGEST_LOG_TEMPERATURE = 3.0
CALIBRATION_BINS = 10
# Samples of the validation part that count as one where network and profile head are weighed: those of a group are
# alike, and the network's best epoch was chosen on them.
SAMPLES_AS_ONE = 10
# A square root must make a target this much less skewed: among few samples it may look so by chance.
LEAST_GAIN = 0.1
# Least mean squared error of a scaled target that is told from 0.
LEAST_ERROR = 1e-12


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
        See :func:`q2_aam.data.labels.align_labels`.
    """

    kind, call, score, headline = bundle.REGRESSOR, 'fit-regressor', 'mae', 'mae'
    align = staticmethod(align_labels)

    def __init__(self, labels, training_rows, training):
        self.values, self.groups, self.coverage = labels.values, labels.groups, training.coverage
        target = scaling_of(labels.name, labels.values[training_rows], training.target_scaling)
        self.target = dataclasses.replace(target, quantiles=training.loss == 'quantile')
        self.outputs = self.target.outputs
        self.loss_name = training.loss
        self.levels = (0.5, (1 - self.coverage) / 2, (1 + self.coverage) / 2)

    @staticmethod
    def strata(labels):
        """Return what each part is to have its share of: nothing, parts are blind to numbers."""
        return None

    def loss(self, outputs_BO, rows):
        """Return the loss of the network's outputs for `rows` of the study."""
        true_B = torch.from_numpy(self.target.scaled(self.values[rows]).astype(np.float32)).to(outputs_BO.device)
        if self.target.quantiles:
            return quantile_loss(outputs_BO, true_B, self.levels)
        return TARGET_LOSSES[self.loss_name](outputs_BO[:, 0], true_B)

    def calibrated(self, outputs, rows):
        """Return the target of the bundle, whose prediction intervals are as wide as errors on these samples ask for.

        `outputs` are for `rows` of the study, of which the model that gave them has learned none.
        """
        errors = self.target.unscaled(outputs[:, 0]) - self.values[rows]
        calibration = calibrate(errors, self.groups[rows], self.target.difficulty(outputs))
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

    def weights(self, network, profile, rows, prior):
        """Return how outputs for `rows`, of which neither has learned, are best put together.

        Parameters
        ----------
        network, profile : float64 [samples, outputs]
            Of the network and of the profile head.
        rows : int64 [samples]
        prior : float
            The share of the network where there is no telling.

        Returns
        -------
        share : float
            That of the network.
        own, other : float
            What outputs of the network and of the profile head are multiplied by before they are put together.
        """
        errors = (self.target.scaled(self.values[rows]) - outputs[:, 0] for outputs in (network, profile))
        of_network, of_profile = (np.log(np.square(error).mean() + LEAST_ERROR) / 2 for error in errors)
        return network_share(of_network, of_profile, len(rows), prior), 1.0, 1.0


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

    def weights(self, network, profile, rows, prior):
        """Return the share of the network, and what makes both as sure as they may be; see :class:`NumericGoal`."""
        true = self.values[rows]
        both = (network, profile)
        own, other = (1 / best_temperature(outputs, true, self.balanced) for outputs in both)
        scaled = zip((own, other), both)
        of_network, of_profile = (log_loss(factor * outputs, true, self.balanced) for factor, outputs in scaled)
        return network_share(of_network, of_profile, len(rows), prior), own, other


def choose_scaling(labels, rows, how):
    """Return `how` a numeric target is to be scaled, with 'auto' resolved.

    The square root is taken of a target that is never below 0 where it is nearer to symmetric: a few large values
    would have most of the say otherwise.

    Parameters
    ----------
    labels : q2_aam.data.labels.Labels
    rows : int64 [samples]
        Rows that may be learned from; no others are looked at.
    how : str
        The parameter target_scaling.

    Raises
    ------
    UserError
        If the square root is asked for, but there are values below 0.
    """
    values = labels.values[rows]
    if how == 'root' and values.min() < 0:
        raise UserError(
            f'Parameter target_scaling is root, but "{labels.name}" is {values.min():g} for sample '
            f'{labels.sample_ids[rows[values.argmin()]]}; choose standard.'
        )
    if how != AUTO:
        return how
    if values.min() < 0 or values.min() == values.max():
        return 'standard'
    with np.errstate(all='ignore'), warnings.catch_warnings():
        # values that hardly differ have no skew to speak of
        warnings.simplefilter('ignore', RuntimeWarning)
        as_it_is, of_root = (abs(scipy.stats.skew(numbers)) for numbers in (values, np.sqrt(values)))
    return 'root' if of_root < as_it_is - LEAST_GAIN else 'standard'


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

    def cost(logarithm):
        return log_loss(outputs / np.exp(logarithm), true, balanced) + logarithm**2 / (2 * len(true))

    bounds = (-LARGEST_LOG_TEMPERATURE, LARGEST_LOG_TEMPERATURE)
    return float(np.exp(scipy.optimize.minimize_scalar(cost, bounds=bounds, method='bounded').x))


def log_loss(outputs, true, balanced):
    """Return the mean log loss of the classes `true`, int64 [samples], given outputs [samples, C]."""
    own = scipy.special.log_softmax(outputs, axis=1)[np.arange(len(true)), true]
    return float(-np.average(own, weights=sample_weights(true, balanced)))


def network_share(network, profile, samples, prior):
    """Return the share of the network in a blend, from its mean negative log likelihood and that of the profile head.

    Pseudo-Bayesian model averaging (Yao et al. 2018, doi:10.1214/17-BA1091): whichever makes left-out samples likelier
    gets the more, the more of these there are.

    Parameters
    ----------
    network, profile : float
        A sample, up to a constant that both have.
    samples : int
    prior : float
        The share where both are alike.
    """
    evidence = (profile - network) * samples / SAMPLES_AS_ONE
    return float(scipy.special.expit(scipy.special.logit(prior) + evidence))


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
