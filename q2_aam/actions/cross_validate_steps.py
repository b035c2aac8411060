"""The steps of the pipelines in cross_validate: actions that are not for users, hidden by a leading underscore."""

import collections

import pandas as pd
import qiime2
from q2_sample_classifier import ClassifierPredictions, Probabilities, RegressorPredictions
from q2_types.distance_matrix import DistanceMatrix, LSMatFormat
from q2_types.feature_table import BIOMV210Format, FeatureTable, Frequency, RelativeFrequency
from q2_types.sample_data import SampleData
from qiime2.plugin import Bool, Categorical, Int, List, Metadata, MetadataColumn, Numeric, Range, Str, TypeMatch

from q2_aam.config import RuntimeConfig
from q2_aam.data.details import PROBABILITY
from q2_aam.data.filter_table import filter_samples
from q2_aam.data.splits import NEW, TEST
from q2_aam.evaluation.out_of_fold import OURS, gather_classes, gather_numbers, mean_probabilities, means_of
from q2_aam.evaluation.verdict import ALL, compare, table_of
from q2_aam.runtime.limits import available_cpus
from q2_aam.runtime.pipeline_seed import forget_seed
from q2_aam.types import AAMMetrics, AAMPredictionDetails, AAMTrainingHistory

from .fit import group_names
from .messages import print_when_command_ends, warnings_to_user
from .shared import TABLE, WARNING, cite
from .signature import qiime_type

(THREADS,) = (opt for opt in RuntimeConfig.options() if opt.name == 'threads')
SEED = Int % Range(1, 2**31 - 1, inclusive_end=True)


def _filter_samples(table: BIOMV210Format, metadata: qiime2.Metadata) -> BIOMV210Format:
    filtered = BIOMV210Format()
    filter_samples(str(table), str(filtered), metadata.ids)
    return filtered


def _score_baselines(
    training_table: BIOMV210Format,
    test_table: BIOMV210Format,
    metadata: qiime2.MetadataColumn,
    distance_matrix: LSMatFormat = None,
    random_seed: int = 1,
    threads: int = 0,
) -> pd.DataFrame:
    # the estimators take a second to load, and QIIME 2 loads this file to run any action of any plugin
    from q2_aam.data.counts import read_fold, read_fold_distances
    from q2_aam.evaluation.baselines import predict_fold

    # in order of ids: the same samples in another order must give the same forests
    target = metadata.to_series().sort_index()
    ids = list(target.index)
    with warnings_to_user():
        test_ids, counts, new_counts = read_fold(str(training_table), str(test_table), ids)
        distances = None if distance_matrix is None else read_fold_distances(str(distance_matrix), ids, test_ids)
        details = predict_fold(
            counts, target, new_counts, test_ids, random_seed, threads or available_cpus(), distances
        )
    details.insert(0, 'part', NEW)
    # each method has a column of its own
    details.insert(1, 'prediction', float('nan'))
    return details


def _collate_numbers(
    fold_details: pd.DataFrame,
    metadata: qiime2.NumericMetadataColumn,
    folds: int,
    random_seed: int,
    histories: pd.DataFrame = None,
    baselines: pd.DataFrame = None,
    groups: qiime2.MetadataColumn = None,
    pretrained: bool = False,
    warned: str = None,
) -> (pd.Series, pd.DataFrame, pd.DataFrame):
    out_of_fold = gather_numbers(metadata.to_series(), _groups(groups), fold_details, _of_methods(baselines), folds)
    metrics = _judge(out_of_fold, random_seed, pretrained, histories, warned)
    means = means_of(out_of_fold)
    frame = _details(fold_details, means['prediction'], metadata, means.drop(columns='prediction'))
    return means['prediction'].dropna().rename(metadata.name), frame, metrics


def _collate_classes(
    fold_details: pd.DataFrame,
    metadata: qiime2.CategoricalMetadataColumn,
    folds: int,
    random_seed: int,
    histories: pd.DataFrame = None,
    baselines: pd.DataFrame = None,
    groups: qiime2.MetadataColumn = None,
    pretrained: bool = False,
    warned: str = None,
) -> (pd.Series, pd.DataFrame, pd.DataFrame, pd.DataFrame):
    ours = [
        one.filter(regex=f'^{PROBABILITY}').rename(columns=lambda name: name[len(PROBABILITY) :])
        for one in fold_details
    ]
    out_of_fold = gather_classes(metadata.to_series(), _groups(groups), ours, _of_methods(baselines), folds)
    metrics = _judge(out_of_fold, random_seed, pretrained, histories, warned)
    probabilities = mean_probabilities(out_of_fold).dropna()
    predictions = probabilities.idxmax(axis=1).rename(metadata.name)
    frame = _details(fold_details, predictions, metadata, means_of(out_of_fold))
    return predictions, probabilities, frame, metrics


def _groups(column):
    return None if column is None else group_names(column)


def _of_methods(baselines):
    return [frame.drop(columns=['part', 'prediction']) for frame in baselines or ()]


def _judge(out_of_fold, seed, pretrained, histories, warned):
    """Return the metrics, with warnings after the verdict, and print them; the cross-validation is done with that."""
    metrics, verdict = compare(out_of_fold, seed, pretrained)
    print(*table_of(metrics), verdict, sep='\n', flush=True)
    print_when_command_ends(f'{verdict}\n')
    # the next call without a seed is another cross-validation, and does not take these folds
    with warnings_to_user():
        forget_seed(seed)
    first, *others = metrics.to_dict('records')
    warned = _warnings(len(set(out_of_fold.sample_ids)), histories, warned)
    return pd.DataFrame([first, *warned, *others], columns=metrics.columns)


def _warnings(samples, histories, warned):
    """Return a row of metrics for each warning of the pipeline and of the fits, with how many models it is about.

    Where the framework runs the folds in parallel, nobody reads what they print.
    """
    fits = [history.loc[history['part'] == WARNING, 'metric'] for history in histories or ()]
    counts = collections.Counter(text for texts in fits for text in texts)
    of_all = dict.fromkeys(warned or (), len(fits))
    return [
        {
            'method': OURS, 'against': '', 'repeat': ALL, 'fold': ALL, 'metric': WARNING, 'samples': samples,
            'value': float(models), 'note': text,
        }
        for text, models in {**of_all, **counts}.items()
    ]  # fmt: skip


def _details(details, predictions, metadata, more):
    """Return one row per sample: the details of the folds, averaged over repeats, and `more`."""
    every = pd.concat(details)
    by_sample = every.drop(columns=['part', 'prediction', 'true']).groupby(level=0)
    numbers = every.select_dtypes('number').columns
    averaged = by_sample.agg({name: 'mean' if name in numbers else 'first' for name in by_sample.obj.columns})
    frame = pd.DataFrame({'part': TEST, 'prediction': predictions.reindex(averaged.index)}, index=averaged.index)
    frame['true'] = metadata.to_series().reindex(averaged.index)
    return frame.join(more).join(averaged, rsuffix=' of the model').rename_axis('id')


def register_steps(plugin):
    """Register the four with the plugin object."""
    of_values = TypeMatch([Frequency, RelativeFrequency])
    plugin.methods.register_function(
        function=_filter_samples,
        inputs={'table': FeatureTable[of_values]},
        parameters={'metadata': Metadata},
        outputs=[('filtered_table', FeatureTable[of_values])],
        input_descriptions={'table': 'Feature table of all samples.'},
        parameter_descriptions={'metadata': 'The samples to keep, by their IDs.'},
        output_descriptions={'filtered_table': 'These samples, with those features that any of them has.'},
        name='Take the samples of one fold from a feature table',
        description='A step of cross-validate and cross-validate-classifier; use these instead. Keeps samples by ID, '
        'as filter-samples of q2-feature-table does, whatever characters the IDs have.',
        citations=cite('mcdonald2012'),
    )
    plugin.methods.register_function(
        function=_score_baselines,
        inputs={'training_table': TABLE, 'test_table': TABLE, 'distance_matrix': DistanceMatrix},
        parameters={
            'metadata': MetadataColumn[Numeric | Categorical],
            'random_seed': SEED,
            'threads': qiime_type(THREADS),
        },
        outputs=[('details', SampleData[AAMPredictionDetails])],
        input_descriptions={
            'training_table': 'Training samples.',
            'test_table': 'Test samples.',
            'distance_matrix': 'Distances between the samples of both tables.',
        },
        parameter_descriptions={
            'metadata': 'Target of the training samples.',
            'random_seed': 'Seed of the forests.',
            'threads': THREADS.help,
        },
        output_descriptions={'details': 'Predictions for the test samples, one column per method.'},
        name='Predict one fold with baselines',
        description='A step of cross-validate and cross-validate-classifier; use these instead. Fits the baselines on '
        'the training samples of one fold and predicts its test samples.',
        citations=cite('pedregosa2011'),
    )
    _register_collate(plugin, _collate_numbers, Numeric, [('predictions', SampleData[RegressorPredictions])])
    _register_collate(
        plugin, _collate_classes, Categorical,
        [('predictions', SampleData[ClassifierPredictions]), ('probabilities', SampleData[Probabilities])],
    )  # fmt: skip


def _register_collate(plugin, function, kind, outputs):
    plugin.methods.register_function(
        function=function,
        inputs={
            # not details: Galaxy's linter wants other names for inputs than for outputs
            'fold_details': List[SampleData[AAMPredictionDetails]],
            'histories': List[AAMTrainingHistory],
            'baselines': List[SampleData[AAMPredictionDetails]],
        },
        parameters={
            'metadata': MetadataColumn[kind],
            'groups': MetadataColumn[Numeric | Categorical],
            'folds': Int % Range(1, None),
            'random_seed': SEED,
            'pretrained': Bool,
            'warned': List[Str],
        },
        outputs=[*outputs, ('details', SampleData[AAMPredictionDetails]), ('metrics', AAMMetrics)],
        input_descriptions={
            'fold_details': 'Predictions of each fold, first repeat first.',
            'histories': 'Training history of each fold.',
            'baselines': 'Predictions of the baselines for each fold.',
        },
        parameter_descriptions={
            'metadata': 'Target of all labelled samples.',
            'groups': 'Metadata column with the group of each sample.',
            'folds': 'Number of folds per repeat.',
            'random_seed': 'Seed of the bootstrap.',
            'pretrained': 'Whether the models started from an encoder.',
            'warned': 'Warnings about the labelled samples.',
        },
        output_descriptions={
            **{name: 'Out-of-fold predictions, averaged over repeats.' for name, _ in outputs},
            'details': 'One row per sample.',
            'metrics': 'Metrics, differences and verdict.',
        },
        name='Collate the folds of a cross-validation',
        description='A step of cross-validate and cross-validate-classifier; use these instead. Collates the '
        'predictions of all folds, scores every method and compares them.',
        citations=cite('hesterberg2015'),
    )
