"""What a sample becomes depends on that sample alone: not on its batch, its order or how the work is cut."""

import dataclasses

import numpy as np
import pytest
import torch

from q2_aam.data.batches import make_batch, sequence_chunks
from q2_aam.data.masking import choose_masked_tokens
from q2_aam.model.heads import SampleEmbeddings
from q2_aam.model.network import build_network

from .conftest import HEADS

NAMES = [field.name for field in dataclasses.fields(SampleEmbeddings)]


def close(one, two, tolerance=1e-5):
    torch.testing.assert_close(one, two, rtol=0, atol=tolerance)


def assert_same(one, two):
    for name in NAMES:
        close(getattr(one, name), getattr(two, name))


@pytest.fixture
def embed(network, drawn_of):
    """Embed samples of the study, or what was drawn of some."""

    def embed(rows_or_drawn):
        drawn = rows_or_drawn if dataclasses.is_dataclass(rows_or_drawn) else drawn_of(rows_or_drawn)
        with torch.no_grad():
            return network(make_batch(drawn, network.budget())).samples

    return embed


def rows_of(embeddings, rows):
    return SampleEmbeddings(*(getattr(embeddings, name)[rows] for name in NAMES))


def test_a_sample_alone_has_the_embedding_that_it_has_in_any_batch(embed):
    together = embed(range(9))
    assert [tuple(getattr(together, name).shape) for name in NAMES] == [(9, 16), (9, 16), (9, 12)]
    for row in range(9):
        assert_same(embed([row]), rows_of(together, [row]))


def test_the_order_of_samples_in_a_batch_does_not_matter(embed):
    order = np.random.default_rng(1).permutation(9)
    assert_same(embed(order), rows_of(embed(range(9)), torch.from_numpy(order)))


def test_the_order_of_asvs_in_a_sample_and_in_a_batch_does_not_matter(embed, drawn_of):
    drawn = drawn_of(range(9))
    generator = np.random.default_rng(2)
    bounds = zip(drawn.offsets.tolist(), drawn.offsets[1:].tolist())
    within = np.concatenate([generator.permutation(np.arange(a, b)) for a, b in bounds])
    # distinct ASVs come in the order of their rows in the study: let these be others
    order = generator.permutation(15)
    permuted = dataclasses.replace(
        drawn,
        asvs=np.argsort(order)[drawn.asvs][within],
        abundances=drawn.abundances[within],
        codes=drawn.codes[order],
        lengths=drawn.lengths[order],
    )
    assert permuted.inverse.tolist() != drawn.inverse.tolist()
    assert_same(embed(permuted), embed(drawn))


def test_asvs_that_a_sample_does_not_hold_do_not_matter_to_it(embed, drawn_of):
    drawn = drawn_of(range(9))
    before = embed(drawn)
    held = set(drawn.inverse[drawn.offsets[4] : drawn.offsets[5]].tolist())
    others = np.array([asv not in held for asv in range(15)])
    assert 0 < others.sum() < 15
    codes = drawn.codes.copy()
    codes[others] = np.where(codes[others] > 0, codes[others] % 4 + 1, 0)
    after = embed(dataclasses.replace(drawn, codes=codes))
    assert_same(rows_of(after, [4]), rows_of(before, [4]))
    assert (after.summary - before.summary).abs().max() > 0.01


def full_batch(network, drawn):
    """A batch that asks for every head, with masked tokens."""
    budget = network.budget()
    batch = make_batch(drawn, budget, tuple(HEADS))
    masked = choose_masked_tokens(drawn.lengths, 3, 0.3, np.random.default_rng(3))
    batch.masked = sequence_chunks(drawn.codes, drawn.lengths, budget, masked)
    return batch


def everything(network, drawn, max_floats):
    """All outputs of a batch, and the gradient of a loss that all of them enter."""
    network.max_floats = max_floats
    network.zero_grad()
    outputs = network(full_batch(network, drawn))
    values = [outputs.asvs, *(getattr(outputs.samples, name) for name in NAMES), *outputs.heads.values()]
    sum(value.sin().mean() for value in values).backward()
    return values, {name: parameter.grad for name, parameter in network.named_parameters()}


@pytest.fixture
def calls(network):
    """The encoders that were called, in order."""
    calls = []
    network.asv_encoder.register_forward_pre_hook(lambda *_: calls.append('asvs'))
    network.sample_encoder.register_forward_pre_hook(lambda *_: calls.append('samples'))
    return calls


def test_the_last_chunks_that_fit_are_kept_and_the_first_are_computed_twice(network, drawn_of, calls):
    # ASVs of 8 tokens at most, width 16, 2 layers, 2 attention heads, and 7 floats beside the MLP's 2
    of_an_asv = (7 + 2) * 16 * 2 * 8 + 2 * 8**2
    network.max_floats = 8 * of_an_asv
    batch = make_batch(drawn_of(range(9)), network.budget())
    # a chunk is a quarter of what fits: 2 of the 15 ASVs, and what is left over
    assert [len(chunk.codes) for chunk in batch.sequences] == [2] * 7 + [1]
    assert [chunk.kept for chunk in batch.sequences] == [False] * 4 + [True] * 4
    network(batch).asvs.sum().backward()
    assert calls.count('asvs') == 8 + 4


@pytest.mark.parametrize('max_floats', [1, 20_000])
def test_work_that_is_cut_into_chunks_gives_the_same_outputs_and_gradients(network, drawn_of, calls, max_floats):
    drawn = drawn_of(range(9))
    in_one, gradients_in_one = everything(network, drawn, 2**28)
    assert calls == ['asvs', 'samples', 'asvs']
    calls.clear()
    chunked, gradients = everything(network, drawn, max_floats)
    # chunks that are not kept are computed twice: once more for their gradient
    assert calls.count('asvs') > 2 * 2 and calls.count('samples') > 2
    if max_floats == 1:
        assert calls.count('asvs') == 2 * 2 * 15 and calls.count('samples') == 2 * 9
    close(chunked, in_one)
    for name, gradient in gradients_in_one.items():
        assert gradient is not None and gradient.abs().max() > 0, name
        close(gradients[name], gradient)


def test_without_a_gradient_each_chunk_is_computed_once(network, embed, calls):
    network.max_floats = 1
    embed(range(9))
    assert calls == ['asvs'] * 15 + ['samples'] * 9


def test_without_a_gradient_one_layer_at_a_time_is_reckoned_with(network):
    learning = network.budget()
    with torch.no_grad():
        reading = network.budget()
    assert (learning.per_sequence_token, learning.per_sample_token) == (2 * 9 * 16, 2 * 9 * 16)
    assert (reading.per_sequence_token, reading.per_sample_token) == (9 * 16, 9 * 16)
    assert (reading.per_asv, reading.per_pair, reading.nucleotides_per_token) == (4 * 12, 2, 3)


def test_a_batch_that_asks_for_masked_tokens_only_reads_no_sample(network, drawn_of, calls):
    batch = dataclasses.replace(
        full_batch(network, drawn_of(range(9))), heads=('nucleotides',), sequences=[], samples=[]
    )
    outputs = network(batch)
    assert list(outputs.heads) == ['nucleotides'] and outputs.asvs is None and outputs.samples is None
    assert calls == ['asvs']


def test_embeddings_at_hand_stand_for_their_sequences(network, drawn_of, calls):
    drawn = drawn_of([1, 3, 8])
    with torch.no_grad():
        read = network(make_batch(drawn, network.budget(), ('target',)))
        calls.clear()
        given = network(make_batch(drawn, network.budget(), ('target',), read.asvs))
    assert calls == ['samples'] and given.asvs is None
    assert torch.equal(given.heads['target'], read.heads['target'])


def test_a_network_has_the_heads_that_are_asked_for(config_of):
    bare = build_network(config_of(), {})
    full = build_network(config_of(), HEADS)
    new = set(full.state_dict()) - set(bare.state_dict())
    assert {'.'.join(name.split('.')[:2]) for name in new} == {'heads.distances', 'heads.nucleotides', 'heads.target'}
    assert full.heads['nucleotides'].out.out_features == 3 * 4 and full.heads['target'].out.out_features == 2
    assert full.head_configs == HEADS and bare.head_configs == {}


def test_the_same_generator_draws_the_same_network(config_of):
    one, same, other = (
        build_network(config_of(), HEADS, torch.Generator().manual_seed(seed)).state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert any(not torch.equal(value, other[name]) for name, value in one.items())


def test_building_a_network_neither_draws_from_torch_s_generator_nor_depends_on_it(config_of):
    states = []
    for seed in (5, 6):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        states.append(build_network(config_of(), HEADS, torch.Generator().manual_seed(1)).state_dict())
        assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_without_a_generator_a_network_has_no_memory_for_its_weights(config_of):
    network = build_network(config_of(), HEADS)
    assert all(parameter.is_meta for parameter in network.parameters())


@pytest.mark.parametrize('precision', [torch.bfloat16, torch.float16])
def test_half_precision_gives_nearly_the_same_in_float32_tensors(network, embed, precision):
    exact = embed(range(9))
    network.precision = precision
    rounded = embed(range(9))
    for name in NAMES:
        one, two = getattr(exact, name), getattr(rounded, name)
        assert two.dtype == torch.float32 and not torch.equal(one, two)
        assert (one - two).abs().mean() < 0.03


@pytest.mark.parametrize('max_floats', [1, 2**28])
def test_the_forward_pass_waits_for_no_number(config_of, drawn_of, max_floats):
    """On the meta device tensors have shapes but no numbers: whoever asks for one gets an error.

    That is what .cpu(), .numpy(), .item(), .tolist(), .nonzero(), a mask as an index and `if tensor` do; on a GPU each
    of them would wait until all work before it is done.
    """
    network = build_network(config_of(), HEADS)
    network.max_floats = max_floats
    batch = full_batch(network, drawn_of(range(9))).to(torch.device('meta'))
    outputs = network(batch)
    assert {name: tuple(value.shape) for name, value in outputs.heads.items()} == {
        'distances': (9, 9),
        'nucleotides': (sum(len(chunk.masked_tokens) for chunk in batch.masked), 3, 4),
        'target': (9, 2),
    }
    sum(value.sum() for value in outputs.heads.values()).backward()
    assert all(parameter.grad.is_meta for parameter in network.parameters())


@pytest.mark.parametrize(
    'look',
    [
        lambda x: x.cpu(),
        lambda x: x.numpy(force=True),
        lambda x: x.item(),
        lambda x: x.tolist(),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: bool(x > 0),
    ],
)
def test_the_test_above_sees_each_way_of_looking_at_a_number(look):
    with pytest.raises((NotImplementedError, RuntimeError, TypeError), match='(?i)meta'):
        look(torch.ones(1, device='meta'))


class Exported(torch.nn.Module):
    """A network as a function of tensors: codes and abundances of batches that are all of one layout."""

    def __init__(self, network, batch):
        super().__init__()
        self.network, self.batch = network, batch

    def forward(self, codes, abundances):
        def given(chunks, name, tensors):
            return [dataclasses.replace(chunk, **{name: tensor}) for chunk, tensor in zip(chunks, tensors)]

        batch = dataclasses.replace(
            self.batch,
            sequences=given(self.batch.sequences, 'codes', codes),
            masked=given(self.batch.masked, 'codes', codes),
            samples=given(self.batch.samples, 'abundances', abundances),
        )
        outputs = self.network(batch)
        return dict(outputs.heads), outputs.asvs, outputs.samples.summary


@pytest.mark.parametrize('max_floats', [pytest.param(3_000, marks=pytest.mark.slow), 2**28])
def test_an_exported_network_gives_the_same_numbers_for_batches_of_one_layout(
    config_of, scrambled, drawn_of, max_floats
):
    network = scrambled(build_network(config_of(asv_layers=1, sample_layers=1), HEADS, torch.Generator()))
    network.max_floats = max_floats
    batch = full_batch(network, drawn_of([0, 1, 2]))
    assert (len(batch.sequences) > 1) == (len(batch.samples) > 1) == (max_floats < 2**28)
    module = Exported(network, batch)
    codes, abundances = [chunk.codes for chunk in batch.sequences], [chunk.abundances for chunk in batch.samples]
    exported = torch.export.export(module, (codes, abundances)).module()
    others = (
        [torch.where(part > 0, part % 4 + 1, 0).to(torch.uint8) for part in codes],
        [part / 2 for part in abundances],
    )
    with torch.no_grad():
        first, second = module(codes, abundances), module(*others)
        close(exported(codes, abundances), first, 1e-6)
        close(exported(*others), second, 1e-6)
    assert set(first[0]) == set(HEADS)
    for name in HEADS:
        assert (first[0][name] - second[0][name]).abs().max() > 0.01
