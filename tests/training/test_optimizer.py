"""The learning rate rises, then falls along a cosine; only matrices decay; slow parts learn slowly or not at all."""

import math

import pytest
import torch

from q2_aam.config import FitConfig, ModelConfig
from q2_aam.model.network import Network
from q2_aam.training.optimizer import LAST_SHARE, base_learning_rate, make_optimizer, set_learning_rate


def schedule(**options):
    return FitConfig.from_flat(options).training


@pytest.fixture
def network():
    return Network(ModelConfig(width=16, memberships=16, asv_layers=1, sample_layers=1).resolved(48), outputs=1)


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
