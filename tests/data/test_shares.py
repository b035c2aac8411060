"""A batch dealt out among processes: everything once, about as much for each, and joined in its own order."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from q2_aam.data.batches import Batch, Budget, Drawn, sequence_chunks
from q2_aam.data.masking import choose_masked_tokens
from q2_aam.data.shares import ALONE, Share, deal, places_of

BUDGET = Budget(10**6, 3, 10, 10, 4, 1)


def drawn_of(samples=5, asvs=9, seed=1):
    random = np.random.default_rng(seed)
    richness = random.integers(1, 5, samples)
    offsets = np.concatenate([[0], np.cumsum(richness)])
    of_samples = [np.sort(random.permutation(asvs)[:number]) for number in richness]
    # each ASV is somewhere
    of_samples[0] = np.arange(asvs)
    richness[0] = asvs
    offsets = np.concatenate([[0], np.cumsum(richness)])
    lengths = random.integers(4, 12, asvs)
    codes = random.integers(1, 6, (asvs, 12)).astype(np.uint8) * (np.arange(12) < lengths[:, None])
    abundances = random.random(offsets[-1]).astype(np.float32)
    return Drawn(np.arange(samples), np.concatenate(of_samples), abundances, offsets, codes.astype(np.uint8), lengths)


def shares_of(size, drawn, masked=None):
    """Return the share of each process and its part of the batch."""
    shares = [Share(rank, size, None) for rank in range(size)]
    parts = [share.make_batch(drawn, BUDGET, ('one',)) for share in shares]
    for share, part in zip(shares, parts):
        if masked is not None:
            part.masked = sequence_chunks(drawn.codes, drawn.lengths, BUDGET, masked)
            share.divide_masked(part, BUDGET)
    return shares, parts


def joined(shares, level, values):
    """Return what each process gets that gives its own values."""
    most = max(share.places[level][1] for share in shares)
    padded = torch.cat([F.pad(value[:most], (0, 0, 0, max(0, most - len(value)))) for value in values])
    results = []
    for share, value in zip(shares, values):
        share.gather = lambda part: padded
        results.append(share.join(level, value)[0])
    return results


def test_processes_with_divided_weights_compute_equally_many_chunks_of_each_level():
    drawn = drawn_of(samples=8)
    masked = choose_masked_tokens(drawn.lengths, 3, 0.5, np.random.default_rng(1))
    small, told = dataclasses.replace(BUDGET, max_floats=160), {}

    def make(rank, budget, largest):
        asked = iter(range(6))

        def most(number):
            told.setdefault(rank, []).append(number)
            return largest[next(asked)] if largest else number

        share = Share(rank, 2, None, most)
        part = share.make_batch(drawn, budget)
        part.masked = sequence_chunks(drawn.codes, drawn.lengths, budget, masked)
        share.divide_masked(part, budget)
        return share, part

    for rank, budget in enumerate((BUDGET, small)):
        make(rank, budget, None)
    # the first has one chunk of each level, the second many
    assert told[0] == [1, 0] * 3 and min(told[1][::2]) > 1 and min(told[1][1::2]) > 0
    largest = [max(numbers) for numbers in zip(*told.values())]
    shares, parts = zip(*(make(rank, budget, largest) for rank, budget in enumerate((BUDGET, small))))
    for place, level in enumerate(('sequences', 'samples', 'masked')):
        kept = [[chunk.kept for chunk in getattr(part, level)] for part in parts]
        number, again = largest[2 * place : 2 * place + 2]
        assert kept == [[False] * again + [True] * (number - again)] * 2
    # what is computed for the sake of the other process only is nowhere in the end
    codes = [torch.cat([F.pad(c.codes, (0, 12 - c.codes.shape[1])) for c in part.sequences]) for part in parts]
    assert sum(map(len, codes)) > len(drawn.codes)
    for whole in joined(shares, 'sequences', codes):
        assert torch.equal(whole, torch.from_numpy(drawn.codes))


@pytest.mark.parametrize('size', [1, 2, 3, 8, 12])
def test_every_sequence_is_encoded_by_one_process_and_stands_where_it_stood(size):
    drawn = drawn_of()
    shares, parts = shares_of(size, drawn)
    codes = [torch.nn.functional.pad(c.codes, (0, 12 - c.codes.shape[1])) for p in parts for c in p.sequences]
    for whole in joined(shares, 'sequences', codes):
        assert torch.equal(whole, torch.from_numpy(drawn.codes))


@pytest.mark.parametrize('size', [1, 2, 3, 8])
def test_every_sample_is_read_by_one_process_from_the_asvs_of_the_whole_batch(size):
    drawn = drawn_of()
    shares, parts = shares_of(size, drawn)
    richness = [chunk.richness[:, None] for part in parts for chunk in part.samples]
    sums = [
        torch.tensor([[chunk.abundances[chunk.asvs == asv].sum() for asv in range(9)]]).expand(1, 9)
        for part in parts
        for chunk in part.samples
    ]
    for share, whole in zip(shares, joined(shares, 'samples', richness)):
        assert whole[:, 0].tolist() == np.diff(drawn.offsets).tolist()
        asvs, held = share.held(parts[0].samples)
        assert asvs.tolist() == drawn.inverse.tolist() and held.tolist() == np.diff(drawn.offsets).tolist()
    if size <= len(drawn.rows):
        total = torch.stack([drawn_abundance(drawn, asv) for asv in range(9)])
        torch.testing.assert_close(torch.cat(sums).sum(0), total)


def drawn_abundance(drawn, asv):
    return torch.tensor(drawn.abundances[drawn.inverse == asv].sum())


@pytest.mark.parametrize('size', [1, 2, 4, 12])
def test_masked_tokens_stand_in_the_order_of_their_labels(size):
    drawn = drawn_of()
    masked = choose_masked_tokens(drawn.lengths, 3, 0.5, np.random.default_rng(3))
    shares, parts = shares_of(size, drawn, masked)
    # what tells a token: the sum of its sequence, and its place in it
    values = []
    for part in parts:
        (chunk,) = part.masked
        rows, columns = torch.nonzero(chunk.masked, as_tuple=True)
        values.append(torch.stack([chunk.codes.long().sum(1)[rows], columns], dim=1))
    rows, columns = np.nonzero(masked)
    expected = np.stack([drawn.codes.sum(axis=1, dtype=np.int64)[rows], columns], axis=1)
    for whole in joined(shares, 'masked', values):
        assert whole.tolist() == expected.tolist()


def test_several_tensors_are_joined_in_one_exchange():
    share, exchanges = Share(0, 1, lambda part: exchanges.append(part) or part), []
    share.make_batch(drawn_of(), BUDGET)
    one, other = torch.arange(10.0).reshape(5, 2), torch.arange(5.0)[:, None]
    first, second = share.join('samples', one, other)
    assert torch.equal(first, one) and torch.equal(second, other)
    assert [part.shape for part in exchanges] == [(5, 3)]


def test_all_have_about_as_much_to_do():
    costs = np.random.default_rng(0).pareto(1.5, 400) + 1
    loads = np.bincount(deal(costs, 8), costs)
    # no division is better than the mean, or than the dearest thing
    assert loads.max() <= 1.01 * max(costs.sum() / 8, costs.max())


def test_things_of_several_rows_keep_their_rows_together():
    places, most = places_of(np.array([1, 0, 1]), np.array([2, 3, 1]), 2)
    assert most == 3 and places.tolist() == [3, 4, 0, 1, 2, 5]


def test_one_process_joins_nothing_and_divides_nothing():
    one = torch.ones(2, 3)
    assert ALONE.join('samples', one)[0] is one
    batch = Batch(masked=['chunk'])
    ALONE.divide_masked(batch, BUDGET)
    assert batch.masked == ['chunk']
