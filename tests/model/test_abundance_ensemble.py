"""The abundance ensemble: kinds of members added up, members gated by what they know, arrays that come back."""

import numpy as np
import pytest
import scipy.sparse
import torch

from q2_aam.model import abundance_ensemble
from q2_aam.model.abundance_ensemble import KINDS, AbundanceEnsemble, array_types
from q2_aam.model.linear_members import LinearMembers
from q2_aam.model.member_arrays import EXTRA_TREES, LINEAR, PERCEPTRONS
from q2_aam.model.perceptrons import Perceptrons
from q2_aam.model.tree_members import LEAF, TreeMembers

MEMBERS, ASVS, OUTPUTS = 3, 4, 1
WEIGHTS = {LINEAR: 0.5, EXTRA_TREES: 0.25, PERCEPTRONS: 1.5}


@pytest.fixture
def ensemble(scrambled):
    known = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 1, 1, 1]], dtype=np.uint8)
    perceptrons = scrambled(Perceptrons(ASVS, MEMBERS, OUTPUTS, 6))
    perceptrons.scale.fill_(2.5)
    perceptrons.known.copy_(torch.from_numpy(known))
    random = np.random.default_rng(1)
    linear = LinearMembers(
        (random.normal(size=(MEMBERS, ASVS, OUTPUTS)) * known[:, :, None]).astype(np.float32),
        random.normal(size=(MEMBERS, OUTPUTS)).astype(np.float32),
    )
    trees = TreeMembers(
        MEMBERS,
        np.array([0, 3, 6], np.int32),
        np.array([2, LEAF, LEAF] * MEMBERS, np.int16),
        np.array([1.0, 0, 0] * MEMBERS, np.float32),
        np.array([2, 0, 1, 5, 2, 3, 8, 4, 5], np.int32),
        random.normal(size=(6, OUTPUTS)).astype(np.float32),
    )
    shares = np.array([0.5, 0.25, 0.25], np.float32)
    return AbundanceEnsemble({LINEAR: linear, EXTRA_TREES: trees, PERCEPTRONS: perceptrons}, WEIGHTS, shares, known)


@pytest.fixture
def abundances_BC():
    random = np.random.default_rng(2)
    values = random.random((5, ASVS)) * 9 * (random.random((5, ASVS)) < 0.7)
    return scipy.sparse.csr_matrix(values.astype(np.float32))


def test_outputs_are_the_weighted_sum_over_kinds(ensemble, abundances_BC):
    by_kind = ensemble.outputs_by_kind(abundances_BC)
    assert list(by_kind) == list(WEIGHTS)
    expected = sum(WEIGHTS[kind] * members.outputs(abundances_BC) for kind, members in ensemble.members.items())
    outputs = ensemble.outputs(abundances_BC)
    assert outputs.shape == (MEMBERS, 5, OUTPUTS) and outputs == pytest.approx(expected)
    # of some samples, each by one member
    own = {kind: values[[0, 2], [1, 3]] for kind, values in by_kind.items()}
    assert ensemble.combine(own) == pytest.approx(expected[[0, 2], [1, 3]])


def test_the_coverage_of_a_member_is_that_of_the_asvs_that_it_knows(ensemble, abundances_BC):
    dense = abundances_BC.toarray().astype(np.float64)
    totals = dense.sum(axis=1) + 2
    coverage = ensemble.coverage(abundances_BC, totals)
    assert coverage.dtype == np.float64
    assert coverage == pytest.approx(ensemble.known @ dense.T / totals, rel=1e-6)


def test_asvs_that_a_member_has_never_seen_do_not_change_what_it_says(ensemble, abundances_BC):
    before = ensemble.outputs(abundances_BC)
    for member, known_C in enumerate(ensemble.known):
        more = abundances_BC.toarray()
        more[:, known_C == 0] += 5
        after = ensemble.outputs(scipy.sparse.csr_matrix(more))
        np.testing.assert_allclose(after[member], before[member], rtol=1e-6)


@pytest.mark.parametrize('kinds', [list(WEIGHTS), [EXTRA_TREES], [PERCEPTRONS, LINEAR]])
def test_arrays_make_the_same_ensemble_again(ensemble, abundances_BC, kinds):
    weights = {kind: WEIGHTS[kind] for kind in kinds}
    part = AbundanceEnsemble({kind: ensemble.members[kind] for kind in kinds}, weights, ensemble.shares, ensemble.known)
    arrays = part.arrays()
    assert {name: str(array.dtype) for name, array in arrays.items()} == array_types(kinds)
    again = AbundanceEnsemble.from_arrays(arrays, ASVS, weights, MEMBERS, OUTPUTS)
    assert list(again.members) == kinds and again.weights == weights
    assert again.outputs(abundances_BC).tobytes() == part.outputs(abundances_BC).tobytes()
    twice = again.arrays()
    assert list(twice) == list(arrays)
    assert all(twice[name].tobytes() == array.tobytes() for name, array in arrays.items())


def test_perceptrons_alone_are_named_as_in_the_first_bundles():
    names = {'known', 'scale', 'shares'} | {
        f'{layer}.{part}'
        for layer in ('first', 'first_norm', 'second', 'second_norm', 'out')
        for part in ('weight', 'bias')
    }
    assert set(array_types([PERCEPTRONS])) == names
    assert set(array_types([LINEAR])) == {'known', 'shares', 'linear.weight', 'linear.bias'}
    # no two kinds share a name
    assert len(array_types(KINDS)) == 2 + sum(len(kind.ARRAYS) for kind in KINDS.values())


def test_what_computes_on_a_device_is_moved_there(ensemble):
    moved = ensemble.to('meta')
    assert moved is ensemble and ensemble.members[PERCEPTRONS].scale.is_meta
    assert isinstance(ensemble.members[LINEAR].weight, np.ndarray)


SHARES = "The model's abundance ensemble is damaged: the shares of its members must sum to 1; train the model again."
ANOTHER = (
    "The model's abundance ensemble belongs to another model: known has the shape {} and shares {} instead of (3, 4) "
    'and (3,); train the model again.'
)


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        ({'shares': np.array([0.5, 0.75, -0.25], np.float32)}, SHARES),
        ({'shares': np.zeros(3, np.float32)}, SHARES),
        ({'shares': np.full(3, 3e38, np.float32)}, SHARES),
        ({'shares': np.array([np.nan, 0.5, 0.5], np.float32)}, SHARES),
        ({'shares': np.ones(1, np.float32)}, ANOTHER.format((3, 4), (1,))),
        ({'known': np.ones((3, 5), np.uint8)}, ANOTHER.format((3, 5), (3,))),
        ({'known': np.ones((), np.uint8)}, ANOTHER.format((), (3,))),
        (
            {'known': np.full((3, 4), 2, np.uint8)},
            "The model's abundance ensemble is damaged: known must be 0 or 1; train the model again.",
        ),
    ],
)
def test_a_damaged_ensemble_is_refused(ensemble, change, sentence):
    with pytest.raises(ValueError) as error:
        AbundanceEnsemble.from_arrays(ensemble.arrays() | change, ASVS, WEIGHTS, MEMBERS, OUTPUTS)
    assert str(error.value) == sentence


def test_every_kind_is_read_by_its_own_class(ensemble):
    assert {kind: type(members) for kind, members in ensemble.members.items()} == abundance_ensemble.KINDS
