"""The target column (numbers or classes) and the groups, aligned to the samples of a table."""

import dataclasses
import warnings

import numpy as np

from q2_aam.errors import AAMWarning, UserError, counted


@dataclasses.dataclass(frozen=True)
class Labels:
    """The labelled samples of a table, sorted by id: their target values (float64 or str) and their groups (str)."""

    name: str
    sample_ids: list
    values: np.ndarray
    groups: np.ndarray


def align_labels(sample_ids, target, groups=None):
    """Find the samples of a table that have a target value.

    Parameters
    ----------
    sample_ids : list of str
        Those of the table.
    target : pandas.Series
        Numbers, indexed by sample id; NaN where a sample has no value.
    groups : pandas.Series, optional
        Words, indexed by sample id; without them every sample is a group of its own.

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
            f'Metadata column "{target.name}" is infinite for sample {values.index[~np.isfinite(values)][0]}; give a '
            'finite number.'
        )
    if values.nunique() == 1:
        raise UserError(
            f'Metadata column "{target.name}" has only one value, {values.iloc[0]:g}, in '
            f'{counted(len(values), "labelled sample")}; there is nothing to learn from it.'
        )
    return Labels(str(target.name), list(values.index), values.to_numpy(), _groups_of(list(values.index), groups))


def align_classes(sample_ids, target, groups=None):
    """Find the samples of a table that have a class; see :func:`align_labels`, but the values are names of classes.

    Returns
    -------
    Labels
        Their values are str.

    Raises
    ------
    UserError
        Also if there is but one class, if a class cannot be divided (fewer than 2 samples or groups), or if a name
        cannot stand in a table of tab-separated text.
    """
    values = _labelled(sample_ids, target).astype(str)
    ids = list(values.index)
    labels = Labels(str(target.name), ids, values.to_numpy(object), _groups_of(ids, groups))
    names = sorted(set(labels.values))
    if len(names) == 1:
        raise UserError(
            f'Metadata column "{target.name}" has only one class, "{names[0]}", in '
            f'{counted(len(values), "labelled sample")}; there is nothing to learn from it.'
        )
    for name in names:
        _check_class(name, labels)
    return labels


def _check_class(name, labels):
    if not name.strip() or set(name) & set('\t\n\r'):
        raise UserError(
            f'Metadata column "{labels.name}" has the class {name!r} for sample '
            f'{labels.sample_ids[list(labels.values).index(name)]}, but a class needs a name without tabs and line '
            'breaks; rename it.'
        )
    own = labels.values == name
    found = len(set(labels.groups[own]))
    if found < 2:
        raise UserError(
            f'Class "{name}" of metadata column "{labels.name}" has {counted(int(own.sum()), "labelled sample")} in '
            f'{counted(found, "group")}, but needs two groups (or samples, where none are given) at least: one to '
            'learn from, one to be tried on; merge it with another class or leave its samples without a value.'
        )


def _labelled(sample_ids, target):
    """Return the values of the samples that are in both and have one, sorted by id; warn of the others."""
    shared = sorted(set(sample_ids) & set(target.index))
    if not shared:
        raise UserError(
            f'The table and the metadata share no sample id: the table has "{min(sample_ids)}" ..., the metadata has '
            f'"{min(target.index) if len(target) else ""}" ...; use the same ids in both.'
        )
    values = target.loc[shared]
    labelled = values.notna()
    _warn_of_ignored(sample_ids, target, int((~labelled).sum()))
    values = values[labelled]
    if values.empty:
        raise UserError(f'Metadata column "{target.name}" has no value for any sample of the table; choose another.')
    return values


def _groups_of(sample_ids, groups):
    if groups is None:
        return np.array(sample_ids, dtype=object)
    found = groups.reindex(sample_ids)
    without = list(found.index[found.isna()])
    if without:
        raise UserError(
            f'The groups column "{groups.name}" has no value for {counted(len(without), "labelled sample")}, e.g. '
            f'{without[0]}; give every labelled sample a group.'
        )
    return found.astype(str).to_numpy(dtype=object)


def _warn_of_ignored(sample_ids, target, without_value):
    ignored = []
    if without_value:
        ignored.append(f'{counted(without_value, "sample")} without a value of "{target.name}"')
    for words, only in (
        ('of the table absent from the metadata', sorted(set(sample_ids) - set(target.index))),
        ('of the metadata absent from the table', sorted(set(target.index) - set(sample_ids))),
    ):
        if only:
            ignored.append(f'{counted(len(only), "sample")} {words} (e.g. {only[0]})')
    if ignored:
        warnings.warn('Ignored: ' + '; '.join(ignored) + '.', AAMWarning, stacklevel=4)
