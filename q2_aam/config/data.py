"""Parameters of the data group: which samples learn, which choose, which judge."""

import dataclasses

from .fields import AUTO, Group, option


@dataclasses.dataclass(frozen=True)
class Reading(Group):
    """What of a sample is read; a model reads new samples as it read those it learned from."""

    group = 'data'

    max_asvs_per_sample: int = option(
        0,
        'Most ASVs that are read of one sample; 0 reads all. Details tell the share of reads that is left out.',
        low=0,
        high=1000000000,
    )
    asv_choice: str = option(
        'abundance',
        'Which ASVs are read where max_asvs_per_sample is less than a sample has: the most abundant, or, each time a '
        'sample is read in training, others at random (predictions always read the most abundant).',
        choices=('abundance', 'random'),
    )


@dataclasses.dataclass(frozen=True)
class PretrainData(Reading):
    validation_fraction: float = option(
        0.1,
        'Share of the samples, drawn at random, that is held out to score the encoder: hidden nucleotides of their '
        'ASVs and, with distances, all pairs among them. Nothing is chosen by them; 0 holds out none.',
        low=0.0,
        high=0.9,
    )


@dataclasses.dataclass(frozen=True)
class FoldData(Reading):
    validation_fraction: float = option(
        0.2,
        'Share of the labelled samples that are not test samples (whole groups) that decides when training of the '
        'network stops and which epoch is kept. The profile head learns from them too.',
        low=0.01,
        high=0.9,
    )


@dataclasses.dataclass(frozen=True)
class FitData(FoldData):
    test_fraction: float = option(
        0.2,
        'Share of the labelled samples (whole groups) that nothing but the final scoring touches. With 0 the '
        'predictions are of the validation samples, whose errors look too good: the model was chosen by them.',
        low=0.0,
        high=0.9,
    )
    random_forest: bool = option(
        True,
        'Whether a random forest is fitted beside the model, to tell how well it would have done on the test samples. '
        'It is no part of the model.',
    )


@dataclasses.dataclass(frozen=True)
class NewData(Group):
    """What predicting new samples has, whichever kind of model it is."""

    group = 'data'

    turn_reversed: bool = option(
        False,
        'Whether sequences whose reverse complement is like those that the model learned from are turned before they '
        'are read. Otherwise they are read as they are, and details tell the share of reads in them.',
    )
    abstain: bool = option(
        False,
        'Whether samples are left without a prediction that are unlike those that the model learned from: those whose '
        'flag in the details is not ok.',
    )


@dataclasses.dataclass(frozen=True)
class NewNumbers(NewData):
    coverage: float | str = option(
        AUTO,
        'Share of new samples whose true value the prediction intervals in the details are to hold. auto: what '
        'fit-regressor was asked for.',
        low=0.01,
        high=0.99,
    )
