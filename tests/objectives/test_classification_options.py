"""Weights of classes, label smoothing, and what epochs of a classifier are chosen by."""

import numpy as np
import pytest
import torch

from q2_aam.errors import UserError
from q2_aam.model.member_arrays import PERCEPTRONS
from q2_aam.objectives import Classification

CLASSES = np.array(['a', 'a', 'a', 'b', 'a', 'b', 'a', 'b'], dtype=object)


@pytest.fixture
def classification(context_of):
    """The objective of CLASSES, of which the first five are training samples: four a and one b."""
    return lambda **options: Classification.align(
        context_of(CLASSES, np.arange(5), np.arange(5, 8), kind='classifier', **options)
    )


def test_given_weights_have_a_mean_of_1_over_training_samples(classification):
    objective = classification(class_weights='given', weights_of_classes=['a=2', 'b=12'])
    assert objective.weights_C.tolist() == pytest.approx([0.5, 3.0])
    assert objective.kinds == (PERCEPTRONS,) and not objective.balanced
    logits = torch.zeros(1, 2)
    costs = [objective.outputs_loss(logits, torch.tensor([number])).item() for number in (0, 1)]
    assert costs == pytest.approx([0.5, 3.0])


def test_equal_weights_are_no_weights(classification):
    even = classification(class_weights='given', weights_of_classes=['a=7', 'b=7'])
    assert torch.equal(even.weights_C, classification(class_weights='none').weights_C)


@pytest.mark.parametrize(
    ('weights', 'words'),
    [(['a=1'], "lacks 'b', which is a class"), (['a=1', 'b=1', 'c=1'], "has 'c', which is no class")],
)
def test_every_class_needs_a_weight_and_nothing_else(classification, weights, words):
    with pytest.raises(UserError) as error:
        classification(class_weights='given', weights_of_classes=weights)
    assert str(error.value) == (
        f"Parameter weights_of_classes {words} of metadata column 'stage'; give a weight for each of 'a', 'b'."
    )


def test_label_smoothing_makes_certainty_cost(classification):
    sure, right = torch.tensor([[50.0, 0.0]]), torch.tensor([0])
    options = {'class_weights': 'none'}
    assert classification(**options).outputs_loss(sure, right).item() < 1e-6
    # a tenth of the label is spread over both classes
    expected = 0.05 * 50 / np.log(2)
    assert classification(label_smoothing=0.1, **options).outputs_loss(sure, right).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ('select_by', 'metric', 'larger'),
    [
        ('auto', 'balanced_log_loss', False),
        ('loss', 'target_loss', False),
        ('log_loss', 'log_loss', False),
        ('accuracy', 'accuracy', True),
        ('balanced_accuracy', 'balanced_accuracy', True),
        ('f1', 'macro_f1', True),
    ],
)
def test_epochs_are_scored_by_what_is_asked_for(classification, select_by, metric, larger):
    objective = classification(select_by=select_by)
    assert (objective.score, objective.larger) == (metric, larger)
    rows = objective.validation_rows
    good, bad = np.array([[0.0, 2.0], [2.0, 0.0], [0.0, 2.0]]), np.array([[2.0, 0.0], [2.0, 1.0], [0.0, 2.0]])
    first, second = (objective.metrics_of(objective.target, one, rows)[metric] for one in (good, bad))
    assert (first > second) == larger
    assert 0 <= objective.score_of(good, rows) < objective.score_of(bad, rows)


def test_auto_counts_samples_where_classes_are_not_balanced(classification):
    assert classification(class_weights='none').score == 'log_loss'
