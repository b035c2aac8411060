"""A rehearsal of a training: what `auto` would become, and what it would cost, from a few steps. Nothing is kept."""

import contextlib
import dataclasses
import pathlib
import resource
import sys
import tempfile
import time

import numpy as np
import pandas as pd
import torch

from q2_aam.data.log_abundances import log_abundances, most_common
from q2_aam.data.splits import TRAINING
from q2_aam.model.perceptrons import PerceptronBatch, Perceptrons
from q2_aam.objectives import Inputs
from q2_aam.runtime.device import choose_device, deterministic, device_name, use_threads
from q2_aam.runtime.encode import StudyReader
from q2_aam.runtime.memory import with_less_memory
from q2_aam.runtime.recorder import Recorder
from q2_aam.runtime.run import Run
from q2_aam.runtime.seeds import Stream, numpy_generator

from . import perceptrons
from .batch import loss_of
from .batch_size import with_batch_size
from .effort import TRIAL_SHARE
from .ensemble import MANY_SAMPLES, MEMBERS_OF_FEW, MEMBERS_OF_MANY
from .learning_curve import LearningCurve, learning_curve
from .members import QUICK_TREES, TREES
from .prepare import FOLDS_TO_CHOOSE, MAX_ASVS_TO_CHOOSE, prepare_fit, prepare_pretraining
from .train import FROZEN, start, task_of

SEED = 1
# Steps that are timed; one more comes first, which takes longer.
STEPS = 3
# Some perceptrons are trained twice, to see what they are worth, then the others: as if a third of them were each time.
TRAININGS = 3
# What comes after training (calibration, thinned predictions, a random forest) takes about this share of it.
AFTERWARDS = 0.3


@dataclasses.dataclass(frozen=True)
class Costs:
    """What a training would cost.

    Attributes
    ----------
    steps : pandas.DataFrame
        One row a part of the work: part, times, each (seconds), seconds.
    least, most : float
        Seconds of all, where the network has no say and is stopped early, and where it is trained to its end.
    memory_gb : float
        The most that this process has held so far.
    device : str
    """

    steps: pd.DataFrame
    least: float
    most: float
    memory_gb: float
    device: str


@dataclasses.dataclass(frozen=True)
class Rehearsal:
    """What a rehearsal tells.

    Attributes
    ----------
    derived : pandas.DataFrame
        What `auto` becomes: parameter, value, meaning.
    parts : dict
        {split: number of samples}
    costs : Costs
    curve : q2_aam.training.learning_curve.LearningCurve or None
        None without a target.
    """

    derived: pd.DataFrame
    parts: dict[str, int]
    costs: Costs
    curve: LearningCurve | None = None


def rehearse_fit(kind: str, inputs: Inputs, config) -> Rehearsal:
    """Rehearse the training of a regressor or a classifier.

    Parameters
    ----------
    kind : str
        Of the model, as :mod:`q2_aam.bundle` names it.
    inputs : q2_aam.objectives.Inputs
    config : q2_aam.config.FitRegressorConfig or FitClassifierConfig

    Raises
    ------
    q2_aam.errors.UserError
        If a fit would refuse the inputs.
    """
    with _run(config) as run:
        began = time.monotonic()
        prepared = with_batch_size(lambda *call: prepare_fit(kind, inputs, *call), config, run)
        read = time.monotonic() - began
        curve = learning_curve(prepared)
        costs = _costs(prepared, run, read, _ensemble(prepared, run, curve), TRIAL_SHARE)
        parts = {part: len(rows) for part, rows in prepared.rows.items()}
        return Rehearsal(_derived(config, prepared.config), parts, costs, curve)


def rehearse_pretraining(inputs: Inputs, config) -> Rehearsal:
    """Rehearse pretraining; see :func:`rehearse_fit`."""
    with _run(config) as run:
        began = time.monotonic()
        prepared = with_batch_size(lambda *call: prepare_pretraining(inputs, *call), config, run)
        read = time.monotonic() - began
        parts = {part: len(rows) for part, rows in prepared.rows.items()}
        return Rehearsal(_derived(config, prepared.config), parts, _costs(prepared, run, read, [], 1.0))


@contextlib.contextmanager
def _run(config):
    """Open a run that keeps nothing and says nothing."""
    device = choose_device(config.runtime.device)
    with (
        tempfile.TemporaryDirectory() as folder,
        use_threads(config.runtime.threads),
        deterministic(device),
    ):
        yield Run(pathlib.Path(folder), SEED, device, Recorder(lambda line: None), {}, time.monotonic())


def _derived(asked, resolved):
    given, flat = asked.to_flat(), resolved.to_flat()
    rows = [(opt.name, str(flat[opt.name]), opt.help) for opt in asked.options() if given[opt.name] != flat[opt.name]]
    return pd.DataFrame(rows, columns=['parameter', 'value', 'meaning'])


def _costs(prepared, run, read, more, least_share):
    """Time a few steps of the network, and return what all would take."""
    network = start(prepared, run)
    reader = StudyReader(prepared.study, prepared.augment)
    rows = [('read the inputs, choose parameters', 1, read), *more]
    training = prepared.config.training
    if prepared.freezes_asvs:
        rows.append(('encode ASVs', 1, _timed(lambda: with_less_memory(network, lambda: reader.remember(network)))))
    frozen_parts = FROZEN[training.freeze] if hasattr(training, 'freeze') else ()
    task = task_of(network, prepared, run, reader, frozen=frozen_parts)
    learned = prepared.rows[TRAINING]
    batch = numpy_generator(SEED, Stream.SHUFFLE, 1).permutation(learned)[: training.batch_size]

    def step(number):
        def work():
            loss, *_ = loss_of(network, prepared, reader, batch, numpy_generator(SEED, Stream.STEP, number))
            task.optimizer.zero_grad()
            loss.backward()

        with_less_memory(network, work)
        task.optimizer.step()
        if run.device.type == 'cuda':
            torch.cuda.synchronize(run.device)

    network.train()
    step(0)
    each = min(_timed(lambda number=number: step(number)) for number in range(1, STEPS + 1))
    network.eval()
    scored = _timed(lambda: with_less_memory(network, task.validate))
    steps = task.epochs * task.steps_per_epoch
    rows.append(('steps of the network', min(steps, task.max_steps or steps), each))
    rows.append(('validations', task.epochs, scored))
    frame = pd.DataFrame(rows, columns=['part', 'times', 'each'])
    frame['seconds'] = frame['times'] * frame['each']
    network_seconds = frame['seconds'].iloc[-2:].sum()
    rest = frame['seconds'].iloc[:-2].sum()
    after = 1 + (AFTERWARDS if more else 0)
    least, most = ((rest + share * network_seconds) * after for share in (least_share, 1))
    return Costs(frame, float(least), float(most), _memory_gb(run.device), device_name(run.device))


def _timed(work):
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _memory_gb(device):
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device) / 1e9
    # Linux counts in KiB, macOS in bytes
    unit = 1 if sys.platform == 'darwin' else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _ensemble(prepared, run, curve):
    """Return what the members of the abundance ensemble would take: (part, times, seconds each)."""
    if not prepared.config.training.abundance_ensemble:
        return []
    samples = len(prepared.labelled)
    members = MEMBERS_OF_FEW if samples < MANY_SAMPLES else MEMBERS_OF_MANY
    form = perceptrons.OF_FEW if samples < perceptrons.MANY_SAMPLES else perceptrons.OF_MANY
    size = min(perceptrons.MAX_BATCH, max(2, samples // perceptrons.BATCHES_PER_EPOCH))
    steps = int(np.clip(form.epochs * samples // size, perceptrons.MIN_STEPS, perceptrons.MAX_STEPS))
    half = max(1, members // TRAININGS)
    return [
        ('linear members', members, curve.linear / FOLDS_TO_CHOOSE),
        ('trees', TREES, curve.trees / QUICK_TREES),
        ('steps of perceptrons', TRAININGS * steps, _perceptron_step(prepared, form, half, size, run.device)),
    ]


def _perceptron_step(prepared, form, members, size, device):
    """Return the seconds of a step of members that are trained side by side."""
    abundances = log_abundances(prepared.study, prepared.labelled, prepared.augment)
    abundances = abundances[:, most_common(abundances, MAX_ASVS_TO_CHOOSE)]
    some = np.resize(np.arange(abundances.shape[0]), members * size)
    model = Perceptrons(abundances.shape[1], members, prepared.target.target.outputs, form.width).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), perceptrons.LEARNING_RATE, fused=True)
    keep = torch.ones((members, size, form.width), device=device)
    labels = prepared.target.labels_of(prepared.labelled[some]).to(device)

    def step():
        dense = torch.from_numpy(abundances[some].toarray()).to(device)
        batch = PerceptronBatch(dense.unflatten(0, (members, size)), (keep, keep), labels)
        optimizer.zero_grad()
        prepared.target.outputs_loss(model(batch).flatten(0, 1), labels).backward()
        optimizer.step()

    step()
    return min(_timed(step) for _ in range(STEPS))
