"""Every parameter, written down once."""

from .calls import (
    Call,
    CrossValidateClassifierConfig,
    CrossValidateConfig,
    DistancesConfig,
    EmbedConfig,
    ExportOnnxConfig,
    FeatureImportanceConfig,
    FitClassifierConfig,
    FitRegressorConfig,
    PlanConfig,
    PredictClassesConfig,
    PredictConfig,
    PretrainConfig,
    TuneClassifierConfig,
    TuneRegressorConfig,
    VisualizeAttentionConfig,
)
from .fields import AUTO, Group, Option, option
from .model import HeadConfig, ModelConfig, ResolvedModel
from .runtime import ClusterRuntime, RuntimeConfig, TrainingRuntime

__all__ = [
    'AUTO',
    'Call',
    'ClusterRuntime',
    'CrossValidateClassifierConfig',
    'CrossValidateConfig',
    'DistancesConfig',
    'EmbedConfig',
    'ExportOnnxConfig',
    'FeatureImportanceConfig',
    'FitClassifierConfig',
    'FitRegressorConfig',
    'Group',
    'HeadConfig',
    'ModelConfig',
    'Option',
    'PlanConfig',
    'PredictClassesConfig',
    'PredictConfig',
    'PretrainConfig',
    'ResolvedModel',
    'RuntimeConfig',
    'TrainingRuntime',
    'TuneClassifierConfig',
    'TuneRegressorConfig',
    'VisualizeAttentionConfig',
    'option',
]
