"""How well new samples and those that a model was trained on can be told apart, of a whole table.

Shapes: N training samples, B new samples, Q quantiles.
"""

import dataclasses

import numpy as np

from q2_aam.errors import counted

from .familiarity import group_quantile

# Quantiles of the distances of left-out groups that are kept: 0, 1, ..., 100 %; the one beyond which a sample is far.
QUANTILES = 101
FAR = 95
# Share of left-out samples that lie far, and the share of new ones above which there are clearly more: as samples of a
# group lie far together, up to 10 % do in tables of the same study.
EXPECTED, MANY = 0.05, 0.1
# Of a standard normal distribution, for bounds that hold 95 %.
Z = 1.96
# Probabilities that a new sample lies farther than one of a left-out group from which on it is said so.
SOMEWHAT, CLEARLY = 0.6, 0.8


@dataclasses.dataclass(frozen=True)
class Separation:
    """How far the samples of a table lie, beside those of left-out groups of the training samples.

    Attributes
    ----------
    samples : int
    farther : float
        Probability that a sample of the table lies farther than one of a left-out group (AUROC, ties count half): 0.5
        where both are alike, 1 where they can always be told apart.
    beyond, low, high : float
        Share of the samples of the table that lie farther than 95 % of left-out groups, and its 95 % bounds (Wilson
        1927, doi:10.1080/01621459.1927.10502953), as if samples were independent.
    """

    samples: int
    farther: float
    beyond: float
    low: float
    high: float


def distance_quantiles(distances, groups):
    """Return the quantiles of the distances of left-out groups, float64 [Q], each group counting once.

    Parameters
    ----------
    distances : float64 [N]
        See :meth:`q2_aam.stats.familiarity.Familiarity.fit`; if there are several, the largest of each sample.
    groups : array [N]
    """
    return np.array([group_quantile(distances, groups, share) for share in np.linspace(0, 1, QUANTILES)])


def check_quantiles(quantiles):
    """Raise ValueError unless these can be what :func:`distance_quantiles` gives."""
    sound = isinstance(quantiles, np.ndarray) and quantiles.dtype == np.float64 and quantiles.shape == (QUANTILES,)
    # written so that NaN fails
    if not sound or not (quantiles[0] >= 0 and (np.diff(quantiles) >= 0).all() and np.isfinite(quantiles[-1])):
        raise ValueError(
            f'The distances of left-out groups of the model are damaged: they must be {QUANTILES} numbers of 0 or more '
            'in ascending order; train the model again.'
        )


def separation(distances, quantiles):
    """Return how well the samples of a table can be told from left-out groups.

    Parameters
    ----------
    distances : float64 [B]
        Of the new samples; one or more.
    quantiles : float64 [Q]
        See :func:`distance_quantiles`.

    Returns
    -------
    Separation
    """
    distances = np.asarray(distances, dtype=np.float64)
    below, upto = (np.searchsorted(quantiles, distances, side=side) / len(quantiles) for side in ('left', 'right'))
    number, beyond = len(distances), float(np.mean(distances > quantiles[FAR]))
    middle = (beyond + Z**2 / (2 * number)) / (1 + Z**2 / number)
    half = Z * np.sqrt(beyond * (1 - beyond) / number + Z**2 / (4 * number**2)) / (1 + Z**2 / number)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Separation(number, float(np.mean(below + upto) / 2), beyond, float(low), float(high))


def describe(found):
    """Return one sentence on a :class:`Separation`."""
    # of so few samples that the difference may be chance nothing is said (ranks of one sample have a variance of 1/12)
    chance = found.farther - 0.5 <= Z / np.sqrt(12 * found.samples) and found.low <= MANY
    if found.farther >= CLEARLY and not chance:
        verdict = 'the table differs clearly from the training samples'
    elif not chance and (found.farther >= SOMEWHAT or found.low > MANY):
        verdict = 'the table differs somewhat from the training samples'
    else:
        verdict = 'the table cannot be told from new groups of the study that the model was trained on'
    return (
        f'Familiarity: {found.beyond:.0%} of {counted(found.samples, "sample")} ({found.low:.0%} to {found.high:.0%}) '
        f'lie farther from the training samples than {1 - EXPECTED:.0%} of left-out groups do ({EXPECTED:.0%} are to '
        'be expected), and a sample lies farther than one of a left-out group with a probability of '
        f'{found.farther:.2f} (0.50 where both are alike): {verdict}.'
    )
