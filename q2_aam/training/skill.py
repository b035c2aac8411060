"""Whether left-out groups are predicted better than by a guess that looks at no sample.

Shapes: N samples, G groups of them.
"""

import dataclasses
import warnings

import numpy as np
import scipy.special

from q2_aam.errors import AAMWarning, counted, shown
from q2_aam.objectives import TargetObjective
from q2_aam.runtime.heard import OF_GUESSES
from q2_aam.runtime.recorder import Recorder

from .blend import Blended

# Parts that groups are dealt to, each of which is guessed from the others.
FOLDS = 10
# It is warned of where the error is not smaller than that of a guess by this share, or where the 95 % interval of the
# share, whose ends are this quantile, holds 0. In simulated studies of 8 to 100 groups, that is of 85 to 100 % of those
# with random labels (55 to 100 % without the interval), 0 to 20 % where a fifth to a third of the error is saved, and
# none where half of it is.
MIN_SKILL, INTERVAL = 0.05, 0.975
# Groups below which an interval says nothing.
MIN_GROUPS = 5


@dataclasses.dataclass(frozen=True)
class Skill:
    """By how much the error on left-out groups is smaller than that of a guess.

    Attributes
    ----------
    error, guess : float
        Mean error of the model and of the guess.
    value : float
        1 - error / guess.
    lower, upper : float
        Its 95 % interval, as groups vary; NaN with fewer than 5 of them.
    groups : int
    """

    error: float
    guess: float
    value: float
    lower: float
    upper: float
    groups: int

    @property
    def is_doubtful(self) -> bool:
        """Whether the model may be no better than the guess."""
        # written so that NaN is no reason
        return self.value < MIN_SKILL or self.lower <= 0


def skill_of(errors: np.ndarray, guesses: np.ndarray, weights: np.ndarray, groups: np.ndarray) -> Skill | None:
    """Return the skill of a model, with an interval from the spread of groups (a linearised ratio of their sums).

    Parameters
    ----------
    errors, guesses : float64 [N]
        Error of each sample, out of fold, by the model and by the guess.
    weights : float64 [N]
        Of the samples.
    groups : array [N]

    Returns
    -------
    Skill or None
        None where the guess makes no error.
    """
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    ours_G, guess_G = (np.bincount(group, weights * values) for values in (errors, guesses))
    error, guess, total = ours_G.sum(), guess_G.sum(), weights.sum()
    if not guess > 0:
        return None
    value, number = 1 - error / guess, len(ours_G)
    half = np.nan
    if number >= MIN_GROUPS:
        residuals_G = (ours_G - (1 - value) * guess_G) / guess
        half = scipy.special.stdtrit(number - 1, INTERVAL) * np.sqrt(
            number / (number - 1) * (residuals_G @ residuals_G)
        )
    return Skill(
        float(error / total), float(guess / total), float(value), float(value - half), float(value + half), number
    )


def check_skill(target: TargetObjective, calibrated, blended: Blended, recorder: Recorder) -> None:
    """Log the skill of a model out of fold, and issue an AAMWarning where it may be no better than a guess.

    The guess for a sample is the median of the samples of other groups, or the shares of their classes.
    """
    rows = blended.calibrating
    _, group = np.unique(target.groups[rows], return_inverse=True)
    if group.max() == 0:
        # there are no others
        return
    skill = skill_of(*target.beside_guess(calibrated, blended.outputs[rows], rows, group % FOLDS), group)
    if skill is None:
        return
    recorder.log(0, 0, 'run', out_of_fold_skill=skill.value)
    if not skill.is_doubtful:
        return
    if skill.value < MIN_SKILL:
        what = f'Left-out groups are predicted hardly better {OF_GUESSES}, if at all'
    else:
        what = f'That left-out groups are predicted better {OF_GUESSES} may be chance'
    # 0.0 is added where -0.001 would be -0%
    value, lower, upper = (round(share, 2) + 0.0 for share in (skill.value, skill.lower, skill.upper))
    interval = '' if np.isnan(lower) else f'; 95 % interval {lower:.0%} to {upper:.0%}'
    warnings.warn(
        f'{what}: over {counted(skill.groups, "group")}, the out-of-fold {target.error.replace("_", " ")} of '
        f'{shown(target.target.name)} is {skill.error:.3g}, that of a guess that looks at no sample {skill.guess:.3g} '
        f'(skill {value:.0%}{interval}); do not rely on predictions of this model, and label samples of more '
        'groups, or choose a target that the table can tell.',
        AAMWarning,
        stacklevel=2,
    )
