"""Whether the target can be learned: values that are missing, constant, skewed or no values, classes that are small."""

import numpy as np
import pandas as pd

from q2_aam.data.frames import is_number
from q2_aam.data.labels import align_classes, align_numbers
from q2_aam.errors import UserError, counted, have, listed, shown

from .plan import ERROR, NOTE, WARNING, Finding, from_message

# With fewer labelled samples a test split says nothing; with fewer groups intervals promise nothing.
MIN_LABELLED, MIN_GROUPS = 50, 9
# Share of the labelled samples that may have one value, or be of one group.
MAX_SAME, MAX_GROUP = 0.8, 0.5
# Numbers that stand for a value that is not there, where they lie outside of all others.
SENTINELS = (-1.0, -9.0, -99.0, -999.0, -9999.0, 99.0, 999.0, 9999.0, 99999.0)
# ... by so many of their ranges between quartiles; and as many more for any value to be called extreme.
OUTSIDE, EXTREME = 3.0, 15.0
# Skewness (third standardised moment) from which on a few values dominate errors.
SKEWED, VERY_SKEWED = 1.5, 3.0
# Classes of fewer samples or groups are hardly learned; of more classes, or fewer samples each, names are identifiers.
MIN_IN_CLASS, MIN_GROUPS_OF_CLASS, MAX_CLASSES, MIN_MEAN_IN_CLASS = 10, 5, 50, 4
# The most common class may be so many times the rarest.
MAX_IMBALANCE = 10
# What is said of samples that are in one input only stands elsewhere.
_IGNORED = 'Ignored: '


def align(sample_ids, target, groups, noting):
    """Find the labelled samples, as a fit does.

    Parameters
    ----------
    sample_ids : list of str
        Those of the table that have reads.
    target : pandas.Series
        Numbers or classes by sample id.
    groups : pandas.Series or None
    noting : callable
        See :func:`q2_aam.evaluation.plan_study.look`.

    Returns
    -------
    labels : q2_aam.data.labels.Labels or None
        None where a fit would refuse them.
    findings : list of Finding
    """
    numeric = pd.api.types.is_numeric_dtype(target)
    function, found, labels = align_numbers if numeric else align_classes, [], None
    where = f'column {target.name}'
    with noting() as said:
        try:
            labels = function(sample_ids, target, groups)
        except UserError as error:
            found.append(from_message(ERROR, 'target', where, error))
    found += [from_message(WARNING, 'target', where, text) for text in said if not text.startswith(_IGNORED)]
    return labels, found


def check_number(labels):
    """Return findings on a numeric target."""
    values, column = labels.values, f'column {labels.name}'
    found = _check_few(labels)
    value, times = _most_common(values)
    if times > MAX_SAME * len(values):
        found.append(
            Finding(
                WARNING, 'constant', column,
                f'{times:,} of {counted(len(values), "labelled sample")} have the same value, {value:g}.',
                'Learn whether it differs from that value as a class, or choose another column.',
            )
        )  # fmt: skip
    return found + (_check_sentinels(values, column) or _check_skew(values, column))


def _most_common(values):
    names, times = np.unique(values.astype(str) if values.dtype == object else values, return_counts=True)
    return names[times.argmax()], int(times.max())


def _check_few(labels):
    found, groups = [], len(set(labels.groups))
    if len(labels.values) < MIN_LABELLED:
        found.append(
            Finding(
                WARNING, 'few_labels', f'column {labels.name}',
                f'Only {counted(len(labels.values), "sample")} {have(len(labels.values))} a value: an error on a test '
                'split of them says next to nothing.',
                'Label more samples, and judge by cross-validation.',
            )
        )  # fmt: skip
    elif groups < MIN_GROUPS:
        found.append(
            Finding(
                WARNING, 'few_groups', 'groups',
                f'There are only {counted(groups, "group")}: prediction intervals promise nothing for new ones, and '
                'what distinguishes so few can be chance.',
                'Label samples of more groups.',
            )
        )  # fmt: skip
    name, samples = _most_common(labels.groups)
    if samples > MAX_GROUP * len(labels.values):
        found.append(
            Finding(
                WARNING, 'large_group', 'groups',
                f'{samples:,} of {counted(len(labels.values), "labelled sample")} are of one group, {shown(name)}: '
                'splits and folds cannot be balanced.',
                'Group more finely if samples of this group are independent.',
            )
        )  # fmt: skip
    return found


def _check_sentinels(values, column):
    """Return findings on numbers that mean that there is none, or that are mistakes."""
    distinct = np.unique(values)
    for end in (distinct[0], distinct[-1]):
        rest = values[values != end]
        low, high = np.quantile(rest, [0.25, 0.75])
        away = max(rest.min() - end, end - rest.max())
        spread = high - low
        times = int((values == end).sum())
        alone = end in SENTINELS and (away > OUTSIDE * spread or (end < 0 <= rest.min()))
        if alone or (spread > 0 and away > EXTREME * spread):
            return [
                Finding(
                    WARNING, 'missing_words' if alone else 'extreme', column,
                    f'{counted(times, "labelled sample")} {have(times)} the value {end:g}, where all others are from '
                    f'{rest.min():g} to {rest.max():g}.',
                    'If it stands for a value that is not there, or is a mistake, leave it empty.',
                )
            ]  # fmt: skip
    return []


def _check_skew(values, column):
    spread = values.std()
    skewness = float(((values - values.mean()) ** 3).mean() / spread**3) if spread else 0.0
    if abs(skewness) < SKEWED:
        return []
    side, most = ('below', 'largest') if skewness > 0 else ('above', 'smallest')
    end = values.max() if skewness > 0 else values.min()
    return [
        Finding(
            WARNING if abs(skewness) >= VERY_SKEWED else NOTE, 'skewed', column,
            f'The target is skewed (skewness {skewness:.1f}): half of the values are {side} {np.median(values):g}, the '
            f'{most} is {end:g}, and a few samples dominate errors.',
            'Give its logarithm if errors should count by ratio; target_scaling auto tries the square root of a '
            'target that is never below 0.',
        )
    ]  # fmt: skip


def check_classes(labels):
    """Return findings on a target of classes."""
    column, found = f'column {labels.name}', _check_few(labels)
    names, sizes = np.unique(labels.values.astype(str), return_counts=True)
    if len(names) > MAX_CLASSES or sizes.mean() < MIN_MEAN_IN_CLASS:
        found.append(
            Finding(
                WARNING, 'identifiers', column,
                f'It has {len(names):,} classes in {counted(len(labels.values), "labelled sample")}, as identifiers '
                f'have (e.g. {listed(map(shown, names), 2)}).',
                'Merge classes, or choose another column.',
            )
        )  # fmt: skip
        return found
    groups = {name: len(set(labels.groups[labels.values == name])) for name in names}
    small = [
        f'{shown(name)} ({counted(int(size), "sample")} of {counted(groups[name], "group")})'
        for name, size in zip(names, sizes)
        if size < MIN_IN_CLASS or groups[name] < MIN_GROUPS_OF_CLASS
    ]
    if small:
        found.append(
            Finding(
                WARNING, 'small_classes', column, f'Classes that are hardly learned: {listed(small)}.',
                'Label more of their samples, merge them with others, or leave them without a value.',
            )
        )  # fmt: skip
    elif sizes.max() > MAX_IMBALANCE * sizes.min():
        found.append(
            Finding(
                NOTE, 'imbalance', column,
                f'Class {shown(names[sizes.argmax()])} has {sizes.max() / sizes.min():.0f} times as many samples as '
                f'{shown(names[sizes.argmin()])}.',
                'Judge by balanced accuracy; class_weights balanced, the default, gives every class the same weight.',
            )
        )  # fmt: skip
    if len(names) >= MIN_IN_CLASS and all(map(is_number, names)):
        found.append(
            Finding(
                WARNING, 'numbers', column, f'All classes are numbers (e.g. {listed(names, 3)}), whose order is lost.',
                'Declare the column as numeric (#q2:types) and use fit-regressor.',
            )
        )  # fmt: skip
    return found
