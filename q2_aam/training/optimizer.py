"""AdamW, and a learning rate that rises, then falls along a cosine."""

import math

import torch

from q2_aam.config import AUTO

BETAS = (0.9, 0.98)
LEARNING_RATE = 1e-3
WIDTH_OF_LEARNING_RATE = 128
# The schedule ends at this share of the highest learning rate, so that the last steps still learn.
LAST_SHARE = 0.02


def base_learning_rate(schedule, width, narrow=LEARNING_RATE):
    """Return the highest learning rate; derived, it is `narrow` up to a width of 128.

    For wider models it falls with the width (Yang et al. 2022, arXiv:2203.03466).
    """
    if schedule.learning_rate == AUTO:
        return narrow * min(1.0, WIDTH_OF_LEARNING_RATE / width)
    return schedule.learning_rate


def make_optimizer(network, schedule, slow_ratio=1.0, slow=(), frozen=()):
    """Return AdamW over the parameters of `network` that learn.

    Parameters
    ----------
    network : q2_aam.model.network.Network
    schedule : q2_aam.config.training.Schedule
    slow_ratio : float
        Learning rate of the parameters below the modules named in `slow`, as a multiple of that of the others.
    slow, frozen : tuple of str
        Names of modules that learn more slowly, and that do not learn.
    """
    peak = base_learning_rate(schedule, network.config.width)
    groups = {}
    for name, parameter in network.named_parameters():
        learns = not name.startswith(tuple(frozen))
        parameter.requires_grad_(learns)
        if learns:
            ratio = slow_ratio if name.startswith(tuple(slow)) else 1.0
            decay = schedule.weight_decay if parameter.dim() >= 2 else 0.0
            groups.setdefault((peak * ratio, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {'params': parameters, 'lr': rate, 'peak': rate, 'weight_decay': decay}
            for (rate, decay), parameters in groups.items()
        ],
        betas=BETAS,
    )


def set_learning_rate(optimizer, step, steps, warmup_fraction):
    """Set the learning rate of step `step` of `steps`; return its share of the highest."""
    warmup = max(1, round(warmup_fraction * steps))
    share = (step + 1) / warmup
    if step >= warmup:
        done = (step - warmup) / max(1, steps - warmup)
        share = LAST_SHARE + (1 - LAST_SHARE) * 0.5 * (1 + math.cos(math.pi * done))
    for group in optimizer.param_groups:
        group['lr'] = group['peak'] * share
    return share
