"""Every parameter, written down once."""

from .calls import (
    Call,
    CrossValidateClassifierConfig,
    CrossValidateConfig,
    DistancesConfig,
    EmbedConfig,
    FitClassifierConfig,
    FitConfig,
    PredictClassesConfig,
    PredictConfig,
    PretrainConfig,
)
from .fields import AUTO, Group, Option
from .model import ModelConfig
from .runtime import RuntimeConfig

__all__ = [
    'AUTO',
    'Call',
    'CrossValidateClassifierConfig',
    'CrossValidateConfig',
    'DistancesConfig',
    'EmbedConfig',
    'FitClassifierConfig',
    'FitConfig',
    'Group',
    'ModelConfig',
    'Option',
    'PredictClassesConfig',
    'PredictConfig',
    'PretrainConfig',
    'RuntimeConfig',
]
