"""Each labelled sample is predicted once per repeat, by a model trained without its label and its group."""

import errno
import io
import os
import pathlib
import sys
import tempfile
import types
import warnings

import h5py
import numpy as np
import pandas as pd
import pytest
import qiime2
from q2_types.distance_matrix import LSMatFormat
from q2_types.feature_table import BIOMV210Format

from q2_aam.actions import cross_validate as pipelines
from q2_aam.actions import cross_validate_steps as steps
from q2_aam.actions.cross_validate_baselines import _score_baselines
from q2_aam.config import (
    CrossValidateClassifierConfig,
    CrossValidateConfig,
    FitRegressorConfig,
    PredictClassesConfig,
    PredictConfig,
)
from q2_aam.data.labels import labels_with_reads
from q2_aam.errors import AAMWarning, MachineError, UserError
from q2_aam.runtime.history import HISTORY_COLUMNS
from q2_aam.runtime.pipeline_seed import forget_seed

QUICK = {'folds': 3, 'random_seed': 5, 'width': 16, 'threads': 1}


class Context:
    """A context whose actions only record what they are given; their results are opaque, as in parallel runs."""

    def __init__(self, outputs):
        self.calls, self.outputs = [], outputs

    def get_action(self, plugin, action):
        def act(*given, **more):
            self.calls.append(types.SimpleNamespace(plugin=plugin, name=action, given=given, **more))
            return tuple(f'{action} {len(self.calls)} {number}' for number in range(self.outputs.get(action, 1)))

        return act

    def of(self, name):
        return [call for call in self.calls if call.name == name]


@pytest.fixture
def context():
    return Context({'fit_regressor': 4, 'fit_classifier': 5, '_collate_numbers': 3})


@pytest.fixture
def run(small, context):
    def run(column='age', groups=True, **more):
        function = pipelines.cross_validate if column == 'age' else pipelines.cross_validate_classifier
        return function(
            context,
            table=small.table,
            metadata=small.metadata.get_column(column),
            groups=small.metadata.get_column('subject') if groups else None,
            **(QUICK | more),
        )

    return run


def ids_of(call):
    return set(call.metadata.ids)


def test_no_label_and_no_group_of_a_test_sample_reaches_the_fit(run, context, small):
    run(repeats=2)
    subjects = small.metadata.get_column('subject').to_series()
    fits, filtered = context.of('fit_regressor'), context.of('_filter_samples')
    assert len(fits) == 6 and len(filtered) == 12
    for number, call in enumerate(fits):
        training, test = map(ids_of, filtered[2 * number : 2 * number + 2])
        assert ids_of(call) == training
        assert training | test == set(small.metadata.ids) and not training & test
        assert not set(subjects[list(training)]) & set(subjects[list(test)])
        # the test split is the fold
        assert call.test_fraction == 0.0
    for repeat in (filtered[1:6:2], filtered[7::2]):
        assert sorted(name for call in repeat for name in ids_of(call)) == sorted(small.metadata.ids)
    assert all(call.metadata.column_count == 0 for call in filtered), 'what filters a table carries no labels'


def test_each_fold_is_predicted_by_its_own_model(run, context):
    run()
    numbers = {id(call): number + 1 for number, call in enumerate(context.calls)}
    for call, fitted, predicted in zip(
        context.of('_filter_samples')[1::2], context.of('fit_regressor'), context.of('_predict_fold')
    ):
        assert predicted.model == f'fit_regressor {numbers[id(fitted)]} 0'
        assert predicted.test_table == f'_filter_samples {numbers[id(call)]} 0'


def test_every_parameter_reaches_the_fit_and_seeds_differ(run, context):
    run(repeats=2, learning_rate=0.01, max_asvs_per_sample=7, precision='float32')
    fits = context.of('fit_regressor')
    for call in fits:
        # a forest beside the model is fitted only where there is a test split
        values = {opt.name: getattr(call, opt.name, opt.default) for opt in FitRegressorConfig.options()}
        assert not hasattr(call, 'random_forest')
        given = {'learning_rate': 0.01, 'max_asvs_per_sample': 7, 'precision': 'float32', 'width': 16, 'threads': 1}
        given |= {'test_fraction': 0.0, 'random_seed': call.random_seed}
        assert values == FitRegressorConfig.from_flat(given).to_flat()
    assert len({call.random_seed for call in fits}) == 6
    assert all(call.precision == 'float32' for call in context.of('_predict_fold'))


@pytest.mark.parametrize('config', [CrossValidateConfig, CrossValidateClassifierConfig])
def test_all_parameters_of_a_fit_but_those_of_the_test_split_are_there(config):
    of_fit = pipelines.NUMBERS.config if config is CrossValidateConfig else pipelines.CLASSES.config
    missing = {opt.name for opt in of_fit.options()} - {opt.name for opt in config.options()}
    # several machines do not take part: folds run side by side instead
    assert missing == {'test_fraction', 'random_forest', 'nodes', 'rendezvous'}
    # the others of predict are for new tables, and the coverage is for numbers only
    more = {opt.name for opt in PredictConfig.options()} - {opt.name for opt in config.options()}
    more_of_numbers = {'coverage'} if config is CrossValidateClassifierConfig else set()
    assert more == {'harmonize', 'abstain', 'prediction_passes'} | more_of_numbers


def test_the_same_seed_makes_the_same_folds_and_0_draws_one(run, context):
    for seed in (5, 5, 0, 0):
        run(random_seed=seed)
        # as the last step does
        forget_seed(context.of('_collate_numbers')[-1].random_seed)
    first, again, drawn, other = (context.of('_filter_samples')[start : start + 6] for start in range(0, 24, 6))
    assert list(map(ids_of, first)) == list(map(ids_of, again))
    assert list(map(ids_of, drawn)) != list(map(ids_of, other))
    seeds = [call.random_seed for call in context.of('_collate_numbers')]
    assert seeds[:2] == [5, 5] and 0 < seeds[2] != seeds[3] > 0


def test_what_was_interrupted_goes_on_with_the_seed_it_drew_unless_anything_differs(run, context, small):
    run(random_seed=0)
    run(random_seed=0)
    run(random_seed=0, max_memory_gb=1.0)
    run('stage', random_seed=0)
    run(random_seed=0, groups=False)
    run(random_seed=0, sequences=small.sequences)
    run(random_seed=0, distance_matrix=small.distances)
    run(random_seed=0, epochs=3)
    first, again, other_machine, *others = (call.random_seed for call in context.calls if 'collate' in call.name)
    assert first == again == other_machine
    assert len({first, *others}) == 6


def test_warnings_of_the_pipeline_and_histories_of_the_fits_go_to_the_last_step(run, context, monkeypatch):
    def align(*given):
        warnings.warn('Ignored: 2 samples\nwithout reads.', AAMWarning)
        return labels_with_reads(*given)

    monkeypatch.setattr(pipelines, 'labels_with_reads', align)
    with pytest.warns(AAMWarning):
        run()
    run(repeats=1, baselines=False, groups=False)
    collated = context.of('_collate_numbers')
    assert collated[0].warned == ['Ignored: 2 samples without reads.']
    # the last of the outputs of a fit
    assert [name.split()[::2] for name in collated[0].histories] == [['fit_regressor', '3']] * 3


def test_baselines_learn_from_the_same_samples_and_can_be_left_out(run, context):
    run()
    scored, fits = context.of('_score_baselines'), context.of('fit_regressor')
    assert [ids_of(call) for call in scored] == [ids_of(call) for call in fits]
    assert [call.training_table for call in scored] == [call.table for call in fits]
    assert [call.test_table for call in scored] == [call.test_table for call in context.of('_predict_fold')]
    (collate,) = context.of('_collate_numbers')
    assert len(collate.baselines) == len(collate.fold_details) == len(collate.histories) == 3
    run(baselines=False)
    assert len(context.of('_score_baselines')) == 3
    assert context.of('_collate_numbers')[1].baselines is None


def test_every_group_is_a_fold_where_one_is_left_out(run, context):
    run(leave_one_group_out=True)
    assert len(context.of('fit_regressor')) == 10
    assert context.of('_collate_numbers')[0].folds == 10


def test_results_are_those_of_the_last_step(run):
    assert [name.split()[0] for name in run()] == ['_collate_numbers'] * 3


def test_classes_take_the_classifier(run, context):
    run('stage')
    fits, predicted = context.of('fit_classifier'), context.of('_predict_fold')
    assert len(fits) == len(predicted) == 3
    assert all(isinstance(call.metadata, qiime2.CategoricalMetadataColumn) for call in fits)
    assert all(name.startswith('_predict_fold') for name in context.of('_collate_classes')[0].fold_details)
    assert not context.of('fit_regressor')


def test_too_many_folds_are_refused_before_anything_is_fitted(run, context):
    with pytest.raises(UserError, match='^Cross-validation in 11 folds needs at least 11 groups'):
        run(folds=11)
    assert context.calls == []


@pytest.fixture
def folds():
    """Details and baselines of two repeats of two folds of four samples in two groups, and their metadata."""
    true = pd.Series([1.0, 2, 3, 4], pd.Index(['a', 'b', 'c', 'd'], name='id'), name='age')
    details, baselines = [], []
    for shift, names in ((0, 'ab'), (0, 'cd'), (1, 'ca'), (1, 'db')):
        index = pd.Index(list(names), name='id')
        more = {'part': 'new', 'prediction': true[index] + shift, 'true': np.nan, 'reads_used': 10.0}
        details.append(pd.DataFrame(more, index))
        baselines.append(pd.DataFrame({'part': 'new', 'prediction': np.nan, 'ridge': true[index] + 2}, index))
    groups = qiime2.NumericMetadataColumn(pd.Series([1.0, 1, 2, 2], true.index, name='site'))
    return types.SimpleNamespace(
        true=qiime2.NumericMetadataColumn(true), details=details, baselines=baselines, groups=groups
    )


def test_numbers_are_collated_to_means_with_the_details_of_the_models(folds, capsys):
    predictions, details, metrics = steps._collate_numbers(
        folds.details, folds.true, 2, 1, None, folds.baselines, folds.groups, pretrained=True
    )
    assert predictions.to_dict() == {'a': 1.5, 'b': 2.5, 'c': 3.5, 'd': 4.5} and predictions.name == 'age'
    assert list(details) == ['part', 'prediction', 'true', 'fold', 'prediction_sd', 'ridge', 'reads_used']
    assert details.loc['c'].tolist() == ['test', 3.5, 3.0, 2, pytest.approx(0.5**0.5), 5.0, 10.0]
    difference = metrics[metrics['metric'] == 'mae_difference'].iloc[0]
    assert (difference['value'], difference['against'], difference['samples']) == (-1.5, 'ridge', 4)
    printed = capsys.readouterr().out.splitlines()
    assert printed[2].startswith('| AAM | 0.5 +- 0.71 |')
    assert printed[-1] == metrics.iloc[0]['note']
    assert printed[-1].startswith("Best baseline for 'age': ridge. Compared with ridge, AAM is better by 1.5 in ")
    assert printed[-1].endswith('never their labels.')


def test_without_baselines_there_is_still_a_verdict(folds):
    *_, metrics = steps._collate_numbers(folds.details, folds.true, 2, 1)
    assert metrics['against'].eq('').all() and 'no baseline to compare with' in metrics.iloc[0]['note']


def test_warnings_are_rows_after_the_verdict_with_the_number_of_models_they_are_about(folds):
    history = pd.DataFrame([(0, 0, 'warning', 'Few groups.', 1.0), (0, 0, 'run', 'seed', 5.0)], columns=HISTORY_COLUMNS)
    histories = [history, history, history[1:], history.replace({'Few groups.': 'Few\treads.'})]
    *_, metrics = steps._collate_numbers(
        folds.details, folds.true, 2, 1, histories, folds.baselines, warned=['Ignored: 2 samples.']
    )
    assert metrics['metric'].tolist()[:5] == ['verdict', 'warning', 'warning', 'warning', 'mae_difference']
    warned = metrics[metrics['metric'] == 'warning']
    assert warned['note'].tolist() == ['Ignored: 2 samples.', 'Few groups.', 'Few\treads.']
    assert warned['value'].tolist() == [4, 2, 1] and warned['samples'].tolist() == [4, 4, 4]
    artifact = qiime2.Artifact.import_data('AAMMetrics', metrics)
    assert artifact.view(qiime2.Metadata).get_column('note').to_series().iloc[1] == 'Ignored: 2 samples.'
    without = steps._collate_numbers(folds.details, folds.true, 2, 1, histories[2:3], folds.baselines)[-1]
    pd.testing.assert_frame_equal(without, metrics[metrics['metric'] != 'warning'].reset_index(drop=True))


def test_warnings_of_predictions_and_baselines_are_rows_too_once_a_fold(folds):
    history = pd.DataFrame([(0, 0, 'warning', 'Few groups.', 1.0)], columns=HISTORY_COLUMNS)
    for frame in folds.details[:3]:
        frame['warning'] = 'Few reads.\nFew "groups"\tof 2.'
    # what several steps of a fold say is said of one fold
    folds.details[3]['warning'] = folds.baselines[3]['warning'] = 'Few groups.'
    predictions, details, metrics = steps._collate_numbers(
        folds.details, folds.true, 2, 1, [history] * 4, folds.baselines, warned=['Few reads.']
    )
    warned = metrics[metrics['metric'] == 'warning']
    assert warned['note'].tolist() == ['Few reads.', 'Few groups.', 'Few "groups"\tof 2.']
    assert warned['value'].tolist() == [4, 4, 3]
    assert 'warning' not in details and not any('warning' in name for name in metrics['method'])


def test_details_of_a_fold_keep_their_warnings_as_an_artifact(folds):
    folds.details[0]['warning'] = 'Few reads.\nFew "groups"\tof 2.'
    artifact = qiime2.Artifact.import_data('SampleData[AAMPredictionDetails]', folds.details[0])
    _, texts = steps._warnings_taken_off([artifact.view(pd.DataFrame)])
    assert texts == [['Few reads.', 'Few "groups"\tof 2.']]


def test_of_words_that_mean_missing_the_pipeline_alone_warns(folds):
    def text(samples, column='stage'):
        return (
            f"Metadata column '{column}' has classes that mean a missing value: 'NA' ({samples} samples); leave them."
        )

    history = pd.DataFrame([(0, 0, 'warning', text(3), 1.0)], columns=HISTORY_COLUMNS)
    other = pd.DataFrame([(0, 0, 'warning', text(9, 'site'), 1.0)], columns=HISTORY_COLUMNS)
    *_, metrics = steps._collate_numbers(
        folds.details, folds.true, 2, 1, [history, history, other, history], warned=[text(5)]
    )
    warned = metrics[metrics['metric'] == 'warning']
    assert warned['note'].tolist() == [text(5), text(9, 'site')] and warned['value'].tolist() == [4, 1]


def test_the_last_step_forgets_the_seed(folds, monkeypatch):
    forgotten = []
    monkeypatch.setattr(steps, 'forget_seed', forgotten.append)
    steps._collate_numbers(folds.details, folds.true, 2, 17)
    assert forgotten == [17]


def test_an_abstention_is_in_the_details_but_not_in_the_predictions(folds):
    for frame in (folds.details[0], folds.details[2]):
        frame.loc['a', 'prediction'] = np.nan
    predictions, details, metrics = steps._collate_numbers(folds.details, folds.true, 2, 1, baselines=folds.baselines)
    assert list(predictions.index) == ['b', 'c', 'd'] and np.isnan(details.loc['a', 'prediction'])
    assert metrics[metrics['metric'] == 'mae_difference'].iloc[0]['samples'] == 3


def test_classes_are_collated_to_the_most_probable_in_the_mean_over_repeats():
    true = pd.Series(['x', 'y', 'y'], pd.Index(['a', 'b', 'c'], name='id'), name='stage')
    details = []
    for names, share in (('ab', 0.9), ('c', 0.2), ('ac', 0.3), ('b', 0.4)):
        index = pd.Index(list(names), name='id')
        more = {'part': 'new', 'prediction': 'y', 'true': None, 'probability_x': share, 'probability_y': 1 - share}
        details.append(pd.DataFrame({**more, 'reads_used': 10.0}, index))
    predictions, probabilities, frame, metrics = steps._collate_classes(
        details, qiime2.CategoricalMetadataColumn(true), 2, 1
    )
    assert predictions.to_dict() == {'a': 'x', 'b': 'x', 'c': 'y'} and predictions.name == 'stage'
    np.testing.assert_allclose(probabilities.loc['a'], [0.6, 0.4])
    assert frame['true'].tolist() == ['x', 'y', 'y'] and frame['prediction'].tolist() == ['x', 'x', 'y']
    np.testing.assert_allclose(frame['probability_x'], [0.6, 0.65, 0.25])
    accuracy = metrics[(metrics['metric'] == 'accuracy') & (metrics['fold'] == 'all')]
    # first repeat: a right, b wrong, c right; second: a wrong, b right, c right
    assert accuracy['value'].tolist() == [pytest.approx(2 / 3)] * 3


def test_the_step_of_baselines_hands_over_paths_and_labels_of_training_samples(small, monkeypatch):
    table, matrix = small.table.view(BIOMV210Format), small.distances.view(LSMatFormat)
    details = _score_baselines(table, table, small.metadata.get_column('age'), matrix, 3, 1)
    assert list(details)[:4] == ['part', 'prediction', 'random_forest', 'extra_trees'] and list(details)[-1] == 'median'
    assert details['part'].eq('new').all() and details['prediction'].isna().all() and len(details) == 20
    details = _score_baselines(table, table, small.metadata.get_column('stage'), None, 3, 1)
    assert 'majority|young' in details and details.filter(like='|').notna().all(axis=None)


def test_the_step_of_baselines_gives_its_warnings_with_its_details(small, monkeypatch):
    def predict_fold(*given):
        warnings.warn('Few\nsamples.', AAMWarning)
        return pd.DataFrame({'ridge': [1.0, 2.0]}, index=['a', 'b'])

    monkeypatch.setattr('q2_aam.evaluation.baselines.predict_fold', predict_fold)
    table = small.table.view(BIOMV210Format)
    with pytest.warns(AAMWarning):
        details = _score_baselines(table, table, small.metadata.get_column('age'), None, 3, 1)
    assert list(details) == ['part', 'prediction', 'ridge', 'warning']
    assert details['warning'].tolist() == ['Few samples.'] * 2


@pytest.mark.parametrize('kind', ['regressor', 'classifier'])
def test_the_step_of_predictions_takes_either_model_and_gives_its_warnings_with_the_details(
    kind, small, recorded, monkeypatch
):
    call = types.SimpleNamespace(training=types.SimpleNamespace(freeze='none'))
    described = types.SimpleNamespace(kind=kind, call=call)
    monkeypatch.setattr('q2_aam.bundle.read_config', lambda folder: described)
    of_kind = sys.modules['q2_aam.inference.predict'], 'predict' if kind == 'regressor' else 'predict_classes'
    run, warns = getattr(*of_kind), []

    def warn(*given, **more):
        for text in warns:
            warnings.warn(text, AAMWarning)
        return run(more['table'], more['model'], more['config'], sequences=more['sequences'])

    monkeypatch.setattr(*of_kind, warn)
    table = small.table.view(BIOMV210Format)
    assert list(steps._predict_fold(test_table=table, model='a folder', threads=2)) == ['part', 'prediction']
    warns += ['Far samples.', 'Few\n reads.']
    with pytest.warns(AAMWarning):
        details = steps._predict_fold(test_table=table, model='a folder', threads=2)
    assert details['warning'].tolist() == ['Far samples.\nFew reads.'] * 2
    config = PredictConfig if kind == 'regressor' else PredictClassesConfig
    assert [call.name for call in recorded] == [of_kind[1]] * 2
    assert recorded[0].given == (str(table), 'a folder', config.from_flat({'threads': 2}))


@pytest.mark.parametrize('what', ['make', 'write'])
def test_a_full_disk_under_the_table_of_a_fold_is_one_sentence(what, small, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    table = small.table.view(BIOMV210Format)
    monkeypatch.setattr(*((tempfile, 'mkstemp') if what == 'make' else (pathlib.Path, 'write_bytes')), full)
    with pytest.raises(MachineError) as error:
        steps._filter_samples(table, small.metadata)
    assert str(error.value) == (
        f'The result cannot be written into {tempfile.gettempdir()} (No space left on device); free space on its disk, '
        'or set the environment variable TMPDIR to a folder on another disk.'
    )


def test_hdf5_does_not_write_to_the_disk_itself(small, monkeypatch):
    """On a full disk it ends the process."""
    opened, file = [], h5py.File
    monkeypatch.setattr(h5py, 'File', lambda name, mode: opened.append((name, mode)) or file(name, mode))
    steps._filter_samples(small.table.view(BIOMV210Format), small.metadata)
    assert [type(name) for name, mode in opened if mode == 'w'] == [io.BytesIO]


def test_steps_are_registered_under_names_that_newer_command_lines_hide(plugin):
    assert {'_predict_fold', '_score_baselines', '_collate_numbers', '_collate_classes'} < set(plugin.methods)
    assert set(plugin.pipelines) >= {'cross_validate', 'cross_validate_classifier'}
