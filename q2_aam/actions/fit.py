"""The actions `fit_regressor` and `fit_classifier`: models that predict a number or a class of the metadata."""

import pandas as pd
import qiime2
from q2_sample_classifier import ClassifierPredictions, Probabilities, RegressorPredictions
from q2_types.distance_matrix import LSMatFormat
from q2_types.feature_data import DNAFASTAFormat
from q2_types.feature_table import BIOMV210Format
from q2_types.sample_data import SampleData
from qiime2.plugin import Categorical, MetadataColumn, Numeric

from q2_aam.config import FitClassifierConfig, FitConfig
from q2_aam.types import (
    AAMClassifier,
    AAMEncoder,
    AAMModelDirectoryFormat,
    AAMPredictionDetails,
    AAMRegressor,
    AAMTrainingHistory,
    AAMTrainingHistoryDirectoryFormat,
)

from .examples import fit_classifier_example, fit_regressor_example
from .shared import DETAILS_DESCRIPTION, HISTORY_DESCRIPTION, INPUT_DESCRIPTIONS, INPUTS, cite, path_of
from .signature import descriptions, flat, parameters

REGRESSOR_DESCRIPTION = (
    'Train a model that predicts a numeric metadata column from a feature table. The labelled samples are split into '
    'three parts, whole groups at a time: training samples teach the model, validation samples decide when to stop and '
    'which epoch is kept, and test samples are touched by nothing but the final scoring. The target is scaled on '
    'training samples, and predictions come in its own unit, each with an interval that is to hold the true value '
    '(conformal prediction: as wide as errors of models that had not learned from a sample or its group). With an '
    'encoder from pretrain the model starts from what that has learned. The model can be used on new samples, with '
    'ASVs it never saw, by predict.'
)

CLASSIFIER_DESCRIPTION = (
    'Train a model that predicts a categorical metadata column from a feature table: the class of each sample and the '
    'probability of each class. The labelled samples are split into three parts, whole groups at a time, each with its '
    'share of every class as far as groups allow it: training samples teach the model, validation samples decide when '
    'to stop and which epoch is kept, probabilities are as sure as they may be on samples left out in learning, and '
    'test samples are touched by nothing but the final scoring. With an encoder from pretrain the model starts from '
    'what that has learned. The model can be used on new samples, with ASVs it never saw, by predict-classes.'
)


@flat(FitConfig)
def fit_regressor(
    table: BIOMV210Format,
    metadata: qiime2.NumericMetadataColumn,
    sequences: DNAFASTAFormat = None,
    encoder: AAMModelDirectoryFormat = None,
    distance_matrix: LSMatFormat = None,
    groups: qiime2.MetadataColumn = None,
    *,
    config: FitConfig,
) -> (AAMModelDirectoryFormat, pd.Series, pd.DataFrame, AAMTrainingHistoryDirectoryFormat):
    # torch comes with it, and QIIME 2 loads this file to run any action of any plugin
    from q2_aam.training.fit import fit_regressor as train

    regressor, history = AAMModelDirectoryFormat(), AAMTrainingHistoryDirectoryFormat()
    predictions, details, logged = train(
        str(table),
        metadata.to_series(),
        str(regressor),
        config,
        sequences=path_of(sequences),
        encoder=path_of(encoder),
        groups=None if groups is None else group_names(groups),
        distance_matrix=path_of(distance_matrix),
    )
    logged.save(str(history))
    return regressor, predictions, details, history


@flat(FitClassifierConfig)
def fit_classifier(
    table: BIOMV210Format,
    metadata: qiime2.CategoricalMetadataColumn,
    sequences: DNAFASTAFormat = None,
    encoder: AAMModelDirectoryFormat = None,
    distance_matrix: LSMatFormat = None,
    groups: qiime2.MetadataColumn = None,
    *,
    config: FitClassifierConfig,
) -> (AAMModelDirectoryFormat, pd.Series, pd.DataFrame, pd.DataFrame, AAMTrainingHistoryDirectoryFormat):
    # torch comes with it, and QIIME 2 loads this file to run any action of any plugin
    from q2_aam.training.fit import fit_classifier as train

    classifier, history = AAMModelDirectoryFormat(), AAMTrainingHistoryDirectoryFormat()
    predictions, probabilities, details, logged = train(
        str(table),
        metadata.to_series(),
        str(classifier),
        config,
        sequences=path_of(sequences),
        encoder=path_of(encoder),
        groups=None if groups is None else group_names(groups),
        distance_matrix=path_of(distance_matrix),
    )
    logged.save(str(history))
    return classifier, predictions, probabilities, details, history


def group_names(column):
    """Return a metadata column as names of groups: text, without samples that have none; 12.0 is the group '12'."""
    return column.to_series().dropna().map(_name).astype(object)


def _name(value):
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


ENCODER_DESCRIPTION = 'An encoder from pretrain to start from. Without one, the model learns from this table alone.'
GROUPS_DESCRIPTION = (
    'Metadata column that names the group of each sample (a subject, a site): samples of a group are never split '
    'across parts.'
)
MODEL_DESCRIPTION = 'The trained model, with all that prediction needs.'
FOR_WHICH_SAMPLES = 'for the test samples (for the validation samples where test_fraction is 0).'
CITED = ('vaswani2017', 'devlin2019', 'lozupone2005', 'loshchilov2019', 'ukkonen1992')


def register(plugin):
    """Register the actions with the plugin object."""
    groups = MetadataColumn[Categorical | Numeric]
    inputs = {**INPUTS, 'encoder': AAMEncoder}
    input_descriptions = {**INPUT_DESCRIPTIONS, 'encoder': ENCODER_DESCRIPTION}
    plugin.methods.register_function(
        function=fit_regressor,
        inputs=inputs,
        parameters={'metadata': MetadataColumn[Numeric], 'groups': groups, **parameters(FitConfig)},
        outputs=[
            ('regressor', AAMRegressor),
            ('predictions', SampleData[RegressorPredictions]),
            ('details', SampleData[AAMPredictionDetails]),
            ('history', AAMTrainingHistory),
        ],
        input_descriptions=input_descriptions,
        parameter_descriptions={
            'metadata': 'Numeric metadata column to predict: the target. Samples without a value are ignored.',
            'groups': GROUPS_DESCRIPTION,
            **descriptions(FitConfig),
        },
        output_descriptions={
            'regressor': MODEL_DESCRIPTION,
            'predictions': f'Predictions {FOR_WHICH_SAMPLES}',
            'details': DETAILS_DESCRIPTION,
            'history': HISTORY_DESCRIPTION,
        },
        name='Fit a model that predicts a numeric metadata column',
        description=REGRESSOR_DESCRIPTION,
        citations=cite(*CITED, 'lei2018', 'lee2023'),
        examples={'fit_a_numeric_column': fit_regressor_example},
    )
    plugin.methods.register_function(
        function=fit_classifier,
        inputs=inputs,
        parameters={'metadata': MetadataColumn[Categorical], 'groups': groups, **parameters(FitClassifierConfig)},
        outputs=[
            ('classifier', AAMClassifier),
            ('predictions', SampleData[ClassifierPredictions]),
            ('probabilities', SampleData[Probabilities]),
            ('details', SampleData[AAMPredictionDetails]),
            ('history', AAMTrainingHistory),
        ],
        input_descriptions=input_descriptions,
        parameter_descriptions={
            'metadata': 'Categorical metadata column to predict: the target, whose values are the classes. Samples '
            'without a value are ignored.',
            'groups': GROUPS_DESCRIPTION,
            **descriptions(FitClassifierConfig),
        },
        output_descriptions={
            'classifier': MODEL_DESCRIPTION,
            'predictions': f'The likeliest class, {FOR_WHICH_SAMPLES}',
            'probabilities': f'The probability of each class, {FOR_WHICH_SAMPLES}',
            'details': DETAILS_DESCRIPTION,
            'history': HISTORY_DESCRIPTION,
        },
        name='Fit a model that predicts a categorical metadata column',
        description=CLASSIFIER_DESCRIPTION,
        citations=cite(*CITED, 'guo2017'),
        examples={'fit_a_categorical_column': fit_classifier_example},
    )
