"""The objective of taxonomy: which ASVs have a clade, what is learned of them, and what cannot be."""

import dataclasses
import types

import numpy as np
import pandas as pd
import pytest
import torch

from q2_aam.data.batches import draw_samples
from q2_aam.errors import UserError
from q2_aam.objectives import Taxonomy
from q2_aam.objectives.taxonomy import known_clade
from q2_aam.runtime.encode import StudyReader


@pytest.fixture
def with_taxa(study_context, tiny):
    """Align the objective to the tiny study: (genus of a feature by its number, parameters) -> it and its context."""

    def make(genus=lambda number: f'G{number // 8}', taxa=None, **options):
        if taxa is None:
            taxa = {name: f'k__B; p__P; c__C; o__O; f__F; g__{genus(i)}' for i, name in enumerate(tiny.sequences)}
        context = study_context(**options)
        context = dataclasses.replace(
            context, inputs=dataclasses.replace(context.inputs, taxonomy=pd.Series(taxa, name='Taxon'))
        )
        return Taxonomy.align(context), context

    return make


@pytest.mark.parametrize(
    ('taxon', 'clade'),
    [
        ('k__B; p__P; g__X', 'k__B; p__P; g__X'),
        ('k__B; p__P; g__X; s__y', 'k__B; p__P; g__X'),
        ('k__B; p__P; g__', ''),
        ('k__B; p__P', ''),
        ('k__B; p__P; g__uncultured bacterium', ''),
        ('k__B; p__P; g__Ambiguous_taxa', ''),
        ('Unassigned', ''),
    ],
)
def test_names_that_say_nothing_are_no_clade(taxon, clade):
    assert known_clade(taxon, 3) == clade


def test_asvs_have_their_clade_and_those_without_a_name_none(with_taxa, tiny):
    objective, context = with_taxa(lambda number: '' if number % 5 == 0 else f'G{number // 8}')
    assert len(objective.names) == objective.head.outputs == 4
    number = {name: i for i, name in enumerate(tiny.sequences)}
    for name, code in zip(context.study.feature_ids, objective.codes):
        expected = -1 if number[name] % 5 == 0 else number[name] // 8
        assert code == expected
    assert objective.describe() == 'Taxonomy: 4 clades at level 6 (e.g. G0), of 24 of 30 ASVs.'


def test_the_loss_is_that_of_guessing_and_counts_known_clades_alone(with_taxa):
    objective, context = with_taxa(lambda number: '' if number % 2 else f'G{number // 8}')
    drawn = draw_samples(context.study, np.arange(6))
    batch = types.SimpleNamespace(labels={})
    objective.label(batch, drawn, None, None)
    labels = batch.labels['taxonomy']
    assert labels.tolist() == objective.codes[drawn.distinct].tolist() and (labels < 0).any()
    logits = torch.zeros(len(labels), 4, requires_grad=True)
    loss, metrics = objective.loss(types.SimpleNamespace(heads={'taxonomy': logits}), batch)
    assert loss.item() == pytest.approx(1) == metrics['taxonomy_loss']
    loss.backward()
    assert (logits.grad[labels < 0] == 0).all() and (logits.grad[labels >= 0] != 0).all()
    right = torch.nn.functional.one_hot(labels.clamp_min(0), 4) * 50.0
    right[labels < 0] = torch.tensor([0.0, 0.0, 0.0, 99.0])
    loss, metrics = objective.loss(types.SimpleNamespace(heads={'taxonomy': right}), batch)
    assert loss.item() < 1e-6 and metrics['taxonomy_accuracy'] == 1


def test_validation_asvs_are_scored_by_the_network(with_taxa, network_of):
    objective, context = with_taxa()
    metrics = objective.metrics(network_of('taxonomy', objective.head), StudyReader(context.study))
    assert set(metrics) == {'taxonomy_loss', 'taxonomy_accuracy'} and 0.2 < metrics['taxonomy_loss'] < 3
    assert with_taxa(validation=())[0].metrics(None, None) == {}


def test_without_a_weight_or_a_taxonomy_nothing_is_learned(with_taxa, study_context):
    assert with_taxa(taxonomy_weight=0.0)[0] is None
    assert Taxonomy.align(study_context()) is None


def test_a_taxonomy_of_other_features_or_of_one_clade_is_refused(with_taxa):
    with pytest.raises(UserError) as error:
        with_taxa(taxa={'other': 'k__B'})
    assert str(error.value).startswith("The taxonomy names none of the 30 features of the table (e.g. 'feature")
    with pytest.raises(UserError) as error:
        with_taxa(taxonomy_level=5)
    assert str(error.value) == (
        'ASVs of the training samples are of 1 known clade at level 5 of the taxonomy, and learning needs two or more; '
        'choose another taxonomy_level.'
    )
