"""The steps of the pipelines in cross_validate: actions that are not for users, hidden by a leading underscore."""

import collections
import io
import pathlib
import tempfile
from itertools import zip_longest

import pandas as pd
import qiime2
from q2_sample_classifier import ClassifierPredictions, Probabilities, RegressorPredictions
from q2_types.feature_data import DNAFASTAFormat
from q2_types.feature_table import BIOMV210Format, FeatureTable, Frequency, PresenceAbsence, RelativeFrequency
from q2_types.sample_data import SampleData
from q2_types.tree import NewickFormat
from qiime2.plugin import Bool, Categorical, Int, List, Metadata, MetadataColumn, Numeric, Range, Str, TypeMatch

from q2_aam.config import PredictClassesConfig, PredictConfig
from q2_aam.data.atomic import writing_output
from q2_aam.data.details import PROBABILITY
from q2_aam.data.filter_table import filter_samples
from q2_aam.data.splits import TEST
from q2_aam.evaluation.extra_targets import (
    forests_taken_off,
    gather_extra_targets,
    rows_of_extra_targets,
    true_values,
)
from q2_aam.evaluation.out_of_fold import OURS, gather_classes, gather_numbers, mean_probabilities, means_of
from q2_aam.evaluation.sites import compare_sites
from q2_aam.evaluation.verdict import ALL, WEIGHTS, compare, metrics_row, table_of
from q2_aam.runtime.heard import about
from q2_aam.runtime.pipeline_seed import forget_seed
from q2_aam.runtime.screen import print_line
from q2_aam.types import (
    AAMClassifier,
    AAMMetrics,
    AAMModelDirectoryFormat,
    AAMPredictionDetails,
    AAMRegressor,
    AAMTrainingHistory,
)
from q2_aam.visualizers.citations import cite

from .clades import CLADES, CLADES_OF_NEW, clades_of
from .cross_validate_baselines import OF_ALL_SAMPLES, SEED, register_baselines
from .cross_validate_sites import gathered, of_plan
from .fit import group_names
from .messages import print_when_command_ends, warnings_to_user
from .shared import INPUT_DESCRIPTIONS, INPUTS, TABLE, WARNING, frame_of, path_of, series_of, with_warnings
from .signature import descriptions, flat, parameters


def _filter_samples(table: BIOMV210Format, metadata: qiime2.Metadata, said: str = None) -> BIOMV210Format:
    if said is not None:
        print_line(said)
    # HDF5 may end the process where it writes to a full disk: it writes into memory
    content = io.BytesIO()
    filter_samples(str(table), content, metadata.ids)
    with writing_output(tempfile.gettempdir()):
        filtered = BIOMV210Format()
        pathlib.Path(str(filtered)).write_bytes(content.getbuffer())
    return filtered


@flat(PredictConfig)
def _predict_fold(
    test_table: BIOMV210Format,
    model: AAMModelDirectoryFormat,
    sequences: DNAFASTAFormat = None,
    taxonomy: pd.Series = None,
    phylogeny: NewickFormat = None,
    covariates: qiime2.Metadata = None,
    scale_by: qiime2.CategoricalMetadataColumn = None,
    *,
    config: PredictConfig,
) -> pd.DataFrame:
    # torch comes with them, and QIIME 2 loads this file to run any action of any plugin
    from q2_aam import bundle
    from q2_aam.inference.predict import predict, predict_classes
    from q2_aam.runtime.kept_embeddings import keeping

    inputs = {'table': str(test_table), 'model': str(model), 'sequences': path_of(sequences)}
    inputs |= {'covariates': frame_of(covariates), 'clades': clades_of(taxonomy, phylogeny)}
    described = bundle.read_config(str(model))
    # an encoder that has learned is that of this fold alone
    with keeping(described.call.training.freeze != 'none'):
        if described.kind == bundle.REGRESSOR:
            *_, details = predict(**inputs, config=config, scale_by=series_of(scale_by))
        else:
            *_, details = predict_classes(**inputs, config=PredictClassesConfig.from_flat(config.to_flat()))
    return with_warnings(details)


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
    sites: str = None,
    extra_targets: qiime2.Metadata = None,
    weighted: str = None,
) -> (pd.Series, pd.DataFrame, pd.DataFrame):
    fold_details, of_predictions = _warnings_taken_off(fold_details)
    baselines, of_baselines = _warnings_taken_off(baselines)
    baselines, of_forests = forests_taken_off(baselines)
    of_folds = zip_longest(_of_fits(histories), of_predictions, of_baselines, fillvalue=())

    def gather(details, baselines, folds):
        return gather_numbers(metadata.to_series(), _groups(groups), details, _of_methods(baselines), folds)

    out_of_fold, of_sites = gathered(gather, fold_details, baselines, folds, sites)
    fold_details = of_plan(fold_details, sites)
    extra = _extra(extra_targets, metadata, groups, fold_details, of_plan(of_forests, sites), folds)
    metrics = _judge(out_of_fold, random_seed, pretrained, warned, of_folds, of_sites, extra, weighted)
    means = means_of(out_of_fold)
    frame = _details(fold_details, means['prediction'], metadata, means.drop(columns='prediction'), extra)
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
    sites: str = None,
    extra_targets: qiime2.Metadata = None,
    weighted: str = None,
) -> (pd.Series, pd.DataFrame, pd.DataFrame, pd.DataFrame):
    fold_details, of_predictions = _warnings_taken_off(fold_details)
    baselines, of_baselines = _warnings_taken_off(baselines)
    baselines, of_forests = forests_taken_off(baselines)
    of_folds = zip_longest(_of_fits(histories), of_predictions, of_baselines, fillvalue=())

    def gather(details, baselines, folds):
        ours = [
            one.filter(regex=f'^{PROBABILITY}').rename(columns=lambda name: name[len(PROBABILITY) :]) for one in details
        ]
        return gather_classes(metadata.to_series(), _groups(groups), ours, _of_methods(baselines), folds)

    out_of_fold, of_sites = gathered(gather, fold_details, baselines, folds, sites)
    fold_details = of_plan(fold_details, sites)
    extra = _extra(extra_targets, metadata, groups, fold_details, of_plan(of_forests, sites), folds)
    metrics = _judge(out_of_fold, random_seed, pretrained, warned, of_folds, of_sites, extra, weighted)
    probabilities = mean_probabilities(out_of_fold).dropna()
    predictions = probabilities.idxmax(axis=1).rename(metadata.name)
    frame = _details(fold_details, predictions, metadata, means_of(out_of_fold), extra)
    return predictions, probabilities, frame, metrics


def _groups(column):
    return None if column is None else group_names(column)


def _of_methods(baselines):
    return [frame.drop(columns=['part', 'prediction']) for frame in baselines]


def _warnings_taken_off(details):
    """Return details of folds without their column of warnings, and the texts that each fold had there."""
    details = details or []
    texts = [frame[WARNING].iloc[0].split('\n') if WARNING in frame else [] for frame in details]
    return [frame.drop(columns=WARNING, errors='ignore') for frame in details], texts


def _of_fits(histories):
    return [history.loc[history['part'] == WARNING, 'metric'] for history in histories or ()]


def _extra(extra_targets, metadata, groups, details, of_forests, folds):
    """Return the predictions of extra targets, put together."""
    if extra_targets is None:
        return []
    ids = list(metadata.to_series().index)
    return gather_extra_targets(extra_targets.to_dataframe(), ids, _groups(groups), details, of_forests, folds)


def _judge(out_of_fold, seed, pretrained, warned, of_folds, of_sites, extra, weighted):
    """Return the metrics, with warnings after the verdict, and print them; the cross-validation is done with that."""
    metrics, verdict = compare(out_of_fold, seed, pretrained)
    if of_sites is not None:
        rows, sentence = compare_sites(*of_sites, out_of_fold)
        verdict = f'{verdict} {sentence}'
        metrics = pd.concat([metrics, pd.DataFrame(rows, columns=metrics.columns)], ignore_index=True)
        metrics.loc[0, 'note'] = verdict
    of_extra, lines = rows_of_extra_targets(extra, seed)
    print_line('\n'.join([*table_of(metrics), *([weighted] if weighted else []), *lines, verdict]))
    print_when_command_ends(f'{verdict}\n')
    # the next call without a seed is another cross-validation, and does not take these folds
    with warnings_to_user():
        forget_seed(seed)
    first, *others = metrics.to_dict('records')
    rows = _warnings(len(set(out_of_fold.sample_ids)), warned or (), of_folds)
    if weighted:
        rows.append(metrics_row(OURS, ALL, ALL, WEIGHTS, 0, float('nan'), note=weighted))
    rows = [first, *rows, *others, *of_extra.to_dict('records')]
    return pd.DataFrame(rows, columns=metrics.columns)


def _warnings(samples, warned, of_folds):
    """Return a row of metrics for each warning of the pipeline and of its steps, with how many folds it is about.

    Where the framework runs the folds in parallel, nobody reads what they print. `of_folds` has the texts of each step
    for each fold.
    """
    folds = [{about(text): text for texts in steps for text in texts} for steps in of_folds]
    of_all = {about(text): text for text in warned}
    counts = collections.Counter(what for fold in folds for what in fold)
    # what the pipeline has said of all samples, a fold may say again of its own
    rows = [(text, len(folds)) for text in of_all.values()]
    first = {what: text for fold in reversed(folds) for what, text in fold.items()}
    rows += [(first[what], number) for what, number in counts.items() if what not in of_all]
    return [
        {
            'method': OURS, 'against': '', 'repeat': ALL, 'fold': ALL, 'metric': WARNING, 'samples': samples,
            'value': float(number), 'note': text,
        }
        for text, number in rows
    ]  # fmt: skip


def _details(details, predictions, metadata, more, extra):
    """Return one row per sample: the details of the folds, averaged over repeats, `more` and true extra targets."""
    every = pd.concat(details)
    by_sample = every.drop(columns=['part', 'prediction', 'true']).groupby(level=0)
    numbers = every.select_dtypes('number').columns
    averaged = by_sample.agg({name: 'mean' if name in numbers else 'first' for name in by_sample.obj.columns})
    frame = pd.DataFrame({'part': TEST, 'prediction': predictions.reindex(averaged.index)}, index=averaged.index)
    frame['true'] = metadata.to_series().reindex(averaged.index)
    frame = frame.join(more).join(averaged, rsuffix=' of the model')
    return frame.join(true_values(extra)).rename_axis('id')


def register_steps(plugin):
    """Register them with the plugin object."""
    of_values = TypeMatch([Frequency, RelativeFrequency, PresenceAbsence])
    plugin.methods.register_function(
        function=_filter_samples,
        inputs={'table': FeatureTable[of_values]},
        parameters={'metadata': Metadata, 'said': Str},
        outputs=[('filtered_table', FeatureTable[of_values])],
        input_descriptions={'table': 'Feature table of all samples.'},
        parameter_descriptions={
            'metadata': 'The samples to keep, by their IDs.',
            'said': 'What is printed first, such as the number of the fold.',
        },
        output_descriptions={'filtered_table': 'These samples, with those features that any of them has.'},
        name='Take the samples of one fold from a feature table',
        description='A step of cross-validate and cross-validate-classifier; use these instead. Keeps samples by ID, '
        'as filter-samples of q2-feature-table does, whatever characters the IDs have.',
        citations=cite('mcdonald2012'),
    )
    plugin.methods.register_function(
        function=_predict_fold,
        inputs={'test_table': TABLE, 'model': AAMRegressor | AAMClassifier, 'sequences': INPUTS['sequences'], **CLADES},
        parameters={'covariates': Metadata, 'scale_by': MetadataColumn[Categorical], **parameters(PredictConfig)},
        outputs=[('details', SampleData[AAMPredictionDetails])],
        input_descriptions={
            'test_table': 'Test samples.',
            'model': 'The model of the fold.',
            'sequences': INPUT_DESCRIPTIONS['sequences'],
            **CLADES_OF_NEW,
        },
        parameter_descriptions={
            'covariates': OF_ALL_SAMPLES,
            'scale_by': 'Category of the samples.',
            **descriptions(PredictConfig),
        },
        output_descriptions={'details': 'Predictions for the test samples, as from predict and predict-classes.'},
        name='Predict one fold with its model',
        description='A step of cross-validate and cross-validate-classifier; use these instead. Predicts the test '
        'samples of one fold as predict and predict-classes do, and keeps the warnings in the details.',
        citations=cite('ukkonen1992'),
    )
    register_baselines(plugin)
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
            'sites': List[Str],
            'extra_targets': Metadata,
            'weighted': Str,
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
            'sites': 'Names of the sites that were left out, whose predictions come after those of the folds.',
            'extra_targets': 'Further numeric columns that the models have learned.',
            'weighted': 'With which weights baselines have learned.',
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
