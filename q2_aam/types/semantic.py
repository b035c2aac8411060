"""The semantic types, and the registration of all that this room holds."""

from q2_types.sample_data import SampleData
from qiime2.plugin import SemanticType

from . import transformers
from .details import AAMPredictionDetailsDirectoryFormat, AAMPredictionDetailsFormat
from .history import AAMTrainingHistoryDirectoryFormat, AAMTrainingHistoryFormat, AAMTrainingPointsFormat
from .metrics import AAMMetricsDirectoryFormat, AAMMetricsFormat
from .models import AAMModelDirectoryFormat

AAMEncoder = SemanticType('AAMEncoder')
AAMRegressor = SemanticType('AAMRegressor')
AAMClassifier = SemanticType('AAMClassifier')
AAMTrainingHistory = SemanticType('AAMTrainingHistory')
AAMMetrics = SemanticType('AAMMetrics')
AAMPredictionDetails = SemanticType('AAMPredictionDetails', variant_of=SampleData.field['type'])

FORMATS = (
    AAMModelDirectoryFormat,
    AAMTrainingHistoryFormat,
    AAMTrainingPointsFormat,
    AAMTrainingHistoryDirectoryFormat,
    AAMPredictionDetailsFormat,
    AAMPredictionDetailsDirectoryFormat,
    AAMMetricsFormat,
    AAMMetricsDirectoryFormat,
)

ARTIFACT_CLASSES = (
    (
        AAMEncoder,
        AAMModelDirectoryFormat,
        'A pretrained encoder: it turns the sequences and abundances of a sample into numbers that a regressor or '
        'classifier can start from.',
    ),
    (AAMRegressor, AAMModelDirectoryFormat, 'A model that predicts a number for each sample of a feature table.'),
    (AAMClassifier, AAMModelDirectoryFormat, 'A model that predicts a class for each sample of a feature table.'),
    (
        AAMTrainingHistory,
        AAMTrainingHistoryDirectoryFormat,
        'What training logged: one row a figure (step, epoch, part, metric, value), and points of predicted against '
        'true values for plots.',
    ),
    (
        SampleData[AAMPredictionDetails],
        AAMPredictionDetailsDirectoryFormat,
        'One row a sample: its part (training, validation, test or new), its prediction, and how well the model '
        'covers it.',
    ),
    (
        AAMMetrics,
        AAMMetricsDirectoryFormat,
        'How good several methods were on the same folds: one row a figure, and their differences with intervals and a '
        'verdict.',
    ),
)


def register(plugin):
    """Register every type, format and transformer with `plugin`."""
    plugin.register_semantic_types(
        AAMEncoder, AAMRegressor, AAMClassifier, AAMTrainingHistory, AAMPredictionDetails, AAMMetrics
    )
    plugin.register_formats(*FORMATS)
    for semantic_type, directory_format, description in ARTIFACT_CLASSES:
        plugin.register_artifact_class(semantic_type, directory_format=directory_format, description=description)
    for transformer in transformers.ALL:
        plugin.register_transformer(transformer)
