"""Parameters of the data group: which ASVs of a sample are read, and how samples are split."""

import dataclasses

from .fields import AUTO, Group, option


@dataclasses.dataclass(frozen=True)
class InputData(Group):
    """What is read of a sample; a model reads new samples as it read its training samples."""

    group = 'data'

    max_asvs_per_sample: float = option(
        0.0,
        'Maximum number of ASVs read per sample or, below 1, share of the reads of a sample that they must hold: with '
        '0.99, as many of its most abundant ASVs as hold 99 % of its reads. 0 reads all. The details report the share '
        'of reads left out.',
        low=0.0,
        high=1e9,
        advanced=True,
    )
    asv_choice: str = option(
        'abundance',
        'Which ASVs are read of a sample that has more than max_asvs_per_sample: the most abundant ones, or a random '
        'subset drawn anew at every training step (prediction always uses the most abundant ones).',
        choices=('abundance', 'random'),
        advanced=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        limit = self.max_asvs_per_sample
        if limit > 1 and limit != int(limit):
            raise ValueError(
                'Parameter max_asvs_per_sample must be a whole number of ASVs, or a share of the reads below 1, but it '
                f'is {limit:g}.'
            )


@dataclasses.dataclass(frozen=True)
class PretrainData(InputData):
    validation_fraction: float = option(
        0.1,
        'Share of the samples, drawn at random, that is held out to score the encoder and, with patience, to choose '
        'the best epoch. The history names them (part held_out). 0 holds out none.',
        low=0.0,
        high=0.9,
    )


@dataclasses.dataclass(frozen=True)
class FoldData(InputData):
    validation_fraction: float = option(
        0.2,
        'Share of the labelled samples outside the test split (whole groups) that stops training and selects the best '
        'epoch. The abundance ensemble also trains on them.',
        low=0.01,
        high=0.9,
    )


@dataclasses.dataclass(frozen=True)
class FitData(FoldData):
    test_fraction: float = option(
        0.2,
        'Share of the labelled samples (whole groups) held out for the final scoring only. With 0, the predictions are '
        'those of the validation samples, whose errors are optimistic: they selected the model.',
        low=0.0,
        high=0.9,
    )
    random_forest: bool = option(
        True, 'Also fit a random forest and score it on the test samples, as a baseline. It is not part of the model.'
    )


@dataclasses.dataclass(frozen=True)
class NewData(Group):
    """How the sequences of new samples are read."""

    group = 'data'

    harmonize: str = option(
        AUTO,
        'How sequences of another trimming or orientation than the training sequences are read. auto: a sequence that '
        'starts or ends elsewhere, or is reverse-complemented, is read as the training sequence that it agrees with; '
        'if it agrees with none, its start and orientation are corrected where they are clear. off: all sequences are '
        'read as they are.',
        choices=(AUTO, 'off'),
    )


@dataclasses.dataclass(frozen=True)
class PredictData(NewData):
    """What predicting new samples takes, whichever kind of model it is."""

    abstain: bool = option(
        False, 'Give no prediction for samples unlike the training samples: those whose flag in the details is not ok.'
    )
    prediction_passes: int = option(
        1,
        'Number of passes whose mean is the prediction. Above 1, each reads a random subset of the ASVs of every '
        'sample, as steps of training do, and details have the standard deviation over passes as column passes_sd. '
        'Intervals, probabilities and flags are made for a single pass, which reads all.',
        low=1,
        high=1000,
        advanced=True,
    )


@dataclasses.dataclass(frozen=True)
class PredictNumbers(PredictData):
    coverage: float | str = option(
        AUTO,
        'Share of new samples whose true value the prediction intervals should contain. auto: the coverage given to '
        'fit-regressor.',
        low=0.01,
        high=0.99,
    )
