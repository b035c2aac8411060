"""The objective of a categorical metadata column: the probability of each class.

Shapes: N samples, C classes.
"""

import dataclasses

import numpy as np
import torch

from q2_aam.bundle import ClassTarget
from q2_aam.config import AUTO, HeadConfig
from q2_aam.data.details import PROBABILITY
from q2_aam.data.labels import align_classes
from q2_aam.data.splits import TRAINING, VALIDATION
from q2_aam.errors import UserError, listed, shown
from q2_aam.model.losses import class_loss
from q2_aam.model.member_arrays import PERCEPTRONS
from q2_aam.stats.metrics import MIN_PROBABILITY, classification_metrics, log_loss, sample_weights
from q2_aam.stats.stacking import combined_shares, cost_of_logits, stack_log_loss
from q2_aam.stats.temperature import best_temperature

from .by_category import loss_weights, weights_of_forest, words_of_weights
from .protocol import TargetObjective

# The metric of the validation split that each value of select_by means, and whether it is to be large.
LOSS = 'target_loss'
SCORES = {
    'balanced_log_loss': ('balanced_log_loss', False),
    'loss': (LOSS, False),
    'log_loss': ('log_loss', False),
    'accuracy': ('accuracy', True),
    'balanced_accuracy': ('balanced_accuracy', True),
    'f1': ('macro_f1', True),
}


class Classification(TargetObjective):
    """Learn a column of classes; see :class:`q2_aam.objectives.protocol.TargetObjective`."""

    align_labels = staticmethod(align_classes)

    def __init__(self, context):
        labels, training = context.labels, context.config.training
        classes, self.values = np.unique(labels.values, return_inverse=True)
        self.groups = labels.groups
        self.target = ClassTarget(labels.name, tuple(classes))
        self.head = HeadConfig(
            'target',
            self.target.outputs,
            layers=training.head_layers,
            residual=training.residual_head,
            pooling=training.pooling,
        )
        self.dropout, self.width = training.head_dropout, context.config.model.width
        self.class_weights = training.class_weights
        self.balanced = training.class_weights == 'balanced'
        self.score, self.larger = SCORES[_select_by(training)]
        self.error = 'balanced_log_loss' if self.balanced else 'log_loss'
        self.headline = 'balanced_accuracy' if self.balanced else 'accuracy'
        samples_C = np.bincount(self.values[context.rows[TRAINING]], minlength=self.target.outputs)
        weights_C = np.ones(len(classes))
        if self.balanced:
            weights_C = samples_C.sum() / (len(classes) * samples_C)
        elif training.class_weights == 'given':
            weights_C = given_weights(labels.name, classes, samples_C, training.class_weight_of)
            # others know no weights but balanced ones
            self.kinds = (PERCEPTRONS,)
        self.smoothing, self.weights = training.label_smoothing, loss_weights(context, training)
        self.weighted = words_of_weights(context, training)
        self.weights_C = torch.from_numpy(weights_C.astype(np.float32))
        self.validation_rows = context.rows[VALIDATION]

    @staticmethod
    def strata(labels):
        """Return the class of each sample: each split is to have its share of each."""
        return labels.values

    @staticmethod
    def resolved(training, labels, rows, predict, scale_by=None):
        """Return the training configuration with 'auto' of its select_by resolved: it does not depend on the labels."""
        return dataclasses.replace(training, select_by=_select_by(training))

    def learned(self, rows):
        return self.values[rows].astype(np.int64), self.target.outputs, self.balanced

    def combine(self, outputs, rows, noise=None, prior=None):
        """Stack the logits, each at its best temperature; see :func:`q2_aam.stats.stacking.cost_of_logits`."""
        true = self.values[rows]
        scales = np.array([1 / best_temperature(logits, true, self.balanced) for logits in outputs])
        noise = None if noise is None else scales**2 * noise
        cost = cost_of_logits(scales[:, None, None] * np.stack(outputs), true, self.balanced, noise)
        shares = combined_shares(len(outputs), self.groups[rows], cost, prior)
        return shares, scales, cost(shares)

    def labels_of(self, rows):
        return torch.from_numpy(self.values[rows].astype(np.int64))

    def outputs_loss(self, outputs_NC, true_N, weights_N=None):
        return class_loss(outputs_NC, true_N, self.weights_C.to(outputs_NC.device), self.smoothing, weights_N)

    def metrics(self, network, reader):
        """Score every epoch at its best temperature.

        An epoch that tells classes apart well is not passed over because it is too sure of itself, which the
        temperature mends (Berta et al. 2025, arXiv:2501.19195).
        """
        outputs = self.validation_outputs = reader.outputs(network, self.name, self.validation_rows)
        target = self.calibrated(outputs, self.validation_rows)
        return self.metrics_of(target, outputs, self.validation_rows)

    def describe(self):
        return f'Target: {shown(self.target.name)}, {self.target.outputs:,} classes{self.weighted}.'

    def share(self, network, ensemble, gate, rows, prior):
        """Stack the logits, each at its best temperature; see :func:`q2_aam.stats.stacking.stack_log_loss`."""
        true = self.values[rows]
        scales = [1 / best_temperature(outputs, true, self.balanced) for outputs in (network, ensemble)]
        share = stack_log_loss(
            scales[0] * network, scales[1] * ensemble, gate, true, self.groups[rows], prior, self.balanced
        )
        return share, *scales

    def calibrated(self, outputs, rows, signs=None, thinned=(), generator=None):
        """Return the target with the temperature that fits out-of-fold outputs for `rows`."""
        temperature = best_temperature(outputs, self.values[rows], self.balanced)
        return dataclasses.replace(self.target, temperature=temperature)

    def metrics_of(self, target, outputs, rows):
        metrics = classification_metrics(target.probabilities(outputs), self.values[rows], self.balanced)
        return metrics | {LOSS: self._loss_of(outputs, rows)} if self.score == LOSS else metrics

    def _loss_of(self, outputs, rows):
        outputs = torch.from_numpy(outputs.astype(np.float32))
        # weights of samples are of training alone: those of a validation split may even all be 0
        return self.outputs_loss(outputs, self.labels_of(rows)).item()

    def score_of(self, outputs, rows):
        if self.score == LOSS:
            return self._loss_of(outputs, rows)
        if self.larger:
            return 1 - self.metrics_of(self.target, outputs, rows)[self.score]
        true = self.values[rows]
        return log_loss(
            outputs / best_temperature(outputs, true, self.balanced), true, self.score == 'balanced_log_loss'
        )

    def beside_guess(self, target, outputs, rows, fold):
        """Return losses; the guess is how often each class occurs or, where classes are balanced, all as likely."""
        true, number_of_classes = self.values[rows], self.target.outputs
        every = np.arange(len(rows))
        losses = -np.log(np.maximum(target.probabilities(outputs)[every, true], MIN_PROBABILITY))
        guesses = np.full(len(rows), np.log(number_of_classes))
        for number in [] if self.balanced else np.unique(fold):
            # half a sample more of each: one that no other group has must be possible
            samples_C = np.bincount(true[fold != number], minlength=number_of_classes) + 0.5
            guesses[fold == number] = -np.log(samples_C / samples_C.sum())[true[fold == number]]
        return losses, guesses, sample_weights(true, self.balanced)

    def test_metrics(self, target, outputs, rows, signs=None):
        """Return nothing: every metric of classes means something on every split."""
        return {}

    def points_of(self, target, outputs, rows):
        """Yield (plot, predicted, true) for each class: its probability, and 1 for samples of the class, else 0."""
        for code, column in enumerate(target.probabilities(outputs).T):
            yield PROBABILITY + target.classes[code], column, (self.values[rows] == code).astype(float)

    def random_forest(self, counts, rows, new_counts, new_rows, seed, threads):
        # scikit-learn takes a second to load
        from q2_aam.evaluation.baselines import random_forest_classes

        weights = self.weights
        if self.class_weights == 'given':
            weights = self.weights_C.numpy()[self.values] * (1 if weights is None else weights)
        probabilities = random_forest_classes(
            counts,
            self.values[rows],
            new_counts,
            seed,
            threads,
            'balanced' if self.balanced else None,
            self.target.outputs,
            weights_of_forest(weights, rows),
        )
        return classification_metrics(probabilities, self.values[new_rows], self.balanced)


def _select_by(training):
    if training.select_by != AUTO:
        return training.select_by
    return 'balanced_log_loss' if training.class_weights == 'balanced' else 'log_loss'


def given_weights(column: str, classes: np.ndarray, samples_C: np.ndarray, given: dict[str, float]) -> np.ndarray:
    """Return the weight of each class, float64 [C], so that its mean over training samples is 1.

    Parameters
    ----------
    column : str
        Of the metadata.
    classes : object [C]
    samples_C : int64 [C]
        Training samples of each.
    given : dict
        {class: weight}.

    Raises
    ------
    UserError
        Unless each class, and nothing else, has a weight.
    """
    wrong = sorted(set(given) ^ set(classes))
    if wrong:
        lacks = wrong[0] not in given
        raise UserError(
            f'Parameter weights_of_classes {"lacks" if lacks else "has"} {shown(wrong[0])}, which is '
            f'{"a" if lacks else "no"} class of metadata column {shown(column)}; give a weight for each of '
            f'{listed(map(shown, classes))}.'
        )
    weights_C = np.array([given[name] for name in classes])
    return weights_C * samples_C.sum() / (weights_C @ samples_C)
