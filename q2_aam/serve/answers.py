"""Predictions for a request, as what is written in JSON."""

import dataclasses
import math
import warnings
from typing import Any

import numpy as np
import pandas as pd

from q2_aam import bundle
from q2_aam.config import PredictClassesConfig, PredictConfig
from q2_aam.data.applicability import SHARES
from q2_aam.data.details import PROBABILITY
from q2_aam.data.signs import Signs
from q2_aam.errors import AAMWarning
from q2_aam.inference.predict import predict, predict_classes
from q2_aam.runtime.run_directory import temporary_directory

from .limits import Refused
from .models import Served
from .requests import Asked

# Columns of details that say nothing here.
LEFT_OUT = ('part', 'true')
APPLICABILITY = (*SHARES, *(field.name for field in dataclasses.fields(Signs)))


def answer(served: Served, asked: Asked, options: dict[str, Any]) -> dict[str, Any]:
    """Return predictions, intervals or probabilities, and applicability of the samples of a request.

    It is called in one thread at a time: warnings are collected for the whole process.

    Parameters
    ----------
    served : Served
    asked : Asked
    options : dict
        Parameters of `predict` or `predict-classes`.

    Raises
    ------
    Refused
        If an option is of the other kind of model.
    q2_aam.errors.UserError
        If an input cannot be used, as in these actions.
    """
    is_regressor = served.kind == bundle.REGRESSOR
    if not is_regressor and 'coverage' in options:
        raise Refused(422, 'The model predicts classes, which have no intervals; leave the parameter coverage out.')
    with warnings.catch_warnings(record=True) as caught, temporary_directory(_silent) as folder:
        warnings.simplefilter('always')
        table, sequences = folder / 'table.biom', None
        asked.counts.write(table)
        if asked.sequences is not None:
            sequences = folder / 'sequences.fasta'
            sequences.write_text(asked.sequences, encoding='utf-8')
        given: dict[str, Any] = {'covariates': asked.covariates}
        if is_regressor:
            given['scale_by'] = _scale_by(served, asked)
            _, details = predict(table, served.model, PredictConfig.from_flat(options), sequences, _silent, **given)
        else:
            config = PredictClassesConfig.from_flat(options)
            *_, details = predict_classes(table, served.model, config, sequences, _silent, **given)
    said = dict.fromkeys(str(one.message) for one in caught if issubclass(one.category, AAMWarning))
    return {
        'kind': served.kind,
        'target': served.card['target'],
        'unit': served.card['unit'],
        'warnings': list(said),
        'samples': [_of_sample(name, row) for name, row in details.to_dict('index').items()],
    }


def _scale_by(served, asked):
    """Return the column of categories by which a target is scaled, which comes among the covariates."""
    name = served.card['request']['scale_by']
    if name is None or asked.covariates is None or name not in asked.covariates:
        return None
    return asked.covariates[name]


def _of_sample(name, row):
    """Return what is said of a sample: its prediction first, what belongs together in objects of its own."""
    said: dict[str, Any] = {'id': str(name), 'prediction': _plain(row['prediction']), 'flag': row['flag']}
    probabilities, applicability = {}, {}
    for column, value in row.items():
        if column in said or column in LEFT_OUT:
            continue
        if column.startswith(PROBABILITY):
            probabilities[column.removeprefix(PROBABILITY)] = _plain(value)
        elif column in APPLICABILITY:
            applicability[column] = _plain(value)
        else:
            said[column] = _plain(value)
    if probabilities:
        said['probabilities'] = probabilities
    return said | {'applicability': applicability}


def _plain(value):
    """Return a value as JSON has it: null for what is missing."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return None if value is None or pd.isna(value) else value


def _silent(line):
    pass
