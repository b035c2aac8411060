"""The profile head beside the network: fitted, weighed, and put together with it."""

import numpy as np

from q2_aam.bundle import Blend
from q2_aam.data.splits import TRAINING, VALIDATION
from q2_aam.runtime.encode import profile_outputs_of

from .ensemble import fit_profile_head

# Weight of the network where there is no telling: on ECAM any weight costs accuracy, elsewhere ASVs may be new.
NETWORK_WEIGHT = 0.1


def blend_in_profile_head(goal, study, outputs, rows, reading, seed, device, say, checkpoint=None):
    """Fit a profile head and put its outputs together with those of the network.

    Parameters
    ----------
    goal : q2_aam.training.goals.NumericGoal or CategoricalGoal
    study : q2_aam.data.study.Study
    outputs : float64 [samples, outputs]
        Of the network, for every sample of the study.
    rows : dict of str to int64 [samples]
        Rows of the study by part. The head learns from the training and validation parts, and both get outputs of a
        member that has not learned from their group.
    reading, seed, device, say, checkpoint
        See :func:`q2_aam.training.ensemble.fit_profile_head`.

    Returns
    -------
    blend : q2_aam.bundle.Blend
    head : q2_aam.model.abundance_ensemble.ProfileHead
    outputs : float64 [samples, outputs]
        Of both. Training samples, which the network has learned from, have those of the profile head alone.
    """
    learned, own = learned_rows(rows), rows[VALIDATION]
    head, left_out = fit_profile_head(goal, study, learned, reading, seed, device, say, checkpoint)
    profile, known = profile_outputs_of(head, study, np.arange(len(study)), reading)
    profile[learned] = left_out
    share, network_alone, profile_alone = goal.weights(outputs[own], profile[own], own, NETWORK_WEIGHT)
    say(f'Prediction: {share:.0%} the network, {1 - share:.0%} the profile head.')
    blend = Blend(share * network_alone, (1 - share) * profile_alone, network_alone, len(head.first.weight))
    both = blend.outputs(outputs, profile, known)
    both[rows[TRAINING]] = profile_alone * profile[rows[TRAINING]]
    return blend, head, both


def learned_rows(rows):
    """Return the rows of the study that may be learned from, in order: those of training and validation."""
    return np.sort(np.concatenate([rows[TRAINING], rows[VALIDATION]]))
