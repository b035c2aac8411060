"""What batch_size auto becomes: on a GPU the largest batch that is computed at once in the memory there is.

It is found by real steps of a network that is thrown away, on the training samples that are richest in ASVs. All chance
follows from (seed, stream, step), so that the training itself is that of the number, had it been given.
"""

import contextlib
import dataclasses
import gc
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch

from q2_aam.config import AUTO
from q2_aam.config.runtime import FSDP
from q2_aam.config.schedule import Schedule
from q2_aam.data.atomic import read_json, write_json
from q2_aam.data.splits import TRAINING
from q2_aam.errors import counted
from q2_aam.runtime.encode import StudyReader
from q2_aam.runtime.heard import ignoring
from q2_aam.runtime.limits import is_out_of_memory
from q2_aam.runtime.recorder import Recorder
from q2_aam.runtime.run import Run
from q2_aam.runtime.seeds import Stream, numpy_generator

from .batch import loss_of
from .effort import batch_and_steps
from .optimizer import set_learning_rate
from .prepare import MIN_STEPS_PER_EPOCH, Prepared, PreparedFit
from .train import FROZEN, start, task_of

AnyPrepared = TypeVar('AnyPrepared', bound=Prepared)
# In the run directory, so that a run that goes on takes the same batches whatever memory there is then.
FILE = 'batch_size.json'
# Sizes that are tried, steps of each, and the share of a size within which it is found.
MAX_TRIES, STEPS, PRECISION = 12, 2, 1 / 16
# Tries of a run that began on a CPU.
UNSOUGHT = -1


class _TooLarge(Exception):
    """A part of the batch would be computed twice."""


class _Suffices(Exception):
    """A batch would be computed at once; nothing is computed of it."""


def with_batch_size(prepare: Callable[[Any, Run], AnyPrepared], config: Any, run: Run) -> AnyPrepared:
    """Return what `prepare` makes of a configuration and a run, with a batch size where it is to be found.

    Parameters
    ----------
    prepare : callable
        (configuration with a number for batch_size, run) -> Prepared
    config : q2_aam.config.Call
    run : q2_aam.runtime.run.Run

    Raises
    ------
    q2_aam.errors.UserError
        As `prepare` does.
    """
    if config.training.batch_size == AUTO:
        config = _with(config, _batch_size(prepare, config, run))
    return prepare(config, run)


def _with(config, batch_size):
    return dataclasses.replace(config, training=dataclasses.replace(config.training, batch_size=batch_size))


def _batch_size(prepare, config, run):
    say = run.recorder.say
    # first of all: the machine on which a run goes on may have another device
    known = run.ranks.on_first(lambda: _known(run.directory / FILE))()
    if known is None:
        known = _find(prepare, config, run)
        run.ranks.on_first(lambda: write_json(run.directory / FILE, known))()
    number, tries = known['batch_size'], known['tries']
    if tries == UNSOUGHT:
        say(f'Batch size: {number}, the default, because auto looks for a larger one only where a run begins on a GPU.')
        return number
    how = f'found by {counted(tries, "try", "tries")}' if tries else 'more would leave too few steps in an epoch'
    say(f'Batch size: {number} ({how}).')
    run.recorder.log(0, 0, 'run', batch_size=number)
    return number


def _find(prepare, config, run):
    default = Schedule().batch_size
    if not looks_for_it(run.device):
        return {'batch_size': default, 'tries': UNSOUGHT}
    quiet = dataclasses.replace(run, recorder=Recorder(lambda line: None))
    with ignoring():
        # also where more is named: no batch has more than the samples there are
        prepared = prepare(_with(config, default), quiet)
    found, tries = find_batch_size(prepared, _most(config, prepared), quiet)
    return {'batch_size': found, 'tries': tries}


def looks_for_it(device: torch.device) -> bool:
    """Tell whether a larger batch is worth looking for: a CPU is as fast with a small one."""
    return device.type == 'cuda'


def _known(path):
    # what cannot be read is found again
    with contextlib.suppress(ValueError, KeyError):
        values = read_json(path)
        return {name: int(values[name]) for name in ('batch_size', 'tries')}
    return None


def _most(config, prepared):
    """Return the largest batch with which an epoch has enough steps, and which a fit would not cut for its cost."""
    rows = prepared.rows[TRAINING]
    most = max(2, -(-len(rows) // MIN_STEPS_PER_EPOCH))
    if isinstance(prepared, PreparedFit) and config.training.epochs == AUTO:
        frozen = prepared.freezes_asvs
        most, _ = batch_and_steps(
            prepared.config.model, prepared.study, rows, most, prepared.source is not None, frozen
        )
    return most


def find_batch_size(prepared: Prepared, most: int, run: Run) -> tuple[int, int]:
    """Find the largest batch, from that of `prepared` to `most` samples, that is computed at once; tell the tries.

    It is that of `prepared` where none is; all processes of a run find the same. Nothing is left of the tries.
    """
    smallest = prepared.config.training.batch_size
    if most <= smallest:
        return smallest, 0
    try:
        return largest(smallest, most, _Steps(prepared, run).fit)
    finally:
        # the training is to find as much memory as there was
        _free(run.device)


def largest(smallest: int, most: int, fits: Callable[[int], bool]) -> tuple[int, int]:
    """Return the largest number of samples that `fits`, to PRECISION of it, and after how many tries.

    It is doubled until it does not, then halved between. Where nothing fits, it is the smallest.
    """
    good, bad, number, tries = smallest, most + 1, smallest, 0
    while tries < MAX_TRIES:
        tries += 1
        if fits(number):
            good = number
        elif number == smallest:
            break
        else:
            bad = number
        if bad - good <= max(1, int(PRECISION * good)):
            break
        number = min(2 * good, most) if bad > most else (good + bad) // 2
    return good, tries


class _Steps:
    """Steps on the training samples that are richest, with a network of their own."""

    def __init__(self, prepared: Prepared, run: Run):
        training = prepared.config.training
        # nothing is left out of samples
        fullest = dataclasses.replace(training, asv_dropout=0.0, rarefaction_range=1.0)
        prepared = dataclasses.replace(prepared, config=dataclasses.replace(prepared.config, training=fullest))
        rows = prepared.rows[TRAINING]
        self.rows = rows[np.argsort(-prepared.study.richness[rows], kind='stable')]
        self.prepared, self.run, self.ranks = prepared, run, run.ranks
        self.network, self.reader = start(prepared, run), StudyReader(prepared.study, prepared.augment)
        frozen: tuple[str, ...] = ()
        if isinstance(prepared, PreparedFit):
            frozen, target = FROZEN[training.freeze], prepared.target
            if target.given_to_head is not None:
                self.reader.given[target.name] = target.given_to_head
        if prepared.freezes_asvs:
            # they take memory; what they are does not matter
            self.reader.asvs = torch.zeros(len(prepared.study.codes), prepared.config.model.width, device=run.device)
        self.optimizer = task_of(self.network, prepared, run, self.reader, frozen=frozen).optimizer
        set_learning_rate(self.optimizer, 0.0)
        self.network.register_forward_pre_hook(self._refuse)
        self.network.train()

    def _refuse(self, _, inputs):
        (batch, *_) = inputs
        chunks = [*batch.sequences, *batch.samples, *batch.masked, *batch.masked_samples]
        if self.ranks.most(int(any(not chunk.kept for chunk in chunks))):
            raise _TooLarge
        if self.ranks.strategy == FSDP:
            # memory that runs out within an exchange of weights would end the run
            raise _Suffices

    def _take(self, number):
        for step in range(STEPS):
            generator = numpy_generator(self.run.seed, Stream.STEP, step)
            share = self.ranks.share()
            loss, *_ = loss_of(self.network, self.prepared, self.reader, self.rows[:number], generator, share)
            self.optimizer.zero_grad()
            loss.backward()
            self.ranks.average(self.network)
            # with its moments
            self.optimizer.step()

    def fit(self, number: int) -> bool:
        """Tell whether so many samples are computed at once; where memory runs out, they are not."""
        try:
            self.ranks.together(lambda: self._take(number))
            return True
        except _Suffices:
            return True
        except _TooLarge:
            return False
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # only here is the error gone, and with it what the step held
        self.optimizer.zero_grad()
        _free(self.run.device)
        return False


def _free(device):
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.empty_cache()
