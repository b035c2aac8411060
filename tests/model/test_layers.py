"""Attention over ragged sequences is plain attention, sequence by sequence; little is kept for the gradient."""

import gc

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from q2_aam.model.layers import SHORTEST_IN_BUCKET, Block, layout_of, ragged_attention, recomputed
from q2_aam.model.network import KEPT_A_TOKEN

SIZES = [[5], [4, 4, 4], [1, 1, 1], [3, 7, 1, 7, 2, 20, 19, 6], list(range(1, 30)), [9, 1]]


def offsets_of(sizes):
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def dense_attention(qkv_S3HE):
    """Softmax attention of one sequence, written out: [S, D]."""
    q_SHE, k_SHE, v_SHE = qkv_S3HE.unbind(1)
    scores_HSS = torch.einsum('she,the->hst', q_SHE, k_SHE) / q_SHE.shape[-1] ** 0.5
    return torch.einsum('hst,the->she', scores_HSS.softmax(-1), v_SHE).flatten(1)


def attention(qkv, layout):
    return layout.collect(ragged_attention(layout.spread(qkv), layout))


@pytest.mark.parametrize('sizes', SIZES)
def test_ragged_attention_equals_dense_attention_of_each_sequence(sizes):
    offsets = offsets_of(sizes)
    qkv = torch.randn(sum(sizes), 3, 2, 4, generator=torch.Generator().manual_seed(1)) * 2
    expected = torch.cat([dense_attention(qkv[a:b]) for a, b in zip(offsets[:-1], offsets[1:])])
    torch.testing.assert_close(attention(qkv, layout_of(offsets)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('sizes', SIZES)
def test_the_gradient_of_ragged_attention_is_that_of_dense_attention(sizes):
    offsets = offsets_of(sizes)
    qkv = torch.randn(sum(sizes), 3, 2, 4, generator=torch.Generator().manual_seed(2)).requires_grad_()
    expected = torch.cat([dense_attention(qkv[a:b]) for a, b in zip(offsets[:-1], offsets[1:])])
    (wanted,) = torch.autograd.grad(expected.sin().sum(), qkv)
    (found,) = torch.autograd.grad(attention(qkv, layout_of(offsets)).sin().sum(), qkv)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def places_of(layout, tokens):
    """The token at each place of each bucket, int64 [R, S], and whether it is real."""
    gather = torch.arange(tokens) if layout.gather is None else layout.gather
    pieces = gather.split([rows * length for rows, length in (bucket.shape for bucket in layout.buckets)])
    for bucket, piece in zip(layout.buckets, pieces):
        real = torch.ones(bucket.shape, dtype=torch.bool) if bucket.real is None else bucket.real
        yield piece.unflatten(0, bucket.shape), real


@pytest.mark.parametrize('sizes', SIZES)
def test_the_layout_places_every_token_once_and_sequences_whole(sizes):
    offsets = offsets_of(sizes)
    layout = layout_of(offsets)
    rows = [tokens[real].tolist() for place in places_of(layout, sum(sizes)) for tokens, real in zip(*place)]
    assert sorted(rows) == [list(range(a, b)) for a, b in zip(offsets[:-1], offsets[1:])]
    if layout.place is not None:
        assert layout.gather[layout.place].tolist() == list(range(sum(sizes)))


@pytest.mark.parametrize('sizes', SIZES)
def test_padding_is_of_the_sequence_that_it_fills(sizes):
    sequence = np.repeat(np.arange(len(sizes)), sizes)
    for tokens, _ in places_of(layout_of(offsets_of(sizes)), sum(sizes)):
        assert (sequence[tokens] == sequence[tokens[:, :1]]).all()


@pytest.mark.parametrize('sizes', SIZES)
def test_a_bucket_pads_nothing_beyond_its_longest_and_holds_only_like_lengths(sizes):
    found = []
    for tokens, real in places_of(layout_of(offsets_of(sizes)), sum(sizes)):
        length = tokens.shape[1]
        own = real.sum(1).tolist()
        assert max(own) == length and min(own) >= SHORTEST_IN_BUCKET * length
        found += own
    assert found == sorted(sizes, reverse=True)


@pytest.mark.parametrize('sizes', SIZES)
def test_a_mask_is_there_only_where_something_is_padded(sizes):
    for bucket in layout_of(offsets_of(sizes)).buckets:
        assert bucket.real is None or not bucket.real.all()


def test_sequences_of_one_length_are_one_bucket_as_they_stand():
    layout = layout_of(offsets_of([4, 4, 4]))
    assert (layout.gather, layout.place) == (None, None)
    assert [(bucket.shape, bucket.real) for bucket in layout.buckets] == [((3, 4), None)]


def test_a_block_reads_each_sequence_alone(scrambled):
    block = scrambled(Block(16, 2, 2))
    sizes = [3, 7, 1, 9, 6]
    offsets = offsets_of(sizes)
    x_ND = torch.randn(sum(sizes), 16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        layout = layout_of(offsets)
        together = layout.collect(block(layout.spread(x_ND), layout))
        alone = [block(x_ND[a:b], layout_of(np.array([0, b - a]))) for a, b in zip(offsets[:-1], offsets[1:])]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-5)


def plain_block(block, x_ND):
    """The block on one sequence, written out."""
    qkv = block.query_key_value(block.attention_norm(x_ND)).unflatten(-1, (3, block.heads, -1))
    x_ND = x_ND + block.attention_out(dense_attention(qkv))
    return x_ND + block.feed_forward_out(F.gelu(block.feed_forward_in(block.feed_forward_norm(x_ND))))


@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_outputs_and_gradients_of_a_block_are_those_of_its_layers_composed(scrambled, dtype, tolerance):
    block = scrambled(Block(16, 2, 2)).to(dtype)
    x_ND = torch.randn(7, 16, dtype=dtype, generator=torch.Generator().manual_seed(3)).requires_grad_()
    inputs = [x_ND, *block.parameters()]
    expected, found = plain_block(block, x_ND), block(x_ND, layout_of(np.array([0, 7])))
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    wanted = torch.autograd.grad(expected.sin().sum(), inputs)
    gradients = torch.autograd.grad(found.sin().sum(), inputs)
    assert all(gradient.abs().max() > 0 for gradient in wanted)
    torch.testing.assert_close(gradients, wanted, rtol=10 * tolerance, atol=10 * tolerance)


def test_the_gradient_of_a_block_is_that_of_finite_differences(scrambled):
    block = scrambled(Block(4, 2, 2)).double()
    layout = layout_of(offsets_of([3, 1]))
    x_ND = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: layout.collect(block(layout.spread(x), layout)), x_ND)


def test_what_is_computed_again_ends_before_the_product(scrambled):
    linear, runs = scrambled(torch.nn.Linear(4, 4)), []
    linear.register_forward_hook(lambda *_: runs.append('product'))

    def cheap(x):
        runs.append('cheap')
        return x.sin()

    x = torch.ones(2, 4, requires_grad=True)
    recomputed(lambda x: linear(cheap(x)), x).sum().backward()
    assert runs == ['cheap', 'product', 'cheap']
    torch.testing.assert_close(x.grad, (linear.weight.sum(0) * torch.ones(2, 4).cos()), rtol=1e-6, atol=1e-6)


def kept(block, x, layout):
    """Floats that the block keeps for its gradient, for each place and unit of width, its input included."""
    saved = {}

    def pack(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    def alive():
        tensors = [thing for thing in gc.get_objects() if type(thing) is torch.Tensor]
        return {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}

    before = alive()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = block(x, layout)
    storages = alive() | {place: tensor.untyped_storage().nbytes() for place, tensor in saved.items()}
    weights = {parameter.untyped_storage().data_ptr() for parameter in block.parameters()}
    new = set(storages) - set(before) - weights - {y.untyped_storage().data_ptr()}
    return 1 + sum(storages[place] for place in new) / 4 / x.numel()


@pytest.mark.parametrize('ratio', [1, 4])
def test_a_block_keeps_for_its_gradient_what_memory_is_reckoned_with(ratio):
    block = Block(64, 2, ratio)
    alike, unlike = layout_of(offsets_of([20] * 20)), layout_of(offsets_of([20] * 10 + [10] * 20))
    x = torch.randn(400, 64).requires_grad_()
    # where there is one bucket, attention's outputs need not be joined
    assert kept(block, x, alike) == pytest.approx(KEPT_A_TOKEN - 1 + ratio, abs=0.1)
    assert kept(block, x, unlike) == pytest.approx(KEPT_A_TOKEN + ratio, abs=0.1)
