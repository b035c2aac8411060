"""What an artifact is: semantic types, formats that read their content, and transformers to what a user looks at."""

from .details import AAMPredictionDetailsDirectoryFormat, AAMPredictionDetailsFormat
from .history import AAMTrainingHistoryDirectoryFormat, AAMTrainingHistoryFormat, AAMTrainingPointsFormat
from .metrics import AAMMetricsDirectoryFormat, AAMMetricsFormat
from .models import AAMModelDirectoryFormat
from .semantic import (
    AAMClassifier,
    AAMEncoder,
    AAMMetrics,
    AAMPredictionDetails,
    AAMRegressor,
    AAMTrainingHistory,
    register,
)

__all__ = [
    'AAMClassifier',
    'AAMEncoder',
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
