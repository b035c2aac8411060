"""The actions `predict` and `predict_classes`: predictions of a trained model for new samples."""

import pandas as pd
import qiime2
from q2_sample_classifier import ClassifierPredictions, Probabilities, RegressorPredictions
from q2_types.feature_data import DNAFASTAFormat
from q2_types.feature_table import BIOMV210Format
from q2_types.sample_data import SampleData
from q2_types.tree import NewickFormat
from qiime2.plugin import Categorical, Metadata, MetadataColumn

from q2_aam.config import PredictClassesConfig, PredictConfig
from q2_aam.types import AAMClassifier, AAMModelDirectoryFormat, AAMPredictionDetails, AAMRegressor
from q2_aam.visualizers.citations import cite

from .clades import CLADES, CLADES_OF_NEW, clades_of
from .examples import predict_classes_example, predict_example
from .shared import DETAILS_DESCRIPTION, INPUT_DESCRIPTIONS, INPUTS, frame_of, path_of, series_of
from .signature import descriptions, flat, parameters

WHAT_IS_READ = (
    'Only the model, the table and the sequences are used, and covariates where the model was trained with some: no '
    'tree, and no other samples. ASVs that the model has never seen are read by their sequences; features without '
    'sequences are known by their names, and new ones left out, or placed by taxonomy or phylogeny. The prediction of '
    'a sample does not depend on the other samples of the table. The details report the applicability of the model to '
    'each sample.'
)
COVARIATES_OF_NEW = (
    'Metadata with the columns that the model was trained with as covariates; needed if, and only if, there were any. '
    'A missing value and a category that the model has not learned are unknown.'
)
SCALE_BY_OF_NEW = (
    'Metadata column of the categories by which the target of the model is scaled; needed if, and only if, it was '
    'trained with one. A category that it has not learned has the scaling of all samples.'
)


@flat(PredictConfig)
def predict(
    table: BIOMV210Format,
    regressor: AAMModelDirectoryFormat,
    sequences: DNAFASTAFormat = None,
    taxonomy: pd.Series = None,
    phylogeny: NewickFormat = None,
    covariates: qiime2.Metadata = None,
    scale_by: qiime2.CategoricalMetadataColumn = None,
    *,
    config: PredictConfig,
) -> (pd.Series, pd.DataFrame):
    # torch comes with it, and QIIME 2 loads this file to run any action of any plugin
    from q2_aam.inference.predict import predict as run

    given = {'sequences': path_of(sequences), 'covariates': frame_of(covariates), 'scale_by': series_of(scale_by)}
    given['clades'] = clades_of(taxonomy, phylogeny)
    predictions, details = run(str(table), str(regressor), config, **given)
    return predictions, details


@flat(PredictClassesConfig)
def predict_classes(
    table: BIOMV210Format,
    classifier: AAMModelDirectoryFormat,
    sequences: DNAFASTAFormat = None,
    taxonomy: pd.Series = None,
    phylogeny: NewickFormat = None,
    covariates: qiime2.Metadata = None,
    *,
    config: PredictClassesConfig,
) -> (pd.Series, pd.DataFrame, pd.DataFrame):
    # torch comes with it, and QIIME 2 loads this file to run any action of any plugin
    from q2_aam.inference.predict import predict_classes as run

    given = {'sequences': path_of(sequences), 'covariates': frame_of(covariates)}
    given['clades'] = clades_of(taxonomy, phylogeny)
    predictions, probabilities, details = run(str(table), str(classifier), config, **given)
    return predictions, probabilities, details


def register(plugin):
    """Register the actions with the plugin object."""
    plugin.methods.register_function(
        function=predict,
        inputs={'table': INPUTS['table'], 'sequences': INPUTS['sequences'], **CLADES, 'regressor': AAMRegressor},
        parameters={'covariates': Metadata, 'scale_by': MetadataColumn[Categorical], **parameters(PredictConfig)},
        outputs=[
            ('predictions', SampleData[RegressorPredictions]),
            ('details', SampleData[AAMPredictionDetails]),
        ],
        input_descriptions={
            'table': INPUT_DESCRIPTIONS['table'],
            'sequences': INPUT_DESCRIPTIONS['sequences'],
            **CLADES_OF_NEW,
            'regressor': 'The model, from fit-regressor.',
        },
        parameter_descriptions={
            'covariates': COVARIATES_OF_NEW,
            'scale_by': SCALE_BY_OF_NEW,
            **descriptions(PredictConfig),
        },
        output_descriptions={
            'predictions': 'The prediction for each sample, in the unit of the target.',
            'details': DETAILS_DESCRIPTION,
        },
        name='Predict a numeric metadata column',
        description='Predict a numeric metadata column for the samples of a feature table with a model from '
        f'fit-regressor. {WHAT_IS_READ}',
        citations=cite('ukkonen1992', 'lei2018', 'lee2023'),
        examples={'predict_new_samples': predict_example},
    )
    plugin.methods.register_function(
        function=predict_classes,
        inputs={'table': INPUTS['table'], 'sequences': INPUTS['sequences'], **CLADES, 'classifier': AAMClassifier},
        parameters={'covariates': Metadata, **parameters(PredictClassesConfig)},
        outputs=[
            ('predictions', SampleData[ClassifierPredictions]),
            ('probabilities', SampleData[Probabilities]),
            ('details', SampleData[AAMPredictionDetails]),
        ],
        input_descriptions={
            'table': INPUT_DESCRIPTIONS['table'],
            'sequences': INPUT_DESCRIPTIONS['sequences'],
            **CLADES_OF_NEW,
            'classifier': 'The model, from fit-classifier.',
        },
        parameter_descriptions={'covariates': COVARIATES_OF_NEW, **descriptions(PredictClassesConfig)},
        output_descriptions={
            'predictions': 'The most probable class of each sample.',
            'probabilities': 'The probability of each class for each sample.',
            'details': DETAILS_DESCRIPTION,
        },
        name='Predict a categorical metadata column',
        description='Predict a categorical metadata column (classes and their probabilities) for the samples of a '
        f'feature table with a model from fit-classifier. {WHAT_IS_READ}',
        citations=cite('ukkonen1992', 'guo2017'),
        examples={'predict_classes_of_new_samples': predict_classes_example},
    )
