"""Every parameter, written down once."""

from .calls import (
    Call,
    CrossValidateClassifierConfig,
    CrossValidateConfig,
    DistancesConfig,
    EmbedConfig,
    FitClassifierConfig,
    FitRegressorConfig,
    PredictClassesConfig,
    PredictConfig,
    PretrainConfig,
)
from .fields import AUTO, Group, Option, option
from .model import HeadConfig, ModelConfig, ResolvedModel
from .runtime import RuntimeConfig

__all__ = [
    'AUTO',
    'Call',
    'CrossValidateClassifierConfig',
    'CrossValidateConfig',
    'DistancesConfig',
    'EmbedConfig',
    'FitClassifierConfig',
    'FitRegressorConfig',
    'Group',
    'HeadConfig',
    'ModelConfig',
    'Option',
    'PredictClassesConfig',
    'PredictConfig',
    'PretrainConfig',
    'ResolvedModel',
    'RuntimeConfig',
    'option',
]
