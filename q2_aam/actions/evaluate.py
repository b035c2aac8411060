"""The pipelines `evaluate_regressor` and `evaluate_classifier`: one command from a feature table to the page."""

from q2_sample_classifier import ClassifierPredictions, Probabilities, RegressorPredictions
from q2_types.sample_data import SampleData
from qiime2.plugin import Categorical, Metadata, MetadataColumn, Numeric, Visualization

from q2_aam.config import CrossValidateClassifierConfig, CrossValidateConfig
from q2_aam.types import AAMEncoder, AAMMetrics, AAMPredictionDetails, AAMSettings
from q2_aam.visualizers.citations import cite

from .clades import CLADES, CLADES_OF_TRAINING
from .cross_validate import OF_BASELINES, OF_EXTRA_TARGETS, OF_SCALE_BY, OF_WEIGHTS, OUTPUT_DESCRIPTIONS
from .examples_evaluate import evaluate_classifier_example, evaluate_regressor_example
from .shared import (
    COVARIATES_DESCRIPTION,
    EXTRA_TARGETS_DESCRIPTION,
    GROUPS_DESCRIPTION,
    INPUT_DESCRIPTIONS,
    INPUTS,
    SAMPLE_WEIGHTS_DESCRIPTION,
    SCALE_BY_DESCRIPTION,
    SETTINGS_DESCRIPTION,
)
from .signature import descriptions, flat, parameters

DESCRIPTION = (
    'Cross-validate the prediction of {what}, and show the outcome in one page: a verdict with its interval, {shown}, '
    'calibration, the comparison with baselines on the same folds, which metadata columns explain the errors, and the '
    'worst samples with their applicability. It is {pipeline} followed by evaluate, whose descriptions tell more; use '
    'fit-{model} for the model to keep. After an interruption, the same command takes the folds that were finished.'
)

# The pipelines that these begin with, and what they give.
NUMBERS = 'cross_validate', ('predictions', 'details', 'metrics')
CLASSES = 'cross_validate_classifier', ('predictions', 'probabilities', 'details', 'metrics')


@flat(CrossValidateConfig)
def evaluate_regressor(
    ctx, table, metadata, sequences=None, encoder=None, distance_matrix=None, groups=None, covariates=None,
    sample_metadata=None, extra_targets=None, scale_by=None, sample_weights=None, settings=None,
    taxonomy=None, phylogeny=None, *, config
):  # fmt: skip
    inputs = {'table': table, 'sequences': sequences, 'encoder': encoder, 'distance_matrix': distance_matrix}
    inputs |= {'taxonomy': taxonomy, 'phylogeny': phylogeny, 'settings': settings}
    inputs |= {'covariates': covariates, 'extra_targets': extra_targets, 'sample_weights': sample_weights}
    inputs['scale_by'] = scale_by
    coverage = {'coverage': config.training.coverage}
    return _evaluated(ctx, NUMBERS, inputs, metadata, groups, sample_metadata, config, coverage)


@flat(CrossValidateClassifierConfig)
def evaluate_classifier(
    ctx, table, metadata, sequences=None, encoder=None, distance_matrix=None, groups=None, covariates=None,
    sample_metadata=None, extra_targets=None, sample_weights=None, settings=None,
    taxonomy=None, phylogeny=None, *, config
):  # fmt: skip
    inputs = {'table': table, 'sequences': sequences, 'encoder': encoder, 'distance_matrix': distance_matrix}
    inputs |= {'taxonomy': taxonomy, 'phylogeny': phylogeny, 'settings': settings}
    inputs |= {'covariates': covariates, 'extra_targets': extra_targets, 'sample_weights': sample_weights}
    return _evaluated(ctx, CLASSES, inputs, metadata, groups, sample_metadata, config, {})


def _evaluated(ctx, pipeline, inputs, metadata, groups, sample_metadata, config, more):
    name, outputs = pipeline
    cross_validate, evaluate = ctx.get_action('aam', name), ctx.get_action('aam', 'evaluate')
    # as a tuple: where the framework runs actions in parallel, results have no names
    results = tuple(cross_validate(metadata=metadata, groups=groups, **inputs, **config.to_flat()))
    given = dict(zip(outputs, results))
    (page,) = evaluate(truth=metadata, groups=groups, metadata=sample_metadata, **given, **more)
    return (*results, page)


def register(plugin):
    """Register both pipelines with the plugin object."""
    _register(
        plugin, evaluate_regressor, CrossValidateConfig, Numeric, [('predictions', SampleData[RegressorPredictions])],
        {
            'what': 'a numeric metadata column', 'shown': 'predicted against true values with their intervals',
            'pipeline': 'cross-validate', 'model': 'regressor',
        },
        {'evaluate_a_numeric_column': evaluate_regressor_example},
    )  # fmt: skip
    _register(
        plugin, evaluate_classifier, CrossValidateClassifierConfig, Categorical,
        [('predictions', SampleData[ClassifierPredictions]), ('probabilities', SampleData[Probabilities])],
        {
            'what': 'a categorical metadata column', 'shown': 'the confusion matrix, ROC and precision-recall curves',
            'pipeline': 'cross-validate-classifier', 'model': 'classifier',
        },
        {'evaluate_a_categorical_column': evaluate_classifier_example},
    )  # fmt: skip


def _register(plugin, function, config, kind, outputs, words, examples):
    outputs = [*outputs, ('details', SampleData[AAMPredictionDetails]), ('metrics', AAMMetrics)]
    what = words['what']
    plugin.pipelines.register_function(
        function=function,
        inputs={**INPUTS, **CLADES, 'encoder': AAMEncoder, 'settings': AAMSettings},
        parameters={
            'metadata': MetadataColumn[kind],
            'groups': MetadataColumn[Categorical | Numeric],
            'covariates': Metadata,
            'sample_metadata': Metadata,
            'extra_targets': Metadata,
            **({'scale_by': MetadataColumn[Categorical]} if kind is Numeric else {}),
            'sample_weights': MetadataColumn[Numeric],
            **parameters(config),
        },
        outputs=[*outputs, ('evaluation', Visualization)],
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
            'sample_metadata': 'Further columns, by which errors are explained and points coloured.',
            'extra_targets': EXTRA_TARGETS_DESCRIPTION + OF_EXTRA_TARGETS,
            **({'scale_by': SCALE_BY_DESCRIPTION.format(more=OF_SCALE_BY)} if kind is Numeric else {}),
            'sample_weights': SAMPLE_WEIGHTS_DESCRIPTION + OF_WEIGHTS,
            **descriptions(config),
        },
        output_descriptions={
            **{name: OUTPUT_DESCRIPTIONS[name] for name, _ in outputs},
            'evaluation': 'The page: verdict, figures, tables.',
        },
        name=f'Cross-validate the prediction of {what} and show the outcome',
        description=DESCRIPTION.format(**words),
        citations=cite('devlin2019', 'lozupone2005', 'loshchilov2019', 'pedregosa2011', 'hesterberg2015'),
        examples=examples,
    )
