"""Folds for cross-validation, made of whole groups and alike in the target: which sample is predicted when."""

import numpy as np

from q2_aam.errors import UserError, counted, listed, shown

# Quantiles of the target, of which each fold gets its share.
QUANTILES = 5
# streams of random numbers
FOLDS, FITS = 20, 21


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
        If there are fewer groups than folds, or fewer than the 3 that training, validation and test need; or if a fold
        takes so many of them that fewer than 2 are left for training and validation.
    """
    names, member = np.unique(np.asarray(groups, dtype=object), return_inverse=True)
    needed = 3 if leave_one_group_out else max(folds, 3)
    if len(names) < needed:
        raise UserError(
            f'Cross-validation {"by leaving one group out" if leave_one_group_out else f"in {folds} folds"} needs at '
            f'least {needed} groups of labelled samples (each sample is a group if no groups are given), but there '
            f'{"is" if len(names) == 1 else "are"} {len(names)}; '
            f'{"label samples of more groups" if needed == 3 else "lower folds"}.'
        )
    if leave_one_group_out:
        return np.tile(member, (repeats, 1))
    strata = strata_of(values)
    plan = np.stack(
        [assign_folds(member, strata, folds, np.random.default_rng([seed, FOLDS, repeat])) for repeat in range(repeats)]
    )
    for fold_of in plan:
        for fold in range(folds):
            if len(np.unique(member[fold_of != fold])) < 2:
                raise UserError(
                    f'Fold {fold + 1} of {folds} holds all groups of labelled samples but one, and training and '
                    'validation need one each; raise folds, or label samples of more groups.'
                )
    return plan


def check_classes(classes, groups, plan):
    """Raise UserError, which lists the others, unless every class has two groups outside of each fold.

    Training needs one of them and validation the other.

    Parameters
    ----------
    classes, groups : object [samples]
    plan : int64 [repeats, samples]
        From :func:`plan_folds`.
    """
    small = []
    for name in np.unique(classes):
        members = classes == name
        fewest, fold = min(
            (len(np.unique(groups[members & (fold_of != fold)])), int(fold))
            for fold_of in plan
            for fold in np.unique(fold_of)
        )
        if fewest < 2:
            samples = counted(int(members.sum()), 'labelled sample')
            of_groups = counted(len(np.unique(groups[members])), 'group')
            small.append(f'{shown(name)} ({samples} in {of_groups}, {fewest or "none"} outside of fold {fold + 1})')
    if small:
        raise UserError(
            'Cross-validation needs two groups of every class outside of each fold, one for training and one for '
            f'validation: too small {"is" if len(small) == 1 else "are"} {listed(small)}; merge with other classes or '
            'leave such samples without a value.'
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
