"""Memberships begin so that samples are as far apart as they truly are."""

import copy

import pytest
import torch

from q2_aam.data.batches import make_batch
from q2_aam.model.initialise import initialise_memberships
from q2_aam.model.network import Network


@pytest.fixture
def begun(config_of, study):
    """Make a network, begin its memberships at a mean distance, and return it with the distances among samples."""

    def begin(mean_distance, seed=1):
        torch.manual_seed(seed)
        network = Network(config_of(memberships=64)).requires_grad_(False)
        batch = make_batch(study, range(9))
        asvs = network.encode_asvs(batch.codes, batch.lengths)[0]
        before = copy.deepcopy(network.state_dict())
        initialise_memberships(network, asvs, batch, mean_distance)
        unions = network.encode(batch).unions
        return network, before, network.distance_head(unions, unions)

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
    assert changed == {'distance_head.membership.weight', 'distance_head.membership.bias'}


def test_the_same_seed_gives_the_same_network_and_another_seed_another(begun):
    one, same, other = (begun(0.6, seed)[0].state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert not torch.equal(one['distance_head.membership.weight'], other['distance_head.membership.weight'])
    assert not torch.equal(one['asv_encoder.position_binding'], other['asv_encoder.position_binding'])


def test_residual_branches_begin_smaller_the_more_there_are(config_of):
    torch.manual_seed(1)
    network = Network(config_of(width=64, sample_layers=8))
    assert network.sample_encoder.blocks[0].attention_out.weight.std().item() == pytest.approx(0.02 / 4, rel=0.1)
    assert network.asv_encoder.blocks[0].feed_forward_out.weight.std().item() == pytest.approx(0.02 / 2, rel=0.1)
    assert network.sample_encoder.blocks[0].query_key_value.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not network.sample_encoder.blocks[0].query_key_value.bias.any()
    assert (network.sample_encoder.norm.weight == 1).all()
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())
