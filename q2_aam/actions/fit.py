"""The action `fit_regressor`: a model that predicts a number of the metadata."""

import pandas as pd
import qiime2
from q2_sample_classifier import RegressorPredictions
from q2_types.distance_matrix import LSMatFormat
from q2_types.feature_data import DNAFASTAFormat
from q2_types.feature_table import BIOMV210Format
from q2_types.sample_data import SampleData
from qiime2.plugin import Categorical, MetadataColumn, Numeric

from q2_aam.config import FitConfig
from q2_aam.types import (
    AAMEncoder,
    AAMModelDirectoryFormat,
    AAMPredictionDetails,
    AAMRegressor,
    AAMTrainingHistory,
    AAMTrainingHistoryDirectoryFormat,
)

from .examples import fit_regressor_example
from .shared import DETAILS_DESCRIPTION, HISTORY_DESCRIPTION, INPUT_DESCRIPTIONS, INPUTS, cite, path_of
from .signature import descriptions, flat, parameters

DESCRIPTION = (
    'Train a model that predicts a numeric metadata column from a feature table. The labelled samples are split into '
    'three parts, whole groups at a time: training samples teach the model, validation samples decide when to stop and '
    'which epoch is kept, and test samples are touched by nothing but the final scoring. The target is scaled on '
    'training samples, and predictions come in its own unit. With an encoder from pretrain the model starts from what '
    'that has learned. The model can be used on new samples, with ASVs it never saw, by predict.'
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


def group_names(column):
    """Return a metadata column as names of groups: text, without samples that have none; 12.0 is the group '12'."""
    return column.to_series().dropna().map(_name).astype(object)


def _name(value):
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def register(plugin):
    """Register the action with the plugin object."""
    plugin.methods.register_function(
        function=fit_regressor,
        inputs={**INPUTS, 'encoder': AAMEncoder},
        parameters={
            'metadata': MetadataColumn[Numeric],
            'groups': MetadataColumn[Categorical | Numeric],
            **parameters(FitConfig),
        },
        outputs=[
            ('regressor', AAMRegressor),
            ('predictions', SampleData[RegressorPredictions]),
            ('details', SampleData[AAMPredictionDetails]),
            ('history', AAMTrainingHistory),
        ],
        input_descriptions={
            **INPUT_DESCRIPTIONS,
            'encoder': 'An encoder from pretrain to start from. Without one, the model learns from this table alone.',
        },
        parameter_descriptions={
            'metadata': 'Numeric metadata column to predict: the target. Samples without a value are ignored.',
            'groups': 'Metadata column that names the group of each sample (a subject, a site): samples of a group are '
            'never split across parts.',
            **descriptions(FitConfig),
        },
        output_descriptions={
            'regressor': 'The trained model, with all that prediction needs.',
            'predictions': 'Predictions for the test samples (for the validation samples where test_fraction is 0).',
            'details': DETAILS_DESCRIPTION,
            'history': HISTORY_DESCRIPTION,
        },
        name='Fit a model that predicts a numeric metadata column',
        description=DESCRIPTION,
        citations=cite('vaswani2017', 'devlin2019', 'lozupone2005', 'loshchilov2019'),
        examples={'fit_a_numeric_column': fit_regressor_example},
    )
