"""What a sample becomes depends on that sample alone: not on its batch, its order or how the work is cut."""

import dataclasses

import numpy as np
import pytest
import torch

from q2_aam.data.batches import make_batch, masked_tokens
from q2_aam.model.network import Network, SampleEmbeddings

PARTS = [field.name for field in dataclasses.fields(SampleEmbeddings)]


def close(one, two, tolerance=1e-5):
    torch.testing.assert_close(one, two, rtol=0, atol=tolerance)


def assert_same(one, two):
    for part in PARTS:
        close(getattr(one, part), getattr(two, part))


def embeddings_of(network, batch):
    with torch.no_grad():
        return network.encode(batch)


def rows_of(embeddings, rows):
    return SampleEmbeddings(*(getattr(embeddings, part)[rows] for part in PARTS))


def test_a_sample_alone_has_the_embedding_that_it_has_in_any_batch(network, study):
    together = embeddings_of(network, make_batch(study, range(9)))
    assert [tuple(getattr(together, part).shape) for part in PARTS] == [(9, 16), (9, 16), (9, 12)]
    for row in range(9):
        assert_same(embeddings_of(network, make_batch(study, [row])), rows_of(together, [row]))


def test_the_order_of_samples_in_a_batch_does_not_matter(network, study):
    order = np.random.default_rng(1).permutation(9)
    assert_same(
        embeddings_of(network, make_batch(study, order)),
        rows_of(embeddings_of(network, make_batch(study, range(9))), torch.from_numpy(order)),
    )


def test_the_order_of_asvs_in_a_sample_and_in_a_batch_does_not_matter(network, study):
    batch = make_batch(study, range(9))
    generator = np.random.default_rng(2)
    within = np.concatenate(
        [generator.permutation(np.arange(a, b)) for a, b in zip(batch.offsets.tolist(), batch.offsets[1:].tolist())]
    )
    distinct = torch.from_numpy(generator.permutation(len(batch.distinct)))
    permuted = dataclasses.replace(
        batch,
        codes=batch.codes[distinct],
        lengths=batch.lengths[distinct],
        asvs=distinct.argsort()[batch.asvs][within],
        abundances=batch.abundances[within],
    )
    assert not torch.equal(permuted.asvs, batch.asvs)
    assert_same(embeddings_of(network, permuted), embeddings_of(network, batch))


def test_asvs_that_a_sample_does_not_hold_do_not_matter_to_it(network, study):
    batch = make_batch(study, range(9))
    before = embeddings_of(network, batch)
    own = set(batch.asvs[batch.offsets[4] : batch.offsets[5]].tolist())
    others = torch.tensor([asv not in own for asv in range(len(batch.distinct))])
    assert 0 < others.sum() < len(others)
    codes = batch.codes.clone()
    codes[others] = torch.where(codes[others] > 0, codes[others] % 4 + 1, 0).to(torch.uint8)
    after = embeddings_of(network, dataclasses.replace(batch, codes=codes))
    assert_same(rows_of(after, [4]), rows_of(before, [4]))
    assert (after.summary - before.summary).abs().max() > 0.01


def everything(network, study, max_floats):
    """All outputs of a batch with hidden tokens, and the gradient of a loss that all of them enter."""
    network.max_floats = max_floats
    network.zero_grad()
    batch = make_batch(study, range(9))
    hidden = masked_tokens(batch.lengths, 3, 0.3, np.random.default_rng(3))
    asvs, _ = network.encode_asvs(batch.codes, batch.lengths)
    masked, outputs = network.encode_asvs(batch.codes, batch.lengths, hidden)
    samples = network.encode_samples(asvs, batch.asvs, batch.abundances, batch.offsets)
    found = [
        masked,
        network.nucleotide_head(outputs),
        network.distance_head(samples.unions, samples.unions),
        network.regression_head(samples),
    ]
    sum(value.sin().mean() for value in found).backward()
    return found, {name: parameter.grad for name, parameter in network.named_parameters()}


def test_the_last_chunks_that_fit_are_kept_and_the_first_are_computed_twice(network, study):
    floats = network._floats(np.full(15, 8), 2)
    network.max_floats = int(floats[:8].sum())
    # a chunk is a quarter of what fits: 2 of the 15 ASVs, and what is left over
    assert network._chunks(floats) == [(i, min(i + 2, 15), i >= 8) for i in range(0, 15, 2)]
    calls = []
    network.asv_encoder.register_forward_pre_hook(lambda *_: calls.append('asvs'))
    batch = make_batch(study, range(9))
    network.encode_asvs(batch.codes, batch.lengths)[0].sum().backward()
    assert len(batch.codes) == 15 and len(calls) == 8 + 4


@pytest.mark.parametrize('max_floats', [1, 20_000])
def test_work_that_is_cut_into_chunks_gives_the_same_outputs_and_gradients(network, study, max_floats):
    whole, whole_gradient = everything(network, study, 2**28)
    calls = []
    network.asv_encoder.register_forward_pre_hook(lambda *_: calls.append('asvs'))
    network.sample_encoder.register_forward_pre_hook(lambda *_: calls.append('samples'))
    cut, cut_gradient = everything(network, study, max_floats)
    # each chunk is computed twice: once more for its gradient
    assert calls.count('asvs') >= 2 * 2 * 2 and calls.count('samples') >= 2 * 2
    if max_floats == 1:
        assert calls.count('asvs') == 2 * 2 * 15 and calls.count('samples') == 2 * 9
    close(cut, whole)
    for name, gradient in whole_gradient.items():
        assert gradient is not None and gradient.abs().max() > 0, name
        close(cut_gradient[name], gradient)


def test_without_a_gradient_each_chunk_is_computed_once(network, study):
    calls = []
    network.max_floats = 1
    network.sample_encoder.register_forward_pre_hook(lambda *_: calls.append('samples'))
    embeddings_of(network, make_batch(study, range(9)))
    assert len(calls) == 9


def test_a_network_has_the_heads_that_are_asked_for(config_of):
    bare, full = Network(config_of()), Network(config_of(), nucleotides=True, outputs=3)
    assert bare.nucleotide_head is None and bare.regression_head is None
    new = set(full.state_dict()) - set(bare.state_dict())
    assert {name.split('.')[0] for name in new} == {'nucleotide_head', 'regression_head'}
    assert full.nucleotide_head.out.out_features == 3 * 4 and full.regression_head.out.out_features == 3


def test_the_same_seed_draws_the_same_network(config_of):
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(Network(config_of(), nucleotides=True, outputs=1).state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert any(not torch.equal(value, states[2][name]) for name, value in states[0].items())


@pytest.mark.parametrize('precision', [torch.bfloat16, torch.float16])
def test_half_precision_gives_nearly_the_same_in_float32_tensors(network, study, precision):
    batch = make_batch(study, range(9))
    with torch.no_grad():
        exact = network.encode(batch)
        network.precision = precision
        rounded = network.encode(batch)
    for name in ('summary', 'mean', 'unions'):
        one, two = getattr(exact, name), getattr(rounded, name)
        assert two.dtype == torch.float32 and not torch.equal(one, two)
        assert (one - two).abs().mean() < 0.03
