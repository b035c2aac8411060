"""The visualizer `visualize_importance`: what the predictions of a model depend on."""

import biom
from q2_sample_classifier import ClassifierPredictions, PredictionsFormat, RegressorPredictions
from q2_types.feature_data import FeatureData
from q2_types.feature_table import FeatureTable, Frequency, RelativeFrequency
from q2_types.sample_data import SampleData

from q2_aam.types import AAMImportanceDetails, AAMImportanceDetailsDirectoryFormat

from .citations import cite
from .evaluate import text_of
from .importance_examples import visualize_importance_example


def visualize_importance(
    output_dir: str,
    importance_details: AAMImportanceDetailsDirectoryFormat,
    table: biom.Table = None,
    predictions: PredictionsFormat = None,
) -> None:
    # QIIME 2 loads this file to run any action of any plugin
    from q2_aam.data.importance import Importance

    from .importance_page import blocks_of, title_of
    from .page import write_page

    found = Importance.load(str(importance_details))
    predicted = None if predictions is None else text_of(predictions).iloc[:, 0]
    write_page(output_dir, title_of(found), blocks_of(found, table, predicted))


def register(plugin):
    """Register the visualizer with the plugin object."""
    plugin.visualizers.register_function(
        function=visualize_importance,
        inputs={
            'importance_details': FeatureData[AAMImportanceDetails],
            'table': FeatureTable[Frequency | RelativeFrequency],
            'predictions': SampleData[RegressorPredictions | ClassifierPredictions],
        },
        parameters={},
        input_descriptions={
            'importance_details': 'Importance details, from feature-importance.',
            'table': 'Feature table with the samples of the predictions: all of them are then shown by abundance, not '
            'only those in the importance details. It needs predictions.',
            'predictions': 'Predictions for the samples of the table. They need the table.',
        },
        parameter_descriptions={},
        name='Show the importance of ASVs and clades',
        description='Show what the predictions of a model depend on, in one page: the most important ASVs with the '
        'direction and the spread of their effect, clades at every level of the taxonomy, the abundance of the first '
        'twenty ASVs against the predictions, and a heatmap of effects by sample and ASV. Every figure can be saved as '
        'SVG or PNG, every table as TSV.',
        citations=cite('covert2021', 'sundararajan2017', 'satyanarayan2017', 'vanderplas2018'),
        examples={'show_importance': visualize_importance_example},
    )
