"""Losses, each scaled so that knowing nothing costs about 1: weights of objectives then mean the same everywhere."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from .heads import NUCLEOTIDES


def nucleotide_loss(logits: torch.Tensor, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of masked nucleotides in units of that of guessing among four.

    Parameters
    ----------
    logits : [masked tokens, P, 4]
    codes : int64 [masked tokens, P]
        Letters that are not A, C, G or T, and places after the end of a sequence, do not count.

    Returns
    -------
    loss : scalar
    accuracy : scalar
        Share of the nucleotides that the largest logit names.
    """
    known = (codes >= 1) & (codes <= NUCLEOTIDES)
    logits, classes = logits[known], codes[known] - 1
    if not len(classes):
        return logits.sum(), logits.new_tensor(float('nan'))
    return F.cross_entropy(logits, classes) / math.log(NUCLEOTIDES), (logits.argmax(-1) == classes).float().mean()


def clade_loss(logits_UC: torch.Tensor, clades_U: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of the clades of ASVs in units of that of guessing; unknown ones, -1, do not count.

    Returns
    -------
    loss : scalar
    accuracy : scalar
        Share of the known clades that the largest logit names.
    """
    known = clades_U >= 0
    logits, clades = logits_UC[known], clades_U[known]
    if not len(clades):
        return logits.sum(), logits.new_tensor(float('nan'))
    return F.cross_entropy(logits, clades) / math.log(logits.shape[1]), (logits.argmax(-1) == clades).float().mean()


def known_loss(predicted_BM: torch.Tensor, true_BM: torch.Tensor) -> torch.Tensor:
    """Mean squared error over the numbers that are known (not NaN); 0 where none is."""
    known = ~torch.isnan(true_BM)
    error = predicted_BM[known] - true_BM[known]
    return error.square().sum() / max(1, len(error))


def known_losses(
    losses: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    predicted_BT: torch.Tensor,
    true_BT: torch.Tensor,
    weights_B: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean loss of each of T targets over the samples in which it is known (not NaN), [T]; 0 where there is none."""
    known_BT = ~torch.isnan(true_BT)
    losses_BT = losses(predicted_BT, torch.where(known_BT, true_BT, predicted_BT.detach()))
    if weights_B is not None:
        losses_BT = losses_BT * weights_B[:, None]
    return (losses_BT * known_BT).sum(0) / known_BT.sum(0).clamp_min(1)


def distance_loss(predicted_BB: torch.Tensor, true_BB: torch.Tensor, variance: float) -> torch.Tensor:
    """Mean squared error over the pairs whose true distance is known (not NaN), in units of `variance`.

    Returns
    -------
    scalar
        0 where no pair is known.
    """
    first, second = torch.triu_indices(len(true_BB), len(true_BB), 1, device=true_BB.device)
    true_P, predicted_P = true_BB[first, second], predicted_BB[first, second]
    known_P = ~torch.isnan(true_P)
    error_P = predicted_P[known_P] - true_P[known_P]
    return error_P.square().sum() / max(1, len(error_P)) / variance


def weighted_mean(losses_B: torch.Tensor, weights_B: torch.Tensor | None = None) -> torch.Tensor:
    """Mean over samples and not over weights, which have a mean of 1 over training samples."""
    return losses_B.mean() if weights_B is None else (losses_B * weights_B).mean()


def quantile_loss(
    predicted_BQ: torch.Tensor,
    true_B: torch.Tensor,
    levels_Q: tuple[float, ...],
    weights_B: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean loss whose smallest value the true quantiles have (Koenker and Bassett 1978, doi:10.2307/1913643).

    Parameters
    ----------
    predicted_BQ : [B, Q]
    true_B : [B]
    levels_Q : sequence of float
        Share of values that is to lie below each quantile.
    weights_B : [B], optional
        See :func:`weighted_mean`.
    """
    error_BQ = true_B[:, None] - predicted_BQ
    level_Q = torch.tensor(levels_Q, dtype=error_BQ.dtype, device=error_BQ.device)
    # twice, so that the median alone has the mean absolute error
    losses_BQ = 2 * torch.maximum(level_Q * error_BQ, (level_Q - 1) * error_BQ)
    return weighted_mean(losses_BQ, None if weights_B is None else weights_B[:, None])


def asymmetric_loss(
    predicted_B: torch.Tensor,
    true_B: torch.Tensor,
    over_penalty: float,
    under_penalty: float,
    weights_B: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean absolute error, in which errors above and below count by their penalties, whose mean counts as 1.

    Weights are those of :func:`weighted_mean`.
    """
    error_B = predicted_B - true_B
    costs_B = torch.maximum(over_penalty * error_B, -under_penalty * error_B)
    return weighted_mean(costs_B, weights_B) / ((over_penalty + under_penalty) / 2)


def class_loss(
    logits_BC: torch.Tensor,
    classes_B: torch.Tensor,
    weights_C: torch.Tensor,
    smoothing: float = 0.0,
    weights_B: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy in units of that of guessing among C classes, the samples of each class weighted.

    The mean is over samples and not over weights, so that a batch that happens to hold a rare class counts for more.

    Parameters
    ----------
    logits_BC : [B, C]
    classes_B : int64 [B]
    weights_C : [C]
        Their mean over the training samples is 1.
    smoothing : float
        Share of a label that is spread evenly over all classes (Szegedy et al. 2016, arXiv:1512.00567).
    weights_B : [B], optional
        Of each sample, see :func:`weighted_mean`.
    """
    costs_B = F.cross_entropy(logits_BC, classes_B, reduction='none', label_smoothing=smoothing) * weights_C[classes_B]
    return weighted_mean(costs_B, weights_B) / math.log(logits_BC.shape[1])


# Of each sample.
TARGET_LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    'mse': lambda predicted, true: F.mse_loss(predicted, true, reduction='none'),
    'mae': lambda predicted, true: F.l1_loss(predicted, true, reduction='none'),
    # quadratic up to one standard deviation of the (scaled) target, linear beyond
    'huber': lambda predicted, true: 2 * F.huber_loss(predicted, true, reduction='none'),
}
