"""Attention over ragged sequences is plain attention, sequence by sequence."""

import numpy as np
import pytest
import torch

from q2_aam.model.layers import SHORTEST_IN_BUCKET, Block, layout_of, ragged_attention

SIZES = [[5], [4, 4, 4], [1, 1, 1], [3, 7, 1, 7, 2, 20, 19, 6], list(range(1, 30)), [9, 1]]


def offsets_of(sizes):
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def dense_attention(qkv_S3HE):
    """Softmax attention of one sequence, written out: [S, D]."""
    q_SHE, k_SHE, v_SHE = qkv_S3HE.unbind(1)
    scores_HSS = torch.einsum('she,the->hst', q_SHE, k_SHE) / q_SHE.shape[-1] ** 0.5
    return torch.einsum('hst,the->she', scores_HSS.softmax(-1), v_SHE).flatten(1)


@pytest.mark.parametrize('sizes', SIZES)
def test_ragged_attention_equals_dense_attention_of_each_sequence(sizes):
    offsets = offsets_of(sizes)
    qkv = torch.randn(sum(sizes), 3, 2, 4, generator=torch.Generator().manual_seed(1)) * 2
    expected = torch.cat([dense_attention(qkv[a:b]) for a, b in zip(offsets[:-1], offsets[1:])])
    torch.testing.assert_close(ragged_attention(qkv, layout_of(offsets)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('sizes', SIZES)
def test_the_gradient_of_ragged_attention_is_that_of_dense_attention(sizes):
    offsets = offsets_of(sizes)
    qkv = torch.randn(sum(sizes), 3, 2, 4, generator=torch.Generator().manual_seed(2)).requires_grad_()
    expected = torch.cat([dense_attention(qkv[a:b]) for a, b in zip(offsets[:-1], offsets[1:])])
    (wanted,) = torch.autograd.grad(expected.sin().sum(), qkv)
    (found,) = torch.autograd.grad(ragged_attention(qkv, layout_of(offsets)).sin().sum(), qkv)
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
        together = block(x_ND, layout_of(offsets))
        alone = [block(x_ND[a:b], layout_of(np.array([0, b - a]))) for a, b in zip(offsets[:-1], offsets[1:])]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-5)
