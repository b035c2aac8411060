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
    weight = qiime2.Metadata(pd.DataFrame({'weight': 2.0 + age.to_series()}))
    more = {'extra_targets': weight, 'scale_by': stage, 'sample_weights': age}
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
    for call in [*context.of('_score_baselines'), *context.of('_collate_numbers')]:
        assert list(call.extra_targets.columns) == ['weight']
    for fit, call in zip(context.of('fit_regressor'), context.of('_score_baselines')):
        weights = call.sample_weights.to_series()
        ages = age.to_series().loc[list(fit.metadata.ids)]
        pd.testing.assert_series_equal(weights, ages / ages.mean(), check_names=False)
    assert all(call.sample_weights is call.extra_targets is None for call in other.of('_score_baselines'))
    (collate,), (without,) = context.of('_collate_numbers'), other.of('_collate_numbers')
    assert without.weighted is without.extra_targets is None
    assert collate.weighted == (
        'Random forest, extra trees and the linear baseline learn with the same weights as this model (sample_weights '
        "'age')."
    )


def test_extra_targets_of_weight_0_are_scored_by_nothing(small):
    age, context = small.metadata.get_column('age'), Context({'fit_regressor': 4, '_collate_numbers': 3})
    weight = qiime2.Metadata(pd.DataFrame({'weight': 2.0 + age.to_series()}))
    pipelines.cross_validate(
        context, table=small.table, metadata=age, folds=2, random_seed=5, extra_targets=weight, extra_target_weight=0.0
    )
    assert all(call.extra_targets is None for call in context.of('_score_baselines') + context.of('_collate_numbers'))


def test_baselines_learn_with_the_weights_of_the_fit(small):
    from q2_types.feature_table import BIOMV210Format

    from q2_aam.actions.cross_validate_baselines import _score_baselines

    table, age = small.table.view(BIOMV210Format), small.metadata.get_column('age')
    heavy = pd.Series(0.0, age.to_series().index, name='weight')
    heavy.iloc[:6] = 1.0
    plain = _score_baselines(table, table, age, None, 3, 1)
    weighted = _score_baselines(table, table, age, None, 3, 1, sample_weights=qiime2.NumericMetadataColumn(heavy))
    few = _score_baselines(table, table, qiime2.NumericMetadataColumn(age.to_series().iloc[:6]), None, 3, 1)
    for method in ('random_forest', 'extra_trees', 'ridge'):
        assert not weighted[method].equals(plain[method])
    assert weighted['median'].equals(plain['median']) and not few['median'].equals(plain['median'])


def test_extra_targets_are_predicted_by_forests_where_their_values_are_known(small):
    from q2_types.feature_table import BIOMV210Format

    from q2_aam.actions.cross_validate_baselines import _score_baselines

    table, age = small.table.view(BIOMV210Format), small.metadata.get_column('age')
    extra = pd.DataFrame({'same': age.to_series(), 'some': 3.0 + age.to_series(), 'none': 1.0})
    extra.iloc[::3, 1] = float('nan')
    details = _score_baselines(table, table, age, None, 3, 1, extra_targets=qiime2.Metadata(extra))
    assert [name for name in details if 'extra_' in name and name != 'extra_trees'] == [
        'random_forest_extra_same', 'random_forest_extra_some',
    ]  # fmt: skip
    assert details['random_forest_extra_same'].equals(details['random_forest'].rename('random_forest_extra_same'))
    assert (details['random_forest_extra_some'] > 3).all()


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
