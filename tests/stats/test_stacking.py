"""Stacking gives each of several models the share at which they err least together, as far as groups prove it."""

import numpy as np
import pytest
import scipy.special

from q2_aam.stats.metrics import log_loss
from q2_aam.stats.stacking import (
    MIN_SHARE,
    MIN_SHRINKAGE,
    PRIOR_GROUPS,
    PRIOR_GROUPS_OF_KINDS,
    combined_shares,
    cost_of_logits,
    cost_of_numbers,
    shrinkage,
    stack_least_squares,
    stack_log_loss,
)

PRIOR = 0.1


def combine_numbers(outputs, true, groups, noise_K=None, prior_K=None):
    return combined_shares(len(outputs), groups, cost_of_numbers(outputs, true, noise_K), prior_K)


def combine_log_loss(logits, true, groups, balanced=False, noise_K=None, prior_K=None):
    return combined_shares(len(logits), groups, cost_of_logits(logits, true, balanced, noise_K), prior_K)


def with_errors_alike(samples, correlation=0.6, ratio=1.05, seed=1):
    """Outputs of a network and of an ensemble whose errors (standard deviations `ratio` and 1) correlate."""
    random = np.random.default_rng(seed)
    true = random.normal(0, 3, samples)
    covariance = np.array([[ratio**2, correlation * ratio], [correlation * ratio, 1]])
    errors = random.multivariate_normal([0, 0], covariance, samples)
    return true + errors[:, 0], true + errors[:, 1], true


def rmse(predicted, true):
    return np.sqrt(((predicted - true) ** 2).mean())


def test_two_that_err_in_different_places_are_blended_though_one_is_a_little_worse():
    network, ensemble, true = with_errors_alike(2000)
    share = stack_least_squares(network, ensemble, 1.0, true, np.arange(2000), PRIOR)
    # the optimum is (1 - 0.6 * 1.05) / (1.05^2 + 1 - 2 * 0.6 * 1.05) = 0.44
    assert share == pytest.approx(0.44, abs=0.03)
    network, ensemble, true = with_errors_alike(20000, seed=2)
    blend = share * network + (1 - share) * ensemble
    assert rmse(blend, true) / rmse(ensemble, true) == pytest.approx(0.915, abs=0.01)


def test_twenty_samples_move_the_share_clearly_away_from_the_prior():
    shares = [
        stack_least_squares(*with_errors_alike(20, seed=seed)[:2], 1.0, with_errors_alike(20, seed=seed)[2],
                            np.arange(20), PRIOR)
        for seed in range(50)
    ]  # fmt: skip
    assert np.median(shares) == pytest.approx((20 * 0.44 + PRIOR_GROUPS * PRIOR) / (20 + PRIOR_GROUPS), abs=0.05)
    assert np.mean(np.array(shares) > 1.5 * PRIOR) > 0.8


def test_the_least_squares_share_is_that_of_a_calculation_by_hand():
    # of the difference (2, 4), what lacks to the ensemble is (1, 1): 2 + 4 over 4 + 16
    network, ensemble, true = np.array([3.0, 5]), np.array([1.0, 1]), np.array([2.0, 2])
    share = stack_least_squares(network, ensemble, np.ones(2), true, ['a', 'b'], 0.5)
    assert share == pytest.approx((2 * 0.3 + PRIOR_GROUPS * 0.5) / (2 + PRIOR_GROUPS))
    # as one group it proves less
    share = stack_least_squares(network, ensemble, np.ones(2), true, ['a', 'a'], 0.5)
    assert share == pytest.approx((0.3 + PRIOR_GROUPS * 0.5) / (1 + PRIOR_GROUPS))


def test_a_sample_whose_gate_is_closed_has_no_say_and_half_open_less():
    random = np.random.default_rng(4)
    network, ensemble, true = random.normal(size=(3, 30))
    gate = np.r_[np.ones(10), np.full(10, 0.5), np.zeros(10)]
    share = stack_least_squares(network, ensemble, gate, true, np.arange(30), PRIOR)
    ensemble[20:] = 1e6
    assert stack_least_squares(network, ensemble, gate, true, np.arange(30), PRIOR) == share
    # the blend has less error there than with any other share
    unshrunk = (share * (30 + PRIOR_GROUPS) - PRIOR_GROUPS * PRIOR) / 30
    ensemble[20:] = 0

    def error(w):
        return rmse(gate * (w * network + (1 - w) * ensemble) + (1 - gate) * network, true)

    assert 0 < unshrunk < 1
    assert error(unshrunk) == pytest.approx(min(error(w) for w in np.linspace(0, 1, 1001)), rel=1e-5)


@pytest.mark.parametrize(('better', 'best'), [('network', 1), ('ensemble', 0)])
def test_shares_stay_between_0_and_1(better, best):
    true = np.arange(10.0)
    # the other overshoots in the same direction, so that unbounded weights would be negative
    near, far = true + 1, true + 3
    network, ensemble = (near, far) if better == 'network' else (far, near)
    share = stack_least_squares(network, ensemble, 1.0, true, np.arange(10), PRIOR)
    assert share == pytest.approx((10 * best + PRIOR_GROUPS * PRIOR) / (10 + PRIOR_GROUPS))


def test_where_both_say_the_same_the_prior_decides():
    same, logits = np.arange(5.0), np.arange(15.0).reshape(5, 3)
    assert stack_least_squares(same, same, 1.0, same + 1, same, 0.3) == 0.3
    # or where the gate is closed
    assert stack_least_squares(same, same + 1, 0.0, same + 1, same, 0.3) == 0.3
    true = np.array([0, 1, 2, 0, 1])
    assert stack_log_loss(logits, logits, 1.0, true, same, 0.3) == 0.3
    assert stack_log_loss(logits, logits + 2, 1.0, true, same, 0.3) == 0.3
    assert stack_log_loss(logits, 3 * logits, np.zeros(5), true, same, 0.3) == 0.3


def test_outputs_that_are_right_in_everything_have_shares_that_are_numbers():
    right, wrong = np.arange(1.0, 6), np.zeros(5)
    assert stack_least_squares(right, wrong, 1.0, right, np.arange(5), 0.5) == pytest.approx(
        0.5 + 2.5 / (5 + PRIOR_GROUPS)
    )
    assert stack_least_squares(wrong, right, 1.0, right, np.arange(5), 0.5) == pytest.approx(
        0.5 - 2.5 / (5 + PRIOR_GROUPS)
    )
    assert stack_least_squares(np.full(5, 1e-200), wrong, 1.0, right, np.arange(5), 0.5) == 0.5


def drawn_classes(random, samples=4000):
    """Logits that tell half of what there is to know each, and classes drawn from their sum."""
    network, ensemble = random.normal(0, 2, (2, samples, 3))
    return network, ensemble, (network + ensemble + random.gumbel(size=(samples, 3))).argmax(axis=1)


@pytest.mark.parametrize('balanced', [False, True])
def test_the_share_of_logits_has_the_smallest_log_loss(balanced):
    random = np.random.default_rng(3)
    network, ensemble, true = drawn_classes(random)
    true[random.random(4000) < 0.5] = 0
    gate = random.random(4000)
    share = stack_log_loss(network, ensemble, gate, true, np.arange(4000), PRIOR, balanced)

    def cost(w):
        blend = gate[:, None] * (w * network + (1 - w) * ensemble) + (1 - gate[:, None]) * network
        return log_loss(blend, true, balanced)

    grid = np.linspace(0, 1, 201)
    assert share == pytest.approx(min(grid, key=cost), abs=0.006)


def test_classifiers_of_equal_worth_share_equally_and_the_ends_are_reached():
    random = np.random.default_rng(5)
    network, ensemble, true = drawn_classes(random)
    groups = np.arange(4000)
    assert stack_log_loss(network, ensemble, 1.0, true, groups, PRIOR) == pytest.approx(0.5, abs=0.03)
    noise = random.normal(0, 5, (4000, 3))
    truth = scipy.special.log_softmax(network + ensemble, axis=1)
    shrunk = PRIOR_GROUPS * PRIOR / (4000 + PRIOR_GROUPS)
    true = np.where(np.arange(4000) % 2, truth.argmax(axis=1), truth.argmin(axis=1))
    right = 3 * np.eye(3)[true]
    assert stack_log_loss(-right, right, 1.0, true, groups, PRIOR) == shrunk
    assert stack_log_loss(right, -right, 1.0, true, groups, PRIOR) == shrunk + 4000 / (4000 + PRIOR_GROUPS)
    assert stack_log_loss(noise, right, 1.0, true, groups, PRIOR) < 0.2


def test_the_share_of_logits_is_shrunk_by_groups():
    network, ensemble, true = np.array([[0.0, 3]]), np.array([[3.0, 0]]), np.array([1])
    samples = [np.repeat(one, 8, axis=0) for one in (network, ensemble, true)]
    groups = np.arange(8) // 4
    result = stack_log_loss(*samples[:2], 1.0, samples[2], groups, PRIOR)
    assert result == pytest.approx((2 * 1 + PRIOR_GROUPS * PRIOR) / (2 + PRIOR_GROUPS))


@pytest.mark.parametrize(
    ('outputs', 'expected'),
    [
        ([1.0, -2, 1], 1.0),
        ([2.0, -4, 2], 0.5),
        # too small is never made larger: of few samples a slope above 1 is chance
        ([0.5, -1, 0.5], 1.0),
        ([-1.0, 2, -1], MIN_SHRINKAGE),
        ([0.0, 0, 0], 1.0),
        ([1e-200, 0, 0], 1.0),
        # half of what it says is so: (1 + 4 + 1) / (1 + 4 + 1 + 6)
        ([1.0 + 6**0.5 * 0.5**0.5, -2.0, 1.0 - 6**0.5 * 0.5**0.5], 0.5),
    ],
)
def test_outputs_are_shrunk_to_where_they_err_least(outputs, expected):
    true = np.array([1.0, -2, 1])
    assert shrinkage(np.array(outputs), true) == pytest.approx(expected)


def shrunk(shares, groups):
    """Return shares of K kinds as so many groups leave them."""
    equal = 1 / len(shares)
    return (groups * np.array(shares) + PRIOR_GROUPS_OF_KINDS * equal) / (groups + PRIOR_GROUPS_OF_KINDS)


def test_shares_of_kinds_are_those_with_the_smallest_error_by_squares_of_small_ones():
    # errors at right angles, of squares 1, 2 and 4 (hundredths): shares go with 1, 1/2 and 1/4
    true = np.array([5.0, 6, 7])
    outputs = true + np.diag([0.1, 0.1 * 2**0.5, 0.2])
    shares = combine_numbers(outputs, true, np.arange(3))
    assert shares == pytest.approx(shrunk([4 / 7, 2 / 7, 1 / 7], 3), abs=1e-4)
    assert shares.sum() == pytest.approx(1)


def test_a_kind_that_errs_less_but_for_a_few_samples_keeps_its_share():
    """By squares alone, one sample of twenty would cost it the greater share."""
    true, sign = np.zeros(200), np.tile([1.0, -1.0], 100)
    steady, mostly_right = 0.3 * sign, 0.1 * np.roll(sign, 1) * np.tile([1.0, 1.0, -1.0, -1.0], 50)
    mostly_right[::20] = 1.5
    shares = combine_numbers(np.stack([steady, mostly_right]), true, np.arange(200))
    squares = np.mean(steady**2), np.mean(mostly_right**2)
    assert shares[1] > 0.55 > 0.45 > squares[0] / sum(squares)


@pytest.mark.parametrize('groups', [1, 3, 30, 3000])
def test_few_groups_leave_shares_nearly_equal(groups):
    random = np.random.default_rng(2)
    true = random.normal(size=3000)
    outputs = np.stack([true, true + random.normal(size=3000)])
    shares = combine_numbers(outputs, true, np.arange(3000) % groups)
    expected = shrunk([1, 0], groups)
    assert shares == pytest.approx([1, 0] if expected[1] < MIN_SHARE else expected, abs=1e-3)
    assert (groups == 3000) == (shares[1] == 0)


def test_a_small_share_is_none_and_the_others_sum_to_1():
    random = np.random.default_rng(4)
    true = random.normal(size=2000)
    # the best two err alike, the third ten times as much
    outputs = true + np.array([1, 1, 10])[:, None] * random.normal(size=(3, 2000))
    shares = combine_numbers(outputs, true, np.arange(2000))
    assert shares[2] == 0 and shares.sum() == pytest.approx(1) and shares[:2] == pytest.approx([0.5, 0.5], abs=0.05)
    # of 20 groups it keeps half of what the prior gives it
    assert combine_numbers(outputs, true, np.arange(2000) % 20)[2] == pytest.approx(1 / 6, abs=0.02)
    prior = np.array([1.0, 1.0, 4.0])
    assert combine_numbers(outputs, true, np.arange(2000) % 20, prior_K=prior)[2] == pytest.approx(1 / 3, abs=0.02)


def test_noise_that_a_mean_over_members_has_not_costs_no_share():
    """Stacked as if by the outputs of the mean, though each sample has that of one noisy member."""
    random = np.random.default_rng(5)
    true = random.normal(size=20000)
    steady, mean = true + 0.4 * random.normal(size=(2, 20000))
    member = mean + 0.3 * random.normal(size=20000)
    best, naive = (combine_numbers(np.stack([steady, one]), true, np.arange(20000)) for one in (mean, member))
    freed = combine_numbers(np.stack([steady, member]), true, np.arange(20000), np.array([0, 0.09]))
    assert naive[1] < 0.42 and best[1] == pytest.approx(0.5, abs=0.02) and freed[1] == pytest.approx(best[1], abs=0.03)
    classes = (true > 0).astype(int)
    logits = np.stack([np.column_stack([-one, one]) * 2 for one in (steady, mean, member)])
    best, naive = (combine_log_loss(logits[[0, one]], classes, np.arange(20000)) for one in (1, 2))
    freed = combine_log_loss(logits[[0, 2]], classes, np.arange(20000), noise_K=np.array([0, 4 * 0.09]))
    assert naive[1] < freed[1] and abs(freed[1] - best[1]) < abs(naive[1] - best[1])


@pytest.mark.parametrize('kinds', [1, 2, 3, 25])
def test_kinds_that_say_the_same_have_equal_shares(kinds):
    true = np.arange(40.0)
    shares = combine_numbers(np.tile(true + 1, (kinds, 1)), true, np.arange(40))
    # also where each is below what is left out
    assert shares == pytest.approx(np.full(kinds, 1 / kinds))
    logits = np.tile(np.random.default_rng(1).normal(size=(40, 3)), (kinds, 1, 1))
    assert combine_log_loss(logits, np.arange(40) % 3, np.arange(40)) == pytest.approx(np.full(kinds, 1 / kinds))


@pytest.mark.parametrize('balanced', [False, True])
def test_shares_of_logits_have_the_smallest_log_loss(balanced):
    random = np.random.default_rng(3)
    one, other, true = drawn_classes(random, 1000)
    true[random.random(1000) < 0.5] = 0
    shares = combine_log_loss(np.stack([one, other]), true, np.arange(1000), balanced)
    grid = np.linspace(0, 1, 201)
    best = min(grid, key=lambda share: log_loss(share * one + (1 - share) * other, true, balanced))
    assert shares == pytest.approx(shrunk([best, 1 - best], 1000), abs=0.006)
    # what tells nothing has no share, where the others are not too sure
    one, other, true = drawn_classes(random, 1000)
    noise = random.normal(0, 3, (1000, 3))
    assert combine_log_loss(np.stack([one, noise, other]), true, np.arange(1000), balanced)[1] == 0


@pytest.mark.parametrize('broken', [np.nan, np.inf, 1e200])
def test_outputs_that_are_no_numbers_leave_shares_equal(broken):
    true = np.arange(6.0)
    outputs = np.stack([true, true + 1, true])
    outputs[0, 3] = broken
    with np.errstate(all='ignore'):
        shares = combine_numbers(outputs, true, np.arange(6))
        logits = np.repeat(outputs[:, :, None], 2, axis=2) * [1, -1]
        of_logits = combine_log_loss(logits, np.arange(6) % 2, np.arange(6))
    for result in (shares, of_logits):
        assert np.isfinite(result).all() and result.sum() == pytest.approx(1) and (result >= 0).all()
    if not np.isfinite(broken):
        assert shares == pytest.approx(np.full(3, 1 / 3))


def test_the_order_of_kinds_does_not_matter():
    random = np.random.default_rng(6)
    true = random.normal(size=50)
    outputs = true + random.normal(size=(3, 50)) * [[1], [1.5], [2]]
    shares = combine_numbers(outputs, true, np.arange(50))
    assert combine_numbers(outputs[::-1], true, np.arange(50)) == pytest.approx(shares[::-1], abs=1e-4)
