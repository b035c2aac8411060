"""Where tokens stand: every token once, sequences whole, padding only up to the longest of like lengths."""

import numpy as np
import pytest
import torch

from q2_aam.data.layouts import SHORTEST_IN_BUCKET, layout_of

SIZES = [[5], [4, 4, 4], [1, 1, 1], [3, 7, 1, 7, 2, 20, 19, 6], list(range(1, 30)), [9, 1]]


def places_of(layout, tokens):
    """The token at each place of each bucket, int64 [R, S], and whether it is real."""
    gather = torch.arange(tokens) if layout.gather is None else layout.gather
    pieces = gather.split([rows * length for rows, length in (bucket.shape for bucket in layout.buckets)])
    for bucket, piece in zip(layout.buckets, pieces):
        real = torch.ones(bucket.shape, dtype=torch.bool) if bucket.real is None else bucket.real
        yield piece.unflatten(0, bucket.shape), real


@pytest.mark.parametrize('sizes', SIZES)
def test_every_token_has_one_place_and_sequences_stay_together(sizes):
    ends = np.cumsum(sizes)
    layout = layout_of(np.array(sizes))
    rows = [tokens[real].tolist() for place in places_of(layout, sum(sizes)) for tokens, real in zip(*place)]
    assert sorted(rows) == [list(range(end - size, end)) for end, size in zip(ends, sizes)]
    if layout.place is not None:
        assert layout.gather[layout.place].tolist() == list(range(sum(sizes)))


@pytest.mark.parametrize('sizes', SIZES)
def test_tokens_come_back_from_their_places(sizes):
    layout = layout_of(np.array(sizes))
    x_ND = torch.randn(sum(sizes), 3, generator=torch.Generator().manual_seed(1))
    x_QD = layout.to_places(x_ND)
    assert len(x_QD) == sum(rows * length for rows, length in (bucket.shape for bucket in layout.buckets))
    assert torch.equal(layout.to_tokens(x_QD), x_ND)


@pytest.mark.parametrize('sizes', SIZES)
def test_padding_repeats_a_token_of_the_sequence_that_it_fills(sizes):
    sequence = np.repeat(np.arange(len(sizes)), sizes)
    for tokens, _ in places_of(layout_of(np.array(sizes)), sum(sizes)):
        assert (sequence[tokens] == sequence[tokens[:, :1]]).all()


@pytest.mark.parametrize('sizes', SIZES)
def test_a_bucket_pads_nothing_beyond_its_longest_and_holds_only_like_lengths(sizes):
    lengths = []
    for tokens, real in places_of(layout_of(np.array(sizes)), sum(sizes)):
        longest = tokens.shape[1]
        of_rows = real.sum(1).tolist()
        assert max(of_rows) == longest and min(of_rows) >= SHORTEST_IN_BUCKET * longest
        lengths += of_rows
    assert lengths == sorted(sizes, reverse=True)


@pytest.mark.parametrize('sizes', SIZES)
def test_a_mask_is_there_only_where_something_is_padded(sizes):
    for bucket in layout_of(np.array(sizes)).buckets:
        assert bucket.real is None or not bucket.real.all()


def test_sequences_of_one_length_are_one_bucket_as_they_stand():
    layout = layout_of(np.array([4, 4, 4]))
    assert (layout.gather, layout.place) == (None, None)
    assert [(bucket.shape, bucket.real) for bucket in layout.buckets] == [((3, 4), None)]
    x_ND = torch.ones(12, 2)
    assert layout.to_places(x_ND) is x_ND and layout.to_tokens(x_ND) is x_ND


def test_sequences_of_two_lengths_stand_as_one_writes_them_down():
    layout = layout_of(np.array([2, 10, 9]))
    assert [bucket.shape for bucket in layout.buckets] == [(2, 10), (1, 2)]
    # the sequence of 9 tokens is filled up with its first one
    assert layout.gather.tolist() == [*range(2, 12), *range(12, 21), 12, 0, 1]
    assert layout.place.tolist() == [20, 21, *range(10), *range(10, 19)]
    assert layout.buckets[0].real.tolist() == [[True] * 10, [True] * 9 + [False]]
    assert layout.buckets[1].real is None
