"""The pipelines `cross_validate` and `cross_validate_classifier`: out-of-fold predictions, compared with baselines.

They never look into the results of their actions, so that frameworks that can run these in parallel do.
"""

import dataclasses
import typing

import pandas as pd
import qiime2
from q2_sample_classifier import ClassifierPredictions, Probabilities, RegressorPredictions
from q2_types.distance_matrix import LSMatFormat
from q2_types.feature_data import DNAFASTAFormat
from q2_types.feature_table import BIOMV210Format
from q2_types.sample_data import SampleData
from qiime2.plugin import Categorical, Metadata, MetadataColumn, Numeric

from q2_aam.config import (
    Call,
    CrossValidateClassifierConfig,
    CrossValidateConfig,
    FitClassifierConfig,
    FitRegressorConfig,
    PredictConfig,
)
from q2_aam.data.covariate_schema import select_covariates
from q2_aam.data.given_splits import aligned_to, folds_of
from q2_aam.data.labels import align_classes, align_numbers, labels_with_reads
from q2_aam.evaluation.folds import check_classes, plan_folds
from q2_aam.runtime.content import hash_files, hash_frame, hash_series
from q2_aam.runtime.pipeline_seed import seed_of_pipeline
from q2_aam.types import (
    AAMEncoder,
    AAMMetrics,
    AAMModelDirectoryFormat,
    AAMPredictionDetails,
    AAMSettings,
    AAMSettingsDirectoryFormat,
)
from q2_aam.visualizers.citations import cite

from .clades import CLADES, CLADES_OF_TRAINING, hashes_of_clades
from .cross_validate_baselines import with_column
from .cross_validate_plan import extra_targets_of, given_plan, parts_of, sites_of, weights_of_part, words_of_weights
from .cross_validate_steps import register_steps
from .examples_cross_validate import cross_validate_classifier_example, cross_validate_example
from .fit import group_names
from .messages import warnings_given
from .shared import (
    COVARIATES_DESCRIPTION,
    EXTRA_TARGETS_DESCRIPTION,
    GROUPS_DESCRIPTION,
    INPUT_DESCRIPTIONS,
    INPUTS,
    SAMPLE_WEIGHTS_DESCRIPTION,
    SCALE_BY_DESCRIPTION,
    SETTINGS_DESCRIPTION,
    frame_of,
    path_of,
    series_of,
    settings_of,
)
from .signature import descriptions, flat, parameters

DESCRIPTION = (
    'Estimate how well {what} can be predicted, and whether this model is the best choice for it. The labelled '
    'samples are divided into folds by whole groups, and each fold is predicted by a model trained on the other '
    'folds; scaling, early stopping and calibration use no sample of the fold either. On the same folds, baselines '
    'are fitted: random forest and extra trees as in q2-sample-classifier, {linear}, {near} where a distance matrix '
    'is given, and a constant guess. The metrics report how much better or worse this model is than each baseline, '
    'with a 95 % confidence interval that respects groups, and a verdict in plain words. An encoder that was '
    'pretrained on the same samples has seen their sequences and distances, but no labels. Folds are computed in '
    'parallel where the framework runs pipelines in parallel. After an interruption, the same command takes the folds '
    'that were finished.'
)

SITES_DESCRIPTION = (
    'Metadata column with the site, run or study of each sample. Beside the folds, each site is left out once: its '
    'samples are predicted by a model trained on the samples of the others whose group has none at the site, and the '
    'metrics and the verdict say what happens there. Of more than 20 sites, those with most samples are left out.'
)

OF_BASELINES = 'Random forest, extra trees and the linear baseline get them, too, one column a category.'

OF_EXTRA_TARGETS = (
    ' Metrics and details tell how well they are predicted out of fold, beside guessing the median and, of the first '
    '8, a random forest.'
)

OF_WEIGHTS = ' Random forest, extra trees and the linear baseline learn with them, too.'

OF_SCALE_BY = ' Random forest, extra trees and the linear baseline get it as a covariate.'

SPLIT_DESCRIPTION = (
    'Metadata column that names the fold of each sample, in place of folds, which are then as many as there are names. '
    'Samples without a name are ignored.'
)

OUTPUT_DESCRIPTIONS = {
    'predictions': 'Out-of-fold prediction of each labelled sample: by a model trained without the sample and its '
    'group; with several repeats, the mean.',
    'probabilities': 'Out-of-fold probability of each class for each labelled sample.',
    'details': 'One row per labelled sample: its prediction, its true value, its fold, the prediction of each '
    'baseline, and the applicability of the models to it.',
    'metrics': 'One row per metric: the verdict, then the warnings (both in column note); the difference between this '
    'model and each baseline with its 95 % confidence interval (below 0: this model has the smaller error); the '
    'metrics of each method (means over repeats) over all folds and in each fold, and those of extra targets '
    '(extra_mae and so on; their name in column note); with sites, those on all sites left out and on each '
    '(column fold), and the share of samples that are flagged there. It can be viewed as metadata.',
}


@dataclasses.dataclass(frozen=True)
class _Kind:
    """What differs between the two pipelines."""

    call: str
    fit: str
    config: type[Call]
    collate: str
    align: typing.Callable
    column: type


NUMBERS = _Kind(
    'cross-validate',
    'fit_regressor',
    FitRegressorConfig,
    '_collate_numbers',
    align_numbers,
    qiime2.NumericMetadataColumn,
)
CLASSES = _Kind(
    'cross-validate-classifier',
    'fit_classifier',
    FitClassifierConfig,
    '_collate_classes',
    align_classes,
    qiime2.CategoricalMetadataColumn,
)


@flat(CrossValidateConfig)
def cross_validate(
    ctx, table, metadata, sequences=None, encoder=None, distance_matrix=None, groups=None, covariates=None,
    sites=None, split=None, extra_targets=None, scale_by=None, sample_weights=None, settings=None,
    taxonomy=None, phylogeny=None, *, config
):  # fmt: skip
    more = {
        'extra_targets': extra_targets, 'scale_by': scale_by, 'sample_weights': sample_weights, 'settings': settings,
        'taxonomy': taxonomy, 'phylogeny': phylogeny,
    }  # fmt: skip
    return _cross_validate(
        ctx, NUMBERS, config, table, metadata, sequences, encoder, distance_matrix, groups, covariates, sites, split,
        more,
    )  # fmt: skip


@flat(CrossValidateClassifierConfig)
def cross_validate_classifier(
    ctx, table, metadata, sequences=None, encoder=None, distance_matrix=None, groups=None, covariates=None,
    sites=None, split=None, extra_targets=None, sample_weights=None, settings=None,
    taxonomy=None, phylogeny=None, *, config
):  # fmt: skip
    return _cross_validate(
        ctx, CLASSES, config, table, metadata, sequences, encoder, distance_matrix, groups, covariates, sites, split,
        {'extra_targets': extra_targets, 'sample_weights': sample_weights, 'settings': settings,
         'taxonomy': taxonomy, 'phylogeny': phylogeny},
    )  # fmt: skip


def _cross_validate(
    ctx, kind, config, table, metadata, sequences, encoder, distance_matrix, groups, covariates, sites, split, more
):  # fmt: skip
    names = None if groups is None else group_names(groups)
    file = table.view(BIOMV210Format)
    named = None if split is None else folds_of(split.to_series())
    align = kind.align if named is None else aligned_to(kind.align, named, 'fold')
    labels = labels_with_reads(str(file), metadata.to_series(), names, align)
    places = None if sites is None else group_names(sites)
    chosen = select_covariates(
        frame_of(covariates),
        list(config.covariates.covariate_columns),
        metadata.name,
        None if groups is None else groups.name,
    )
    columns = {name: series_of(more.get(name)) for name in ('scale_by', 'sample_weights')}
    hashes = hashes_of(
        file, metadata.to_series(), sequences, encoder, distance_matrix, groups=names, sites=places, split=named,
        **columns,
    )  # fmt: skip
    if more['extra_targets'] is not None:
        hashes['extra_targets'] = hash_frame(frame_of(more['extra_targets']))
    clades = {name: more[name] for name in CLADES}
    hashes |= hashes_of_clades(**clades)
    found = more['settings'] and more['settings'].view(AAMSettingsDirectoryFormat)
    hashes |= hash_files(settings=path_of(found))
    if found is not None:
        settings_of(found).warn_of_test('the samples of every fold')
    if chosen is not None:
        hashes['covariates'] = hash_frame(chosen)
        covariates = qiime2.Metadata(chosen.rename_axis('id'))
    seed = seed_of_pipeline(kind.call, config, hashes, config.training.random_seed)
    how = config.folds
    if named is None:
        plan = plan_folds(labels.values, labels.groups, how.folds, how.repeats, seed, how.leave_one_group_out)
    else:
        plan = given_plan(labels, named, how)
    if kind is CLASSES:
        check_classes(labels.values, labels.groups, plan)
    # after the folds, every site is left out once
    site_folds = [] if places is None else sites_of(places, labels, labels.values if kind is CLASSES else None)
    extra = extra_targets_of(frame_of(more['extra_targets']), metadata.name, groups, config.training)
    target = pd.Series(labels.values, index=pd.Index(labels.sample_ids, name='id'), name=labels.name)
    fit, predict = ctx.get_action('aam', kind.fit), ctx.get_action('aam', '_predict_fold')
    filter_samples, score = ctx.get_action('aam', '_filter_samples'), ctx.get_action('aam', '_score_baselines')
    known = with_column(covariates, columns['scale_by'])
    values = config.to_flat()
    # those of this function; those of the fits come with their histories
    warned = warnings_given()
    details, histories, baselines = [], [], []
    for part in parts_of(plan, site_folds, seed):
        training = target[part.learned]
        column = kind.column(training)
        (training_table,) = filter_samples(table, metadata=_ids(training), said=part.line)
        # without the labels of these samples
        (test_table,) = filter_samples(table, metadata=_ids(target[part.tested]))
        model, *_, history = fit(
            table=training_table, metadata=column, sequences=sequences, encoder=encoder,
            distance_matrix=distance_matrix, groups=groups, covariates=covariates, **more,
            **of_call(kind.config, values | {'test_fraction': 0.0, 'random_seed': part.seed}),
        )  # fmt: skip
        # predict, whose warnings nobody reads where folds are computed in parallel
        (predicted,) = predict(
            test_table=test_table, model=model, sequences=sequences, covariates=covariates,
            scale_by=more.get('scale_by'), **clades, **of_call(PredictConfig, values),
        )  # fmt: skip
        details.append(predicted)
        histories.append(history)
        if how.baselines:
            (scored,) = score(
                training_table=training_table, test_table=test_table, distance_matrix=distance_matrix,
                metadata=column, covariates=known, random_seed=part.seed, threads=values['threads'],
                sample_weights=weights_of_part(part, labels, columns, config.training), extra_targets=extra,
            )  # fmt: skip
            baselines.append(scored)
    collate = ctx.get_action('aam', kind.collate)
    results = collate(
        fold_details=details, histories=histories, baselines=baselines or None, metadata=kind.column(target),
        groups=groups, folds=int(plan.max()) + 1, random_seed=seed, pretrained=encoder is not None,
        warned=warned or None, sites=[site.name for site in site_folds] or None,
        extra_targets=extra, weighted=words_of_weights(columns, config.training) if how.baselines else None,
    )  # fmt: skip
    return tuple(results)


def hashes_of(table, target, sequences, encoder, distance_matrix, **columns):
    """Return what the inputs are known by: where no seed is given, the same call goes on with the seed it drew."""
    hashes = hash_files(
        table=str(table),
        sequences=path_of(sequences and sequences.view(DNAFASTAFormat)),
        encoder=path_of(encoder and encoder.view(AAMModelDirectoryFormat)),
        distance_matrix=path_of(distance_matrix and distance_matrix.view(LSMatFormat)),
    )
    hashes['metadata'] = hash_series(target)
    for name, column in columns.items():
        if column is not None:
            hashes[name] = hash_series(column)
    return hashes


def _ids(series):
    return qiime2.Metadata(pd.DataFrame(index=series.index))


def of_call(call, values):
    """Return those of the `values` that are parameters of `call`."""
    return {opt.name: values[opt.name] for opt in call.options() if opt.name in values}


def register(plugin):
    """Register both pipelines, and the actions that they are made of, with the plugin object."""
    register_steps(plugin)
    _register(
        plugin, cross_validate, CrossValidateConfig, Numeric, [('predictions', SampleData[RegressorPredictions])],
        'a numeric metadata column', 'ridge regression on log proportions',
        'nearest neighbours and a Gaussian process', {'cross_validate_a_numeric_column': cross_validate_example},
    )  # fmt: skip
    _register(
        plugin, cross_validate_classifier, CrossValidateClassifierConfig, Categorical,
        [('predictions', SampleData[ClassifierPredictions]), ('probabilities', SampleData[Probabilities])],
        'a categorical metadata column', 'logistic regression on log proportions', 'nearest neighbours',
        {'cross_validate_a_categorical_column': cross_validate_classifier_example},
    )  # fmt: skip


def _register(plugin, function, config, kind, outputs, what, linear, near, examples):
    outputs = [*outputs, ('details', SampleData[AAMPredictionDetails]), ('metrics', AAMMetrics)]
    plugin.pipelines.register_function(
        function=function,
        inputs={**INPUTS, **CLADES, 'encoder': AAMEncoder, 'settings': AAMSettings},
        parameters={
            'metadata': MetadataColumn[kind],
            'groups': MetadataColumn[Categorical | Numeric],
            'covariates': Metadata,
            'sites': MetadataColumn[Categorical | Numeric],
            'split': MetadataColumn[Categorical],
            'extra_targets': Metadata,
            **({'scale_by': MetadataColumn[Categorical]} if kind is Numeric else {}),
            'sample_weights': MetadataColumn[Numeric],
            **parameters(config),
        },
        outputs=outputs,
        input_descriptions={
            **INPUT_DESCRIPTIONS,
            **CLADES_OF_TRAINING,
            'encoder': 'Encoder from pretrain that every model starts from.',
            'settings': SETTINGS_DESCRIPTION,
        },
        parameter_descriptions={
            'metadata': f'{what[2:].capitalize()} to predict (the target). Samples without a value are ignored.',
            'groups': GROUPS_DESCRIPTION.format(split='fold and split'),
            'covariates': COVARIATES_DESCRIPTION.format(more=OF_BASELINES),
            'sites': SITES_DESCRIPTION,
            'split': SPLIT_DESCRIPTION,
            'extra_targets': EXTRA_TARGETS_DESCRIPTION + OF_EXTRA_TARGETS,
            **({'scale_by': SCALE_BY_DESCRIPTION.format(more=OF_SCALE_BY)} if kind is Numeric else {}),
            'sample_weights': SAMPLE_WEIGHTS_DESCRIPTION + OF_WEIGHTS,
            **descriptions(config),
        },
        output_descriptions={name: OUTPUT_DESCRIPTIONS[name] for name, _ in outputs},
        name=f'Cross-validate the prediction of {what} and compare with baselines',
        description=DESCRIPTION.format(what=what, linear=linear, near=near),
        citations=cite('devlin2019', 'lozupone2005', 'loshchilov2019', 'pedregosa2011', 'hesterberg2015'),
        examples=examples,
    )
