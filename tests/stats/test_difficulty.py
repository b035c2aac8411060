"""The difficulty finds what makes errors large, within a bounded factor; intervals by it keep what they promise."""

import numpy as np
import pytest

from q2_aam.stats import difficulty as module
from q2_aam.stats.conformal import calibrate
from q2_aam.stats.difficulty import Difficulty, difficulty_features, disagreement_of


def errors_of(groups, slope, seed, per_group=3):
    """Return errors, features and groups: the first feature makes errors large, the second says nothing."""
    random = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), per_group)
    features = random.normal(size=(len(group), 2))
    return random.laplace(size=len(group)) * np.exp(slope * features[:, 0]), features, group


def fit(errors, features, groups, more=()):
    return Difficulty.fit(errors, features, groups, np.random.default_rng(0), more)


def test_with_many_groups_the_coefficients_are_those_of_the_errors():
    difficulty, honest = fit(*errors_of(2000, 0.8, 1))
    assert difficulty.coefficients == pytest.approx([0.8, 0], abs=0.08)
    assert np.median(honest) == pytest.approx(1, abs=0.05)
    assert difficulty([[1, 0]]) / difficulty([[0, 0]]) == pytest.approx(np.exp(difficulty.coefficients[0]))


def test_a_warning_sign_never_makes_a_sample_easier():
    difficulty, honest = fit(*errors_of(500, -0.8, 1))
    assert difficulty.coefficients[0] == 0 and difficulty.coefficients[1] < 0.05
    assert honest == pytest.approx(1, abs=0.15)


def test_with_few_groups_the_coefficients_are_shrunk_and_with_fewer_than_ten_there_are_none():
    slopes = [fit(*errors_of(groups, 0.8, 1))[0].coefficients[0] for groups in (2000, 40, 9)]
    assert slopes[0] > 0.7 > 0.6 > slopes[1] > 0.2 and slopes[2] == 0
    difficulty, honest = fit(*errors_of(9, 0.8, 1))
    assert (honest == 1).all() and (difficulty(np.array([[9.0, 9], [-9, 0]])) == 1).all()


def test_groups_count_once_however_many_samples_they_have():
    errors, features, groups = errors_of(60, 0.8, 1)
    once, _ = fit(errors, features, groups)
    copies = np.repeat(np.arange(len(errors)), np.where(groups % 3 == 0, 20, 1))
    again, _ = fit(errors[copies], features[copies], groups[copies])
    assert again.coefficients == pytest.approx(once.coefficients, abs=1e-6)


def test_samples_of_a_group_are_told_by_the_others():
    errors, features, groups = errors_of(60, 0.8, 1)
    _, honest = fit(errors, features, groups)
    changed = np.where(groups == 7, 1000 * errors, errors)
    _, again = fit(changed, features, groups)
    assert np.array_equal(honest[groups == 7], again[groups == 7]) and not np.array_equal(honest, again)


def test_a_difficulty_is_of_a_bounded_factor():
    errors, features, groups = errors_of(2000, 3.0, 1)
    difficulty, _ = fit(errors, features, groups)
    found = difficulty(np.array([[-1e9, 0], [0, 0], [1e9, 0]]))
    assert found[0] == 1 / 3 and found[2] == 5 and found[1] == pytest.approx(1, abs=0.1)
    gentle, _ = fit(*errors_of(2000, 0.3, 1))
    # no farther than all but 2 % of the samples that it was learned from
    high = np.quantile(features[:, 0], 0.98)
    assert gentle([[1e9, 0]]) == pytest.approx(gentle([[high, 0]]), rel=0.05)


def test_intervals_by_difficulty_hold_what_they_promise_and_are_narrower():
    hits, widths, plain = [], [], []
    for seed in range(60):
        errors, features, groups = errors_of(60, 1.0, seed)
        new, new_features, _ = errors_of(60, 1.0, seed + 1000)
        difficulty, honest = fit(errors, features, groups)
        _, upper = calibrate(errors, groups, honest).bounds(np.zeros(len(new)), 0.9, difficulty(new_features))
        hits.append(np.mean(np.abs(new) <= upper))
        widths.append(upper.mean())
        plain.append(calibrate(errors, groups).bounds([0.0], 0.9)[1][0])
    assert 0.88 < np.mean(hits) < 0.94
    assert np.mean(widths) < 0.9 * np.mean(plain)


def test_what_happens_under_other_circumstances_is_learned_from():
    errors, features, groups = errors_of(200, 0.0, 1)
    features[:, 1] = 0
    alone, _ = fit(errors, features, groups)
    # with the second feature at 1, errors are three times as large; twice, as of two draws
    thinned = [(3 * errors, features + [0, 1.0])] * 2
    difficulty, honest = fit(errors, features, groups, thinned)
    assert alone.coefficients[1] == 0 and difficulty.coefficients[1] == pytest.approx(np.log(3), rel=0.25)
    assert difficulty([[0, 1]]) / difficulty([[0, 0]]) > 2.2
    assert honest.shape == (600,) and np.median(honest) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize('errors', [np.zeros(30), np.full(30, 1e-300), np.full(30, 1e300), np.r_[1e12, np.zeros(29)]])
def test_errors_of_any_size_have_finite_difficulties(errors):
    features = np.random.default_rng(1).normal(size=(30, 3))
    features[:, 2] = 4.0
    difficulty, honest = fit(errors, features, np.arange(30))
    assert np.isfinite(honest).all() and np.isfinite(difficulty(features)).all() and difficulty.coefficients[2] == 0


def test_the_unit_of_errors_changes_nothing():
    errors, features, groups = errors_of(60, 0.8, 1)
    one, other = fit(errors, features, groups)[0], fit(1e6 * errors, features, groups)[0]
    assert one.coefficients == pytest.approx(other.coefficients, abs=1e-6)


def test_features_are_those_that_are_there():
    predictions = np.array([-1.0, 2.0])
    full = difficulty_features(predictions, [0.1, 0.2], [1.0, 0.4], [0.5, 9.0])
    expected = [[np.log(0.15), 0, 0.5, -1, 1, -1], [np.log(0.25), 0.6, 3, 2, -2, -2]]
    assert full == pytest.approx(np.array(expected))
    assert not difficulty_features(predictions)[:, :3].any()
    assert difficulty_features(predictions, familiarity=[np.nan, 1])[:, 2].tolist() == [0, 1]


def test_disagreement_is_that_of_kinds_not_of_members():
    # kinds, members, samples, outputs: the members are apart, the kinds of a member are not
    outputs = np.zeros((2, 3, 4, 1)) + np.arange(3.0)[:, None, None]
    assert (disagreement_of(outputs) == 0).all() and disagreement_of(outputs).shape == (4,)
    outputs[1] += 2
    assert (disagreement_of(outputs) == 1).all()
    assert disagreement_of([[[1.0, 0.0]], [[0.0, 0.0]]]) == pytest.approx([0.25])


def test_arrays_are_all_that_it_takes():
    errors, features, groups = errors_of(60, 0.8, 1)
    difficulty, _ = fit(errors, features, groups)
    again = Difficulty.from_arrays(difficulty.arrays(), 2)
    assert np.array_equal(again(features), difficulty(features))
    with pytest.raises(ValueError) as error:
        Difficulty.from_arrays(difficulty.arrays(), 3)
    assert str(error.value) == (
        'The difficulty of the model belongs to another model: it has 2 features instead of 3; train the model again.'
    )
    assert set(difficulty.arrays()) == set(module.NAMES)


@pytest.mark.parametrize(
    'change',
    [
        {'coefficients': np.array([1.0, -1])},
        {'coefficients': np.array([1.0, np.nan])},
        {'coefficients': np.array([1, 1])},
        {'coefficients': np.ones((2, 1))},
        {'coefficients': [1.0, 1]},
        {'lowest': np.zeros(3)},
        {'lowest': np.array([2.0, 0])},
        {'highest': np.array([np.inf, 1])},
        {'intercept': np.zeros(2)},
        {'intercept': np.zeros(1, np.float32)},
    ],
)
def test_a_damaged_difficulty_is_refused(change):
    sound = {'coefficients': np.ones(2), 'lowest': np.zeros(2), 'highest': np.ones(2), 'intercept': np.zeros(1)}
    assert Difficulty(**sound)([[0, 0]]) == 1
    with pytest.raises(ValueError) as error:
        Difficulty(**sound | change)
    assert str(error.value) == (
        'The difficulty of the model is damaged: it must hold coefficients of 0 or more, the range of each feature and '
        'an intercept, all finite; train the model again.'
    )
