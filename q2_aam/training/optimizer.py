"""AdamW, a learning rate that rises, then falls along a cosine, and the scale of the loss in float16."""

import math

import torch

from q2_aam.config import AUTO
from q2_aam.errors import UserError

BETAS = (0.9, 0.98)
LEARNING_RATE = 1e-3
WIDTH_OF_LEARNING_RATE = 128
# Bounds of the loss scale of float16 and how many steps in a row it must hold before it is doubled. The largest keeps
# gradients of a loss of order 1 well within float16, whose largest number is 65,504.
FIRST_LOSS_SCALE, LARGEST_LOSS_SCALE, STEPS_TO_DOUBLE = 2.0**10, 2.0**15, 100
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


class LossScale:
    """By how much a loss is multiplied so that small gradients do not vanish in float16; 1 in other precisions.

    It is halved where a gradient overflows, in which case the step is left out, and doubled where it has held for long
    (Micikevicius et al. 2018, arXiv:1710.03740).

    Attributes
    ----------
    value : float
    skipped : int
        Steps that were left out.
    """

    def __init__(self, precision, state=None):
        self.scales = precision == torch.float16
        self.value = FIRST_LOSS_SCALE if self.scales else 1.0
        self.skipped = 0
        self._held = 0
        # a run may go on in another precision
        if self.scales and state:
            self.value, self.skipped, self._held = state['value'], state['skipped'], state['held']

    def state(self):
        """Return plain numbers with which another goes on from here; none where nothing is scaled."""
        return {'value': self.value, 'skipped': self.skipped, 'held': self._held} if self.scales else {}

    def step(self, optimizer, parameters, clip):
        """Step from gradients of the scaled loss, clipped to the norm `clip` (0: not at all).

        Raises
        ------
        UserError
            If gradients overflow without any scaling.
        """
        parameters = [parameter for parameter in parameters if parameter.grad is not None]
        if self.scales:
            for parameter in parameters:
                parameter.grad.div_(self.value)
            if not all(torch.isfinite(parameter.grad).all() for parameter in parameters):
                self._lower()
                return
        if clip:
            torch.nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
        self._held += 1
        if self.scales and self._held == STEPS_TO_DOUBLE:
            self.value, self._held = min(2 * self.value, LARGEST_LOSS_SCALE), 0

    def _lower(self):
        if self.value <= 1:
            raise UserError(
                'Parameter precision is float16, in which the gradient overflows; use bfloat16 or float32, or lower '
                'learning_rate.'
            )
        self.value, self._held = self.value / 2, 0
        self.skipped += 1
