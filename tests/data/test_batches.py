"""A batch holds each distinct ASV once; hidden tokens and epochs are drawn fairly."""

import numpy as np
import pytest
import torch

from q2_aam.data.batches import batches_of_epoch, make_batch, masked_tokens
from q2_aam.data.study import build_study

SAMPLES = {
    'a': {'AAAAAA': 2, 'CC': 2},
    'b': {'GGG': 1, 'CC': 3},
    'c': {'GGG': 7},
    'd': {'TTTTTTTTT': 1},
}


@pytest.fixture
def study(study_of):
    return study_of(SAMPLES)


def test_each_distinct_asv_of_a_batch_stands_in_it_once(study):
    batch = make_batch(study, [1, 0, 2])
    assert batch.samples.tolist() == [1, 0, 2]
    assert batch.distinct.tolist() == [0, 1, 2]
    assert batch.lengths.tolist() == [6, 2, 3]
    # nothing is padded beyond the longest of the batch
    assert batch.codes.tolist() == [[1] * 6, [2, 2, 0, 0, 0, 0], [3, 3, 3, 0, 0, 0]]
    assert batch.offsets.tolist() == [0, 2, 4, 5]
    assert batch.asvs.tolist() == [1, 2, 0, 1, 2]
    np.testing.assert_allclose(batch.abundances, [0.75, 0.25, 0.5, 0.5, 1.0])


def test_the_types_are_those_that_tensors_are_indexed_by(study):
    batch = make_batch(study, [0, 3])
    assert batch.codes.dtype == torch.uint8 and batch.abundances.dtype == torch.float32
    assert {x.dtype for x in (batch.samples, batch.distinct, batch.lengths, batch.asvs, batch.offsets)} == {torch.int64}


def test_a_batch_of_any_samples_holds_what_each_sample_has(study):
    for rows in ([3], [2, 2], [3, 1, 0, 2]):
        batch = make_batch(study, rows)
        for place, row in enumerate(rows):
            inside = slice(*batch.offsets[place : place + 2].tolist())
            own = slice(*study.offsets[row : row + 2])
            assert batch.distinct[batch.asvs[inside]].tolist() == study.asvs[own].tolist()
            assert batch.abundances[inside].tolist() == study.abundances[own].tolist()


def test_a_batch_without_sequences_has_the_rest(study):
    full, bare = make_batch(study, [0, 2]), make_batch(study, [0, 2], sequences=False)
    assert bare.codes is None and bare.lengths is None
    for name in ('samples', 'distinct', 'asvs', 'abundances', 'offsets'):
        torch.testing.assert_close(getattr(bare, name), getattr(full, name), rtol=0, atol=0)
    moved = bare.to('cpu')
    assert moved.codes is None and moved.asvs.tolist() == bare.asvs.tolist()


def test_a_batch_of_a_study_on_disk_is_its_own_memory(table_of, tmp_path):
    study, _ = build_study(*table_of(SAMPLES), folder=tmp_path)
    batch = make_batch(study, [0, 1])
    batch.abundances += 1
    batch.codes += 1
    torch.testing.assert_close(make_batch(study, [0, 1]).codes, batch.codes - 1)


@pytest.mark.parametrize('rows, batch_size', [(10, 4), (9, 3), (3, 64), (1, 2), (64, 64), (65, 64), (7, 3)])
def test_an_epoch_covers_each_row_once_in_batches_of_like_size(rows, batch_size):
    chosen = np.arange(100, 100 + rows)
    batches = list(batches_of_epoch(chosen, batch_size, np.random.default_rng(1)))
    assert sorted(np.concatenate(batches)) == chosen.tolist()
    sizes = [len(batch) for batch in batches]
    assert len(sizes) == -(-rows // batch_size)
    assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1


def test_epochs_are_shuffled_by_their_generator_alone():
    rows = np.arange(20)
    one, same, other = (np.concatenate(list(batches_of_epoch(rows, 5, np.random.default_rng(s)))) for s in (1, 1, 2))
    assert one.tolist() == same.tolist()
    assert one.tolist() != other.tolist() and one.tolist() != rows.tolist()


def test_the_share_of_hidden_tokens_is_the_same_in_each_asv_and_never_below_one():
    lengths = np.array([60, 120, 5, 1, 63])
    hidden = masked_tokens(lengths, 6, 0.3, np.random.default_rng(1))
    assert hidden.dtype == torch.bool and hidden.shape == (5, 20)
    # 10, 20, 1, 1 and 11 tokens
    assert hidden.sum(1).tolist() == [3, 6, 1, 1, 3]


def test_padding_is_never_hidden_and_every_token_may_be():
    lengths = torch.tensor([7, 12, 24])
    generator = np.random.default_rng(2)
    ever = torch.stack([masked_tokens(lengths, 4, 0.25, generator) for _ in range(200)]).any(0)
    assert ever.sum(1).tolist() == [2, 3, 6]
    assert ever[0].tolist() == [True, True, False, False, False, False]


def test_all_tokens_can_be_hidden():
    assert masked_tokens([3, 2], 1, 1.0, np.random.default_rng(1)).tolist() == [[True, True, True], [True, True, False]]
