"""Figures are those of the textbook; a difference is exact, and its interval holds the truth as often as it says."""

import dataclasses

import numpy as np
import pytest
from sklearn import metrics

from q2_aam.evaluation import comparison
from q2_aam.evaluation.comparison import best_baseline, class_figures, figures_of, number_figures, paired_difference
from q2_aam.evaluation.out_of_fold import OURS, OutOfFold


def found_with(ours, *others, groups=None, repeats=1):
    """The truth is 0, so that predictions are errors; the same samples in each repeat."""
    rows = len(ours)
    samples = rows // repeats
    ids = np.tile([f's{number}' for number in range(samples)], repeats).astype(object)
    own = ids if groups is None else np.tile(np.asarray(groups, dtype=object), repeats)
    predicted = {OURS: ours} | {f'other{number}': other for number, other in enumerate(others)}
    repeat = np.repeat(np.arange(repeats), samples)
    predicted = {name: np.asarray(one, dtype=float) for name, one in predicted.items()}
    return OutOfFold('age', ids, own, repeat, np.zeros(rows, int), np.zeros(rows), predicted)


def difference(found, seed=1, **more):
    return paired_difference(found, 'other0', np.random.default_rng(seed), **more)


def test_figures_of_numbers_equal_those_of_scikit_learn():
    random = np.random.default_rng(1)
    true, predicted = random.normal(size=50), random.normal(size=50)
    assert number_figures(predicted, true) == {
        'mae': pytest.approx(metrics.mean_absolute_error(true, predicted)),
        'median_absolute_error': pytest.approx(metrics.median_absolute_error(true, predicted)),
        'rmse': pytest.approx(metrics.mean_squared_error(true, predicted) ** 0.5),
        'r2': pytest.approx(metrics.r2_score(true, predicted)),
    }
    assert 'r2' not in number_figures(predicted, np.ones(50))


def test_figures_of_classes_equal_those_of_scikit_learn():
    random = np.random.default_rng(1)
    true, shares = random.integers(0, 3, 60), random.dirichlet(np.ones(3), 60)
    assert class_figures(shares, true) == {
        'accuracy': pytest.approx(metrics.accuracy_score(true, shares.argmax(axis=1))),
        'balanced_accuracy': pytest.approx(metrics.balanced_accuracy_score(true, shares.argmax(axis=1))),
        'log_loss': pytest.approx(metrics.log_loss(true, shares)),
        'roc_auc': pytest.approx(metrics.roc_auc_score(true, shares, multi_class='ovr')),
    }


def test_a_part_with_one_class_has_no_area_and_certainty_in_a_wrong_class_a_finite_loss():
    figures = class_figures(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([1, 1]))
    assert figures == {'accuracy': 0.5, 'balanced_accuracy': 0.5, 'log_loss': pytest.approx(-np.log(1e-15) / 2)}


def test_our_intervals_are_scored_where_every_prediction_has_one():
    bounds = np.array([[0.0, 2.0], [np.nan, np.nan], [1.0, 5.0], [-3.0, 4.0]])
    found = dataclasses.replace(found_with([1.0, np.nan, 3, 1], [1, 1, 1, 1]), bounds=bounds)
    figures, samples = figures_of(found, OURS, np.arange(4))
    # the truth, 0, is at the end of one, beside one and within one
    assert (figures['interval_coverage'], samples) == (pytest.approx(2 / 3), 3)
    assert figures['interval_width'] == pytest.approx((2 + 4 + 7) / 3)
    # others have none
    assert 'interval_width' not in figures_of(found, 'other0', np.arange(4))[0]
    bounds[0] = np.nan
    assert not {'interval_coverage', 'interval_width'} & set(figures_of(found, OURS, np.arange(4))[0])
    assert figures_of(found, OURS, np.array([2, 3]))[0]['interval_coverage'] == 0.5


def test_figures_are_over_the_samples_that_were_predicted():
    found = found_with([1.0, np.nan, 3], [1, 1, 1])
    figures, samples = figures_of(found, OURS, np.arange(3))
    assert (figures['mae'], samples) == (2.0, 2)
    assert figures_of(found, OURS, np.array([1])) == ({}, 0)


def test_a_constant_difference_is_exact_and_certain():
    random = np.random.default_rng(2)
    errors = random.uniform(1, 5, 40)
    found = difference(found_with(errors + 0.25, -errors))
    assert (found.value, found.lower, found.upper) == (pytest.approx(0.25), pytest.approx(0.25), pytest.approx(0.25))
    assert (found.samples, found.ours - found.other) == (40, pytest.approx(0.25))


def test_the_difference_is_of_samples_that_both_predicted():
    found = difference(found_with([1.0, 2, np.nan, 4], [1, np.nan, 1, 1]))
    assert (found.value, found.samples) == (1.5, 2)


def test_repeats_are_averaged_before_samples_are_compared():
    once = difference(found_with([1.0, 3, 2], [1, 1, 1]))
    twice = difference(found_with([0.5, 3, 3, 1.5, 3, 1], [1] * 6, repeats=2))
    assert once == twice


def test_the_interval_is_the_same_for_the_same_seed():
    found = found_with(np.arange(20.0), np.ones(20))
    assert difference(found, 5) == difference(found, 5) != difference(found, 6)


def test_nothing_in_common_and_a_single_group_give_no_interval():
    nothing = difference(found_with([np.nan, 1.0], [1, np.nan]))
    assert nothing.samples == 0 and np.isnan(nothing.value)
    single = difference(found_with([1.0, 2], [1, 1], groups=['g', 'g']))
    assert single.value == 0.5 and np.isnan([single.lower, single.upper]).all()


@pytest.mark.parametrize('groups', [8, 31])
def test_the_interval_holds_the_truth_in_95_of_100_studies_whose_samples_come_in_groups(groups):
    random, studies = np.random.default_rng(11), 300
    member = np.repeat(np.arange(groups), 4)
    held = 0
    for _ in range(studies):
        # samples of a group share half of the variance of the difference; the true difference is 0
        errors = 10 + random.normal(size=groups)[member] + random.normal(size=len(member))
        found = difference(found_with(errors, np.full(len(member), 10.0), groups=member))
        held += found.lower <= 0 <= found.upper
    # the binomial standard error is 1.3 points
    assert held / studies == pytest.approx(0.95, abs=0.035)


def test_an_interval_that_takes_samples_for_independent_would_be_too_narrow():
    random = np.random.default_rng(12)
    member = np.repeat(np.arange(20), 6)
    errors = 10 + random.normal(size=20)[member]
    grouped, alone = (difference(found_with(errors, np.full(120, 10.0), groups=own)) for own in (member, None))
    assert grouped.upper - grouped.lower > 2 * (alone.upper - alone.lower)


def test_many_groups_are_drawn_in_parts(monkeypatch):
    random = np.random.default_rng(13)
    errors = random.normal(1, 1, 500)
    found = found_with(5 + errors, np.full(500, 5.0))
    whole = difference(found)
    assert whole.upper - whole.lower == pytest.approx(2 * 1.96 * errors.std() / 500**0.5, rel=0.1)
    monkeypatch.setattr(comparison, 'CELLS', 7000)
    assert difference(found) == whole


def test_the_best_baseline_is_found_on_samples_that_all_predicted_who_predicted_half():
    few = [0.0, np.nan, np.nan, np.nan]
    # the second is better where the third predicted, the third better where it was easy to
    found = found_with([1.0] * 4, few, [1, 1, 1, 9], [2, 2, np.nan, 0], [3, 3, 3, 3])
    assert best_baseline(found) == 'other2'
    assert best_baseline(found_with([1.0], [2])) == 'other0'
    assert best_baseline(found_with([1.0])) is None
