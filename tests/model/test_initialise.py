"""Memberships begin so that samples are as far apart as they truly are."""

import copy

import pytest
import torch

from q2_aam.config import HeadConfig
from q2_aam.model.initialise import initialise_memberships
from q2_aam.model.network import build_network


@pytest.fixture
def begun(config_of, batch_of):
    """Make a network, begin its memberships at a mean distance, and return it with the distances among samples."""

    def begin(mean_distance, seed=1):
        heads, generator = {'distances': HeadConfig('distances')}, torch.Generator().manual_seed(seed)
        network = build_network(config_of(memberships=64), heads, generator).requires_grad_(False)
        before = copy.deepcopy(network.state_dict())
        batch = batch_of(network, range(9), ('distances',))
        initialise_memberships(network, network(batch).asvs, batch.samples[0], mean_distance, generator)
        return network, before, network(batch).heads['distances']

    return begin


@pytest.mark.parametrize('mean_distance', [0.3, 0.5, 0.7])
def test_the_mean_predicted_distance_becomes_the_asked_one(begun, mean_distance):
    distances = begun(mean_distance)[2]
    pairs = distances[tuple(torch.triu_indices(9, 9, 1))]
    assert pairs.mean().item() == pytest.approx(mean_distance, abs=1e-3)
    # and samples already differ in how far apart they are
    assert pairs.std() > 0.02


def test_samples_that_are_too_much_alike_begin_as_far_apart_as_they_can_be(begun):
    distances = begun(0.99)[2]
    assert distances[tuple(torch.triu_indices(9, 9, 1))].mean() > 0.7
    # what makes them far apart are memberships, not numbers so small that nothing can be told from them
    assert distances.diagonal().abs().max() < 1e-5


def test_only_memberships_are_changed(begun):
    network, before, _ = begun(0.6)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {'memberships.asv.weight', 'memberships.asv.bias'}


def test_the_same_seed_gives_the_same_network_and_another_seed_another(begun):
    one, same, other = (begun(0.6, seed)[0].state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert not torch.equal(one['memberships.asv.weight'], other['memberships.asv.weight'])
    assert not torch.equal(one['asv_encoder.position_binding'], other['asv_encoder.position_binding'])


def test_residual_branches_begin_smaller_the_more_there_are(config_of):
    network = build_network(config_of(width=64, sample_layers=8), {}, torch.Generator().manual_seed(1))
    assert network.sample_encoder.blocks[0].attention_out.weight.std().item() == pytest.approx(0.02 / 4, rel=0.1)
    assert network.asv_encoder.blocks[0].mlp_out.weight.std().item() == pytest.approx(0.02 / 2, rel=0.1)
    assert network.sample_encoder.blocks[0].query_key_value.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not network.sample_encoder.blocks[0].query_key_value.bias.any()
    assert (network.sample_encoder.norm.weight == 1).all()
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())
