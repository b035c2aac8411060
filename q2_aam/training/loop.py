"""The training loop, which reads top to bottom: whatever learns by gradients learns here.

Everything random in it follows from (seed, stream, step).
"""

import dataclasses
import math
from collections.abc import Callable, Iterator

import torch

from q2_aam.errors import UserError, counted
from q2_aam.runtime.checkpoint import Checkpoint, State
from q2_aam.runtime.encode import device_of
from q2_aam.runtime.memory import give_back_memory, with_less_memory
from q2_aam.runtime.progress import Clock, Timer, draw_bar
from q2_aam.runtime.recorder import Recorder

from .optimizer import set_learning_rate

# Freed memory goes back to the operating system so often.
SECONDS_BETWEEN_GIVING_BACK = 10.0
# The scale of the loss in float16: where it begins, and how many steps in a row it must hold before it is doubled.
FIRST_LOSS_SCALE, STEPS_TO_DOUBLE = 2.0**10, 100


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
        (batch, step) -> (loss, {metric: value}, samples it is the mean of).
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
        The validation metric that is to be small: the best epoch is kept and `patience` counts. None keeps the last.
    patience : int or None
        Epochs without a better score after which to stop.
    verdict : callable, optional
        (step, {epoch: outputs}) -> why training on is not worth it, or None.
    """

    name: str
    optimizer: torch.optim.Optimizer
    schedule: Callable[[int, int], tuple[float, float | None]]
    steps_per_epoch: int
    epochs: int
    batches: Callable[[int, int], Iterator]
    loss: Callable[..., tuple[torch.Tensor, dict[str, float], int]]
    validate: Callable[[], dict[str, float]] = dict
    outputs: Callable[[], torch.Tensor] | None = None
    max_steps: int = 0
    gradient_clip: float = 0.0
    precision: torch.dtype = torch.float32
    score: str | None = None
    patience: int | None = None
    verdict: Callable[[int, dict], str | None] | None = None


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
    checkpoint = checkpoint or Checkpoint(None)
    state = _resume(module, task, recorder, checkpoint, steps)
    clock, tidy = Clock(recorder, state.step, steps), Timer(SECONDS_BETWEEN_GIVING_BACK)
    scaler = _scaler(module, task, state)
    for epoch in range(state.epoch + 1, epochs + 1):
        if reason := _reason_to_stop(task, state):
            recorder.say(f'Stopped after epoch {epoch - 1}: {reason}.')
            break
        module.train()
        first, end = (epoch - 1) * task.steps_per_epoch, min(epoch * task.steps_per_epoch, steps)
        skipped = 0
        # batches that an interrupted run has learned from are skipped
        for step, batch in zip(range(state.step, end), task.batches(epoch, state.step - first)):
            share, beta = task.schedule(step, steps)
            set_learning_rate(task.optimizer, share, beta)
            metrics, samples, stepped = _step(module, task, scaler, batch, step)
            skipped += not stepped
            _add(state, metrics, samples)
            state.step, state.scale = step + 1, scaler.state_dict()
            if tidy.rings():
                give_back_memory()
            draw_bar(state.step - first, end - first, task.name or f'epoch {epoch}')
            if state.step < end:
                if clock.is_time():
                    where = task.name or f'epoch {epoch}/{epochs}'
                    clock.tell(f'{where}, step {state.step - first:,}/{end - first:,}', _means(state)['loss'], step + 1)
                checkpoint.save(module, task.optimizer, state)
        if skipped:
            recorder.say(f'Skipped {counted(skipped, "step")} of epoch {epoch}: the gradient overflowed float16.')
        _end_epoch(module, task, recorder, state, epoch, share)
        checkpoint.save(module, task.optimizer, state)
        if not task.name:
            recorder.say(_line(recorder, epoch, epochs, _learning_rate(task.optimizer), clock.left(state.step)))
            clock.hear()
    if task.score:
        if state.best_weights is None:
            # weights broke down in the last step of the first epoch, after its last finite loss
            raise UserError(f'The validation {task.score} is nan in every epoch; lower learning_rate.')
        module.load_state_dict(state.best_weights)
        best_step = min(state.best_epoch * task.steps_per_epoch, steps)
        recorder.log(best_step, state.best_epoch, 'validation', best_epoch=state.best_epoch)
    module.eval()
    return state


def _reason_to_stop(task, state):
    """Return why not to train for another epoch, or None."""
    if task.patience is not None and state.epoch - state.best_epoch >= task.patience:
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
    return state


def _scaler(module, task, state):
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


def _step(module, task, scaler, batch, step):
    """Learn from one batch; return its metrics, its number of samples, and whether the optimizer made a step."""

    def forward_and_backward():
        loss, metrics, samples = task.loss(batch, step)
        value = loss.item()
        if not math.isfinite(value):
            raise UserError(f'The loss is {value} in step {step + 1}; lower learning_rate.')
        task.optimizer.zero_grad()
        scaler.scale(loss).backward()
        return {'loss': value, **metrics}, samples

    metrics, samples = with_less_memory(module, forward_and_backward)
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


def _end_epoch(module, task, recorder, state, epoch, share):
    """Log the epoch, validate, and keep the weights if they are the best."""
    if not task.name:
        recorder.log(state.step, epoch, 'training', **_means(state), learning_rate_share=share)
    module.eval()
    validation = with_less_memory(module, task.validate)
    recorder.log(state.step, epoch, 'validation', **validation)
    if task.outputs is not None:
        state.outputs[epoch] = task.outputs()
    if task.score and validation[task.score] < state.best_score:
        state.best_score, state.best_epoch = validation[task.score], epoch
        state.best_weights = {name: value.detach().clone() for name, value in module.state_dict().items()}
    state.epoch, state.sums, state.samples = epoch, {}, 0


def _add(state, metrics, samples):
    """Add the metrics of a step, which are means over its samples, to those of the epoch."""
    for name, value in metrics.items():
        state.sums[name] = state.sums.get(name, 0.0) + value * samples
    state.samples += samples


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
