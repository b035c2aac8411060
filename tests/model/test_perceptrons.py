"""Perceptrons side by side: members on their own, samples on their own, arrays that survive a round trip."""

import numpy as np
import pytest
import scipy.sparse
import torch

from q2_aam.model import perceptrons as module
from q2_aam.model.perceptrons import PerceptronBatch, Perceptrons

MEMBERS, ASVS, OUTPUTS, WIDTH = 3, 4, 2, 6


@pytest.fixture
def perceptrons(scrambled):
    made = scrambled(Perceptrons(ASVS, MEMBERS, OUTPUTS, WIDTH))
    made.scale.fill_(2.5)
    return made


@pytest.fixture
def abundances_BC():
    random = np.random.default_rng(2)
    values = random.random((5, ASVS), dtype=np.float32) * 9 * (random.random((5, ASVS)) < 0.7)
    return scipy.sparse.csr_matrix(values, dtype=np.float32)


def dense(abundances):
    return torch.from_numpy(abundances.toarray())


def run(perceptrons, abundances, dropout=()):
    return perceptrons(PerceptronBatch(abundances, dropout))


def perceptron(perceptrons, member, x_BC, dropout=(1.0, 1.0)):
    """Return the outputs [B, O] of one member as the definition has them, in float64."""

    def layer(values, name):
        part = getattr(perceptrons, name)
        return values @ part.weight[member].double() + part.bias[member].double()

    def hidden(values, name):
        values = layer(values, name)
        norm = getattr(perceptrons, f'{name}_norm')
        apart = values - values.mean(-1, keepdim=True)
        normed = apart / (apart.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        normed = normed * norm.weight[member].double() + norm.bias[member].double()
        return normed * 0.5 * (1 + torch.erf(normed / 2**0.5))

    first = hidden(x_BC.double() / 2.5, 'first') * dropout[0]
    return layer(hidden(first, 'second') * dropout[1], 'out').detach()


def test_a_member_is_a_perceptron_of_two_hidden_layers(perceptrons, abundances_BC):
    outputs = perceptrons.outputs(abundances_BC)
    assert (outputs.shape, outputs.dtype) == ((MEMBERS, 5, OUTPUTS), np.float64)
    for member in range(MEMBERS):
        expected = perceptron(perceptrons, member, dense(abundances_BC))
        np.testing.assert_allclose(outputs[member], expected, rtol=1e-4, atol=1e-5)
    assert outputs.std() > 0.1


def test_members_know_nothing_of_each_other(perceptrons, abundances_BC):
    before = perceptrons.outputs(abundances_BC)
    with torch.no_grad():
        for parameter in perceptrons.parameters():
            parameter[1] = torch.randn_like(parameter[1])
    after = perceptrons.outputs(abundances_BC)
    assert np.array_equal(after[[0, 2]], before[[0, 2]])
    assert (after[1] != before[1]).all()


def test_a_member_learns_from_its_own_samples_alone(perceptrons, abundances_BC):
    """Its gradients are bit for bit the same whatever the others are given and asked for."""
    given_MBC = torch.stack([dense(abundances_BC)] * MEMBERS)
    asked_MBO = torch.zeros(MEMBERS, 5, OUTPUTS)

    def gradients(given, asked):
        perceptrons.zero_grad()
        (run(perceptrons, given) - asked).square().mean().backward()
        return [parameter.grad.clone() for parameter in perceptrons.parameters()]

    before = gradients(given_MBC, asked_MBO)
    given_MBC[1], asked_MBO[1] = given_MBC[1] + 1, 7.0
    for one, two in zip(before, gradients(given_MBC, asked_MBO)):
        assert torch.equal(one[[0, 2]], two[[0, 2]]) and not torch.equal(one[1], two[1])


def test_samples_for_all_and_the_same_samples_for_each_member_agree(perceptrons, abundances_BC):
    shared = run(perceptrons, dense(abundances_BC))
    each = run(perceptrons, torch.stack([dense(abundances_BC)] * MEMBERS))
    torch.testing.assert_close(shared, each, rtol=1e-5, atol=1e-5)


def test_each_member_may_be_given_samples_of_its_own(perceptrons, abundances_BC):
    samples = np.array([[0, 1], [2, 3], [4, 0]])
    outputs = run(perceptrons, dense(abundances_BC[samples.ravel()]).unflatten(0, samples.shape))
    of_all = run(perceptrons, dense(abundances_BC))
    for member, rows in enumerate(samples):
        torch.testing.assert_close(outputs[member], of_all[member, rows], rtol=1e-5, atol=1e-5)


def test_a_sample_alone_is_as_in_any_company_and_in_any_block(perceptrons, abundances_BC, monkeypatch):
    together = perceptrons.outputs(abundances_BC)
    alone = np.concatenate([perceptrons.outputs(abundances_BC[[row]]) for row in range(5)], axis=1)
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(module, 'SAMPLES_AT_ONCE', 2)
    np.testing.assert_allclose(perceptrons.outputs(abundances_BC), together, rtol=1e-5, atol=1e-6)


def test_a_member_ignores_asvs_that_its_training_samples_do_not_hold(perceptrons, abundances_BC):
    known_MC = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 1, 1, 1]], dtype=np.uint8)
    perceptrons.known.copy_(torch.from_numpy(known_MC))
    outputs = perceptrons.outputs(abundances_BC)
    for member, known_C in enumerate(known_MC):
        expected = perceptron(perceptrons, member, dense(abundances_BC) * torch.from_numpy(known_C))
        np.testing.assert_allclose(outputs[member], expected, rtol=1e-4, atol=1e-5)
    more = abundances_BC.toarray()
    more[:, [1, 3]] += 5
    changed = perceptrons.outputs(scipy.sparse.csr_matrix(more))
    assert np.array_equal(changed[1], outputs[1])
    assert (np.abs(changed[[0, 2]] - outputs[[0, 2]]).max(axis=(1, 2)) > 1e-3).all()


def test_what_is_dropped_stands_in_the_batch_and_nowhere_else(perceptrons, abundances_BC):
    generator = torch.Generator().manual_seed(3)
    first, second = (2.0 * torch.randint(0, 2, (MEMBERS, 5, WIDTH), generator=generator) for _ in range(2))
    outputs = run(perceptrons, dense(abundances_BC), (first, second))
    for member in range(MEMBERS):
        expected = perceptron(perceptrons, member, dense(abundances_BC), (first[member], second[member]))
        np.testing.assert_allclose(outputs[member].detach(), expected, rtol=1e-4, atol=1e-4)
    # learning itself drops nothing: the same batch, the same outputs
    perceptrons.train()
    assert torch.equal(run(perceptrons, dense(abundances_BC)), run(perceptrons, dense(abundances_BC)))
    # reading outputs is no learning
    assert np.array_equal(perceptrons.outputs(abundances_BC), perceptrons.outputs(abundances_BC))
    assert not perceptrons.training


def test_weights_begin_within_the_bounds_of_their_number_of_inputs():
    made = Perceptrons(400, 2, 1, 100)
    before = torch.get_rng_state()
    made.initialise(torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)
    for layer, inputs in ((made.first, 400), (made.second, 100), (made.out, 100)):
        for parameter in (layer.weight, layer.bias):
            assert 0 < parameter.abs().max() <= inputs**-0.5
        # uniform: a standard deviation of the bound over the square root of 3
        assert layer.weight.std().item() == pytest.approx((3 * inputs) ** -0.5, rel=0.1)
    assert not made.first.weight[0].equal(made.first.weight[1])
    same = Perceptrons(400, 2, 1, 100)
    same.initialise(torch.Generator().manual_seed(1))
    assert all(torch.equal(one, two) for one, two in zip(made.parameters(), same.parameters()))


def test_exported_perceptrons_give_the_same_numbers(perceptrons, abundances_BC):
    class Exported(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.perceptrons = perceptrons

        def forward(self, abundances):
            return self.perceptrons(PerceptronBatch(abundances))

    perceptrons.known[1, 2] = 0
    exported = torch.export.export(Exported(), (dense(abundances_BC),)).module()
    other = 3 - dense(abundances_BC)
    torch.testing.assert_close(exported(other), run(perceptrons, other), rtol=0, atol=1e-6)


@pytest.mark.parametrize('learning', [False, True])
def test_the_forward_pass_waits_for_no_number(learning):
    """On the meta device whoever asks for a number gets an error; see test_network.py."""
    with torch.device('meta'):
        perceptrons = Perceptrons(ASVS, MEMBERS, OUTPUTS, WIDTH).train(learning)
        dropout = tuple(torch.ones(MEMBERS, 5, WIDTH) for _ in range(2))
        outputs = run(perceptrons, torch.ones(5, ASVS), dropout if learning else ())
    assert outputs.is_meta and outputs.shape == (MEMBERS, 5, OUTPUTS)


def read(arrays, known=None, outputs=OUTPUTS):
    known = np.ones((MEMBERS, ASVS), np.uint8) if known is None else known
    return Perceptrons.from_arrays(arrays, known, outputs)


def test_arrays_make_the_same_perceptrons_again(perceptrons, abundances_BC):
    perceptrons.known[1, 2] = 0
    arrays = perceptrons.arrays()
    again = read(arrays, perceptrons.known.numpy().copy())
    assert np.array_equal(again.outputs(abundances_BC), perceptrons.outputs(abundances_BC)) and not again.training
    twice = again.arrays()
    assert list(twice) == list(arrays)
    assert all(twice[name].tobytes() == arrays[name].tobytes() for name in arrays)
    # known stands beside them: those of other kinds have it, too
    assert arrays['scale'].tolist() == [2.5] and 'known' not in arrays
    assert {name: str(array.dtype) for name, array in arrays.items()} == Perceptrons.ARRAYS


def test_reading_perceptrons_leaves_the_random_numbers_of_the_caller_alone(perceptrons):
    before = torch.get_rng_state()
    read(perceptrons.arrays())
    assert torch.equal(torch.get_rng_state(), before)


def test_some_of_the_members_are_copied_and_put_back(perceptrons, abundances_BC):
    perceptrons.known[2, 1] = 0
    before = perceptrons.outputs(abundances_BC)
    some = perceptrons.of(np.array([2, 0]))
    np.testing.assert_allclose(some.outputs(abundances_BC), before[[2, 0]], rtol=1e-5, atol=1e-6)
    assert some.scale.item() == 2.5 and some.known.tolist() == perceptrons.known[[2, 0]].tolist()
    with torch.no_grad():
        for parameter in some.parameters():
            parameter.add_(1)
    # a copy is none of those that it was made of
    assert np.array_equal(perceptrons.outputs(abundances_BC), before)
    perceptrons.put(np.array([2, 0]), some)
    after = perceptrons.outputs(abundances_BC)
    np.testing.assert_allclose(after[[2, 0]], some.outputs(abundances_BC), rtol=1e-5, atol=1e-6)
    assert np.array_equal(after[1], before[1]) and (after[[2, 0]] != before[[2, 0]]).all()


ANOTHER = (
    "The model's abundance ensemble belongs to another model: {} has the shape {} instead of {}; train the model again."
)
DAMAGED = "The model's abundance ensemble is damaged: its scale must be above 0; train the model again."


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        ({'scale': np.ones(2, np.float32)}, ANOTHER.format('scale', (2,), (1,))),
        ({'first.weight': np.zeros((), np.float32)}, ANOTHER.format('first.weight', (), (3, 4, 1))),
        ({'first.weight': np.zeros((3, 4, 0), np.float32)}, ANOTHER.format('first.weight', (3, 4, 0), (3, 4, 1))),
        ({'second.weight': np.zeros((3, 6, 5), np.float32)}, ANOTHER.format('second.weight', (3, 6, 5), (3, 6, 6))),
        ({'out.bias': np.zeros((3, 1, 1), np.float32)}, ANOTHER.format('out.bias', (3, 1, 1), (3, 1, 2))),
        ({'scale': np.array([0.0], np.float32)}, DAMAGED),
        ({'scale': np.array([-1.0], np.float32)}, DAMAGED),
        ({'scale': np.array([1e-38], np.float32)}, DAMAGED),
        ({'scale': np.array([1e38], np.float32)}, DAMAGED),
        ({'scale': np.array([np.nan], np.float32)}, DAMAGED),
    ],
)
def test_damaged_perceptrons_are_refused(perceptrons, change, sentence):
    with pytest.raises(ValueError) as error:
        read(perceptrons.arrays() | change)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ('sizes', 'sentence'),
    [
        ({'known': np.ones((4, 4), np.uint8)}, ANOTHER.format('first.weight', (3, 4, 6), (4, 4, 6))),
        # so many that there is no memory for them
        (
            {'known': np.broadcast_to(np.uint8(1), (10**12, 4))},
            ANOTHER.format('first.weight', (3, 4, 6), (10**12, 4, 6)),
        ),
        ({'known': np.ones((3, 3), np.uint8)}, ANOTHER.format('first.weight', (3, 4, 6), (3, 3, 6))),
        ({'outputs': 1}, ANOTHER.format('out.weight', (3, 6, 2), (3, 6, 1))),
    ],
)
def test_perceptrons_of_other_sizes_are_refused(perceptrons, sizes, sentence):
    with pytest.raises(ValueError) as error:
        read(perceptrons.arrays(), **sizes)
    assert str(error.value) == sentence
