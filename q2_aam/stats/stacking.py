"""Shares of the network and of the abundance ensemble in their blend, learned from out-of-fold outputs: stacking.

For a sample with gate g (how far the ensemble can be trusted with it) and a share w of the network, the blend is
g (w network + (1 - w) ensemble) + (1 - g) network. Shares are 0 or more and sum to one (Breiman 1996,
doi:10.1007/BF00117832).

Shapes: N samples, C classes.
"""

import numpy as np

from .metrics import log_loss

# As many groups as the prior counts for: with 20 groups the learned share and the prior have equal say. On ECAM, whose
# validation splits have 5 groups, MAE is 3.60 months with 5, 3.58 with 10, 3.56 with 20 and 3.55 with 50.
PRIOR_GROUPS = 20


def stack_least_squares(network, ensemble, gate, true, groups, prior):
    """Return the share of the network at which the blend has the smallest squared error, shrunk to `prior`.

    Parameters
    ----------
    network, ensemble : float64 [N]
        Out-of-fold outputs, on one scale with `true`.
    gate : float64 [N] or float
        From 0 to 1.
    true : float64 [N]
    groups : array [N]
        Group of each sample: samples of a group err together, so that groups count as observations.
    prior : float
        The share of the network without observations.

    Returns
    -------
    float
        From 0 to 1; `prior` where both say the same wherever the gate is open.
    """
    difference = gate * (network - ensemble)
    squares = difference @ difference
    if not squares > 0:
        return float(prior)
    # the blend is this, of a share of 0, plus the share times the difference
    remainder = true - (network - difference)
    return _shrunk(np.clip(difference @ remainder / squares, 0, 1), groups, prior)


def stack_log_loss(network, ensemble, gate, true, groups, prior, balanced=False):
    """Return the share of the network at which the blend has the smallest log loss, shrunk to `prior`.

    Parameters
    ----------
    network, ensemble : float64 [N, C]
        Out-of-fold logits.
    true : int64 [N]
        Number of the class of each sample.
    gate, groups, prior
        See :func:`stack_least_squares`.
    balanced : bool
        Whether each class has the same weight, however many samples it has.

    Returns
    -------
    float
        From 0 to 1.
    """
    # takes a fifth of a second to load, which no reader of a model needs
    import scipy.optimize

    difference = np.broadcast_to(gate, len(network))[:, None] * (network - ensemble)
    # what is added to the logits of all classes alike changes no probability
    if not np.ptp(difference, axis=1).any():
        return float(prior)

    def cost(share):
        return log_loss(network - difference + share * difference, true, balanced)

    # the loss is convex in the share, and the search comes near an end of its interval without reaching it
    inner = scipy.optimize.minimize_scalar(cost, bounds=(0, 1), method='bounded', options={'xatol': 1e-6}).x
    return _shrunk(min((0.0, 1.0, inner), key=cost), groups, prior)


def _shrunk(share, groups, prior):
    observed = len(np.unique(groups))
    return float((observed * share + PRIOR_GROUPS * prior) / (observed + PRIOR_GROUPS))
