"""The objective of masked nucleotides: what is masked, what it is compared with, and how it is scored."""

import types

import numpy as np
import pytest
import torch

from q2_aam.data.augmentation import vary_sequences
from q2_aam.data.batches import Batch, Budget, draw_samples
from q2_aam.data.splits import VALIDATION
from q2_aam.objectives import MaskedNucleotides
from q2_aam.runtime.encode import StudyReader

PER_TOKEN = 6


def budget(max_floats=2**30):
    return Budget(max_floats, PER_TOKEN, 100, 100, 1, 1)


def labelled(objective, study, rows=(0, 1, 2, 3), max_floats=2**30, seed=1, heads=('nucleotides',)):
    """Draw samples, mask some of their ASVs, and return the batch and what was drawn."""
    drawn = draw_samples(study, np.array(rows), sequences=True)
    batch = Batch(heads)
    objective.label(batch, drawn, budget(max_floats), np.random.default_rng(seed))
    return batch, drawn


def masked_of(chunk):
    """Return the codes [M, P] of the masked tokens of a chunk."""
    codes = chunk.codes.numpy()
    padded = np.pad(codes, ((0, 0), (0, -codes.shape[1] % PER_TOKEN)))
    return padded.reshape(len(padded), -1, PER_TOKEN)[chunk.masked.numpy()]


@pytest.mark.parametrize('max_floats', [2**30, 2000])
def test_labels_are_the_nucleotides_of_the_masked_tokens_however_the_batch_is_cut(study_context, max_floats):
    context = study_context(mask_ratio=0.3)
    batch, _ = labelled(MaskedNucleotides.align(context), context.study, max_floats=max_floats)
    assert (len(batch.masked) > 1) == (max_floats == 2000)
    codes = np.concatenate([masked_of(chunk) for chunk in batch.masked])
    assert batch.labels['nucleotides'].tolist() == codes.tolist()
    assert batch.labels['nucleotides'].dtype == torch.int64


def test_of_sequences_that_are_varied_what_is_read_is_masked(study_context):
    context = study_context(mask_ratio=0.5, masked_asv_ratio=1.0, max_shift=5, max_trim=20, nucleotide_noise=0.1)
    drawn = draw_samples(context.study, np.arange(4), sequences=True)
    varied = vary_sequences(drawn, context.config.training, np.random.default_rng(3))
    batch = Batch(('nucleotides',))
    MaskedNucleotides.align(context).label(batch, varied, budget(), np.random.default_rng(1))
    (chunk,) = batch.masked
    assert batch.labels['nucleotides'].tolist() == masked_of(chunk).tolist()
    assert np.array_equal(chunk.codes.numpy(), varied.codes[:, : varied.lengths.max()])
    assert not np.array_equal(varied.lengths, drawn.lengths)
    assert chunk.tokens.tolist() == (-(-varied.lengths // PER_TOKEN)).tolist()


@pytest.mark.parametrize(('ratio', 'expected'), [(1.0, 1.0), (0.5, 0.5), (0.001, None)])
def test_as_many_asvs_are_masked_as_are_asked_for_and_at_least_one(study_context, ratio, expected):
    context = study_context(masked_asv_ratio=ratio)
    batch, drawn = labelled(MaskedNucleotides.align(context), context.study)
    distinct = len(drawn.distinct)
    assert sum(len(chunk.codes) for chunk in batch.masked) == (1 if expected is None else round(expected * distinct))
    # each of them once
    rows = {row.tobytes() for chunk in batch.masked for row in np.pad(chunk.codes.numpy(), ((0, 0), (0, 60)))[:, :60]}
    assert len(rows) == sum(len(chunk.codes) for chunk in batch.masked)


@pytest.mark.parametrize('ratio', [0.01, 0.5, 0.9])
def test_as_many_tokens_of_each_asv_are_masked_as_are_asked_for_and_at_least_one(study_context, ratio):
    context = study_context(mask_ratio=ratio, masked_asv_ratio=1.0)
    batch, _ = labelled(MaskedNucleotides.align(context), context.study)
    (chunk,) = batch.masked
    tokens = chunk.tokens.numpy()
    assert chunk.masked.sum(axis=1).tolist() == [max(1, round(ratio * int(number))) for number in tokens]
    # only where a sequence has nucleotides
    assert not (chunk.masked.numpy() & (np.arange(chunk.masked.shape[1]) >= tokens[:, None])).any()


def test_what_other_objectives_read_is_left_as_it_was(study_context):
    context = study_context()
    drawn = draw_samples(context.study, np.arange(4), sequences=True)
    codes = drawn.codes.copy()
    sequences = ['a chunk of sequences']
    batch = Batch(('nucleotides',), sequences=sequences, labels={'distances': 'labels'})
    MaskedNucleotides.align(context).label(batch, drawn, budget(), np.random.default_rng(1))
    assert np.array_equal(drawn.codes, codes) and batch.sequences is sequences
    assert batch.labels['distances'] == 'labels' and batch.masked


def test_chance_follows_from_the_generator(study_context):
    context = study_context()
    one, same, other = (
        labelled(MaskedNucleotides.align(context), context.study, seed=seed)[0].labels['nucleotides'].tolist()
        for seed in (1, 1, 2)
    )
    assert one == same != other


def test_the_loss_is_1_for_guessing_and_0_for_knowing(study_context):
    context = study_context()
    objective = MaskedNucleotides.align(context)
    batch, _ = labelled(objective, context.study)
    codes = batch.labels['nucleotides']
    known = torch.nn.functional.one_hot((codes - 1).clamp(0, 3), 4).float() * 100
    for logits, loss in ((torch.zeros(*codes.shape, 4), 1), (known, 0)):
        value, metrics = objective.loss(types.SimpleNamespace(heads={'nucleotides': logits}), batch)
        assert value.item() == pytest.approx(loss, abs=1e-6)
        assert metrics['nucleotide_loss'] == pytest.approx(loss, abs=1e-6)
    assert metrics['nucleotide_accuracy'] == 1


def test_validation_has_the_same_masks_in_every_epoch_and_no_gradient(study_context, network_of):
    context = study_context()
    objective, reader = MaskedNucleotides.align(context), StudyReader(context.study)
    network = network_of('nucleotides', objective.head)
    one, two = objective.metrics(network, reader), objective.metrics(network, reader)
    assert one == two and set(one) == {'nucleotide_loss', 'nucleotide_accuracy'} and 0.5 < one['nucleotide_loss'] < 2
    assert list(objective.points(network, reader)) == []
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_batch_of_validation_samples_is_scored_and_none_where_there_are_none(study_context):
    assert MaskedNucleotides.align(study_context()).validation_rows.tolist() == [3, 10, 17]
    assert MaskedNucleotides.align(study_context(batch_size=2)).validation_rows.tolist() == [3, 10]
    context = study_context(validation=())
    assert len(context.rows[VALIDATION]) == 0
    assert MaskedNucleotides.align(context).metrics(None, None) == {}


def test_without_a_weight_nothing_is_masked(study_context):
    assert MaskedNucleotides.align(study_context(nucleotide_weight=0.0)) is None
    assert MaskedNucleotides.align(study_context(nucleotide_weight=2.5)).weight == 2.5


def test_what_is_masked_is_described(study_context):
    objective = MaskedNucleotides.align(study_context(mask_ratio=0.15, masked_asv_ratio=0.5))
    assert objective.describe() == 'Masked nucleotides: 15% of the tokens of 50% of the ASVs of a batch.'
