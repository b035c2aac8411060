"""Training, validation and test splits: made of whole groups, with a share of each class in each."""

import collections.abc

import numpy as np

from q2_aam.errors import UserError, counted, listed, shown

TRAINING, VALIDATION, TEST, NEW = 'training', 'validation', 'test', 'new'
# The best of several: on ECAM's 31 infants and three ages a class misses its share of a split by 0.5 samples on
# average, with one draw by 1.4.
DRAWS = 10


def hold_out(
    groups: collections.abc.Sequence[str] | np.ndarray,
    fraction: float,
    generator: np.random.Generator,
    leave: int = 0,
    classes: collections.abc.Sequence[str] | np.ndarray | None = None,
) -> np.ndarray:
    """Choose whole groups that together hold about `fraction` of the samples.

    Parameters
    ----------
    groups : sequence of str
        The group of each sample (its own id where samples are independent).
    fraction : float
        Share of the samples to hold out; 0 holds out none, anything above at least one group.
    generator : numpy.random.Generator
    leave : int
        Groups that must be left for other splits.
    classes : sequence of str, optional
        The class of each sample: about `fraction` of each class is held out, as far as whole groups allow it, and one
        group of each is left where possible.

    Returns
    -------
    bool [samples]
        True where held out.
    """
    names, member, sizes = np.unique(np.asarray(groups, dtype=object), return_inverse=True, return_counts=True)
    of_class = np.zeros((len(names), 0), dtype=np.int64) if classes is None else _samples_of_classes(member, classes)
    # samples that are independent are shared out exactly, whatever their order; groups are not
    draws = 1 if classes is None or len(names) == len(member) else DRAWS
    drawn = [_draw(generator.permutation(len(names)), sizes, of_class, fraction, leave) for _ in range(draws)]
    totals = of_class.sum(axis=0)
    return min(drawn, key=lambda chosen: _distance(of_class[chosen].sum(axis=0), totals, fraction))[member]


def _draw(order, sizes, of_class, fraction, leave):
    """Choose groups, bool [groups], in this order; see :func:`hold_out`."""
    chosen = np.zeros(len(order), dtype=bool)
    sizes, goal, taken, held = sizes.tolist(), fraction * sizes.sum(), of_class[:0].sum(axis=0), 0
    totals, left, spare = of_class.sum(axis=0), (of_class > 0).sum(axis=0), len(order) - leave

    def may_go(group):
        return spare > 0 and (not len(left) or (left[of_class[group] > 0] > 1).all())

    # first groups that take classes no farther from their share; what is then still missing, because classes are too
    # small to be divided, is made up by any group
    for of_any_class in (False, True) if len(totals) else (True,):
        for group in order.tolist():
            # a group that overshoots by more than it now falls short is passed over
            if chosen[group] or held + sizes[group] / 2 > goal or not may_go(group):
                continue
            more = taken + of_class[group]
            if of_any_class or _distance(more, totals, fraction) <= _distance(taken, totals, fraction):
                chosen[group] = True
                taken, held, left, spare = more, held + sizes[group], left - (of_class[group] > 0), spare - 1
    if fraction > 0 and len(order) and not chosen.any():
        # every group is too large: the smallest overshoots least
        free = [group for group in order.tolist() if may_go(group)] or order.tolist()
        chosen[min(free, key=sizes.__getitem__)] = True
    return chosen


def _distance(taken, totals, fraction):
    """Tell how far the held-out samples of each class are from their share: squares, in units of the class, summed."""
    return ((taken - fraction * totals) ** 2 / totals).sum()


def _samples_of_classes(member, classes):
    """Return the number of samples, [groups, classes], of each class in each group."""
    counts = np.zeros((member.max(initial=-1) + 1, len(set(classes))), dtype=np.int64)
    np.add.at(counts, (member, np.unique(np.asarray(classes, dtype=object), return_inverse=True)[1]), 1)
    return counts


def split_samples(
    groups: collections.abc.Sequence[str] | np.ndarray,
    test_fraction: float,
    validation_fraction: float,
    generator: np.random.Generator,
    classes: collections.abc.Sequence[str] | np.ndarray | None = None,
) -> np.ndarray:
    """Divide samples into training, validation and test splits made of whole groups.

    Parameters
    ----------
    groups : sequence of str
    test_fraction, validation_fraction : float
        Shares of the samples, and of those that are not test samples.
    generator : numpy.random.Generator
    classes : sequence of str, optional
        The class of each sample, of which each split gets its share. Without it splits are blind to every label.

    Returns
    -------
    object [samples]
        ``'training'``, ``'validation'`` or ``'test'``.

    Raises
    ------
    UserError
        If there are too few groups (or samples) for the splits that are asked for, or for one of the classes.
    """
    groups = np.asarray(groups, dtype=object)
    splits = np.full(len(groups), TRAINING, dtype=object)
    needed = 2 + (test_fraction > 0)
    available = len(np.unique(groups))
    if available < needed or len(groups) < needed + 1:
        raise UserError(
            f'Training needs at least {needed} groups, one for each split (training, validation'
            f'{", test" if test_fraction > 0 else ""}), and 2 training samples, but has only '
            f'{counted(len(groups), "labelled sample")} in {counted(available, "group")}; label more samples or define '
            'smaller groups.'
        )
    classes = None if classes is None else np.asarray(classes, dtype=object)
    test = hold_out(groups, test_fraction, generator, 2, classes)
    splits[test] = TEST
    rest = np.flatnonzero(~test)
    of_rest = None if classes is None else classes[rest]
    splits[rest[hold_out(groups[rest], validation_fraction, generator, 1, of_rest)]] = VALIDATION
    if (splits == TRAINING).sum() < 2:
        raise UserError(
            f'With test_fraction {test_fraction} and validation_fraction {validation_fraction}, fewer than 2 of '
            f'{counted(len(groups), "labelled sample")} remain for training; lower the fractions or label more samples.'
        )
    if classes is not None:
        check_classes(groups, classes, splits)
    return splits


def check_classes(groups, classes, splits):
    """Raise UserError, which lists the others, unless every class has training samples.

    Parameters
    ----------
    groups, classes, splits : object [samples]
    """
    without = []
    for name in sorted(set(classes) - set(classes[splits == TRAINING])):
        members = classes == name
        samples, of_groups = counted(int(members.sum()), 'labelled sample'), counted(len(set(groups[members])), 'group')
        without.append(f'{shown(name)} ({samples} in {of_groups})')
    if without:
        raise UserError(
            f'Every class needs training samples, but all of {listed(without)} are in the validation and test splits; '
            'label more groups of such classes, lower the fractions or merge them with other classes.'
        )
