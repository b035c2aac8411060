"""The artifacts: semantic types, formats that validate their content, and transformers to DataFrame and Metadata."""

from .details import AAMPredictionDetailsDirectoryFormat, AAMPredictionDetailsFormat
from .history import AAMTrainingHistoryDirectoryFormat, AAMTrainingHistoryFormat, AAMTrainingPointsFormat
from .importance import AAMImportanceDetailsDirectoryFormat
from .metrics import AAMMetricsDirectoryFormat, AAMMetricsFormat
from .models import AAMModelDirectoryFormat
from .onnx import AAMONNXModelDirectoryFormat
from .semantic import (
    AAMClassifier,
    AAMEncoder,
    AAMImportanceDetails,
    AAMMetrics,
    AAMONNXModel,
    AAMPredictionDetails,
    AAMRegressor,
    AAMSettings,
    AAMTrainingHistory,
    register,
)
from .settings import AAMSettingsDirectoryFormat, AAMSettingsFormat

__all__ = [
    'AAMClassifier',
    'AAMEncoder',
    'AAMImportanceDetails',
    'AAMImportanceDetailsDirectoryFormat',
    'AAMMetrics',
    'AAMMetricsDirectoryFormat',
    'AAMMetricsFormat',
    'AAMModelDirectoryFormat',
    'AAMONNXModel',
    'AAMONNXModelDirectoryFormat',
    'AAMPredictionDetails',
    'AAMPredictionDetailsDirectoryFormat',
    'AAMPredictionDetailsFormat',
    'AAMRegressor',
    'AAMSettings',
    'AAMSettingsDirectoryFormat',
    'AAMSettingsFormat',
    'AAMTrainingHistory',
    'AAMTrainingHistoryDirectoryFormat',
    'AAMTrainingHistoryFormat',
    'AAMTrainingPointsFormat',
    'register',
]
