"""The steps of the pipelines in cross_validate: actions that are not for users, hidden by a leading underscore."""

import pandas as pd
import qiime2
from q2_sample_classifier import ClassifierPredictions, Probabilities, RegressorPredictions
from q2_types.distance_matrix import DistanceMatrix, LSMatFormat
from q2_types.feature_table import BIOMV210Format
from q2_types.sample_data import SampleData
from qiime2.plugin import Bool, Categorical, Int, List, MetadataColumn, Numeric, Range

from q2_aam.config import RuntimeConfig
from q2_aam.data.details import PROBABILITY
from q2_aam.data.splits import NEW, TEST
from q2_aam.evaluation.out_of_fold import gather_classes, gather_numbers, mean_probabilities, means_of
from q2_aam.evaluation.verdict import compare, table_of
from q2_aam.types import AAMMetrics, AAMPredictionDetails

from .fit import group_names
from .messages import print_when_command_ends, warnings_to_user
from .shared import TABLE, cite
from .signature import qiime_type

(THREADS,) = (opt for opt in RuntimeConfig.options() if opt.name == 'threads')
SEED = Int % Range(1, 2**31 - 1, inclusive_end=True)


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
        details = predict_fold(counts, target, new_counts, test_ids, random_seed, threads, distances)
    details.insert(0, 'part', NEW)
    # each method has a column of its own
    details.insert(1, 'prediction', float('nan'))
    return details


def _collate_numbers(
    details: pd.DataFrame,
    metadata: qiime2.NumericMetadataColumn,
    folds: int,
    random_seed: int,
    baselines: pd.DataFrame = None,
    groups: qiime2.MetadataColumn = None,
    pretrained: bool = False,
) -> (pd.Series, pd.DataFrame, pd.DataFrame):
    out_of_fold = gather_numbers(metadata.to_series(), _groups(groups), details, _of_methods(baselines), folds)
    metrics = _judge(out_of_fold, random_seed, pretrained)
    means = means_of(out_of_fold)
    frame = _details(details, means['prediction'], metadata, means.drop(columns='prediction'))
    return means['prediction'].dropna().rename(metadata.name), frame, metrics


def _collate_classes(
    details: pd.DataFrame,
    metadata: qiime2.CategoricalMetadataColumn,
    folds: int,
    random_seed: int,
    baselines: pd.DataFrame = None,
    groups: qiime2.MetadataColumn = None,
    pretrained: bool = False,
) -> (pd.Series, pd.DataFrame, pd.DataFrame, pd.DataFrame):
    ours = [
        one.filter(regex=f'^{PROBABILITY}').rename(columns=lambda name: name[len(PROBABILITY) :]) for one in details
    ]
    out_of_fold = gather_classes(metadata.to_series(), _groups(groups), ours, _of_methods(baselines), folds)
    metrics = _judge(out_of_fold, random_seed, pretrained)
    probabilities = mean_probabilities(out_of_fold).dropna()
    predictions = probabilities.idxmax(axis=1).rename(metadata.name)
    frame = _details(details, predictions, metadata, means_of(out_of_fold))
    return predictions, probabilities, frame, metrics


def _groups(column):
    return None if column is None else group_names(column)


def _of_methods(baselines):
    return [frame.drop(columns=['part', 'prediction']) for frame in baselines or ()]


def _judge(out_of_fold, seed, pretrained):
    """Return the metrics, and print them."""
    metrics, verdict = compare(out_of_fold, seed, pretrained)
    print(*table_of(metrics), verdict, sep='\n', flush=True)
    print_when_command_ends(f'{verdict}\n')
    return metrics


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
    """Register the three with the plugin object."""
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
        inputs={'details': List[SampleData[AAMPredictionDetails]], 'baselines': List[SampleData[AAMPredictionDetails]]},
        parameters={
            'metadata': MetadataColumn[kind],
            'groups': MetadataColumn[Numeric | Categorical],
            'folds': Int % Range(1, None),
            'random_seed': SEED,
            'pretrained': Bool,
        },
        outputs=[*outputs, ('details', SampleData[AAMPredictionDetails]), ('metrics', AAMMetrics)],
        input_descriptions={
            'details': 'Predictions of each fold, first repeat first.',
            'baselines': 'Predictions of the baselines for each fold.',
        },
        parameter_descriptions={
            'metadata': 'Target of all labelled samples.',
            'groups': 'Metadata column with the group of each sample.',
            'folds': 'Number of folds per repeat.',
            'random_seed': 'Seed of the bootstrap.',
            'pretrained': 'Whether the models started from an encoder.',
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
