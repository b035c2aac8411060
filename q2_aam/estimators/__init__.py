"""The models as scikit-learn has them: tables in memory go in, arrays come out, and no file or QIIME 2 is seen.

Parameters are those of the actions, from config/. What is looked up by id (sequences, groups, covariates) is a
parameter too, so that cross-validation, which hands on nothing but rows, finds it for any of them. Importable without
torch.
"""

from .base import Model, NotFitted
from .encoder import Encoder
from .predictors import Classifier, Regressor

__all__ = ['Classifier', 'Encoder', 'Model', 'NotFitted', 'Regressor']
