"""Parameters of the data group: which samples learn, which choose, which judge."""

import dataclasses

from .fields import Group, option


@dataclasses.dataclass(frozen=True)
class PretrainData(Group):
    group = 'data'

    validation_fraction: float = option(
        0.1,
        'Share of the samples that is held out of pretraining; the model is scored on them and on the pairs among '
        'them.',
        low=0.0,
        high=0.9,
    )


@dataclasses.dataclass(frozen=True)
class FitData(Group):
    group = 'data'

    test_fraction: float = option(
        0.2,
        'Share of the labelled samples (whole groups) that nothing but the final scoring touches. With 0, the '
        'validation samples are scored instead.',
        low=0.0,
        high=0.9,
    )
    validation_fraction: float = option(
        0.2,
        'Share of the other labelled samples (whole groups) that decides when training stops and which epoch is kept.',
        low=0.01,
        high=0.9,
    )
