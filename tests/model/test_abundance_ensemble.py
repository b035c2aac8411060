"""The abundance ensemble: members on their own, samples on their own, arrays that survive a round trip."""

import numpy as np
import pytest
import scipy.sparse
import torch

from q2_aam.model import abundance_ensemble
from q2_aam.model.abundance_ensemble import ARRAYS, AbundanceEnsemble, EnsembleBatch

MEMBERS, ASVS, OUTPUTS, WIDTH = 3, 4, 2, 6


@pytest.fixture
def ensemble(scrambled):
    made = scrambled(AbundanceEnsemble(ASVS, MEMBERS, OUTPUTS, WIDTH))
    made.scale.fill_(2.5)
    return made


@pytest.fixture
def abundances_BC():
    random = np.random.default_rng(2)
    values = random.random((5, ASVS), dtype=np.float32) * 9 * (random.random((5, ASVS)) < 0.7)
    return scipy.sparse.csr_matrix(values, dtype=np.float32)


def dense(abundances):
    return torch.from_numpy(abundances.toarray())


def run(ensemble, abundances, dropout=()):
    return ensemble(EnsembleBatch(abundances, dropout))


def perceptron(ensemble, member, x_BC, dropout=(1.0, 1.0)):
    """Return the outputs [B, O] of one member as the definition has them, in float64."""

    def layer(values, name):
        part = getattr(ensemble, name)
        return values @ part.weight[member].double() + part.bias[member].double()

    def hidden(values, name):
        values = layer(values, name)
        norm = getattr(ensemble, f'{name}_norm')
        apart = values - values.mean(-1, keepdim=True)
        normed = apart / (apart.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        normed = normed * norm.weight[member].double() + norm.bias[member].double()
        return normed * 0.5 * (1 + torch.erf(normed / 2**0.5))

    first = hidden(x_BC.double() / 2.5, 'first') * dropout[0]
    return layer(hidden(first, 'second') * dropout[1], 'out').detach()


def test_a_member_is_a_perceptron_of_two_hidden_layers(ensemble, abundances_BC):
    outputs = ensemble.outputs(abundances_BC)
    assert (outputs.shape, outputs.dtype) == ((MEMBERS, 5, OUTPUTS), np.float64)
    for member in range(MEMBERS):
        expected = perceptron(ensemble, member, dense(abundances_BC))
        np.testing.assert_allclose(outputs[member], expected, rtol=1e-4, atol=1e-5)
    assert outputs.std() > 0.1


def test_members_know_nothing_of_each_other(ensemble, abundances_BC):
    before = ensemble.outputs(abundances_BC)
    with torch.no_grad():
        for parameter in ensemble.parameters():
            parameter[1] = torch.randn_like(parameter[1])
    after = ensemble.outputs(abundances_BC)
    assert np.array_equal(after[[0, 2]], before[[0, 2]])
    assert (after[1] != before[1]).all()


def test_a_member_learns_from_its_own_samples_alone(ensemble, abundances_BC):
    """Its gradients are bit for bit the same whatever the others are given and asked for."""
    given_MBC = torch.stack([dense(abundances_BC)] * MEMBERS)
    asked_MBO = torch.zeros(MEMBERS, 5, OUTPUTS)

    def gradients(given, asked):
        ensemble.zero_grad()
        (run(ensemble, given) - asked).square().mean().backward()
        return [parameter.grad.clone() for parameter in ensemble.parameters()]

    before = gradients(given_MBC, asked_MBO)
    given_MBC[1], asked_MBO[1] = given_MBC[1] + 1, 7.0
    for one, two in zip(before, gradients(given_MBC, asked_MBO)):
        assert torch.equal(one[[0, 2]], two[[0, 2]]) and not torch.equal(one[1], two[1])


def test_samples_for_all_and_the_same_samples_for_each_member_agree(ensemble, abundances_BC):
    shared = run(ensemble, dense(abundances_BC))
    each = run(ensemble, torch.stack([dense(abundances_BC)] * MEMBERS))
    torch.testing.assert_close(shared, each, rtol=1e-5, atol=1e-5)


def test_each_member_may_be_given_samples_of_its_own(ensemble, abundances_BC):
    samples = np.array([[0, 1], [2, 3], [4, 0]])
    outputs = run(ensemble, dense(abundances_BC[samples.ravel()]).unflatten(0, samples.shape))
    of_all = run(ensemble, dense(abundances_BC))
    for member, rows in enumerate(samples):
        torch.testing.assert_close(outputs[member], of_all[member, rows], rtol=1e-5, atol=1e-5)


def test_a_sample_alone_is_as_in_any_company_and_in_any_block(ensemble, abundances_BC, monkeypatch):
    together = ensemble.outputs(abundances_BC)
    alone = np.concatenate([ensemble.outputs(abundances_BC[[row]]) for row in range(5)], axis=1)
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(abundance_ensemble, 'SAMPLES_AT_ONCE', 2)
    np.testing.assert_allclose(ensemble.outputs(abundances_BC), together, rtol=1e-5, atol=1e-6)


def test_a_member_ignores_asvs_that_its_training_samples_do_not_hold(ensemble, abundances_BC):
    known_MC = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 1, 1, 1]], dtype=np.uint8)
    ensemble.known.copy_(torch.from_numpy(known_MC))
    outputs = ensemble.outputs(abundances_BC)
    for member, known_C in enumerate(known_MC):
        expected = perceptron(ensemble, member, dense(abundances_BC) * torch.from_numpy(known_C))
        np.testing.assert_allclose(outputs[member], expected, rtol=1e-4, atol=1e-5)
    more = abundances_BC.toarray()
    more[:, [1, 3]] += 5
    changed = ensemble.outputs(scipy.sparse.csr_matrix(more))
    assert np.array_equal(changed[1], outputs[1])
    assert (np.abs(changed[[0, 2]] - outputs[[0, 2]]).max(axis=(1, 2)) > 1e-3).all()


def test_what_is_dropped_stands_in_the_batch_and_nowhere_else(ensemble, abundances_BC):
    generator = torch.Generator().manual_seed(3)
    first, second = (2.0 * torch.randint(0, 2, (MEMBERS, 5, WIDTH), generator=generator) for _ in range(2))
    outputs = run(ensemble, dense(abundances_BC), (first, second))
    for member in range(MEMBERS):
        expected = perceptron(ensemble, member, dense(abundances_BC), (first[member], second[member]))
        np.testing.assert_allclose(outputs[member].detach(), expected, rtol=1e-4, atol=1e-4)
    # learning itself drops nothing: the same batch, the same outputs
    ensemble.train()
    assert torch.equal(run(ensemble, dense(abundances_BC)), run(ensemble, dense(abundances_BC)))
    # reading outputs is no learning
    assert np.array_equal(ensemble.outputs(abundances_BC), ensemble.outputs(abundances_BC)) and not ensemble.training


def test_weights_begin_within_the_bounds_of_their_number_of_inputs():
    made = AbundanceEnsemble(400, 2, 1, 100)
    before = torch.get_rng_state()
    made.initialise(torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)
    for layer, inputs in ((made.first, 400), (made.second, 100), (made.out, 100)):
        for parameter in (layer.weight, layer.bias):
            assert 0 < parameter.abs().max() <= inputs**-0.5
        # uniform: a standard deviation of the bound over the square root of 3
        assert layer.weight.std().item() == pytest.approx((3 * inputs) ** -0.5, rel=0.1)
    assert not made.first.weight[0].equal(made.first.weight[1])
    same = AbundanceEnsemble(400, 2, 1, 100)
    same.initialise(torch.Generator().manual_seed(1))
    assert all(torch.equal(one, two) for one, two in zip(made.parameters(), same.parameters()))


def test_an_exported_ensemble_gives_the_same_numbers(ensemble, abundances_BC):
    class Exported(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.ensemble = ensemble

        def forward(self, abundances):
            return self.ensemble(EnsembleBatch(abundances))

    ensemble.known[1, 2] = 0
    exported = torch.export.export(Exported(), (dense(abundances_BC),)).module()
    other = 3 - dense(abundances_BC)
    torch.testing.assert_close(exported(other), run(ensemble, other), rtol=0, atol=1e-6)


@pytest.mark.parametrize('learning', [False, True])
def test_the_forward_pass_waits_for_no_number(learning):
    """On the meta device whoever asks for a number gets an error; see test_network.py."""
    with torch.device('meta'):
        ensemble = AbundanceEnsemble(ASVS, MEMBERS, OUTPUTS, WIDTH).train(learning)
        dropout = tuple(torch.ones(MEMBERS, 5, WIDTH) for _ in range(2))
        outputs = run(ensemble, torch.ones(5, ASVS), dropout if learning else ())
    assert outputs.is_meta and outputs.shape == (MEMBERS, 5, OUTPUTS)


def read(arrays, size=ASVS, members=MEMBERS, outputs=OUTPUTS):
    return AbundanceEnsemble.from_arrays(arrays, size, members, outputs)


def test_arrays_make_the_same_ensemble_again(ensemble, abundances_BC):
    ensemble.known[1, 2] = 0
    arrays = ensemble.arrays()
    again = read(arrays)
    assert np.array_equal(again.outputs(abundances_BC), ensemble.outputs(abundances_BC)) and not again.training
    twice = again.arrays()
    assert list(twice) == list(arrays)
    assert all(twice[name].tobytes() == arrays[name].tobytes() for name in arrays)
    assert arrays['scale'].tolist() == [2.5] and arrays['known'].sum() == 11
    assert {name: str(array.dtype) for name, array in arrays.items()} == ARRAYS


def test_reading_an_ensemble_leaves_the_random_numbers_of_the_caller_alone(ensemble):
    before = torch.get_rng_state()
    read(ensemble.arrays())
    assert torch.equal(torch.get_rng_state(), before)


ANOTHER = (
    "The model's abundance ensemble belongs to another model: {} has the shape {} instead of {}; train the model again."
)
DAMAGED = (
    "The model's abundance ensemble is damaged: its scale must be above 0, and the shares of its members must sum to "
    '1; train the model again.'
)


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        ({'scale': np.ones(2, np.float32)}, ANOTHER.format('scale', (2,), (1,))),
        ({'first.weight': np.zeros((), np.float32)}, ANOTHER.format('first.weight', (), (3, 4, 1))),
        ({'first.weight': np.zeros((3, 4, 0), np.float32)}, ANOTHER.format('first.weight', (3, 4, 0), (3, 4, 1))),
        ({'second.weight': np.zeros((3, 6, 5), np.float32)}, ANOTHER.format('second.weight', (3, 6, 5), (3, 6, 6))),
        ({'out.bias': np.zeros((3, 1, 1), np.float32)}, ANOTHER.format('out.bias', (3, 1, 1), (3, 1, 2))),
        ({'known': np.ones((3, 5), np.uint8)}, ANOTHER.format('known', (3, 5), (3, 4))),
        ({'scale': np.array([0.0], np.float32)}, DAMAGED),
        ({'scale': np.array([-1.0], np.float32)}, DAMAGED),
        ({'shares': np.array([0.5, 0.75, -0.25], np.float32)}, DAMAGED),
        ({'scale': np.array([1e-38], np.float32)}, DAMAGED),
        ({'scale': np.array([1e38], np.float32)}, DAMAGED),
        ({'scale': np.array([np.nan], np.float32)}, DAMAGED),
        ({'shares': np.zeros(3, np.float32)}, DAMAGED),
        ({'shares': np.full(3, 3e38, np.float32)}, DAMAGED),
        (
            {'known': np.full((3, 4), 2, np.uint8)},
            "The model's abundance ensemble is damaged: known must be 0 or 1; train the model again.",
        ),
    ],
)
def test_a_damaged_ensemble_is_refused(ensemble, change, sentence):
    with pytest.raises(ValueError) as error:
        read(ensemble.arrays() | change)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ('sizes', 'sentence'),
    [
        ({'members': 4}, ANOTHER.format('first.weight', (3, 4, 6), (4, 4, 6))),
        # so many that there is no memory for them
        ({'members': 10**12}, ANOTHER.format('first.weight', (3, 4, 6), (10**12, 4, 6))),
        ({'size': 3}, ANOTHER.format('first.weight', (3, 4, 6), (3, 3, 6))),
        ({'outputs': 1}, ANOTHER.format('out.weight', (3, 6, 2), (3, 6, 1))),
    ],
)
def test_an_ensemble_of_other_sizes_is_refused(ensemble, sizes, sentence):
    with pytest.raises(ValueError) as error:
        read(ensemble.arrays(), **sizes)
    assert str(error.value) == sentence
