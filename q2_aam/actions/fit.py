"""The actions `fit_regressor` and `fit_classifier`: models that predict a numeric or a categorical metadata column."""

import pandas as pd
import qiime2
from q2_sample_classifier import ClassifierPredictions, Probabilities, RegressorPredictions
from q2_types.distance_matrix import LSMatFormat
from q2_types.feature_data import DNAFASTAFormat
from q2_types.feature_table import BIOMV210Format
from q2_types.sample_data import SampleData
from q2_types.tree import NewickFormat
from qiime2.plugin import Categorical, Metadata, MetadataColumn, Numeric

from q2_aam.config import FitClassifierConfig, FitRegressorConfig
from q2_aam.types import (
    AAMClassifier,
    AAMEncoder,
    AAMModelDirectoryFormat,
    AAMPredictionDetails,
    AAMRegressor,
    AAMSettings,
    AAMSettingsDirectoryFormat,
    AAMTrainingHistory,
    AAMTrainingHistoryDirectoryFormat,
)
from q2_aam.visualizers.citations import cite

from .clades import CLADES, CLADES_OF_TRAINING
from .examples import fit_classifier_example, fit_regressor_example
from .shared import (
    COVARIATES_DESCRIPTION,
    DETAILS_DESCRIPTION,
    EXTRA_TARGETS_DESCRIPTION,
    GROUPS_DESCRIPTION,
    HISTORY_DESCRIPTION,
    INPUT_DESCRIPTIONS,
    INPUTS,
    OF_TRAINING,
    SAMPLE_WEIGHTS_DESCRIPTION,
    SCALE_BY_DESCRIPTION,
    SETTINGS_DESCRIPTION,
    frame_of,
    path_of,
    saved,
    series_of,
    settings_of,
)
from .signature import descriptions, flat, parameters

REGRESSOR_DESCRIPTION = (
    'Train a model that predicts a numeric metadata column from a feature table. The labelled samples are split by '
    'whole groups: training samples train the model, validation samples stop the training and select the best epoch, '
    'and test samples are used for the final scoring only. The target is scaled on the training samples; predictions '
    'are in its original unit, each with a conformal prediction interval, calibrated on out-of-fold errors. With an '
    'encoder from pretrain, training starts from the pretrained weights. Use predict to apply the model to new '
    'samples, including ASVs that it has never seen.'
)

CLASSIFIER_DESCRIPTION = (
    'Train a model that predicts a categorical metadata column from a feature table: the class of each sample and the '
    'probability of each class. The labelled samples are split by whole groups, stratified by class as far as groups '
    'allow: training samples train the model, validation samples stop the training and select the best epoch, and '
    'test samples are used for the final scoring only. Probabilities are calibrated on out-of-fold predictions '
    '(temperature scaling). With an encoder from pretrain, training starts from the pretrained weights. Use '
    'predict-classes to apply the model to new samples, including ASVs that it has never seen.'
)


@flat(FitRegressorConfig)
def fit_regressor(
    table: BIOMV210Format,
    metadata: qiime2.NumericMetadataColumn,
    sequences: DNAFASTAFormat = None,
    encoder: AAMModelDirectoryFormat = None,
    distance_matrix: LSMatFormat = None,
    taxonomy: pd.Series = None,
    phylogeny: NewickFormat = None,
    groups: qiime2.MetadataColumn = None,
    covariates: qiime2.Metadata = None,
    split: qiime2.CategoricalMetadataColumn = None,
    extra_targets: qiime2.Metadata = None,
    scale_by: qiime2.CategoricalMetadataColumn = None,
    sample_weights: qiime2.NumericMetadataColumn = None,
    settings: AAMSettingsDirectoryFormat = None,
    *,
    config: FitRegressorConfig,
) -> (AAMModelDirectoryFormat, pd.Series, pd.DataFrame, AAMTrainingHistoryDirectoryFormat):
    # torch comes with it, and QIIME 2 loads this file to run any action of any plugin
    from q2_aam.training.fit import fit_regressor as train

    regressor = AAMModelDirectoryFormat()
    predictions, details, logged = train(
        str(table),
        metadata.to_series(),
        str(regressor),
        config,
        sequences=path_of(sequences),
        encoder=path_of(encoder),
        groups=None if groups is None else group_names(groups),
        distance_matrix=path_of(distance_matrix),
        covariates=frame_of(covariates),
        split=series_of(split),
        extra_targets=frame_of(extra_targets),
        scale_by=series_of(scale_by),
        sample_weights=series_of(sample_weights),
        taxonomy=taxonomy,
        phylogeny=path_of(phylogeny),
        settings=settings_of(settings),
    )
    return regressor, predictions, details, saved(logged)


@flat(FitClassifierConfig)
def fit_classifier(
    table: BIOMV210Format,
    metadata: qiime2.CategoricalMetadataColumn,
    sequences: DNAFASTAFormat = None,
    encoder: AAMModelDirectoryFormat = None,
    distance_matrix: LSMatFormat = None,
    taxonomy: pd.Series = None,
    phylogeny: NewickFormat = None,
    groups: qiime2.MetadataColumn = None,
    covariates: qiime2.Metadata = None,
    split: qiime2.CategoricalMetadataColumn = None,
    extra_targets: qiime2.Metadata = None,
    sample_weights: qiime2.NumericMetadataColumn = None,
    settings: AAMSettingsDirectoryFormat = None,
    *,
    config: FitClassifierConfig,
) -> (AAMModelDirectoryFormat, pd.Series, pd.DataFrame, pd.DataFrame, AAMTrainingHistoryDirectoryFormat):
    # torch comes with it, and QIIME 2 loads this file to run any action of any plugin
    from q2_aam.training.fit import fit_classifier as train

    classifier = AAMModelDirectoryFormat()
    predictions, probabilities, details, logged = train(
        str(table),
        metadata.to_series(),
        str(classifier),
        config,
        sequences=path_of(sequences),
        encoder=path_of(encoder),
        groups=None if groups is None else group_names(groups),
        distance_matrix=path_of(distance_matrix),
        covariates=frame_of(covariates),
        split=series_of(split),
        extra_targets=frame_of(extra_targets),
        sample_weights=series_of(sample_weights),
        taxonomy=taxonomy,
        phylogeny=path_of(phylogeny),
        settings=settings_of(settings),
    )
    return classifier, predictions, probabilities, details, saved(logged)


def group_names(column):
    """Return a metadata column as names of groups: text, without missing values; 12.0 is the group '12'."""
    return column.to_series().dropna().map(_name).astype(object)


def _name(value):
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


SPLIT_DESCRIPTION = (
    'Metadata column that names the split of each sample: training, validation or test, in place of test_fraction and '
    'validation_fraction. Samples of which it says anything else, or nothing, are ignored. With test_fraction 0 there '
    'need be no test samples.'
)
ENCODER_DESCRIPTION = 'Encoder from pretrain to start from. Without one, the model is trained on this table alone.'
MODEL_DESCRIPTION = 'The trained model, with everything that prediction needs.'
FOR_WHICH_SAMPLES = 'for the test samples (or, where test_fraction is 0, the validation samples).'
CITED = ('devlin2019', 'lozupone2005', 'loshchilov2019', 'ukkonen1992', 'breiman1996', 'geurts2006')


def register(plugin):
    """Register the actions with the plugin object."""
    columns = {
        'groups': MetadataColumn[Categorical | Numeric],
        'covariates': Metadata,
        'split': MetadataColumn[Categorical],
        'extra_targets': Metadata,
        'sample_weights': MetadataColumn[Numeric],
    }
    column_descriptions = {
        'groups': GROUPS_DESCRIPTION.format(split='split'),
        'covariates': COVARIATES_DESCRIPTION.format(more=OF_TRAINING),
        'split': SPLIT_DESCRIPTION,
        'extra_targets': EXTRA_TARGETS_DESCRIPTION,
        'sample_weights': SAMPLE_WEIGHTS_DESCRIPTION,
    }
    inputs = {**INPUTS, **CLADES, 'encoder': AAMEncoder, 'settings': AAMSettings}
    input_descriptions = {
        **INPUT_DESCRIPTIONS,
        **CLADES_OF_TRAINING,
        'encoder': ENCODER_DESCRIPTION,
        'settings': SETTINGS_DESCRIPTION,
    }
    plugin.methods.register_function(
        function=fit_regressor,
        inputs=inputs,
        parameters={
            'metadata': MetadataColumn[Numeric],
            **columns,
            'scale_by': MetadataColumn[Categorical],
            **parameters(FitRegressorConfig),
        },
        outputs=[
            ('regressor', AAMRegressor),
            ('predictions', SampleData[RegressorPredictions]),
            ('details', SampleData[AAMPredictionDetails]),
            ('history', AAMTrainingHistory),
        ],
        input_descriptions=input_descriptions,
        parameter_descriptions={
            'metadata': 'Numeric metadata column to predict (the target). Samples without a value are ignored.',
            **column_descriptions,
            'scale_by': SCALE_BY_DESCRIPTION.format(more=''),
            **descriptions(FitRegressorConfig),
        },
        output_descriptions={
            'regressor': MODEL_DESCRIPTION,
            'predictions': f'Predictions {FOR_WHICH_SAMPLES}',
            'details': DETAILS_DESCRIPTION,
            'history': HISTORY_DESCRIPTION,
        },
        name='Train a model to predict a numeric metadata column',
        description=REGRESSOR_DESCRIPTION,
        citations=cite(*CITED, 'lei2018', 'lee2023'),
        examples={'fit_a_numeric_column': fit_regressor_example},
    )
    plugin.methods.register_function(
        function=fit_classifier,
        inputs=inputs,
        parameters={'metadata': MetadataColumn[Categorical], **columns, **parameters(FitClassifierConfig)},
        outputs=[
            ('classifier', AAMClassifier),
            ('predictions', SampleData[ClassifierPredictions]),
            ('probabilities', SampleData[Probabilities]),
            ('details', SampleData[AAMPredictionDetails]),
            ('history', AAMTrainingHistory),
        ],
        input_descriptions=input_descriptions,
        parameter_descriptions={
            'metadata': 'Categorical metadata column to predict (the target), whose values are the classes. Samples '
            'without a value are ignored.',
            **column_descriptions,
            **descriptions(FitClassifierConfig),
        },
        output_descriptions={
            'classifier': MODEL_DESCRIPTION,
            'predictions': f'The most probable class, {FOR_WHICH_SAMPLES}',
            'probabilities': f'The probability of each class, {FOR_WHICH_SAMPLES}',
            'details': DETAILS_DESCRIPTION,
            'history': HISTORY_DESCRIPTION,
        },
        name='Train a model to predict a categorical metadata column',
        description=CLASSIFIER_DESCRIPTION,
        citations=cite(*CITED, 'guo2017'),
        examples={'fit_a_categorical_column': fit_classifier_example},
    )
