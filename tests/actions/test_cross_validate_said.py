"""What a cross-validation says of its folds, of extra targets and of weights."""

import numpy as np
import pandas as pd
import pytest
import qiime2
from q2_types.feature_table import BIOMV210Format

from q2_aam.actions import cross_validate_steps as steps

from .test_cross_validate import context, folds, ids_of, run  # noqa: F401


def test_each_fold_says_which_it_is_and_its_seed(run, context, small, capsys):  # noqa: F811
    run(repeats=2)
    training, testing = context.of('_filter_samples')[::2], context.of('_filter_samples')[1::2]
    seeds = [call.random_seed for call in context.of('fit_regressor')]
    names = [f'Repeat {repeat} of 2, fold {fold} of 3' for repeat in (1, 2) for fold in (1, 2, 3)]
    said = [
        f'{name} (seed {seed}): learns from {len(ids_of(one))} samples, then predicts {len(ids_of(other))} others.'
        for name, seed, one, other in zip(names, seeds, training, testing)
    ]
    # the step says it, so that it stands before what the fit of the same fold says wherever steps run
    assert [call.said for call in training] == said and not any(hasattr(call, 'said') for call in testing)
    steps._filter_samples(small.table.view(BIOMV210Format), small.metadata, said[0])
    assert capsys.readouterr().out == f'{said[0]}\n'
    context.calls.clear()
    run()
    assert context.of('_filter_samples')[0].said.startswith('Fold 1 of 3 (seed ')


def test_extra_targets_are_scored_beside_a_guess_and_a_forest(folds, capsys):  # noqa: F811
    extra = pd.DataFrame({'size': [10.0, 20, 30, np.nan], 'unlearned': 1.0}, index=list('abcd'))
    for details, baselines in zip(folds.details, folds.baselines):
        # off by 1 in each fold and, of the forest, by 3
        details['extra_size'] = extra['size'].fillna(40.0)[details.index] + 1
        baselines['random_forest_extra_size'] = extra['size'][details.index] + 3
    given = qiime2.Metadata(extra.rename_axis('id'))
    _, details, metrics = steps._collate_numbers(
        folds.details, folds.true, 2, 1, None, folds.baselines, folds.groups, extra_targets=given
    )
    assert list(details)[-3:] == ['reads_used', 'extra_size', 'true_extra_size']
    assert details['extra_size'].tolist() == [11, 21, 31, 41] and details['true_extra_size'].tolist()[:3] == [
        10,
        20,
        30,
    ]
    rows = metrics[metrics['note'] == 'size']
    found = rows.set_index(['method', 'against', 'metric'])['value']
    assert found['AAM', '', 'extra_mae'] == 1 and found['random_forest', '', 'extra_mae'] == 3
    assert found['AAM', '', 'extra_r2'] == pytest.approx(1 - 3 / 200) and found['AAM', '', 'extra_r'] == pytest.approx(
        1
    )
    # folds ab and c: 30 for a and b, 15 for c; folds ca and b: 20 for c and a, 20 for b
    assert found['median', '', 'extra_mae'] == pytest.approx(((20 + 10 + 15) / 3 + (10 + 10 + 0) / 3) / 2)
    assert found['AAM', 'random_forest', 'extra_mae_difference'] == -2
    assert rows['samples'].eq(3).all() and rows['repeat'].eq('all').all()
    # those of the target are as they were
    without = steps._collate_numbers(
        folds.details, folds.true, 2, 1, None, [one[['part', 'prediction', 'ridge']] for one in folds.baselines],
        folds.groups,
    )[-1]  # fmt: skip
    pd.testing.assert_frame_equal(metrics[metrics['note'] != 'size'].reset_index(drop=True), without)
    assert (
        "Extra target 'size', out of fold: mean absolute error 1 (R2 0.98, r 1.00); a random forest 3, guessing the "
        'median 10.8.'
    ) in capsys.readouterr().out.splitlines()
    artifact = qiime2.Artifact.import_data('AAMMetrics', metrics)
    assert 'extra_mae' in set(artifact.view(pd.DataFrame)['metric'])


def test_the_metrics_say_with_which_weights_baselines_learned(folds, capsys):  # noqa: F811
    *_, metrics = steps._collate_numbers(folds.details, folds.true, 2, 1, weighted='With weights.')
    assert metrics[metrics['metric'] == 'weights']['note'].tolist() == ['With weights.']
    assert 'With weights.' in capsys.readouterr().out.splitlines()


def test_extra_targets_of_classes_are_scored_too():
    true = pd.Series(['x', 'y', 'y', 'x'], pd.Index(list('abcd'), name='id'), name='stage')
    extra = pd.DataFrame({'size': [1.0, 2, 3, 4]}, true.index)
    details, baselines = [], []
    for names in ('ab', 'cd'):
        index = pd.Index(list(names), name='id')
        more = {'part': 'new', 'prediction': 'y', 'true': None, 'probability_x': 0.4, 'probability_y': 0.6}
        details.append(pd.DataFrame({**more, 'extra_size': extra['size'][index] + 0.5}, index))
        more = {'part': 'new', 'prediction': np.nan, 'majority|x': 0.5, 'majority|y': 0.5}
        baselines.append(pd.DataFrame({**more, 'random_forest_extra_size': extra['size'][index] - 1}, index))
    *_, frame, metrics = steps._collate_classes(
        details, qiime2.CategoricalMetadataColumn(true), 2, 1, None, baselines, extra_targets=qiime2.Metadata(extra)
    )
    assert frame['true_extra_size'].tolist() == [1, 2, 3, 4] and frame['extra_size'].tolist() == [1.5, 2.5, 3.5, 4.5]
    found = metrics[metrics['metric'] == 'extra_mae'].set_index('method')['value']
    assert found.to_dict() == {'AAM': 0.5, 'random_forest': 1.0, 'median': 2.0}
    assert set(metrics['method']) == {'AAM', 'majority', 'random_forest', 'median'}
