"""Extra targets, scaling by category and weights of samples as users give them: through every action with them."""

import pandas as pd
import pytest
import qiime2
from qiime2.plugin import Categorical, Metadata, MetadataColumn, Numeric

from q2_aam.actions import cross_validate as pipelines
from q2_aam.actions import evaluate
from q2_aam.actions.cross_validate_baselines import with_column

from .test_cross_validate import Context

TYPES = {
    'extra_targets': Metadata,
    'sample_weights': MetadataColumn[Numeric],
    'scale_by': MetadataColumn[Categorical],
}


@pytest.mark.parametrize('name', ['fit_regressor', 'cross_validate', 'evaluate_regressor'])
def test_actions_that_learn_numbers_take_all_of_them(plugin, name):
    parameters = plugin.actions[name].signature.parameters
    assert {one: parameters[one].qiime_type for one in TYPES} == TYPES
    assert all(parameters[one].default is None for one in TYPES)


@pytest.mark.parametrize('name', ['fit_classifier', 'cross_validate_classifier', 'evaluate_classifier'])
def test_actions_that_learn_classes_scale_nothing(plugin, name):
    parameters = plugin.actions[name].signature.parameters
    assert 'scale_by' not in parameters and {'extra_targets', 'sample_weights'} <= set(parameters)


def test_predictions_take_what_the_target_was_scaled_by_alone(plugin):
    assert set(TYPES) & set(plugin.actions['predict'].signature.parameters) == {'scale_by'}
    assert not set(TYPES) & set(plugin.actions['predict_classes'].signature.parameters)


def test_metadata_become_tables_and_columns(plugin, small, recorded):
    from q2_aam.actions import fit, predict

    metadata = small.metadata
    age, stage = metadata.get_column('age'), metadata.get_column('stage')
    fit.fit_regressor(table='t', metadata=age, extra_targets=metadata, scale_by=stage, sample_weights=age)
    fit.fit_classifier(table='t', metadata=stage, extra_targets=metadata, sample_weights=age)
    predict.predict(table='t', regressor='r', scale_by=stage)
    for call in recorded[:2]:
        pd.testing.assert_frame_equal(call.extra_targets, metadata.to_dataframe())
        pd.testing.assert_series_equal(call.sample_weights, age.to_series())
    for call in (recorded[0], recorded[2]):
        pd.testing.assert_series_equal(call.scale_by, stage.to_series())


def test_folds_and_baselines_are_told_what_the_target_is_scaled_by(small):
    metadata, seen = small.metadata, []
    age, stage = metadata.get_column('age'), metadata.get_column('stage')
    context = Context({'fit_regressor': 4, '_collate_numbers': 3})
    more = {'extra_targets': metadata, 'scale_by': stage, 'sample_weights': age}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipelines, 'seed_of_pipeline', lambda name, config, hashes, seed: seen.append(hashes) or 5)
        pipelines.cross_validate(context, table=small.table, metadata=age, folds=2, random_seed=5, **more)
        other = Context({'fit_regressor': 4, '_collate_numbers': 3})
        pipelines.cross_validate(other, table=small.table, metadata=age, folds=2, random_seed=5)
    for call in context.of('fit_regressor'):
        assert {name: getattr(call, name) for name in more} == more
    assert all(call.scale_by is stage for call in context.of('_predict_fold'))
    assert [list(call.covariates.columns) for call in context.of('_score_baselines')] == [['stage']] * 2
    assert all(call.covariates is None for call in other.of('_score_baselines'))
    assert set(seen[0]) - set(seen[1]) == set(more)


def test_a_category_that_is_a_covariate_already_is_told_once(small):
    metadata = small.metadata
    column = metadata.get_column('stage').to_series()
    assert with_column(metadata, column) is metadata
    both = with_column(qiime2.Metadata(metadata.to_dataframe()[['age']]), column)
    assert list(both.columns) == ['age', 'stage']


def test_evaluations_hand_them_on():
    given = []

    class Recording:
        def get_action(self, plugin, name):
            return lambda **more: given.append((name, more)) or (name,) * (1 if name == 'evaluate' else 4)

    more = {'extra_targets': 'e', 'sample_weights': 'w'}
    evaluate.evaluate_regressor(Recording(), table='t', metadata='m', scale_by='s', **more)
    evaluate.evaluate_classifier(Recording(), table='t', metadata='m', **more)
    crossed = [more for name, more in given if name.startswith('cross')]
    assert crossed[0]['scale_by'] == 's' and 'scale_by' not in crossed[1]
    assert all({name: one[name] for name in more} == more for one in crossed)
