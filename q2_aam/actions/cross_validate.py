"""The pipelines `cross_validate` and `cross_validate_classifier`: each labelled sample predicted by a model of others.

They never look into what their actions give, so that frameworks which can run actions in parallel do.
"""

import dataclasses
import secrets
import typing

import pandas as pd
import qiime2
from q2_sample_classifier import ClassifierPredictions, Probabilities, RegressorPredictions
from q2_types.feature_table import BIOMV210Format
from q2_types.sample_data import SampleData
from qiime2.plugin import Categorical, MetadataColumn, Numeric

from q2_aam.config import (
    Call,
    CrossValidateClassifierConfig,
    CrossValidateConfig,
    FitClassifierConfig,
    FitConfig,
    PredictConfig,
)
from q2_aam.data.labels import align_classes, align_labels
from q2_aam.evaluation.folds import check_classes, labels_with_reads, plan_folds, seed_of_fit
from q2_aam.types import AAMEncoder, AAMMetrics, AAMPredictionDetails

from .cross_validate_steps import register_steps
from .examples_cross_validate import cross_validate_classifier_example, cross_validate_example
from .fit import group_names
from .shared import INPUT_DESCRIPTIONS, INPUTS, cite
from .signature import descriptions, flat, parameters

LARGEST_SEED = 2**31 - 1

DESCRIPTION = (
    'Find out how well {what} can be predicted, and whether this model is the best tool for it. The labelled samples '
    'are divided into folds, whole groups at a time, and each fold is predicted by a model that learned from the '
    'others; scaling, early stopping and calibration know nothing of the fold either. On the very same folds, methods '
    'that could be used instead are tried: random forest and extra trees as q2-sample-classifier makes them, {linear}, '
    '{near} where a distance matrix is given, and a guess that looks at no sample. The metrics say how much better or '
    'worse this model is than each, with a 95 % interval that respects groups, and give a verdict in plain words. An '
    'encoder that was pretrained on the same samples has seen their sequences and distances, but no labels. Folds are '
    'computed in parallel where the framework runs pipelines in parallel.'
)

OUTPUT_DESCRIPTIONS = {
    'predictions': 'For each labelled sample what the model predicted that had not learned from it or from its group; '
    'with several repeats the mean.',
    'probabilities': 'The probability of each class, for each labelled sample.',
    'details': 'One row a labelled sample: its prediction, the true value, its fold, what each baseline predicted, and '
    'how well the models covered it.',
    'metrics': 'One row a figure: a verdict; the differences between this model and each other method with 95 % '
    'intervals (below 0 this model errs less); figures of each method in the mean over repeats, over all folds, and in '
    'each fold. It can be viewed as metadata.',
}


@dataclasses.dataclass(frozen=True)
class _Kind:
    """What differs between the two pipelines."""

    fit: str
    config: type[Call]
    model: str
    predict: str
    collate: str
    align: typing.Callable
    column: type


NUMBERS = _Kind(
    'fit_regressor', FitConfig, 'regressor', 'predict', '_collate_numbers', align_labels, qiime2.NumericMetadataColumn
)
CLASSES = _Kind(
    'fit_classifier', FitClassifierConfig, 'classifier', 'predict_classes', '_collate_classes', align_classes,
    qiime2.CategoricalMetadataColumn,
)  # fmt: skip


@flat(CrossValidateConfig)
def cross_validate(
    ctx, table, metadata, sequences=None, encoder=None, distance_matrix=None, groups=None, *, config
):  # fmt: skip
    return _cross_validate(ctx, NUMBERS, config, table, metadata, sequences, encoder, distance_matrix, groups)


@flat(CrossValidateClassifierConfig)
def cross_validate_classifier(
    ctx, table, metadata, sequences=None, encoder=None, distance_matrix=None, groups=None, *, config
):  # fmt: skip
    return _cross_validate(ctx, CLASSES, config, table, metadata, sequences, encoder, distance_matrix, groups)


def _cross_validate(ctx, kind, config, table, metadata, sequences, encoder, distance_matrix, groups):
    of_samples = None if groups is None else group_names(groups)
    file = table.view(BIOMV210Format)
    labels = labels_with_reads(str(file), metadata.to_series(), of_samples, kind.align)
    seed = config.training.random_seed or 1 + secrets.randbelow(LARGEST_SEED)
    how = config.folds
    plan = plan_folds(labels.values, labels.groups, how.folds, how.repeats, seed, how.leave_one_group_out)
    if kind is CLASSES:
        check_classes(labels.values, labels.groups, plan)
    target = pd.Series(labels.values, index=pd.Index(labels.sample_ids, name='id'), name=labels.name)
    fit, predict = ctx.get_action('aam', kind.fit), ctx.get_action('aam', kind.predict)
    only, score = ctx.get_action('feature_table', 'filter_samples'), ctx.get_action('aam', '_score_baselines')
    values = config.to_flat()
    details, baselines = [], []
    for repeat, of_repeat in enumerate(plan):
        for fold in range(of_repeat.max() + 1):
            training = target[of_repeat != fold]
            column = kind.column(training)
            seed_of_fold = seed_of_fit(seed, repeat, fold)
            (training_table,) = only(table, metadata=_ids(training))
            # no label of these goes with them
            (test_table,) = only(table, metadata=_ids(target[of_repeat == fold]))
            model, *_ = fit(
                table=training_table, metadata=column, sequences=sequences, encoder=encoder,
                distance_matrix=distance_matrix, groups=groups,
                **_known(kind.config, values | {'test_fraction': 0.0, 'random_seed': seed_of_fold}),
            )  # fmt: skip
            *_, found = predict(
                table=test_table, sequences=sequences, **{kind.model: model}, **_known(PredictConfig, values)
            )
            details.append(found)
            if how.baselines:
                (found,) = score(
                    training_table=training_table, test_table=test_table, distance_matrix=distance_matrix,
                    metadata=column, random_seed=seed_of_fold, threads=values['threads'],
                )  # fmt: skip
                baselines.append(found)
    collate = ctx.get_action('aam', kind.collate)
    results = collate(
        details=details, baselines=baselines or None, metadata=kind.column(target), groups=groups,
        folds=int(plan.max()) + 1, random_seed=seed, pretrained=encoder is not None,
    )  # fmt: skip
    return tuple(results)


def _ids(series):
    return qiime2.Metadata(pd.DataFrame(index=series.index))


def _known(call, values):
    """Return those of `values` that the configuration `call` has."""
    return {opt.name: values[opt.name] for opt in call.options() if opt.name in values}


def register(plugin):
    """Register both pipelines, and the actions that they are made of, with the plugin object."""
    register_steps(plugin)
    _register(
        plugin, cross_validate, CrossValidateConfig, Numeric, [('predictions', SampleData[RegressorPredictions])],
        'a numeric metadata column', 'ridge regression on logarithms of proportions',
        'nearest neighbours and a Gaussian process', {'cross_validate_a_numeric_column': cross_validate_example},
    )  # fmt: skip
    _register(
        plugin, cross_validate_classifier, CrossValidateClassifierConfig, Categorical,
        [('predictions', SampleData[ClassifierPredictions]), ('probabilities', SampleData[Probabilities])],
        'a categorical metadata column', 'logistic regression on logarithms of proportions', 'nearest neighbours',
        {'cross_validate_a_categorical_column': cross_validate_classifier_example},
    )  # fmt: skip


def _register(plugin, function, config, kind, outputs, what, linear, near, examples):
    outputs = [*outputs, ('details', SampleData[AAMPredictionDetails]), ('metrics', AAMMetrics)]
    plugin.pipelines.register_function(
        function=function,
        inputs={**INPUTS, 'encoder': AAMEncoder},
        parameters={
            'metadata': MetadataColumn[kind],
            'groups': MetadataColumn[Categorical | Numeric],
            **parameters(config),
        },
        outputs=outputs,
        input_descriptions={
            **INPUT_DESCRIPTIONS,
            'encoder': 'An encoder from pretrain from which every model starts.',
        },
        parameter_descriptions={
            'metadata': f'{what[2:].capitalize()} to predict: the target. Samples without a value are ignored.',
            'groups': 'Metadata column that names the group of each sample (a subject, a site): samples of a group are '
            'never split across folds or parts.',
            **descriptions(config),
        },
        output_descriptions={name: OUTPUT_DESCRIPTIONS[name] for name, _ in outputs},
        name=f'Cross-validate the prediction of {what}, beside other methods',
        description=DESCRIPTION.format(what=what, linear=linear, near=near),
        citations=cite(
            'vaswani2017', 'devlin2019', 'lozupone2005', 'loshchilov2019', 'pedregosa2011', 'hesterberg2015'
        ),
        examples=examples,
    )
