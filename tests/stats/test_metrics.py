"""Metrics equal those of scikit-learn and of a calculation by hand, also where something is constant or missing."""

import numpy as np
import pytest
from sklearn import metrics

from q2_aam.stats.metrics import (
    calibration_error,
    classification_metrics,
    interval_metrics,
    log_loss,
    regression_metrics,
    sample_weights,
)


def test_metrics_of_numbers_equal_those_of_scikit_learn():
    random = np.random.default_rng(1)
    true, predicted = random.normal(size=50), random.normal(size=50)
    assert regression_metrics(predicted, true) == {
        'mae': pytest.approx(metrics.mean_absolute_error(true, predicted)),
        'median_absolute_error': pytest.approx(metrics.median_absolute_error(true, predicted)),
        'rmse': pytest.approx(metrics.mean_squared_error(true, predicted) ** 0.5),
        'r2': pytest.approx(metrics.r2_score(true, predicted)),
        'r': pytest.approx(np.corrcoef(true, predicted)[0, 1]),
    }


def test_metrics_of_numbers_are_those_of_a_calculation_by_hand():
    result = regression_metrics(np.array([1.0, 2, 6]), np.array([1.0, 3, 2]))
    assert result == {
        'mae': pytest.approx(5 / 3),
        'median_absolute_error': 1.0,
        'rmse': pytest.approx((17 / 3) ** 0.5),
        'r2': pytest.approx(1 - 17 / 2),
        # products of deviations (-2, -1, 3) and (-1, 1, 0), over the root of 14 times 2
        'r': pytest.approx(1 / 28**0.5),
    }


@pytest.mark.parametrize(
    ('predicted', 'true', 'undefined'),
    [
        ([1.0, 2, 3], [0.1, 0.1, 0.1], ['r2', 'r']),
        ([0.1, 0.1, 0.1], [1.0, 2, 3], ['r']),
        ([1.0], [2.0], ['r2', 'r']),
    ],
)
def test_what_a_constant_leaves_undefined_is_nan(predicted, true, undefined):
    result = regression_metrics(predicted, true)
    assert [name for name, value in result.items() if np.isnan(value)] == undefined


def test_metrics_of_classes_equal_those_of_scikit_learn():
    random = np.random.default_rng(1)
    true = random.integers(0, 3, 60)
    # rounded, so that there are ties
    probabilities = random.dirichlet(np.ones(3), 60).round(1) + 0.05
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    predicted, weights = probabilities.argmax(axis=1), sample_weights(true, True)
    result = classification_metrics(probabilities, true)
    del result['calibration_error']
    assert result == {
        'accuracy': pytest.approx(metrics.accuracy_score(true, predicted)),
        'balanced_accuracy': pytest.approx(metrics.balanced_accuracy_score(true, predicted)),
        'macro_f1': pytest.approx(metrics.f1_score(true, predicted, average='macro')),
        'roc_auc': pytest.approx(metrics.roc_auc_score(true, probabilities, multi_class='ovr')),
        'log_loss': pytest.approx(metrics.log_loss(true, probabilities)),
        'balanced_log_loss': pytest.approx(metrics.log_loss(true, probabilities, sample_weight=weights)),
    }


def test_metrics_of_three_classes_are_those_of_a_calculation_by_hand():
    true = np.array([0, 0, 0, 1, 1, 2])
    of_true = np.array([0.8, 0.5, 0.2, 0.5, 0.1, 0.2])
    probabilities = np.array(
        [[0.8, 0.1, 0.1], [0.5, 0.4, 0.1], [0.2, 0.7, 0.1], [0.3, 0.5, 0.2], [0.8, 0.1, 0.1], [0.7, 0.1, 0.2]]
    )
    result = classification_metrics(probabilities, true)
    # right are samples 0, 1 and 3
    assert result['accuracy'] == pytest.approx(3 / 6)
    assert result['balanced_accuracy'] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    # precision of the classes: 2 of 4, 1 of 2, none
    assert result['macro_f1'] == pytest.approx((2 * 2 / (4 + 3) + 2 * 1 / (2 + 2) + 0) / 3)
    assert result['log_loss'] == pytest.approx(-np.log(of_true).mean())
    by_class = [-np.log(of_true[true == c]).mean() for c in range(3)]
    assert result['balanced_log_loss'] == pytest.approx(np.mean(by_class))
    # pairs in the right order, ties by half
    areas = []
    for c in range(3):
        inside, outside = probabilities[true == c, c], probabilities[true != c, c]
        above = (inside[:, None] > outside).mean() + 0.5 * (inside[:, None] == outside).mean()
        areas.append(above)
    assert result['roc_auc'] == pytest.approx(np.mean(areas))


def test_calibration_error_is_the_gap_of_confidence_and_accuracy_in_each_bin():
    probabilities = np.array([[0.72, 0.28], [0.78, 0.22], [0.1, 0.9], [0.0, 1.0]])
    true = np.array([0, 1, 1, 1])
    # in the bin from 0.7 on one of two is right; at 0.9 and above all are
    assert calibration_error(probabilities, true, np.ones(4)) == pytest.approx((1.5 - 1 + 2 - 1.9) / 4)
    # balanced, the only sample of class 0 weighs as much as the other three together
    result = classification_metrics(probabilities, true, balanced=True)['calibration_error']
    assert result == pytest.approx((abs((0.72 - 1) + 0.78 / 3) + 0.1 / 3) / 2)


def test_classes_without_samples_are_left_out_of_averages():
    probabilities = np.array([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5], [0.1, 0.8, 0.1]])
    result = classification_metrics(probabilities, np.array([0, 1, 1]))
    assert result['balanced_accuracy'] == pytest.approx((1 + 1 / 2) / 2)
    assert result['roc_auc'] == pytest.approx((1.0 + 0.75) / 2)
    alone = classification_metrics(probabilities[:1], np.array([0]))
    assert alone['accuracy'] == 1 and np.isnan(alone['roc_auc'])
    assert alone['log_loss'] == alone['balanced_log_loss'] == pytest.approx(-np.log(0.6))


def test_certainty_of_a_wrong_class_costs_a_finite_loss():
    result = classification_metrics(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([1, 1]))
    assert result['log_loss'] == result['balanced_log_loss'] == pytest.approx(-np.log(1e-15) / 2)


def test_log_loss_of_logits_is_that_of_their_probabilities():
    random = np.random.default_rng(2)
    logits, true = random.normal(0, 3, (40, 3)), random.integers(0, 3, 40)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    result = classification_metrics(probabilities, true)
    assert log_loss(logits, true) == pytest.approx(result['log_loss'])
    assert log_loss(logits, true, balanced=True) == pytest.approx(result['balanced_log_loss'])
    # where probabilities would be 0
    assert log_loss(np.array([[1000.0, 0]]), np.array([1])) == 1000


def test_coverage_of_intervals_counts_their_ends():
    lower, upper = np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0, 7.0])
    result = interval_metrics(lower, upper, np.array([0.0, 2.0, 4.5, 2.5]))
    assert result == {'interval_coverage': 0.5, 'interval_width': 2.0}
