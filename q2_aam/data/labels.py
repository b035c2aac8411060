"""The target column (numbers or classes) and the groups, aligned to the samples of a table."""

import collections
import collections.abc
import dataclasses
import os
import warnings

import numpy as np
import pandas as pd

from q2_aam.errors import AAMWarning, UserError, counted, listed, shown

from .names import (
    OF_ALIKE_NAMES,
    OF_CLASSES,
    OF_MISSING_VALUES,
    UNSEEN,
    as_seen,
    check_column_name,
    first_fault,
    means_missing,
)
from .numbers import check_numbers, warn_of_codes, warn_of_times
from .table import read_table


@dataclasses.dataclass(frozen=True)
class Labels:
    """The labelled samples of a table, sorted by id.

    Attributes
    ----------
    name : str
        Of the metadata column.
    sample_ids : list of str
    values : float64 or object [samples]
        Numbers, or names of classes.
    groups : object [samples]
        Names of groups; the sample ids where every sample is a group of its own.
    """

    name: str
    sample_ids: list[str]
    values: np.ndarray
    groups: np.ndarray


def align_numbers(sample_ids: list[str], target: pd.Series, groups: pd.Series | None = None) -> Labels:
    """Find the samples of a table that have a numeric target value.

    Parameters
    ----------
    sample_ids : list of str
        Those of the table.
    target : pandas.Series
        Numbers, indexed by sample id; NaN where a sample has no value.
    groups : pandas.Series, optional
        Names, indexed by sample id; without them every sample is a group of its own.

    Returns
    -------
    Labels

    Raises
    ------
    UserError
        If table and metadata share no sample, if no shared sample has a value, if the values are infinite, beyond what
        can be computed with or all the same, if a labelled sample has no group, or if the column's name cannot be
        written.

    Warns
    -----
    AAMWarning
        For samples that are ignored: without value, or in only one of table and metadata; for values that seem to be
        dates or to stand for a missing value; for groups whose name means that it is not known, or whose names are
        hardly different.
    """
    values = _labelled(sample_ids, target).astype(float)
    check_numbers(values, target.name)
    warn_of_times(values, target.name)
    warn_of_codes(values, target.name)
    return Labels(str(target.name), list(values.index), values.to_numpy(), _groups_of(list(values.index), groups))


def align_classes(sample_ids: list[str], target: pd.Series, groups: pd.Series | None = None) -> Labels:
    """Find the samples of a table that have a class; see :func:`align_numbers`, but the values are names of classes.

    Returns
    -------
    Labels
        Their values are str.

    Raises
    ------
    UserError
        Also if there is only one class, if classes cannot be divided (fewer than 2 samples or groups), or if the name
        of a class cannot be written or would be read back as something else.

    Warns
    -----
    AAMWarning
        Also for classes whose name means that there is no value.
    """
    values = _labelled(sample_ids, target).astype(str)
    ids = list(values.index)
    labels = Labels(str(target.name), ids, values.to_numpy(object), _groups_of(ids, groups))
    names, samples = np.unique(labels.values, return_counts=True)
    samples_of = dict(zip(names, samples.tolist()))
    _check_names(samples_of, labels.name)
    if len(names) == 1:
        raise UserError(
            f'Metadata column {shown(target.name)} has only the class {shown(names[0])} '
            f'({counted(len(values), "labelled sample")}); choose a column with at least two classes.'
        )
    _warn_of_missing(samples_of, f'Metadata column {shown(labels.name)} has classes', 'they are learned as classes')
    _check_sizes(labels, names)
    return labels


def labels_with_reads(
    table: str | os.PathLike,
    target: pd.Series,
    groups: pd.Series | None = None,
    align: collections.abc.Callable[..., Labels] = align_numbers,
) -> Labels:
    """Find the samples that folds are made of: labelled, and with reads.

    Parameters
    ----------
    table : path
        BIOM 2.1 HDF5.
    target, groups : pandas.Series
        See :func:`align_numbers`.
    align : callable
        :func:`align_numbers` or :func:`align_classes`.

    Returns
    -------
    Labels

    Raises
    ------
    UserError
        If an input cannot be used.

    Warns
    -----
    AAMWarning
        For samples that are ignored.
    """
    opened = read_table(table)
    labels = align(opened.sample_ids, target, groups)
    reads = np.concatenate([np.asarray(block.sum(axis=1)).ravel() for block in opened.blocks()])
    empty = set(labels.sample_ids) & {name for name, number in zip(opened.sample_ids, reads) if not number}
    if not empty:
        return labels
    warnings.warn(f'Ignored: {counted(len(empty), "sample")} without reads (e.g. {shown(min(empty))}).', AAMWarning)
    rest = [name for name in labels.sample_ids if name not in empty]
    return align(rest, target.loc[target.index.isin(rest)], groups)


def _check_names(samples_of, column):
    """Raise UserError, which lists the classes, if names cannot be written or told apart where they are read."""
    fault = first_fault(samples_of, OF_CLASSES)
    if fault is not None:
        words, wrong = fault
        raise UserError(
            f'Class names must not {words}: metadata column {shown(column)} has {_with_samples(wrong, samples_of)}; '
            'rename them or leave their samples without a value.'
        )
    keys: list[tuple[str, collections.abc.Callable]] = [('upper and lower case', str.lower), (UNSEEN, as_seen)]
    if all(map(_is_number, samples_of)):
        keys.append(('the way a number is written', float))
    for how, key in keys:
        if wrong := _alike(samples_of, key):
            raise UserError(
                f'Class names must differ by more than {how}: metadata column {shown(column)} has '
                f'{_with_samples(wrong, samples_of)}; give the same class one name, or rename one of them.'
            )


def _alike(names, key):
    """Return the names that share their key with another one, neighbours those that share one."""
    alike = collections.defaultdict(list)
    for name in names:
        alike[key(name)].append(name)
    return [name for names in alike.values() if len(names) > 1 for name in names]


def _is_number(name):
    """Return whether a class is read back as a number, as it is where all are numbers."""
    try:
        float(name)
    except ValueError:
        return False
    return True


def _with_samples(names, samples_of):
    return listed(f'{shown(name)} ({counted(samples_of[name], "sample")})' for name in names)


def _warn_of_missing(samples_of, which, meanwhile):
    """Warn of names that stand for a value that is not there."""
    names = [name for name in samples_of if means_missing(name)]
    if names:
        warnings.warn(
            f'{which} {OF_MISSING_VALUES}: {_with_samples(names, samples_of)}; {meanwhile}, so leave such '
            'samples without a value if that is not meant.',
            AAMWarning,
            stacklevel=4,
        )


def _check_sizes(labels, names):
    """Raise UserError, which lists them, unless every class can be divided."""
    small = []
    for name in names:
        members = labels.values == name
        groups = len(set(labels.groups[members]))
        if groups < 2:
            small.append(
                f'{shown(name)} ({counted(int(members.sum()), "labelled sample")} in {counted(groups, "group")})'
            )
    if small:
        raise UserError(
            'Every class needs labelled samples in at least two groups (two samples where no groups are given): too '
            f'small in metadata column {shown(labels.name)} {"is" if len(small) == 1 else "are"} {listed(small)}; '
            'merge with other classes or leave such samples without a value.'
        )


def _labelled(sample_ids, target):
    """Return the values of the samples that are in both and have one, sorted by id; warn of the others."""
    check_column_name(str(target.name))
    shared = sorted(set(sample_ids) & set(target.index))
    if not shared:
        example = shown(min(target.index)) if len(target) else 'none'
        raise UserError(
            'The feature table and the metadata share no sample IDs (e.g. '
            f'{shown(min(sample_ids))} in the table, {example} in the metadata); use the same IDs in both.'
        )
    values = target.loc[shared]
    labelled = values.notna()
    _warn_of_ignored(sample_ids, target, int((~labelled).sum()))
    values = values[labelled]
    if values.empty:
        raise UserError(
            f'Metadata column {shown(target.name)} has no value for any sample of the feature table; choose another '
            'column.'
        )
    return values


def _groups_of(sample_ids, groups):
    if groups is None:
        return np.array(sample_ids, dtype=object)
    aligned = groups.reindex(sample_ids)
    without = list(aligned.index[aligned.isna()])
    if without:
        raise UserError(
            f'Metadata column {shown(groups.name)} (groups) has no value for '
            f'{counted(len(without), "labelled sample")} (e.g. {shown(without[0])}); assign every labelled '
            'sample to a group.'
        )
    names = aligned.astype(str).to_numpy(dtype=object)
    samples_of = dict(zip(*(part.tolist() for part in np.unique(names, return_counts=True))))
    more_than_one = {name: number for name, number in samples_of.items() if number > 1}
    _warn_of_missing(
        more_than_one, f'Metadata column {shown(groups.name)} (groups) has names', 'the samples of each are one group'
    )
    if alike := _alike(samples_of, lambda name: as_seen(name).lower()):
        warnings.warn(
            f'Metadata column {shown(groups.name)} (groups) has names {OF_ALIKE_NAMES}: {listed(map(shown, alike))}; '
            'they are different groups, so give the same group one name if that is not meant.',
            AAMWarning,
            stacklevel=3,
        )
    return names


def _warn_of_ignored(sample_ids, target, without_value):
    ignored = []
    if without_value:
        ignored.append(f'{counted(without_value, "sample")} without a value of {shown(target.name)}')
    for words, only in (
        ('of the feature table absent from the metadata', sorted(set(sample_ids) - set(target.index))),
        ('of the metadata absent from the feature table', sorted(set(target.index) - set(sample_ids))),
    ):
        if only:
            ignored.append(f'{counted(len(only), "sample")} {words} (e.g. {shown(only[0])})')
    if ignored:
        warnings.warn('Ignored: ' + '; '.join(ignored) + '.', AAMWarning, stacklevel=4)
