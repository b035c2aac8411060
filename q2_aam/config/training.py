"""Parameters of learning a metadata column: its head, its loss and its scaling."""

import dataclasses

from q2_aam.errors import shown

from .fields import AUTO, option
from .model import ACTIVATIONS, MAX_HEAD_LAYERS, POOLINGS
from .pretraining import MaskedTraining

# Of a class in the loss.
MAX_CLASS_WEIGHT = 1e6


@dataclasses.dataclass(frozen=True)
class TargetTraining(MaskedTraining):
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
    nucleotide_weight: float = option(
        0.0,
        'Weight of the masked-nucleotide loss beside that of the target; 0 turns it off. It needs an ASV encoder that '
        'is not frozen (freeze none).',
        low=0.0,
        high=1e6,
        advanced=True,
    )
    head_layers: int = option(
        1, 'Hidden layers of the prediction head; 0 makes it linear.', low=0, high=MAX_HEAD_LAYERS, advanced=True
    )
    head_dropout: float = option(
        0.0,
        'Share of the units of each hidden layer of the prediction head that is dropped at random at each training '
        'step.',
        low=0.0,
        high=0.9,
        advanced=True,
    )
    residual_head: bool = option(
        False,
        'Add a linear function of the sample embeddings to the prediction head, whose hidden layers then learn what '
        'is not linear.',
        advanced=True,
    )
    pooling: str = option(
        'all',
        'What the prediction head reads of a sample: attention (the summary token, which attends to its ASVs), mean '
        '(that of its ASVs, as they are seen within the sample), soft_union (its memberships, each the largest of its '
        'ASVs) or all of these.',
        choices=POOLINGS,
        advanced=True,
    )
    distance_weight: float = option(
        0.1,
        'Weight of the distance loss beside that of the target, where a distance matrix is given.',
        low=0.0,
        high=1e6,
        advanced=True,
    )
    extra_target_weight: float = option(
        1.0,
        'Weight of the mean loss of extra_targets beside that of the target, where some are given; 0 turns it off.',
        low=0.0,
        high=1e6,
        advanced=True,
    )
    extra_target_scaling: str = option(
        'standard',
        'How each of the extra_targets is scaled by its own training values, undone in the output; see target_scaling. '
        'No effect without extra targets.',
        choices=('standard', 'sqrt', 'log_standard', 'minmax', 'log_minmax', 'none'),
        advanced=True,
    )
    abundance_ensemble: bool = option(
        True,
        'Also fit an ensemble of linear models, trees and small networks on the abundances of the training ASVs, each '
        'kind weighed by its out-of-fold error, and blend it with the transformer: it is more accurate where new '
        'samples share those ASVs.',
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ('head_dropout', 'residual_head'):
            if self.head_layers == 0 and getattr(self, name):
                raise ValueError(
                    f'Parameter {name} is {getattr(self, name)}, but head_layers is 0, so that the head is linear; '
                    f'raise head_layers, or leave {name} at its default.'
                )


@dataclasses.dataclass(frozen=True)
class RegressorTraining(TargetTraining):
    loss: str = option(
        'huber',
        'Loss on the scaled target: mse, mae (less sensitive to outliers), huber (squared up to 1, absolute beyond), '
        'quantile, which learns the median and the bounds of the interval for coverage, so that intervals are wider '
        'for samples that are harder to predict, or asymmetric, an absolute error with over_penalty and under_penalty. '
        'With quantile and asymmetric the abundance ensemble has small networks only.',
        choices=('mse', 'mae', 'huber', 'quantile', 'asymmetric'),
        advanced=True,
    )
    quantiles: tuple[float, ...] = option(
        (),
        'Shares of new samples below which quantiles are predicted, in ascending order, such as 0.1 0.5 0.9: columns '
        'quantile_0.1 ... of the details. Only with loss quantile.',
        low=0.0,
        high=1.0,
        advanced=True,
    )
    over_penalty: float = option(
        1.0,
        'Weight of errors of predictions that are too high, with loss asymmetric.',
        low=0.0,
        high=1e6,
        advanced=True,
    )
    under_penalty: float = option(
        1.0,
        'Weight of errors of predictions that are too low, with loss asymmetric.',
        low=0.0,
        high=1e6,
        advanced=True,
    )
    target_scaling: str = option(
        AUTO,
        'How the target is scaled for training, undone in the output: standard (mean 0, standard deviation 1), sqrt '
        '(standard after a square root), log_standard (standard after the logarithm of 1 + target), minmax (0 to 1), '
        'log_minmax (0 to 1 after that logarithm) or none. auto: sqrt for a target that is never negative and whose '
        'left-out groups are predicted better after a square root, else standard.',
        choices=('auto', 'standard', 'sqrt', 'log_standard', 'minmax', 'log_minmax', 'none'),
        advanced=True,
    )
    category_weights: str = option(
        'none',
        'Weights in the loss by the categories of scale_by: none (all samples count the same) or balanced (all '
        'categories do). Any other weights are given as sample_weights.',
        choices=('none', 'balanced'),
        advanced=True,
    )
    output_activation: str = option(
        'none',
        'How predictions are kept within bounds: relu, softplus or exp (never below 0, or below the first number of '
        'output_range) or sigmoid (within output_range). Intervals and the blend with the abundance ensemble end at '
        'the bounds, too.',
        choices=ACTIVATIONS,
        advanced=True,
    )
    output_range: tuple[float, ...] = option(
        (),
        'Lowest and highest value that the target can have, such as 0 100; needed for sigmoid. Only with an '
        'output_activation.',
        low=-1e18,
        high=1e18,
        advanced=True,
    )
    learnable_scale: bool = option(
        False,
        'Let the prediction head learn one more factor and offset for each of its outputs; with scale_by, one for each '
        'category.',
        advanced=True,
    )
    select_by: str = option(
        AUTO,
        'What the best epoch is chosen by, on the validation samples: loss (of the scaled target), mae, rmse or r2. '
        'auto: mae, or loss with the loss asymmetric.',
        choices=(AUTO, 'loss', 'mae', 'rmse', 'r2'),
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

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_loss()
        self._check_range()

    def _check_loss(self):
        self.check_needs(('quantiles',), 'loss', 'quantile')
        self.check_needs(('over_penalty', 'under_penalty'), 'loss', 'asymmetric')
        if self.quantiles:
            ascending = all(one < other for one, other in zip(self.quantiles, self.quantiles[1:]))
            if not ascending or not 0 < self.quantiles[0] <= self.quantiles[-1] < 1:
                raise ValueError(
                    'Parameter quantiles must be numbers above 0 and below 1 in ascending order, each of them once, '
                    f'but it is {" ".join(f"{one:g}" for one in self.quantiles)}.'
                )
        if not min(self.over_penalty, self.under_penalty) > 0:
            raise ValueError(
                f'Parameters over_penalty ({self.over_penalty:g}) and under_penalty ({self.under_penalty:g}) must both '
                'be above 0: errors in a direction that costs nothing would grow without limit.'
            )

    def _check_range(self):
        self.check_needs(('output_range',), 'output_activation', *ACTIVATIONS[1:])
        if not self.output_range:
            if self.output_activation == 'sigmoid':
                raise ValueError(
                    'Parameter output_activation is sigmoid, which needs an output_range: give the lowest and the '
                    'highest value that the target can have.'
                )
            return
        if len(self.output_range) != 2 or not self.output_range[0] < self.output_range[1]:
            raise ValueError(
                'Parameter output_range must be two numbers, the lower one first, but it is '
                f'{" ".join(f"{one:g}" for one in self.output_range)}.'
            )


@dataclasses.dataclass(frozen=True)
class ClassifierTraining(TargetTraining):
    # balanced, because rare classes are mostly the ones that a study is about: unweighted, with few labels, a model
    # that never names them has the smaller loss
    class_weights: str = option(
        'balanced',
        'Class weights in the loss: balanced (all classes count the same), none (all samples count the same) or given '
        '(those of weights_of_classes; the abundance ensemble has small networks only then). The probabilities follow: '
        'balanced assumes that all classes are equally common among new samples, none that they are as common as among '
        'the training samples.',
        choices=('balanced', 'none', 'given'),
    )
    weights_of_classes: tuple[str, ...] = option(
        (),
        'Weight in the loss of each sample of a class, such as control=1 case=3, for every class. Only with '
        'class_weights given.',
        advanced=True,
    )
    label_smoothing: float = option(
        0.0,
        'Share of each label in the loss that is spread evenly over all classes, against a network that is too sure '
        'of itself.',
        low=0.0,
        high=0.9,
        advanced=True,
    )
    select_by: str = option(
        AUTO,
        'What the best epoch is chosen by, on the validation samples: loss (weighted and smoothed), log_loss, '
        'balanced_log_loss (all classes count the same), accuracy, balanced_accuracy or f1 (mean over classes). auto: '
        'balanced_log_loss where class_weights is balanced, else log_loss.',
        choices=(AUTO, 'loss', 'log_loss', 'balanced_log_loss', 'accuracy', 'balanced_accuracy', 'f1'),
        advanced=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.class_weights == 'given') != bool(self.weights_of_classes):
            raise ValueError(
                f'Parameter class_weights is {self.class_weights}, but weights_of_classes '
                f'{"is" if self.weights_of_classes else "is not"} given; set class_weights to given and give a weight '
                'for every class, or neither.'
            )
        for name, weight in self.class_weight_of.items():
            if not 0 <= weight <= MAX_CLASS_WEIGHT:
                raise ValueError(
                    f'Each weight of weights_of_classes must be a number from 0 to {MAX_CLASS_WEIGHT:g}, but that of '
                    f'{shown(name)} is {weight:g}.'
                )
        if self.weights_of_classes and not any(self.class_weight_of.values()):
            raise ValueError('The weights of weights_of_classes must not all be 0.')

    @property
    def class_weight_of(self) -> dict[str, float]:
        """{class: weight} of weights_of_classes; ValueError in one sentence where they cannot be read."""
        weights: dict[str, float] = {}
        for text in self.weights_of_classes:
            name, _, number = text.rpartition('=')
            try:
                weight = float(number)
            except ValueError:
                weight = None
            if not name or weight is None or name in weights:
                raise ValueError(
                    'Each of weights_of_classes must be the name of another class, =, and a number, such as case=3, '
                    f'but one is {shown(text)}.'
                )
            weights[name] = weight
        return weights
