"""A batch holds each distinct ASV once, in chunks that fit the memory; masked tokens and epochs are drawn fairly."""

import dataclasses

import numpy as np
import pytest
import torch

from q2_aam.data.batches import (
    Batch,
    Budget,
    cut,
    draw_samples,
    make_batch,
    sample_chunks,
    sequence_chunks,
)
from q2_aam.data.masking import choose_masked_tokens
from q2_aam.data.study import build_study

SAMPLES = {
    'a': {'AAAAAA': 2, 'CC': 2},
    'b': {'GGG': 1, 'CC': 3},
    'c': {'GGG': 7},
    'd': {'TTTTTTTTT': 1},
}
# one float for each token, so that what fits can be counted
BUDGET = Budget(
    max_floats=1000, nucleotides_per_token=2, per_sequence_token=1, per_sample_token=1, per_asv=0, per_pair=0
)


@pytest.fixture
def study(study_of):
    return study_of(SAMPLES)


def test_each_distinct_asv_of_what_is_drawn_stands_in_it_once(study):
    drawn = draw_samples(study, [1, 0, 2], sequences=True)
    assert drawn.rows.tolist() == [1, 0, 2]
    assert drawn.distinct.tolist() == [0, 1, 2]
    assert drawn.lengths.tolist() == [6, 2, 3]
    # nothing is padded beyond the longest
    assert drawn.codes.tolist() == [[1] * 6, [2, 2, 0, 0, 0, 0], [3, 3, 3, 0, 0, 0]]
    assert drawn.offsets.tolist() == [0, 2, 4, 5]
    assert drawn.inverse.tolist() == [1, 2, 0, 1, 2]
    np.testing.assert_allclose(drawn.abundances, [0.75, 0.25, 0.5, 0.5, 1.0])


def test_any_samples_are_drawn_as_they_are_in_the_study(study):
    for rows in ([3], [2, 2], [3, 1, 0, 2]):
        drawn = draw_samples(study, rows)
        assert drawn.codes is None and drawn.lengths is None
        for place, row in enumerate(rows):
            inside = slice(*drawn.offsets[place : place + 2].tolist())
            expected = slice(*study.offsets[row : row + 2])
            assert drawn.asvs[inside].tolist() == study.asvs[expected].tolist()
            assert drawn.distinct[drawn.inverse[inside]].tolist() == study.asvs[expected].tolist()
            assert drawn.abundances[inside].tolist() == study.abundances[expected].tolist()


def test_only_what_the_augmentation_keeps_is_drawn(study):
    def augment(abundances, offsets):
        assert offsets.tolist() == [0, 2, 4]
        return abundances >= 0.5, abundances / 2

    drawn = draw_samples(study, [1, 0], augment, sequences=True)
    assert drawn.asvs.tolist() == [1, 0, 1] and drawn.offsets.tolist() == [0, 1, 3]
    np.testing.assert_allclose(drawn.abundances, [0.375, 0.25, 0.25])
    # GGG is kept of no sample
    assert drawn.distinct.tolist() == [0, 1] and drawn.codes.shape == (2, 6)


def test_what_is_drawn_of_a_study_on_disk_is_memory_that_may_be_written(table_of, tmp_path):
    study, _ = build_study(*table_of(SAMPLES), folder=tmp_path)
    drawn = draw_samples(study, [0, 1], sequences=True)
    before = drawn.codes.copy()
    drawn.abundances[:] += 1
    drawn.codes[:] += 1
    again = draw_samples(study, [0, 1], sequences=True)
    assert again.codes.tolist() == before.tolist() and again.abundances.max() <= 1


def test_a_batch_that_fits_is_one_chunk_of_sequences_and_one_of_samples(study):
    batch = make_batch(draw_samples(study, [1, 0, 2], sequences=True), BUDGET, ('target',))
    (sequences,), (samples,) = batch.sequences, batch.samples
    assert batch.heads == ('target',) and batch.embeddings is None and batch.masked == []
    assert sequences.codes.tolist() == [[1] * 6, [2, 2, 0, 0, 0, 0], [3, 3, 3, 0, 0, 0]]
    # of two nucleotides each, three at most
    assert sequences.tokens.tolist() == [3, 1, 2] and sequences.real.tolist() == [0, 1, 2, 3, 6, 7]
    assert sequences.masked is None and sequences.masked_tokens is None and sequences.kept
    assert samples.asvs.tolist() == [1, 2, 0, 1, 2] and samples.richness.tolist() == [2, 2, 1] and samples.kept
    np.testing.assert_allclose(samples.abundances, [0.75, 0.25, 0.5, 0.5, 1.0])
    # a summary token stands before the ASVs of each sample
    assert samples.source.tolist() == [0, 1, 2, 0, 3, 4, 0, 5]
    assert samples.summaries.tolist() == [0, 3, 6] and samples.members.tolist() == [1, 2, 4, 5, 7]


def tensors_of(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from tensors_of(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from tensors_of(getattr(value, field.name))
    elif isinstance(value, dict):
        yield from tensors_of(list(value.values()))


def test_the_types_are_those_that_tensors_are_indexed_by(study):
    batch = make_batch(draw_samples(study, [0, 3, 1], sequences=True), BUDGET)
    (sequences,), (samples,) = batch.sequences, batch.samples
    assert sequences.codes.dtype == torch.uint8 and samples.abundances.dtype == torch.float32
    assert samples.depths.dtype == torch.float32
    named = sequences.codes, samples.abundances, samples.depths
    others = [x for x in tensors_of(batch) if not any(x is one for one in named)]
    assert len(others) > 8 and {x.dtype for x in others} == {torch.int64}


def test_every_tensor_of_a_batch_goes_to_the_device(study):
    drawn = draw_samples(study, [0, 1], sequences=True)
    batch = make_batch(drawn, BUDGET, ('nucleotides',))
    masked = choose_masked_tokens(drawn.lengths, 2, 0.5, np.random.default_rng(1))
    batch.masked = sequence_chunks(drawn.codes, drawn.lengths, BUDGET, masked)
    batch.labels['nucleotides'] = torch.zeros(3)
    moved = batch.to(torch.device('meta'))
    assert len(list(tensors_of(moved))) == len(list(tensors_of(batch))) == 20
    assert all(tensor.is_meta for tensor in tensors_of(moved)) and not any(x.is_meta for x in tensors_of(batch))
    assert moved.heads == ('nucleotides',) and moved.masked[0].layout.buckets[0].shape == (1, 3)


def test_where_embeddings_are_at_hand_no_sequence_is_in_a_batch(study):
    drawn, embeddings = draw_samples(study, [0, 2]), torch.zeros(3, 4)
    batch = make_batch(drawn, BUDGET, ('target',), embeddings)
    assert batch.sequences == [] and batch.embeddings is embeddings
    expected = make_batch(draw_samples(study, [0, 2], sequences=True), BUDGET).samples[0]
    assert [x.tolist() for x in tensors_of(batch.samples)] == [x.tolist() for x in tensors_of(expected)]


@pytest.mark.parametrize('max_floats', [1, 4, 8, 20])
def test_chunks_hold_the_same_as_the_batch_in_one(study, max_floats):
    budget = dataclasses.replace(BUDGET, max_floats=max_floats)
    drawn = draw_samples(study, [0, 1, 2, 3, 0], sequences=True)
    sequences = sequence_chunks(drawn.codes, drawn.lengths, budget)
    samples = sample_chunks(drawn.inverse, drawn.abundances, drawn.offsets, budget)
    assert len(sequences) > 1 or max_floats == 20
    rows = [row[row > 0].tolist() for chunk in sequences for row in chunk.codes]
    assert rows == [row[row > 0].tolist() for row in drawn.codes]
    assert all((chunk.codes.shape[1] == (chunk.codes > 0).sum(1).max()) for chunk in sequences)
    assert torch.cat([chunk.tokens for chunk in sequences]).tolist() == [3, 1, 2, 5]
    # non-zeros name ASVs of the batch, not of the chunk
    assert torch.cat([chunk.asvs for chunk in samples]).tolist() == drawn.inverse.tolist()
    assert torch.cat([chunk.abundances for chunk in samples]).tolist() == drawn.abundances.tolist()
    assert torch.cat([chunk.richness for chunk in samples]).tolist() == [2, 2, 1, 1, 2]


def test_masked_tokens_of_a_chunk_are_counted_among_its_real_tokens():
    codes = np.array([[1, 1, 0, 0, 0], [2, 2, 2, 2, 2]], dtype=np.uint8)
    masked = np.array([[True, False, False], [False, True, True]])
    (chunk,) = sequence_chunks(codes, np.array([2, 5]), BUDGET, masked)
    assert chunk.real.tolist() == [0, 3, 4, 5] and chunk.masked_tokens.tolist() == [0, 2, 3]
    assert chunk.masked.tolist() == masked.tolist()
    first, second = sequence_chunks(codes, np.array([2, 5]), dataclasses.replace(BUDGET, max_floats=3), masked)
    # no wider than their tokens
    assert first.masked.tolist() == [[True]] and first.masked_tokens.tolist() == [0]
    assert second.masked.tolist() == [[False, True, True]] and second.masked_tokens.tolist() == [1, 2]


@pytest.mark.parametrize(
    ('floats', 'maximum', 'chunks'),
    [
        ([5, 5], 10, [(0, 2, True)]),
        # a quarter of what fits at a time; the last ones that fit are kept
        ([1] * 15, 8, [(i, min(i + 2, 15), i >= 8) for i in range(0, 15, 2)]),
        # what is larger than all that fits is alone and never kept
        ([1, 100, 1], 8, [(0, 1, False), (1, 2, False), (2, 3, True)]),
        ([3, 3, 3], 1, [(0, 1, False), (1, 2, False), (2, 3, False)]),
    ],
)
def test_work_is_cut_where_one_would_cut_it(floats, maximum, chunks):
    assert cut(np.array(floats), maximum) == chunks


def test_no_chunk_is_larger_than_is_fast_although_all_of_it_fits():
    assert cut(np.array([2, 2, 2, 2, 9]), 100, 4) == [(0, 2, True), (2, 4, True), (4, 5, True)]
    # where little fits, chunks are as small as without that
    assert cut(np.ones(15), 8, 100) == cut(np.ones(15), 8)


def test_sequences_and_samples_are_cut_by_tokens_too(study):
    budget = dataclasses.replace(BUDGET, max_floats=2**62, max_tokens=5)
    batch = make_batch(draw_samples(study, np.arange(4), sequences=True), budget)
    # five tokens at most in padded sequences, three tokens in each of the first two samples and two in the others
    assert [len(chunk.tokens) for chunk in batch.sequences] == [1, 1, 1, 1]
    assert [chunk.richness.tolist() for chunk in batch.samples] == [[2], [2, 1], [1]]
    assert all(chunk.kept for chunk in batch.sequences + batch.samples)


def test_what_tokens_pairs_and_asvs_keep_decides_where_a_batch_is_cut(study):
    drawn = draw_samples(study, [0, 1, 2, 3], sequences=True)

    def chunks(**budget):
        batch = make_batch(drawn, dataclasses.replace(BUDGET, **budget))
        return len(batch.sequences), len(batch.samples)

    # 4 ASVs, each reckoned with the 5 tokens of the longest; 10 tokens of samples, 6 non-zeros, 26 pairs of tokens
    assert chunks(max_floats=20) == (1, 1) and chunks(max_floats=19)[0] > 1
    assert chunks(max_floats=10)[1] == 1 and chunks(max_floats=9)[1] > 1
    assert chunks(max_floats=22, per_asv=2)[1] == 1 and chunks(max_floats=21, per_asv=2)[1] > 1
    assert chunks(max_floats=36, per_pair=1)[1] == 1 and chunks(max_floats=35, per_pair=1)[1] > 1


def test_a_batch_without_anything_is_one_that_asks_for_nothing():
    batch = Batch()
    assert (batch.heads, batch.sequences, batch.embeddings, batch.samples, batch.masked) == ((), [], None, [], [])


def test_the_share_of_masked_tokens_is_the_same_in_each_asv_and_never_below_one():
    lengths = np.array([60, 120, 5, 1, 63])
    masked = choose_masked_tokens(lengths, 6, 0.3, np.random.default_rng(1))
    assert masked.dtype == bool and masked.shape == (5, 20)
    # 10, 20, 1, 1 and 11 tokens
    assert masked.sum(1).tolist() == [3, 6, 1, 1, 3]


def test_padding_is_never_masked_and_every_token_may_be():
    lengths = np.array([7, 12, 24])
    generator = np.random.default_rng(2)
    ever = np.stack([choose_masked_tokens(lengths, 4, 0.25, generator) for _ in range(200)]).any(0)
    assert ever.sum(1).tolist() == [2, 3, 6]
    assert ever[0].tolist() == [True, True, False, False, False, False]


def test_all_tokens_can_be_masked():
    masked = choose_masked_tokens(np.array([3, 2]), 1, 1.0, np.random.default_rng(1))
    assert masked.tolist() == [[True, True, True], [True, True, False]]


def test_depths_are_the_reads_of_which_abundances_are_shares(study):
    rows = np.array([1, 0])
    whole = draw_samples(study, rows)
    assert whole.depths.tolist() == study.reads[rows].tolist()

    def first_of_each(abundances, offsets):
        keep = np.isin(np.arange(len(abundances)), offsets[:-1])
        return keep, np.where(keep, np.float32(1), abundances)

    some = draw_samples(study, rows, first_of_each)
    counts = (whole.abundances * np.repeat(whole.depths, np.diff(whole.offsets)))[whole.offsets[:-1]]
    np.testing.assert_allclose(some.abundances * some.depths, counts, rtol=1e-6)
