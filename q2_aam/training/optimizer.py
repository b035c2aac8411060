"""Optimizers, and how the learning rate moves over a run: a new one is an entry in OPTIMIZERS or SCHEDULES."""

import math
from collections.abc import Callable

import torch

from q2_aam.config import AUTO
from q2_aam.config.schedule import Schedule

# The word for a peak learning rate that a range test finds.
FIND = 'find'
BETAS = (0.9, 0.98)
LEARNING_RATE = 1e-3
WIDTH_OF_LEARNING_RATE = 128
# warmup_cosine ends at this share of the peak, so that the last steps still learn.
LAST_SHARE = 0.02
# one_cycle (Smith and Topin 2017, arXiv:1708.07120), with the values of torch's OneCycleLR: the share of steps until
# the peak, the shares at which it begins and ends, and the range of the first beta.
ONE_CYCLE_PEAK, ONE_CYCLE_BEGIN, ONE_CYCLE_END = 0.3, 1 / 25, 1 / 25e4
ONE_CYCLE_BETAS = (0.95, 0.85)


def peak_learning_rate(schedule: Schedule, width: int, narrow: float = LEARNING_RATE) -> float | str:
    """Return the peak learning rate, or 'find'; derived, it is `narrow` up to a width of 128.

    For wider models it falls with the width (Yang et al. 2022, arXiv:2203.03466).
    """
    if schedule.learning_rate != AUTO:
        return schedule.learning_rate
    return FIND if schedule.optimizer == 'sgd' else narrow * min(1.0, WIDTH_OF_LEARNING_RATE / width)


def make_optimizer(
    module: torch.nn.Module,
    learning_rate: float,
    weight_decay: float,
    slow_ratio: float = 1.0,
    slow: tuple[str, ...] = (),
    frozen: tuple[str, ...] = (),
    name: str = 'adamw',
    momentum: float = 0.9,
) -> torch.optim.Optimizer:
    """Return the optimizer `name`, one of OPTIMIZERS, over the parameters of a network that learn.

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
    name : str
    momentum : float
        Of sgd.
    """
    groups: dict[tuple[float, float], list] = {}
    for path, parameter in module.named_parameters():
        learns = not path.startswith(tuple(frozen))
        parameter.requires_grad_(learns)
        if learns:
            ratio = slow_ratio if path.startswith(tuple(slow)) else 1.0
            decay = weight_decay if parameter.dim() >= 2 else 0.0
            groups.setdefault((learning_rate * ratio, decay), []).append(parameter)
    parts = [
        {'params': parameters, 'lr': rate, 'peak': rate, 'weight_decay': decay}
        for (rate, decay), parameters in groups.items()
    ]
    return OPTIMIZERS[name](parts, momentum)


OPTIMIZERS: dict[str, Callable[[list[dict], float], torch.optim.Optimizer]] = {
    'adamw': lambda parts, momentum: torch.optim.AdamW(parts, betas=BETAS),
    'adam': lambda parts, momentum: torch.optim.Adam(parts, betas=BETAS),
    # lr is that of the parts
    'sgd': lambda parts, momentum: torch.optim.SGD(parts, lr=0.0, momentum=momentum, nesterov=momentum > 0),
}


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


def constant(step: int, steps: int, warmup_fraction: float = 0.1) -> tuple[float, None]:
    """Return the share of the peak in step `step` of `steps`: it rises linearly, then stays."""
    warmup = max(1, round(warmup_fraction * steps))
    return min(1.0, (step + 1) / warmup), None


def cosine_restarts(step: int, steps: int, warmup_fraction: float = 0.1, restarts: int = 2) -> tuple[float, None]:
    """Return the share of the peak in step `step` of `steps`: after a rise it falls along one cosine after the other.

    Each lasts twice as long as the one before it (Loshchilov and Hutter 2017, arXiv:1608.03983).
    """
    warmup = max(1, round(warmup_fraction * steps))
    if step < warmup:
        return (step + 1) / warmup, None
    # cycles end at shares 1, 3, 7 ... of all
    place = (step - warmup) / max(1, steps - warmup) * (2 ** (restarts + 1) - 1)
    cycle = min(int(math.log2(place + 1)), restarts)
    return _cosine(1.0, LAST_SHARE, (place + 1) / 2**cycle - 1), None


# By the parameter `schedule`: (step, steps, training) -> (share of the peak, first beta or None). That of plateau is
# lowered by the loop, which sees the validation error.
SCHEDULES: dict[str, Callable[[int, int, Schedule], tuple[float, float | None]]] = {
    'warmup_cosine': lambda step, steps, training: warmup_cosine(step, steps, training.warmup_fraction),
    'cosine_restarts': lambda step, steps, training: cosine_restarts(
        step, steps, training.warmup_fraction, training.restarts
    ),
    'plateau': lambda step, steps, training: constant(step, steps, training.warmup_fraction),
    'one_cycle': lambda step, steps, training: one_cycle(step, steps),
    'constant': lambda step, steps, training: constant(step, steps, training.warmup_fraction),
}


def set_learning_rate(optimizer: torch.optim.Optimizer, share: float, beta: float | None = None) -> None:
    """Set the learning rate to a share of its peak and, if given, the first beta."""
    for group in optimizer.param_groups:
        group['lr'] = group['peak'] * share
        if beta is not None and 'betas' in group:
            group['betas'] = (beta, group['betas'][1])
        elif beta is not None:
            group['momentum'] = beta
