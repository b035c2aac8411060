"""The benchmarks compare like with like, and count operations as torch does."""

import contextlib
import importlib
import pathlib

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from q2_aam.model import asv_encoder, layers

BENCHMARKS = pathlib.Path(__file__).parent / 'benchmarks'


@pytest.fixture
def load(monkeypatch):
    """Import a benchmark as it is when it runs as a script."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def study(load):
    return load('bench').make_up(samples=6, asvs=20, richness=5, length=30, seed=3)


def small(load, study, **options):
    return load('bench').configuration(study, **{'width': 16, 'asv_layers': 2, 'sample_layers': 3, **options})


def embedding_bag(table, rows, weights):
    return torch.nn.functional.embedding_bag(rows, table, mode='sum', per_sample_weights=weights)


@contextlib.contextmanager
def counted():
    """Count operations; attention as plain products, because torch does not count its fused kernel on a CPU."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        yield counter


def test_made_up_samples_have_the_richness_that_was_asked_for(study):
    assert study.richness.tolist() == [5] * 6
    assert study.longest == 30


@pytest.mark.parametrize('tokens', [1, 6])
def test_the_padded_baseline_gives_the_outputs_of_our_network(load, study, tokens):
    padded = load('padded')
    network, _ = load('bench').our_network(study, small(load, study, nucleotides_per_token=tokens), seed=1)
    for procedure in (padded.Procedure(), padded.Procedure(16), padded.Procedure(16, 7, True)):
        other = padded.PaddedNetwork(network, procedure)
        assert padded.largest_difference(network, other, study, np.arange(6)) < 1e-5


def test_a_baseline_with_other_weights_is_refused(load, study):
    padded = load('padded')
    network, _ = load('bench').our_network(study, small(load, study), seed=1)
    other = padded.PaddedNetwork(network, padded.Procedure())
    with torch.no_grad():
        other.heads['target'].out.bias += 0.5
    with pytest.raises(SystemExit, match=r'^The baseline and q2_aam differ by 5\.0e-01, more than 0\.0001\.$'):
        padded.check_equal(network, other, study, np.arange(6))


def test_procedures_of_the_baseline_have_the_same_gradient(load, study):
    bench, padded = load('bench'), load('padded')
    config = small(load, study)
    network, _ = bench.our_network(study, config, seed=1)
    pairs = bench.random_distances(study, 1)
    gradients = []
    for procedure in (padded.Procedure(), padded.Procedure(16, 7, True)):
        other = padded.PaddedNetwork(network, procedure)
        loss = padded.padded_loss(study, pairs, config, procedure)
        loss(other, np.arange(6), np.random.default_rng(2)).backward()
        gradients.append(other.asv_encoder.position_embedding.grad)
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_operations_of_a_step_are_those_that_torch_counts(load, study, monkeypatch):
    bench, utilisation = load('bench'), load('utilisation')
    # torch counts neither a fused layer's attention nor a sum that is made without a product
    monkeypatch.setattr(layers, 'can_fuse', lambda x: False)
    monkeypatch.setattr(asv_encoder.SumOfRows, 'apply', embedding_bag)
    config = small(load, study)
    network, loss = bench.our_network(study, config, seed=1)
    rows = np.arange(6)
    asvs = np.unique(study.asvs)
    formula = utilisation.step_flops(config.model, config.training, study.lengths[asvs], study.richness)
    with counted() as counter:
        loss(network, rows, np.random.default_rng(0))[0].backward()
    assert counter.get_total_flops() == pytest.approx(formula, rel=1e-6)


def test_operations_of_the_baseline_are_those_that_torch_counts(load, study):
    bench, padded, arithmetic = load('bench'), load('padded'), load('arithmetic')
    config = small(load, study)
    network, _ = bench.our_network(study, config, seed=1)
    procedure = padded.Procedure(16)
    other = padded.PaddedNetwork(network, procedure)
    rows = np.arange(6)
    with counted() as counter, torch.no_grad():
        other(padded.make_padded(study, rows, 16))
    # abundance features are left out of the arithmetic of the baseline
    features = 2 * 6 * 16 * 4 * (2 * 16 + config.model.memberships)
    formula = arithmetic.padded_flops(config.model, config.training, study, rows, procedure, learns=False)
    assert counter.get_total_flops() == pytest.approx(formula + features, rel=1e-6)


def test_exponent_of_a_quadratic_cost_is_2(load):
    assert load('scaling').exponent([1, 2, 4, 8], [3, 12, 48, 192]) == pytest.approx(2)


def test_thinned_rows_stand_for_all_in_richness(load):
    bench, throughput = load('bench'), load('throughput')
    study = bench.read_data(bench.ECAM)
    rows = throughput.thinned(study, np.arange(875), 125)
    assert len(set(rows)) == 125
    assert study.richness[rows].mean() == pytest.approx(study.richness.mean(), rel=0.02)
