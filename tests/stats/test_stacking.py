"""Stacking gives each of two the share at which their blend errs least, as far as groups prove it."""

import numpy as np
import pytest
import scipy.special

from q2_aam.stats.metrics import log_loss
from q2_aam.stats.stacking import PRIOR_GROUPS, stack_least_squares, stack_log_loss

PRIOR = 0.1


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
