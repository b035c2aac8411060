"""Covariates of a fit: what is learned of them on the training samples, and what is said of them."""

import dataclasses

import numpy as np
import pandas as pd

from q2_aam.config.covariates import CovariatesConfig
from q2_aam.data.augmentation import Augment
from q2_aam.data.covariate_schema import learn_schema, select_covariates, warn_of_leak
from q2_aam.data.covariates import balancing_scale
from q2_aam.data.labels import Labels
from q2_aam.data.log_abundances import log_abundances
from q2_aam.data.splits import TRAINING, VALIDATION
from q2_aam.data.study import Study
from q2_aam.errors import UserError, shown
from q2_aam.runtime.recorder import Recorder

# Variance of the columns of covariates, as a share of that of the logarithms of abundances, where models read both side
# by side: less, and the penalty of linear members would leave little of them (docs/accuracy.md).
SHARE_OF_VARIANCE = 0.1


def with_covariates(
    study: Study,
    labels: Labels,
    rows: dict[str, np.ndarray],
    metadata: pd.DataFrame | None,
    groups: str | None,
    config: CovariatesConfig,
    augment: Augment | None,
    recorder: Recorder,
) -> Study:
    """Return the study with the covariates of its samples, read as the training samples ask for.

    Parameters
    ----------
    study : Study
    labels : Labels
    rows : dict
        Rows of the study by split; test samples are not looked at.
    metadata : pandas.DataFrame or None
        Without it the study is returned as it is.
    groups : str or None
        Name of the column of groups, which is no covariate.
    config : CovariatesConfig
    augment : callable, optional
        What of a sample is read.
    recorder : Recorder

    Raises
    ------
    q2_aam.errors.UserError
        If the covariates cannot be used.

    Warns
    -----
    q2_aam.errors.AAMWarning
        Of columns that say nothing, and of those that have the values of the target.
    """
    frame = select_covariates(metadata, list(config.covariate_columns), labels.name, groups)
    if frame is None:
        return study
    if not set(study.sample_ids) & set(frame.index):
        raise UserError(
            'The feature table and the covariates share no sample IDs (e.g. '
            f'{shown(study.sample_ids[0])} in the table, {shown(min(frame.index)) if len(frame) else "none"} in the '
            'covariates); use the same IDs in both.'
        )
    training = rows[TRAINING]
    learned = np.sort(np.concatenate([training, rows[VALIDATION]]))
    warn_of_leak(frame, pd.Series(labels.values[learned], _ids(study, learned), name=labels.name))
    schema = learn_schema(frame, _ids(study, training), labels.groups[training])
    columns = schema.read(frame, _ids(study, training)).columns()
    scale = balancing_scale(log_abundances(study, training, augment), columns, SHARE_OF_VARIANCE)
    covariates = dataclasses.replace(schema, ensemble_scale=scale).read(frame, study.sample_ids)
    recorder.say(schema.describe())
    if unknown := covariates.describe_unknown(frame, study.sample_ids):
        recorder.say(unknown)
    return dataclasses.replace(study, covariates=covariates)


def _ids(study, rows):
    return [study.sample_ids[row] for row in rows]
