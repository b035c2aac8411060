"""The pipelines that end with a page hand everything to a cross-validation, and its outputs to the visualizer."""

import types

import pandas as pd
import pytest
import qiime2

from q2_aam.actions import evaluate as pipelines
from q2_aam.actions import examples

QUICK = {
    **examples.SMALL_MODEL, **examples.SHORT_TRAINING, 'folds': 2, 'baselines': False, 'abundance_ensemble': False,
}  # fmt: skip


class Context:
    """A context whose actions only record what they are given; their results are opaque, as in parallel runs."""

    def __init__(self):
        self.calls = []

    def get_action(self, plugin, action):
        def act(**given):
            self.calls.append(types.SimpleNamespace(plugin=plugin, name=action, given=given))
            count = {'cross_validate': 3, 'cross_validate_classifier': 4, 'evaluate': 1}[action]
            return tuple(f'{action} {number}' for number in range(count))

        return act


@pytest.fixture
def column(small):
    return small.metadata.get_column('age')


def test_the_page_is_made_of_what_the_cross_validation_gives(small, column):
    context = Context()
    results = pipelines.evaluate_regressor(
        context, small.table, column, groups='groups', sample_metadata='more', folds=4, coverage=0.8
    )
    crossed, page = context.calls
    assert (crossed.name, crossed.given['folds'], crossed.given['groups']) == ('cross_validate', 4, 'groups')
    assert crossed.given['metadata'] is column and crossed.given['table'] is small.table
    assert (page.name, page.given) == (
        'evaluate',
        {
            'predictions': 'cross_validate 0', 'details': 'cross_validate 1', 'metrics': 'cross_validate 2',
            'truth': column, 'groups': 'groups', 'metadata': 'more', 'coverage': 0.8,
        },
    )  # fmt: skip
    assert results == ('cross_validate 0', 'cross_validate 1', 'cross_validate 2', 'evaluate 0')


def test_probabilities_of_classes_are_on_the_page(small, column):
    context = Context()
    pipelines.evaluate_classifier(context, small.table, column, encoder='encoder')
    crossed, page = context.calls
    assert crossed.name == 'cross_validate_classifier' and crossed.given['encoder'] == 'encoder'
    assert page.given['probabilities'] == 'cross_validate_classifier 1' and 'coverage' not in page.given


def test_a_pipeline_takes_every_parameter_of_its_cross_validation(plugin):
    for name, of in (('evaluate_regressor', 'cross_validate'), ('evaluate_classifier', 'cross_validate_classifier')):
        ours, theirs = (plugin.pipelines[one].signature for one in (name, of))
        assert set(ours.parameters) - set(theirs.parameters) == {'sample_metadata'}
        assert ours.inputs == theirs.inputs
        assert list(ours.outputs) == [*theirs.outputs, 'evaluation']


def test_outputs_of_fit_and_predict_are_evaluated_as_they_are(plugin, small, tmp_path):
    column, groups = small.metadata.get_column('age'), small.metadata.get_column('subject')
    quick = {name: value for name, value in QUICK.items() if name not in ('folds', 'baselines')}
    model, predictions, details, history = plugin.methods['fit_regressor'](
        table=small.table, sequences=small.sequences, metadata=column, groups=groups, random_forest=False, **quick
    )
    (page,) = plugin.visualizers['evaluate'](
        predictions=predictions, details=details, truth=column, metadata=small.metadata, groups=groups
    )
    page.export_data(str(tmp_path / 'fit'))
    samples = pd.read_csv(tmp_path / 'fit' / 'tables' / 'samples.tsv', sep='\t', index_col='id')
    parts = details.view(pd.DataFrame)['part']
    assert set(samples.index) == set(parts.index[parts == 'test']) and len(samples)
    (summary,) = plugin.visualizers['summarize_training'](history=history, model=model)
    assert isinstance(summary, qiime2.Visualization)
    predicted, its_details = plugin.methods['predict'](
        table=small.table, sequences=small.sequences, regressor=model, threads=1, device='cpu'
    )
    (page,) = plugin.visualizers['evaluate'](predictions=predicted, details=its_details, truth=column)
    page.export_data(str(tmp_path / 'predict'))
    samples = pd.read_csv(tmp_path / 'predict' / 'tables' / 'samples.tsv', sep='\t', index_col='id')
    assert len(samples) == len(predicted.view(pd.Series))


def test_an_error_of_the_user_is_one_sentence(plugin, small):
    predictions = qiime2.Artifact.import_data(
        'SampleData[RegressorPredictions]', pd.Series([1.0, 2.0], pd.Index(['X', 'Y'], name='id'), name='age')
    )
    with pytest.raises(ValueError, match=r"^The predictions and the metadata column 'age' have no sample in common"):
        plugin.visualizers['evaluate'](predictions=predictions, truth=small.metadata.get_column('age'))
