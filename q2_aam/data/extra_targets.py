"""Extra targets: further numeric columns that a network learns beside the target. Importable without torch."""

import collections.abc

import numpy as np
import pandas as pd

from q2_aam.errors import UserError, listed, shown

from .covariates import is_numeric
from .names import OF_COLUMNS, first_fault
from .numbers import MAX_VALUE

# Before the name of an extra target: the columns of its prediction, and of its true value.
EXTRA, TRUE_EXTRA = 'extra_', 'true_extra_'
# The head of the network that predicts them, and their metrics.
HEAD = 'extra_targets'
MAX_EXTRA_TARGETS = 64


def select_extra_targets(
    frame: pd.DataFrame | None, target: str, groups: str | None = None, covariates: collections.abc.Sequence[str] = ()
) -> pd.DataFrame | None:
    """Return the numeric columns of metadata but those of the target and the groups, float64; None without metadata.

    Parameters
    ----------
    frame : pandas.DataFrame or None
        Metadata by sample id.
    target, groups : str
        Names of these columns.
    covariates : sequence of str
        Names of columns that the model reads.

    Raises
    ------
    UserError
        If there is no such column, if there are too many, if a name cannot be written, if a value is infinite or too
        large, or if the model reads what it is to learn.
    """
    if frame is None:
        return None
    columns = [name for name in frame.columns if name not in (target, groups)]
    chosen = [name for name in columns if is_numeric(frame[name]) and frame[name].notna().any()]
    if not chosen:
        raise UserError(
            'The extra targets have no numeric column but those of the target and the groups; give others, or no extra '
            'targets.'
        )
    if len(chosen) > MAX_EXTRA_TARGETS:
        raise UserError(
            f'At most {MAX_EXTRA_TARGETS} extra targets can be learned, but the metadata have {len(chosen):,} numeric '
            'columns; give fewer.'
        )
    if both := [name for name in chosen if name in covariates]:
        raise UserError(
            f'The extra targets have columns that are covariates, too ({listed(map(shown, both))}), so that the model '
            'would read what it is to predict; leave such columns out of one of them.'
        )
    fault = first_fault(map(str, chosen), OF_COLUMNS)
    if fault is not None:
        words, wrong = fault
        raise UserError(f'Names of extra targets must not {words}, but the metadata have {shown(wrong[0])}; rename it.')
    values = frame[chosen].astype(np.float64)
    for name in chosen:
        known = values[name].dropna()
        wrong_ids = known.index[~(known.abs() <= MAX_VALUE)]
        if len(wrong_ids):
            raise UserError(
                f'Extra target {shown(name)} must have values from -{MAX_VALUE:g} to {MAX_VALUE:g}, but has '
                f'{known[wrong_ids[0]]:g} for sample {shown(wrong_ids[0])}; correct it or leave it empty.'
            )
    return values
