"""Covariates as users give them: through fit, predict and every step of a cross-validation."""

import types

import numpy as np
import pandas as pd
import pytest
import qiime2
from qiime2.plugin import List, Metadata, Str

from q2_aam.actions import cross_validate as pipelines
from q2_aam.actions import cross_validate_steps as steps
from q2_aam.actions import evaluate
from q2_aam.actions.cross_validate_baselines import _score_baselines
from q2_aam.errors import UserError
from tests.facilities import make_facilities

from .test_cross_validate import Context

TAKING = (
    'fit_regressor', 'fit_classifier', 'predict', 'predict_classes', 'cross_validate', 'cross_validate_classifier',
    'evaluate_regressor', 'evaluate_classifier',
)  # fmt: skip
# What models are made as quickly as possible by.
TINY = {
    'width': 16, 'nucleotides_per_token': 6, 'asv_layers': 1, 'sample_layers': 1, 'attention_heads': 2,
    'memberships': 16, 'epochs': 1, 'abundance_ensemble': False, 'random_seed': 7, 'threads': 1, 'device': 'cpu',
}  # fmt: skip


@pytest.fixture(scope='module')
def given():
    """A study as artifacts and metadata: its table, sequences, target, groups and covariates."""
    import biom

    tiny, covariates = make_facilities(groups=16)
    table = biom.Table(tiny.counts.to_numpy().T, list(tiny.counts.columns), list(tiny.counts.index))
    frame = covariates.assign(age=tiny.target, subject=tiny.groups).rename_axis('id')
    sequences = pd.Series(tiny.sequences)
    import skbio

    return types.SimpleNamespace(
        table=qiime2.Artifact.import_data('FeatureTable[Frequency]', table),
        sequences=qiime2.Artifact.import_data(
            'FeatureData[Sequence]',
            pd.Series([skbio.DNA(text, metadata={'id': name}) for name, text in sequences.items()], sequences.index),
        ),
        metadata=qiime2.Metadata(frame),
        frame=frame,
    )


@pytest.fixture
def columns(given):
    return {'metadata': given.metadata.get_column('age'), 'groups': given.metadata.get_column('subject')}


def test_every_action_that_predicts_takes_covariates(plugin):
    for name in TAKING:
        parameters = plugin.actions[name].signature.parameters
        assert parameters['covariates'].qiime_type == Metadata and parameters['covariates'].default is None
        if name.startswith(('fit', 'cross')):
            assert parameters['covariate_columns'].qiime_type == List[Str]
    for name in ('pretrain', 'predict_distances', 'embed'):
        assert 'covariates' not in plugin.actions[name].signature.parameters


def test_fit_and_predict_get_covariates_as_a_table(plugin, small, recorded):
    from q2_aam.actions import fit, predict

    metadata = small.metadata
    fit.fit_regressor(table='t', metadata=metadata.get_column('age'), covariates=metadata, covariate_columns=['stage'])
    predict.predict(table='t', regressor='r', covariates=metadata)
    predict.predict(table='t', regressor='r')
    assert recorded[0].given[3].covariates.covariate_columns == ('stage',)
    for call in recorded[:2]:
        pd.testing.assert_frame_equal(call.covariates, metadata.to_dataframe())
    assert recorded[2].covariates is None


def test_a_model_is_fitted_and_asked_with_covariates(plugin, given, columns):
    model, *_ = plugin.methods['fit_regressor'](
        table=given.table, sequences=given.sequences, covariates=given.metadata, random_forest=False, **columns, **TINY
    )
    call = {'table': given.table, 'sequences': given.sequences, 'regressor': model, 'threads': 1, 'device': 'cpu'}
    predictions, details = plugin.methods['predict'](covariates=given.metadata, **call)
    assert len(predictions.view(pd.Series)) == 48 and (details.view(pd.DataFrame)['part'] == 'new').all()
    with pytest.raises(UserError, match=r"^The model was trained with 2 covariates \('facility', 'visit'\); give"):
        plugin.methods['predict'](**call)


@pytest.fixture
def crossed(given, columns):
    """Call a pipeline whose actions only record: (more arguments) -> the context."""

    def run(**more):
        context = Context({'fit_regressor': 4, '_collate_numbers': 3})
        pipelines.cross_validate(context, table=given.table, folds=3, random_seed=5, **columns, **more)
        return context

    return run


def test_every_step_of_a_cross_validation_gets_the_covariates(crossed, given):
    context = crossed(covariates=given.metadata)
    for name in ('fit_regressor', '_predict_fold', '_score_baselines'):
        assert len(context.of(name)) == 3
        for call in context.of(name):
            # neither the target nor the groups are among them
            assert list(call.covariates.columns) == ['facility', 'visit']
            assert set(call.covariates.ids) == set(given.metadata.ids)
    assert all(call.covariates is None for call in crossed().of('fit_regressor'))


def test_columns_of_a_cross_validation_are_chosen_by_name(crossed, given):
    context = crossed(covariates=given.metadata, covariate_columns=['visit'])
    assert [list(call.covariates.columns) for call in context.of('fit_regressor')] == [['visit']] * 3
    assert all(call.covariate_columns == ['visit'] for call in context.of('fit_regressor'))
    with pytest.raises(UserError, match="^The covariates have no column 'size', which covariate_columns names"):
        crossed(covariates=given.metadata, covariate_columns=['size'])


def test_other_covariates_are_another_cross_validation(crossed, given, monkeypatch):
    seen = []
    monkeypatch.setattr(pipelines, 'seed_of_pipeline', lambda name, config, hashes, seed: seen.append(hashes) or 5)
    changed = given.frame.assign(visit=1.0)
    for metadata in (given.metadata, qiime2.Metadata(changed), given.metadata, None):
        crossed(covariates=metadata)
    assert seen[0] == seen[2] != seen[1] and 'covariates' in seen[0] and 'covariates' not in seen[3]


def test_evaluations_hand_covariates_on():
    given = []

    class Recording:
        def get_action(self, plugin, name):
            return lambda **more: given.append((name, more)) or (name,) * (1 if name == 'evaluate' else 4)

    for pipeline in (evaluate.evaluate_regressor, evaluate.evaluate_classifier):
        pipeline(Recording(), table='t', metadata='m', covariates='c', covariate_columns=['site'])
    crossed = [more for name, more in given if name.startswith('cross')]
    assert [(more['covariates'], more['covariate_columns']) for more in crossed] == [('c', ['site'])] * 2


def test_baselines_get_the_same_covariates(given, plugin):
    ids = np.array(given.metadata.ids)
    tested = np.isin(given.frame['subject'], [f'group{number:02d}' for number in range(5)])
    tables = [
        steps._filter_samples(given.table.view(steps.BIOMV210Format), qiime2.Metadata(given.frame.loc[ids[part], []]))
        for part in (~tested, tested)
    ]
    target = qiime2.NumericMetadataColumn(given.frame.loc[ids[~tested], 'age'])
    covariates = qiime2.Metadata(given.frame[['facility', 'visit']])
    without, informed = (
        _score_baselines(*(str(table) for table in tables), target, covariates=one) for one in (None, covariates)
    )
    true = given.frame['age']
    for method in ('random_forest', 'extra_trees', 'ridge'):
        errors = [(frame[method] - true[frame.index]).abs().mean() for frame in (without, informed)]
        assert errors[1] < errors[0] / 2, method
    assert np.array_equal(without['median'], informed['median'])


@pytest.mark.slow
def test_a_whole_cross_validation_with_covariates(plugin, given, columns):
    *_, metrics = plugin.pipelines['cross_validate'](
        table=given.table, sequences=given.sequences, covariates=given.metadata, folds=2, **columns, **TINY
    )
    assert {'random_forest', 'extra_trees', 'ridge'} <= set(metrics.view(pd.DataFrame)['method'])
