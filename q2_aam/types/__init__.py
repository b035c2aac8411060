"""The artifacts: semantic types, formats that validate their content, and transformers to DataFrame and Metadata."""

from .details import AAMPredictionDetailsDirectoryFormat, AAMPredictionDetailsFormat
from .history import AAMTrainingHistoryDirectoryFormat, AAMTrainingHistoryFormat, AAMTrainingPointsFormat
from .importance import AAMImportanceDetailsDirectoryFormat
from .metrics import AAMMetricsDirectoryFormat, AAMMetricsFormat
from .models import AAMModelDirectoryFormat
from .semantic import (
    AAMClassifier,
    AAMEncoder,
    AAMImportanceDetails,
    AAMMetrics,
    AAMPredictionDetails,
    AAMRegressor,
    AAMTrainingHistory,
    register,
)

__all__ = [
    'AAMClassifier',
    'AAMEncoder',
    'AAMImportanceDetails',
    'AAMImportanceDetailsDirectoryFormat',
    'AAMMetrics',
    'AAMMetricsDirectoryFormat',
    'AAMMetricsFormat',
    'AAMModelDirectoryFormat',
    'AAMPredictionDetails',
    'AAMPredictionDetailsDirectoryFormat',
    'AAMPredictionDetailsFormat',
    'AAMRegressor',
    'AAMTrainingHistory',
    'AAMTrainingHistoryDirectoryFormat',
    'AAMTrainingHistoryFormat',
    'AAMTrainingPointsFormat',
    'register',
]
