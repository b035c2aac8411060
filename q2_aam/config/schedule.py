"""Parameters that every training has: its length, its batches, its optimizer and its augmentation."""

import dataclasses

from .fields import AUTO, Group, option


@dataclasses.dataclass(frozen=True)
class Schedule(Group):
    """What every training has: its length, its batches, its optimizer and its augmentation."""

    group = 'training'

    epochs: int | str = option(
        AUTO,
        'Maximum number of epochs. auto: enough for a few hundred steps; fewer where a step costs much. A fit '
        'stops earlier where the network would lower the error of its abundance ensemble by next to nothing.',
        low=1,
        high=1000000,
    )
    max_steps: int = option(
        0, 'Maximum number of optimizer steps, reached even within an epoch; 0 sets no limit.', low=0, high=1000000000
    )
    batch_size: int | str = option(
        64,
        'Samples per batch; distances are learned for all pairs of a batch. fit-regressor and fit-classifier use at '
        'most a quarter of their training samples, and fewer where samples are rich in ASVs and epochs is auto. auto: '
        'on a GPU the largest whose work its memory holds at once, up to a quarter of the training samples, found by a '
        'few steps on the richest of them; 64 on the CPU. It is for speed: learning_rate stays as it is, and the model '
        'then depends on the memory of the GPU.',
        low=2,
        high=65536,
    )
    accumulation_steps: int = option(
        1,
        'Batches per optimizer step: with 4, the gradient is that of four batches together, whose memory is that of '
        'one.',
        low=1,
        high=4096,
        advanced=True,
    )
    optimizer: str = option(
        'adamw',
        'Optimizer of the network: adamw, adam (weight decay is part of the gradient) or sgd (with momentum).',
        choices=('adamw', 'adam', 'sgd'),
        advanced=True,
    )
    momentum: float = option(0.9, 'Momentum (Nesterov) of the optimizer sgd.', low=0.0, high=0.999, advanced=True)
    learning_rate: float | str = option(
        AUTO,
        'Peak learning rate. find: a range test on the first batches finds it; its curve is in the history (part '
        'range_test). auto: 3e-4 to learn a metadata column, else 1e-3; less for models wider than 128; as find with '
        'the optimizer sgd.',
        low=1e-8,
        high=1.0,
        words=('find',),
    )
    schedule: str = option(
        'warmup_cosine',
        'How the learning rate moves: warmup_cosine (up, then down along a cosine), cosine_restarts (down and up '
        'again, each time for twice as long), plateau (less where the validation error has not improved), one_cycle '
        '(up over 30 % of the steps, then down to next to nothing) or constant.',
        choices=('warmup_cosine', 'cosine_restarts', 'plateau', 'one_cycle', 'constant'),
        advanced=True,
    )
    warmup_fraction: float = option(
        0.1,
        'Share of all steps over which the learning rate rises from 0 to its peak; not of one_cycle.',
        low=0.0,
        high=1.0,
        advanced=True,
    )
    restarts: int = option(2, 'How often the schedule cosine_restarts begins anew.', low=1, high=16, advanced=True)
    plateau_factor: float = option(
        0.5, 'What the schedule plateau multiplies the learning rate by.', low=0.01, high=0.99, advanced=True
    )
    plateau_patience: int = option(
        2,
        'Number of epochs without a better validation error after which the schedule plateau does so.',
        low=1,
        high=1000000,
        advanced=True,
    )
    weight_decay: float = option(
        0.05, 'Weight decay of the optimizer, applied to matrices only.', low=0.0, high=1.0, advanced=True
    )
    ema_decay: float = option(
        0.0,
        'Validate, and keep, an exponential moving average of the weights in place of the weights themselves, with '
        'this decay per step, such as 0.99 (less in the first steps); 0 turns it off.',
        low=0.0,
        high=0.99999,
        advanced=True,
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

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_needs(('momentum',), 'optimizer', 'sgd')
        self.check_needs(('restarts',), 'schedule', 'cosine_restarts')
        self.check_needs(('plateau_factor', 'plateau_patience'), 'schedule', 'plateau')
