"""Schedules of the learning rate; only matrices decay; slow parts learn slowly or not at all."""

import math

import pytest
import torch

from q2_aam.config import FitRegressorConfig, HeadConfig, ModelConfig
from q2_aam.model.network import build_network
from q2_aam.training.optimizer import (
    LAST_SHARE,
    SCHEDULES,
    make_optimizer,
    one_cycle,
    peak_learning_rate,
    set_learning_rate,
    warmup_cosine,
)


def schedule(**options):
    return FitRegressorConfig.from_flat(options).training


@pytest.fixture
def network():
    config = ModelConfig(width=16, memberships=16, asv_layers=1, sample_layers=1).resolved(48, 100)
    return build_network(config, {'target': HeadConfig('target', 1)}, torch.Generator().manual_seed(1))


@pytest.mark.parametrize(('width', 'rate'), [(32, 1e-3), (128, 1e-3), (256, 5e-4), (1024, 1.25e-4)])
def test_a_derived_learning_rate_falls_with_the_width(width, rate):
    assert peak_learning_rate(schedule(), width) == pytest.approx(rate)
    assert peak_learning_rate(schedule(), width, 0.1) == pytest.approx(100 * rate)


def test_a_given_learning_rate_is_taken_as_it_is():
    assert peak_learning_rate(schedule(learning_rate=0.003), 1024) == 0.003


def test_every_parameter_is_in_one_group_and_only_matrices_decay(network):
    optimizer = make_optimizer(network, 1e-3, 0.07)
    grouped = [parameter for group in optimizer.param_groups for parameter in group['params']]
    assert sorted(map(id, grouped)) == sorted(map(id, network.parameters()))
    for group in optimizer.param_groups:
        assert all((parameter.dim() >= 2) == (group['weight_decay'] == 0.07) for parameter in group['params'])
        assert group['weight_decay'] in (0.0, 0.07)


def test_slow_parts_have_their_share_of_the_learning_rate(network):
    optimizer = make_optimizer(network, 0.01, 0.0, 0.2, ('asv_encoder', 'sample_encoder'))
    rate = {id(parameter): group['peak'] for group in optimizer.param_groups for parameter in group['params']}
    for name, parameter in network.named_parameters():
        slow = name.startswith(('asv_encoder', 'sample_encoder'))
        assert rate[id(parameter)] == pytest.approx(0.002 if slow else 0.01)


def test_frozen_parts_do_not_learn(network):
    optimizer = make_optimizer(network, 1e-3, 0.0, 0.5, ('asv_encoder', 'sample_encoder'), ('asv_encoder',))
    learning = {id(parameter) for group in optimizer.param_groups for parameter in group['params']}
    for name, parameter in network.named_parameters():
        frozen = name.startswith('asv_encoder')
        assert (id(parameter) in learning) == parameter.requires_grad == (not frozen)


def test_the_learning_rate_rises_to_its_peak_and_falls_to_its_last_share():
    shares, betas = zip(*(warmup_cosine(step, 100, 0.1) for step in range(100)))
    assert shares[:10] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert all(late < early for early, late in zip(shares[10:], shares[11:]))
    assert shares[55] == pytest.approx(LAST_SHARE + (1 - LAST_SHARE) * 0.5 * (1 + math.cos(math.pi / 2)))
    assert LAST_SHARE < shares[-1] < 1.1 * LAST_SHARE
    assert set(betas) == {None}


@pytest.mark.parametrize('warmup_fraction', [0.0, 1.0])
def test_a_schedule_without_rise_or_without_fall_stays_within_its_bounds(warmup_fraction):
    shares = [warmup_cosine(step, 7, warmup_fraction)[0] for step in range(7)]
    assert max(shares) == pytest.approx(1.0) and min(shares) > 0


@pytest.mark.parametrize('steps', [2, 3, 4, 7, 10, 200, 288])
def test_one_cycle_is_that_of_torch_in_learning_rate_and_first_beta(steps):
    ours, theirs = (
        torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=3e-3, betas=(0.9, 0.999)) for _ in range(2)
    )
    ours.param_groups[0]['peak'] = 3e-3
    reference = torch.optim.lr_scheduler.OneCycleLR(theirs, max_lr=3e-3, total_steps=steps)
    for step in range(steps):
        set_learning_rate(ours, *one_cycle(step, steps))
        one, other = ours.param_groups[0], theirs.param_groups[0]
        assert one['lr'] == pytest.approx(other['lr'], rel=1e-6), step
        assert one['betas'] == pytest.approx(other['betas'], rel=1e-6), step
        theirs.step()
        if step < steps - 1:
            reference.step()


def test_a_rate_is_set_as_a_share_of_the_peak_of_each_group():
    groups = [{'params': [torch.zeros(1)], 'lr': peak, 'peak': peak} for peak in (0.5, 0.1)]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    set_learning_rate(optimizer, 0.25)
    assert [group['lr'] for group in optimizer.param_groups] == [0.125, 0.025]
    assert {group['betas'] for group in optimizer.param_groups} == {(0.9, 0.98)}
    set_learning_rate(optimizer, 1.0, 0.85)
    assert {group['betas'] for group in optimizer.param_groups} == {(0.85, 0.98)}


@pytest.mark.parametrize('name', SCHEDULES)
@pytest.mark.parametrize('steps', [1, 2, 3, 50])
def test_every_schedule_stays_within_its_bounds_however_few_the_steps(name, steps):
    for step in range(steps):
        share, beta = SCHEDULES[name](step, steps, schedule(schedule=name))
        assert 0 < share <= 1 and (beta is None or 0.8 < beta < 1)
