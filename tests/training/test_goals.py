"""What columns of numbers and of classes aim at: known answers, and classes that a part lacks."""

import dataclasses

import numpy as np
import pytest
import scipy.special
import torch
from sklearn import metrics

from q2_aam import bundle
from q2_aam.config import FitClassifierConfig, FitConfig
from q2_aam.data.labels import Labels
from q2_aam.errors import AAMWarning, UserError
from q2_aam.training.goals import (
    SAMPLES_AS_ONE,
    CategoricalGoal,
    NumericGoal,
    best_temperature,
    calibration_error,
    choose_scaling,
    classification_figures,
    log_loss,
    network_share,
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


def test_quantiles_are_learned_and_scale_the_errors():
    training = dataclasses.replace(FitConfig().training, coverage=0.5, target_scaling='minmax', loss='quantile')
    found = NumericGoal(labels(np.arange(8.0)), np.arange(5), training)
    assert found.outputs == 3 and found.target.quantiles
    true = torch.tensor([0.0, 1.0]) / 4
    outputs = torch.stack([true, true - 0.25, true + 0.25], dim=1)
    # both ends are a quarter off, on the side that costs a quarter; twice, in the mean of three
    assert found.loss(outputs, np.arange(2)).item() == pytest.approx(2 * 2 * 0.25 * 0.25 / 3)
    # errors 1 and 2 of samples whose quantiles lie 2 and 8 apart
    outputs = np.array([[5.0 + 1, 4, 6], [6.0 - 2, 0, 8]]) / 4
    calibration = found.calibrated(outputs, np.array([5, 6])).calibration
    assert calibration.by_difficulty and calibration.scores == pytest.approx([0.5, 1])


def test_errors_of_validation_samples_make_intervals_each_group_counting_once():
    found = numeric()
    assert (found.target.center, found.target.scale, found.target.calibration) == (0, 3, None)
    # of 4, 5, 6 and 7 the outputs say 5, 3, 6.5 and 9: errors 1, 2, 0.5 (all of group d) and 2 (of e)
    target = found.calibrated(np.array([[5.0], [3.0], [6.5], [9.0]]) / 3, np.arange(4, 8))
    assert (target.center, target.scale, target.coverage) == (0, 3, 0.5)
    assert target.calibration.groups == 2
    assert target.calibration.scores == pytest.approx([0.5, 1, 2, 2])
    assert target.calibration.group == [0, 0, 0, 1]
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


def unscaled(values):
    """A goal of numbers that are learned as they are."""
    training = dataclasses.replace(FitConfig().training, target_scaling='none')
    return NumericGoal(labels(np.asarray(values, dtype=float)), np.arange(len(values)), training)


@pytest.mark.parametrize(('times', 'odds'), [(1, 2 / 9), (3, 8 / 9), (10, 1024 / 9)])
def test_of_two_the_one_that_is_twice_as_far_off_has_half_the_odds_as_often_as_samples_count_as_one(times, odds):
    values = np.random.default_rng(3).normal(size=times * SAMPLES_AS_ONE)
    rows = np.arange(len(values))
    near, far = values[:, None] + 0.5, values[:, None] - 1
    # the odds of a network are 1 to 9 beforehand
    own = odds / (1 + odds)
    found = unscaled(values).weights(near, far, rows, 0.1)
    assert found == (pytest.approx(own), 1, 1) and all(type(weight) is float for weight in found)
    odds = 1 / 81 / odds
    assert unscaled(values).weights(far, near, rows, 0.1)[0] == pytest.approx(odds / (1 + odds))


def test_weights_are_of_the_scaled_target_and_of_the_rows_that_are_asked_about():
    found = unscaled([1e6, 0.0, 9.0, 36.0, -1e6])
    # square roots 0, 3 and 6, scaled -1, 0 and 1
    found.target = bundle.Target('age', 3.0, 3.0, root=True)
    # root mean squares of what they are off by: 1 and 3
    network, profile = np.array([[0.0], [-1], [0]]), np.array([[-1.0], [0], [1 + 27**0.5]])
    odds = 3 ** (3 / SAMPLES_AS_ONE) / 9
    found = found.weights(network, profile, np.array([1, 2, 3]), 0.1)
    assert found == (pytest.approx(odds / (1 + odds)), 1, 1)


@pytest.mark.parametrize('samples', [1, 500])
def test_outputs_that_are_right_in_everything_have_weights_that_are_numbers(samples):
    values = np.arange(1.0, samples + 1)
    rows, right, wrong = np.arange(samples), values[:, None], np.zeros((samples, 1))
    for network, profile, least, most in ((right, wrong, 0.1, 1), (wrong, right, 0, 0.1)):
        share, *own = unscaled(values).weights(network, profile, rows, 0.1)
        assert least <= share <= most and own == [1, 1]
    # one sample proves little
    assert (share < 0.001) == (samples > 1)


@pytest.mark.parametrize(
    ('prior', 'evidence', 'share'), [(0.1, 0.0, 0.1), (0.5, np.log(3), 0.75), (0.2, -np.log(4), 1 / 17)]
)
def test_the_share_of_the_network_follows_the_likelihood_of_samples(prior, evidence, share):
    samples = 3 * SAMPLES_AS_ONE
    assert network_share(1.0, 1.0 + evidence / 3, samples, prior) == pytest.approx(share)


def test_where_both_say_the_same_there_is_no_telling():
    same = np.arange(5.0)[:, None]
    assert unscaled(np.ones(5)).weights(same, same, np.arange(5), 1 / 3) == (pytest.approx(1 / 3), 1, 1)


def test_outputs_of_classes_are_weighed_by_the_prior_each_as_sure_as_it_may_be():
    random = np.random.default_rng(3)
    logits = random.normal(0, 2, (20000, 3))
    true = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    training = dataclasses.replace(FitClassifierConfig().training, class_weights='none')
    found = CategoricalGoal(labels(np.array(['a', 'b', 'c'], dtype=object)[true]), np.arange(20000), training)
    # twice as sure as it may be, and half as sure
    weights = found.weights(2 * logits, logits / 2, np.arange(20000), 1 / 3)
    assert weights == pytest.approx([1 / 3, 1 / 2, 2], rel=0.05)


@pytest.mark.parametrize('class_weights', ['none', 'balanced'])
def test_the_better_classifier_has_more_of_the_say(class_weights):
    found, rows = goal(class_weights), np.arange(8)
    balanced = class_weights == 'balanced'
    # a network that says nothing, and outputs that are right as a rule
    right = 2 * np.eye(3)[found.values]
    right[0] = [2, 0, 0]
    temperature = best_temperature(right, found.values, balanced)
    plain = metrics.log_loss(
        found.values,
        scipy.special.softmax(right / temperature, axis=1),
        sample_weight=(8 / np.array([2, 2, 4]))[found.values] if balanced else None,
    )
    assert log_loss(right / temperature, found.values, balanced) == pytest.approx(plain)
    share = network_share(np.log(3), plain, 8, 0.1)
    assert share < 0.1
    # of what says nothing every temperature is alike: there it is that of no evidence
    weights = found.weights(np.zeros((8, 3)), right, rows, 0.1)
    assert weights == pytest.approx((share, 1, 1 / temperature), rel=1e-3)


def test_the_same_classes_twice_are_both_divided_by_their_temperature():
    random = np.random.default_rng(5)
    logits = random.normal(0, 2, (8, 3))
    share, own, other = goal('none').weights(logits, logits, np.arange(8), 0.1)
    assert (share, own) == (pytest.approx(0.1), other)
    assert other == pytest.approx(1 / best_temperature(logits, goal().values))


AGES = np.linspace(0, 12, 25)


@pytest.mark.parametrize(
    ('values', 'chosen'),
    [
        # symmetric as it is, and not so as its root
        (AGES, 'standard'),
        (AGES**2, 'root'),
        (AGES**3, 'root'),
        (np.exp(AGES / 2), 'root'),
        # a long tail to the left grows longer
        (144 - AGES**2, 'standard'),
        # less skewed, but hardly
        (AGES + 100 + AGES**2 / 20, 'standard'),
        # one below 0
        (AGES**3 - 1, 'standard'),
        (np.full(25, 4.0), 'standard'),
        (np.zeros(25), 'standard'),
    ],
)
def test_the_square_root_is_taken_where_it_is_nearer_to_symmetric(values, chosen):
    assert choose_scaling(labels(values), np.arange(25), 'auto') == chosen


def test_the_skew_is_compared_whatever_its_sign():
    # a skew of 0.7 becomes one of -0.7 at about the power of 3/4
    values = np.array([0.0, 1, 2, 3, 4, 10])
    skew = [abs(((own - own.mean()) ** 3).mean() / own.std() ** 3) for own in (values, np.sqrt(values))]
    assert skew[1] < skew[0] and choose_scaling(labels(values), np.arange(6), 'auto') == 'root'
    values = np.array([0.0, 9, 9, 10, 11, 11, 13])
    skew = [((own - own.mean()) ** 3).mean() / own.std() ** 3 for own in (values, np.sqrt(values))]
    assert skew[1] < skew[0] < 0 and choose_scaling(labels(values), np.arange(7), 'auto') == 'standard'


@pytest.mark.parametrize('how', ['standard', 'root', 'minmax', 'none'])
def test_a_scaling_that_is_given_is_taken(how):
    assert choose_scaling(labels(AGES**3), np.arange(25), how) == how
    assert choose_scaling(labels(AGES), np.arange(25), how) == how


def test_samples_that_are_not_to_be_learned_from_choose_no_scaling():
    values = np.concatenate([AGES, [1e9, 1e9, -5.0]])
    assert choose_scaling(labels(values), np.arange(25), 'auto') == 'standard'
    values[:25] **= 3
    assert choose_scaling(labels(values), np.arange(25), 'auto') == 'root'
    assert choose_scaling(labels(values), np.arange(25), 'root') == 'root'


def test_a_square_root_of_a_negative_value_is_refused():
    rows = np.array([1, 2, 4])
    with pytest.raises(UserError) as error:
        choose_scaling(labels(np.array([-9.0, 4, 3, -8, -0.5])), rows, 'root')
    assert str(error.value) == 'Parameter target_scaling is root, but "stage" is -0.5 for sample s4; choose standard.'
