"""Covariates of new samples: asked for by name, read as the model's training samples were."""

import dataclasses
import warnings

import pandas as pd

from q2_aam.data.covariates import CovariateSchema
from q2_aam.data.study import Study
from q2_aam.errors import AAMWarning, UserError, counted, listed, shown


def check_covariates(schema: CovariateSchema | None, frame: pd.DataFrame | None) -> None:
    """Raise UserError, before anything is read, unless the covariates are there that a model asks for.

    Parameters
    ----------
    schema : CovariateSchema or None
        Of the model; None where it reads no covariates.
    frame : pandas.DataFrame or None
        Metadata by sample id.

    Warns
    -----
    AAMWarning
        If covariates are given to a model that reads none.
    """
    if schema is None:
        if frame is not None:
            warnings.warn(
                'The model was trained without covariates, so that those given change nothing.',
                AAMWarning,
                stacklevel=2,
            )
    elif frame is None:
        raise UserError(
            f'The model was trained with {counted(len(schema.names), "covariate")} '
            f'({listed(map(shown, schema.names))}); give metadata with such columns as covariates, and leave empty '
            'what is not known of a sample.'
        )
    else:
        schema.read(frame, [])


def with_covariates(study: Study, schema: CovariateSchema | None, frame: pd.DataFrame | None, say) -> Study:
    """Return a study with the covariates of its samples, and say of how many they are unknown.

    Parameters
    ----------
    study : Study
    schema, frame
        See :func:`check_covariates`. Without a frame, all is unknown.
    say : callable
        Takes one line of progress.

    Warns
    -----
    AAMWarning
        If the frame has none of the samples.
    """
    if schema is None:
        return study
    if frame is not None and not set(study.sample_ids) & set(frame.index):
        example = f'{shown(min(frame.index))} in the covariates' if len(frame) else 'none in the covariates'
        warnings.warn(
            'The feature table and the covariates share no sample IDs (e.g. '
            f'{shown(min(study.sample_ids))} in the table, {example}), so that every covariate is unknown; use the '
            'same IDs in both.',
            AAMWarning,
            stacklevel=2,
        )
    covariates = schema.read(frame, study.sample_ids)
    if unknown := covariates.describe_unknown(frame, study.sample_ids):
        say(unknown)
    return dataclasses.replace(study, covariates=covariates)
