"""The training loop, which reads top to bottom. Everything random in it follows from (seed, epoch, step)."""

import contextlib
import dataclasses
import itertools
import math

import numpy as np
import torch

from q2_aam.data.batches import batches_of_epoch
from q2_aam.errors import UserError, counted
from q2_aam.runtime.checkpoint import Checkpoint
from q2_aam.runtime.device import give_back_memory, with_less_memory
from q2_aam.runtime.progress import Clock, Timer, draw_bar

from .optimizer import LossScale, make_optimizer, set_learning_rate

# Freed memory goes back to the operating system so often.
SECONDS_BETWEEN_GIVING_BACK = 10.0
# streams of random numbers that must not be confused
SHUFFLE, STEP = 0, 1


@dataclasses.dataclass
class Task:
    """What a loop trains on.

    Attributes
    ----------
    rows : int64 [training samples]
        Rows of the study to learn from.
    loss : callable
        (network, rows, numpy generator) -> (loss, {metric: value}) of one batch.
    validate : callable
        (network) -> {metric: value} on the validation part; empty without one.
    score : str or None
        The validation metric that is to be small: the best epoch is kept and `patience` counts. None keeps the last.
    slow, slow_ratio, frozen
        See :func:`q2_aam.training.optimizer.make_optimizer`.
    """

    rows: np.ndarray
    loss: object
    validate: object
    score: str | None = None
    slow: tuple = ()
    slow_ratio: float = 1.0
    frozen: tuple = ()


def train(network, task, schedule, epochs, seed, checkpoint=None, say=print, patience=None):
    """Train `network` in place.

    Parameters
    ----------
    network : q2_aam.model.network.Network
    task : Task
    schedule : q2_aam.config.training.Schedule
    epochs : int
        Most epochs.
    seed : int
        Same seed, same machine, same inputs: the same weights, bit for bit on a CPU.
    checkpoint : q2_aam.runtime.checkpoint.Checkpoint, optional
        Where to save and to resume from.
    say : callable
        Takes one line of progress.
    patience : int, optional
        Epochs without a better score after which to stop.

    Returns
    -------
    History
        With rows of part 'training' and 'validation', and the metric ``best_epoch`` where a score chose one.
    """
    optimizer = make_optimizer(network, schedule, task.slow_ratio, task.slow, task.frozen)
    steps_an_epoch = max(1, -(-len(task.rows) // schedule.batch_size))
    steps = min(epochs * steps_an_epoch, schedule.max_steps or math.inf)
    epochs = -(-steps // steps_an_epoch)
    checkpoint = checkpoint or Checkpoint(None)
    state = checkpoint.resume(network, optimizer)
    if state.step:
        say(f'Resumed after {state.step:,} of {steps:,} steps.')
    clock, tidy = Clock(say, state.step, steps), Timer(SECONDS_BETWEEN_GIVING_BACK)
    for epoch in range(state.epoch + 1, epochs + 1):
        if patience is not None and epoch - 1 - state.best_epoch >= patience:
            say(f'Stopped after epoch {epoch - 1}: no better {task.score} in {patience} epochs.')
            break
        network.train()
        scale = LossScale(network.precision, state.scale)
        first, end = (epoch - 1) * steps_an_epoch, min(epoch * steps_an_epoch, steps)
        batches = batches_of_epoch(task.rows, schedule.batch_size, np.random.default_rng([seed, SHUFFLE, epoch]))
        # those that a run learned from before it was killed are passed over
        batches = itertools.islice(batches, state.step - first, None)
        for step, rows in zip(range(state.step, end), batches):
            share = set_learning_rate(optimizer, step, steps, schedule.warmup_fraction)
            figures = _step(network, task, optimizer, scale, schedule, rows, seed, step)
            for name, value in figures.items():
                state.sums[name] = state.sums.get(name, 0.0) + value * len(rows)
            state.step, state.samples, state.scale = step + 1, state.samples + len(rows), scale.state()
            if tidy.rings():
                give_back_memory()
            draw_bar(state.step - first, end - first, f'epoch {epoch}')
            if state.step < end:
                if clock.is_time():
                    where = f'epoch {epoch}/{epochs}, step {state.step - first:,}/{end - first:,}'
                    clock.tell(where, _averages(state)['loss'], state.step)
                checkpoint.save(network, optimizer, state)
        averages = _averages(state)
        if scale.skipped:
            say(f'Left out {counted(scale.skipped, "step")} of epoch {epoch}, whose gradient overflowed float16.')
        state.history.log(state.step, epoch, 'training', **averages, learning_rate_share=share)
        network.eval()
        validation = with_less_memory(network, lambda: task.validate(network))
        state.history.log(state.step, epoch, 'validation', **validation)
        if task.score and validation[task.score] < state.best_score:
            state.best_score, state.best_epoch = validation[task.score], epoch
            state.best_weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
        # the loss scale begins anew, too
        state.epoch, state.sums, state.samples, state.scale = epoch, {}, 0, {}
        checkpoint.save(network, optimizer, state)
        say(_line(epoch, epochs, averages, validation, optimizer.param_groups[0]['lr'], clock.left(state.step)))
        clock.hear()
    if task.score:
        network.load_state_dict(state.best_weights)
        best_step = min(state.best_epoch * steps_an_epoch, steps)
        state.history.log(best_step, state.best_epoch, 'validation', best_epoch=state.best_epoch)
    network.eval()
    return state.history


def _step(network, task, optimizer, scale, schedule, rows, seed, step):
    """Learn from one batch; return its loss and figures."""

    def forward_and_backward():
        # a generator of its own, so that a batch that is done again for want of memory is the same batch
        loss, figures = task.loss(network, rows, np.random.default_rng([seed, STEP, step]))
        if not math.isfinite(loss.item()):
            raise UserError(f'The loss is {loss.item()} in step {step + 1}; lower learning_rate.')
        optimizer.zero_grad()
        (loss * scale.value).backward()
        return {'loss': loss.item(), **figures}

    figures = with_less_memory(network, forward_and_backward)
    scale.step(optimizer, network.parameters(), schedule.gradient_clip)
    return figures


@contextlib.contextmanager
def reproducible(device, seed):
    """Seed torch and, on a CPU, allow only deterministic kernels; put everything back at the end."""
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(device.type == 'cpu')
        # nothing here reads memory that was never written; filling it costs time
        torch.utils.deterministic.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0])
            torch.utils.deterministic.fill_uninitialized_memory = before[1]


def _averages(state):
    return {name: value / state.samples for name, value in state.sums.items()}


def _line(epoch, epochs, training, validation, learning_rate, left):
    width = len(str(epochs))
    words = [f'epoch {epoch:>{width}}/{epochs}']
    words += [f'{name} {value:.3f}' for name, value in training.items()]
    if validation:
        words += ['| validation', *(f'{name} {value:.3f}' for name, value in validation.items())]
    return ' '.join([*words, f'| learning rate {learning_rate:.1e} | {left}'])
