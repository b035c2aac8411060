"""Learning a metadata column from few labels: three parts, a scaled target, the best epoch kept."""

import dataclasses
import time

import numpy as np
import torch

from q2_aam import bundle
from q2_aam.config import AUTO
from q2_aam.data.batches import make_batch
from q2_aam.data.distances import read_distances
from q2_aam.data.inputs import read_study
from q2_aam.data.pairs import align_distances
from q2_aam.data.parts import TEST, TRAINING, VALIDATION, three_parts
from q2_aam.data.readings import reading_of, with_noise
from q2_aam.data.targets import align_labels
from q2_aam.errors import UserError
from q2_aam.model.initialise import initialise_memberships
from q2_aam.model.losses import TARGET_LOSSES, distance_loss
from q2_aam.model.network import Network

from .checkpoint import Checkpoint
from .devices import choose_device, place, use_threads
from .evaluate import details_of, embed_asvs, outputs_of, regression_figures
from .loop import Task, reproducible, train
from .optimizer import base_learning_rate
from .report import make_card, say_model, say_study
from .work import hash_files, hash_series, name_of_run, run_folder, seed_of_run

STEPS = 400
# Small batches where labels are few, so that an epoch is more than a step or two.
STEPS_AN_EPOCH = 4
PATIENCE_SHARE = 0.25
# On ECAM, five splits: MAE 3.8 months with this and ASV dropout 0.2, 4.2 with 1e-3 and none.
LEARNING_RATE = 3e-4
# What initialise_memberships aims at where no distances are given: a common mean of unweighted UniFrac.
USUAL_MEAN_DISTANCE = 0.65
ENCODER_PARTS = ('asv_encoder', 'sample_encoder', 'distance_head')
FROZEN = {'none': (), 'asv': ('asv_encoder',), 'encoder': ENCODER_PARTS}
SPLIT, POINTS = 10, 12


def fit_regressor(
    table, target, folder, config, sequences=None, encoder=None, groups=None, distance_matrix=None, say=print
):
    """Train a regressor and write its bundle.

    Parameters
    ----------
    table : path
        BIOM 2.1 HDF5.
    target : pandas.Series
        Numbers by sample id, NaN where unknown; its name is that of the metadata column.
    folder : path
        Where the bundle is written; it exists.
    config : q2_aam.config.FitConfig
    sequences : path, optional
        FASTA with the sequence of each feature; without it the feature ids are the sequences.
    encoder : path, optional
        Bundle of a pretrained encoder to start from.
    groups : pandas.Series, optional
        Group by sample id: samples of a group are never split across parts.
    distance_matrix : path, optional
        Its distances are learned beside the target.
    say : callable
        Takes one line of progress.

    Returns
    -------
    predictions : pandas.Series
        For the test samples (the validation samples where there is no test part), in the target's own unit.
    details : pandas.DataFrame
        One row for each labelled sample.
    history : q2_aam.training.history.History

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used.
    """
    started = time.monotonic()
    device = choose_device(config.runtime.device)
    hashes = hash_files(table=table, sequences=sequences, encoder=encoder, distance_matrix=distance_matrix)
    hashes['metadata'] = hash_series(target)
    if groups is not None:
        hashes['groups'] = hash_series(groups)
    with run_folder(name_of_run('fit-regressor', config, hashes)) as work, use_threads(config.runtime.threads):
        seed = seed_of_run(work, config.training.random_seed)
        source = bundle.load(encoder, bundle.ENCODER) if encoder is not None else None
        config, max_length = _form_of_encoder(config, source)
        study, labels, parts = _labelled_study(table, target, groups, config, sequences, max_length, seed, work)
        rows = {part: np.flatnonzero(parts == part) for part in (TRAINING, VALIDATION, TEST)}
        pairs = None
        if distance_matrix is not None and config.training.distance_weight > 0:
            pairs = align_distances(read_distances(distance_matrix), study.sample_ids, rows[TRAINING])
        config = _resolved(config, study, len(rows[TRAINING]), source)
        numbers = {part: len(rows[part]) for part in rows}
        say_study(study, numbers, say)
        scaling = _scaling(labels.name, labels.values[rows[TRAINING]], config.training.target_scaling)
        with reproducible(device, seed):
            network = _start(config, source, study, rows[TRAINING], pairs, device)
            say_model(network, config, device, seed, say)
            task = _Task(study, labels.values, scaling, pairs, config, rows[VALIDATION], device)
            task.remember_frozen(network)
            history = train(
                network, task.of(rows[TRAINING], source), config.training, config.training.epochs, seed,
                Checkpoint(work), say, config.training.patience,
            )  # fmt: skip
        predicted = task.predict(network, np.arange(len(study)))
        figures = _score(history, predicted, labels.values, rows, config, seed)
        history.log(0, 0, 'run', random_seed=seed)
        bundle.save(
            folder,
            network,
            bundle.BundleConfig(bundle.REGRESSOR, config, pairs.divisor if pairs else None, scaling),
            make_card(study, numbers, hashes, seed, device, figures, started, labels.name, precision=network.precision),
        )
    details = details_of(study, parts, predicted, labels.values, reading_of(config.data))
    scored = details['part'] == (TEST if len(rows[TEST]) else VALIDATION)
    return details.loc[scored, 'prediction'].rename(labels.name), details, history


def _form_of_encoder(config, source):
    """Give the model the form of the encoder it starts from; return that and the longest sequence it reads."""
    if source is None:
        longest = config.model.max_sequence_length
        return config, None if longest == AUTO else longest
    form = source[1].call.model
    for name, value in vars(config.model).items():
        if value not in (AUTO, getattr(form, name)):
            raise UserError(
                f'Parameter {name} is {value}, but the encoder was made with {getattr(form, name)}; leave it at auto.'
            )
    return dataclasses.replace(config, model=form), form.max_sequence_length


def _labelled_study(table, target, groups, config, sequences, max_length, seed, work):
    """Return the study of the labelled samples, their labels and the part of each."""
    study, without_reads = read_study(
        table, sequences, lambda ids: align_labels(ids, target, groups).sample_ids, max_length, work
    )
    # samples without reads are out of the study, and so of the labels
    labels = align_labels(study.sample_ids, target.loc[target.index.isin(study.sample_ids)], groups)
    data = config.data
    parts = three_parts(
        labels.groups, data.test_fraction, data.validation_fraction, np.random.default_rng([seed, SPLIT])
    )
    return study, labels, parts


def _resolved(config, study, samples, source):
    """Return the configuration with every 'auto' of model and training given its value."""
    if source is None and config.training.freeze not in (AUTO, 'none'):
        raise UserError(
            f'Parameter freeze is {config.training.freeze}, but no encoder is given that could be frozen; give an '
            'encoder or leave freeze at auto.'
        )
    model = config.model.resolved(study.longest)
    training = config.training
    batch_size = min(training.batch_size, max(2, -(-samples // STEPS_AN_EPOCH)))
    epochs = training.epochs
    if epochs == AUTO:
        epochs = max(1, -(-STEPS // -(-samples // batch_size)))
    patience = training.patience
    if patience == AUTO:
        patience = max(1, round(PATIENCE_SHARE * epochs))
    training = dataclasses.replace(
        training,
        batch_size=batch_size,
        epochs=epochs,
        patience=patience,
        freeze=('none' if source is None else 'asv') if training.freeze == AUTO else training.freeze,
        learning_rate=base_learning_rate(training, model.width, LEARNING_RATE),
    )
    return dataclasses.replace(config, model=model, training=training)


def _scaling(name, values, how):
    """Learn the scaling of the target on training values."""
    if how == 'none' or values.max() == values.min():
        return bundle.Target(name, 0.0, 1.0)
    if how == 'minmax':
        return bundle.Target(name, float(values.min()), float(values.max() - values.min()))
    return bundle.Target(name, float(values.mean()), float(values.std()))


def _start(config, source, study, training_rows, pairs, device):
    """Return the network to train: with the weights of the encoder, or with memberships that begin from the data."""
    network = Network(config.model, outputs=1)
    if source is not None:
        network.load_state_dict(source[0].state_dict() | _head_of(network))
    network = place(network, config.runtime, device)
    if source is None:
        batch = make_batch(study, training_rows[:256], sequences=False).to(device)
        asvs_UD = embed_asvs(network, study, batch.distinct.cpu().numpy(), device)
        initialise_memberships(network, asvs_UD, batch, pairs.mean if pairs else USUAL_MEAN_DISTANCE)
    return network


def _head_of(network):
    return {name: value for name, value in network.state_dict().items() if name.startswith('regression_head.')}


class _Task:
    """The loss of a batch and the figures of the validation part, in the target's own unit."""

    def __init__(self, study, values, scaling, pairs, config, validation_rows, device):
        self.study, self.values, self.scaling, self.pairs = study, values, scaling, pairs
        self.data, self.training, self.validation_rows = config.data, config.training, validation_rows
        self.device = device
        self.asvs = None

    def remember_frozen(self, network):
        """Encode every ASV of the study now if the ASV encoder does not learn."""
        if self.training.freeze != 'none':
            network.eval()
            self.asvs = embed_asvs(network, self.study, np.arange(len(self.study.codes)), self.device)

    def of(self, training_rows, source):
        """Return the task for the loop; with an encoder, its parts learn more slowly than the head."""
        ratio = self.training.encoder_learning_rate_ratio if source is not None else 1.0
        frozen = FROZEN[self.training.freeze]
        return Task(training_rows, self.loss, self.validate, 'mae', ENCODER_PARTS, ratio, frozen)

    def loss(self, network, rows, generator):
        reading = reading_of(self.data, self.training, generator)
        batch = make_batch(self.study, rows, sequences=self.asvs is None, reading=reading)
        if self.training.nucleotide_noise and self.asvs is None:
            batch.codes = torch.from_numpy(with_noise(batch.codes.numpy(), self.training.nucleotide_noise, generator))
        batch = batch.to(self.device)
        if self.asvs is None:
            embeddings = network.encode(batch)
        else:
            embeddings = network.encode_samples(self.asvs[batch.distinct], batch.asvs, batch.abundances, batch.offsets)
        true = torch.from_numpy(self.scaling.scaled(self.values[rows]).astype(np.float32)).to(self.device)
        loss = TARGET_LOSSES[self.training.loss](network.regression_head(embeddings)[:, 0], true)
        figures = {'target_loss': loss.item()}
        if self.pairs is not None:
            true_BB = torch.from_numpy(self.pairs.among(rows)).to(self.device)
            predicted_BB = network.distance_head(embeddings.unions, embeddings.unions)
            distance = distance_loss(predicted_BB, true_BB, self.pairs.variance)
            loss = loss + self.training.distance_weight * distance
            figures['distance_loss'] = distance.item()
        return loss, figures

    def predict(self, network, rows):
        """Return predictions in the target's unit, float64 [rows]."""
        outputs = outputs_of(network, self.study, rows, self.device, self.asvs, reading_of(self.data))[:, 0]
        return self.scaling.unscaled(outputs)

    def validate(self, network):
        return regression_figures(self.predict(network, self.validation_rows), self.values[self.validation_rows])


def _score(history, predicted, true, rows, config, seed):
    """Log the figures and points of every part; return the figures for the card."""
    figures = {}
    steps_an_epoch = -(-len(rows[TRAINING]) // config.training.batch_size)
    epoch = int(history.series('validation', 'best_epoch')[-1])
    generator = np.random.default_rng([seed, POINTS])
    for part, own in rows.items():
        if len(own):
            figures[part] = regression_figures(predicted[own], true[own])
            history.log(epoch * steps_an_epoch, epoch, part, **{f'final_{k}': v for k, v in figures[part].items()})
            history.add_points('target', part, predicted[own], true[own], generator)
    return figures
