"""Taxonomy and phylogeny of features without sequences, as users give them: through every action that reads such."""

import types

import numpy as np
import pandas as pd
import pytest
import qiime2

from q2_aam.actions import cross_validate as pipelines
from q2_aam.actions import evaluate
from q2_aam.actions.clades import CLADES
from tests.conftest import make_tiny

from .test_covariates import TINY
from .test_cross_validate import Context

TRAINING = (
    'pretrain', 'fit_regressor', 'fit_classifier', 'cross_validate', 'cross_validate_classifier', 'evaluate_regressor',
    'evaluate_classifier',
)  # fmt: skip
READING = ('predict', 'predict_classes', 'predict_distances', 'embed', '_predict_fold')
FORM = {name: value for name, value in TINY.items() if name != 'nucleotides_per_token'}


@pytest.fixture(scope='module')
def given():
    """The tiny study, its features named, as artifacts and metadata."""
    import biom

    tiny = make_tiny()
    names = [f'OTU{number}' for number in range(30)]
    taxa = pd.DataFrame(
        {'Taxon': [f'k__A; p__B; g__{number // 3}' for number in range(30)]}, pd.Index(names, name='Feature ID')
    )
    frame = pd.DataFrame({'age': tiny.target, 'subject': tiny.groups}).rename_axis('id')
    return types.SimpleNamespace(
        table=qiime2.Artifact.import_data(
            'FeatureTable[Frequency]', biom.Table(tiny.counts.to_numpy().T, names, list(tiny.counts.index))
        ),
        taxonomy=qiime2.Artifact.import_data('FeatureData[Taxonomy]', taxa),
        metadata=qiime2.Metadata(frame),
    )


@pytest.fixture
def columns(given):
    return {'metadata': given.metadata.get_column('age'), 'groups': given.metadata.get_column('subject')}


def test_every_action_that_reads_features_takes_what_they_share(plugin):
    for name in (*TRAINING, *READING):
        inputs = plugin.actions[name].signature.inputs
        for one, qiime_type in CLADES.items():
            assert inputs[one].qiime_type == qiime_type and inputs[one].default is None, name


def test_a_model_is_fitted_by_names_and_places_new_ones(plugin, given, columns, capsys):
    model, *_ = plugin.methods['fit_regressor'](
        table=given.table, taxonomy=given.taxonomy, random_forest=False, **columns, **FORM
    )
    call = {'table': given.table, 'regressor': model, 'threads': 1, 'device': 'cpu'}
    predictions, details = plugin.methods['predict'](taxonomy=given.taxonomy, **call)
    assert len(predictions.view(pd.Series)) == 24
    assert (details.view(pd.DataFrame)['share_of_reads_near'] == 1).all()
    # the network alone, so that what it reads shows
    again, _ = plugin.methods['predict'](**call)
    np.testing.assert_array_equal(again.view(pd.Series), predictions.view(pd.Series))


def test_every_step_of_a_cross_validation_gets_them_and_others_are_another_one(given, columns, monkeypatch):
    seen = []
    monkeypatch.setattr(pipelines, 'seed_of_pipeline', lambda name, config, hashes, seed: seen.append(hashes) or 5)
    for taxonomy in (given.taxonomy, None):
        context = Context({'fit_regressor': 4, '_collate_numbers': 3})
        pipelines.cross_validate(
            context, table=given.table, folds=3, random_seed=5, taxonomy=taxonomy, **columns
        )  # fmt: skip
        for name in ('fit_regressor', '_predict_fold'):
            assert [(call.taxonomy, call.phylogeny) for call in context.of(name)] == [(taxonomy, None)] * 3
    assert 'taxonomy' in seen[0] and 'taxonomy' not in seen[1]


def test_evaluations_hand_them_on():
    given = []

    class Recording:
        def get_action(self, plugin, name):
            return lambda **more: given.append((name, more)) or (name,) * (1 if name == 'evaluate' else 4)

    for pipeline in (evaluate.evaluate_regressor, evaluate.evaluate_classifier):
        pipeline(Recording(), table='t', metadata='m', taxonomy='x', phylogeny='y')
    crossed = [more for name, more in given if name.startswith('cross')]
    assert [(more['taxonomy'], more['phylogeny']) for more in crossed] == [('x', 'y')] * 2


@pytest.mark.slow
def test_a_whole_cross_validation_by_names(plugin, given, columns):
    *_, metrics = plugin.pipelines['cross_validate'](
        table=given.table, taxonomy=given.taxonomy, folds=2, **columns, **FORM
    )
    assert {'random_forest', 'AAM'} <= set(metrics.view(pd.DataFrame)['method'])
