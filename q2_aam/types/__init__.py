"""What an artifact is: semantic types, formats that read their content, and transformers to what a user looks at."""

from .details import AAMPredictionDetailsDirectoryFormat, AAMPredictionDetailsFormat
from .history import AAMTrainingHistoryDirectoryFormat, AAMTrainingHistoryFormat, AAMTrainingPointsFormat
from .models import AAMModelDirectoryFormat
from .semantic import AAMClassifier, AAMEncoder, AAMPredictionDetails, AAMRegressor, AAMTrainingHistory, register

__all__ = [
    'AAMClassifier',
    'AAMEncoder',
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
