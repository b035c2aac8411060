"""Folds for cross-validation, made of whole groups and alike in the target: which sample is predicted when."""

import warnings

import numpy as np

from q2_aam.data.labels import align_labels
from q2_aam.data.table import read_table
from q2_aam.errors import AAMWarning, UserError, counted

# Quantiles of the target, of which each fold gets its share.
QUANTILES = 5
FOLDS, FITS = 20, 21


def labels_with_reads(table, target, groups=None, align=align_labels):
    """Find the samples that folds are made of: labelled, and with reads.

    Parameters
    ----------
    table : path
        BIOM 2.1 HDF5.
    target, groups : pandas.Series
        See :func:`q2_aam.data.labels.align_labels`.
    align : callable
        `align_labels`, or `align_classes` of the same file.

    Returns
    -------
    q2_aam.data.labels.Labels

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
    left = [name for name in labels.sample_ids if name not in empty]
    return align(left, target.loc[target.index.isin(left)], groups)


def plan_folds(values, groups, folds, repeats, seed, leave_one_group_out=False):
    """Divide the labelled samples into folds, anew for each repeat.

    Parameters
    ----------
    values : sequence [samples]
        Target of each sample: numbers, of whose quantiles each fold gets its share, or words (classes), likewise.
    groups : sequence of str [samples]
        Samples of a group are in one fold.
    folds : int
        Not used where every group is a fold of its own.
    repeats, seed : int
    leave_one_group_out : bool

    Returns
    -------
    int64 [repeats, samples]
        Fold of each sample, from 0.

    Raises
    ------
    UserError
        If there are fewer groups than folds, or fewer than the 3 of which one can be predicted, one choose the best
        epoch and one teach; or if a fold takes so many of them that fewer than 2 are left.
    """
    names, member = np.unique(np.asarray(groups, dtype=object), return_inverse=True)
    wanted = 3 if leave_one_group_out else max(folds, 3)
    if len(names) < wanted:
        raise UserError(
            f'Cross-validation {"by leaving one group out" if leave_one_group_out else f"in {folds} folds"} needs at '
            f'least {wanted} groups (a sample is one where no groups are given), but the labelled samples are in '
            f'{counted(len(names), "group")}; {"label more groups" if wanted == 3 else "lower folds"}.'
        )
    if leave_one_group_out:
        return np.tile(member, (repeats, 1))
    strata = strata_of(values)
    plan = np.stack(
        [assign_folds(member, strata, folds, np.random.default_rng([seed, FOLDS, turn])) for turn in range(repeats)]
    )
    for of_repeat in plan:
        for fold in range(folds):
            if len(np.unique(member[of_repeat != fold])) < 2:
                raise UserError(
                    f'Fold {fold + 1} of {folds} has all groups of labelled samples but one, and 2 are needed to learn '
                    'from; raise folds, or label more groups.'
                )
    return plan


def check_classes(classes, groups, plan):
    """Raise UserError, which names a class, unless what is left by each fold has every class in two groups.

    One of them is needed to learn from and one to choose the best epoch.
    """
    for folds in plan:
        for name in np.unique(classes):
            own = classes == name
            for fold in np.unique(folds):
                left = len(np.unique(groups[own & (folds != fold)]))
                if left < 2:
                    raise UserError(
                        f'Class "{name}" has {counted(int(own.sum()), "labelled sample")} in '
                        f'{counted(len(np.unique(groups[own])), "group")}, and only {left} of these would be left to '
                        f'learn from without fold {fold + 1}; merge it with another class or leave its samples without '
                        'a value.'
                    )


def strata_of(values):
    """Return the stratum of each sample, int64: its class, or the quantile of its number."""
    values = np.asarray(values)
    if values.dtype.kind not in 'fiu':
        return np.unique(values.astype(object), return_inverse=True)[1]
    bounds = np.quantile(values, np.linspace(0, 1, QUANTILES + 1)[1:-1])
    return np.unique(np.searchsorted(bounds, values, side='right'), return_inverse=True)[1]


def assign_folds(member, strata, folds, generator):
    """Put whole groups, one after the other, each into the fold that has least of what the group brings.

    Large groups go first, because small ones then fill up what these leave uneven; those of about the same size go in
    random order.

    Parameters
    ----------
    member, strata : int64 [samples]
        Number of the group, and of the stratum, of each sample.
    folds : int
        At most as many as there are groups: each fold gets one.
    generator : numpy.random.Generator

    Returns
    -------
    int64 [samples]
    """
    brought_GS = np.zeros((member.max() + 1, strata.max() + 1))
    np.add.at(brought_GS, (member, strata), 1)
    totals_S = brought_GS.sum(axis=0)
    sizes = brought_GS.sum(axis=1)
    order = generator.permutation(len(sizes))
    order = order[np.argsort(-np.floor(np.log2(sizes[order])), kind='stable')]
    held_FS = np.zeros((folds, len(totals_S)))
    fold_of = np.empty(len(sizes), dtype=np.int64)
    for group in order:
        # an empty fold costs nothing, so that none stays empty; among equals the one with fewest samples
        cost = (held_FS * brought_GS[group] / totals_S**2).sum(axis=1)
        fold = np.lexsort((generator.random(folds), held_FS.sum(axis=1), cost))[0]
        fold_of[group] = fold
        held_FS[fold] += brought_GS[group]
    return fold_of[member]


def seed_of_fit(seed, repeat, fold):
    """Return the seed, 1 or more, of the models of one fold of one repeat."""
    return int(np.random.default_rng([seed, FITS, repeat, fold]).integers(1, 2**31))
