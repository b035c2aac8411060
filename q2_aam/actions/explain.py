"""The actions `feature_importance` and `visualize_attention`: what predictions depend on, what a network looks at."""

import pandas as pd
import qiime2
from q2_sample_classifier import Importance
from q2_types.feature_data import DNAFASTAFormat, FeatureData, Taxonomy
from q2_types.feature_table import BIOMV210Format
from qiime2.plugin import Categorical, Metadata, MetadataColumn

from q2_aam.config import FeatureImportanceConfig, VisualizeAttentionConfig
from q2_aam.types import (
    AAMClassifier,
    AAMImportanceDetails,
    AAMImportanceDetailsDirectoryFormat,
    AAMModelDirectoryFormat,
    AAMRegressor,
)
from q2_aam.visualizers.citations import cite

from .examples_explain import feature_importance_example, visualize_attention_example
from .predict import COVARIATES_OF_NEW, SCALE_BY_OF_NEW
from .shared import INPUT_DESCRIPTIONS, INPUTS, frame_of, path_of, series_of
from .signature import descriptions, flat, parameters

DESCRIPTION = (
    'Measure how the predictions of a model depend on each ASV: its reads are taken away from the samples that have '
    'it, one ASV at a time, and the change of the prediction of network and abundance ensemble together is its effect. '
    'Where several ASVs tell the same, each alone seems to matter little: with a taxonomy, all ASVs of a clade are '
    'taken away at once, too, at every level. Integrated gradients of the network stand beside it. Give samples that '
    'the model was not trained on, such as the test samples of a fit or new ones. Importance tells what a model looks '
    'at, not what causes the target.'
)


ATTENTION_DESCRIPTION = (
    'Show what the network of a model attends to, in one page: for some samples, which ASVs the summary of the sample '
    'attends to, by layer and head and through all layers (rollout), beside the effect of each ASV on the prediction; '
    'for some ASVs, which nucleotides matter, and how the ASV differs from the nearest other one that the model knows. '
    'Attention is no explanation: the page says how far it agrees with effects. Every figure can be saved as SVG or '
    'PNG, every table as TSV.'
)

TAXONOMY = FeatureData[Taxonomy]
OF_SAMPLES = {'covariates': Metadata, 'scale_by': MetadataColumn[Categorical]}


@flat(FeatureImportanceConfig)
def feature_importance(
    table: BIOMV210Format,
    model: AAMModelDirectoryFormat,
    sequences: DNAFASTAFormat = None,
    taxonomy: pd.DataFrame = None,
    covariates: qiime2.Metadata = None,
    scale_by: qiime2.CategoricalMetadataColumn = None,
    *,
    config: FeatureImportanceConfig,
) -> (pd.DataFrame, AAMImportanceDetailsDirectoryFormat):
    # torch comes with it, and QIIME 2 loads this file to run any action of any plugin
    from q2_aam.inference.explain import importance

    taxa = None if taxonomy is None else taxonomy['Taxon']
    given = {'covariates': frame_of(covariates), 'scale_by': series_of(scale_by)}
    found = importance(str(table), str(model), config, path_of(sequences), taxa, **given)
    details = AAMImportanceDetailsDirectoryFormat()
    found.save(str(details))
    return found.magnitudes, details


@flat(VisualizeAttentionConfig)
def visualize_attention(
    output_dir: str,
    table: BIOMV210Format,
    model: AAMModelDirectoryFormat,
    sequences: DNAFASTAFormat = None,
    taxonomy: pd.DataFrame = None,
    importance_details: pd.DataFrame = None,
    covariates: qiime2.Metadata = None,
    scale_by: qiime2.CategoricalMetadataColumn = None,
    *,
    config: VisualizeAttentionConfig,
) -> None:
    from q2_aam.inference.explain_samples import attention
    from q2_aam.visualizers.attention_page import blocks_of, title_of
    from q2_aam.visualizers.page import write_page

    taxa = None if taxonomy is None else taxonomy['Taxon']
    given = {'importance': importance_details, 'covariates': frame_of(covariates), 'scale_by': series_of(scale_by)}
    found = attention(str(table), str(model), config, path_of(sequences), taxa, **given)
    write_page(output_dir, title_of(found), blocks_of(found))


def register(plugin):
    """Register both actions with the plugin object."""
    plugin.methods.register_function(
        function=feature_importance,
        inputs={
            'table': INPUTS['table'],
            'model': AAMRegressor | AAMClassifier,
            'sequences': INPUTS['sequences'],
            'taxonomy': TAXONOMY,
        },
        parameters={**OF_SAMPLES, **parameters(FeatureImportanceConfig)},
        outputs=[
            ('importance', FeatureData[Importance]),
            ('importance_details', FeatureData[AAMImportanceDetails]),
        ],
        input_descriptions={
            'table': 'Feature table of samples that the model was not trained on, as counts or relative frequencies.',
            'model': 'The model, from fit-regressor or fit-classifier.',
            'sequences': INPUT_DESCRIPTIONS['sequences'],
            'taxonomy': 'Taxonomy of the features: the ASVs of each clade are then taken away at once, too.',
        },
        parameter_descriptions={
            'covariates': COVARIATES_OF_NEW,
            'scale_by': SCALE_BY_OF_NEW,
            **descriptions(FeatureImportanceConfig),
        },
        output_descriptions={
            'importance': 'The importance of each ASV, the largest first: the mean absolute change of the prediction '
            'over all samples. It has no sign; heatmaps of q2-sample-classifier and Empress take it as it is.',
            'importance_details': 'One row per ASV: importance, effect with its sign, spread over samples and members, '
            'share of samples, effects on each class, clade and its effect, taxonomy; the same of clades, and of some '
            'samples one by one. It can be viewed as feature metadata, and is shown by visualize-importance.',
        },
        name='Measure the importance of ASVs and clades',
        description=DESCRIPTION,
        citations=cite('covert2021', 'sundararajan2017'),
        examples={'importance_of_asvs': feature_importance_example},
    )
    plugin.visualizers.register_function(
        function=visualize_attention,
        inputs={
            'table': INPUTS['table'],
            'model': AAMRegressor | AAMClassifier,
            'sequences': INPUTS['sequences'],
            'taxonomy': TAXONOMY,
            'importance_details': FeatureData[AAMImportanceDetails],
        },
        parameters={**OF_SAMPLES, **parameters(VisualizeAttentionConfig)},
        input_descriptions={
            'table': INPUT_DESCRIPTIONS['table'],
            'model': 'The model, from fit-regressor or fit-classifier.',
            'sequences': INPUT_DESCRIPTIONS['sequences'],
            'taxonomy': 'Taxonomy of the features, by which ASVs are named.',
            'importance_details': 'Importance details of this table, from feature-importance: attention is compared '
            'with them, too, and the nucleotides of the most important ASVs are shown.',
        },
        parameter_descriptions={
            'covariates': COVARIATES_OF_NEW,
            'scale_by': SCALE_BY_OF_NEW,
            **descriptions(VisualizeAttentionConfig),
        },
        name='Show what the network attends to',
        description=ATTENTION_DESCRIPTION,
        citations=cite('abnar2020', 'jain2019', 'alipanahi2015', 'satyanarayan2017', 'vanderplas2018'),
        examples={'show_attention': visualize_attention_example},
    )
