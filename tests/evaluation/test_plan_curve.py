"""What a learning curve says, of errors that are known."""

import numpy as np
import pandas as pd
import pytest

from q2_aam.evaluation.plan import NOTE, WARNING
from q2_aam.evaluation.plan_curve import check_skill, summarize

GROUPS = [f'g{number // 2}' for number in range(40)]


def errors(**columns):
    return pd.DataFrame({'group': GROUPS, **columns})


def test_errors_are_means_by_the_number_of_groups_with_intervals():
    curve = summarize(errors(guess=5.0).join(pd.DataFrame({2: 4.0, 1: 2.0}, range(40))))
    assert list(curve.points['groups']) == [10, 20] and list(curve.points['error']) == [4.0, 2.0]
    assert list(curve.points['samples']) == [20, 40]
    assert curve.guess == 5.0 and curve.gain == (-3.0, -3.0, -3.0)
    # half the error with twice as many groups: half of it again
    assert curve.doubled == pytest.approx(1.0)


def test_an_error_that_does_not_fall_promises_nothing():
    frame = errors(guess=5.0).join(pd.DataFrame({2: 2.0, 1: 2.5}, range(40)))
    assert summarize(frame).doubled is None
    assert summarize(errors(guess=5.0).join(pd.DataFrame({1: 2.5}, range(40)))).doubled is None
    # nor does one that fell before and falls no more
    assert summarize(errors(guess=5.0).join(pd.DataFrame({4: 4.0, 2: 2.0, 1: 2.01}, range(40)))).doubled is None


def test_no_better_than_a_guess_is_a_warning_and_a_falling_error_a_note():
    random = np.random.default_rng(1)
    noise = pd.DataFrame({1: 5 + random.normal(size=40)}, range(40))
    (one,) = check_skill(summarize(errors(guess=5.0).join(noise)), 'age')
    assert one.severity == WARNING and one.fault == 'no_signal' and 'a guess by 5' in one.what
    (one,) = check_skill(summarize(errors(guess=5.0).join(pd.DataFrame({2: 4.0, 1: 2.0}, range(40)))), 'age')
    assert one.severity == NOTE and 'from 2 with all of them to about 1 with twice as many' in one.what
    assert check_skill(summarize(errors(guess=5.0).join(pd.DataFrame({2: 2.0, 1: 2.0}, range(40)))), 'age') == []


def test_too_few_groups_have_no_curve():
    curve = summarize(errors(guess=5.0))
    assert curve.points.empty and np.isnan(curve.gain[0]) and check_skill(curve, 'age') == []
