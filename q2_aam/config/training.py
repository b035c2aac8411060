"""Parameters of the training group: tasks, optimizer and schedule."""

import dataclasses

from .fields import AUTO, Group, option


@dataclasses.dataclass(frozen=True)
class Schedule(Group):
    """What every training has: its length, its batches and its optimizer."""

    group = 'training'

    epochs: int | str = option(
        AUTO,
        'Passes over the training samples. auto: as many as make a sufficient number of steps.',
        low=1,
        high=1000000,
    )
    batch_size: int = option(
        64, 'Samples in a batch; all pairs among them count for the distance task.', low=2, high=65536
    )
    learning_rate: float | str = option(
        AUTO, 'Highest learning rate. auto: 1e-3 at width 128, less for wider models.', low=1e-8, high=1.0
    )
    warmup_fraction: float = option(
        0.1, 'Share of all steps over which the learning rate rises from 0 to its maximum.', low=0.0, high=1.0
    )
    weight_decay: float = option(0.05, 'Weight decay of the AdamW optimizer, on matrices only.', low=0.0, high=1.0)
    gradient_clip: float = option(1.0, 'Largest norm of the gradient; 0 does not clip.', low=0.0, high=1e6)
    random_seed: int = option(
        0,
        'Seed of everything random; 0 draws one, which is then written into card.json and the history.',
        low=0,
        high=2**31 - 1,
    )


@dataclasses.dataclass(frozen=True)
class PretrainTraining(Schedule):
    mask_fraction: float = option(
        0.15, 'Share of the tokens of each sequence that is hidden and must be told from the rest.', low=0.01, high=0.9
    )
    masked_asv_fraction: float | str = option(
        AUTO,
        'Share of the ASVs of a batch in which tokens are hidden; the distance task sees all of them whole. auto: '
        '0.125, or 1 without distances.',
        low=0.001,
        high=1.0,
    )
    nucleotide_weight: float = option(
        1.0, 'Weight of the masked-nucleotide loss; 0 turns the task off.', low=0.0, high=1e6
    )
    distance_weight: float = option(1.0, 'Weight of the distance loss; 0 turns the task off.', low=0.0, high=1e6)


@dataclasses.dataclass(frozen=True)
class FitTraining(Schedule):
    patience: int | str = option(
        AUTO,
        'Epochs without a better validation error after which training stops. auto: a quarter of epochs.',
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
    loss: str = option(
        'huber',
        'Loss of the scaled target: squared error (mse), absolute error (mae), or huber, squared up to one unit and '
        'absolute beyond.',
        choices=('mse', 'mae', 'huber'),
    )
    target_scaling: str = option(
        'standard',
        'How the target is scaled while training; learned on training samples and undone in the output.',
        choices=('standard', 'minmax', 'none'),
    )
    distance_weight: float = option(
        0.1, 'Weight of the distance loss beside the target, where a distance matrix is given.', low=0.0, high=1e6
    )
