"""The target column (numbers or classes) and the groups, aligned to the samples of a table."""

import collections.abc
import dataclasses
import os
import warnings

import numpy as np
import pandas as pd

from q2_aam.errors import AAMWarning, UserError, counted

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
        If table and metadata share no sample, if no shared sample has a value, if the values are infinite or all the
        same, or if a labelled sample has no group.

    Warns
    -----
    AAMWarning
        For samples that are ignored: without value, or in only one of table and metadata.
    """
    values = _labelled(sample_ids, target).astype(float)
    if not np.isfinite(values).all():
        raise UserError(
            f'Metadata column "{target.name}" must have finite values: the one of sample '
            f'{values.index[~np.isfinite(values)][0]} is infinite; correct it or leave it empty.'
        )
    if values.nunique() == 1:
        raise UserError(
            f'Metadata column "{target.name}" has only the value {values.iloc[0]:g} '
            f'({counted(len(values), "labelled sample")}); choose a column whose values differ.'
        )
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
        Also if there is only one class, if a class cannot be divided (fewer than 2 samples or groups), or if a name
        cannot be written into tab-separated text.
    """
    values = _labelled(sample_ids, target).astype(str)
    ids = list(values.index)
    labels = Labels(str(target.name), ids, values.to_numpy(object), _groups_of(ids, groups))
    names = sorted(set(labels.values))
    if len(names) == 1:
        raise UserError(
            f'Metadata column "{target.name}" has only the class "{names[0]}" '
            f'({counted(len(values), "labelled sample")}); choose a column with at least two classes.'
        )
    for name in names:
        _check_class(name, labels)
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
    warnings.warn(f'Ignored: {counted(len(empty), "sample")} without reads (e.g. {min(empty)}).', AAMWarning)
    rest = [name for name in labels.sample_ids if name not in empty]
    return align(rest, target.loc[target.index.isin(rest)], groups)


def _check_class(name, labels):
    if not name.strip() or set(name) & set('\t\n\r'):
        raise UserError(
            f'Class names must not be blank or contain tabs or line breaks: metadata column "{labels.name}" has the '
            f'class {name!r} for sample {labels.sample_ids[list(labels.values).index(name)]}; rename it.'
        )
    members = labels.values == name
    groups = len(set(labels.groups[members]))
    if groups < 2:
        raise UserError(
            'Every class needs labelled samples in at least two groups (two samples where no groups are given): class '
            f'"{name}" of metadata column "{labels.name}" has {counted(int(members.sum()), "labelled sample")} in '
            f'{counted(groups, "group")}; merge it with another class or leave its samples without a value.'
        )


def _labelled(sample_ids, target):
    """Return the values of the samples that are in both and have one, sorted by id; warn of the others."""
    shared = sorted(set(sample_ids) & set(target.index))
    if not shared:
        example = f'"{min(target.index)}"' if len(target) else 'none'
        raise UserError(
            'The feature table and the metadata share no sample IDs (e.g. '
            f'"{min(sample_ids)}" in the table, {example} in the metadata); use the same IDs in both.'
        )
    values = target.loc[shared]
    labelled = values.notna()
    _warn_of_ignored(sample_ids, target, int((~labelled).sum()))
    values = values[labelled]
    if values.empty:
        raise UserError(
            f'Metadata column "{target.name}" has no value for any sample of the feature table; choose another column.'
        )
    return values


def _groups_of(sample_ids, groups):
    if groups is None:
        return np.array(sample_ids, dtype=object)
    aligned = groups.reindex(sample_ids)
    without = list(aligned.index[aligned.isna()])
    if without:
        raise UserError(
            f'Metadata column "{groups.name}" (groups) has no value for {counted(len(without), "labelled sample")} '
            f'(e.g. {without[0]}); assign every labelled sample to a group.'
        )
    return aligned.astype(str).to_numpy(dtype=object)


def _warn_of_ignored(sample_ids, target, without_value):
    ignored = []
    if without_value:
        ignored.append(f'{counted(without_value, "sample")} without a value of "{target.name}"')
    for words, only in (
        ('of the feature table absent from the metadata', sorted(set(sample_ids) - set(target.index))),
        ('of the metadata absent from the feature table', sorted(set(target.index) - set(sample_ids))),
    ):
        if only:
            ignored.append(f'{counted(len(only), "sample")} {words} (e.g. {only[0]})')
    if ignored:
        warnings.warn('Ignored: ' + '; '.join(ignored) + '.', AAMWarning, stacklevel=4)
