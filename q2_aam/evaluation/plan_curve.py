"""What a learning curve says: how well it can do, whether that beats a guess, and what more samples would give.

Shapes: N labelled samples.
"""

import dataclasses
import math

import numpy as np
import pandas as pd

from .error_analysis import mean_with_interval
from .plan import NOTE, WARNING, Finding

GROUP, GUESS = 'group', 'guess'
# Errors that would fall by a larger share with twice as many groups are worth more labels.
WORTHWHILE = 0.1


@dataclasses.dataclass(frozen=True)
class Curve:
    """Errors by the number of groups that there are.

    Attributes
    ----------
    points : pandas.DataFrame
        Columns groups, samples, error, lower, upper, from few groups to all; empty where there are too few.
    guess : float
        Error of a guess that knows nothing of the samples.
    gain : (float, float, float)
        Error less that of a guess with all groups, and the ends of its interval.
    doubled : float or None
        Error with twice as many groups, if it goes on falling as it does; None where it does not fall.
    """

    points: pd.DataFrame
    guess: float
    gain: tuple[float, float, float]
    doubled: float | None


def summarize(errors):
    """Summarize out-of-fold errors.

    Parameters
    ----------
    errors : pandas.DataFrame
        One row a sample: `group`, `guess` and, by the number of parts into which groups were dealt, errors.

    Returns
    -------
    Curve
    """
    groups = errors[GROUP].to_numpy(dtype=object)
    number = len(set(groups))
    rows = []
    for parts in sorted((name for name in errors if isinstance(name, int)), reverse=True):
        rows.append((number / parts, len(errors) / parts, *mean_with_interval(errors[parts], groups)))
    points = pd.DataFrame(rows, columns=['groups', 'samples', 'error', 'lower', 'upper'])
    gain = (math.nan,) * 3
    if 1 in errors:
        gain = mean_with_interval(errors[1] - errors[GUESS], groups)
    return Curve(points, float(errors[GUESS].mean()), gain, _doubled(points['groups'], points['error']))


def _doubled(groups, errors):
    """Return the error that a power law gives for twice as many groups (Hestness et al. 2017, arXiv:1712.00409).

    Curves fall short of it at last, when only noise is left: the end of the curve must fall, too.
    """
    if len(errors) < 2 or errors.min() <= 0:
        return None
    sizes, logs = np.log(groups.to_numpy()), np.log(errors.to_numpy())
    slope = max(np.polyfit(sizes, logs, 1)[0], np.polyfit(sizes[-2:], logs[-2:], 1)[0])
    return float(errors.iloc[-1] * 2**slope) if slope < 0 else None


def check_skill(curve, column):
    """Return findings on whether the samples tell the target at all."""
    gain, lower, upper = curve.gain
    if math.isnan(gain):
        return []
    if not upper < 0:
        return [
            Finding(
                WARNING, 'no_signal', f'column {column}',
                f'Simple models err by {curve.guess + gain:.3g} on groups that were left out, a guess by '
                f'{curve.guess:.3g}: that the samples tell the target is not clear (95 % interval of the difference '
                f'{lower:.2g} to {upper:.2g}).',
                'Label more groups, or choose another column; then plan again.',
            )
        ]  # fmt: skip
    now = curve.points['error'].iloc[-1]
    if curve.doubled is not None and curve.doubled < (1 - WORTHWHILE) * now:
        return [
            Finding(
                NOTE, 'more_labels', f'column {column}',
                f'Errors of simple models still fall with more samples: from {now:.3g} with all of them to about '
                f'{curve.doubled:.3g} with twice as many, if they go on so.',
                'Label samples of more groups if you can.',
            )
        ]  # fmt: skip
    return []
