"""A trained model as a folder: its schema, and the only code that saves or loads one. Importable without torch."""

from .blend import Blend
from .card import CARD_FIELDS, CARD_FILE
from .files import FILES, MODEL_FILE, Bundle, check, load, read_config, save
from .schema import CALLS, CLASSIFIER, CONFIG_FILE, ENCODER, FORMAT_VERSION, REGRESSOR, BundleConfig
from .targets import ClassTarget, NumericTarget

__all__ = [
    'CALLS',
    'CARD_FIELDS',
    'CARD_FILE',
    'CLASSIFIER',
    'CONFIG_FILE',
    'ENCODER',
    'FILES',
    'FORMAT_VERSION',
    'MODEL_FILE',
    'REGRESSOR',
    'Blend',
    'Bundle',
    'BundleConfig',
    'ClassTarget',
    'NumericTarget',
    'check',
    'load',
    'read_config',
    'save',
]
