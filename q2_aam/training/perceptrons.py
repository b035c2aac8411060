"""The members of the abundance ensemble that are perceptrons: all are trained side by side, each on its own samples.

Shapes: N labelled samples, M members, B samples of a batch, F ASVs of the vocabulary and columns of covariates, W
width.
"""

import dataclasses
import itertools

import numpy as np
import torch

from q2_aam.data.covariates import beside
from q2_aam.model.perceptrons import PerceptronBatch, Perceptrons, dense
from q2_aam.runtime.memory import floats_per_chunk
from q2_aam.runtime.run import Run
from q2_aam.runtime.seeds import Stream, numpy_generator, torch_generator

from .effort import gain_of_kind
from .loop import Task, run_loop
from .members import MemberData
from .optimizer import one_cycle
from .out_of_fold import out_of_fold
from .prepare import PreparedFit


@dataclasses.dataclass(frozen=True)
class Form:
    """What perceptrons are like."""

    width: int
    asv_dropout: float
    dropout: float
    epochs: int


# With more samples, perceptrons that are wider, less regularised and trained longer do better (docs/accuracy.md).
OF_FEW, OF_MANY, MANY_SAMPLES = Form(128, 0.1, 0.3, 40), Form(256, 0.05, 0.1, 80), 1000
MIN_STEPS, MAX_STEPS = 120, 10000
MAX_BATCH, BATCHES_PER_EPOCH = 64, 4
LEARNING_RATE, WEIGHT_DECAY = 3e-3, 1e-2
# Members that are trained first, to see whether the others are worth it: they are where these lower the error of the
# cheaper kinds by so much, of which fewer groups cannot tell.
TRIED, MIN_GAIN, MIN_GROUPS = 3, 0.002, 20
# Relative to their mean, what numbers that are the same may seem to differ by: they are float32.
ROUNDING = 1e-7


def fit_perceptrons(
    data: MemberData,
    known_MF: np.ndarray,
    prepared: PreparedFit,
    run: Run,
    by_kind: dict[str, np.ndarray],
    noises: dict[str, float],
) -> tuple[Perceptrons, float] | None:
    """Fit perceptrons, or return None where the first few of them show that all would have next to no say.

    Parameters
    ----------
    data : MemberData
    known_MF : uint8 [M, F]
        1 where the samples that a member learns from hold an ASV, or a category of a covariate.
    prepared : PreparedFit
    run : Run
    by_kind, noises : dict
        {kind: out-of-fold outputs [N, O]} of the cheaper kinds, and {kind: their noise}.

    Returns
    -------
    perceptrons : Perceptrons
    noise : float
        Variance of the outputs of one member that comes from its first weights and its batches.
    """
    form = OF_FEW if len(data.fold) < MANY_SAMPLES else OF_MANY
    model = Perceptrons(known_MF.shape[1], data.members, prepared.target.target.outputs, form.width)
    model.initialise(torch_generator(run.seed, Stream.ENSEMBLE_WEIGHTS))
    model.scale.fill_(_standard_deviation(data.abundances))
    model.known.copy_(torch.from_numpy(known_MF))
    members, noise = np.arange(data.members), 0.0
    tried = members[:TRIED] if by_kind else members[:0]
    if len(tried):
        _train(model, tried, form, prepared, data, run, run.seed)
        noise = _noise(model, tried, form, prepared, data, run)
        gain, groups = _gain(model, tried, prepared, data, by_kind, noises, noise)
        if gain < MIN_GAIN and groups >= MIN_GROUPS:
            run.recorder.say(
                f'Perceptrons: {len(tried)} of {len(members)} lower the out-of-fold error by {max(gain, 0):.1%}, too '
                'little to fit the others.'
            )
            return None
    if len(tried) < len(members):
        _train(model, members[len(tried) :], form, prepared, data, run, run.seed)
    return model.to(run.device), noise


def _noise(model, tried, form, prepared, data, run):
    """Return the variance of outputs of the members that were tried, from as many of other weights and batches."""
    seed = int(numpy_generator(run.seed, Stream.ENSEMBLE_AGAIN).integers(2**31))
    again = model.of(np.arange(data.members))
    again.initialise(torch_generator(seed, Stream.ENSEMBLE_WEIGHTS))
    _train(again, tried, form, prepared, data, run, seed)
    samples = _left_out(tried, data)
    one, other = out_of_fold(model, data, samples), out_of_fold(again, data, samples)
    return float(np.square(one - other).mean() / 2)


def _gain(model, tried, prepared, data, by_kind, noises, noise):
    """Return the share of the error of other kinds that goes with members that were tried, and the number of groups."""
    samples = _left_out(tried, data)
    outputs = out_of_fold(model, data, samples)
    others = [outputs[samples] for outputs in by_kind.values()]
    noise_K = np.array([*noises.values(), noise]) * (1 - 1 / data.members)
    rows = prepared.labelled[samples]
    gain = gain_of_kind(prepared.target, rows, others, outputs, noise_K)
    return gain, len(np.unique(prepared.target.groups[rows]))


def _left_out(tried, data):
    """Return the samples that one of the members that were tried has not learned from."""
    return np.flatnonzero(np.isin(data.fold, tried))


def _train(model, members, form, prepared, data, run, seed):
    """Train some members side by side, each on its own samples; all chance follows from (seed, member, step)."""
    rows, target, first = prepared.labelled, prepared.target, int(members[0])
    samples_of = [data.learned(member) for member in members]
    size = min(MAX_BATCH, max(2, len(rows) // BATCHES_PER_EPOCH))
    steps = int(np.clip(form.epochs * max(map(len, samples_of)) // size, MIN_STEPS, MAX_STEPS))
    some = model.of(members).to(run.device)
    some.max_floats = floats_per_chunk(prepared.config.runtime.max_memory_gb, run.device)

    def batches(epoch, skip):
        of_members = [batches_of(samples, size, seed, member, skip) for member, samples in zip(members, samples_of)]
        return (np.concatenate(parts) for parts in zip(*of_members))

    def read(samples, step):
        abundances = _with_dropout(data.abundances[samples], form.asv_dropout, seed, first, step)
        if data.covariates is None:
            return abundances
        generator = numpy_generator(seed, Stream.ENSEMBLE_COVARIATES, first, step)
        share = prepared.config.covariates.covariate_dropout
        return beside(abundances, data.covariates.of(samples).dropped(share, generator))

    def loss(samples, step):
        generator = torch_generator(seed, Stream.ENSEMBLE_DROPOUT, first, step, device=run.device)
        batch = PerceptronBatch(
            dense(read(samples, step), run.device),
            tuple(_keep((len(members), size, form.width), form.dropout, generator) for _ in range(2)),
            target.labels_of(rows[samples]).to(run.device),
        )
        batch.abundances = batch.abundances.unflatten(0, (len(members), size))
        # a mean over members would make each learn from a share of its gradient
        weights = target.weights_of(rows[samples])
        weights = None if weights is None else weights.to(run.device)
        mean = target.outputs_loss(some(batch).flatten(0, 1), batch.labels, weights)
        return len(members) * mean, {}, len(samples)

    optimizer = torch.optim.AdamW(some.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    for group in optimizer.param_groups:
        group['peak'] = LEARNING_RATE
    task = Task('Perceptrons', optimizer, one_cycle, steps, 1, batches, loss)
    run_loop(some, task, run.recorder, run.checkpoint(f'perceptrons-{first}{"" if seed == run.seed else "-again"}'))
    model.put(members, some)


def _with_dropout(abundances, dropout, seed, member, step):
    """Drop ASVs from samples at random: those that a sample holds, the others are 0 already."""
    generator = numpy_generator(seed, Stream.ENSEMBLE_ASVS, member, step)
    abundances.data *= (generator.random(len(abundances.data), dtype=np.float32) >= dropout) / np.float32(1 - dropout)
    return abundances


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
