"""Distances of samples are UniFrac-like by form: bounded, symmetric, 0 to itself, exact where memberships are hard."""

import math
import re

import numpy as np
import pytest
import torch

from q2_aam.config import HeadConfig
from q2_aam.data.batches import Budget, sample_chunks
from q2_aam.model.heads import HEADS, DistanceHead, NucleotideHead, SampleEmbeddings, TargetHead, make_head
from q2_aam.model.sample_encoder import ABUNDANCE_FEATURES, Memberships

# the tree (((a:1,b:2):3,c:4):0.5,(d:1,e:2):1.5): branches above a, b, c, d, e, (a,b), (a,b,c), (d,e)
LENGTHS = [1, 2, 4, 1, 2, 3, 0.5, 1.5]
BRANCHES = {'a': [0, 5, 6], 'b': [1, 5, 6], 'c': [2, 6], 'd': [3, 7], 'e': [4, 7]}
# ac holds 1 + 4 + 3 + 0.5, bd holds 2 + 1 + 3 + 0.5 + 1.5; both hold (a,b) and (a,b,c); one or the other 7 branches
SAMPLES = ['ac', 'bd', 'e', 'abcde']
UNIFRAC = {('ac', 'bd'): 1 - 3.5 / 13, ('ac', 'e'): 1.0, ('bd', 'e'): 1 - 1.5 / 10, ('ac', 'abcde'): 1 - 8.5 / 15}
JACCARD = {('ac', 'bd'): 1 - 2 / 7, ('ac', 'e'): 1.0, ('bd', 'e'): 1 - 1 / 6, ('ac', 'abcde'): 1 - 4 / 8}


@pytest.fixture
def tree_memberships(config_of):
    """Memberships that are the branches of the tree, for ASVs that are unit vectors."""
    memberships = Memberships(config_of(memberships=8)).requires_grad_(False)
    memberships.asv.weight.fill_(0)
    for tip, branches in enumerate(BRANCHES.values()):
        memberships.asv.weight[branches, tip] = 200
    memberships.asv.bias.fill_(-100)
    memberships.context.weight.fill_(0)
    memberships.presence.weight.fill_(0)
    memberships.presence.bias.fill_(100)
    return memberships


@pytest.fixture
def distance_head(config_of):
    """Make a head of these weights of memberships."""

    def make(weights):
        head = DistanceHead(config_of(memberships=len(weights)), HeadConfig('distances')).requires_grad_(False)
        # the inverse of softplus
        head.weight.copy_(torch.tensor([math.log(math.expm1(weight)) for weight in weights]))
        return head

    return make


@pytest.fixture
def random_head(config_of, scrambled):
    """Make a head of random weights."""

    def make(memberships=12, **how):
        return scrambled(DistanceHead(config_of(memberships=memberships), HeadConfig('distances')), **how)

    return make


def memberships_of(memberships, samples):
    asvs = np.array([list(BRANCHES).index(tip) for sample in samples for tip in sample])
    offsets = np.cumsum([0, *(len(sample) for sample in samples)])
    (chunk,) = sample_chunks(asvs, np.ones(len(asvs), dtype=np.float32), offsets, Budget(2**28, 1, 1, 1, 1, 1))
    nothing = torch.zeros(len(asvs), ABUNDANCE_FEATURES)
    return memberships(torch.eye(5, 16), torch.zeros(len(asvs), 16), nothing, chunk)


@pytest.mark.parametrize('weights, expected', [(LENGTHS, UNIFRAC), ([1.0] * 8, JACCARD)])
def test_hard_memberships_give_unweighted_unifrac(tree_memberships, distance_head, weights, expected):
    samples_BK = memberships_of(tree_memberships, SAMPLES)
    distances = distance_head(weights).between(samples_BK, samples_BK)
    for (one, two), distance in expected.items():
        predicted = distances[SAMPLES.index(one), SAMPLES.index(two)].item()
        assert predicted == pytest.approx(distance, abs=1e-6), (one, two)


def test_a_sample_has_the_branches_that_one_of_its_asvs_has(tree_memberships):
    assert memberships_of(tree_memberships, ['ac', 'e']).round().tolist() == [
        [1, 0, 1, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1, 0, 0, 1],
    ]


@pytest.fixture
def distances(random_head):
    """Distances among 60 random samples, some of them alike, empty or full."""
    head = random_head(500, spread=2.0).requires_grad_(False)
    samples_BK = torch.rand(60, 500, generator=torch.Generator().manual_seed(4)) ** 4
    samples_BK[1] = samples_BK[0]
    samples_BK[2] = 1
    samples_BK[3] = 1e-4
    return head(SampleEmbeddings(samples_BK, samples_BK, samples_BK))


def test_distances_are_within_0_and_1(distances):
    assert distances.min() >= 0 and distances.max() <= 1
    assert distances[2, 3] > 0.99


def test_distances_are_symmetric_and_0_to_the_same(distances):
    torch.testing.assert_close(distances, distances.T, rtol=0, atol=1e-6)
    assert distances.diagonal().max() < 1e-6
    assert distances[0, 1] < 1e-6


def test_samples_that_share_nothing_are_1_apart(random_head):
    head = random_head()
    one = torch.zeros(1, 12)
    one[0, :5] = 1
    assert head.between(one, 1 - one).item() == 1


def test_the_triangle_inequality_holds(distances):
    # the weighted Jaccard (Ruzicka) distance is a metric
    through = (distances[:, :, None] + distances[None]).amin(1)
    assert (distances - through).max() < 1e-5


@pytest.mark.parametrize('value', [0.0, 1e-30, 0.3, 1.0])
def test_the_gradient_is_finite_at_identical_samples(random_head, value):
    head = random_head()
    samples_BK = torch.full((3, 12), value, requires_grad=True)
    head.between(samples_BK, samples_BK).square().sum().backward()
    assert torch.isfinite(samples_BK.grad).all()
    assert torch.isfinite(head.weight.grad).all()


def test_the_gradient_pulls_samples_that_are_too_far_apart_together(random_head):
    head = random_head()
    samples_BK = torch.rand(2, 12, generator=torch.Generator().manual_seed(6)).requires_grad_()
    before = head.between(samples_BK[:1], samples_BK[1:])
    before.sum().backward()
    after = head.between(*(samples_BK - 1e-3 * samples_BK.grad).split(1))
    assert after.item() < before.item()


def test_a_target_head_reads_summary_mean_and_memberships(config_of, scrambled):
    head = scrambled(TargetHead(config_of(), HeadConfig('target', 3))).requires_grad_(False)
    generator = torch.Generator().manual_seed(7)
    parts = [torch.rand(4, width, generator=generator) for width in (16, 16, 12)]
    outputs = head(SampleEmbeddings(*parts))
    assert outputs.shape == (4, 3)
    for changed in range(3):
        others = [part.flip(1) if i == changed else part for i, part in enumerate(parts)]
        assert (head(SampleEmbeddings(*others)) - outputs).abs().max() > 0.01


def test_a_nucleotide_head_has_four_logits_for_each_nucleotide_of_a_token(config_of, scrambled):
    head = scrambled(NucleotideHead(config_of(), HeadConfig('nucleotides')))
    outputs = torch.randn(7, 16, generator=torch.Generator().manual_seed(8))
    logits = head(outputs)
    assert logits.shape == (7, 3, 4)
    torch.testing.assert_close(logits.flatten(1), head.out(outputs))


def test_heads_are_given_what_they_read():
    assert {name: head.reads for name, head in HEADS.items()} == {
        'distances': 'samples',
        'own_branches': 'branches',
        'nucleotides': 'masked',
        'target': 'samples',
        'asv_classes': 'asvs',
        'abundances': 'masked_samples',
        'sample_numbers': 'samples',
    }


@pytest.mark.parametrize(
    'values, sentence',
    [
        (
            {'kind': 'taxonomy'},
            'A head must be one of distances, own_branches, nucleotides, target, asv_classes, abundances, '
            "sample_numbers, but it is 'taxonomy'.",
        ),
        ({'kind': 'target'}, 'Outputs of the head target must be a whole number of at least 1, but they are 0.'),
        ({'kind': 'distances', 'outputs': 1}, 'Outputs of the head distances must be 0, but they are 1.'),
    ],
)
def test_a_head_that_there_is_not_is_refused_in_one_sentence(config_of, values, sentence):
    with pytest.raises(ValueError, match='^' + re.escape(sentence) + '$'):
        make_head(config_of(), HeadConfig(**values))
