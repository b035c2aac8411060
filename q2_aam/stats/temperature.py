"""Probabilities from logits, and the temperature at which these are as confident as they should be.

Shapes: N samples, C classes.
"""

import numpy as np
import scipy.special

from .metrics import log_loss

# Temperatures from e^-3 to e^3; beyond them probabilities are all alike, or 0 and 1.
MAX_LOG_TEMPERATURE = 3.0


def softmax(logits, temperature=1.0):
    """Return the probabilities, float64 [..., C], of logits [..., C] divided by `temperature`."""
    return scipy.special.softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=-1)


def best_temperature(logits, true, balanced=False):
    """Find the temperature with the smallest log loss (Guo et al. 2017, arXiv:1706.04599).

    A few samples that are all classified correctly would ask for certainty. The logarithm of the temperature therefore
    has a standard normal prior, which some hundred samples outweigh.

    Parameters
    ----------
    logits : float64 [N, C]
    true : int64 [N]
        Number of the class of each sample.
    balanced : bool
        Whether each class has the same weight, however many samples it has.

    Returns
    -------
    float
    """
    # takes a fifth of a second to load, which no reader of a model needs
    import scipy.optimize

    def cost(logarithm):
        return log_loss(logits / np.exp(logarithm), true, balanced) + logarithm**2 / (2 * len(true))

    bounds = (-MAX_LOG_TEMPERATURE, MAX_LOG_TEMPERATURE)
    return float(np.exp(scipy.optimize.minimize_scalar(cost, bounds=bounds, method='bounded').x))
