"""The objective of distances: how far apart samples are, from a distance matrix or from a phylogeny.

Shapes: B samples of a batch or of the validation split, P pairs.
"""

import dataclasses

import numpy as np
import torch

from q2_aam.bundle.token_branches import TokenBranches
from q2_aam.config import HeadConfig, ResolvedModel
from q2_aam.data.augmentation import make_augmentation
from q2_aam.data.batches import Drawn, draw_samples
from q2_aam.data.distance_matrix import read_distances
from q2_aam.data.pairs import align_distances
from q2_aam.data.phylogeny import read_phylogeny
from q2_aam.data.readable import draw_readable
from q2_aam.data.splits import TRAINING, VALIDATION
from q2_aam.data.study import Study
from q2_aam.data.unifrac import UnifracDistances
from q2_aam.errors import counted
from q2_aam.model.losses import distance_loss
from q2_aam.runtime.encode import StudyReader
from q2_aam.runtime.seeds import Stream, numpy_generator
from q2_aam.stats.metrics import regression_metrics

# Samples whose pairs the validation scores: 500 samples are 124,750 pairs.
MAX_SCORED_SAMPLES = 500


class Distances:
    """Predict true distances, scaled to at most 1 on the training split.

    Attributes
    ----------
    pairs : PairDistances or UnifracDistances
        True distances seen from the rows of the study.
    source : str
        What they are, in words.
    drawn : bool
        Whether true distances are those of the reads that were drawn for a batch, not of all reads of its samples.
    tokens : Tokens or None
        Branches of tokens that count with memberships, where an encoder has them; else ASVs have branches.
    """

    name = 'distances'
    head = HeadConfig('own_branches')
    tokens: 'Tokens | None' = None

    def __init__(self, context, pairs, source, drawn):
        self.weight = context.config.training.distance_weight
        self.pairs, self.source, self.drawn = pairs, source, drawn
        self.scored = _Scored(context, pairs, drawn)

    @classmethod
    def align(cls, context):
        inputs, training = context.inputs, context.config.training
        if training.distance_weight == 0:
            return None
        if inputs.distance_matrix is not None:
            matrix = read_distances(inputs.distance_matrix)
            pairs = align_distances(matrix, context.study.sample_ids, context.rows[TRAINING])
            return cls(context, pairs, 'those of the distance matrix', False)
        if inputs.phylogeny is not None:
            return cls(context, *_from_phylogeny(context))
        return None

    def use(self, branches: TokenBranches, form: ResolvedModel) -> None:
        """Learn memberships beside these branches of tokens, which do not change; `form` is that of the network."""
        # memberships alone have weights that are learned
        self.head = HeadConfig('distances')
        self.tokens = self.scored.tokens = Tokens(branches, form)

    def label(self, batch, drawn, budget, generator):
        true_BB = self.pairs.of(drawn) if self.drawn else self.pairs.among(drawn.rows)
        batch.labels[self.name] = torch.from_numpy(true_BB)
        if self.tokens is not None:
            batch.given[self.name] = [torch.from_numpy(lengths) for lengths in self.tokens.among(drawn)]

    def loss(self, outputs, batch):
        loss = distance_loss(outputs.heads[self.name], batch.labels[self.name], self.pairs.variance)
        return loss, {'distance_loss': loss.detach()}

    def metrics(self, network, reader):
        pairs = self.scored.pairs(network, reader)
        if pairs is None:
            return {}
        metrics = regression_metrics(*pairs)
        loss = metrics['rmse'] ** 2 / self.pairs.variance
        return {f'distance_{name}': value for name, value in ({'loss': loss} | metrics).items()}

    def points(self, network, reader):
        pairs = self.scored.last or self.scored.pairs(network, reader)
        if pairs is not None:
            yield 'distance', *pairs

    def describe(self):
        mean, deviation = self.pairs.mean, self.pairs.variance**0.5
        return f'Distances: {self.source}; between training samples {mean:.3f} +- {deviation:.3f}.'


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Branches of tokens as a network of this form reads tokens."""

    branches: TokenBranches
    form: ResolvedModel

    def among(self, drawn: Drawn) -> tuple[np.ndarray, np.ndarray]:
        """Return how long the branches are that two samples share, float32 [B, B], and that each has, [B]."""
        size = self.form.nucleotides_per_token
        tokens = self.form.max_sequence_length // size
        codes: np.ndarray = drawn.codes  # type: ignore[assignment]
        return self.branches.among(codes, drawn.inverse, drawn.offsets, size, tokens)


def _from_phylogeny(context):
    """Return the true distances of a phylogeny, what they are in words, and whether they are of the reads drawn."""
    training, seed = context.config.training, context.seed
    tree = read_phylogeny(context.inputs.phylogeny, context.study.feature_ids)
    pairs = UnifracDistances(
        tree,
        context.study,
        context.rows[TRAINING],
        numpy_generator(seed, Stream.ESTIMATE),
        training.unifrac,
        rarefaction(context.config, numpy_generator(seed, Stream.ESTIMATE, 1)),
    )
    source = f'{training.unifrac.replace("_", " ")} UniFrac, from the phylogeny'
    if training.rarefaction_depth:
        least = training.rarefaction_depth / training.rarefaction_range
        least = '' if training.rarefaction_range == 1 else f'{least:,.0f} to '
        source += (
            f', of about {least}{counted(training.rarefaction_depth, "read")} of each sample, drawn anew each time'
        )
    return pairs, source, training.rarefaction_depth > 0


def rarefaction(config, generator):
    """Return the augmentation that draws rarefaction_depth reads and nothing else; None where that is 0."""
    if not config.training.rarefaction_depth:
        return None
    return make_augmentation(config.data, dataclasses.replace(config.training, asv_dropout=0.0), generator)


class _Scored:
    """The samples of the validation split whose pairs are scored, with their true distances.

    Attributes
    ----------
    last : (float64 [P], float64 [P]) or None
        Predicted and true distances of the last call of :meth:`pairs`.
    """

    def __init__(self, context, pairs, drawn):
        known = context.rows[VALIDATION][pairs.place[context.rows[VALIDATION]] >= 0]
        generator = numpy_generator(context.seed, Stream.SCORED)
        self.rows = np.sort(generator.permutation(known)[:MAX_SCORED_SAMPLES])
        self.source, self.reader, self.true, self.last = pairs, None, None, None
        self.tokens, self.beside = None, None
        if drawn and len(self.rows) > 1:
            # their reads are drawn once: prediction and truth are then of the same
            augment = rarefaction(context.config, numpy_generator(context.seed, Stream.DRAWN))
            reads = draw_samples(context.study, self.rows, augment)
            self.true = _upper(pairs.of(reads))
            self.reader = StudyReader(_study_of(context.study, reads))
            self.rows = np.arange(len(self.rows))

    def pairs(self, network, reader):
        """Return predicted and true distances of all pairs, float64 [P] each; None where there is no pair."""
        if len(self.rows) < 2:
            return None
        if self.true is None:
            # once and not after each epoch: from a large phylogeny they take a minute
            self.true = _upper(self.source.among(self.rows))
        reader = self.reader or reader
        if self.tokens is not None and self.beside is None:
            # they are the same after each epoch, too
            self.beside = self.tokens.among(draw_readable(reader.study, self.rows, reader.augment, sequences=True))
        predicted = reader.distances(network, Distances.name, self.rows, self.beside)
        self.last = _upper(predicted), self.true
        return self.last


def _study_of(study: Study, drawn: Drawn) -> Study:
    """Return a study of what was drawn of some samples."""
    return dataclasses.replace(
        study,
        sample_ids=[study.sample_ids[row] for row in drawn.rows],
        offsets=drawn.offsets,
        asvs=drawn.asvs,
        abundances=drawn.abundances,
        reads=study.reads[drawn.rows],
    )


def _upper(distances_BB):
    """Return the distance of each pair in a matrix, float64 [P]."""
    return distances_BB[np.triu_indices(len(distances_BB), 1)].astype(np.float64)
