"""One step of the training loop, and what is done to weights beside it: averages of them, the range test.

Tasks are those of :mod:`q2_aam.training.loop`.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from typing import TYPE_CHECKING

import torch

from q2_aam.errors import UserError
from q2_aam.runtime.checkpoint import State
from q2_aam.runtime.encode import device_of
from q2_aam.runtime.memory import with_less_memory
from q2_aam.runtime.recorder import Recorder

from .batch import made_ahead
from .optimizer import set_learning_rate

if TYPE_CHECKING:
    from .loop import Task

# The scale of the loss in float16: where it begins, and how many steps in a row it must hold before it is doubled.
FIRST_LOSS_SCALE, STEPS_TO_DOUBLE = 2.0**10, 100
# Steps of a GPU whose losses are read together.
STEPS_UNREAD = 16
# The range test: its rates, how many there are, how much of the mean loss is of those before, and the loss, as a
# multiple of the least, at which it ends.
MIN_RATE, MAX_RATE, STEPS_TO_FIND, SMOOTHING, DIVERGED = 1e-7, 1.0, 80, 0.9, 3.0


def make_scaler(module, task, state):
    """Return what multiplies the loss so that small gradients do not vanish in float16 (arXiv:1710.03740)."""
    scaler = torch.amp.GradScaler(
        device_of(module).type,
        init_scale=FIRST_LOSS_SCALE,
        growth_interval=STEPS_TO_DOUBLE,
        enabled=task.precision == torch.float16,
    )
    # a run may go on in another precision
    if scaler.is_enabled() and state.scale:
        scaler.load_state_dict(state.scale)
    return scaler


def batches_of_steps(task, epoch, skip, numbers):
    """Yield the batches of each step, a list of them; each batch takes one of `numbers`."""
    batches = task.batches(epoch, skip * task.accumulation)
    if task.make is not None:
        batches = made_ahead(task.make, batches, numbers, task.ahead)
    while together := list(itertools.islice(batches, task.accumulation)):
        yield together


def take_step(module, task, scaler, batches, step):
    """Learn from batches; return their metrics, their number of samples, and whether the optimizer made a step.

    Metrics stay on the device: see :class:`Unread`.
    """
    shares = [1.0] if len(batches) == 1 else [len(batch) / sum(map(len, batches)) for batch in batches]

    def forward_and_backward():
        means, total = {}, 0
        for number, (batch, share) in enumerate(zip(batches, shares), step * task.accumulation):
            loss, metrics, samples = task.loss(batch, number)
            if not total:
                task.optimizer.zero_grad()
            scaler.scale(loss if share == 1 else share * loss).backward()
            for name, metric in {'loss': loss.detach(), **metrics}.items():
                metric = torch.as_tensor(metric, dtype=torch.float64, device=loss.device)
                means[name] = means.get(name, 0.0) + share * metric
            total += samples
        task.ranks.average(module)
        return means, total

    metrics, samples = with_less_memory(module, lambda: task.ranks.together(forward_and_backward))
    scaler.unscale_(task.optimizer)
    if task.gradient_clip:
        learning = [parameter for parameter in module.parameters() if parameter.grad is not None]
        torch.nn.utils.clip_grad_norm_(learning, task.gradient_clip)
    before = scaler.get_scale()
    scaler.step(task.optimizer)
    scaler.update()
    stepped = scaler.get_scale() >= before
    if not stepped and scaler.get_scale() < 1:
        raise UserError(
            'Parameter precision is float16, in which the gradient overflows; use bfloat16 or float32, or lower '
            'learning_rate.'
        )
    return metrics, samples, stepped


class Unread:
    """Metrics of steps that are still on the device, which are added to those of the epoch when they are read.

    To read one waits for all that a GPU has been given to do, so that it stands still until it is given more.

    Parameters
    ----------
    state : q2_aam.runtime.checkpoint.State
        Its `sums` and `samples` are added to.
    device : torch.device
    """

    def __init__(self, state: State, device: torch.device):
        self.state, self.most = state, STEPS_UNREAD if device.type == 'cuda' else 1
        self.steps: list[tuple[int, dict[str, torch.Tensor], int]] = []

    def add(self, step: int, metrics: dict[str, torch.Tensor], samples: int) -> None:
        """Note the metrics of a step, which are means over its samples."""
        self.steps.append((step, metrics, samples))
        if len(self.steps) >= self.most:
            self.read()

    def read(self) -> None:
        """Add to the epoch what is noted.

        Raises
        ------
        UserError
            If a loss is not finite.
        """
        if not self.steps:
            return
        values = iter(torch.stack([value for _, metrics, _ in self.steps for value in metrics.values()]).tolist())
        steps, self.steps = self.steps, []
        for step, metrics, samples in steps:
            for name, value in zip(metrics, values):
                if name == 'loss':
                    check_loss(value, step)
                self.state.sums[name] = self.state.sums.get(name, 0.0) + value * samples
            self.state.samples += samples


def check_loss(value: float, step: int) -> None:
    """Refuse to learn on from a loss that is not finite, of a step from 0."""
    if not math.isfinite(value):
        raise UserError(f'The loss is {value} in step {step + 1}; lower learning_rate.')


def clone(module):
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def average(module, task, state):
    """Move the average of the weights towards them; sooner in the first steps, in which they move most."""
    if not task.ema_decay:
        return
    decay = min(task.ema_decay, (1 + state.step) / (10 + state.step))
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            state.average[name].lerp_(value.detach(), 1 - decay)


@contextlib.contextmanager
def averaged(module, state):
    """Give the module its averaged weights, where there are such, and then its own again."""
    if not state.average:
        yield
        return
    own = clone(module)
    module.load_state_dict(state.average)
    yield
    module.load_state_dict(own)


def find_rate(module: torch.nn.Module, task: Task, recorder: Recorder) -> float:
    """Find the peak learning rate by a range test, set it and log its curve (Smith 2017, arXiv:1506.01186).

    The rate grows from step to step; the peak is a tenth of the rate at which the loss was least. Then the module is as
    it was.
    """
    weights, peaks = clone(module), [group['peak'] for group in task.optimizer.param_groups]
    # an epoch may end with a step of fewer batches
    first = (itertools.count(epoch * task.steps_per_epoch * task.accumulation) for epoch in itertools.count())
    epochs = itertools.chain.from_iterable(batches_of_steps(task, epoch, 0, one) for epoch, one in enumerate(first, 1))
    scaler, smooth, best, found = make_scaler(module, task, State()), 0.0, math.inf, MIN_RATE
    module.train()
    for step, batches in zip(range(STEPS_TO_FIND), epochs):
        rate = MIN_RATE * (MAX_RATE / MIN_RATE) ** (step / (STEPS_TO_FIND - 1))
        set_learning_rate(task.optimizer, rate)
        try:
            metrics, _, _ = take_step(module, task, scaler, batches, step)
            # what is decided by it must be the same in all processes
            value = task.ranks.on_first(metrics['loss'].item)()
            check_loss(value, step)
        except UserError:
            break
        smooth = SMOOTHING * smooth + (1 - SMOOTHING) * value
        loss = smooth / (1 - SMOOTHING ** (step + 1))
        recorder.log(step + 1, 0, 'range_test', learning_rate=rate, loss=loss)
        if loss < best:
            best, found = loss, rate
        elif loss > DIVERGED * best:
            break
    module.load_state_dict(weights)
    task.optimizer.state.clear()
    found = max(found / 10, MIN_RATE)
    for group, peak in zip(task.optimizer.param_groups, peaks):
        group['peak'] = peak * found
    recorder.log(0, 0, 'run', learning_rate=found)
    recorder.say(f'Learning rate: {found:.2g}, found by a range test.')
    return found
