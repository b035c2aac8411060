"""A difference is exact, and its interval holds the truth as often as it says."""

import dataclasses

import numpy as np
import pytest

from q2_aam.evaluation import comparison
from q2_aam.evaluation.comparison import best_baseline, metrics_of, paired_difference
from q2_aam.evaluation.out_of_fold import OURS, OutOfFold


def found_with(ours, *others, groups=None, repeats=1):
    """The truth is 0, so that predictions are errors; the same samples in each repeat."""
    rows = len(ours)
    samples = rows // repeats
    ids = np.tile([f's{number}' for number in range(samples)], repeats).astype(object)
    name = ids if groups is None else np.tile(np.asarray(groups, dtype=object), repeats)
    predicted = {OURS: ours} | {f'other{number}': other for number, other in enumerate(others)}
    repeat = np.repeat(np.arange(repeats), samples)
    predicted = {name: np.asarray(one, dtype=float) for name, one in predicted.items()}
    return OutOfFold('age', ids, name, repeat, np.zeros(rows, int), np.zeros(rows), predicted)


def of_classes(true, wrong):
    """Two classes; `wrong` is, for each method, whether it is wrong about each row, NaN where it cannot tell."""
    true = np.asarray(true)
    predicted = {}
    for name, errors in wrong.items():
        likeliest = np.where(np.asarray(errors) == 1, 1 - true, true)
        predicted[name] = np.where(np.isnan(errors)[:, None], np.nan, np.eye(2)[likeliest])
    ids = np.array([f's{number}' for number in range(len(true))], dtype=object)
    zeros = np.zeros(len(true), int)
    return OutOfFold('stage', ids, ids.copy(), zeros, zeros, true.astype(float), predicted, ('x', 'y'))


def difference(result, seed=1, **more):
    return paired_difference(result, 'other0', np.random.default_rng(seed), **more)


def test_our_intervals_are_scored_where_every_prediction_has_one():
    bounds = np.array([[0.0, 2.0], [np.nan, np.nan], [1.0, 5.0], [-3.0, 4.0]])
    result = dataclasses.replace(found_with([1.0, np.nan, 3, 1], [1, 1, 1, 1]), bounds=bounds)
    scores, samples = metrics_of(result, OURS, np.arange(4))
    # the truth, 0, is at the end of one, beside one and within one
    assert (scores['interval_coverage'], samples) == (pytest.approx(2 / 3), 3)
    assert scores['interval_width'] == pytest.approx((2 + 4 + 7) / 3)
    # others have none
    assert 'interval_width' not in metrics_of(result, 'other0', np.arange(4))[0]
    bounds[0] = np.nan
    assert not {'interval_coverage', 'interval_width'} & set(metrics_of(result, OURS, np.arange(4))[0])
    assert metrics_of(result, OURS, np.array([2, 3]))[0]['interval_coverage'] == 0.5


def test_metrics_are_over_the_samples_that_were_predicted():
    result = found_with([1.0, np.nan, 3], [1, 1, 1])
    scores, samples = metrics_of(result, OURS, np.arange(3))
    assert (scores['mae'], samples) == (2.0, 2)
    assert metrics_of(result, OURS, np.array([1])) == ({}, 0)


def test_a_constant_difference_is_exact_and_certain():
    random = np.random.default_rng(2)
    errors = random.uniform(1, 5, 40)
    result = difference(found_with(errors + 0.25, -errors))
    assert (result.value, result.lower, result.upper) == (pytest.approx(0.25), pytest.approx(0.25), pytest.approx(0.25))
    assert (result.samples, result.ours - result.other) == (40, pytest.approx(0.25))


def test_the_difference_is_of_samples_that_both_predicted():
    result = difference(found_with([1.0, 2, np.nan, 4], [1, np.nan, 1, 1]))
    assert (result.value, result.samples) == (1.5, 2)


def test_repeats_are_averaged_before_samples_are_compared():
    once = difference(found_with([1.0, 3, 2], [1, 1, 1]))
    twice = difference(found_with([0.5, 3, 3, 1.5, 3, 1], [1] * 6, repeats=2))
    assert once == twice


def test_the_interval_is_the_same_for_the_same_seed():
    result = found_with(np.arange(20.0), np.ones(20))
    assert difference(result, 5) == difference(result, 5) != difference(result, 6)


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
        result = difference(found_with(errors, np.full(len(member), 10.0), groups=member))
        held += result.lower <= 0 <= result.upper
    # the binomial standard error is 1.3 points
    assert held / studies == pytest.approx(0.95, abs=0.035)


def test_an_interval_that_takes_samples_for_independent_would_be_too_narrow():
    random = np.random.default_rng(12)
    member = np.repeat(np.arange(20), 6)
    errors = 10 + random.normal(size=20)[member]
    grouped, alone = (difference(found_with(errors, np.full(120, 10.0), groups=name)) for name in (member, None))
    assert grouped.upper - grouped.lower > 2 * (alone.upper - alone.lower)


def test_many_groups_are_drawn_in_parts(monkeypatch):
    random = np.random.default_rng(13)
    errors = random.normal(1, 1, 500)
    result = found_with(5 + errors, np.full(500, 5.0))
    at_once = difference(result)
    assert at_once.upper - at_once.lower == pytest.approx(2 * 1.96 * errors.std() / 500**0.5, rel=0.1)
    monkeypatch.setattr(comparison, 'CELLS', 7000)
    assert difference(result) == at_once


def test_the_best_baseline_is_found_on_samples_that_all_predicted_who_predicted_half():
    few = [0.0, np.nan, np.nan, np.nan]
    # the second is better where the third predicted, the third better where it was easy to
    result = found_with([1.0] * 4, few, [1, 1, 1, 9], [2, 2, np.nan, 0], [3, 3, 3, 3])
    assert best_baseline(result) == 'other2'
    assert best_baseline(found_with([1.0], [2])) == 'other0'
    assert best_baseline(found_with([1.0])) is None


def test_metrics_that_are_not_defined_are_left_out():
    assert {'r2', 'r'}.isdisjoint(metrics_of(found_with([1.0, 2, 3]), OURS, np.arange(3))[0])
    result = of_classes([1, 1, 0], {OURS: [0, 1, 0]})
    assert 'roc_auc' in metrics_of(result, OURS, np.arange(3))[0]
    scores, samples = metrics_of(result, OURS, np.arange(2))
    assert 'roc_auc' not in scores and (scores['accuracy'], samples) == (0.5, 2)


def test_classes_have_the_same_weight_on_the_samples_that_both_predicted():
    # 10 of a class, 40 of another, of which the other method predicted 10; each is wrong about one whole class
    true, seen = np.repeat([0, 1], [10, 40]), np.arange(50) < 20
    result = of_classes(true, {OURS: 1.0 - true, 'other0': np.where(seen, true, np.nan)})
    both = difference(result, balanced=True)
    assert (both.ours, both.other, both.value, both.samples) == (0.5, 0.5, 0, 20)
    assert (both.lower, both.upper) == (0, 0)
    # where all samples are there, the same
    every = difference(of_classes(true, {OURS: 1.0 - true, 'other0': true}), balanced=True)
    assert (every.ours, every.other, every.value) == (0.5, 0.5, 0)
    plain = difference(result)
    assert (plain.ours, plain.other, plain.samples) == (0.5, 0.5, 20)


def test_classes_have_the_same_weight_in_every_draw_of_groups():
    # ours errs in one sample of the rare class, the other in none: a rate of 1/2 of that class, whatever its number of
    # samples in a draw
    true = np.repeat([0, 1], [2, 98])
    wrong = (np.arange(100) == 0).astype(float)
    result = difference(of_classes(true, {OURS: wrong, 'other0': np.zeros(100)}), balanced=True)
    assert (result.value, result.lower) == (0.25, 0)
    # all of the rare class in a draw may be the one that is wrong, not more than all
    assert result.upper == 0.5


def test_the_interval_of_balanced_differences_is_that_of_draws_done_one_by_one(monkeypatch):
    random = np.random.default_rng(3)
    true = random.integers(0, 2, 30)
    wrong = {name: (random.random(30) < 0.4).astype(float) for name in (OURS, 'other0')}
    result = of_classes(true, wrong)
    member = random.integers(0, 6, 30)
    result.groups[:] = [f'g{number}' for number in member]
    both = difference(result, balanced=True, coverage=0.5)
    names, drawn = np.unique(member), []
    for _ in range(4000):
        rows = np.concatenate([np.flatnonzero(member == one) for one in random.choice(names, len(names))])
        gap = (wrong[OURS] - wrong['other0'])[rows]
        drawn.append(np.mean([gap[true[rows] == one].mean() for one in np.unique(true[rows])]))
    # 0.7267, where a t distribution of 5 degrees of freedom has its quartiles, times the root of 6 / 5
    low, high = np.quantile(drawn, [0.213, 0.787])
    assert both.lower == pytest.approx(low, abs=0.02) and both.upper == pytest.approx(high, abs=0.02)
    monkeypatch.setattr(comparison, 'CELLS', 100)
    again = difference(result, balanced=True, coverage=0.5)
    assert (again.lower, again.upper) == (pytest.approx(both.lower), pytest.approx(both.upper))


def test_for_the_best_baseline_every_class_has_the_same_weight():
    # 10 of a class, 40 of another, of which c predicted 15: on these a errs in 2 of 10 of the one, b in 6 of 15 of the
    # other
    true, number = np.repeat([0, 1], [10, 40]), np.arange(50)
    seen = (number < 10) | (number >= 35)
    wrong = {'a': number < 2, 'b': (number >= 35) & (number < 41), 'c': np.where(seen, 1.0, np.nan)}
    assert best_baseline(of_classes(true, {OURS: np.zeros(50)} | {k: v.astype(float) for k, v in wrong.items()})) == 'a'
