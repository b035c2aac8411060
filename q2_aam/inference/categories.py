"""The categories of new samples by which a target is scaled: asked for by name, read as the training samples were."""

import warnings

import numpy as np
import pandas as pd

from q2_aam.bundle import ClassTarget, NumericTarget
from q2_aam.data.categories import codes_of, describe_unknown, warn_of_no_shared_samples
from q2_aam.errors import AAMWarning, UserError, listed, shown


def check_categories(target: NumericTarget | ClassTarget, column: pd.Series | None) -> None:
    """Raise UserError, before anything is read, unless a metadata column is there that the target is scaled by.

    Warns
    -----
    AAMWarning
        If one is given for a target that is scaled by none.
    """
    by_category = getattr(target, 'by_category', None)
    if by_category is None and column is not None:
        warnings.warn(
            'The model was trained without scale_by, so that the column given changes nothing.',
            AAMWarning,
            stacklevel=2,
        )
    if by_category is not None and column is None:
        raise UserError(
            f'The model was trained with a target that is scaled by {shown(by_category.name)} '
            f'({listed(map(shown, by_category.categories), 3)}); give a metadata column of such categories as '
            'scale_by, and leave empty what is not known of a sample.'
        )


def read_categories(
    target: NumericTarget | ClassTarget, column: pd.Series | None, sample_ids: list[str], say
) -> np.ndarray | None:
    """Return the number of the category of each sample, int64 [samples], and say of how many it is unknown.

    None where the target is scaled by none.
    """
    by_category = getattr(target, 'by_category', None)
    if by_category is None or column is None:
        return None
    warn_of_no_shared_samples(column, sample_ids)
    codes = codes_of(column, sample_ids, by_category.categories)
    if unknown := describe_unknown(column, sample_ids, codes):
        say(unknown)
    if not codes.any() and column.reindex(sample_ids).notna().any():
        warnings.warn(
            f'Metadata column {shown(column.name)} (scale_by) has no category that the model has learned: its target '
            f'is scaled by {shown(by_category.name)} ({listed(map(shown, by_category.categories), 3)}); give that '
            'column, unless all samples are of new categories.',
            AAMWarning,
            stacklevel=2,
        )
    return codes
