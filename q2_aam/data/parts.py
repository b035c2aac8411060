"""Which samples learn, which choose and which judge: parts made of whole groups, blind to every label."""

import numpy as np

from q2_aam.errors import UserError, counted

TRAINING, VALIDATION, TEST, NEW = 'training', 'validation', 'test', 'new'


def held_out(groups, fraction, generator, leave=0):
    """Choose whole groups that together hold about `fraction` of the samples.

    Parameters
    ----------
    groups : sequence of str
        The group of each sample (its own id where samples are independent).
    fraction : float
        Share of the samples to hold out; 0 holds out none, anything above at least one group.
    generator : numpy.random.Generator
    leave : int
        Groups that must be left for other parts.

    Returns
    -------
    bool [samples]
        True where held out.
    """
    names, member, sizes = np.unique(np.asarray(groups, dtype=object), return_inverse=True, return_counts=True)
    chosen = np.zeros(len(names), dtype=bool)
    wanted, taken = fraction * len(member), 0
    order = generator.permutation(len(names))
    for group in order:
        # a group that overshoots by more than it now falls short is passed over
        if taken + sizes[group] / 2 <= wanted and chosen.sum() < len(names) - leave:
            chosen[group] = True
            taken += sizes[group]
    if fraction > 0 and len(names) and not chosen.any():
        # every group is too large: the smallest overshoots least
        chosen[order[np.argmin(sizes[order])]] = True
    return chosen[member]


def three_parts(groups, test_fraction, validation_fraction, generator):
    """Divide samples into training, validation and test parts made of whole groups.

    Returns
    -------
    object [samples]
        ``'training'``, ``'validation'`` or ``'test'``.

    Raises
    ------
    UserError
        If there are too few groups (or samples) for the parts that are asked for.
    """
    groups = np.asarray(groups, dtype=object)
    parts = np.full(len(groups), TRAINING, dtype=object)
    wanted = 2 + (test_fraction > 0)
    found = len(np.unique(groups))
    if found < wanted or len(groups) < wanted + 1:
        raise UserError(
            f'Training needs {wanted} parts (training, validation{", test" if test_fraction > 0 else ""}) of whole '
            f'groups and at least 2 training samples, but the labelled samples are {counted(len(groups), "sample")} '
            f'in {counted(found, "group")}; give more labelled samples, or groups that are smaller.'
        )
    test = held_out(groups, test_fraction, generator, leave=2)
    parts[test] = TEST
    rest = np.flatnonzero(~test)
    parts[rest[held_out(groups[rest], validation_fraction, generator, leave=1)]] = VALIDATION
    if (parts == TRAINING).sum() < 2:
        raise UserError(
            f'With test_fraction {test_fraction} and validation_fraction {validation_fraction} fewer than 2 of '
            f'{counted(len(groups), "labelled sample")} are left to train on; lower the fractions or label more '
            'samples.'
        )
    return parts
