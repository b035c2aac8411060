"""Covariates in the network: whatever the fusion, the target's head sees them and distances never do."""

import dataclasses

import numpy as np
import pytest
import torch

from q2_aam.config.covariates import CovariatesConfig
from q2_aam.data.batches import make_batch
from q2_aam.data.covariates import CategoricalCovariate, Covariates, CovariateSchema, NumericCovariate
from q2_aam.model.covariates import FUSIONS, CovariateForm
from q2_aam.model.network import build_network

from .conftest import HEADS

SCHEMA = CovariateSchema(
    (CategoricalCovariate('site', ('a', 'b'), (0.5, 0.5)), CategoricalCovariate('sex', ('f',), (1.0,))),
    (NumericCovariate('dose', 1.0, 2.0),),
)
ASKED = ('target', 'distances')


def covariates_of(seed=1):
    generator = np.random.default_rng(seed)
    known = generator.random((9, 1)) < 0.7
    codes = np.stack([generator.integers(0, 3, 9), generator.integers(0, 2, 9)], axis=1)
    return Covariates(SCHEMA, codes, (generator.normal(size=(9, 1)) * known).astype(np.float32), known)


def close(one, two, tolerance=1e-5):
    torch.testing.assert_close(one, two, rtol=0, atol=tolerance)


@pytest.fixture(params=FUSIONS)
def network(request, config_of, scrambled):
    """A network with a head of each kind, for each fusion."""
    form = CovariateForm.of(SCHEMA, request.param)
    return scrambled(build_network(config_of(), HEADS, torch.Generator().manual_seed(1), form))


@pytest.fixture
def run(network, drawn_of):
    """Run the network: (covariates of all samples or None, rows) -> outputs."""

    def run(covariates, rows=range(9)):
        drawn = drawn_of(rows)
        if covariates is not None:
            drawn = dataclasses.replace(drawn, covariates=covariates.of(np.array(rows)))
        return network(make_batch(drawn, network.budget(), ASKED))

    return run


def test_the_choices_of_the_parameter_are_the_fusions():
    (option,) = (opt for opt in CovariatesConfig.options() if opt.name == 'covariate_fusion')
    assert sorted(option.choices) == sorted(FUSIONS)


def test_the_target_sees_covariates_and_distances_and_embeddings_never_do(run):
    one, other = run(covariates_of(1)), run(covariates_of(2))
    assert (one.heads['target'] - other.heads['target']).abs().amax(dim=1).min() > 1e-4
    assert torch.equal(one.heads['distances'], other.heads['distances'])
    for name in ('summary', 'mean', 'memberships'):
        assert torch.equal(getattr(one.samples, name), getattr(other.samples, name))


def test_each_covariate_is_seen_and_each_unknown_one_is_an_entry_of_its_own(run):
    given = covariates_of()
    for samples in (given.codes[:, 0] == 1, given.codes[:, 1] == 1, given.known[:, 0]):
        assert samples.any()
    before = run(given).heads['target']
    for place, samples in enumerate([given.codes[:, 0] > 0, given.codes[:, 1] > 0, given.known[:, 0]]):
        codes, known = given.codes.copy(), given.known.copy()
        if place < 2:
            codes[:, place] = 0
        else:
            known[:, 0] = False
        changed = run(Covariates(SCHEMA, codes, given.numbers * known, known)).heads['target'] - before
        assert (changed.abs().amax(dim=1) > 1e-4).tolist() == samples.tolist()


def test_without_covariates_all_are_unknown(run):
    unknown = SCHEMA.read(None, ['s'] * 9)
    close(run(None).heads['target'], run(unknown).heads['target'])


def test_a_sample_alone_has_the_outputs_that_it_has_in_any_batch(run):
    together = run(covariates_of()).heads['target']
    for row in range(9):
        close(run(covariates_of(), [row]).heads['target'], together[[row]])


def test_chunks_change_nothing_and_all_weights_learn(network, run):
    def gradients():
        network.zero_grad()
        run(covariates_of()).heads['target'].sin().sum().backward()
        return {name: value.grad.clone() for name, value in network.named_parameters() if value.grad is not None}

    in_one = gradients()
    assert {name for name, _ in network.covariates.named_parameters(prefix='covariates')} <= set(in_one)
    # what is the same for all covariates that are asked moves no softmax
    assert all(grad.abs().max() > 0 for name, grad in in_one.items() if name.startswith('covariates.'))
    network.max_floats = 1
    in_chunks = gradients()
    for name, gradient in in_one.items():
        close(in_chunks[name], gradient, 1e-4)


def test_a_network_without_covariates_has_no_weights_of_them(config_of):
    bare = build_network(config_of(), HEADS, torch.Generator().manual_seed(1)).state_dict()
    form = CovariateForm.of(SCHEMA, 'add')
    both = build_network(config_of(), HEADS, torch.Generator().manual_seed(1), form).state_dict()
    assert {name for name in both if name.startswith('covariates.')} == set(both) - set(bare) != set()


def test_only_categories_or_only_numbers_will_do(config_of, scrambled, drawn_of):
    for schema in (CovariateSchema(SCHEMA.categorical), CovariateSchema((), SCHEMA.numeric)):
        for fusion in FUSIONS:
            form = CovariateForm.of(schema, fusion)
            network = scrambled(build_network(config_of(), HEADS, torch.Generator().manual_seed(1), form))
            drawn = dataclasses.replace(drawn_of(range(9)), covariates=schema.read(None, ['s'] * 9))
            assert torch.isfinite(network(make_batch(drawn, network.budget(), ASKED)).heads['target']).all()
