"""Shares of several models in what they say together, learned from out-of-fold outputs: stacking.

Kinds of members of the abundance ensemble are combined first, then the ensemble with the network. For a sample with
gate g (how far the ensemble can be trusted with it) and a share w of the network, the blend is g (w network + (1 - w)
ensemble) + (1 - g) network. Shares are 0 or more and sum to one (Breiman 1996, doi:10.1007/BF00117832).

Shapes: N samples, C classes, K kinds of members.
"""

import numpy as np

from .metrics import log_loss
from .temperature import softmax

# As many groups as the prior counts for: with 20 groups the learned share and the prior have equal say. On ECAM, whose
# validation splits have 5 groups, MAE is 3.60 months with 5, 3.58 with 10, 3.56 with 20 and 3.55 with 50.
PRIOR_GROUPS = 20
# The same for kinds of members, which all labelled samples weigh.
PRIOR_GROUPS_OF_KINDS = 20
# A model that knows nothing is all but silent; a weight of 0 is none.
MIN_SHRINKAGE = 0.01
# In standard deviations of the target.
HUBER = 0.5
# Of the cost, at which the search for the best shares ends.
PRECISION = 1e-10
# A kind with a smaller share is left out: it would cost time and room, and change next to nothing.
MIN_SHARE = 0.05


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


def shrinkage(outputs, true):
    """Return what out-of-fold outputs are best multiplied by, MIN_SHRINKAGE to 1, for the smallest squared error.

    Parameters
    ----------
    outputs, true : float64 [N]
        Of a mean of 0, by which an output of 0 is a guess.
    """
    squares = outputs @ outputs
    return float(np.clip(outputs @ true / squares, MIN_SHRINKAGE, 1)) if squares > 0 else 1.0


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


def cost_of_numbers(outputs_KN, true, noise_K=None):
    """Return the error of the sum of kinds of members, a function of their shares [K].

    Errors count by their square up to HUBER and by their size beyond (Huber 1964, doi:10.1214/aoms/1177703732): a
    kind that errs less on most samples is not to lose its share to a few. An out-of-fold output is that of one member,
    a prediction is the mean of many: of that variance of the former that the latter has not, the error is freed.

    Parameters
    ----------
    outputs_KN : float64 [K, N]
        Out-of-fold outputs, on one scale with `true`.
    true : float64 [N]
    noise_K : float64 [K], optional
        That variance of each kind.
    """
    kinds = len(outputs_KN)
    inside = np.mean(np.abs(np.mean(outputs_KN, axis=0) - true) <= HUBER)
    noise = np.zeros(kinds) if noise_K is None else np.asarray(noise_K, dtype=np.float64)
    return lambda shares: _huber(shares @ outputs_KN - true) - inside / 2 * (np.square(shares) @ noise)


def _huber(errors):
    size = np.abs(errors)
    return np.where(size <= HUBER, np.square(size) / 2, HUBER * (size - HUBER / 2)).mean()


def cost_of_logits(logits_KNC, true, balanced=False, noise_K=None):
    """Return the log loss of the sum of kinds of members, a function of their shares [K]; see :func:`cost_of_numbers`.

    The noise is that of each logit; it adds to the log loss half of its product with p (1 - p), summed over classes.

    Parameters
    ----------
    logits_KNC : float64 [K, N, C]
        Out-of-fold logits.
    true : int64 [N]
        Number of the class of each sample.
    balanced : bool
        See :func:`stack_log_loss`.
    noise_K : float64 [K], optional
    """
    kinds = len(logits_KNC)
    probabilities = softmax(np.mean(logits_KNC, axis=0), 1.0)
    curvature = np.mean(np.sum(probabilities * (1 - probabilities), axis=1))
    noise = np.zeros(kinds) if noise_K is None else np.asarray(noise_K, dtype=np.float64)

    def cost(shares):
        loss = log_loss(np.tensordot(shares, logits_KNC, axes=1), true, balanced)
        return loss - curvature / 2 * (np.square(shares) @ noise)

    return cost


def combined_shares(kinds, groups, cost, prior_K=None):
    """Return the shares of so many kinds with the smallest cost, shrunk to the prior, without the smallest of them.

    Parameters
    ----------
    kinds : int
    groups : array [N]
        See :func:`stack_least_squares`.
    cost : callable
        Of shares [K].
    prior_K : float64 [K], optional
        Shares without observations, up to a factor; by default equal ones.

    Returns
    -------
    float64 [K]
        0 or at least MIN_SHARE, with a sum of 1.
    """
    import scipy.optimize

    equal = np.full(kinds, 1 / kinds)
    prior = equal if prior_K is None else np.asarray(prior_K) / np.sum(prior_K)
    if kinds == 1:
        return equal
    found = scipy.optimize.minimize(
        cost,
        equal,
        method='SLSQP',
        options={'ftol': PRECISION},
        bounds=[(0, 1)] * kinds,
        constraints={'type': 'eq', 'fun': lambda shares: shares.sum() - 1},
    )
    best = np.clip(found.x, 0, 1) if np.isfinite(found.x).all() and found.fun <= cost(equal) else equal
    observed = len(np.unique(groups))
    shares = (observed * best / best.sum() + PRIOR_GROUPS_OF_KINDS * prior) / (observed + PRIOR_GROUPS_OF_KINDS)
    # of K shares that sum to 1 the largest is no smaller than 1 / K
    shares = np.where(shares < min(MIN_SHARE, 1 / kinds), 0, shares)
    return shares / shares.sum()
