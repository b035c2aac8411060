"""The training loop, which reads top to bottom: whatever learns by gradients learns here.

Everything random in it follows from (seed, stream, step).
"""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from q2_aam.errors import UserError, counted
from q2_aam.runtime.checkpoint import Checkpoint, State
from q2_aam.runtime.encode import device_of
from q2_aam.runtime.memory import give_back_memory, used_gb, with_less_memory
from q2_aam.runtime.progress import Clock, Timer, draw_bar
from q2_aam.runtime.ranks import ONE, Ranks
from q2_aam.runtime.recorder import Recorder

from .optimizer import set_learning_rate
from .steps import Unread, average, averaged, batches_of_steps, clone, find_rate, make_scaler, take_step

# Freed memory goes back to the operating system so often.
SECONDS_BETWEEN_GIVING_BACK = 10.0


@dataclasses.dataclass(frozen=True)
class Task:
    """What a loop does.

    Attributes
    ----------
    name : str
        In lines of progress; empty for the network itself, which has a line for each epoch.
    optimizer : torch.optim.Optimizer
        Its groups have a 'peak' of their learning rate.
    schedule : callable
        (step, steps) -> (share of the peak learning rate, first beta or None).
    steps_per_epoch, epochs : int
    batches : callable
        (epoch from 1, batches to skip) -> iterator of what `loss` takes, at least for the rest of the epoch.
    loss : callable
        (batch, number of it) -> (loss, {metric: value}, samples it is the mean of); values are tensors.
    make : callable, optional
        (batch, number of it) -> what `loss` takes in its place.
    ahead : bool
        Whether the next one is made while the last one is learned from.
    accumulation : int
        Batches per step, of a length that is known where they are more than one.
    validate : callable, optional
        () -> {metric: value} on the validation split.
    outputs : callable, optional
        () -> what is to be kept of the epoch that was just validated, a tensor.
    max_steps : int
        0: no such limit.
    gradient_clip : float
        Largest norm of the gradient; 0 does not clip.
    precision : torch.dtype
    score : str or None
        The validation metric by which the best epoch is known and `patience` counts; None: there is no best one.
    larger : bool
        Whether it is to be large; else it is to be small.
    keeps_best : bool
        Whether the weights of the best epoch are kept; else those of the last.
    patience : int or None
        Epochs without a better score after which to stop.
    plateau : (float, int) or None
        What the learning rate is multiplied by, after how many epochs without a better score.
    ema_decay : float
        Of the moving average of the weights that is validated and kept in their place; 0: there is none.
    finds_rate : bool
        Whether the peak learning rate is found by a range test first: groups have their share of it as 'peak'.
    verdict : callable, optional
        (step, {epoch: outputs}) -> why training on is not worth it, or None.
    after_epoch : callable, optional
        (epoch, {metric: value} on the validation split) -> None, in every process; what it raises ends the training.
    ranks : q2_aam.runtime.ranks.Ranks
        The processes that do it together.
    """

    name: str
    optimizer: torch.optim.Optimizer
    schedule: Callable[[int, int], tuple[float, float | None]]
    steps_per_epoch: int
    epochs: int
    batches: Callable[[int, int], Iterator]
    loss: Callable[..., tuple[torch.Tensor, dict[str, float], int]]
    make: Callable[[Any, int], Any] | None = None
    ahead: bool = False
    accumulation: int = 1
    validate: Callable[[], dict[str, float]] = dict
    outputs: Callable[[], torch.Tensor] | None = None
    max_steps: int = 0
    gradient_clip: float = 0.0
    precision: torch.dtype = torch.float32
    score: str | None = None
    larger: bool = False
    keeps_best: bool = True
    patience: int | None = None
    plateau: tuple[float, int] | None = None
    ema_decay: float = 0.0
    finds_rate: bool = False
    verdict: Callable[[int, dict], str | None] | None = None
    after_epoch: Callable[[int, dict[str, float]], None] | None = None
    ranks: Ranks = ONE


def run_loop(module: torch.nn.Module, task: Task, recorder: Recorder, checkpoint: Checkpoint | None = None) -> State:
    """Train `module` in place; return where the run ended, with its best epoch.

    Parameters
    ----------
    module : torch.nn.Module
        With ``max_floats``, which is halved where memory runs out.
    task : Task
    recorder : q2_aam.runtime.recorder.Recorder
        Gets rows of the parts 'training' and 'validation', and the metric ``best_epoch`` where a score chose one.
    checkpoint : q2_aam.runtime.checkpoint.Checkpoint, optional
        Where to save and to resume from.
    """
    steps = task.epochs * task.steps_per_epoch
    if task.max_steps:
        steps = min(steps, task.max_steps)
    epochs = -(-steps // task.steps_per_epoch)
    checkpoint = task.ranks.checkpoint(checkpoint or Checkpoint(None))
    # what begins from the data may differ in its last bits from one GPU to another
    task.ranks.copy_weights(module)
    if task.finds_rate:
        # also where a run resumes: it finds the same
        find_rate(module, task, recorder)
    state = _resume(module, task, recorder, checkpoint, steps)
    clock, tidy = Clock(recorder, state.step, steps), Timer(SECONDS_BETWEEN_GIVING_BACK)
    scaler, unread = make_scaler(module, task, state), Unread(state, device_of(module))
    for epoch in range(state.epoch + 1, epochs + 1):
        if reason := _reason_to_stop(task, state):
            recorder.say(f'Stopped after epoch {epoch - 1}: {reason}.')
            break
        module.train()
        began = time.monotonic()
        first, end = (epoch - 1) * task.steps_per_epoch, min(epoch * task.steps_per_epoch, steps)
        skipped = 0
        # batches that an interrupted run has learned from are skipped
        numbers = itertools.count(state.step * task.accumulation)
        for step, batches in zip(range(state.step, end), batches_of_steps(task, epoch, state.step - first, numbers)):
            share, beta = task.schedule(step, steps)
            share *= state.plateau_share
            set_learning_rate(task.optimizer, share, beta)
            metrics, samples, stepped = take_step(module, task, scaler, batches, step)
            skipped += not stepped
            average(module, task, state)
            unread.add(step, metrics, samples)
            state.step, state.scale = step + 1, scaler.state_dict()
            if tidy.rings():
                give_back_memory()
            draw_bar(state.step - first, end - first, task.name or f'epoch {epoch}')
            if state.step < end:
                if clock.is_time():
                    unread.read()
                    where = task.name or f'epoch {epoch}/{epochs}'
                    clock.tell(f'{where}, step {state.step - first:,}/{end - first:,}', _means(state)['loss'], step + 1)
                checkpoint.save(module, task.optimizer, state, unread.read)
        unread.read()
        if skipped:
            recorder.say(f'Skipped {counted(skipped, "step")} of epoch {epoch}: the gradient overflowed float16.')
        _end_epoch(module, task, recorder, state, epoch, share)
        checkpoint.save(module, task.optimizer, state)
        if not task.name:
            recorder.cost(state.step, epoch, seconds=time.monotonic() - began, memory_gb=used_gb(device_of(module)))
            recorder.say(_line(recorder, epoch, epochs, _learning_rate(task.optimizer), clock.left(state.step)))
            clock.hear()
    _take_weights(module, task, recorder, state, steps)
    module.eval()
    return state


def _take_weights(module, task, recorder, state, steps):
    """Give the module the weights that are kept: those of the best epoch or of the last one, averaged or not."""
    if task.keeps_best and recorder.history.series('validation', task.score):
        if state.best_weights is None:
            # weights broke down in the last step of the first epoch, after its last finite loss
            raise UserError(f'The validation {task.score} is nan in every epoch; lower learning_rate.')
        module.load_state_dict(state.best_weights)
        best_step = min(state.best_epoch * task.steps_per_epoch, steps)
        recorder.log(best_step, state.best_epoch, 'validation', best_epoch=state.best_epoch)
    elif state.average:
        module.load_state_dict(state.average)


def _reason_to_stop(task, state):
    """Return why not to train for another epoch, or None."""
    # no epoch is better than another where none can be told
    if task.patience is not None and state.best_epoch and state.epoch - state.best_epoch >= task.patience:
        return f'no better {task.score} in {task.patience} epochs'
    # steps up to the last complete epoch: a run that resumes within one is asked what it was asked before
    steps = state.epoch * task.steps_per_epoch
    return None if task.verdict is None else task.verdict(steps, state.outputs)


def _resume(module, task, recorder, checkpoint, steps):
    """Put everything where an interrupted run stopped."""
    state = checkpoint.resume(module, task.optimizer)
    if state.step:
        recorder.say(f'Resumed after {state.step:,} of {steps:,} steps.')
        if not task.name:
            recorder.restore(state.history)
    state.history = recorder.history
    if task.ema_decay and not state.average:
        state.average = clone(module)
    return state


def _end_epoch(module, task, recorder, state, epoch, share):
    """Log the epoch, validate, and keep the weights if they are the best."""
    if not task.name:
        recorder.log(state.step, epoch, 'training', **_means(state), learning_rate_share=share)
    module.eval()
    with averaged(module, state), task.ranks.whole(module):
        validation = with_less_memory(module, task.validate)
        recorder.log(state.step, epoch, 'validation', **validation)
        if task.outputs is not None:
            state.outputs[epoch] = task.outputs()
        # pretraining may have no sample that could tell it
        if task.score and task.score in validation:
            _judge(module, task, state, epoch, validation[task.score])
    state.epoch, state.sums, state.samples = epoch, {}, 0
    if task.after_epoch is not None:
        task.after_epoch(epoch, validation)


def _judge(module, task, state, epoch, score):
    """Keep the weights if the epoch is the best; lower the learning rate if it has not been better for long."""
    score = -score if task.larger else score
    if score < state.best_score:
        state.best_score, state.best_epoch, state.waited = score, epoch, 0
        if task.keeps_best:
            state.best_weights = clone(module)
        return
    state.waited += 1
    if task.plateau and state.waited >= task.plateau[1]:
        state.plateau_share, state.waited = state.plateau_share * task.plateau[0], 0


def _means(state):
    return {name: value / state.samples for name, value in state.sums.items()}


def _learning_rate(optimizer):
    """Return that of the parts that learn fastest: those of a given encoder are slower."""
    return max(group['lr'] for group in optimizer.param_groups)


def _line(recorder, epoch, epochs, learning_rate, left):
    """Return the line of an epoch: what was just logged of it."""
    rows = [row for row in recorder.history.rows[-100:] if row[1] == epoch]
    words = [f'epoch {epoch:>{len(str(epochs))}}/{epochs}']
    for part in ('training', 'validation'):
        metrics = {row[3]: row[4] for row in rows if row[2] == part and row[3] != 'learning_rate_share'}
        if set(metrics) == {'loss', 'target_loss'}:
            # the target alone is learned
            del metrics['target_loss']
        if metrics and part == 'validation':
            words.append('| validation')
        words += [f'{name} {value:.3f}' for name, value in metrics.items()]
    return ' '.join([*words, f'| learning rate {learning_rate:.1e} | {left}'])
