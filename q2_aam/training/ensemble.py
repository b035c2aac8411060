"""Fitting the abundance ensemble: every member learns from all groups but some, and is asked about those.

Shapes: N labelled samples, M members, B samples of a batch, A ASVs of the study, C ASVs of the vocabulary, O outputs.
"""

import dataclasses
import itertools

import numpy as np
import torch

from q2_aam.data.batches import positions_of
from q2_aam.data.log_abundances import log_abundances, most_common, to_vocabulary
from q2_aam.data.study import Study
from q2_aam.data.vocabulary import Vocabulary
from q2_aam.model.abundance_ensemble import SAMPLES_AT_ONCE, AbundanceEnsemble, EnsembleBatch, dense
from q2_aam.runtime.memory import floats_per_chunk, with_less_memory
from q2_aam.runtime.run import Run
from q2_aam.runtime.seeds import Stream, numpy_generator, torch_generator

from .loop import Task, run_loop
from .optimizer import one_cycle
from .prepare import PreparedFit


@dataclasses.dataclass(frozen=True)
class Form:
    """What an ensemble is like: each of its members leaves out a share of the groups."""

    members: int
    width: int
    asv_dropout: float
    dropout: float


# With more samples, fewer members that are wider and less regularised do better (docs/accuracy.md).
OF_FEW, OF_MANY, MANY_SAMPLES = Form(10, 128, 0.1, 0.3), Form(5, 256, 0.05, 0.1), 1000
# The vocabulary: those found in most samples. Other ASVs are left to the transformer.
MAX_VOCABULARY = 8192
EPOCHS, MIN_STEPS, MAX_STEPS = 80, 200, 10000
MAX_BATCH, BATCHES_PER_EPOCH = 64, 4
LEARNING_RATE, WEIGHT_DECAY = 3e-3, 1e-2
# Relative to their mean, what numbers that are the same may seem to differ by: they are float32.
ROUNDING = 1e-7


@dataclasses.dataclass(frozen=True)
class FittedEnsemble:
    """An ensemble and its out-of-fold outputs.

    Attributes
    ----------
    model : q2_aam.model.abundance_ensemble.AbundanceEnsemble
    vocabulary : q2_aam.data.vocabulary.Vocabulary
    outputs : float64 [N, O]
        For the labelled samples, each of the member that has learned neither from it nor from others of its group.
    coverage : float64 [N]
        Share of each labelled sample in ASVs that this member knows.
    """

    model: AbundanceEnsemble
    vocabulary: Vocabulary
    outputs: np.ndarray
    coverage: np.ndarray


def fit_ensemble(prepared: PreparedFit, run: Run) -> FittedEnsemble:
    """Fit the ensemble on the training and validation samples, which are of two groups or more."""
    study, target, rows = prepared.study, prepared.target, prepared.labelled
    all_NA = log_abundances(study, rows, prepared.augment)
    chosen = most_common(all_NA, MAX_VOCABULARY)
    abundance = mean_abundances(study, rows)
    vocabulary = Vocabulary.of(study.codes[chosen], study.lengths[chosen], abundance[chosen])
    known_NC = to_vocabulary(all_NA, study.keys, vocabulary.keys)
    form = OF_FEW if len(rows) < MANY_SAMPLES else OF_MANY
    member_N = deal(target.groups[rows], form.members, numpy_generator(run.seed, Stream.ENSEMBLE))
    samples_of = [np.flatnonzero(member_N != member) for member in range(member_N.max() + 1)]
    model = AbundanceEnsemble(len(vocabulary), len(samples_of), target.target.outputs, form.width)
    model.initialise(torch_generator(run.seed, Stream.ENSEMBLE_WEIGHTS))
    model.scale.fill_(_standard_deviation(known_NC))
    # one that had to leave out a large group knows less than the others
    sizes_M = torch.tensor([len(samples) for samples in samples_of])
    model.shares.copy_(sizes_M / sizes_M.sum())
    for member, samples in enumerate(samples_of):
        held = np.bincount(known_NC[samples].indices, minlength=len(vocabulary)) > 0
        model.known[member] = torch.from_numpy(held.astype(np.uint8))
    model = model.to(run.device)
    model.max_floats = floats_per_chunk(prepared.config.runtime.max_memory_gb, run.device)
    _train(model, form, prepared, known_NC, samples_of, run)
    totals_N = np.asarray(all_NA.sum(axis=1), dtype=np.float64).ravel()
    coverage = model.coverage(known_NC, totals_N)[member_N, np.arange(len(rows))]
    outputs = with_less_memory(model, lambda: _out_of_fold(model, known_NC, member_N))
    return FittedEnsemble(model, vocabulary, outputs, coverage)


def mean_abundances(study: Study, rows: np.ndarray) -> np.ndarray:
    """Return the mean share of each ASV of a study in samples, float64 [A]."""
    where, _ = positions_of(study.offsets, rows)
    return np.bincount(study.asvs[where], study.abundances[where], minlength=len(study.codes)) / len(rows)


def _out_of_fold(model, known_NC, member_N):
    """Return for each sample the outputs of its member, float64 [N, O]."""
    # block by block: with thousands of classes, those of all members for all samples would be gigabytes
    blocks = []
    for start in range(0, len(member_N), SAMPLES_AT_ONCE):
        member_B = member_N[start : start + SAMPLES_AT_ONCE]
        outputs_MBO = model.outputs(known_NC[start : start + SAMPLES_AT_ONCE])
        blocks.append(outputs_MBO[member_B, np.arange(len(member_B))])
    return np.concatenate(blocks)


def deal(groups: np.ndarray, parts: int, generator: np.random.Generator) -> np.ndarray:
    """Deal whole groups to parts at random: part of each sample, int64 [N]; as many parts as groups at most."""
    _, group_N = np.unique(groups, return_inverse=True)
    numbers = group_N.max() + 1
    return (generator.permutation(numbers) % min(parts, numbers))[group_N]


def _train(model, form, prepared, known_NC, samples_of, run):
    """Train all members side by side, each on its own samples; all chance follows from (seed, step)."""
    rows, target, members = prepared.labelled, prepared.target, len(samples_of)
    size = min(MAX_BATCH, max(2, len(rows) // BATCHES_PER_EPOCH))
    steps = int(np.clip(EPOCHS * max(map(len, samples_of)) // size, MIN_STEPS, MAX_STEPS))
    run.recorder.say(
        f'Abundance ensemble: {members} members on {known_NC.shape[1]:,} ASVs, {steps:,} steps of {size} samples each.'
    )

    def batches(epoch, skip):
        of_members = [batches_of(samples, size, run.seed, member, skip) for member, samples in enumerate(samples_of)]
        return (np.concatenate(parts) for parts in zip(*of_members))

    def loss(samples, step):
        generator = torch_generator(run.seed, Stream.ENSEMBLE_DROPOUT, step, device=run.device)
        abundances_MBC = dense(known_NC[samples], run.device).unflatten(0, (members, size))
        batch = EnsembleBatch(
            abundances_MBC * _keep(abundances_MBC.shape, form.asv_dropout, generator),
            tuple(_keep((members, size, form.width), form.dropout, generator) for _ in range(2)),
            target.labels_of(rows[samples]).to(run.device),
        )
        # a mean over members would make each learn from a share of its gradient
        mean = target.outputs_loss(model(batch).flatten(0, 1), batch.labels)
        return members * mean, {}, len(samples)

    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for group in optimizer.param_groups:
        group['peak'] = LEARNING_RATE
    task = Task('Abundance ensemble', optimizer, one_cycle, steps, 1, batches, loss)
    run_loop(model, task, run.recorder, run.checkpoint('ensemble'))


def _keep(shape, dropout, generator):
    """Return what values are multiplied by: 0 with a probability of `dropout`, else so much that the mean is 1."""
    keep = torch.empty(shape, device=generator.device).bernoulli_(1 - dropout, generator=generator)
    return keep.div_(1 - dropout)


def batches_of(samples: np.ndarray, size: int, seed: int, member: int, skip: int):
    """Yield batches without end: all samples in random order, then anew; what is left of an order is passed over.

    So are the first batches, as many as `skip`.
    """
    # samples that are fewer than a batch are in it several times
    length = max(len(samples), size)
    first, begin = divmod(skip, length // size)
    for number in itertools.count(first):
        generator = numpy_generator(seed, Stream.ENSEMBLE_BATCHES, member, number)
        order = np.resize(generator.permutation(samples), length)
        yield from order[: length - length % size].reshape(-1, size)[begin:]
        begin = 0


def _standard_deviation(known_NC):
    """Return that of all numbers of a sparse matrix, those that are 0 too; 1.0 where they are all the same."""
    size = np.prod(known_NC.shape, dtype=np.float64)
    values = known_NC.data.astype(np.float64)
    mean = values.sum() / size
    # a difference of squares would be lost in rounding where numbers are nearly the same
    deviation = np.sqrt((np.square(values - mean).sum() + (size - len(values)) * mean**2) / size)
    return float(deviation) if deviation > ROUNDING * mean else 1.0
