"""The action `predict`: what a fitted model says of samples, old or new."""

import pandas as pd
from q2_sample_classifier import RegressorPredictions
from q2_types.feature_data import DNAFASTAFormat
from q2_types.feature_table import BIOMV210Format
from q2_types.sample_data import SampleData

from q2_aam.config import PredictConfig
from q2_aam.types import AAMModelDirectoryFormat, AAMPredictionDetails, AAMRegressor

from .examples import predict_example
from .shared import DETAILS_DESCRIPTION, INPUT_DESCRIPTIONS, INPUTS, cite, path_of
from .signature import descriptions, flat, parameters

DESCRIPTION = (
    'Predict a numeric metadata column for the samples of a feature table with a model from fit-regressor. Nothing but '
    'the model, the table and the sequences is read: no metadata and no tree. ASVs that the model never saw are read '
    'by their sequence. The prediction of a sample does not depend on the other samples of the table.'
)


@flat(PredictConfig)
def predict(
    table: BIOMV210Format,
    regressor: AAMModelDirectoryFormat,
    sequences: DNAFASTAFormat = None,
    *,
    config: PredictConfig,
) -> (pd.Series, pd.DataFrame):
    # torch comes with it, and QIIME 2 loads this file to run any action of any plugin
    from q2_aam.inference.predict import predict as run

    predictions, details = run(str(table), str(regressor), config, sequences=path_of(sequences))
    return predictions, details


def register(plugin):
    """Register the action with the plugin object."""
    plugin.methods.register_function(
        function=predict,
        inputs={'table': INPUTS['table'], 'sequences': INPUTS['sequences'], 'regressor': AAMRegressor},
        parameters=parameters(PredictConfig),
        outputs=[
            ('predictions', SampleData[RegressorPredictions]),
            ('details', SampleData[AAMPredictionDetails]),
        ],
        input_descriptions={
            'table': INPUT_DESCRIPTIONS['table'],
            'sequences': INPUT_DESCRIPTIONS['sequences'],
            'regressor': 'The model, from fit-regressor.',
        },
        parameter_descriptions=descriptions(PredictConfig),
        output_descriptions={
            'predictions': 'The prediction for each sample, in the unit of the target.',
            'details': DETAILS_DESCRIPTION,
        },
        name='Predict a numeric metadata column',
        description=DESCRIPTION,
        citations=cite('vaswani2017'),
        examples={'predict_new_samples': predict_example},
    )
