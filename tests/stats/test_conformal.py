"""Prediction intervals keep what they promise: known answers, and coverage on simulated samples and groups."""

import time
import warnings

import numpy as np
import pytest

from q2_aam.errors import AAMWarning
from q2_aam.stats.conformal import Calibration, calibrate, warn_of_few_groups


def test_split_conformal_takes_the_score_of_the_right_rank():
    # 9 samples: the ceil(10 * 0.8) = 8th smallest absolute error
    calibration = calibrate([1, -2, 3, -4, 5, -6, 7, -8, 9])
    lower, upper = calibration.bounds([0.0, 100.0], 0.8)
    assert (lower.tolist(), upper.tolist()) == ([-8, 92], [8, 108])
    assert [calibration.bounds([0.0], coverage)[1][0] for coverage in (0.05, 0.1, 0.11, 0.5, 0.9)] == [1, 1, 2, 5, 9]


def test_a_group_counts_once_however_many_samples_it_has():
    # 4 groups of weight 1, the one to come at infinity: 0.5 needs a weight of 2.5
    errors, groups = [1, 1, 1, 1, 2, 3, 4], ['a', 'a', 'a', 'a', 'b', 'c', 'd']
    grouped = calibrate(errors, groups)
    assert grouped.number_of_groups == 4 and grouped.groups.tolist() == [0, 0, 0, 0, 1, 2, 3]
    assert grouped.bounds([0.0], 0.5)[1] == [3]
    # as samples, the 4th of 7 errors would do
    assert calibrate(errors).bounds([0.0], 0.5)[1] == [1]
    # 0.15 of 5 is 0.75 of the first group: three of its four samples
    assert calibrate([1, 2, 3, 4, 9, 9, 9], groups).bounds([0.0], 0.15)[1] == [3]


def test_groups_of_one_sample_are_samples():
    errors = np.random.default_rng(1).normal(size=50)
    assert calibrate(errors, [f's{i}' for i in range(50)]) == calibrate(errors)


def test_a_difficulty_widens_intervals_in_proportion():
    calibration = calibrate([1, 2, 3, 8], difficulty=[1, 1, 1, 4])
    assert calibration.scores.tolist() == [1, 2, 2, 3] and calibration.by_difficulty
    lower, upper = calibration.bounds([0.0, 10.0], 0.8, difficulty=[1.0, 5.0])
    assert (lower.tolist(), upper.tolist()) == ([-3, -5], [3, 25])
    for wrong, given in ((calibration, None), (calibrate([1, 2]), [1.0])):
        with pytest.raises(ValueError, match='^A difficulty is needed for intervals if, and only if, it was there in '):
            wrong.bounds([0.0], 0.5, given)


def test_few_groups_give_finite_intervals_that_hold_as_much_of_each_group():
    calibration = calibrate([1, 2, 3, 4, 5, 6], list('aababb'))
    assert calibration.attainable(0.9) == 2 / 3 and calibration.attainable(0.6) == 0.6
    # 0.7 of 3 samples and a new one is 2.8, all of them: b reaches 6; 0.66 of 2 groups and a new one is all of them too
    assert calibration.bounds([0.0], 0.7)[1] == [6] and calibration.bounds([0.0], 0.66)[1] == [6]


def test_the_group_in_which_errors_are_largest_decides_where_groups_are_few():
    alike, unlike = np.tile(np.arange(1.0, 101), 2), np.r_[np.arange(1.0, 101), 10 * np.arange(1.0, 101)]
    groups = np.repeat(['a', 'b'], 100)
    # 0.9 of a group of 100 and a new sample: the 91st
    assert calibrate(alike, groups).bounds([0.0], 0.9)[1] == [91]
    assert calibrate(unlike, groups).bounds([0.0], 0.9)[1] == [910]
    # the largest error of all decides nothing
    assert calibrate(np.r_[unlike[:-1], 1e6], groups).bounds([0.0], 0.9)[1] == [910]


def test_of_one_group_with_many_samples_few_decide_nothing():
    # no coverage above 1/2 can be promised; as much of the group as is asked for is held
    calibration = calibrate(np.arange(1.0, 101), ['only'] * 100)
    assert calibration.number_of_groups == 1 and calibration.attainable(0.9) == 0.5
    assert [calibration.bounds([0.0], coverage)[1][0] for coverage in (0.6, 0.9, 0.99)] == [61, 91, 100]


def test_few_groups_hold_as_much_of_each_with_difficulties_too():
    errors, groups = np.arange(1.0, 11), np.repeat(['a', 'b'], 5)
    # 0.7 of 5 samples and a new one is the fifth
    calibration = calibrate(errors, groups, difficulty=np.full(10, 2.0))
    lower, upper = calibration.bounds([1.0], 0.7, difficulty=[3.0])
    assert (lower.tolist(), upper.tolist()) == ([1 - 15], [1 + 15])


def test_few_groups_are_warned_of_in_one_sentence():
    with pytest.warns(AAMWarning) as caught:
        warn_of_few_groups(calibrate([1, 2, 3, 4, 5, 6], list('aabbcc')), 0.9)
        warn_of_few_groups(calibrate([1, 2], list('aa')), 0.5001)
    assert [str(one.message) for one in caught] == [
        'Prediction intervals with a guaranteed coverage of 0.9 need at least 9 groups of calibration samples (each '
        'sample is a group if no groups are given), but this model has 3 groups: its intervals are wide enough for 0.9 '
        'of the samples of each calibration group, with no guarantee for new groups; label more groups, or lower '
        'coverage to 0.75 or less, which can be guaranteed, though with intervals that may be wider.',
        'Prediction intervals with a guaranteed coverage of 0.5001 need at least 2 groups of calibration samples (each '
        'sample is a group if no groups are given), but this model has 1 group: its intervals are wide enough for '
        '0.5001 of the samples of each calibration group, with no guarantee for new groups; label more groups, or '
        'lower coverage to 0.5 or less, which can be guaranteed, though with intervals that may be wider.',
    ]


@pytest.mark.parametrize('groups', [1, 2, 5, 6, 28, 49, 97])
def test_the_coverage_that_few_groups_are_told_of_is_one_that_they_can_promise(groups):
    calibration = calibrate(np.arange(float(groups)))
    with pytest.warns(AAMWarning) as caught:
        warn_of_few_groups(calibration, 0.99)
    suggested = float(str(caught[0].message).split('lower coverage to ')[1].split(' ')[0])
    assert groups / (groups + 1) - 0.01 < suggested <= groups / (groups + 1)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warn_of_few_groups(calibration, suggested)


@pytest.mark.parametrize('coverage, needed', [(0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_as_many_groups_as_a_coverage_needs_are_enough(coverage, needed):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warn_of_few_groups(calibrate(np.arange(needed)), coverage)
    with pytest.warns(AAMWarning, match=f'need at least {needed} groups .* has {needed - 1} groups?: '):
        warn_of_few_groups(calibrate(np.arange(needed - 1)), coverage)


def test_a_calibration_is_arrays_without_names_of_groups():
    calibration = calibrate([0.1, 0.3, -0.2, 7], ['subject-1', 'subject-2', 'subject-1', 'subject-1'])
    assert calibration.scores.tolist() == [0.1, 0.2, 0.3, 7] and calibration.scores.dtype == np.float64
    assert calibration.groups.tolist() == [0, 0, 1, 0] and calibration.groups.dtype == np.int64
    again = Calibration(calibration.scores.copy(), calibration.groups.copy())
    assert again == calibration != Calibration(calibration.scores + 1, calibration.groups)
    assert calibration != Calibration(calibration.scores, calibration.groups, by_difficulty=True)


FLOATS, INTS = np.float64, np.int64


@pytest.mark.parametrize(
    'change',
    [
        {'scores': np.array([2.0, 1.0])},
        {'scores': np.array([-1.0, 1.0])},
        {'scores': np.array([0.0, np.nan])},
        {'scores': np.array([np.nan, 1.0])},
        {'scores': np.array([0.0, np.inf])},
        {'scores': np.array([0, 1])},
        {'scores': np.array([0.0, 1.0], dtype=np.float32)},
        {'scores': np.array(['0', 'x'])},
        {'scores': [0.0, 1.0]},
        {'scores': np.array([[0.0, 1.0]])},
        {'scores': np.empty(0, FLOATS), 'groups': np.empty(0, INTS)},
        {'groups': np.array([0])},
        {'groups': np.array([0, 2])},
        {'groups': np.array([0, 2**62])},
        {'groups': np.array([0, np.iinfo(INTS).min])},
        {'groups': np.array([np.iinfo(INTS).max, np.iinfo(INTS).min])},
        {'groups': np.array([1, 0])},
        {'groups': np.array([0, -1])},
        {'groups': np.array([0.0, 1.0])},
        {'groups': [0, 1]},
        {'groups': 2},
        {'by_difficulty': 1},
    ],
)
def test_a_damaged_calibration_is_refused(change):
    sound = {'scores': np.array([1.0, 2.0]), 'groups': np.array([0, 1])}
    assert Calibration(**sound).number_of_groups == 2
    with pytest.raises(ValueError) as error:
        Calibration(**sound | change)
    assert str(error.value) == (
        'The calibration of the model is damaged: it must hold sorted scores of 0 or more and the number of the group '
        'of each; train the model again.'
    )


@pytest.mark.parametrize('coverage', [0.9, 1 - 1e-7])
def test_a_hundred_thousand_groups_take_no_time(coverage):
    # with the higher coverage these are few groups
    samples = 3 * 10**5
    errors = np.random.default_rng(1).normal(size=samples)
    start = time.perf_counter()
    calibration = calibrate(errors, np.arange(samples) % 10**5)
    assert calibration.number_of_groups == 10**5
    _, upper = calibration.bounds(np.zeros(3), coverage)
    assert time.perf_counter() - start < 2
    largest = np.abs(errors).max()
    assert upper[0] == pytest.approx(1.645, abs=0.01) if coverage == 0.9 else upper[0] == largest


@pytest.mark.parametrize('coverage', [0.3, 0.6, 0.8, 0.9, 0.99])
def test_the_quantile_is_that_of_a_loop_over_groups(coverage):
    random = np.random.default_rng(4)
    for groups in (1, 2, 5, 30):
        names = np.r_[np.arange(groups), random.integers(0, groups, 40)]
        errors = random.normal(size=len(names))
        scores = [np.sort(np.abs(errors[names == name])) for name in range(groups)]
        if coverage <= groups / (groups + 1):
            held = [sum((of_group <= score).mean() for of_group in scores) for score in np.abs(errors)]
            expected = np.abs(errors)[np.array(held) >= coverage * (groups + 1) - 1e-9].min()
        else:
            expected = max(
                of_group[min(int(np.ceil(coverage * (len(of_group) + 1) - 1e-9)), len(of_group)) - 1]
                for of_group in scores
            )
        assert calibrate(errors, names).bounds([0.0], coverage)[1] == expected


def coverage_of(draw, bounds, repeats=1000):
    """Share of simulations in which a new error lies within the interval; draw(random) -> errors, groups, new error."""
    random = np.random.default_rng(7)
    hits = 0
    for _ in range(repeats):
        errors, groups, new = draw(random)
        lower, upper = bounds(errors, groups)
        hits += lower <= new <= upper
    return hits / repeats


def interval(calibration, coverage):
    lower, upper = calibration.bounds([0.0], coverage)
    return lower[0], upper[0]


@pytest.mark.parametrize('coverage', [0.5, 0.8, 0.9])
def test_exchangeable_samples_are_covered_as_asked(coverage):
    def draw(random):
        errors = random.standard_t(3, size=20)
        return errors[:-1], None, errors[-1]

    # exact: ceil(20 coverage) / 20, with a standard error of 0.016 at most
    assert coverage_of(draw, lambda errors, _: interval(calibrate(errors), coverage)) == pytest.approx(
        coverage, abs=0.045
    )


def grouped(random):
    """Errors of 14 groups and of one sample of a 15th: what is wrong for a subject is wrong for all its samples."""
    sizes = random.choice([1, 2, 40], size=14)
    groups = np.repeat(np.arange(14), sizes)
    # large groups (visits of one intensive study) are the easy ones
    spread = np.where(sizes == 40, 1.0, 4.0)
    errors = (spread * random.normal(size=14))[groups] + 0.3 * random.normal(size=len(groups))
    new = (1.0 if random.choice([1, 2, 40]) == 40 else 4.0) * random.normal() + 0.3 * random.normal()
    return errors, groups, new


def test_samples_of_new_groups_are_covered_if_groups_count_and_not_if_samples_do():
    by_group = coverage_of(grouped, lambda errors, groups: interval(calibrate(errors, groups), 0.9))
    by_sample = coverage_of(grouped, lambda errors, groups: interval(calibrate(errors), 0.9))
    assert 0.89 <= by_group <= 0.97
    assert by_sample < 0.75
