"""Which tokens are masked: as many as asked for, alone or in spans, and what stands in the place of some."""

import numpy as np
import pytest

from q2_aam.data.batches import Budget, sequence_chunks
from q2_aam.data.masking import choose_masked, choose_masked_tokens, with_mask, with_noise

LENGTHS = np.array([250, 120, 61, 7, 1])
BUDGET = Budget(2**30, 1, 1, 1, 1, 1)


def masks(strategy, per_token=1, ratio=0.15, seed=1, lengths=LENGTHS):
    return choose_masked(lengths, per_token, ratio, strategy, np.random.default_rng(seed))


def runs(row):
    """Lengths of the runs of True in a row."""
    edges = np.flatnonzero(np.diff(np.r_[0, row.astype(int), 0]))
    return edges[1::2] - edges[::2]


def test_random_tokens_are_drawn_as_they_always_were():
    expected = choose_masked_tokens(LENGTHS, 6, 0.15, np.random.default_rng(1))
    assert np.array_equal(masks('random', 6), expected)


@pytest.mark.parametrize('strategy', ['random', 'span', 'hybrid'])
@pytest.mark.parametrize('per_token', [1, 3, 10])
@pytest.mark.parametrize('ratio', [0.05, 0.15, 0.5])
def test_the_ratio_is_reached_in_each_asv_and_no_padding_is_masked(strategy, per_token, ratio):
    masked = masks(strategy, per_token, ratio)
    tokens = -(-LENGTHS // per_token)
    assert not (masked & (np.arange(masked.shape[1]) >= tokens[:, None])).any()
    goal = np.maximum(1, np.round(ratio * tokens))
    assert (masked.sum(axis=1) >= goal).all() and (masked.sum(axis=1) <= goal + 4).all()


def test_spans_are_of_3_to_5_nucleotides_and_longer_only_where_they_meet():
    lengths = np.full(200, 250)
    lone = np.concatenate([runs(row) for row in masks('span', ratio=0.02, lengths=lengths)])
    assert set(lone[lone <= 5]) == {3, 4, 5} and (lone >= 3).mean() > 0.95
    at_random = np.concatenate([runs(row) for row in masks('random', ratio=0.02, lengths=lengths)])
    assert np.median(at_random) == 1
    both = np.concatenate([runs(row) for row in masks('hybrid', ratio=0.05, lengths=lengths)])
    assert 0.1 < (both == 1).mean() < 0.9


def test_some_masked_tokens_have_random_nucleotides_and_as_many_stay_as_they_are():
    generator = np.random.default_rng(3)
    codes = generator.integers(1, 5, (400, 50), dtype=np.uint8)
    codes[:, 48:] = 0
    masked = choose_masked(np.full(400, 48), 5, 0.3, 'random', generator)
    changed, hidden = with_noise(codes, masked, 0.1, 5, generator)
    assert (hidden <= masked).all() and hidden.sum() / masked.sum() == pytest.approx(0.8, abs=0.03)
    assert (changed[:, 48:] == 0).all()
    of_tokens = (changed != codes).reshape(400, 10, 5)
    assert not of_tokens[~masked].any()
    replaced = of_tokens.any(axis=2)
    assert not (replaced & hidden).any()
    # a quarter of the letters is drawn again as it was
    assert replaced.sum() / masked.sum() == pytest.approx(0.1, abs=0.02)
    assert changed.max() <= 4 and set(np.unique(changed[changed != codes])) == {1, 2, 3, 4}


@pytest.mark.parametrize('max_floats', [2**30, 300])
def test_what_is_not_hidden_is_still_asked_for_however_the_batch_is_cut(max_floats):
    codes = np.ones((6, 20), dtype=np.uint8)
    lengths = np.array([20, 20, 12, 20, 4, 20])
    masked = choose_masked(lengths, 1, 0.3, 'random', np.random.default_rng(1))
    hidden = masked & (np.random.default_rng(2).random(masked.shape) < 0.5)
    budget = Budget(max_floats, 1, 1, 1, 1, 1)
    chunks = sequence_chunks(codes, lengths, budget, masked)
    changed = with_mask(chunks, hidden)
    assert (len(chunks) > 1) == (max_floats == 300)
    assert sum(int(chunk.masked.sum()) for chunk in changed) == hidden.sum()
    rows = np.concatenate([np.pad(c.masked.numpy(), ((0, 0), (0, 20 - c.masked.shape[1]))) for c in changed])
    assert np.array_equal(rows, hidden)
    for before, after in zip(chunks, changed):
        assert before.masked_tokens is after.masked_tokens
