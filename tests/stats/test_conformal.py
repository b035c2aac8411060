"""Prediction intervals keep what they promise: known answers, and coverage on simulated samples and groups."""

import dataclasses
import json
import warnings

import numpy as np
import pytest

from q2_aam.errors import AAMWarning
from q2_aam.stats.conformal import Calibration, calibrate, interval_figures, warn_of_few_groups


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
    assert grouped.groups == 4 and grouped.group == [0, 0, 0, 0, 1, 2, 3]
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
    assert calibration.scores == [1, 2, 2, 3]
    lower, upper = calibration.bounds([0.0, 10.0], 0.8, difficulty=[1.0, 5.0])
    assert (lower.tolist(), upper.tolist()) == ([-3, -5], [3, 25])
    for wrong, given in ((calibration, None), (calibrate([1, 2]), [1.0])):
        with pytest.raises(ValueError, match='^A difficulty is needed for intervals if, and only if, it was there in '):
            wrong.bounds([0.0], 0.5, given)


def test_cv_plus_takes_quantiles_of_each_members_prediction_plus_and_minus_its_errors():
    # three samples, left out by members 0, 0 and 1, of which 0.5 of 4 is the second from either end
    calibration = calibrate([3, 1, -2], members=[0, 0, 1])
    assert (calibration.scores, calibration.members) == ([1, 2, 3], [0, 1, 0])
    lower, upper = calibration.bounds([[0.0, 0.0], [10.0, 0.5]], 0.5)
    # first sample: 0 + 1, 0 + 3, 10 + 2 and 0 - 1, 0 - 3, 10 - 2
    assert (lower[0], upper[0]) == (-1, 3)
    # second sample: 1, 3, 2.5 and -1, -3, -1.5
    assert (lower[1], upper[1]) == (-1.5, 2.5)


def test_cv_plus_of_members_that_agree_is_split_conformal():
    random = np.random.default_rng(2)
    errors, groups = random.normal(size=40), np.repeat(np.arange(20), 2)
    predictions = random.normal(size=7)
    split = calibrate(errors, groups).bounds(predictions, 0.8)
    plus = calibrate(errors, groups, members=np.arange(40) % 5).bounds(np.tile(predictions, (5, 1)), 0.8)
    assert np.allclose(split, plus, rtol=0, atol=1e-12)


def test_samples_are_predicted_alike_alone_and_among_many(monkeypatch):
    random = np.random.default_rng(3)
    calibration = calibrate(random.normal(size=30), members=np.arange(30) % 3)
    predictions = random.normal(size=(3, 11))
    whole = calibration.bounds(predictions, 0.9)
    monkeypatch.setattr('q2_aam.stats.conformal.FLOATS', 60)
    assert np.array_equal(whole, calibration.bounds(predictions, 0.9))


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
    assert calibration.groups == 1 and calibration.attainable(0.9) == 0.5
    assert [calibration.bounds([0.0], coverage)[1][0] for coverage in (0.6, 0.9, 0.99)] == [61, 91, 100]


def test_few_groups_hold_as_much_of_each_with_members_and_difficulties_too():
    errors, groups = np.arange(1.0, 11), np.repeat(['a', 'b'], 5)
    plus = calibrate(errors, groups, members=np.tile([0, 1], 5)).bounds([[0.0], [10.0]], 0.7)
    # 0.7 of 5 samples and a new one is the fifth. Members 0 1 0 1 0 and 1 0 1 0 1 say 0 or 10 of these: a reaches up to
    # 10 + 4, b up to 10 + 10; down a reaches 0 - 5, b 0 - 9
    assert (plus[0].tolist(), plus[1].tolist()) == ([-9], [20])
    hard = calibrate(errors, groups, difficulty=np.full(10, 2.0)).bounds([1.0], 0.7, difficulty=[3.0])
    assert (hard[0].tolist(), hard[1].tolist()) == ([1 - 15], [1 + 15])


def test_few_groups_are_said():
    with pytest.warns(AAMWarning) as said:
        warn_of_few_groups(calibrate([1, 2, 3, 4, 5, 6], list('aabbcc')), 0.9)
        warn_of_few_groups(calibrate([1, 2], list('aa')), 0.5001)
    assert [str(one.message) for one in said] == [
        'Prediction intervals that promise a coverage of 0.9 need 9 groups of labelled samples (samples, where there '
        'are no groups), and there are 3: these hold 0.9 of the samples of every one of those, and promise nothing for '
        'new groups; label more groups, or lower coverage to 0.75 or less, which they can promise, though with '
        'intervals that may be wider.',
        'Prediction intervals that promise a coverage of 0.5001 need 2 groups of labelled samples (samples, where '
        'there are no groups), and there is 1: these hold 0.5001 of the samples of every one of those, and promise '
        'nothing for new groups; label more groups, or lower coverage to 0.5 or less, which they can promise, though '
        'with intervals that may be wider.',
    ]


@pytest.mark.parametrize('groups', [1, 2, 5, 6, 28, 49, 97])
def test_the_coverage_that_few_groups_are_told_of_is_one_that_they_can_promise(groups):
    calibration = calibrate(np.arange(float(groups)))
    with pytest.warns(AAMWarning) as said:
        warn_of_few_groups(calibration, 0.99)
    told = float(str(said[0].message).split('lower coverage to ')[1].split(' ')[0])
    assert groups / (groups + 1) - 0.01 < told <= groups / (groups + 1)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warn_of_few_groups(calibration, told)


@pytest.mark.parametrize('coverage, needed', [(0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_as_many_groups_as_a_coverage_needs_are_enough(coverage, needed):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warn_of_few_groups(calibrate(np.arange(needed)), coverage)
    with pytest.warns(AAMWarning, match=f'need {needed} groups .* there are {needed - 1}: '):
        warn_of_few_groups(calibrate(np.arange(needed - 1)), coverage)


def test_the_coverage_of_intervals_counts_their_ends():
    lower, upper = np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0, 7.0])
    figures = interval_figures(lower, upper, np.array([0.0, 2.0, 4.5, 2.5]))
    assert figures == {'interval_coverage': 0.5, 'interval_width': 2.0}


@pytest.mark.parametrize('more', [{}, {'members': [0, 1, 1, 2]}, {'difficulty': [1, 2, 3, 4]}])
def test_a_calibration_is_json_and_comes_back(more):
    calibration = calibrate([0.1, 0.3, -0.2, 7], ['subject-1', 'subject-2', 'subject-1', 'subject-1'], **more)
    text = json.dumps(dataclasses.asdict(calibration), allow_nan=False)
    assert 'subject' not in text
    assert Calibration(**json.loads(text)) == calibration


@pytest.mark.parametrize(
    'change',
    [
        {'scores': [2.0, 1.0]},
        {'scores': [-1.0, 1.0]},
        {'scores': [0.0, float('nan')]},
        {'scores': [0.0, float('inf')]},
        {'scores': [0.0, 'x']},
        {'scores': [], 'group': []},
        {'group': [0]},
        {'group': [0, 2]},
        {'group': [0, 2**70]},
        {'group': [1, 0]},
        {'group': [0, -1]},
        {'group': [0, 1.0]},
        {'group': 2},
        {'members': [0]},
        {'members': [0, -1]},
        {'members': [0, 'a']},
        {'by_difficulty': 1},
    ],
)
def test_a_damaged_calibration_is_refused(change):
    sound = {'scores': [1.0, 2.0], 'group': [0, 1]}
    assert Calibration(**sound).groups == 2
    with pytest.raises(ValueError) as error:
        Calibration(**sound | change)
    assert str(error.value) == (
        'The calibration of a model must be sorted scores of 0 or more, each with the number of its group; train the '
        'model again.'
    )


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


def test_cv_plus_is_narrower_than_split_with_few_samples_and_covers():
    random = np.random.default_rng(11)
    found = {'split': [], 'cv+': []}
    for _ in range(300):
        inputs = random.normal(size=(25, 8))
        values = inputs.sum(axis=1) + random.normal(size=25)
        (known, new), (true, wanted) = (inputs[:24], inputs[24:]), (values[:24], values[24])
        fold = np.arange(24) % 6
        slopes = [np.linalg.lstsq(known[fold != k], true[fold != k], rcond=None)[0] for k in range(6)]
        errors = np.array([known[i] @ slopes[fold[i]] - true[i] for i in range(24)])
        plus = calibrate(errors, members=fold).bounds(np.array([new @ slope for slope in slopes]), 0.8)
        half = np.linalg.lstsq(known[:12], true[:12], rcond=None)[0]
        split = calibrate(known[12:] @ half - true[12:]).bounds(new @ half, 0.8)
        for name, (lower, upper) in {'split': split, 'cv+': plus}.items():
            found[name].append((lower[0] <= wanted <= upper[0], upper[0] - lower[0]))
    (split_covered, split_width), (plus_covered, plus_width) = np.mean(found['split'], 0), np.mean(found['cv+'], 0)
    assert min(split_covered, plus_covered) > 0.74
    assert plus_width < 0.8 * split_width
