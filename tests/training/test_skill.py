"""A fit that has learned nothing of new groups says so, and one that has learned something does not."""

import warnings

import numpy as np
import pandas as pd
import pytest

from q2_aam.bundle import ClassTarget, NumericTarget
from q2_aam.errors import AAMWarning
from q2_aam.runtime.heard import OF_GUESSES, about
from q2_aam.runtime.recorder import Recorder
from q2_aam.training.blend import Blended
from q2_aam.training.skill import MIN_GROUPS, check_skill, skill_of


def warned(call, *given, **more):
    """Call, and return what it gives and what the user was warned of."""
    with warnings.catch_warnings(record=True) as messages:
        warnings.simplefilter('always')
        returned = call(*given, **more)
    return returned, [str(one.message) for one in messages if issubclass(one.category, AAMWarning)]


def about_skill(messages):
    return [text for text in messages if OF_GUESSES in text]


def test_by_hand_it_is_the_share_of_the_error_of_the_guess_that_is_saved():
    errors, guesses = np.array([1.0, 1, 2, 0]), np.array([2.0, 2, 2, 2])
    skill = skill_of(errors, guesses, np.array([1.0, 1, 1, 5]), np.array(['a', 'a', 'b', 'c']))
    # the last counts five times: 4 of 16
    assert (skill.error, skill.guess, skill.value, skill.groups) == (0.5, 2.0, 0.75, 3)
    assert np.isnan(skill.lower) and np.isnan(skill.upper) and not skill.is_doubtful
    assert skill_of(errors, np.zeros(4), np.ones(4), np.arange(4)) is None
    assert skill_of(0.96 * guesses, guesses, np.ones(4), np.arange(4)).is_doubtful


def test_samples_of_one_group_count_as_one_for_the_interval():
    random = np.random.default_rng(1)
    errors, guesses = random.uniform(0, 1.2, 40), np.ones(40)
    alone = skill_of(errors, guesses, np.ones(40), np.arange(40))
    assert 0 < alone.lower < alone.value < alone.upper
    copied = skill_of(np.repeat(errors, 9), np.ones(360), np.ones(360), np.repeat(np.arange(40), 9))
    assert (copied.lower, copied.upper) == pytest.approx((alone.lower, alone.upper))
    assert skill_of(np.repeat(errors, 9), np.ones(360), np.ones(360), np.arange(360)).lower > alone.lower
    few = skill_of(errors[: MIN_GROUPS - 1], guesses[: MIN_GROUPS - 1], np.ones(4), np.arange(4))
    assert np.isnan(few.lower)


def test_its_interval_holds_the_truth_in_19_of_20_studies():
    random = np.random.default_rng(2)
    held = []
    for _ in range(400):
        group = np.repeat(np.arange(12), random.integers(1, 6, 12))
        hard = random.gamma(4, 0.25, 12)[group]
        errors, guesses = 0.7 * hard * random.gamma(2, 0.5, len(group)), hard * random.gamma(2, 0.5, len(group))
        skill = skill_of(errors, guesses, np.ones(len(group)), group)
        held.append(skill.lower <= 0.3 <= skill.upper)
    assert 0.92 < np.mean(held) < 0.98


@pytest.fixture
def checked(made):
    """Check made-up outputs for a target: (values, outputs, groups) -> history and warnings."""

    def check(prepared, calibrated, outputs, rows=None):
        rows = np.arange(len(outputs)) if rows is None else rows
        recorder = Recorder(lambda line: None)
        blended = Blended(outputs, None, rows, outputs)
        _, messages = warned(check_skill, prepared.target, calibrated, blended, recorder)
        return recorder.history.series('run', 'out_of_fold_skill'), messages

    return check


def test_the_guess_of_a_number_is_the_median_of_other_groups(made, checked):
    values = np.array([0.0, 0, 1, 1, 9, 9, 2, 2, 3, 3, 4, 4])
    prepared = made(12, groups=np.repeat(list('abcdef'), 2), values=lambda counts: values)
    target = NumericTarget('ratio', 0.0, 1.0)
    errors, guesses, weights = prepared.target.beside_guess(
        target, np.full((12, 1), 2.0), np.arange(12), np.repeat(np.arange(6), 2)
    )
    assert errors.tolist() == np.abs(values - 2).tolist() and set(weights) == {1.0}
    # without a: 1, 9, 2, 3, 4; without b: 0, 9, 2, 3, 4; without c: 0, 1, 2, 3, 4
    assert guesses.tolist()[:6] == [3, 3, 2, 2, 7, 7]
    history, messages = checked(prepared, target, values[:, None] * 0.8 + 0.5)
    assert history[0] > 0.6 and messages == []
    _, messages = checked(prepared, target, values[:, None] + 1.002 * guesses.mean())
    assert '(skill 0%; ' in messages[0]
    history, messages = checked(prepared, target, np.full((12, 1), 4.5))
    share = 1 - np.abs(values - 4.5).sum() / guesses.sum()
    assert history == [pytest.approx(share)] and len(messages) == 1
    low, high = messages[0].split('95 % interval ')[1].split(')')[0].split(' to ')
    assert messages[0] == (
        'Left-out groups are predicted hardly better than by a guess, if at all: over 6 groups, the out-of-fold mae of '
        f"'ratio' is {np.abs(values - 4.5).mean():.3g}, that of a guess that looks at no sample {guesses.mean():.3g} "
        f'(skill {share:.0%}; 95 % interval {low} to {high}); do not rely on predictions of this model, and label '
        'samples of more groups, or choose a target that the table can tell.'
    )


def test_the_guess_of_a_class_is_how_often_it_occurs_or_none_where_they_are_balanced(made, checked):
    options = {'samples': 12, 'kind': 'classifier', 'groups': np.repeat(list('abcdef'), 2)}
    prepared = made(**options, class_weights='balanced')
    true = prepared.target.values
    target, fold = ClassTarget('ratio', ('less', 'more')), np.repeat(np.arange(6), 2)
    logits = np.where(true[:, None] == np.arange(2), 1.0, 0.0)
    losses, guesses, weights = prepared.target.beside_guess(target, logits, np.arange(12), fold)
    assert losses == pytest.approx(np.full(12, np.log1p(np.exp(-1))))
    assert guesses == pytest.approx(np.full(12, np.log(2)))
    assert weights == pytest.approx(1 / np.bincount(true)[true])
    plain = made(**options, class_weights='none')
    _, guesses, weights = plain.target.beside_guess(target, logits, np.arange(12), fold)
    others = true[2:]
    expected = -np.log((np.bincount(others, minlength=2) + 0.5) / 11)[true[:2]]
    assert guesses[:2] == pytest.approx(expected) and set(weights) == {1.0}
    history, messages = checked(prepared, target, logits)
    assert history == [pytest.approx(1 - losses.mean() / np.log(2))] and messages == []
    (skill,), messages = checked(prepared, target, np.zeros((12, 2)))
    assert skill == pytest.approx(0, abs=1e-9) and len(messages) == 1
    assert "the out-of-fold balanced log loss of 'ratio' is 0.693, that of a guess" in messages[0]


def test_of_a_difference_that_may_be_chance_it_says_so(made, checked):
    values = np.array([0.0, 0, 1, 1, 9, 9, 2, 2, 3, 3, 4, 4])
    prepared = made(12, groups=np.repeat(list('abcdef'), 2), values=lambda counts: values)
    outputs = np.array([3.0, 3, 3, 3, 7, 7, 4, 4, 1, 1, 2, 2])[:, None]
    (skill,), (message,) = checked(prepared, NumericTarget('ratio', 0.0, 1.0), outputs)
    assert skill > 0.05 and message.startswith(
        'That left-out groups are predicted better than by a guess may be chance: over 6 groups, the out-of-fold mae '
    )
    # whatever the figures, folds that say so say the same
    assert about(message) == OF_GUESSES


def test_only_samples_that_calibrate_count_and_of_one_group_nothing_is_said(made, checked):
    values = np.arange(12.0)
    prepared = made(12, values=lambda counts: values)
    target = NumericTarget('ratio', 0.0, 1.0)
    outputs = np.where(values < 8, values, -50)[:, None]
    assert checked(prepared, target, outputs, np.arange(8)) == ([1.0], [])
    assert checked(prepared, target, outputs, np.array([9])) == ([], [])
    constant = made(12, values=lambda counts: np.r_[np.ones(11), 2.0])
    assert checked(constant, target, np.ones((12, 1)), np.arange(8)) == ([], [])


def test_a_fit_says_that_it_has_learned_nothing_of_random_labels(tiny, fitted, classified):
    random = np.random.default_rng(6)
    tiny.target = pd.Series(random.permutation(tiny.target), tiny.target.index, name='age')
    result, messages = warned(fitted, tiny)
    (message,) = about_skill(messages)
    assert 'over 10 groups' in message and result.history.series('run', 'out_of_fold_skill')[0] < 0.2
    result, messages = warned(classified, tiny)
    (message,) = about_skill(messages)
    assert 'the out-of-fold balanced log loss of' in message


def test_a_fit_that_has_learned_something_has_no_such_warning(tiny, fitted, classified):
    result, messages = warned(fitted, tiny)
    assert about_skill(messages) == [] and result.history.series('run', 'out_of_fold_skill')[0] > 0.5
    result, messages = warned(classified, tiny)
    assert about_skill(messages) == [] and result.history.series('run', 'out_of_fold_skill')[0] > 0.3


def test_random_labels_are_hardly_ever_taken_for_something_learned():
    """As in a simulation of members of the ensemble on random labels: errors as those of a shrunken, noisy guess."""
    random = np.random.default_rng(7)
    doubtful = []
    for _ in range(300):
        group = np.repeat(np.arange(12), 3)
        true = random.normal(size=12)[group] + random.normal(size=36)
        made_up = 0.2 * random.normal(size=36)
        skill = skill_of(np.abs(true - made_up), np.abs(true - np.median(true)), np.ones(36), group)
        doubtful.append(skill.is_doubtful)
    assert np.mean(doubtful) > 0.97
