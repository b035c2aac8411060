"""The learning rate rises, then falls along a cosine; only matrices decay; slow parts learn slowly or not at all;
in float16 the loss is scaled, and a step whose gradient overflows is left out.
"""

import math

import pytest
import torch

from q2_aam.config import FitConfig, ModelConfig
from q2_aam.errors import UserError
from q2_aam.model.network import Network
from q2_aam.training.optimizer import (
    FIRST_LOSS_SCALE,
    LARGEST_LOSS_SCALE,
    LAST_SHARE,
    STEPS_TO_DOUBLE,
    LossScale,
    base_learning_rate,
    make_optimizer,
    set_learning_rate,
)


def schedule(**options):
    return FitConfig.from_flat(options).training


@pytest.fixture
def network():
    return Network(ModelConfig(width=16, memberships=16, asv_layers=1, sample_layers=1).resolved(48, 100), outputs=1)


@pytest.mark.parametrize(('width', 'rate'), [(32, 1e-3), (128, 1e-3), (256, 5e-4), (1024, 1.25e-4)])
def test_a_derived_learning_rate_falls_with_the_width(width, rate):
    assert base_learning_rate(schedule(), width) == pytest.approx(rate)


def test_a_given_learning_rate_is_taken_as_it_is():
    assert base_learning_rate(schedule(learning_rate=0.003), 1024) == 0.003


def test_every_parameter_is_in_one_group_and_only_matrices_decay(network):
    optimizer = make_optimizer(network, schedule(weight_decay=0.07))
    found = [parameter for group in optimizer.param_groups for parameter in group['params']]
    assert sorted(map(id, found)) == sorted(map(id, network.parameters()))
    for group in optimizer.param_groups:
        assert all((parameter.dim() >= 2) == (group['weight_decay'] == 0.07) for parameter in group['params'])
        assert group['weight_decay'] in (0.0, 0.07)


def test_slow_parts_have_their_share_of_the_learning_rate(network):
    optimizer = make_optimizer(network, schedule(learning_rate=0.01), 0.2, ('asv_encoder', 'sample_encoder'))
    rate = {id(parameter): group['peak'] for group in optimizer.param_groups for parameter in group['params']}
    for name, parameter in network.named_parameters():
        slow = name.startswith(('asv_encoder', 'sample_encoder'))
        assert rate[id(parameter)] == pytest.approx(0.002 if slow else 0.01)


def test_frozen_parts_do_not_learn(network):
    optimizer = make_optimizer(network, schedule(), 0.5, ('asv_encoder', 'sample_encoder'), ('asv_encoder',))
    learning = {id(parameter) for group in optimizer.param_groups for parameter in group['params']}
    for name, parameter in network.named_parameters():
        frozen = name.startswith('asv_encoder')
        assert (id(parameter) in learning) == parameter.requires_grad == (not frozen)


def test_the_learning_rate_rises_to_its_maximum_and_falls_to_its_last_share():
    optimizer = torch.optim.AdamW([{'params': [torch.zeros(1)], 'lr': 0.5, 'peak': 0.5}])
    shares = [set_learning_rate(optimizer, step, 100, 0.1) for step in range(100)]
    assert shares[:10] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert all(late < early for early, late in zip(shares[10:], shares[11:]))
    assert shares[55] == pytest.approx(LAST_SHARE + (1 - LAST_SHARE) * 0.5 * (1 + math.cos(math.pi / 2)))
    assert LAST_SHARE < shares[-1] < 1.1 * LAST_SHARE
    assert optimizer.param_groups[0]['lr'] == pytest.approx(0.5 * shares[-1])


@pytest.mark.parametrize('warmup_fraction', [0.0, 1.0])
def test_a_schedule_without_rise_or_without_fall_stays_within_its_bounds(warmup_fraction):
    optimizer = torch.optim.AdamW([{'params': [torch.zeros(1)], 'lr': 1.0, 'peak': 1.0}])
    shares = [set_learning_rate(optimizer, step, 7, warmup_fraction) for step in range(7)]
    assert max(shares) == pytest.approx(1.0) and min(shares) > 0


@pytest.fixture
def weight():
    """A weight of 1 and plain gradient descent of rate 1, so that a step shows the gradient."""
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    return weight, torch.optim.SGD([weight], lr=1.0)


def test_the_scale_of_the_loss_leaves_no_trace_in_a_step(weight):
    weight, optimizer = weight
    scale = LossScale(torch.float16)
    (scale.value * 0.25 * weight).sum().backward()
    scale.step(optimizer, [weight], clip=0)
    assert weight.item() == 0.75


def test_a_gradient_is_clipped_after_its_scale_is_taken_away(weight):
    weight, optimizer = weight
    scale = LossScale(torch.float16)
    (scale.value * 0.25 * weight).sum().backward()
    scale.step(optimizer, [weight], clip=0.125)
    assert weight.item() == pytest.approx(0.875, abs=1e-6)


def test_a_step_whose_gradient_overflows_is_left_out_and_the_scale_halved(weight):
    weight, optimizer = weight
    scale = LossScale(torch.float16)
    weight.grad = torch.tensor([math.inf])
    scale.step(optimizer, [weight], clip=1.0)
    assert (weight.item(), scale.value, scale.skipped) == (1.0, FIRST_LOSS_SCALE / 2, 1)


def test_the_scale_doubles_where_it_holds_up_to_its_bound(weight):
    weight, optimizer = weight
    scale, seen = LossScale(torch.float16), []
    for _ in range(7):
        for _ in range(STEPS_TO_DOUBLE):
            weight.grad = torch.zeros(1)
            scale.step(optimizer, [weight], clip=0)
        seen.append(scale.value)
    assert seen == [2.0**11, 2.0**12, 2.0**13, 2.0**14, LARGEST_LOSS_SCALE, LARGEST_LOSS_SCALE, LARGEST_LOSS_SCALE]


def test_a_gradient_that_overflows_unscaled_is_one_sentence(weight):
    weight, optimizer = weight
    scale = LossScale(torch.float16)
    weight.grad = torch.tensor([math.nan])
    with pytest.raises(UserError) as error:
        for _ in range(11):
            scale.step(optimizer, [weight], clip=0)
    assert scale.skipped == 10
    assert str(error.value) == (
        'Parameter precision is float16, in which the gradient overflows; use bfloat16 or float32, or lower '
        'learning_rate.'
    )


@pytest.mark.parametrize('precision', [torch.float32, torch.bfloat16])
def test_other_precisions_scale_nothing_and_leave_nothing_out(weight, precision):
    weight, optimizer = weight
    scale = LossScale(precision)
    weight.grad = torch.tensor([0.5])
    scale.step(optimizer, [weight], clip=0)
    assert (weight.item(), scale.value, scale.skipped) == (0.5, 1.0, 0)
