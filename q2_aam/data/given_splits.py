"""Splits and folds that the user gives, as a metadata column."""

import collections.abc
import warnings

import numpy as np
import pandas as pd

from q2_aam.errors import AAMWarning, UserError, counted, listed, shown

from .labels import Labels
from .splits import TEST, TRAINING, VALIDATION, check_classes

PARTS = (TRAINING, VALIDATION, TEST)


def parts_of(split: pd.Series) -> pd.Series:
    """Return the part of each sample by its id: training, validation, test, or missing where it is none of these."""
    parts = split.dropna().astype(str).str.strip().str.lower()
    return parts[parts.isin(PARTS)].reindex(split.index)


def folds_of(split: pd.Series) -> pd.Series:
    """Return the name of the fold of each sample by its id, missing where it has none."""
    names = split.dropna().astype(str).str.strip()
    return names[names != ''].reindex(split.index)


def aligned_to(
    align: collections.abc.Callable[..., Labels], parts: pd.Series, words: str
) -> collections.abc.Callable[..., Labels]:
    """Return what aligns labels as `align` does, but with the samples that have a part alone.

    Parameters
    ----------
    align : callable
        See :func:`q2_aam.data.labels.align_numbers`.
    parts : pandas.Series
        From :func:`parts_of` or :func:`folds_of`.
    words : str
        What the parts are, for the warning that counts the samples without one.
    """
    named = set(parts.index[parts.notna()])

    def aligned(sample_ids, target, groups=None):
        ignored = sorted(set(target.dropna().index) & set(sample_ids) - named)
        if ignored:
            warnings.warn(
                f'Ignored: {counted(len(ignored), "labelled sample")} for which metadata column {shown(parts.name)} '
                f'(split) is no {words} (e.g. {shown(ignored[0])}).',
                AAMWarning,
                stacklevel=2,
            )
        kept = [sample for sample in sample_ids if sample in named]
        if not kept:
            raise UserError(
                f'Metadata column {shown(parts.name)} (split) names no {words} for any sample of the feature table; '
                'choose another column.'
            )
        return align(kept, target.loc[target.index.isin(named)], groups)

    return aligned


def rows_of(
    labels: Labels, parts: pd.Series, test_fraction: float, classes: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Return the rows of each split as the user gives them, int64 each.

    Parameters
    ----------
    labels : Labels
        Of samples that have a part.
    parts : pandas.Series
        From :func:`parts_of`.
    test_fraction : float
        0: there need be no test samples.
    classes : object [samples], optional
        Each needs training samples.

    Raises
    ------
    UserError
        If a part has too few samples.

    Warns
    -----
    AAMWarning
        For groups that are in more than one part.
    """
    part_N = parts.loc[labels.sample_ids].to_numpy(dtype=object)
    samples = {part: int((part_N == part).sum()) for part in PARTS}
    needed = {TRAINING: 2, VALIDATION: 1, TEST: 1 if test_fraction > 0 else 0}
    for part, number in needed.items():
        if samples[part] < number:
            found = listed(f'{count:,} {name}' for name, count in samples.items())
            rest = ', or set test_fraction to 0 to do without' if part == TEST else ''
            raise UserError(
                f'Metadata column {shown(parts.name)} (split) must name at least {counted(number, f"{part} sample")}, '
                f'but of the labelled samples it names {found}; name some{rest}.'
            )
    if classes is not None:
        check_classes(labels.groups, classes, part_N)
    _warn_of_divided(labels, part_N, parts.name, 'split')
    return {part: np.flatnonzero(part_N == part) for part in PARTS}


def plan_of(labels: Labels, folds: pd.Series) -> np.ndarray:
    """Return the fold of each sample as the user gives it, int64 [1, samples], folds in the order of their names.

    Parameters
    ----------
    labels : Labels
        Of samples that have a fold.
    folds : pandas.Series
        From :func:`folds_of`.

    Raises
    ------
    UserError
        If there are fewer than two folds, or fewer than two groups outside of one.

    Warns
    -----
    AAMWarning
        For groups that are in more than one fold.
    """
    names, fold_N = np.unique(folds.loc[labels.sample_ids].to_numpy(dtype=str), return_inverse=True)
    if len(names) < 2:
        raise UserError(
            f'Metadata column {shown(folds.name)} (split) names only the fold {shown(str(names[0]))}; name two or more.'
        )
    for number, name in enumerate(names):
        if len(set(labels.groups[fold_N != number])) < 2:
            raise UserError(
                f'The fold {shown(str(name))} holds all groups of labelled samples but one, and training and '
                'validation need one each; make smaller folds.'
            )
    _warn_of_divided(labels, fold_N, folds.name, 'fold')
    return fold_N[None].astype(np.int64)


def _warn_of_divided(labels, part_N, column, what):
    """Warn of groups of which some samples are in one part and some in another."""
    pairs = pd.DataFrame({'group': labels.groups, 'part': part_N}).drop_duplicates()
    divided = sorted(pairs['group'][pairs['group'].duplicated()].unique())
    if divided:
        warnings.warn(
            f'Metadata column {shown(column)} (split) puts samples of {counted(len(divided), "group")} (e.g. '
            f'{shown(divided[0])}) into more than one {what}: scores will be too good where samples of a group are '
            'alike.',
            AAMWarning,
            stacklevel=3,
        )
