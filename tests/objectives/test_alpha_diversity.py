"""The objective of alpha diversity: scaled on the training split, unknown values left out, measures by name."""

import dataclasses
import types

import numpy as np
import pandas as pd
import pytest
import torch

from q2_aam.errors import UserError
from q2_aam.objectives import AlphaDiversity
from q2_aam.runtime.encode import StudyReader


@pytest.fixture
def with_measures(study_context, tiny):
    """Align the objective to the tiny study: (measures by name, parameters) -> it and its context."""

    def make(measures=None, **options):
        richness = (tiny.counts > 0).sum(axis=1).astype(float)
        reads = tiny.counts.sum(axis=1).iloc[4:]
        measures = {'richness': richness, 'reads': reads} if measures is None else measures
        context = study_context(**options)
        inputs = dataclasses.replace(context.inputs, alpha_diversity=pd.DataFrame(measures))
        context = dataclasses.replace(context, inputs=inputs)
        return AlphaDiversity.align(context), context

    return make


def test_measures_are_scaled_on_the_training_split(with_measures, tiny):
    objective, context = with_measures()
    assert objective.names == ['richness', 'reads'] and objective.head.outputs == 2
    batch = types.SimpleNamespace(labels={})
    objective.label(batch, types.SimpleNamespace(rows=context.rows['training']), None, None)
    labels = batch.labels['alpha_diversity'].numpy()
    assert np.nanmean(labels, axis=0) == pytest.approx([0, 0], abs=1e-6)
    assert np.nanstd(labels, axis=0) == pytest.approx([1, 1], rel=1e-5)
    assert np.isnan(labels[:, 1]).sum() == 3 and not np.isnan(labels[:, 0]).any()


def test_what_is_unknown_costs_nothing_and_has_no_gradient(with_measures):
    objective, _ = with_measures()
    batch = types.SimpleNamespace(labels={'alpha_diversity': torch.tensor([[1.0, float('nan')], [0.0, 2.0]])})
    outputs = torch.zeros(2, 2, requires_grad=True)
    loss, metrics = objective.loss(types.SimpleNamespace(heads={'alpha_diversity': outputs}), batch)
    assert loss.item() == pytest.approx(5 / 3) == metrics['alpha_diversity_loss']
    loss.backward()
    assert outputs.grad[0, 1] == 0 and outputs.grad[0, 0] != 0


def test_validation_samples_are_scored_in_units_of_each_measure(with_measures, network_of, tiny):
    objective, context = with_measures()
    network, reader = network_of('alpha_diversity', objective.head), StudyReader(context.study)
    points = {name: (predicted, true) for name, predicted, true in objective.points(network, reader)}
    # the first sample of the validation split has no reads in this measure
    assert [len(true) for _, true in points.values()] == [3, 2]
    assert list(points['richness'][1]) == (tiny.counts > 0).sum(axis=1).iloc[[3, 10, 17]].tolist()
    metrics = objective.metrics(network, reader)
    assert set(metrics) == {'alpha_diversity_loss', 'richness_r2', 'reads_r2'}
    assert with_measures(validation=())[0].metrics(None, None) == {}


def test_a_measure_that_says_nothing_is_refused(with_measures, tiny):
    same = pd.Series(2.0, tiny.counts.index)
    with pytest.raises(UserError) as error:
        with_measures({'faith_pd': same})
    assert str(error.value) == (
        "The alpha diversity 'faith_pd' has 1 value among the training samples of the table, and learning needs two or "
        'more that differ; give the alpha diversity of the samples of this table.'
    )
    with pytest.raises(UserError, match="^The alpha diversity 'faith_pd' has 0 values among"):
        with_measures({'faith_pd': same.rename(lambda name: f'other {name}')})


def test_without_a_weight_nothing_is_learned(with_measures, study_context):
    assert with_measures(alpha_diversity_weight=0.0)[0] is None
    assert AlphaDiversity.align(study_context()) is None
