"""Pretraining: learn ASVs and samples without labels, from hidden nucleotides and from distances."""

import dataclasses
import time

import numpy as np
import torch

from q2_aam import bundle
from q2_aam.config import AUTO
from q2_aam.data.augmentation import reading_of, with_noise
from q2_aam.data.batches import make_batch, masked_tokens
from q2_aam.data.distance_matrix import read_distances
from q2_aam.data.inputs import read_study
from q2_aam.data.pairs import align_distances
from q2_aam.data.phylogeny import read_phylogeny
from q2_aam.data.splits import held_out
from q2_aam.data.unifrac import UnifracDistances
from q2_aam.errors import UserError, counted
from q2_aam.model.asv_encoder import hidden_nucleotides
from q2_aam.model.initialise import initialise_memberships
from q2_aam.model.losses import distance_loss, nucleotide_loss
from q2_aam.model.network import Network
from q2_aam.runtime.checkpoint import Checkpoint
from q2_aam.runtime.device import choose_device, place, use_threads
from q2_aam.runtime.encode import distances_among, embed_asvs, regression_figures
from q2_aam.runtime.run_directory import hash_files, name_of_run, run_folder, seed_of_run

from .loop import Task, reproducible, train
from .optimizer import base_learning_rate
from .report import make_card, say_model, say_study

# Steps after which more gave little on ECAM; the schedule falls to its end there.
STEPS = 300
# Samples from which memberships begin, and whose pairs validation scores: 500 samples are 124,750 pairs.
SAMPLES_TO_INITIALISE = 256
MOST_SCORED_SAMPLES = 500
# Share of a batch's ASVs that the masked task reads a second time where the first reading serves the distances.
MASKED_BESIDE_DISTANCES = 0.125
# streams of random numbers that must not be confused with those of the loop
SPLIT, VALIDATION_MASK, POINTS, ESTIMATE, SCORED, DRAWN = 10, 11, 12, 13, 14, 15


def pretrain(table, folder, config, sequences=None, distance_matrix=None, phylogeny=None, say=print):
    """Train an encoder and write its bundle.

    Parameters
    ----------
    table : path
        BIOM 2.1 HDF5.
    folder : path
        Where the bundle is written; it exists.
    config : q2_aam.config.PretrainConfig
    sequences : path, optional
        FASTA with the sequence of each feature; without it the feature ids are the sequences.
    distance_matrix : path, optional
        Tab-separated, any dissimilarity. Samples that it lacks train the masked task only.
    phylogeny : path, optional
        Newick, rooted, with every feature that occurs. Instead of a matrix: each batch's UniFrac is computed from it,
        with rarefaction_depth that of the very reads that were drawn for the batch.
    say : callable
        Takes one line of progress.

    Returns
    -------
    q2_aam.runtime.history.History

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used.
    """
    started = time.monotonic()
    if distance_matrix is not None and phylogeny is not None:
        raise UserError('A distance_matrix and a phylogeny are both given, but distances come from one; give only one.')
    device = choose_device(config.runtime.device)
    hashes = hash_files(table=table, sequences=sequences, distance_matrix=distance_matrix, phylogeny=phylogeny)
    name = name_of_run('pretrain', config, hashes)
    with run_folder(name) as work, use_threads(config.runtime.threads):
        seed = seed_of_run(work, config.training.random_seed)
        study, _ = read_study(table, sequences, max_length=_given(config.model.max_sequence_length), folder=work)
        validation = held_out(study.sample_ids, config.data.validation_fraction, np.random.default_rng([seed, SPLIT]))
        training_rows, validation_rows = np.flatnonzero(~validation), np.flatnonzero(validation)
        pairs = _read_pairs(distance_matrix, phylogeny, config, study, training_rows, seed)
        config = _resolved(config, study, len(training_rows), pairs)
        say_study(study, {'training': len(training_rows), 'validation': len(validation_rows)}, say)
        _say_pairs(pairs, phylogeny, config.training, say)
        with reproducible(device, seed):
            network = Network(config.model, nucleotides=config.training.nucleotide_weight > 0)
            network = place(network, config.runtime, device)
            _initialise(network, study, training_rows, pairs, config, seed, device)
            say_model(network, config, device, seed, say)
            tasks = _Tasks(study, pairs, config, validation_rows, seed, device)
            task = Task(training_rows, tasks.loss, tasks.validate)
            history = train(network, task, config.training, config.training.epochs, seed, Checkpoint(work), say)
            tasks.add_points(network, history)
        history.log(0, 0, 'run', random_seed=seed)
        figures = {'validation': history.last('validation')}
        bundle.save(
            folder,
            network,
            bundle.BundleConfig(bundle.ENCODER, config, pairs.divisor if pairs else None),
            make_card(
                study,
                {'training': len(training_rows), 'validation': len(validation_rows)},
                hashes,
                seed,
                device,
                figures,
                started,
                precision=network.precision,
            ),
        )
    return history


def _given(value):
    return None if value == AUTO else value


def _read_pairs(distance_matrix, phylogeny, config, study, training_rows, seed):
    if len(training_rows) < 2:
        raise UserError(
            f'Pretraining needs 2 training samples at least, but gets {len(training_rows)} of '
            f'{counted(len(study), "sample")}; give more samples or lower validation_fraction.'
        )
    pairs = None
    if config.training.distance_weight > 0:
        if distance_matrix is not None:
            pairs = align_distances(read_distances(distance_matrix), study.sample_ids, training_rows)
        elif phylogeny is not None:
            tree = read_phylogeny(phylogeny, study.feature_ids)
            generator = np.random.default_rng([seed, ESTIMATE])
            reading = _drawn(config, seed, ESTIMATE, 1)
            pairs = UnifracDistances(tree, study, training_rows, generator, config.training.unifrac, reading)
    if pairs is None and config.training.nucleotide_weight == 0:
        raise UserError(
            'There is nothing to learn: nucleotide_weight is 0 and there are no distances; raise it, or give a '
            'distance_matrix or a phylogeny with a distance_weight above 0.'
        )
    return pairs


def _drawn(config, seed, *stream):
    """Return the reading that draws rarefaction_depth reads and leaves out no ASV besides; None where it is 0."""
    if not config.training.rarefaction_depth:
        return None
    training = dataclasses.replace(config.training, asv_dropout=0.0)
    return reading_of(config.data, training, np.random.default_rng([seed, *stream]))


def _say_pairs(pairs, phylogeny, training, say):
    if pairs is None:
        say('Distances: none; hidden nucleotides alone are learned.')
        return
    source = 'those of the distance matrix'
    if phylogeny is not None:
        source = f'{training.unifrac.replace("_", " ")} UniFrac, from the phylogeny'
        if training.rarefaction_depth:
            source += f', of about {counted(training.rarefaction_depth, "read")} of each sample, drawn anew each time'
    say(f'Distances: {source}; between training samples {pairs.mean:.3f} +- {pairs.variance**0.5:.3f}.')


def _resolved(config, study, samples, pairs):
    """Return the configuration with every 'auto' of model and training given its value."""
    model = config.model.resolved(study.longest, samples)
    training = config.training
    steps_an_epoch = -(-samples // training.batch_size)
    masked = training.masked_asv_fraction
    training = dataclasses.replace(
        training,
        epochs=max(2, -(-STEPS // steps_an_epoch)) if training.epochs == AUTO else training.epochs,
        learning_rate=base_learning_rate(training, model.width),
        masked_asv_fraction=(MASKED_BESIDE_DISTANCES if pairs else 1.0) if masked == AUTO else masked,
    )
    return dataclasses.replace(config, model=model, training=training)


def _initialise(network, study, rows, pairs, config, seed, device):
    if pairs is None:
        return
    chosen = np.random.default_rng([seed, SPLIT, 1]).permutation(rows)[:SAMPLES_TO_INITIALISE]
    reading = _drawn(config, seed, DRAWN, 1) if isinstance(pairs, UnifracDistances) else None
    batch = make_batch(study, chosen, sequences=False, reading=reading).to(device)
    initialise_memberships(network, embed_asvs(network, study, batch.distinct.cpu().numpy(), device), batch, pairs.mean)


class _Tasks:
    """The losses of a batch and the figures of the validation part."""

    def __init__(self, study, pairs, config, validation_rows, seed, device):
        self.study, self.pairs, self.data, self.training = study, pairs, config.data, config.training
        self.validation_rows, self.seed, self.device = validation_rows, seed, device
        self.scored_rows, self.true_distances, self.scored = validation_rows, None, None
        if pairs is not None:
            known = validation_rows[pairs.place[validation_rows] >= 0]
            generator = np.random.default_rng([seed, SCORED])
            self.scored_rows = np.sort(generator.permutation(known)[:MOST_SCORED_SAMPLES])
        self.scored_study, self.scored_reading = study, reading_of(self.data)
        if isinstance(pairs, UnifracDistances) and self.training.rarefaction_depth and len(self.scored_rows):
            self._draw_scored(config)

    def _draw_scored(self, config):
        """Draw the reads of the samples that are scored, once: prediction and truth are then of the same."""
        reading = _drawn(config, self.seed, DRAWN)
        batch = make_batch(self.study, self.scored_rows, sequences=False, reading=reading)
        self.true_distances = _pairs_among(self.pairs.of_batch(batch))
        self.scored_study = dataclasses.replace(
            self.study,
            sample_ids=[self.study.sample_ids[row] for row in self.scored_rows],
            offsets=batch.offsets.numpy(),
            asvs=batch.distinct[batch.asvs].numpy(),
            abundances=batch.abundances.numpy(),
            reads=self.study.reads[self.scored_rows],
        )
        self.scored_rows, self.scored_reading = np.arange(len(self.scored_rows)), None

    def loss(self, network, rows, generator):
        reading = reading_of(self.data, self.training, generator)
        batch = make_batch(self.study, rows, reading=reading)
        if self.training.nucleotide_noise:
            batch.codes = torch.from_numpy(with_noise(batch.codes.numpy(), self.training.nucleotide_noise, generator))
        true_BB = None if self.pairs is None else self._true(batch)
        batch = batch.to(self.device)
        loss, figures = 0.0, {}
        if true_BB is not None:
            asvs_UD, _ = network.encode_asvs(batch.codes, batch.lengths)
            unions_BK = network.encode_samples(asvs_UD, batch.asvs, batch.abundances, batch.offsets).unions
            distance = distance_loss(network.distance_head(unions_BK, unions_BK), true_BB, self.pairs.variance)
            loss = loss + self.training.distance_weight * distance
            figures['distance_loss'] = distance.item()
        if self.training.nucleotide_weight > 0:
            nucleotide, accuracy = self._nucleotides(network, batch.codes, batch.lengths, generator)
            loss = loss + self.training.nucleotide_weight * nucleotide
            figures |= {'nucleotide_loss': nucleotide.item(), 'nucleotide_accuracy': accuracy.item()}
        return loss, figures

    def _true(self, batch):
        """Return the true distances [B, B] of a batch: with rarefaction_depth, if they can be, of the reads drawn."""
        drawn = self.training.rarefaction_depth > 0
        true = self.pairs.of_batch(batch) if drawn else self.pairs.among(batch.samples.numpy())
        return torch.from_numpy(true).to(self.device)

    def _nucleotides(self, network, codes_UL, lengths_U, generator):
        few = max(1, round(self.training.masked_asv_fraction * len(codes_UL)))
        chosen = torch.from_numpy(np.sort(generator.permutation(len(codes_UL))[:few])).to(codes_UL.device)
        codes_UL, lengths_U = codes_UL[chosen], lengths_U[chosen]
        per_token = network.config.nucleotides_per_token
        hidden_UT = masked_tokens(lengths_U.cpu().numpy(), per_token, self.training.mask_fraction, generator)
        hidden_UT = hidden_UT.to(codes_UL.device)
        # tokens after the longest chosen sequence are nobody's
        codes_UL = codes_UL[:, : int(lengths_U.max())]
        _, outputs = network.encode_asvs(codes_UL, lengths_U, hidden_UT)
        return nucleotide_loss(network.nucleotide_head(outputs), hidden_nucleotides(codes_UL, hidden_UT, per_token))

    def validate(self, network):
        if not len(self.validation_rows):
            return {}
        figures = {}
        if self.pairs is not None and len(self.scored_rows) > 1:
            predicted, true = self.scored = self.scored_pairs(network)
            figures |= {f'distance_{name}': value for name, value in regression_figures(predicted, true).items()}
        if self.training.nucleotide_weight > 0:
            generator = np.random.default_rng([self.seed, VALIDATION_MASK])
            batch = make_batch(
                self.study, self.validation_rows[: self.training.batch_size], reading=reading_of(self.data)
            ).to(self.device)
            with torch.no_grad():
                loss, accuracy = self._nucleotides(network, batch.codes, batch.lengths, generator)
            figures |= {'nucleotide_loss': loss.item(), 'nucleotide_accuracy': accuracy.item()}
        return figures

    def scored_pairs(self, network):
        """Predicted and true distances of all pairs of the validation part, float64 [pairs] each."""
        predicted = distances_among(network, self.scored_study, self.scored_rows, self.device, self.scored_reading)
        if self.true_distances is None:
            # once and not after each epoch: from a large phylogeny they take a minute
            self.true_distances = _pairs_among(self.pairs.among(self.scored_rows))
        return _pairs_among(predicted), self.true_distances

    def add_points(self, network, history):
        if self.pairs is not None and len(self.scored_rows) > 1:
            # those of the last epoch; a run that was killed after it has to compute them again
            predicted, true = self.scored or self.scored_pairs(network)
            generator = np.random.default_rng([self.seed, POINTS])
            history.add_points('distance', 'validation', predicted, true, generator)


def _pairs_among(distances):
    """Return the distance of each pair in a matrix, float64 [pairs]."""
    return distances[np.triu_indices(len(distances), 1)].astype(np.float64)
