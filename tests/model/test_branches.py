"""Branches of their own above ASVs: which samples share them, and how long they are."""

import dataclasses

import numpy as np
import pytest
import torch

from q2_aam.config import HeadConfig
from q2_aam.model.branches import Branches, own_lengths, sketched
from q2_aam.model.heads import OwnBranchDistanceHead, membership_distances

# ASVs of five samples
SAMPLES = [[3], [3, 10], [7, 10, 3], [4, 8], [10]]
LENGTHS = {3: 1.0, 10: 2.0, 7: 4.0, 4: 8.0, 8: 16.0}


@pytest.fixture
def branches():
    generator = torch.Generator().manual_seed(3)
    return Branches(
        torch.rand(len(SAMPLES), 6, generator=generator),
        torch.tensor([asv for sample in SAMPLES for asv in sample]),
        torch.tensor([LENGTHS[asv] for sample in SAMPLES for asv in sample]),
        torch.tensor([len(sample) for sample in SAMPLES]),
    )


def total(asvs):
    return sum(LENGTHS[asv] for asv in asvs)


def test_samples_share_the_branches_of_asvs_that_both_have(branches):
    shared, one, other = own_lengths(branches, branches)
    expected = [[total(set(a) & set(b)) for b in SAMPLES] for a in SAMPLES]
    assert shared.tolist() == expected
    assert one.tolist() == other.tolist() == [total(sample) for sample in SAMPLES]


@pytest.mark.parametrize('rows', [slice(1, 3), slice(4, 99), torch.tensor([4, 0, 2]), torch.tensor([2])], ids=str)
def test_rows_are_samples_with_their_asvs(branches, rows):
    chosen = [SAMPLES[i] for i in torch.arange(len(SAMPLES))[rows]]
    part = branches[rows]
    assert part.asvs.tolist() == [asv for sample in chosen for asv in sample]
    assert part.richness.tolist() == [len(sample) for sample in chosen] and len(part) == part.shape[0] == len(chosen)
    assert torch.equal(part.memberships, branches.memberships[rows])
    # what a pair shares does not depend on who else is there
    assert torch.equal(own_lengths(part, branches)[0], own_lengths(branches, branches)[0][rows])


def test_parts_that_are_joined_are_as_before(branches):
    assert Branches.concatenate([branches[:2], branches[2:]]).scale is None
    branches.scale = torch.arange(5.0)
    again = Branches.concatenate([branches[:2], branches[2:]])
    assert all(
        torch.equal(getattr(again, field.name), getattr(branches, field.name)) for field in dataclasses.fields(again)
    )


def test_lengths_count_what_the_scale_of_a_sample_says(branches):
    shared, one, _ = own_lengths(branches, branches)
    scale = torch.tensor([1.0, 4.0, 1.0, 2.0, 0.25])
    scaled = dataclasses.replace(branches, scale=scale)
    again, one_again, other_again = own_lengths(scaled[:2], scaled)
    torch.testing.assert_close(one_again, (one * scale)[:2])
    torch.testing.assert_close(other_again, one * scale)
    torch.testing.assert_close(again, (shared * (scale[:, None] * scale).sqrt())[:2])
    # a sample is as far from itself as before
    assert torch.equal(own_lengths(scaled, scaled)[0].diagonal(), own_lengths(scaled, scaled)[1])
    keys = torch.from_numpy(np.random.default_rng(1).integers(-(2**63), 2**63, 12, dtype=np.int64))
    vectors = sketched(scaled, keys[scaled.asvs], 4096)
    torch.testing.assert_close(vectors @ vectors.T, own_lengths(scaled, scaled)[0])


def test_unseen_relatives_are_apart_although_their_memberships_are_the_same(config_of):
    head = OwnBranchDistanceHead(config_of(memberships=8), HeadConfig('own_branches')).requires_grad_(False)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.own.weight)
    torch.nn.init.zeros_(head.own.bias)
    alike = torch.full((3, 8), 0.5)
    embeddings = torch.zeros(2, head.own.in_features)
    # the first two samples have one ASV each, the last has both
    distances = head((alike, embeddings, torch.tensor([0, 1, 0, 1]), torch.tensor([1, 1, 2])))
    # memberships weigh 8 * 0.5, an own branch 1, in units of softplus(0)
    expected = torch.tensor([[0, 2 / 6, 1 / 6], [2 / 6, 0, 1 / 6], [1 / 6, 1 / 6, 0]])
    torch.testing.assert_close(distances, expected)
    assert membership_distances(alike, alike, torch.ones(8)).max() == 0


def test_longer_branches_move_samples_apart_and_length_is_learned(config_of):
    head = OwnBranchDistanceHead(config_of(memberships=8), HeadConfig('own_branches'))
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.own.weight)
    torch.nn.init.constant_(head.own.bias, -2.0)
    given = torch.full((2, 8), 0.5), torch.ones(2, head.own.in_features), torch.tensor([0, 1]), torch.tensor([1, 1])
    before = head(given)[0, 1]
    before.backward()
    assert head.own.bias.grad.item() > 0 and head.own.weight.grad.abs().min() > 0
    torch.nn.init.constant_(head.own.bias, 1.0)
    assert head(given)[0, 1] > before


def test_products_of_sketches_are_the_lengths_that_samples_share(branches):
    random = np.random.default_rng(1)
    keys = torch.from_numpy(random.integers(-(2**63), 2**63, 12, dtype=np.int64))
    vectors = sketched(branches, keys[branches.asvs], 4096)
    torch.testing.assert_close(vectors @ vectors.T, own_lengths(branches, branches)[0])
    # at one place, signs let what they do not share vanish on average
    products = []
    for seed in range(400):
        keys = torch.from_numpy(np.random.default_rng(seed).integers(0, 2**63, 12, dtype=np.int64))
        one = sketched(branches, keys[branches.asvs], 1)
        products.append((one @ one.T)[1, 2].item())
    assert np.mean(products) == pytest.approx(total([3, 10]), abs=0.6)
