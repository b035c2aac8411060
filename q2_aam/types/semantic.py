"""The semantic types, and the registration of all that this room holds."""

from q2_types.feature_data import FeatureData
from q2_types.sample_data import SampleData
from qiime2.plugin import SemanticType

from . import importance, transformers
from .details import AAMPredictionDetailsDirectoryFormat, AAMPredictionDetailsFormat
from .history import AAMTrainingHistoryDirectoryFormat, AAMTrainingHistoryFormat, AAMTrainingPointsFormat
from .importance import AAMImportanceDetailsDirectoryFormat
from .metrics import AAMMetricsDirectoryFormat, AAMMetricsFormat
from .models import AAMModelDirectoryFormat
from .onnx import AAMONNXModelDirectoryFormat
from .settings import AAMSettingsDirectoryFormat, AAMSettingsFormat

AAMEncoder = SemanticType('AAMEncoder')
AAMRegressor = SemanticType('AAMRegressor')
AAMClassifier = SemanticType('AAMClassifier')
AAMTrainingHistory = SemanticType('AAMTrainingHistory')
AAMMetrics = SemanticType('AAMMetrics')
AAMONNXModel = SemanticType('AAMONNXModel')
AAMSettings = SemanticType('AAMSettings')
AAMPredictionDetails = SemanticType('AAMPredictionDetails', variant_of=SampleData.field['type'])
AAMImportanceDetails = SemanticType('AAMImportanceDetails', variant_of=FeatureData.field['type'])

FORMATS = (
    AAMModelDirectoryFormat,
    AAMTrainingHistoryFormat,
    AAMTrainingPointsFormat,
    AAMTrainingHistoryDirectoryFormat,
    AAMPredictionDetailsFormat,
    AAMPredictionDetailsDirectoryFormat,
    AAMMetricsFormat,
    AAMMetricsDirectoryFormat,
    AAMONNXModelDirectoryFormat,
    AAMSettingsFormat,
    AAMSettingsDirectoryFormat,
    *importance.FORMATS,
)

ARTIFACT_CLASSES = (
    (
        AAMEncoder,
        AAMModelDirectoryFormat,
        'A pretrained encoder: it embeds samples from their sequences and abundances, and a regressor or classifier '
        'can start from it.',
    ),
    (AAMRegressor, AAMModelDirectoryFormat, 'A model that predicts a numeric metadata column.'),
    (AAMClassifier, AAMModelDirectoryFormat, 'A model that predicts a categorical metadata column.'),
    (
        AAMTrainingHistory,
        AAMTrainingHistoryDirectoryFormat,
        'The history of a training run: one row per metric (step, epoch, part, metric, value), and points of predicted '
        'against true values for plots.',
    ),
    (
        SampleData[AAMPredictionDetails],
        AAMPredictionDetailsDirectoryFormat,
        'One row per sample: its split (training, validation, test or new), its prediction, and how applicable the '
        'model is to it.',
    ),
    (
        FeatureData[AAMImportanceDetails],
        AAMImportanceDetailsDirectoryFormat,
        'One row per ASV: by how much, and in which direction, the predictions of a model change with it; the same of '
        'clades, and of some samples one by one.',
    ),
    (
        AAMMetrics,
        AAMMetricsDirectoryFormat,
        'The metrics of several methods on the same folds, their differences with confidence intervals, and a verdict.',
    ),
    (
        AAMSettings,
        AAMSettingsDirectoryFormat,
        'Parameters that a search found, as fit-regressor, fit-classifier and the cross-validations take them.',
    ),
    (
        AAMONNXModel,
        AAMONNXModelDirectoryFormat,
        'A model for other runtimes: a graph of ONNX, what it is given and gives, its vocabulary, and a page.',
    ),
)


def register(plugin):
    """Register every type, format and transformer with `plugin`."""
    plugin.register_semantic_types(
        AAMEncoder,
        AAMRegressor,
        AAMClassifier,
        AAMTrainingHistory,
        AAMPredictionDetails,
        AAMMetrics,
        AAMImportanceDetails,
        AAMONNXModel,
        AAMSettings,
    )
    plugin.register_formats(*FORMATS)
    for semantic_type, directory_format, description in ARTIFACT_CLASSES:
        plugin.register_artifact_class(semantic_type, directory_format=directory_format, description=description)
    for transformer in (*transformers.ALL, *importance.TRANSFORMERS):
        plugin.register_transformer(transformer)
