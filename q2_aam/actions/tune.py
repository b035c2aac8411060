"""The pipelines `tune_regressor` and `tune_classifier`: parameters that suit a study, and what they are worth.

The searches of the outer folds and that of all samples know nothing of each other, so that frameworks that can run the
actions of a pipeline in parallel do.
"""

import dataclasses
import typing

import pandas as pd
import qiime2
from q2_types.feature_table import BIOMV210Format
from qiime2.plugin import Categorical, Numeric

from q2_aam.config import (
    Call,
    FitClassifierConfig,
    FitRegressorConfig,
    PredictConfig,
    TuneClassifierConfig,
    TuneRegressorConfig,
)
from q2_aam.config.search import check_optuna
from q2_aam.data.covariate_schema import select_covariates
from q2_aam.data.labels import align_classes, align_numbers, labels_with_reads
from q2_aam.errors import counted
from q2_aam.evaluation.folds import check_classes, plan_folds, seed_of_fit
from q2_aam.evaluation.search import FOLDS
from q2_aam.runtime.content import hash_frame
from q2_aam.runtime.pipeline_seed import seed_of_pipeline
from q2_aam.types import (
    AAMEncoder,
    AAMMetrics,
    AAMSettings,
)
from q2_aam.visualizers.citations import cite

from .clades import CLADES, CLADES_OF_TRAINING, hashes_of_clades
from .cross_validate import hashes_of, of_call
from .examples_tune import tune_classifier_example, tune_regressor_example
from .fit import group_names
from .messages import warnings_given
from .shared import INPUT_DESCRIPTIONS, INPUTS, frame_of
from .signature import descriptions, flat, parameters
from .tune_steps import ENCODER_DESCRIPTION, OUTPUT_DESCRIPTIONS, column_descriptions, columns, register_steps

DESCRIPTION = (
    'Search parameters that suit {what} (learning rate, width, depth, dropout, what is frozen, weights of losses, the '
    'abundance ensemble), and tell what they are worth. Each trial trains with other parameters on the same samples, '
    'is stopped early where it is worse than the median of those before, and is scored on samples of its own. The best '
    'of many trials looks better than it is: so the whole search is also made on three outer folds of whole groups, '
    'and what it finds without a fold predicts the fold, beside a model with default parameters. The metrics begin '
    'with this comparison and say whether tuning helped. Give the settings to fit-regressor, fit-classifier or the '
    'cross-validations. Parameters that are given here other than by default are not searched. Searches run in '
    'parallel where the framework runs pipelines in parallel. After an interruption, the same command goes on with the '
    'trials that were finished.'
)


@dataclasses.dataclass(frozen=True)
class _Kind:
    """What differs between the two pipelines."""

    call: str
    search: str
    fit: str
    config: type[Call]
    align: typing.Callable
    column: type


NUMBERS = _Kind(
    'tune-regressor', '_search_regressor', 'fit_regressor', FitRegressorConfig, align_numbers,
    qiime2.NumericMetadataColumn,
)  # fmt: skip
CLASSES = _Kind(
    'tune-classifier', '_search_classifier', 'fit_classifier', FitClassifierConfig, align_classes,
    qiime2.CategoricalMetadataColumn,
)  # fmt: skip


@flat(TuneRegressorConfig)
def tune_regressor(
    ctx, table, metadata, sequences=None, encoder=None, distance_matrix=None, groups=None, covariates=None,
    taxonomy=None, phylogeny=None, *, config
):  # fmt: skip
    clades = {'taxonomy': taxonomy, 'phylogeny': phylogeny}
    return _tune(ctx, NUMBERS, config, table, metadata, sequences, encoder, distance_matrix, groups, covariates, clades)


@flat(TuneClassifierConfig)
def tune_classifier(
    ctx, table, metadata, sequences=None, encoder=None, distance_matrix=None, groups=None, covariates=None,
    taxonomy=None, phylogeny=None, *, config
):  # fmt: skip
    clades = {'taxonomy': taxonomy, 'phylogeny': phylogeny}
    return _tune(ctx, CLASSES, config, table, metadata, sequences, encoder, distance_matrix, groups, covariates, clades)


def _tune(ctx, kind, config, table, metadata, sequences, encoder, distance_matrix, groups, covariates, clades):
    check_optuna()
    names = None if groups is None else group_names(groups)
    file = table.view(BIOMV210Format)
    labels = labels_with_reads(str(file), metadata.to_series(), names, kind.align)
    hashes = hashes_of(file, metadata.to_series(), sequences, encoder, distance_matrix, groups=names)
    chosen = select_covariates(
        frame_of(covariates),
        list(config.covariates.covariate_columns),
        metadata.name,
        None if groups is None else groups.name,
    )
    hashes |= hashes_of_clades(**clades)
    if chosen is not None:
        hashes['covariates'] = hash_frame(chosen)
    seed = seed_of_pipeline(kind.call, config, hashes, config.training.random_seed)
    (fold_of,) = plan_folds(labels.values, labels.groups, FOLDS, 1, seed)
    if kind is CLASSES:
        check_classes(labels.values, labels.groups, fold_of[None])
    target = pd.Series(labels.values, index=pd.Index(labels.sample_ids, name='id'), name=labels.name)
    search, fit = ctx.get_action('aam', kind.search), ctx.get_action('aam', kind.fit)
    predict, filter_samples = ctx.get_action('aam', '_predict_fold'), ctx.get_action('aam', '_filter_samples')
    values = config.to_flat()
    inputs = {
        'sequences': sequences, 'encoder': encoder, 'distance_matrix': distance_matrix, 'groups': groups,
        'covariates': covariates, **clades,
    }  # fmt: skip
    trials, tuned, default = [], [], []
    for fold in range(FOLDS):
        training = target[fold_of != fold]
        of_fold = {'metadata': kind.column(training), **inputs}
        said = f'Outer fold {fold + 1} of {FOLDS}: {counted(len(training), "sample")} to learn from.'
        (training_table,) = filter_samples(table, metadata=_ids(training), said=said)
        found, tried = search(
            table=training_table, fold=fold + 1, **of_fold, **values | {'random_seed': seed_of_fit(seed, 1, fold)}
        )
        trials.append(tried)
        tested = target[fold_of == fold]
        said = (
            f'Outer fold {fold + 1} of {FOLDS}: fits with what was found, then by default, and predicts '
            f'{counted(len(tested), "sample")} with each.'
        )
        # without the labels of these samples
        (test_table,) = filter_samples(table, metadata=_ids(tested), said=said)
        # the same seed for both, which differ in their parameters alone
        given = of_call(kind.config, values | {'test_fraction': 0.0, 'random_seed': seed_of_fit(seed, 0, fold)})
        for settings, predictions in ((found, tuned), (None, default)):
            model, *_ = fit(table=training_table, settings=settings, **of_fold, **given)
            (predicted,) = predict(
                test_table=test_table, model=model, sequences=sequences, covariates=covariates, **clades,
                **of_call(PredictConfig, values),
            )  # fmt: skip
            predictions.append(predicted)
    settings, tried = search(
        table=table, metadata=metadata, fold=0, **inputs, **values | {'random_seed': seed_of_fit(seed, 1, FOLDS)}
    )
    collate = ctx.get_action('aam', '_collate_search')
    (metrics,) = collate(
        tuned=tuned, default=default, trials=[*trials, tried], metadata=kind.column(target), groups=groups,
        random_seed=seed, warned=warnings_given() or None,
    )  # fmt: skip
    return settings, metrics


def _ids(series):
    return qiime2.Metadata(pd.DataFrame(index=series.index))


def register(plugin):
    """Register the pipelines, and the actions that they are made of, with the plugin object."""
    register_steps(plugin)
    for function, config, kind, what, example in (
        (tune_regressor, TuneRegressorConfig, Numeric, 'a numeric metadata column', tune_regressor_example),
        (tune_classifier, TuneClassifierConfig, Categorical, 'a categorical metadata column', tune_classifier_example),
    ):
        plugin.pipelines.register_function(
            function=function,
            inputs={**INPUTS, 'encoder': AAMEncoder, **CLADES},
            parameters=columns(kind) | parameters(config),
            outputs=[('settings', AAMSettings), ('metrics', AAMMetrics)],
            input_descriptions={**INPUT_DESCRIPTIONS, 'encoder': ENCODER_DESCRIPTION, **CLADES_OF_TRAINING},
            parameter_descriptions=column_descriptions(what) | descriptions(config),
            output_descriptions=OUTPUT_DESCRIPTIONS,
            name=f'Tune the prediction of {what}',
            description=DESCRIPTION.format(what=f'the prediction of {what}'),
            citations=cite('akiba2019', 'bergstra2011', 'loshchilov2019', 'hesterberg2015'),
            examples={function.__name__: example},
        )
