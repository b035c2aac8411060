"""Parameters of the training group: objectives, optimizer, schedule and augmentation."""

import dataclasses

from .fields import AUTO, Group, option


@dataclasses.dataclass(frozen=True)
class Schedule(Group):
    """What every training has: its length, its batches, its optimizer and its augmentation."""

    group = 'training'

    epochs: int | str = option(
        AUTO,
        'Maximum number of epochs. auto: enough for a few hundred steps; fewer where a step costs much. Training stops '
        'earlier where the network would lower the error of the abundance ensemble by next to nothing.',
        low=1,
        high=1000000,
    )
    max_steps: int = option(
        0, 'Maximum number of optimizer steps, reached even within an epoch; 0 sets no limit.', low=0, high=1000000000
    )
    batch_size: int = option(
        64,
        'Samples per batch; distances are learned for all pairs of a batch. fit-regressor and fit-classifier use at '
        'most a quarter of their training samples, and fewer where samples are rich in ASVs and epochs is auto.',
        low=2,
        high=65536,
    )
    learning_rate: float | str = option(
        AUTO,
        'Peak learning rate. auto: 3e-4 to learn a metadata column, else 1e-3; less for models wider than 128.',
        low=1e-8,
        high=1.0,
    )
    warmup_fraction: float = option(
        0.1,
        'Share of all steps over which the learning rate rises from 0 to its peak, before it decays.',
        low=0.0,
        high=1.0,
        advanced=True,
    )
    weight_decay: float = option(
        0.05, 'Weight decay of the AdamW optimizer, applied to matrices only.', low=0.0, high=1.0, advanced=True
    )
    gradient_clip: float = option(
        1.0, 'Maximum norm of the gradient; 0 does not clip.', low=0.0, high=1e6, advanced=True
    )
    rarefaction_depth: int = option(
        0,
        'Augmentation: at each training step, resample about this many reads of every sample, as sequencing it again '
        'would; 0 uses the abundances as they are.',
        low=0,
        high=1000000000,
    )
    rarefaction_range: float = option(
        1.0,
        'Augmentation: the depth of each sample is drawn anew at each training step, from rarefaction_depth divided by '
        'this up to rarefaction_depth, low ones as often as high ones (on a logarithmic scale); 1 uses '
        'rarefaction_depth for all.',
        low=1.0,
        high=1e6,
        advanced=True,
    )
    asv_dropout: float = option(
        0.0,
        'Augmentation: share of the ASVs of a sample that is dropped at random at each training step.',
        low=0.0,
        high=0.9,
        advanced=True,
    )
    nucleotide_noise: float = option(
        0.0,
        'Augmentation: share of nucleotides that is replaced at random at each training step, as by sequencing errors; '
        'no effect on a frozen ASV encoder.',
        low=0.0,
        high=0.5,
        advanced=True,
    )
    max_shift: int = option(
        0,
        'Augmentation: at each training step half of the ASVs begin up to this many nucleotides later or earlier, as '
        'after another trimming; what is not known in front is read as N. No effect on a frozen ASV encoder.',
        low=0,
        high=1000,
        advanced=True,
    )
    max_trim: int = option(
        0,
        'Augmentation: at each training step half of the ASVs lose up to this many nucleotides at their end (at most '
        'half of them), as shorter reads do; no effect on a frozen ASV encoder.',
        low=0,
        high=1000,
        advanced=True,
    )
    random_seed: int = option(
        0,
        'Seed of everything random, the splits included; 0 draws one and records it in card.json and the history.',
        low=0,
        high=2**31 - 1,
    )


@dataclasses.dataclass(frozen=True)
class PretrainTraining(Schedule):
    mask_ratio: float = option(
        0.15, 'Share of the tokens of a sequence that is masked, to be predicted.', low=0.01, high=0.9, advanced=True
    )
    masked_asv_ratio: float | str = option(
        AUTO,
        'Share of the ASVs of a batch that is masked; distances are learned from unmasked sequences. auto: 0.125, or 1 '
        'without distances.',
        low=0.001,
        high=1.0,
        advanced=True,
    )
    nucleotide_weight: float = option(
        1.0, 'Weight of the masked-nucleotide loss; 0 turns it off.', low=0.0, high=1e6, advanced=True
    )
    distance_weight: float = option(
        1.0, 'Weight of the distance loss; 0 turns it off.', low=0.0, high=1e6, advanced=True
    )
    unifrac: str = option(
        'unweighted',
        'Which UniFrac to learn from a phylogeny: unweighted (presence and absence) or weighted_normalized (relative '
        'abundances).',
        choices=('unweighted', 'weighted_normalized'),
    )


@dataclasses.dataclass(frozen=True)
class TargetTraining(Schedule):
    """What learning a metadata column takes, numeric or categorical."""

    asv_dropout: float = option(
        0.2,
        'Augmentation: share of the ASVs of a sample that is dropped at random at each training step; it prevents '
        'overfitting to few labels.',
        low=0.0,
        high=0.9,
        advanced=True,
    )
    patience: int | str = option(
        AUTO,
        'Number of epochs without a better validation error after which training stops. auto: a quarter of epochs.',
        low=1,
        high=1000000,
        advanced=True,
    )
    freeze: str = option(
        AUTO,
        'Which part of a given encoder is frozen: none, asv (its ASV encoder, whose embeddings are then computed once) '
        'or encoder (all of it). auto: asv.',
        choices=('auto', 'none', 'asv', 'encoder'),
        advanced=True,
    )
    encoder_learning_rate_ratio: float = option(
        0.2,
        'Learning rate of the unfrozen parts of a given encoder, as a multiple of learning_rate.',
        low=0.001,
        high=1.0,
        advanced=True,
    )
    distance_weight: float = option(
        0.1,
        'Weight of the distance loss beside that of the target, where a distance matrix is given.',
        low=0.0,
        high=1e6,
        advanced=True,
    )
    abundance_ensemble: bool = option(
        True,
        'Also fit an ensemble of linear models, trees and small networks on the abundances of the training ASVs, each '
        'kind weighed by its out-of-fold error, and blend it with the transformer: it is more accurate where new '
        'samples share those ASVs.',
    )


@dataclasses.dataclass(frozen=True)
class RegressorTraining(TargetTraining):
    loss: str = option(
        'huber',
        'Loss on the scaled target: mse, mae (less sensitive to outliers), huber (squared up to 1, absolute beyond) or '
        'quantile, which learns the median and the bounds of the interval for coverage, so that intervals are wider '
        'for samples that are harder to predict.',
        choices=('mse', 'mae', 'huber', 'quantile'),
        advanced=True,
    )
    target_scaling: str = option(
        AUTO,
        'How the target is scaled for training, undone in the output: standard (mean 0, standard deviation 1), sqrt '
        '(standard after a square root), minmax (0 to 1) or none. auto: sqrt for a target that is never negative and '
        'whose left-out groups are predicted better after a square root, else standard.',
        choices=('auto', 'standard', 'sqrt', 'minmax', 'none'),
        advanced=True,
    )
    coverage: float = option(
        0.9,
        'Share of new samples (of new groups, where there are groups) whose true value the prediction intervals should '
        'contain. It takes at least coverage / (1 - coverage) groups of training and validation samples (9 for 0.9); '
        'with fewer, it holds for the groups seen only, and a warning says so.',
        low=0.01,
        high=0.99,
    )


@dataclasses.dataclass(frozen=True)
class ClassifierTraining(TargetTraining):
    # balanced, because rare classes are mostly the ones that a study is about: unweighted, with few labels, a model
    # that never names them has the smaller loss
    class_weights: str = option(
        'balanced',
        'Class weights in the loss: balanced (all classes count the same) or none (all samples count the same). The '
        'probabilities follow: balanced assumes that all classes are equally common among new samples, none that they '
        'are as common as among the training samples.',
        choices=('balanced', 'none'),
    )
