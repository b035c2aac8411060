"""What columns of numbers and of classes aim at: known answers, and classes that a part lacks."""

import dataclasses

import numpy as np
import pytest
import torch

from q2_aam import bundle
from q2_aam.config import FitClassifierConfig, FitConfig
from q2_aam.data.targets import Labels
from q2_aam.errors import AAMWarning
from q2_aam.training.goals import (
    CategoricalGoal,
    NumericGoal,
    best_temperature,
    calibration_error,
    classification_figures,
    scaling_of,
)

CLASSES = ['b', 'a', 'b', '10', 'b', 'a', '10', 'b']


def labels(values):
    ids = [f's{i}' for i in range(len(values))]
    return Labels('stage', ids, np.array(values), np.array(ids))


def goal(class_weights='balanced'):
    training = dataclasses.replace(FitClassifierConfig().training, class_weights=class_weights)
    return CategoricalGoal(labels(np.array(CLASSES, dtype=object)), np.arange(8), training)


@pytest.mark.parametrize('temperature', [0.5, 1.0, 3.0])
@pytest.mark.parametrize('balanced', [True, False])
def test_the_temperature_of_drawn_classes_is_found(temperature, balanced):
    random = np.random.default_rng(3)
    logits = random.normal(0, 2, (20000, 3))
    # one draw of a class for each sample, from its probabilities
    true = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    assert best_temperature(logits * temperature, true, balanced) == pytest.approx(temperature, rel=0.05)


def test_few_samples_that_are_all_right_do_not_ask_for_certainty():
    logits = np.tile([2.0, 0.0], (4, 1))
    found = best_temperature(logits, np.zeros(4, dtype=np.int64))
    assert 0.3 < found < 1
    # many may
    assert best_temperature(np.tile(logits, (1000, 1)), np.zeros(4000, dtype=np.int64)) < 0.3


def test_probabilities_of_a_temperature_are_those_of_a_hand_calculation():
    target = bundle.Classes('stage', ('a', 'b'), 2.0)
    columns = target.columns(np.array([[0.0, 2 * np.log(3)], [1000.0, 0.0]], dtype=np.float32))
    assert list(columns['prediction']) == ['b', 'a']
    assert list(columns['probability_a']) == pytest.approx([1 / 4, 1])
    assert list(columns['probability_b']) == pytest.approx([3 / 4, 0])


def test_the_temperature_never_changes_which_class_is_likeliest():
    logits = np.random.default_rng(1).normal(0, 3, (50, 4))
    classes = ('a', 'b', 'c', 'd')
    likeliest = [list(bundle.Classes('x', classes, t).columns(logits)['prediction']) for t in (0.06, 1.0, 19.0)]
    assert likeliest[0] == likeliest[1] == likeliest[2]


def test_figures_of_three_classes_are_those_of_a_hand_calculation():
    true = np.array([0, 0, 0, 1, 1, 2])
    own = np.array([0.8, 0.5, 0.2, 0.5, 0.1, 0.2])
    probabilities = np.array(
        [[0.8, 0.1, 0.1], [0.5, 0.4, 0.1], [0.2, 0.7, 0.1], [0.3, 0.5, 0.2], [0.8, 0.1, 0.1], [0.7, 0.1, 0.2]]
    )
    figures = classification_figures(probabilities, true)
    # right are samples 0, 1 and 3
    assert figures['accuracy'] == pytest.approx(3 / 6)
    assert figures['balanced_accuracy'] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    # precision of the classes: 2 of 4, 1 of 2, none
    assert figures['macro_f1'] == pytest.approx((2 * 2 / (4 + 3) + 2 * 1 / (2 + 2) + 0) / 3)
    assert figures['log_loss'] == pytest.approx(-np.log(own).mean())
    by_class = [-np.log(own[true == c]).mean() for c in range(3)]
    assert figures['balanced_log_loss'] == pytest.approx(np.mean(by_class))
    # pairs in the right order, ties by half
    areas = []
    for c in range(3):
        inside, outside = probabilities[true == c, c], probabilities[true != c, c]
        above = (inside[:, None] > outside).mean() + 0.5 * (inside[:, None] == outside).mean()
        areas.append(above)
    assert figures['roc_auc'] == pytest.approx(np.mean(areas))


def test_calibration_error_is_the_gap_of_confidence_and_accuracy_in_each_bin():
    probabilities = np.array([[0.72, 0.28], [0.78, 0.22], [0.1, 0.9], [0.0, 1.0]])
    true = np.array([0, 1, 1, 1])
    # in the bin from 0.7 on one of two is right; at 0.9 and above all are
    assert calibration_error(probabilities, true, np.ones(4)) == pytest.approx((1.5 - 1 + 2 - 1.9) / 4)
    # balanced, the only sample of class 0 weighs as much as the other three together
    found = classification_figures(probabilities, true, balanced=True)['calibration_error']
    assert found == pytest.approx((abs((0.72 - 1) + 0.78 / 3) + 0.1 / 3) / 2)


def test_classes_that_a_part_lacks_have_no_share_in_its_averages():
    probabilities = np.array([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5], [0.1, 0.8, 0.1]])
    figures = classification_figures(probabilities, np.array([0, 1, 1]))
    assert figures['balanced_accuracy'] == pytest.approx((1 + 1 / 2) / 2)
    assert figures['roc_auc'] == pytest.approx((1.0 + 0.75) / 2)
    alone = classification_figures(probabilities[:1], np.array([0]))
    assert alone['accuracy'] == 1 and np.isnan(alone['roc_auc'])
    assert alone['log_loss'] == alone['balanced_log_loss'] == pytest.approx(-np.log(0.6))


def test_certainty_of_the_wrong_class_costs_a_finite_loss():
    figures = classification_figures(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([1, 1]))
    assert 10 < figures['log_loss'] < np.inf and 10 < figures['balanced_log_loss'] < np.inf


def test_classes_are_sorted_names_and_balanced_weights_make_them_equal():
    balanced, plain = goal(), goal('none')
    assert balanced.target.classes == ('10', 'a', 'b') and balanced.outputs == 3
    assert balanced.values.tolist() == [2, 1, 2, 0, 2, 1, 0, 2]
    assert balanced.weights_C.tolist() == pytest.approx([8 / 6, 8 / 6, 8 / 12])
    assert plain.weights_C.tolist() == [1, 1, 1]
    assert (balanced.score, plain.score) == ('balanced_log_loss', 'log_loss')
    outputs = torch.zeros(8, 3)
    assert balanced.loss(outputs, np.arange(8)).item() == plain.loss(outputs, np.arange(8)).item() == pytest.approx(1)


def test_points_are_the_probability_of_each_class_and_whether_a_sample_is_of_it():
    outputs = np.log(np.array([[0.2, 0.3, 0.5], [0.6, 0.2, 0.2]]))
    points = list(goal().points(goal().target, outputs, np.array([0, 3])))
    assert [plot for plot, _, _ in points] == ['probability_10', 'probability_a', 'probability_b']
    assert [list(predicted) for _, predicted, _ in points] == [
        pytest.approx(column) for column in ([0.2, 0.6], [0.3, 0.2], [0.5, 0.2])
    ]
    assert [list(true) for _, _, true in points] == [[0, 1], [0, 0], [1, 0]]


def test_parts_have_their_share_of_classes_and_are_blind_to_numbers():
    assert list(CategoricalGoal.strata(labels(CLASSES))) == CLASSES
    assert NumericGoal.strata(labels([1.0, 2.0])) is None


def test_validation_samples_calibrate_the_temperature_of_classes():
    outputs = np.tile([3.0, 0.0, 0.0], (8, 1))
    target = goal().calibrated(outputs, np.arange(8))
    assert target.temperature > 2 and target.classes == goal().target.classes
    assert goal().test_figures(target, outputs, np.arange(8)) == {}


def numeric(coverage=0.5):
    training = dataclasses.replace(FitConfig().training, coverage=coverage, target_scaling='minmax')
    groups = np.array(['a', 'a', 'b', 'c', 'd', 'd', 'd', 'e'])
    return NumericGoal(dataclasses.replace(labels(np.arange(8.0)), groups=groups), np.arange(4), training)


def test_errors_of_validation_samples_make_intervals_each_group_counting_once():
    found = numeric()
    assert (found.target.center, found.target.scale, found.target.calibration) == (0, 3, None)
    # of 4, 5, 6 and 7 the outputs say 5, 3, 6.5 and 9: errors 1, 2, 0.5 (all of group d) and 2 (of e)
    target = found.calibrated(np.array([[5.0], [3.0], [6.5], [9.0]]) / 3, np.arange(4, 8))
    assert (target.center, target.scale, target.coverage) == (0, 3, 0.5)
    assert target.calibration.groups == 2
    assert target.calibration.scores == pytest.approx([0.5, 1, 2, 2])
    assert target.calibration.weights == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1])
    assert numeric(0.75).calibrated(np.zeros((2, 1)), np.arange(2)).coverage == 0.75


def test_figures_of_intervals_are_those_of_a_hand_calculation():
    found = numeric()
    target = found.calibrated(np.array([[1.0], [2.0], [1.0]]) / 3, np.array([0, 2, 3]))
    # errors 1, 0 and 2 in groups a, b and c: half of the three and a new one have an error up to the second
    figures = found.test_figures(target, np.array([[5.5], [4.0], [6.0]]) / 3, np.array([4, 5, 6]))
    assert figures == {'interval_coverage': pytest.approx(2 / 3), 'interval_width': pytest.approx(2)}


def test_too_few_groups_for_the_coverage_are_said():
    found = numeric(0.9)
    with pytest.warns(AAMWarning, match='^Prediction intervals that promise a coverage of 0.9 need 9 groups '):
        found.warn_of(found.calibrated(np.zeros((2, 1)), np.array([6, 7])))


@pytest.mark.parametrize(
    ('how', 'center', 'scale'), [('standard', 5, 4), ('root', 2, 1), ('minmax', 1, 8), ('none', 0, 1)]
)
def test_the_scaling_of_a_target_is_that_of_a_hand_calculation(how, center, scale):
    target = scaling_of('age', np.array([1.0, 9.0]), how)
    assert target == bundle.Target('age', center, scale, root=how == 'root')
    assert scaling_of('age', np.array([4.0, 4.0]), how) == bundle.Target('age', 0.0, 1.0)


def test_the_kernel_head_learns_scaled_numbers():
    assert numeric().kernel_targets(np.array([6, 0])).tolist() == [[2.0], [0.0]]


def test_the_kernel_head_learns_shares_of_classes_as_if_they_were_equally_common():
    rows = np.arange(8)
    # of the classes 10, a, b there are 2, 2 and 4
    assert goal('none').kernel_targets(rows).tolist() == np.eye(3)[[2, 1, 2, 0, 2, 1, 0, 2]].tolist()
    balanced = goal().kernel_targets(rows)
    assert balanced[3] == pytest.approx([4 / 3, 0, 0]) and balanced[0] == pytest.approx([0, 0, 2 / 3])
    assert balanced.mean(axis=0) == pytest.approx(1 / 3)


def test_outputs_of_numbers_are_weighed_by_what_validation_samples_say_and_by_the_prior():
    training = dataclasses.replace(FitConfig().training, target_scaling='none')
    values = np.random.default_rng(3).normal(size=50)
    found = NumericGoal(labels(values), np.arange(25), training)
    rows = np.arange(25, 50)
    right, wrong = values[rows][:, None], np.zeros((25, 1))
    # 25 samples say that one is right, 200 that both are alike: by the least squares of two members that differ by
    # values v, with both v^2 / 2 in the gram, (25 / 2) / (25 / 2 + 200 / 4) / 2 = 0.1 beyond the half
    assert found.weights(right, wrong, rows, 0.5) == pytest.approx([0.6, 0.4], abs=0.02)
    assert found.weights(wrong, right, rows, 0.5) == pytest.approx([0.4, 0.6], abs=0.02)
    # where both say the same, there is no telling
    assert found.weights(right, right, rows, 1 / 3) == pytest.approx([1 / 3, 2 / 3])


def test_outputs_of_classes_are_weighed_by_the_prior_each_as_sure_as_it_may_be():
    random = np.random.default_rng(3)
    logits = random.normal(0, 2, (20000, 3))
    true = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    training = dataclasses.replace(FitClassifierConfig().training, class_weights='none')
    found = CategoricalGoal(labels(np.array(['a', 'b', 'c'], dtype=object)[true]), np.arange(20000), training)
    # twice as sure as it may be, and half as sure
    weights = found.weights(2 * logits, logits / 2, np.arange(20000), 1 / 3)
    assert weights == pytest.approx([1 / 3 / 2, 2 / 3 * 2], rel=0.05)
