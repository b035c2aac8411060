"""Several models on the same samples: which errs less, for which samples, and whether they err alike."""

import dataclasses
import itertools

import numpy as np
import pandas as pd

from q2_aam.errors import UserError, counted, shown

from .error_analysis import mean_with_interval


@dataclasses.dataclass(frozen=True)
class SideBySide:
    """What several models predict of the samples that all of them predicted.

    Attributes
    ----------
    target : str
    errors : pandas.DataFrame
        Samples by models: absolute errors, or 1 for a wrong class.
    predicted : pandas.DataFrame
        Samples by models.
    true, groups : pandas.Series
    metadata : pandas.DataFrame
    is_class, grouped : bool
    notes : list of str
    """

    target: str
    errors: pd.DataFrame
    predicted: pd.DataFrame
    true: pd.Series
    groups: pd.Series
    metadata: pd.DataFrame
    is_class: bool
    grouped: bool
    notes: list

    @property
    def ranked(self):
        """Names of the models, the smallest mean error first."""
        return list(self.errors.mean().sort_values(kind='stable').index)


def side_by_side(evaluations, names=None):
    """Put evaluations side by side, on the samples that all of them have.

    Parameters
    ----------
    evaluations : list of q2_aam.evaluation.evaluated.Evaluated
    names : list of str, optional
        By default model 1, model 2, ...

    Returns
    -------
    SideBySide

    Raises
    ------
    UserError
        With fewer than two of them, names that do not fit, or no sample in common.
    """
    names = list(names or [f'model {number}' for number in range(1, len(evaluations) + 1)])
    if len(evaluations) < 2:
        raise UserError('A comparison needs the predictions of two models or more: give each with --i-predictions.')
    if len(names) != len(evaluations) or len(set(names)) < len(names):
        raise UserError(
            f'There are {len(evaluations)} sets of predictions and {counted(len(set(names)), "different name")} for '
            f'them: give one name for each, in the same order.'
        )
    ids = evaluations[0].frame.index
    for one in evaluations[1:]:
        ids = ids[ids.isin(one.frame.index)]
    if not len(ids):
        raise UserError(
            f'The models predicted no sample in common (e.g. {shown(evaluations[0].frame.index[0])} is in the first '
            f'only): give predictions of the same samples.'
        )
    notes = [f'{name}: {note}' for name, one in zip(names, evaluations) for note in one.notes]
    for name, one in zip(names, evaluations):
        if more := len(one.frame) - len(ids):
            notes.append(f'{name}: {counted(more, "sample")} that other models did not predict left out.')
    first = evaluations[0]
    return SideBySide(
        first.target,
        pd.DataFrame({name: one.frame['error'].loc[ids] for name, one in zip(names, evaluations)}),
        pd.DataFrame({name: one.frame['predicted'].loc[ids] for name, one in zip(names, evaluations)}),
        first.frame['true'].loc[ids],
        first.frame['group'].loc[ids],
        first.metadata.loc[ids],
        bool(first.classes),
        first.grouped,
        notes,
    )


def differences(compared):
    """Return the paired difference of every pair of models, the one that errs less first.

    Parameters
    ----------
    compared : SideBySide

    Returns
    -------
    pandas.DataFrame
        Columns better, other, value (mean error of `better` minus that of `other`, at most 0), lower, upper, and
        better_for, equal_for, worse_for: shares of samples.
    """
    rows = []
    for better, other in itertools.combinations(compared.ranked, 2):
        difference = compared.errors[better] - compared.errors[other]
        mean, lower, upper = mean_with_interval(difference, compared.groups)
        shares = [(np.sign(difference) == sign).mean() for sign in (-1, 0, 1)]
        rows.append((better, other, mean, lower, upper, *shares))
    columns = ['better', 'other', 'value', 'lower', 'upper', 'better_for', 'equal_for', 'worse_for']
    return pd.DataFrame(rows, columns=columns)


def correlations(compared):
    """Return how alike the models err, from -1 to 1: correlations of their signed errors, or of being wrong."""
    if compared.is_class:
        signed = compared.errors
    else:
        signed = compared.predicted.sub(compared.true, axis=0).astype(float)
    return signed.corr()
