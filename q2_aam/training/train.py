"""From prepared data to a trained network, in one loop over all objectives, and the abundance ensemble beside it.

Shapes: U distinct ASVs, D width.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch

from q2_aam.config import HeadConfig
from q2_aam.config.runtime import FSDP
from q2_aam.data.batches import make_batch
from q2_aam.data.epochs import batches_of_epoch
from q2_aam.data.readable import draw_readable
from q2_aam.data.splits import TRAINING, VALIDATION
from q2_aam.errors import counted
from q2_aam.model.covariates import CovariateForm
from q2_aam.model.initialise import initialise_memberships
from q2_aam.model.network import Network, build_network
from q2_aam.objectives.distances import rarefaction
from q2_aam.runtime.device import device_name, place
from q2_aam.runtime.encode import StudyReader, embed_asvs
from q2_aam.runtime.kept_embeddings import keeping
from q2_aam.runtime.limits import available_cpus
from q2_aam.runtime.memory import with_less_memory
from q2_aam.runtime.run import Run
from q2_aam.runtime.seeds import Stream, numpy_generator, torch_generator

from .batch import loss_of_made, make, reads_samples
from .effort import TRIAL_SHARE, Trial
from .ensemble import FittedEnsemble, fit_ensemble
from .loop import Task, run_loop
from .named import describe_tokens, with_new_tokens
from .optimizer import FIND, SCHEDULES, make_optimizer
from .prepare import Prepared, PreparedFit
from .strategy import choose_strategy

# Outputs of the validation split that are kept, 128 MB.
MAX_OUTPUTS = 2**24
# Samples from which memberships begin; fewer do where no distances are learned.
SAMPLES_TO_INITIALISE, SAMPLES_WITHOUT_DISTANCES = 256, 32
# What initialise_memberships aims at where no distances are given: a common mean of unweighted UniFrac.
USUAL_MEAN_DISTANCE = 0.65
# The parts of a pretrained encoder, and those that each value of `freeze` keeps as they are.
ENCODER_PARTS = ('asv_encoder.', 'sample_encoder.', 'memberships.', 'heads.distances.')
FROZEN: dict[str, tuple[str, ...]] = {'none': (), 'asv': ('asv_encoder.',), 'encoder': ENCODER_PARTS}


@dataclasses.dataclass(frozen=True)
class Trained:
    """What training made.

    Attributes
    ----------
    network : q2_aam.model.network.Network
    reader : q2_aam.runtime.encode.StudyReader
        Of the prepared study, for this network.
    epoch, step : int
        Of the weights that were kept.
    ensemble : FittedEnsemble or None
    outputs : dict
        {epoch: float64 [validation samples, O]} of the target's head, where there is one and they were kept.
    worthwhile : bool
        Whether the network has shown that it can lower the ensemble's error.
    """

    network: Network
    reader: StudyReader
    epoch: int
    step: int
    ensemble: FittedEnsemble | None = None
    outputs: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)
    worthwhile: bool = True


def train(prepared: Prepared, run: Run, batches: Callable[[int, int], Iterator[np.ndarray]] | None = None) -> Trained:
    """Train a network on all objectives, in `batches` of an epoch (see :class:`Task`) or in those of random order."""
    network = start(prepared, run)
    reader = StudyReader(prepared.study, prepared.augment)
    run.ranks.divide(network)
    task = judged(task_of(network, prepared, run, reader), network, prepared, reader)
    if batches is not None:
        task = dataclasses.replace(task, batches=batches)
    return _run(network, reader, task, prepared, run)


def judged(task: Task, network: Network, prepared: Prepared, reader: StudyReader) -> Task:
    """Return a task of pretraining whose best epoch is known by the validation loss of all objectives together."""
    patience = prepared.config.training.patience

    def validate():
        metrics, losses = {}, []
        for one in prepared.scored:
            found = one.metrics(network, reader)
            losses += [one.weight * value for name, value in found.items() if name.endswith('_loss')]
            metrics |= found
        return metrics | {'loss': sum(losses)} if losses else metrics

    return dataclasses.replace(
        task, validate=validate, score='loss', keeps_best=patience > 0, patience=patience or None
    )


def train_fit(
    prepared: PreparedFit, run: Run, ensemble: FittedEnsemble | None = None, after_epoch: Callable | None = None
) -> Trained:
    """Train a network on the target and what is learned beside it, and the abundance ensemble beside the network.

    An `ensemble` that was fitted for the same samples is taken as it is; `after_epoch` is that of :class:`Task`.
    """
    training, target = prepared.config.training, prepared.target
    # the cheap one first: it tells how long the network is worth training
    if ensemble is None and training.abundance_ensemble and run.ranks.rank == 0:
        ensemble = fit_ensemble(prepared, run)
    network = start(prepared, run)
    reader = StudyReader(prepared.study, prepared.augment)
    if target.given_to_head is not None:
        reader.given[target.name] = target.given_to_head
    if prepared.freezes_asvs:
        with keeping():
            with_less_memory(network, lambda: run.ranks.together(lambda: reader.remember(network, run.ranks)))
    run.ranks.divide(network)
    slow_ratio = 1.0 if prepared.source is None else training.encoder_learning_rate_ratio
    task = task_of(network, prepared, run, reader, slow_ratio, FROZEN[training.freeze])
    trial = None if ensemble is None else _trial(prepared, ensemble, task)
    task = dataclasses.replace(
        task,
        score=target.score,
        larger=target.larger,
        patience=training.patience,
        after_epoch=after_epoch,
        outputs=_outputs(prepared) if run.ranks.rank == 0 else None,
        # extra targets have no other reader than the network: it is trained to its end
        verdict=None
        if prepared.extra_targets or not training.abundance_ensemble
        else run.ranks.on_first(trial.verdict if trial else None),
    )
    trained = _run(network, reader, task, prepared, run)
    worthwhile = trial is None or trial.reason(trained.outputs) is None
    return dataclasses.replace(trained, ensemble=ensemble, worthwhile=worthwhile)


def _trial(prepared, ensemble, task):
    rows = prepared.rows[VALIDATION]
    place = np.searchsorted(prepared.labelled, rows)
    steps = math.ceil(TRIAL_SHARE * task.epochs * task.steps_per_epoch)
    return Trial(prepared.target, rows, ensemble.outputs[place], ensemble.signs.vocabulary_coverage[place], steps)


def _outputs(prepared):
    """Return what keeps the outputs of the validation split of every epoch; None where they are too many."""
    target, training = prepared.target, prepared.config.training
    if len(prepared.rows[VALIDATION]) * target.target.outputs * training.epochs > MAX_OUTPUTS:
        return None
    return lambda: torch.from_numpy(target.validation_outputs)


def _run(network, reader, task, prepared, run):
    describe(network, prepared, run)
    state = run_loop(network, task, run.recorder, run.checkpoint('network'))
    epoch = state.best_epoch or state.epoch
    outputs = {number: values.numpy() for number, values in state.outputs.items()}
    network = run.ranks.joined(network, lambda: network_of(prepared, network.head_configs))
    return Trained(network, reader, epoch, min(epoch * task.steps_per_epoch, state.step), outputs=outputs)


def start(prepared: Prepared, run: Run) -> Network:
    """Return the network to train: with the weights of the encoder, or with memberships that begin from the data."""
    config, source = prepared.config, prepared.source
    heads: dict[str, HeadConfig] = {} if source is None else dict(source.config.heads)
    heads |= {objective.name: objective.head for objective in prepared.objectives}
    choose_strategy(prepared, network_of(prepared, heads), run)
    network = network_of(prepared, heads, torch_generator(run.seed, Stream.WEIGHTS))
    if source is not None:
        drawn, known = network.state_dict(), source.network.state_dict()
        known = with_new_tokens(known, drawn)
        # a head of another form begins anew
        known = {name: value for name, value in known.items() if name in drawn and value.shape == drawn[name].shape}
        network.load_state_dict(drawn | known)
    network = place(network, config.runtime, run.device)
    if source is None:
        with_less_memory(network, lambda: _initialise_memberships(network, prepared, run))
    return network


def network_of(prepared: Prepared, heads: dict[str, HeadConfig], generator: torch.Generator | None = None) -> Network:
    """Return a network for what was prepared; see :func:`q2_aam.model.network.build_network`."""
    tokens = None if prepared.known is None else len(prepared.known.token_keys)
    return build_network(prepared.config.model, heads, generator, form_of(prepared), tokens)


def form_of(prepared: Prepared) -> CovariateForm | None:
    """Return what the network's weights of covariates depend on; None where it reads none."""
    covariates = prepared.study.covariates
    if covariates is None:
        return None
    return CovariateForm.of(covariates.schema, prepared.config.covariates.covariate_fusion)


def _initialise_memberships(network, prepared, run):
    distances = prepared.distances
    if not reads_samples(prepared.objectives):
        return
    generator = numpy_generator(run.seed, Stream.INITIALISE)
    samples = SAMPLES_WITHOUT_DISTANCES if distances is None else SAMPLES_TO_INITIALISE
    rows = generator.permutation(prepared.rows[TRAINING])[:samples]
    augment = None
    if distances is not None and distances.drawn:
        augment = rarefaction(prepared.config, numpy_generator(run.seed, Stream.DRAWN, 1))
    drawn = draw_readable(prepared.study, rows, augment)
    # in one piece: a chunk of the batch, without its sequences
    budget = dataclasses.replace(network.budget(), max_floats=2**62, max_tokens=2**62)
    (chunk,) = make_batch(drawn, budget, embeddings=()).to(run.device).samples
    asvs_UD = embed_asvs(network, prepared.study, drawn.distinct)
    mean = USUAL_MEAN_DISTANCE if distances is None else distances.pairs.mean
    initialise_memberships(network, asvs_UD, chunk, mean, torch_generator(run.seed, Stream.INITIALISE))


def task_of(
    network: Network, prepared: Prepared, run: Run, reader: StudyReader, slow_ratio: float = 1.0, frozen=()
) -> Task:
    """Return the task of training `network` on all objectives.

    The parts of an encoder learn `slow_ratio` times as fast as the rest, those that are `frozen` not at all.
    """
    training, rows = prepared.config.training, prepared.rows[TRAINING]

    def batches(epoch, skip):
        generator = numpy_generator(run.seed, Stream.SHUFFLE, epoch)
        return itertools.islice(batches_of_epoch(rows, training.batch_size, generator), skip, None)

    def made(batch_rows, number):
        # a generator of its own, so that a batch that is done again for want of memory is the same batch
        generator = numpy_generator(run.seed, Stream.STEP, number)
        return make(network, prepared, reader, batch_rows, generator, run.ranks.share())

    def loss(batch, number):
        # for want of memory in smaller chunks
        batch = batch if batch.max_floats == network.max_floats else made(batch.rows, number)
        return loss_of_made(network, prepared, batch)

    def validate():
        return {name: value for one in prepared.scored for name, value in one.metrics(network, reader).items()}

    return Task(
        name='',
        optimizer=make_optimizer(
            network,
            1.0 if training.learning_rate == FIND else training.learning_rate,
            training.weight_decay,
            slow_ratio,
            ENCODER_PARTS,
            frozen,
            training.optimizer,
            training.momentum,
        ),
        schedule=lambda step, steps: SCHEDULES[training.schedule](step, steps, training),
        steps_per_epoch=max(1, -(-len(rows) // (training.batch_size * training.accumulation_steps))),
        epochs=training.epochs,
        batches=batches,
        make=made,
        # processes among which weights are divided talk while they make batches; and one CPU has enough to do
        ahead=run.ranks.strategy != FSDP
        and (run.device.type == 'cuda' or (prepared.config.runtime.threads or available_cpus()) > 1),
        loss=loss,
        accumulation=training.accumulation_steps,
        plateau=(training.plateau_factor, training.plateau_patience) if training.schedule == 'plateau' else None,
        ema_decay=training.ema_decay,
        finds_rate=training.learning_rate == FIND,
        validate=run.ranks.on_first(validate),
        max_steps=training.max_steps,
        gradient_clip=training.gradient_clip,
        precision=network.precision,
        ranks=run.ranks,
    )


def describe(network: Network, prepared: Prepared, run: Run) -> None:
    """Say what the data, the objectives and the model are, and what was derived."""
    say, model, training = run.recorder.say, prepared.config.model, prepared.config.training
    describe_study(prepared.study, {part: len(rows) for part, rows in prepared.rows.items()}, say)
    for objective in prepared.objectives:
        say(objective.describe())
    parameters = sum(parameter.numel() for parameter in network.parameters())
    say(
        f'Model: width {model.width}, {counted(model.asv_layers, "ASV layer")} on {describe_tokens(prepared)}, '
        f'{counted(model.sample_layers, "sample layer")}, {counted(model.attention_heads, "attention head")}, '
        f'{counted(model.memberships, "membership")}; '
        f'{counted(parameters, "parameter")}.'
    )
    known = training.learning_rate != FIND
    rate = f'peak learning rate {training.learning_rate:.2g}' if known else 'a peak learning rate that is found first'
    where = device_name(run.device)
    if run.ranks.size > 1:
        divided = ', its weights divided among them' if run.ranks.strategy == FSDP else ''
        where = f'{run.ranks.size} devices ({where}){divided}'
    say(
        f'Training: up to {counted(training.epochs, "epoch")}, batches of up to {training.batch_size} samples, '
        f'{rate}, seed {run.seed}, on {where}.'
    )


def describe_study(study, parts: dict[str, int], say) -> None:
    """Say what the data are; `parts` is {split: number of samples}."""
    lengths = np.unique(study.lengths)
    span = f'{lengths[0]}' if len(lengths) == 1 else f'{lengths[0]} to {lengths[-1]}'
    divided = ', '.join(f'{number:,} {part}' for part, number in parts.items())
    say(f'Samples: {len(study):,} ({divided}); median richness {np.median(study.richness):.0f}.')
    if not study.named:
        say(f'ASVs: {len(study.codes):,} distinct, of {span} nucleotides.')
