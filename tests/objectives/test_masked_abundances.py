"""The objective of masked abundances."""

import dataclasses

import numpy as np
import pytest
import torch

from q2_aam.data.batches import draw_samples, make_batch
from q2_aam.data.masked_abundances import MASKED
from q2_aam.errors import UserError
from q2_aam.objectives import MaskedAbundances
from q2_aam.runtime.encode import StudyReader


@pytest.fixture
def objective_of(study_context):
    return lambda **options: MaskedAbundances.align(study_context(**{'abundance_weight': 0.5} | options))


@pytest.fixture
def labelled(study_context, objective_of, network_of):
    """Return a batch of eight samples with masked abundances, what was drawn, and the network."""
    objective, network = objective_of(masked_abundance_ratio=0.4), network_of('abundances', MaskedAbundances.head)
    drawn = draw_samples(study_context().study, np.arange(8), sequences=True)
    batch = make_batch(drawn, network.budget(), ('abundances',))
    objective.label(batch, drawn, network.budget(), np.random.default_rng(1))
    return objective, batch, drawn, network


def test_it_is_off_unless_it_has_a_weight(objective_of):
    assert objective_of(abundance_weight=0.0) is None
    assert objective_of().weight == 0.5


def test_a_quarter_of_the_samples_is_read_again_and_others_are_as_they_were(labelled):
    _, batch, drawn, _ = labelled
    (masked,), (whole,) = batch.masked_samples, batch.samples
    assert len(masked.richness) == 2
    assert (whole.abundances > 0).all() and torch.equal(whole.abundances, torch.from_numpy(drawn.abundances))
    labels = batch.labels['abundances']
    assert torch.equal(torch.isfinite(labels), masked.abundances == MASKED)


def test_a_label_is_the_logarithm_of_the_share_of_all_reads(study_context, labelled):
    objective, batch, _, _ = labelled
    study = study_context().study
    known = torch.isfinite(batch.labels['abundances'])
    shares = 10 ** (batch.labels['abundances'][known].double().numpy() * objective.scale + objective.center)
    present = np.asarray(study.abundances, dtype=np.float64)
    assert all(np.isclose(present, share, rtol=1e-4).any() for share in shares)


def test_the_network_sees_no_hidden_abundance(labelled):
    _, batch, _, network = labelled
    first = network(batch).heads['abundances']
    (chunk,) = batch.masked_samples
    masked = chunk.abundances < 0
    chunk.abundances = torch.where(masked, -7.0, chunk.abundances)
    assert torch.equal(network(batch).heads['abundances'], first)
    chunk.abundances = torch.where(masked, chunk.abundances, chunk.abundances.flip(0).abs())
    assert not torch.equal(network(batch).heads['abundances'], first)


def test_knowing_nothing_costs_about_one(labelled):
    objective, batch, _, _ = labelled
    outputs = type('Outputs', (), {'heads': {'abundances': torch.zeros_like(batch.labels['abundances'])}})
    loss, logged = objective.loss(outputs, batch)
    assert 0.3 < loss.item() < 3 and logged == {'abundance_loss': loss.item()}


def test_validation_hides_the_same_in_every_epoch(study_context, objective_of, network_of):
    objective, network = objective_of(), network_of('abundances', MaskedAbundances.head)
    reader = StudyReader(study_context().study)
    first, second = (objective.metrics(network, reader) for _ in range(2))
    assert first == second and np.isfinite(first['abundance_loss'])
    ((plot, predicted, true),) = objective.points(network, reader)
    assert plot == 'log10_share_of_reads' and len(predicted) == len(true) and (true < 0).all()
    empty = objective_of()
    empty.validation_rows = np.zeros(0, dtype=np.int64)
    assert empty.metrics(network, reader) == {} and list(empty.points(network, reader)) == []


def test_even_abundances_teach_nothing(study_context):
    context = study_context(abundance_weight=1.0)
    context.study.abundances[:] = 0.1
    with pytest.raises(UserError) as error:
        MaskedAbundances.align(context)
    assert str(error.value) == (
        'Parameter abundance_weight is above 0, but all ASVs of the training samples have the same share of reads, so '
        'that there is nothing to learn of abundances; set it to 0.'
    )


def test_validation_reads_no_more_of_named_features_than_training(study_context, objective_of):
    from q2_aam.config import ModelConfig
    from q2_aam.data.known_features import TOKENS
    from q2_aam.model.network import build_network

    study, objective = study_context().study, objective_of()
    tokens = np.zeros((len(study.feature_ids), TOKENS), dtype=np.int32)
    tokens[:, 0] = np.arange(len(tokens))
    # the first one is unknown
    study = dataclasses.replace(study, named=True, tokens=tokens)
    sizes = {'width': 16, 'memberships': 16, 'asv_layers': 1, 'sample_layers': 1, 'nucleotides_per_token': 1}
    form = ModelConfig(**sizes, max_sequence_length=TOKENS).resolved(TOKENS, 24)
    generator = torch.Generator().manual_seed(5)
    network = build_network(form, {'abundances': MaskedAbundances.head}, generator, tokens=len(tokens))
    _, batch = objective._validation(network.eval(), StudyReader(study))
    held = draw_samples(study, objective.validation_rows).asvs
    assert 0 in held and sum(len(chunk.abundances) for chunk in batch.masked_samples) == (held != 0).sum()
