"""From the inputs of a call to what training needs: an aligned study, splits, objectives, a resolved configuration.

Every 'auto' of a configuration gets its value here and nowhere else, but for those of the machine (device, precision,
memory), which :mod:`q2_aam.runtime` knows.
"""

import dataclasses
from typing import Any

import numpy as np

from q2_aam import bundle
from q2_aam.config import AUTO, ModelConfig, PretrainConfig
from q2_aam.data.augmentation import make_augmentation
from q2_aam.data.covariates import beside
from q2_aam.data.depths import check_depths
from q2_aam.data.given_splits import PARTS, aligned_to, parts_of, rows_of
from q2_aam.data.inputs import read_study
from q2_aam.data.known_features import KnownFeatures
from q2_aam.data.labels import Labels
from q2_aam.data.log_abundances import log_abundances, most_common
from q2_aam.data.splits import TEST, TRAINING, VALIDATION, hold_out, split_samples
from q2_aam.data.study import Study
from q2_aam.errors import UserError, counted
from q2_aam.objectives import (
    BESIDE_TARGET,
    PRETRAINING,
    TARGETS,
    Context,
    Distances,
    ExtraTargets,
    Inputs,
    Objective,
    TargetObjective,
    warn_of_unused,
)
from q2_aam.runtime.run import Run
from q2_aam.runtime.seeds import Stream, numpy_generator

from .covariates import with_covariates
from .effort import batch_and_steps
from .members import deal, quick_predictions
from .named import reads_names, refuse_names_alone, with_known_features, without_clades
from .optimizer import peak_learning_rate

# Steps of pretraining after which more gave little on ECAM; the schedule falls to its end there.
PRETRAINING_STEPS = 300
# Small batches where labels are few, so that an epoch is more than a step or two.
MIN_STEPS_PER_EPOCH = 4
PATIENCE_SHARE = 0.25
# Scalings of a target are compared by models of these ASVs, on so many folds of groups.
MAX_ASVS_TO_CHOOSE, FOLDS_TO_CHOOSE = 8192, 5
# On ECAM, five splits: MAE 3.8 months with this and ASV dropout 0.2, 4.2 with 1e-3 and none.
FIT_LEARNING_RATE = 3e-4
# Share of a batch's ASVs that is read a second time with masks, where the first reading serves the distances.
MASKED_BESIDE_DISTANCES = 0.125
# Epochs that pretraining waits for a smaller loss, at least.
MIN_PATIENCE = 10


@dataclasses.dataclass(frozen=True)
class Prepared:
    """All that training reads.

    Attributes
    ----------
    kind : str
        Of the bundle that will be made.
    config : PretrainConfig, FitRegressorConfig or FitClassifierConfig
        With every 'auto' resolved.
    study : q2_aam.data.study.Study
    rows : dict
        Rows of the study by split, int64 each.
    objectives : tuple of Objective
    source : q2_aam.bundle.Bundle or None
        The encoder to start from.
    known : q2_aam.data.known_features.KnownFeatures or None
        Where features have names and no sequences.
    """

    kind: str
    config: Any
    study: Study
    rows: dict[str, np.ndarray]
    objectives: tuple[Objective, ...]
    source: bundle.Bundle | None = None
    known: KnownFeatures | None = None

    @property
    def augment(self):
        """What of a sample is read where nothing is varied."""
        return make_augmentation(self.config.data)

    @property
    def distances(self) -> Distances | None:
        """The objective of distances, where there is one."""
        return next((one for one in self.objectives if isinstance(one, Distances)), None)

    @property
    def scored(self) -> tuple[Objective, ...]:
        """The objectives that are scored after each epoch."""
        return self.objectives

    @property
    def freezes_asvs(self) -> bool:
        """Whether the ASV encoder does not learn, so that each ASV is encoded once."""
        return False


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreparedFit(Prepared):
    """All that learning a metadata column reads.

    Attributes
    ----------
    target : TargetObjective
        The one of the objectives that is the metadata column.
    labels : q2_aam.data.labels.Labels
    """

    target: TargetObjective
    labels: Labels

    @property
    def scored(self) -> tuple[Objective, ...]:
        """The target alone."""
        return (self.target,)

    @property
    def freezes_asvs(self) -> bool:
        """Every value of `freeze` but none keeps the ASV encoder as it is."""
        return self.config.training.freeze != 'none'

    @property
    def extra_targets(self) -> ExtraTargets | None:
        """The objective of extra targets, where there is one."""
        return next((one for one in self.objectives if isinstance(one, ExtraTargets)), None)

    @property
    def labelled(self) -> np.ndarray:
        """Rows of the study whose labels may be learned from, in order: training and validation."""
        return np.sort(np.concatenate([self.rows[TRAINING], self.rows[VALIDATION]]))

    @property
    def parts(self) -> np.ndarray:
        """The split of each sample, object [samples]."""
        parts = np.empty(len(self.study), dtype=object)
        for part, rows in self.rows.items():
            parts[rows] = part
        return parts


def prepare_pretraining(inputs: Inputs, config: PretrainConfig, run: Run) -> Prepared:
    """Prepare learning without labels.

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used.
    """
    if inputs.distance_matrix is not None and inputs.phylogeny is not None:
        raise UserError('Give either a distance_matrix or a phylogeny: distances can be learned from one of them only.')
    source = None if inputs.encoder is None else bundle.load(inputs.encoder, bundle.ENCODER)
    config = dataclasses.replace(config, model=_form_of(config.model, source))
    length = _max_length(config.model)
    study, _ = read_study(inputs.table, inputs.sequences, None, length, run.directory, named=reads_names(source))
    generator = numpy_generator(run.seed, Stream.SPLIT)
    held_out = hold_out(study.sample_ids, config.data.validation_fraction, generator)
    rows = {TRAINING: np.flatnonzero(~held_out), VALIDATION: np.flatnonzero(held_out)}
    if len(rows[TRAINING]) < 2:
        raise UserError(
            f'Pretraining needs at least 2 training samples, but has only {len(rows[TRAINING])} of '
            f'{counted(len(study), "sample")}; give more samples or lower validation_fraction.'
        )
    study, known, config = with_known_features(study, rows[TRAINING], inputs, config, source, run.recorder)
    training = config.training
    if training.schedule == 'plateau' and len(rows[VALIDATION]) < 2:
        raise UserError(
            'Parameter schedule is plateau, which needs 2 held-out samples or more; raise validation_fraction, or '
            'choose another schedule.'
        )
    others = (
        (inputs.distance_matrix or inputs.phylogeny, training.distance_weight),
        (inputs.taxonomy, training.taxonomy_weight),
        (inputs.alpha_diversity, training.alpha_diversity_weight),
        (inputs.phylogeny, training.faith_pd_weight),
        (inputs.table, training.abundance_weight),
    )
    beside = any(given is not None and weight > 0 for given, weight in others)
    config = _resolve_pretraining(config, study, {part: len(of) for part, of in rows.items()}, beside, source)
    context = Context(inputs, study, rows, config, run.seed)
    objectives = _aligned(PRETRAINING, context)
    if not objectives:
        refuse_names_alone(study)
        raise UserError(
            'There is nothing to learn: nucleotide_weight and abundance_weight are 0, and no distance_matrix, '
            'phylogeny, taxonomy or alpha_diversity with a weight above 0 is given; raise one, or give one of them.'
        )
    return Prepared(bundle.ENCODER, config, study, rows, objectives, source, known)


def _aligned(kinds: tuple[type[Objective], ...], context: Context) -> tuple[Objective, ...]:
    """Return those objectives that are turned on and have an input; warn of inputs of those that are turned off."""
    warn_of_unused(context)
    return tuple(objective for kind in kinds if (objective := kind.align(context)) is not None)


def _max_length(model: ModelConfig) -> int | None:
    """Return the length to which sequences are truncated; None where the longest sequence decides."""
    length = model.max_sequence_length
    return length if isinstance(length, int) else None


def _resolve_pretraining(config, study, samples_of, beside, source):
    samples, training = samples_of[TRAINING], config.training
    model = config.model.resolved(study.longest, samples)
    check_depths(model.abundance_as, study, training)
    steps_per_epoch = -(-samples // training.batch_size)
    epochs, masked, patience = training.epochs, training.masked_asv_ratio, training.patience
    epochs = max(2, -(-PRETRAINING_STEPS // steps_per_epoch)) if epochs == AUTO else epochs
    if patience == AUTO:
        patience = max(MIN_PATIENCE, round(PATIENCE_SHARE * epochs)) if samples_of[VALIDATION] else 0
    training = dataclasses.replace(
        training,
        epochs=epochs,
        patience=patience,
        learning_rate=peak_learning_rate(training, model.width),
        masked_asv_ratio=(MASKED_BESIDE_DISTANCES if beside else 1.0) if masked == AUTO else masked,
        token_branches=training.branches_beside(source is not None and source.token_branches is not None),
    )
    return dataclasses.replace(config, model=model, training=training)


def prepare_fit(kind: str, inputs: Inputs, config: Any, run: Run) -> PreparedFit:
    """Prepare learning a metadata column; `kind` is that of the model.

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used.
    """
    objective = TARGETS[kind]
    source = None if inputs.encoder is None else bundle.load(inputs.encoder, bundle.ENCODER)
    config = dataclasses.replace(config, model=_form_of(config.model, source))
    study, labels = _labelled_study(objective, inputs, _max_length(config.model), run, reads_names(source))
    strata = objective.strata(labels)
    if inputs.split is None:
        rows = _split(labels, strata, config.data, run.seed)
    else:
        rows = rows_of(labels, parts_of(inputs.split), config.data.test_fraction, strata)
    groups, augment = None if inputs.groups is None else inputs.groups.name, make_augmentation(config.data)
    study = with_covariates(study, labels, rows, inputs.covariates, groups, config.covariates, augment, run.recorder)
    study, known, config = with_known_features(
        study, rows[TRAINING], inputs, config, source, run.recorder, config.training.freeze == 'none'
    )
    inputs = without_clades(inputs, study)
    config = _resolve_fit(config, study, rows[TRAINING], source)
    learned = np.sort(np.concatenate([rows[TRAINING], rows[VALIDATION]]))
    predict = _predict(study, labels, learned, config, run)
    training = objective.resolved(config.training, labels, learned, predict, inputs.scale_by)
    config = dataclasses.replace(config, training=training)
    context = Context(inputs, study, rows, config, run.seed, labels)
    target = objective.align(context)
    beside = _aligned(BESIDE_TARGET, context)
    return PreparedFit(kind, config, study, rows, (target, *beside), source, known, target=target, labels=labels)


def _predict(study, labels, rows, config, run):
    """Return what predicts numbers for `rows` out of fold; nothing is computed before it is called."""

    def predict(values):
        abundances = log_abundances(study, rows, make_augmentation(config.data))
        abundances = abundances[:, most_common(abundances, MAX_ASVS_TO_CHOOSE)]
        abundances = beside(abundances, None if study.covariates is None else study.covariates.of(rows))
        fold = deal(labels.groups[rows], FOLDS_TO_CHOOSE, numpy_generator(run.seed, Stream.CHOICE))
        return quick_predictions(abundances, values, fold)

    return predict


def _form_of(model: ModelConfig, source):
    """Give the model the form of the encoder it starts from."""
    if source is None:
        return model
    form = source.config.call.model
    for name, value in vars(model).items():
        if value not in (AUTO, getattr(form, name)):
            raise UserError(
                f'Parameter {name} is {value}, but the encoder was made with {getattr(form, name)}; leave it at auto.'
            )
    return form


def _labelled_study(objective, inputs, max_length, run, named):
    """Return the study of the labelled samples with reads, and their labels."""
    aligned = []
    align = objective.align_labels
    if inputs.split is not None:
        align = aligned_to(align, parts_of(inputs.split), ' or '.join(PARTS))

    def labelled(sample_ids):
        aligned.append(align(sample_ids, inputs.target, inputs.groups))
        return aligned[0].sample_ids

    study, without_reads = read_study(inputs.table, inputs.sequences, labelled, max_length, run.directory, named=named)
    if not set(without_reads) & set(aligned[0].sample_ids):
        return study, aligned[0]
    # what is left must still be worth learning from
    target = inputs.target.loc[inputs.target.index.isin(study.sample_ids)]
    return study, align(study.sample_ids, target, inputs.groups)


def _split(labels, strata, data, seed):
    generator = numpy_generator(seed, Stream.SPLIT)
    parts = split_samples(labels.groups, data.test_fraction, data.validation_fraction, generator, strata)
    return {part: np.flatnonzero(parts == part) for part in (TRAINING, VALIDATION, TEST)}


def _resolve_fit(config, study, rows, source):
    training = config.training
    if source is None and training.freeze not in (AUTO, 'none'):
        raise UserError(
            f'Parameter freeze is {training.freeze}, but no encoder is given that could be frozen; give an encoder or '
            'leave freeze at auto.'
        )
    samples = len(rows)
    model = config.model.resolved(study.longest, samples)
    check_depths(model.abundance_as, study, training)
    batch_size = min(training.batch_size, max(2, -(-samples // MIN_STEPS_PER_EPOCH)))
    epochs, patience, freeze = training.epochs, training.patience, training.freeze
    freeze = ('none' if source is None else 'asv') if freeze == AUTO else freeze
    if epochs == AUTO:
        batch_size, steps = batch_and_steps(model, study, rows, batch_size, source is not None, freeze != 'none')
        epochs = max(1, -(-steps // -(-samples // batch_size)))
    if training.nucleotide_weight > 0 and freeze != 'none':
        raise UserError(
            f'Parameter nucleotide_weight is {training.nucleotide_weight:g}, but freeze is {freeze}, so that nothing '
            'that reads nucleotides learns; set freeze to none, or nucleotide_weight to 0.'
        )
    masked = training.masked_asv_ratio
    training = dataclasses.replace(
        training,
        masked_asv_ratio=MASKED_BESIDE_DISTANCES if masked == AUTO else masked,
        batch_size=batch_size,
        epochs=epochs,
        patience=max(1, round(PATIENCE_SHARE * epochs)) if patience == AUTO else patience,
        freeze=freeze,
        learning_rate=peak_learning_rate(training, model.width, FIT_LEARNING_RATE),
    )
    return dataclasses.replace(config, model=model, training=training)
