"""Distances of samples are UniFrac-like by form: bounded, symmetric, 0 to itself, exact where memberships are hard."""

import math

import pytest
import torch

from q2_aam.model.heads import DistanceHead, RegressionHead
from q2_aam.model.network import SampleEmbeddings
from q2_aam.model.sample_encoder import ABUNDANCE_FEATURES

# the tree (((a:1,b:2):3,c:4):0.5,(d:1,e:2):1.5): branches above a, b, c, d, e, (a,b), (a,b,c), (d,e)
LENGTHS = [1, 2, 4, 1, 2, 3, 0.5, 1.5]
BRANCHES = {'a': [0, 5, 6], 'b': [1, 5, 6], 'c': [2, 6], 'd': [3, 7], 'e': [4, 7]}
# ac holds 1 + 4 + 3 + 0.5, bd holds 2 + 1 + 3 + 0.5 + 1.5; both hold (a,b) and (a,b,c); one or the other 7 branches
SAMPLES = ['ac', 'bd', 'e', 'abcde']
UNIFRAC = {('ac', 'bd'): 1 - 3.5 / 13, ('ac', 'e'): 1.0, ('bd', 'e'): 1 - 1.5 / 10, ('ac', 'abcde'): 1 - 8.5 / 15}
JACCARD = {('ac', 'bd'): 1 - 2 / 7, ('ac', 'e'): 1.0, ('bd', 'e'): 1 - 1 / 6, ('ac', 'abcde'): 1 - 4 / 8}


@pytest.fixture
def tree_head(config_of):
    """A head whose memberships are the branches of the tree, for ASVs that are unit vectors."""

    def make(weights):
        head = DistanceHead(config_of(memberships=8)).requires_grad_(False)
        head.membership.weight.fill_(0)
        for tip, branches in enumerate(BRANCHES.values()):
            head.membership.weight[branches, tip] = 200
        head.membership.bias.fill_(-100)
        head.context.weight.fill_(0)
        head.presence.weight.fill_(0)
        head.presence.bias.fill_(100)
        # the inverse of softplus
        head.weight.copy_(torch.tensor([math.log(math.expm1(weight)) for weight in weights]))
        return head

    return make


def unions_of(head, samples):
    asvs = torch.tensor([list(BRANCHES).index(tip) for sample in samples for tip in sample])
    offsets = torch.tensor([0, *(len(sample) for sample in samples)]).cumsum(0)
    nothing = torch.zeros(len(asvs), ABUNDANCE_FEATURES)
    return head.unions(torch.eye(5, 16), asvs, torch.zeros(len(asvs), 16), nothing, offsets)


@pytest.mark.parametrize('weights, expected', [(LENGTHS, UNIFRAC), ([1.0] * 8, JACCARD)])
def test_hard_memberships_give_unweighted_unifrac(tree_head, weights, expected):
    head = tree_head(weights)
    unions = unions_of(head, SAMPLES)
    distances = head(unions, unions)
    for (one, two), distance in expected.items():
        found = distances[SAMPLES.index(one), SAMPLES.index(two)].item()
        assert found == pytest.approx(distance, abs=1e-6), (one, two)


def test_the_union_of_a_sample_is_the_largest_membership_of_its_asvs(tree_head):
    head = tree_head(LENGTHS)
    assert unions_of(head, ['ac', 'e']).round().tolist() == [[1, 0, 1, 0, 0, 1, 1, 0], [0, 0, 0, 0, 1, 0, 0, 1]]


@pytest.fixture
def distances(config_of, scrambled):
    """Distances among 60 random samples, some of them alike, empty or full."""
    head = scrambled(DistanceHead(config_of(memberships=500)), spread=2.0).requires_grad_(False)
    unions = torch.rand(60, 500, generator=torch.Generator().manual_seed(4)) ** 4
    unions[1] = unions[0]
    unions[2] = 1
    unions[3] = 1e-4
    return head(unions, unions)


def test_distances_are_within_0_and_1(distances):
    assert distances.min() >= 0 and distances.max() <= 1
    assert distances[2, 3] > 0.99


def test_distances_are_symmetric_and_0_to_the_same(distances):
    torch.testing.assert_close(distances, distances.T, rtol=0, atol=1e-6)
    assert distances.diagonal().max() < 1e-6
    assert distances[0, 1] < 1e-6


def test_samples_that_share_nothing_are_1_apart(config_of, scrambled):
    head = scrambled(DistanceHead(config_of()))
    one = torch.zeros(1, 12)
    one[0, :5] = 1
    assert head(one, 1 - one).item() == 1


def test_the_triangle_inequality_holds(distances):
    # the weighted Jaccard (Ruzicka) distance is a metric
    through = (distances[:, :, None] + distances[None]).amin(1)
    assert (distances - through).max() < 1e-5


@pytest.mark.parametrize('value', [0.0, 1e-30, 0.3, 1.0])
def test_the_gradient_is_finite_at_identical_samples(config_of, scrambled, value):
    head = scrambled(DistanceHead(config_of()))
    unions = torch.full((3, 12), value, requires_grad=True)
    head(unions, unions).square().sum().backward()
    assert torch.isfinite(unions.grad).all()
    assert torch.isfinite(head.weight.grad).all()


def test_the_gradient_pulls_samples_that_are_too_far_apart_together(config_of, scrambled):
    head = scrambled(DistanceHead(config_of()))
    unions = torch.rand(2, 12, generator=torch.Generator().manual_seed(6)).requires_grad_()
    before = head(unions[:1], unions[1:])
    before.sum().backward()
    after = head(*(unions - 1e-3 * unions.grad).split(1))
    assert after.item() < before.item()


def test_a_regression_head_reads_summary_mean_and_unions(config_of, scrambled):
    head = scrambled(RegressionHead(config_of(), 3)).requires_grad_(False)
    generator = torch.Generator().manual_seed(7)
    parts = [torch.rand(4, width, generator=generator) for width in (16, 16, 12)]
    outputs = head(SampleEmbeddings(*parts))
    assert outputs.shape == (4, 3)
    for changed in range(3):
        others = [part.flip(1) if i == changed else part for i, part in enumerate(parts)]
        assert (head(SampleEmbeddings(*others)) - outputs).abs().max() > 0.01
