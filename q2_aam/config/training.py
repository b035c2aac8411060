"""Parameters of the training group: tasks, optimizer and schedule."""

import dataclasses

from .fields import AUTO, Group, option


@dataclasses.dataclass(frozen=True)
class Schedule(Group):
    """What every training has: its length, its batches and its optimizer."""

    group = 'training'

    epochs: int | str = option(
        AUTO,
        'Most passes over the training samples. auto: as many as make some hundred steps.',
        low=1,
        high=1000000,
    )
    max_steps: int = option(
        0, 'Steps after which training ends even within an epoch; 0 sets no such limit.', low=0, high=1000000000
    )
    batch_size: int = option(
        64,
        'Samples in a batch; all pairs among them count for the distance task. fit-regressor and fit-classifier take '
        'no more than a quarter of their training samples.',
        low=2,
        high=65536,
    )
    learning_rate: float | str = option(
        AUTO,
        'Highest learning rate. auto: 3e-4 where a metadata column is learned, else 1e-3; less for models wider '
        'than 128.',
        low=1e-8,
        high=1.0,
    )
    warmup_fraction: float = option(
        0.1,
        'Share of all steps over which the learning rate rises from 0 to its maximum; then it falls.',
        low=0.0,
        high=1.0,
    )
    weight_decay: float = option(0.05, 'Weight decay of the AdamW optimizer, on matrices only.', low=0.0, high=1.0)
    gradient_clip: float = option(1.0, 'Largest norm of the gradient; 0 does not clip.', low=0.0, high=1e6)
    rarefaction_depth: int = option(
        0,
        'While training, each reading of a sample draws about this many of its reads anew, as sequencing it again '
        'would; 0 uses its abundances as they are.',
        low=0,
        high=1000000000,
    )
    asv_dropout: float = option(
        0.0,
        'While training, share of the ASVs of a sample that each reading leaves out at random.',
        low=0.0,
        high=0.9,
    )
    nucleotide_noise: float = option(
        0.0,
        'While training, share of the nucleotides that each reading replaces by random ones, as sequencing errors do; '
        'without effect on an ASV encoder that is frozen.',
        low=0.0,
        high=0.5,
    )
    random_seed: int = option(
        0,
        'Seed of everything random, the choice of held-out samples included; 0 draws one, which is then written into '
        'card.json and the history.',
        low=0,
        high=2**31 - 1,
    )


@dataclasses.dataclass(frozen=True)
class PretrainTraining(Schedule):
    mask_fraction: float = option(
        0.15, 'Share of the tokens of each sequence that is hidden, to be filled in from the rest.', low=0.01, high=0.9
    )
    masked_asv_fraction: float | str = option(
        AUTO,
        'Share of the ASVs of a batch in which tokens are hidden; the distance task sees all of them whole. auto: '
        '0.125, or 1 without distances.',
        low=0.001,
        high=1.0,
    )
    nucleotide_weight: float = option(
        1.0, 'Weight of the task to fill in hidden nucleotides; 0 turns it off.', low=0.0, high=1e6
    )
    distance_weight: float = option(1.0, 'Weight of the task to predict distances; 0 turns it off.', low=0.0, high=1e6)
    unifrac: str = option(
        'unweighted',
        'Which UniFrac is learned where a phylogeny is given: unweighted counts which branches two samples share, '
        'weighted_normalized how many of the reads lie on them.',
        choices=('unweighted', 'weighted_normalized'),
    )


@dataclasses.dataclass(frozen=True)
class LabelledTraining(Schedule):
    """What learning a metadata column has, whichever kind of column it is."""

    asv_dropout: float = option(
        0.2,
        'While training, share of the ASVs of a sample that each reading leaves out at random: few labels are learned '
        'by heart otherwise.',
        low=0.0,
        high=0.9,
    )
    patience: int | str = option(
        AUTO,
        'Epochs without a smaller validation error after which training stops. auto: a quarter of epochs.',
        low=1,
        high=1000000,
    )
    freeze: str = option(
        AUTO,
        'Which parts of a given encoder do not learn: none, asv (its ASV encoder, whose embeddings are then computed '
        'once), or encoder (all of it). auto: asv.',
        choices=('auto', 'none', 'asv', 'encoder'),
    )
    encoder_learning_rate_ratio: float = option(
        0.2,
        'Learning rate of those parts of a given encoder that learn, as a multiple of that of the head.',
        low=0.001,
        high=1.0,
    )
    distance_weight: float = option(
        0.1, 'Weight of the distances beside the target, where a distance matrix is given.', low=0.0, high=1e6
    )
    profile_head: bool = option(
        True,
        'Whether small networks that know each ASV by name, not by its sequence, learn from abundances beside the '
        'transformer and are blended with it: on ASVs that were there in training they err less.',
    )


@dataclasses.dataclass(frozen=True)
class FitTraining(LabelledTraining):
    loss: str = option(
        'huber',
        'Which errors of the scaled target training makes small: squared (mse), absolute (mae, where outliers matter '
        'less), or huber, squared up to 1 and absolute beyond. quantile learns the median and the ends of the interval '
        'that coverage asks for, so that prediction intervals are wider for samples that are harder to predict.',
        choices=('mse', 'mae', 'huber', 'quantile'),
    )
    target_scaling: str = option(
        AUTO,
        'How the target is scaled while training: to mean 0 and standard deviation 1 (standard), its square root '
        'likewise (root), to 0 to 1 (minmax), or not at all (none: values far from 0 are then learned slowly or not). '
        'Learned on training samples and undone in the output. auto: root for a target that is never below 0 and whose '
        'square root is clearly less skewed, else standard.',
        choices=('auto', 'standard', 'root', 'minmax', 'none'),
    )
    coverage: float = option(
        0.9,
        'Share of new samples (of new groups, where there are groups) whose true value the prediction intervals in the '
        'details are to hold. With fewer than coverage / (1 - coverage) groups of training and validation samples (9 '
        'for 0.9) they hold that share of every group seen, promise nothing for new ones, and a warning says so.',
        low=0.01,
        high=0.99,
    )


@dataclasses.dataclass(frozen=True)
class ClassifierTraining(LabelledTraining):
    # balanced, because rare classes are mostly the ones that a study is about: unweighted, with few labels, a model
    # that never names them has the smaller loss
    class_weights: str = option(
        'balanced',
        'Whether each class counts the same however many samples it has (balanced), or each sample (none). The '
        'probabilities follow: balanced, they are those for a sample that might as well be of any class; none, for one '
        'from where classes are as common as among the training samples.',
        choices=('balanced', 'none'),
    )
