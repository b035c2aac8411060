"""Predictions put beside true values and all that is known of their samples: what an evaluation looks at."""

import dataclasses

import numpy as np
import pandas as pd

from q2_aam.data.details import LOWER, PROBABILITY, UPPER
from q2_aam.data.frames import is_number
from q2_aam.data.splits import NEW, TEST, VALIDATION
from q2_aam.errors import UserError, counted, have, shown

from .extra_targets import table_of_details
from .out_of_fold import MAX_CLASSES, OF

# Columns of details with what baselines predicted of a number.
BASELINES = ('random_forest', 'extra_trees', 'ridge', 'nearest_neighbours', 'gaussian_process', 'median')
# Columns of details that tell what was read of a sample.
READ = (
    'reads_used', 'asvs_used', 'share_of_reads_truncated', 'share_of_reads_left_out', 'share_of_reads_harmonized',
    'share_of_reads_near', 'share_of_reads_reverse_complement', 'share_of_reads_other_region',
    'share_of_reads_other_length', 'vocabulary_coverage', 'share_of_reads_in_vocabulary', 'familiarity', 'disagreement',
    'covariates_unknown',
)  # fmt: skip
FLAG = 'flag'


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """Samples with a prediction and a true value.

    Attributes
    ----------
    target : str
    frame : pandas.DataFrame
        By sample id: `true`, `predicted`, `error` (absolute, or 1 for a wrong class), `group` (a sample without one is
        its own) and, where they are known, `residual` (predicted minus true), `lower_bound`, `upper_bound`, `fold`,
        baselines, what was read of the sample and its `flag`.
    grouped : bool
        Whether groups were given.
    classes : tuple of str
        Empty for a numeric target.
    probabilities : pandas.DataFrame or None
        By sample id, one column a class.
    metadata : pandas.DataFrame
        Further columns by sample id.
    notes : list of str
        What was left out or changed, one sentence each.
    of_baselines : dict
        {baseline: pandas.DataFrame} of its probabilities, as `probabilities`; empty where classes were made one.
    extra_targets : pandas.DataFrame
        One row an extra target of which details have predictions and true values, see
        :func:`q2_aam.evaluation.extra_targets.table_of_details`.
    """

    target: str
    frame: pd.DataFrame
    grouped: bool
    classes: tuple
    probabilities: pd.DataFrame | None
    metadata: pd.DataFrame
    notes: list
    of_baselines: dict = dataclasses.field(default_factory=dict)
    extra_targets: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)

    @property
    def baselines(self):
        """Names of the baselines whose predictions are there."""
        return [name for name in BASELINES if not self.classes and name in self.frame]


def evaluated(predictions, truth=None, details=None, probabilities=None, metadata=None, groups=None):
    """Put predictions beside true values.

    Of details with splits, test samples (or, of a model applied to others, new ones) alone are taken, if there are any.

    Parameters
    ----------
    predictions : pandas.Series
        Text by sample id, as it stands in the file.
    truth : pandas.Series, optional
        The metadata column, numbers or text; its name is the target. Without it, `true` of the details is taken.
    details : pandas.DataFrame, optional
    probabilities : pandas.DataFrame, optional
        One column a class.
    metadata : pandas.DataFrame, optional
    groups : pandas.Series, optional

    Returns
    -------
    Evaluated

    Raises
    ------
    UserError
        If there are no true values, none of a predicted sample, or but one value; if predictions and true values are
        not of one kind; if every prediction is missing.
    """
    notes = []
    true = _truth(truth, details, str(predictions.name))
    is_class = not pd.api.types.is_numeric_dtype(true)
    predicted = predictions.map(str, na_action='ignore') if is_class else _numbers(predictions, true.name)
    ids = _shared(predicted, true, notes)
    ids = _scored(ids, details, notes)
    ids = _predicted(ids, predicted, details, notes)
    frame = pd.DataFrame({'true': true.loc[ids], 'predicted': predicted.loc[ids]}, index=pd.Index(ids, name='id'))
    if frame['true'].nunique() < 2:
        value = frame['true'].tolist()[0]
        raise UserError(
            f'All {counted(len(frame), "sample")} to evaluate have the same value of {shown(true.name)}, '
            f'{shown(value)}: no error can be judged; give samples with several values.'
        )
    classes, shares, others = (), None, {}
    if is_class:
        _check_labels(frame, true.name)
        classes, shares = _probabilities(frame, details, probabilities, notes)
        others = _of_baselines(frame, details, classes)
        classes, shares = _fewer_classes(frame, classes, shares, notes)
        frame['error'] = (frame['true'] != frame['predicted']).astype(float)
    else:
        frame['residual'] = frame['predicted'] - frame['true']
        frame['error'] = frame['residual'].abs()
    frame['group'] = _groups(groups, frame.index, notes)
    wanted = ('fold', *READ, FLAG) if is_class else (LOWER, UPPER, 'fold', *BASELINES, *READ, FLAG)
    if details is not None:
        # an extra target may be named trees; the baseline of that name comes with another
        lacks = set() if 'random_forest' in details else {'extra_trees'}
        frame = frame.join(
            details.reindex(frame.index)[[name for name in wanted if name in details and name not in lacks]]
        )
    known = pd.DataFrame(index=frame.index)
    if metadata is not None:
        known = metadata.reindex(frame.index).drop(columns=[true.name], errors='ignore')
    extra = pd.DataFrame() if details is None else table_of_details(details.reindex(frame.index))
    return Evaluated(str(true.name), frame, groups is not None, classes, shares, known, notes, others, extra)


def _truth(truth, details, name):
    if truth is not None:
        return truth.dropna()
    if details is None or 'true' not in details or details['true'].notna().sum() == 0:
        raise UserError(
            'There are no true values to compare the predictions with: give the metadata column with them (truth), or '
            'details of samples whose true value is known.'
        )
    return details['true'].dropna().rename(name)


def _numbers(predictions, column):
    cells = predictions.dropna().map(str)
    wrong = [cell for cell in cells if not is_number(cell, finite=False)]
    if wrong:
        raise UserError(
            f'The metadata column {shown(column)} is numeric, but the predictions are classes (e.g. '
            f'{shown(wrong[0])}): give the categorical column that they are predictions of.'
        )
    # inf is no prediction either
    numbers = cells.astype(float)
    return numbers.where(np.isfinite(numbers)).reindex(predictions.index)


def _shared(predicted, true, notes):
    ids = predicted.index[predicted.index.isin(true.index)]
    if not len(ids):
        raise UserError(
            f'The predictions and the metadata column {shown(true.name)} have no sample in common (e.g. '
            f'{shown(predicted.index[0])} is predicted, {shown(true.index[0]) if len(true) else "none"} has a true '
            'value): give the metadata of the samples that were predicted.'
        )
    if lacking := len(predicted) - len(ids):
        first = predicted.index[~predicted.index.isin(true.index)][0]
        notes.append(
            f'{counted(lacking, "predicted sample")} without a true value {_are(lacking)} left out (e.g. '
            f'{shown(first)}).'
        )
    return ids


def _scored(ids, details, notes):
    """Return the samples that no training has seen, of those that details tell a split of."""
    if details is None:
        return ids
    parts = details['part'].reindex(ids)
    unseen = parts.isin([TEST, NEW]) | parts.isna()
    if unseen.any():
        if seen := int((~unseen).sum()):
            notes.append(
                f'{counted(seen, "training or validation sample")} {_are(seen)} left out: the model has seen '
                f'{"its label" if seen == 1 else "their labels"}.'
            )
        return ids[unseen.to_numpy()]
    validation = parts.eq(VALIDATION)
    notes.append(
        'There is no test sample: these are '
        + ('validation samples, which stopped the training, ' if validation.any() else 'training samples, ')
        + 'so that errors of new samples will be larger than those here.'
    )
    return ids[validation.to_numpy()] if validation.any() else ids


def _predicted(ids, predicted, details, notes):
    there = predicted.loc[ids].notna().to_numpy()
    abstained = list(ids[~there])
    if details is not None:
        # predictions leave these out
        rest = details.index[details['prediction'].isna() & details['part'].isin([TEST, NEW])]
        abstained += [name for name in rest if name not in predicted.index]
    if not there.any():
        raise UserError(
            f'None of the {counted(len(ids), "sample")} with a true value has a prediction (e.g. {shown(ids[0])} has '
            'none): the model abstained from all of them; look at the flags in the details.'
        )
    if abstained:
        one = len(abstained) == 1
        notes.append(
            f'{counted(len(abstained), "sample")} {have(len(abstained))} no prediction, because the model '
            f'abstained (e.g. {shown(abstained[0])}), and {"is" if one else "are"} in no score.'
        )
    return ids[there]


def _are(number):
    return 'is' if number == 1 else 'are'


def _check_labels(frame, column):
    if not frame['predicted'].isin(frame['true']).any():
        raise UserError(
            f'No predicted class (e.g. {shown(frame["predicted"].iloc[0])}) occurs in the metadata column '
            f'{shown(column)} (e.g. {shown(frame["true"].iloc[0])}): give the column that was predicted.'
        )


def _probabilities(frame, details, probabilities, notes):
    """Return the classes, in order, and their probabilities or None."""
    shares = probabilities
    if shares is None and details is not None:
        shares = details.filter(regex=f'^{PROBABILITY}').rename(columns=lambda name: name.removeprefix(PROBABILITY))
    columns = () if shares is None else shares.columns
    classes = tuple(sorted({*frame['true'], *frame['predicted'], *columns}))
    if shares is None or shares.shape[1] == 0:
        return classes, None
    lacking = shares.reindex(frame.index).isna().any(axis=1)
    if lacking.any():
        notes.append(
            f'{counted(int(lacking.sum()), "sample")} without probabilities (e.g. {shown(lacking.idxmax())}): no curve '
            'is drawn; give the probabilities that came with the predictions.'
        )
        return classes, None
    return classes, shares.reindex(index=frame.index, columns=list(classes)).fillna(0.0)


def _of_baselines(frame, details, classes):
    """Return {baseline: its probabilities of all samples and classes}, of those that there are in the details."""
    found: dict[str, pd.DataFrame] = {}
    for name in () if details is None or len(classes) > MAX_CLASSES else details.columns:
        method, divided, label = name.partition(OF)
        if divided and label in classes:
            found.setdefault(method, pd.DataFrame(index=frame.index))[label] = details[name].reindex(frame.index)
    whole = {method: shares.reindex(columns=list(classes)) for method, shares in found.items()}
    return {method: shares for method, shares in whole.items() if shares.notna().all(axis=None)}


def _fewer_classes(frame, classes, shares, notes):
    """Make one class of the rarest where there are more than MAX_CLASSES."""
    if len(classes) <= MAX_CLASSES:
        return classes, shares
    counts = frame['true'].value_counts().reindex(classes, fill_value=0)
    kept = sorted(counts.sort_values(ascending=False, kind='stable').index[: MAX_CLASSES - 1])
    rest = f'other ({len(classes) - len(kept)} classes)'
    notes.append(
        f'Of {len(classes)} classes, the {len(kept)} with the most samples are told apart; the others are one, '
        f'{shown(rest)}, within which no error is counted.'
    )
    for column in ('true', 'predicted'):
        frame[column] = frame[column].where(frame[column].isin(kept), rest)
    if shares is not None:
        others = shares.drop(columns=kept).sum(axis=1)
        shares = shares[kept].assign(**{rest: others})
    return (*kept, rest), shares


def _groups(groups, ids, notes):
    if groups is None:
        return np.asarray(ids, dtype=object)
    of_ids = groups.reindex(ids)
    if lacking := int(of_ids.isna().sum()):
        notes.append(f'{counted(lacking, "sample")} without a group {_are(lacking)} taken as a group of one.')
    own = pd.Series([f'{name} (no group)' for name in ids], index=of_ids.index)
    return of_ids.map(str, na_action='ignore').where(of_ids.notna(), own).to_numpy(dtype=object)
