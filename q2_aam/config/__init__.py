"""Every parameter, written down once."""

from .calls import Call, FitConfig, PredictConfig, PretrainConfig
from .fields import AUTO, Group, Option
from .model import ModelConfig
from .runtime import RuntimeConfig

__all__ = [
    'AUTO',
    'Call',
    'FitConfig',
    'Group',
    'ModelConfig',
    'Option',
    'PredictConfig',
    'PretrainConfig',
    'RuntimeConfig',
]
