"""The actions of importance and attention hand over what they are given, through the framework."""

import types

import pandas as pd
import pytest
import qiime2
from qiime2.sdk import PluginManager

from q2_aam.actions.examples import sequences_factory, table_factory
from q2_aam.actions.examples_explain import taxonomy_factory
from q2_aam.types import AAMModelDirectoryFormat
from q2_aam.visualizers.importance_examples import importance


@pytest.fixture(scope='module')
def inputs(tiny_regressor):
    model = AAMModelDirectoryFormat(str(tiny_regressor.folder), mode='r')
    return types.SimpleNamespace(
        table=table_factory(),
        sequences=sequences_factory(),
        taxonomy=taxonomy_factory(),
        model=qiime2.Artifact.import_data('AAMRegressor', model),
    )


@pytest.fixture
def actions():
    return PluginManager().plugins['aam'].actions


def test_importance_is_given_as_magnitudes_and_as_details(actions, inputs, monkeypatch):
    calls = []

    def run(*given, **more):
        calls.append((given, more))
        return importance()

    monkeypatch.setattr('q2_aam.inference.explain.importance', run)
    magnitudes, details = actions['feature_importance'](
        inputs.table, inputs.model, inputs.sequences, inputs.taxonomy, feature_ids=['asv00', 'asv01'], max_asvs=7
    )
    ((_, _, config, _, taxa), more), *others = calls
    assert not others and config.importance.feature_ids == ('asv00', 'asv01') and config.importance.max_asvs == 7
    assert taxa['asv00'].endswith('g__Juvenilia') and more == {'covariates': None, 'scale_by': None}
    # that q2-sample-classifier sorts and sums: one column, none below 0, the largest first
    frame = magnitudes.view(pd.DataFrame)
    assert (
        list(frame) == ['importance'] and frame['importance'].is_monotonic_decreasing and frame['importance'].min() >= 0
    )
    read = details.view(qiime2.Metadata)
    assert read.columns['effect'].type == 'numeric' and list(read.ids) == list(importance().details.index)


def test_attention_is_a_visualizer_with_a_flat_signature(actions, inputs, monkeypatch):
    """Frameworks before rachis take the folder off its parameters, and must not ask for it again."""
    calls = []

    def run(*given, **more):
        calls.append((given, more))
        raise RuntimeError('seen')

    monkeypatch.setattr('q2_aam.inference.explain_samples.attention', run)
    folder = importance()
    details = actions['visualize_importance'].signature.inputs['importance_details'].view_type()
    folder.save(str(details))
    artifact = qiime2.Artifact.import_data('FeatureData[AAMImportanceDetails]', details)
    with pytest.raises(RuntimeError, match='seen'):
        actions['visualize_attention'](
            table=inputs.table, model=inputs.model, importance_details=artifact, sample_ids=['S03'], threads=1
        )
    (((_, _, config, sequences, taxa), more),) = calls
    assert (
        config.attention.sample_ids == ('S03',) and config.runtime.threads == 1 and sequences is None and taxa is None
    )
    assert list(more['importance'].index) == list(folder.details.index)
    assert 'output_dir' not in actions['visualize_attention'].signature.parameters
