"""How good predictions are: every metric of the house, written down once.

Shapes: N samples, C classes.
"""

import numpy as np
import scipy.special

# Smallest probability of which a logarithm is taken: certainty in a wrong class must cost a finite loss.
MIN_PROBABILITY = 1e-15
CALIBRATION_BINS = 10


def regression_metrics(predicted, true):
    """Return the metrics of numeric predictions.

    Parameters
    ----------
    predicted, true : float [N]
        At least one sample.

    Returns
    -------
    dict
        ``mae``, ``median_absolute_error`` and ``rmse`` in units of the target; ``r2`` (coefficient of determination,
        NaN where `true` is constant) and ``r`` (Pearson correlation, NaN where either is constant).
    """
    predicted, true = np.asarray(predicted, dtype=np.float64), np.asarray(true, dtype=np.float64)
    errors = predicted - true
    mean_square = (errors**2).mean()
    # the variance of equal numbers may be above 0 by rounding, their range may not
    varies = np.ptp(true) > 0
    return {
        'mae': float(np.abs(errors).mean()),
        'median_absolute_error': float(np.median(np.abs(errors))),
        'rmse': float(np.sqrt(mean_square)),
        'r2': float(1 - mean_square / true.var()) if varies else float('nan'),
        'r': float(np.corrcoef(predicted, true)[0, 1]) if varies and np.ptp(predicted) > 0 else float('nan'),
    }


def classification_metrics(probabilities, true, balanced=False):
    """Return the metrics of predicted probabilities.

    Classes without samples are left out of averages over classes.

    Parameters
    ----------
    probabilities : float [N, C]
    true : int [N]
        Number of the class of each sample.
    balanced : bool
        Whether each class has the same weight in the calibration error.

    Returns
    -------
    dict
        ``accuracy``, ``balanced_accuracy`` (mean recall), ``macro_f1``, ``roc_auc`` (mean over classes, each against
        the rest; NaN where all samples are of one class), ``log_loss``, ``balanced_log_loss`` (mean over classes) and
        ``calibration_error`` (see :func:`calibration_error`).
    """
    probabilities, true = np.asarray(probabilities, dtype=np.float64), np.asarray(true).astype(np.int64)
    predicted = probabilities.argmax(axis=1)
    samples_C, predicted_C, right_C = (
        np.bincount(numbers, minlength=probabilities.shape[1]) for numbers in (true, predicted, true[predicted == true])
    )
    present = np.flatnonzero(samples_C)
    areas = [_area(probabilities[:, code], true == code) for code in present if len(present) > 1]
    # what a table of text has rounded need not sum to 1; dividing all probabilities would break ties of the areas
    of_true = probabilities[np.arange(len(true)), true] / probabilities.sum(axis=1)
    losses = -np.log(np.maximum(of_true, MIN_PROBABILITY))
    return {
        'accuracy': float((predicted == true).mean()),
        'balanced_accuracy': float((right_C[present] / samples_C[present]).mean()),
        'macro_f1': float((2 * right_C[present] / (samples_C + predicted_C)[present]).mean()),
        'roc_auc': float(np.mean(areas)) if areas else float('nan'),
        'log_loss': float(losses.mean()),
        'balanced_log_loss': float(np.average(losses, weights=sample_weights(true, True))),
        'calibration_error': calibration_error(probabilities, true, sample_weights(true, balanced)),
    }


def interval_metrics(lower, upper, true):
    """Return the share of true values within their interval, ends included, and the mean width of the intervals.

    Parameters
    ----------
    lower, upper, true : float [N]

    Returns
    -------
    dict
        ``interval_coverage`` and ``interval_width``.
    """
    return {
        'interval_coverage': float(((lower <= true) & (true <= upper)).mean()),
        'interval_width': float((upper - lower).mean()),
    }


def log_loss(logits, true, balanced=False):
    """Return the mean log loss of logits.

    Parameters
    ----------
    logits : float [N, C]
    true : int [N]
        Number of the class of each sample.
    balanced : bool
        Whether each class has the same weight, however many samples it has.

    Returns
    -------
    float
    """
    losses = -scipy.special.log_softmax(logits, axis=1)[np.arange(len(true)), true]
    return float(np.average(losses, weights=sample_weights(true, balanced)))


def sample_weights(true, balanced):
    """Return the weight of each sample, float64 [N]: 1, or where balanced 1 over the number of samples of its class."""
    return 1 / np.bincount(true)[true] if balanced else np.ones(len(true))


def calibration_error(probabilities, true, weights):
    """Return the expected calibration error of the predicted class.

    That is how far confidence and accuracy lie apart on average over ten bins of confidence (Naeini, Cooper and
    Hauskrecht 2015, AAAI 29:2901).

    Parameters
    ----------
    probabilities : float64 [N, C]
    true : int64 [N]
    weights : float64 [N]
        Of samples.

    Returns
    -------
    float
    """
    confidence = probabilities.max(axis=1)
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    surplus = weights * (confidence - (probabilities.argmax(axis=1) == true))
    return float(np.abs(np.bincount(bins, surplus)).sum() / weights.sum())


def _area(scores, positive):
    """Return the area under the ROC curve: how often a positive sample scores above a negative one, ties by half.

    It follows from the sum of the ranks of the positive samples (Mann and Whitney 1947, doi:10.1214/aoms/1177730491).
    """
    _, place, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    # tied scores share the mean of their ranks
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[place]
    count = positive.sum()
    return (ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(scores) - count))
