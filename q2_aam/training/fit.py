"""Learning a metadata column from few labels: three parts, the best epoch kept, figures of each part.

What numbers and classes do not have in common is in :mod:`q2_aam.training.goals`.
"""

import dataclasses
import time

import numpy as np
import torch

from q2_aam import bundle
from q2_aam.config import AUTO
from q2_aam.data.applicability import applicability
from q2_aam.data.augmentation import reading_of, with_noise
from q2_aam.data.batches import make_batch, positions_of
from q2_aam.data.distance_matrix import read_distances
from q2_aam.data.inputs import read_study
from q2_aam.data.pairs import align_distances
from q2_aam.data.references import build_references
from q2_aam.data.splits import TEST, TRAINING, VALIDATION, three_parts
from q2_aam.errors import UserError
from q2_aam.model.initialise import initialise_memberships
from q2_aam.model.losses import distance_loss
from q2_aam.model.network import Network
from q2_aam.runtime.checkpoint import Checkpoint
from q2_aam.runtime.device import choose_device, place, use_threads
from q2_aam.runtime.encode import details_of, embed_asvs, outputs_of, probabilities_of
from q2_aam.runtime.run_directory import hash_files, hash_series, name_of_run, run_folder, seed_of_run

from .blend import blend_in_profile_head, learned_rows
from .goals import CategoricalGoal, NumericGoal, choose_scaling
from .loop import Task, reproducible, train
from .optimizer import base_learning_rate
from .report import make_card, say_model, say_study
from .yardstick import forest_figures

STEPS = 400
# Small batches where labels are few, so that an epoch is more than a step or two.
STEPS_AN_EPOCH = 4
PATIENCE_SHARE = 0.25
# On ECAM, five splits: MAE 3.8 months with this and ASV dropout 0.2, 4.2 with 1e-3 and none.
LEARNING_RATE = 3e-4
# What initialise_memberships aims at where no distances are given: a common mean of unweighted UniFrac.
USUAL_MEAN_DISTANCE = 0.65
# Test samples from which on one split is taken at its word.
MANY = 200
ENCODER_PARTS = ('asv_encoder', 'sample_encoder', 'distance_head')
FROZEN = {'none': (), 'asv': ('asv_encoder',), 'encoder': ENCODER_PARTS}
SPLIT, POINTS, REFERENCES = 10, 12, 13
# Where, in the work folder, the checkpoints of the profile head are.
PROFILE_FOLDER = 'profile'


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
    history : q2_aam.runtime.history.History

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used.
    """
    target, details, history = _fit(
        NumericGoal, table, target, folder, config, sequences, encoder, groups, distance_matrix, say
    )
    return _scored(details)['prediction'].rename(target.name), details, history


def fit_classifier(
    table, target, folder, config, sequences=None, encoder=None, groups=None, distance_matrix=None, say=print
):
    """Train a classifier and write its bundle; see :func:`fit_regressor`.

    Parameters
    ----------
    table, folder, sequences, encoder, groups, distance_matrix, say
        As there.
    target : pandas.Series
        Names of classes by sample id, missing where unknown; its name is that of the metadata column.
    config : q2_aam.config.FitClassifierConfig

    Returns
    -------
    predictions : pandas.Series
        The likeliest class, for the test samples (the validation samples where there is no test part).
    probabilities : pandas.DataFrame
        For the same samples; one column a class, by its name.
    details : pandas.DataFrame
        One row for each labelled sample.
    history : q2_aam.runtime.history.History

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used.
    """
    target, details, history = _fit(
        CategoricalGoal, table, target, folder, config, sequences, encoder, groups, distance_matrix, say
    )
    scored = _scored(details)
    return scored['prediction'].rename(target.name), probabilities_of(target, scored), details, history


def _fit(goal_of, table, target, folder, config, sequences, encoder, groups, distance_matrix, say):
    """Train a model and write its bundle, for either kind of goal; return its target, the details and the history."""
    started = time.monotonic()
    device = choose_device(config.runtime.device)
    hashes = hash_files(table=table, sequences=sequences, encoder=encoder, distance_matrix=distance_matrix)
    hashes['metadata'] = hash_series(target)
    if groups is not None:
        hashes['groups'] = hash_series(groups)
    with run_folder(name_of_run(goal_of.call, config, hashes)) as work, use_threads(config.runtime.threads):
        seed = seed_of_run(work, config.training.random_seed)
        source = bundle.load(encoder, bundle.ENCODER) if encoder is not None else None
        config, max_length = _form_of_encoder(config, source)
        study, labels, parts = _labelled_study(
            goal_of, table, target, groups, config, sequences, max_length, seed, work
        )
        rows = {part: np.flatnonzero(parts == part) for part in (TRAINING, VALIDATION, TEST)}
        pairs = None
        if distance_matrix is not None and config.training.distance_weight > 0:
            pairs = align_distances(read_distances(distance_matrix), study.sample_ids, rows[TRAINING])
        config = _resolved(config, study, len(rows[TRAINING]), source)
        numbers = {part: len(rows[part]) for part in rows}
        say_study(study, numbers, say)
        config = _scaled(config, labels, rows, say)
        goal = goal_of(labels, rows[TRAINING], config.training)
        with reproducible(device, seed):
            network = _start(config, source, study, rows[TRAINING], pairs, goal.outputs, device)
            say_model(network, config, device, seed, say)
            task = _Task(study, goal, pairs, config, rows[VALIDATION], device)
            task.remember_frozen(network)
            history = train(
                network, task.of(rows[TRAINING], source), config.training, config.training.epochs, seed,
                Checkpoint(work), say, config.training.patience,
            )  # fmt: skip
            outputs = task.outputs(network, np.arange(len(study)))
            blend, arrays, outputs, left_out = _blended(
                goal, study, outputs, rows, config, seed, device, history, say, Checkpoint(work / PROFILE_FOLDER)
            )
        target = _calibrated(goal, outputs, left_out)
        references = _references(study, rows[TRAINING], seed)
        figures = _score(history, goal, target, outputs, rows, config, seed)
        _compare_with_forest(history, goal, study, rows, config, seed, figures, say)
        history.log(0, 0, 'run', random_seed=seed)
        bundle.save(
            folder,
            network,
            bundle.BundleConfig(goal.kind, config, pairs.divisor if pairs else None, target, references.numbers, blend),
            make_card(study, numbers, hashes, seed, device, figures, started, labels.name, precision=network.precision),
            arrays | {'references': references.codes},
        )
        details = _details(study, parts, target, outputs, labels.values, references, reading_of(config.data))
    return target, details, history


def _scaled(config, labels, rows, say):
    """Return the configuration with the scaling of a numeric target resolved."""
    if not hasattr(config.training, 'target_scaling'):
        return config
    how = choose_scaling(labels, learned_rows(rows), config.training.target_scaling)
    if how == 'root':
        say(f'Target: the square root of "{labels.name}" is learned, and squared again in predictions.')
    return dataclasses.replace(config, training=dataclasses.replace(config.training, target_scaling=how))


def _blended(goal, study, outputs, rows, config, seed, device, history, say, checkpoint):
    """Put a profile head beside the network, if there is to be one.

    Returns the blend, the arrays of the head, the outputs of all samples, and the rows, but for the test part, whose
    outputs are of a model that has not learned from them.
    """
    if not config.training.profile_head:
        return None, {}, outputs, rows[VALIDATION]
    blend, head, outputs = blend_in_profile_head(
        goal, study, outputs, rows, reading_of(config.data), seed, device, say, checkpoint
    )
    history.log(0, 0, 'run', network_weight=blend.network, profile_weight=blend.profile)
    arrays = {bundle.PROFILE + name: array for name, array in head.arrays().items()}
    return blend, arrays, outputs, learned_rows(rows)


def _calibrated(goal, outputs, rows):
    """Return the target of the bundle, calibrated on `rows` of the study, and warn of what it cannot promise.

    `outputs` [samples, outputs] are for all samples; those for `rows` come of no model that has learned from these.
    """
    target = goal.calibrated(outputs[rows], rows)
    goal.warn_of(target)
    return target


def _references(study, training_rows, seed):
    """Return what stands for the ASVs of the training samples."""
    where, _ = positions_of(study.offsets, training_rows)
    asvs = np.unique(study.asvs[where])
    return build_references(study.codes[asvs], study.lengths[asvs], np.random.default_rng([seed, REFERENCES]))


def _details(study, parts, target, outputs, true, references, reading):
    """Return one row a sample, with how well the training samples cover it."""
    columns = target.columns(outputs)
    for name in {bundle.LOWER, bundle.UPPER} & set(columns):
        # training samples taught the model and helped to calibrate it: an interval for them would promise nothing
        columns[name] = np.where(parts == TRAINING, np.nan, columns[name])
    details = details_of(study, parts, columns, true, reading)
    return details.join(applicability(study, references.nearness(study.codes, study.lengths), reading))


def _scored(details):
    """Return the rows of the test samples, of the validation samples where there are none."""
    tests = details['part'] == TEST
    return details[tests if tests.any() else details['part'] == VALIDATION]


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


def _labelled_study(goal_of, table, target, groups, config, sequences, max_length, seed, work):
    """Return the study of the labelled samples, their labels and the part of each."""
    study, without_reads = read_study(
        table, sequences, lambda ids: goal_of.align(ids, target, groups).sample_ids, max_length, work
    )
    # samples without reads are out of the study, and so of the labels
    labels = goal_of.align(study.sample_ids, target.loc[target.index.isin(study.sample_ids)], groups)
    data = config.data
    generator = np.random.default_rng([seed, SPLIT])
    parts = three_parts(labels.groups, data.test_fraction, data.validation_fraction, generator, goal_of.strata(labels))
    return study, labels, parts


def _resolved(config, study, samples, source):
    """Return the configuration with every 'auto' of model and training given its value."""
    if source is None and config.training.freeze not in (AUTO, 'none'):
        raise UserError(
            f'Parameter freeze is {config.training.freeze}, but no encoder is given that could be frozen; give an '
            'encoder or leave freeze at auto.'
        )
    model = config.model.resolved(study.longest, samples)
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


def _start(config, source, study, training_rows, pairs, outputs, device):
    """Return the network to train: with the weights of the encoder, or with memberships that begin from the data."""
    network = Network(config.model, outputs=outputs)
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
    """The loss of a batch and the figures of the validation part."""

    def __init__(self, study, goal, pairs, config, validation_rows, device):
        self.study, self.goal, self.pairs = study, goal, pairs
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
        return Task(training_rows, self.loss, self.validate, self.goal.score, ENCODER_PARTS, ratio, frozen)

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
        loss = self.goal.loss(network.regression_head(embeddings), rows)
        figures = {'target_loss': loss.item()}
        if self.pairs is not None:
            true_BB = torch.from_numpy(self.pairs.among(rows)).to(self.device)
            predicted_BB = network.distance_head(embeddings.unions, embeddings.unions)
            distance = distance_loss(predicted_BB, true_BB, self.pairs.variance)
            loss = loss + self.training.distance_weight * distance
            figures['distance_loss'] = distance.item()
        return loss, figures

    def outputs(self, network, rows):
        """Return what the network gives for `rows`, float64 [rows, outputs]."""
        return outputs_of(network, self.study, rows, self.device, self.asvs, reading_of(self.data))

    def validate(self, network):
        outputs = self.outputs(network, self.validation_rows)
        return self.goal.figures(self.goal.calibrated(outputs, self.validation_rows), outputs, self.validation_rows)


def _score(history, goal, target, outputs, rows, config, seed):
    """Log the figures and points of every part; return the figures for the card."""
    figures = {}
    steps_an_epoch = -(-len(rows[TRAINING]) // config.training.batch_size)
    epoch = int(history.series('validation', 'best_epoch')[-1])
    generator = np.random.default_rng([seed, POINTS])
    for part, own in rows.items():
        if len(own):
            figures[part] = goal.figures(target, outputs[own], own)
            if part == TEST:
                figures[part] |= goal.test_figures(target, outputs[own], own)
            history.log(epoch * steps_an_epoch, epoch, part, **{f'final_{k}': v for k, v in figures[part].items()})
            for plot, predicted, true in goal.points(target, outputs[own], own):
                history.add_points(plot, part, predicted, true, generator)
    return figures


def _compare_with_forest(history, goal, study, rows, config, seed, figures, say):
    """Say, log and add to the figures of the test part what a random forest makes of it."""
    if not config.data.random_forest or not len(rows[TEST]):
        return
    found, limits = forest_figures(goal, study, learned_rows(rows), rows[TEST], seed, config.runtime.threads)
    own = figures[TEST][goal.headline]
    figures[TEST] |= {f'random_forest_{name}': value for name, value in found.items()}
    history.log(0, 0, TEST, **{f'final_random_forest_{name}': value for name, value in found.items()})
    doubt = ' One split of few samples proves little; cross-validate tells more.' if len(rows[TEST]) < MANY else ''
    say(
        f'Test samples: {goal.headline.replace("_", " ")} {own:.3g}; a random forest{limits} on the same samples: '
        f'{found[goal.headline]:.3g}.{doubt}'
    )
