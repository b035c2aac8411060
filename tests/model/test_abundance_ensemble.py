"""The profile head: members on their own, samples on their own, arrays that survive a round trip."""

import numpy as np
import pytest
import scipy.sparse
import torch

from q2_aam.model import abundance_ensemble as profile_head
from q2_aam.model.abundance_ensemble import ProfileHead

KEYS = np.array([-5, 3, 40, 41])
MEMBERS, OUTPUTS, WIDTH = 3, 2, 6


@pytest.fixture
def head(scrambled):
    made = scrambled(ProfileHead(KEYS, MEMBERS, OUTPUTS, WIDTH))
    made.scale.fill_(2.5)
    return made


@pytest.fixture
def profiles_BC():
    random = np.random.default_rng(2)
    values = random.random((5, 4), dtype=np.float32) * 9 * (random.random((5, 4)) < 0.7)
    return scipy.sparse.csr_matrix(values, dtype=np.float32)


def dense(profiles):
    return torch.from_numpy(profiles.toarray())


def perceptron(head, member, profiles):
    """Return the outputs [B, O] of one member as the definition has them, in float64."""

    def layer(values, name):
        part = getattr(head, name)
        return values @ part.weight[member].double() + part.bias[member].double()

    def hidden(values, name):
        values = layer(values, name)
        norm = getattr(head, f'{name}_norm')
        apart = values - values.mean(-1, keepdim=True)
        normed = apart / (apart.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        normed = normed * norm.weight[member].double() + norm.bias[member].double()
        return normed * 0.5 * (1 + torch.erf(normed / 2**0.5))

    return layer(hidden(hidden(dense(profiles).double() / 2.5, 'first'), 'second'), 'out')


def test_a_member_is_a_perceptron_of_two_hidden_layers(head, profiles_BC):
    found = head.outputs(profiles_BC)
    assert (found.shape, found.dtype) == ((MEMBERS, 5, OUTPUTS), np.float64)
    for member in range(MEMBERS):
        np.testing.assert_allclose(found[member], perceptron(head, member, profiles_BC).detach(), rtol=1e-4, atol=1e-5)
    assert found.std() > 0.1


def test_members_know_nothing_of_each_other(head, profiles_BC):
    before = head.outputs(profiles_BC)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter[1] = torch.randn_like(parameter[1])
    after = head.outputs(profiles_BC)
    assert np.array_equal(after[[0, 2]], before[[0, 2]])
    assert (after[1] != before[1]).all()


def test_a_member_learns_from_its_own_samples_alone(head, profiles_BC):
    """Its gradients are bit for bit the same whatever the others are given and asked for."""
    given_MBC = torch.stack([dense(profiles_BC)] * MEMBERS)
    asked_MBO = torch.zeros(MEMBERS, 5, OUTPUTS)

    def gradients(given, asked):
        head.zero_grad()
        (head(given) - asked).square().mean().backward()
        return [parameter.grad.clone() for parameter in head.parameters()]

    before = gradients(given_MBC, asked_MBO)
    given_MBC[1], asked_MBO[1] = given_MBC[1] + 1, 7.0
    for one, two in zip(before, gradients(given_MBC, asked_MBO)):
        assert torch.equal(one[[0, 2]], two[[0, 2]]) and not torch.equal(one[1], two[1])


def test_samples_for_all_and_the_same_samples_for_each_member_agree(head, profiles_BC):
    shared = head(dense(profiles_BC))
    each = head(torch.stack([dense(profiles_BC)] * MEMBERS))
    torch.testing.assert_close(shared, each, rtol=1e-5, atol=1e-5)


def test_each_member_may_be_given_samples_of_its_own(head, profiles_BC):
    samples = np.array([[0, 1], [2, 3], [4, 0]])
    found = head(dense(profiles_BC[samples.ravel()]).unflatten(0, samples.shape))
    whole = head(dense(profiles_BC))
    for member, own in enumerate(samples):
        torch.testing.assert_close(found[member], whole[member, own], rtol=1e-5, atol=1e-5)


def test_members_have_the_say_that_is_their_share(head, profiles_BC):
    each = head.outputs(profiles_BC)
    np.testing.assert_allclose(head.mean_outputs(profiles_BC), each.mean(axis=0), rtol=1e-6)
    head.shares.copy_(torch.tensor([0.5, 0.25, 0.25]))
    wanted = 0.5 * each[0] + 0.25 * each[1] + 0.25 * each[2]
    np.testing.assert_allclose(head.mean_outputs(profiles_BC), wanted, rtol=1e-6)


def test_a_sample_alone_is_as_in_any_company_and_in_any_block(head, profiles_BC, monkeypatch):
    together = head.outputs(profiles_BC)
    alone = np.concatenate([head.outputs(profiles_BC[[row]]) for row in range(5)], axis=1)
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(profile_head, 'SAMPLES_AT_ONCE', 2)
    np.testing.assert_allclose(head.outputs(profiles_BC), together, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(('asv_dropout', 'dropout'), [(0.3, 0.0), (0.0, 0.3)])
def test_it_forgets_at_random_while_it_learns_and_only_then(head, profiles_BC, asv_dropout, dropout):
    head.asv_dropout, head.dropout = asv_dropout, dropout
    head.train()
    one, two = head(dense(profiles_BC)), head(dense(profiles_BC))
    assert not torch.equal(one, two)
    # reading outputs is no learning, and asks for no gradients
    assert np.array_equal(head.outputs(profiles_BC), head.outputs(profiles_BC)) and not head.training


def test_weights_begin_within_the_bounds_of_their_number_of_inputs():
    torch.manual_seed(1)
    made = ProfileHead(np.arange(400), 2, 1, 100)
    for layer, inputs in ((made.first, 400), (made.second, 100), (made.out, 100)):
        for parameter in (layer.weight, layer.bias):
            assert 0 < parameter.abs().max() <= inputs**-0.5
        # uniform: a standard deviation of the bound over the root of 3
        assert layer.weight.std().item() == pytest.approx((3 * inputs) ** -0.5, rel=0.1)
    assert not made.first.weight[0].equal(made.first.weight[1])


def test_arrays_make_the_same_head_again(head, profiles_BC):
    arrays = head.arrays()
    again = ProfileHead.from_arrays(arrays, MEMBERS, OUTPUTS)
    assert np.array_equal(again.outputs(profiles_BC), head.outputs(profiles_BC)) and not again.training
    twice = again.arrays()
    assert list(twice) == list(arrays)
    assert all(twice[name].tobytes() == arrays[name].tobytes() for name in arrays)
    assert arrays['scale'].tolist() == [2.5] and arrays['keys'].tolist() == KEYS.tolist()


def test_reading_a_head_leaves_the_random_numbers_of_the_caller_alone(head):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    ProfileHead.from_arrays(head.arrays(), MEMBERS, OUTPUTS)
    assert torch.equal(torch.rand(3), wanted)


UNSORTED = "The model's profile head is damaged: its keys are not sorted; train the model again."
ANOTHER = "The model's profile head is that of another model: {} has the shape {} instead of {}; train the model again."


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        ({'keys': KEYS[::-1].copy()}, UNSORTED),
        ({'keys': np.array([1, 1, 2, 3])}, UNSORTED),
        ({'keys': KEYS[:0]}, UNSORTED),
        ({'keys': KEYS[None]}, UNSORTED),
        ({'keys': KEYS[:3]}, ANOTHER.format('first.weight', (3, 4, 6), (3, 3, 6))),
        ({'scale': np.ones(2, np.float32)}, ANOTHER.format('scale', (2,), (1,))),
        ({'first.weight': np.zeros((), np.float32)}, ANOTHER.format('first.weight', (), (3, 4, 1))),
        ({'first.weight': np.zeros((3, 4, 0), np.float32)}, ANOTHER.format('first.weight', (3, 4, 0), (3, 4, 1))),
        ({'second.weight': np.zeros((3, 6, 5), np.float32)}, ANOTHER.format('second.weight', (3, 6, 5), (3, 6, 6))),
        ({'out.bias': np.zeros((3, 1, 1), np.float32)}, ANOTHER.format('out.bias', (3, 1, 1), (3, 1, 2))),
    ],
)
def test_a_damaged_head_is_refused(head, change, sentence):
    with pytest.raises(ValueError) as error:
        ProfileHead.from_arrays(head.arrays() | change, MEMBERS, OUTPUTS)
    assert str(error.value) == sentence


@pytest.mark.parametrize('scale', [0.0, -1.0])
def test_abundances_cannot_be_divided_by_what_is_not_above_0(head, scale):
    with pytest.raises(ValueError) as error:
        ProfileHead.from_arrays(head.arrays() | {'scale': np.array([scale], np.float32)}, MEMBERS, OUTPUTS)
    assert str(error.value) == "The model's profile head is damaged: its scale is not above 0; train the model again."


@pytest.mark.parametrize(
    ('members', 'outputs', 'sentence'),
    [
        (4, 2, ANOTHER.format('first.weight', (3, 4, 6), (4, 4, 6))),
        # so many that there is no memory for them
        (10**12, 2, ANOTHER.format('first.weight', (3, 4, 6), (10**12, 4, 6))),
        (3, 1, ANOTHER.format('out.weight', (3, 6, 2), (3, 6, 1))),
    ],
)
def test_a_head_of_other_members_or_outputs_is_refused(head, members, outputs, sentence):
    with pytest.raises(ValueError) as error:
        ProfileHead.from_arrays(head.arrays(), members, outputs)
    assert str(error.value) == sentence
