"""What the pipelines of cross_validate are made of: actions that are not for users, hidden by a leading underscore."""

import pandas as pd
import qiime2
from q2_sample_classifier import ClassifierPredictions, Probabilities, RegressorPredictions
from q2_types.distance_matrix import DistanceMatrix, LSMatFormat
from q2_types.feature_table import BIOMV210Format
from q2_types.sample_data import SampleData
from qiime2.plugin import Bool, Categorical, Int, List, MetadataColumn, Numeric, Range

from q2_aam.bundle import PROBABILITY
from q2_aam.config import RuntimeConfig
from q2_aam.data.splits import NEW, TEST
from q2_aam.evaluation.out_of_fold import gather_classes, gather_numbers, mean_probabilities, means_of
from q2_aam.evaluation.verdict import compare, table_of
from q2_aam.types import AAMMetrics, AAMPredictionDetails

from .fit import group_names
from .messages import said_to_user, say_when_command_ends
from .shared import TABLE, cite, path_of
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
    from q2_aam.evaluation.baselines import predict_fold

    with said_to_user():
        found = predict_fold(
            str(training_table), str(test_table), metadata.to_series(), random_seed, threads, path_of(distance_matrix)
        )
    found.insert(0, 'part', NEW)
    # what is predicted stands in a column for each method
    found.insert(1, 'prediction', float('nan'))
    return found


def _collate_numbers(
    details: pd.DataFrame,
    metadata: qiime2.NumericMetadataColumn,
    folds: int,
    random_seed: int,
    baselines: pd.DataFrame = None,
    groups: qiime2.MetadataColumn = None,
    pretrained: bool = False,
) -> (pd.Series, pd.DataFrame, pd.DataFrame):
    found = gather_numbers(metadata.to_series(), _groups(groups), details, _of_methods(baselines), folds)
    metrics = _judge(found, random_seed, pretrained)
    means = means_of(found)
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
    found = gather_classes(metadata.to_series(), _groups(groups), ours, _of_methods(baselines), folds)
    metrics = _judge(found, random_seed, pretrained)
    probabilities = mean_probabilities(found).dropna()
    predictions = probabilities.idxmax(axis=1).rename(metadata.name)
    frame = _details(details, predictions, metadata, means_of(found))
    return predictions, probabilities, frame, metrics


def _groups(column):
    return None if column is None else group_names(column)


def _of_methods(baselines):
    return [frame.drop(columns=['part', 'prediction']) for frame in baselines or ()]


def _judge(found, seed, pretrained):
    """Return the metrics, and say what they are."""
    metrics, verdict = compare(found, seed, pretrained)
    print(*table_of(metrics), verdict, sep='\n', flush=True)
    say_when_command_ends(f'{verdict}\n')
    return metrics


def _details(details, predictions, metadata, more):
    """Return one row a sample: what each fold's details say, in the mean over repeats, and `more`."""
    every = pd.concat(details)
    by_sample = every.drop(columns=['part', 'prediction', 'true']).groupby(level=0)
    numbers = every.select_dtypes('number').columns
    said = by_sample.agg({name: 'mean' if name in numbers else 'first' for name in by_sample.obj.columns})
    frame = pd.DataFrame({'part': TEST, 'prediction': predictions.reindex(said.index)}, index=said.index)
    frame['true'] = metadata.to_series().reindex(said.index)
    return frame.join(more).join(said, rsuffix=' of the model').rename_axis('id')


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
            'training_table': 'Samples to learn from.',
            'test_table': 'Samples to predict.',
            'distance_matrix': 'Distances between samples of both.',
        },
        parameter_descriptions={
            'metadata': 'Target of the training samples.',
            'random_seed': 'Seed of the forests.',
            'threads': THREADS.help,
        },
        output_descriptions={'details': 'What each method predicts of each test sample, one column a method.'},
        name='Predict one fold by other methods',
        description='A step of cross-validate and cross-validate-classifier, which are to be used instead: learn from '
        'the training samples of one fold by methods other than AAM, and predict its test samples.',
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
            'details': 'Predictions of each fold, those of the first repeat first.',
            'baselines': 'Predictions of each fold by other methods.',
        },
        parameter_descriptions={
            'metadata': 'Target of all labelled samples.',
            'groups': 'Metadata column that names the group of each sample.',
            'folds': 'Folds of a repeat.',
            'random_seed': 'Seed of the intervals.',
            'pretrained': 'Whether the models started from an encoder.',
        },
        output_descriptions={
            **{name: 'Out-of-fold predictions, in the mean over repeats.' for name, _ in outputs},
            'details': 'One row a sample.',
            'metrics': 'Figures, differences and verdict.',
        },
        name='Put the folds of a cross-validation together',
        description='A step of cross-validate and cross-validate-classifier, which are to be used instead: put the '
        'predictions of all folds together, score every method and compare them.',
        citations=cite('hesterberg2015'),
    )
