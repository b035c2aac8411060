"""AdamW, and how its learning rate moves over a run. A new schedule is an entry in SCHEDULES."""

import math
from collections.abc import Callable

import torch

from q2_aam.config.training import Schedule

BETAS = (0.9, 0.98)
LEARNING_RATE = 1e-3
WIDTH_OF_LEARNING_RATE = 128
# warmup_cosine ends at this share of the peak, so that the last steps still learn.
LAST_SHARE = 0.02
# one_cycle (Smith and Topin 2017, arXiv:1708.07120), with the values of torch's OneCycleLR: the share of steps until
# the peak, the shares at which it begins and ends, and the range of the first beta.
ONE_CYCLE_PEAK, ONE_CYCLE_BEGIN, ONE_CYCLE_END = 0.3, 1 / 25, 1 / 25e4
ONE_CYCLE_BETAS = (0.95, 0.85)


def peak_learning_rate(schedule: Schedule, width: int, narrow: float = LEARNING_RATE) -> float:
    """Return the peak learning rate; derived, it is `narrow` up to a width of 128.

    For wider models it falls with the width (Yang et al. 2022, arXiv:2203.03466).
    """
    if isinstance(schedule.learning_rate, str):
        return narrow * min(1.0, WIDTH_OF_LEARNING_RATE / width)
    return schedule.learning_rate


def make_optimizer(
    module: torch.nn.Module,
    learning_rate: float,
    weight_decay: float,
    slow_ratio: float = 1.0,
    slow: tuple[str, ...] = (),
    frozen: tuple[str, ...] = (),
) -> torch.optim.AdamW:
    """Return AdamW over the parameters of a network that learn.

    Parameters
    ----------
    module : torch.nn.Module
    learning_rate : float
        At its peak.
    weight_decay : float
        Of matrices; vectors have none.
    slow_ratio : float
        Learning rate of the parameters below the modules named in `slow`, as a multiple of that of the others.
    slow, frozen : tuple of str
        Names of modules that learn more slowly, and that do not learn.
    """
    groups: dict[tuple[float, float], list] = {}
    for name, parameter in module.named_parameters():
        learns = not name.startswith(tuple(frozen))
        parameter.requires_grad_(learns)
        if learns:
            ratio = slow_ratio if name.startswith(tuple(slow)) else 1.0
            decay = weight_decay if parameter.dim() >= 2 else 0.0
            groups.setdefault((learning_rate * ratio, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {'params': parameters, 'lr': rate, 'peak': rate, 'weight_decay': decay}
            for (rate, decay), parameters in groups.items()
        ],
        betas=BETAS,
    )


def warmup_cosine(step: int, steps: int, warmup_fraction: float = 0.1) -> tuple[float, None]:
    """Return the share of the peak in step `step` of `steps`: it rises linearly, then falls along a cosine."""
    warmup = max(1, round(warmup_fraction * steps))
    if step < warmup:
        return (step + 1) / warmup, None
    done = (step - warmup) / max(1, steps - warmup)
    return LAST_SHARE + (1 - LAST_SHARE) * 0.5 * (1 + math.cos(math.pi * done)), None


def one_cycle(step: int, steps: int) -> tuple[float, float]:
    """Return the share of the peak and the first beta in step `step` of `steps`: one goes up while the other falls."""
    peak = ONE_CYCLE_PEAK * steps - 1
    if step <= peak:
        done = step / peak if peak > 0 else 1.0
        return _cosine(ONE_CYCLE_BEGIN, 1.0, done), _cosine(*ONE_CYCLE_BETAS, done)
    done = (step - peak) / (steps - 1 - peak)
    return _cosine(1.0, ONE_CYCLE_END, done), _cosine(*ONE_CYCLE_BETAS[::-1], done)


def _cosine(begin, end, done):
    return end + (begin - end) * 0.5 * (1 + math.cos(math.pi * done))


SCHEDULES: dict[str, Callable] = {'warmup_cosine': warmup_cosine, 'one_cycle': one_cycle}


def set_learning_rate(optimizer: torch.optim.Optimizer, share: float, beta: float | None = None) -> None:
    """Set the learning rate to a share of its peak and, if given, the first beta."""
    for group in optimizer.param_groups:
        group['lr'] = group['peak'] * share
        if beta is not None:
            group['betas'] = (beta, group['betas'][1])
