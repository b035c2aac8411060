"""The objective of a categorical column: weights, temperature, share and classes that a split lacks."""

import dataclasses
import types

import numpy as np
import pytest
import scipy.sparse
import torch

from q2_aam.config import FitClassifierConfig
from q2_aam.data.labels import Labels
from q2_aam.objectives import Classification
from q2_aam.stats.metrics import log_loss
from q2_aam.stats.stacking import PRIOR_GROUPS, combined_shares, cost_of_logits, stack_log_loss
from q2_aam.stats.temperature import best_temperature

CLASSES = np.array(['b', 'a', 'b', '10', 'b', 'a', '10', 'b'], dtype=object)


@pytest.fixture
def classification(context_of):
    def make(class_weights='balanced', values=CLASSES, **options):
        return Classification.align(context_of(values, kind='classifier', class_weights=class_weights, **options))

    return make


def test_classes_are_sorted_names_and_balanced_weights_make_them_equal(classification):
    balanced, plain = classification(), classification('none')
    assert balanced.target.classes == ('10', 'a', 'b') and balanced.head.outputs == 3
    assert balanced.values.tolist() == [2, 1, 2, 0, 2, 1, 0, 2]
    assert balanced.weights_C.tolist() == pytest.approx([8 / 6, 8 / 6, 8 / 12])
    assert plain.weights_C.tolist() == [1, 1, 1]
    assert (balanced.score, plain.score) == ('balanced_log_loss', 'log_loss')
    assert (balanced.headline, plain.headline) == ('balanced_accuracy', 'accuracy')
    true = balanced.labels_of(np.arange(8))
    # knowing nothing costs 1, whatever the weights
    assert [one.outputs_loss(torch.zeros(8, 3), true).item() for one in (balanced, plain)] == pytest.approx([1, 1])


def test_weights_are_those_of_training_samples_alone(classification):
    # of classes 10, a and b there are 1, 1 and 3 among the first five
    assert classification(training=range(5)).weights_C.tolist() == pytest.approx([5 / 3, 5 / 3, 5 / 9])


def test_the_loss_compares_the_logits_of_a_batch_with_its_classes(classification):
    objective = classification('none')
    batch = types.SimpleNamespace(labels={})
    objective.label(batch, types.SimpleNamespace(rows=np.array([3, 0])), None, None)
    assert batch.labels['target'].tolist() == [0, 2]
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]]))
    value, metrics = objective.loss(types.SimpleNamespace(heads={'target': logits}), batch)
    expected = -(np.log(0.5) + np.log(0.6)) / 2 / np.log(3)
    assert value.item() == pytest.approx(expected) and metrics == {'target_loss': pytest.approx(expected)}


def test_points_are_the_probability_of_each_class_and_whether_a_sample_is_of_it(classification):
    outputs = np.log(np.array([[0.2, 0.3, 0.5], [0.6, 0.2, 0.2]]))
    objective = classification()
    points = list(objective.points_of(objective.target, outputs, np.array([0, 3])))
    assert [plot for plot, _, _ in points] == ['probability_10', 'probability_a', 'probability_b']
    assert [list(predicted) for _, predicted, _ in points] == [
        pytest.approx(column) for column in ([0.2, 0.6], [0.3, 0.2], [0.5, 0.2])
    ]
    assert [list(true) for _, _, true in points] == [[0, 1], [0, 0], [1, 0]]


def test_splits_have_their_share_of_each_class():
    ids = [f's{row}' for row in range(8)]
    assert list(Classification.strata(Labels('stage', ids, CLASSES, np.array(ids)))) == list(CLASSES)


def test_out_of_fold_outputs_calibrate_the_temperature(classification):
    objective, outputs = classification(), np.tile([3.0, 0.0, 0.0], (8, 1))
    target = objective.calibrated(outputs, np.arange(8))
    assert target.temperature == pytest.approx(best_temperature(outputs, objective.values, True))
    assert target.temperature > 2 and target.classes == objective.target.classes
    assert objective.test_metrics(target, outputs, np.arange(8)) == {}


def test_validation_samples_are_scored_at_their_best_temperature(classification):
    objective = classification(training=range(4), validation=(4, 5, 6, 7))
    right = np.eye(3)[objective.values[4:]]
    right[0] = [1, 0, 0]
    scores = []
    for sureness in (1.0, 50.0):
        reader = types.SimpleNamespace(outputs=lambda network, head, rows, k=sureness: k * right)
        scores.append(objective.metrics(None, reader)['balanced_log_loss'])
    # being far too sure costs little where a temperature mends it
    assert scores[1] < 1 < 8 < log_loss(50 * right, objective.values[4:], True)
    assert scores[1] == pytest.approx(scores[0], abs=0.2)
    assert len(list(objective.points(None, reader))) == 3


def test_network_and_ensemble_are_stacked_each_as_sure_as_it_may_be(classification):
    random = np.random.default_rng(3)
    logits, other = random.normal(0, 2, (2, 4000, 3))
    true = (logits + other + random.gumbel(size=logits.shape)).argmax(axis=1)
    objective = classification('none', np.array(['a', 'b', 'c'], dtype=object)[true])
    rows, gate = np.arange(4000), random.random(4000)
    share, *scales = objective.share(2 * logits, other / 2, gate, rows, 0.1)
    assert scales == pytest.approx([1 / best_temperature(2 * logits, true), 1 / best_temperature(other / 2, true)])
    # twice as sure, and half as sure, as it may be
    assert scales[0] / scales[1] == pytest.approx(1 / 4, rel=0.1)
    expected = stack_log_loss(scales[0] * 2 * logits, scales[1] * other / 2, gate, true, rows, 0.1)
    assert share == pytest.approx(expected) and 0.2 < share < 0.8


@pytest.mark.parametrize('class_weights', ['none', 'balanced'])
def test_the_better_classifier_has_the_larger_share(classification, class_weights):
    objective, rows = classification(class_weights), np.arange(8)
    # a network that says nothing, and an ensemble that is right as a rule
    right = 2 * np.eye(3)[objective.values]
    right[0] = [2, 0, 0]
    temperature = best_temperature(right, objective.values, class_weights == 'balanced')
    share, network, ensemble = objective.share(np.zeros((8, 3)), right, np.ones(8), rows, 0.5)
    # all to the ensemble, but for what the prior keeps
    assert share == pytest.approx(0.5 * PRIOR_GROUPS / (8 + PRIOR_GROUPS), abs=0.01)
    assert ensemble == pytest.approx(1 / temperature)
    # of what says nothing every temperature is alike: there it is that of no evidence
    assert network == pytest.approx(1, rel=1e-3)


def test_the_same_logits_twice_leave_the_share_to_the_prior(classification):
    logits = np.random.default_rng(5).normal(0, 2, (8, 3))
    objective = classification('none')
    share, network, ensemble = objective.share(logits, logits, np.ones(8), np.arange(8), 0.1)
    assert (share, network) == (pytest.approx(0.1), ensemble)
    assert ensemble == pytest.approx(1 / best_temperature(logits, objective.values))


@pytest.mark.parametrize('class_weights', ['none', 'balanced'])
def test_kinds_of_members_are_combined_each_as_sure_as_it_may_be(classification, class_weights):
    random = np.random.default_rng(3)
    logits, other = random.normal(0, 2, (2, 400, 3))
    true = (logits + other + random.gumbel(size=logits.shape)).argmax(axis=1)
    objective = classification(class_weights, np.array(['a', 'b', 'c'], dtype=object)[true])
    rows, balanced = np.arange(0, 400, 2), class_weights == 'balanced'
    values, classes, is_balanced = objective.learned(rows)
    assert (values.tolist(), classes, is_balanced) == (true[rows].tolist(), 3, balanced)
    parts = [4 * logits[rows], other[rows] / 4, random.normal(0, 5, (200, 3))]
    shares, scales, _ = objective.combine(parts, rows)
    assert scales == pytest.approx([1 / best_temperature(part, true[rows], balanced) for part in parts])
    scaled = np.stack([scale * part for scale, part in zip(scales, parts)])
    assert shares == pytest.approx(combined_shares(len(scaled), rows, cost_of_logits(scaled, true[rows], balanced)))
    # logits that say nothing are as sure as nothing, whatever their share
    assert scales[2] < 0.2 * scales[1] and shares.sum() == pytest.approx(1)
    # what does not depend on the labels does not either on what predicts them
    training = FitClassifierConfig.from_flat({'class_weights': class_weights}).training
    chosen = 'balanced_log_loss' if class_weights == 'balanced' else 'log_loss'
    assert objective.resolved(training, None, rows, None) == dataclasses.replace(training, select_by=chosen)


def test_what_is_learned_is_described(classification):
    assert classification().describe() == "Target: 'stage', 3 classes."


@pytest.mark.parametrize('class_weights', ['none', 'balanced'])
def test_the_random_forest_is_that_of_the_baselines(classification, class_weights):
    from q2_aam.evaluation.baselines import random_forest_classes

    objective, rows, new = classification(class_weights), np.arange(5), np.arange(5, 8)
    random = np.random.default_rng(1)
    counts = scipy.sparse.csr_matrix(np.column_stack([objective.values * 5.0, random.integers(0, 9, (8, 3))]))
    metrics = objective.random_forest(counts[rows], rows, counts[new], new, 3, 1)
    weights = 'balanced' if class_weights == 'balanced' else None
    probabilities = random_forest_classes(counts[rows], objective.values[rows], counts[new], 3, 1, weights, 3)
    assert metrics['accuracy'] == (probabilities.argmax(axis=1) == objective.values[new]).mean()


def test_the_random_forest_has_the_weights_of_samples_and_those_given_of_classes(classification):
    from q2_aam.evaluation.baselines import random_forest_classes

    objective, rows, new = classification(), np.arange(5), np.arange(5, 8)
    random = np.random.default_rng(1)
    counts = scipy.sparse.csr_matrix(random.integers(0, 9, (8, 4)).astype(float))
    objective.weights = np.array([0, 5, 1, 5, 1, 1, 1, 1], dtype=np.float32)
    objective.class_weights, objective.weights_C = 'given', torch.tensor([1.0, 2.0, 3.0])
    objective.balanced = False
    weights = np.array([0.0, 5, 1, 5, 1]) * np.array([1.0, 2, 3])[objective.values[rows]]
    expected = random_forest_classes(counts[rows], objective.values[rows], counts[new], 3, 1, None, 3, weights)
    found = objective.random_forest(counts[rows], rows, counts[new], new, 3, 1)
    assert found['accuracy'] == (expected.argmax(axis=1) == objective.values[new]).mean()
    of_true = expected[np.arange(3), objective.values[new]]
    assert found['log_loss'] == pytest.approx(-np.log(np.maximum(of_true, 1e-15)).mean())
