"""Parameters of the covariates group: how what is known of a sample besides its reads enters the network."""

import dataclasses

from .fields import Group, option


@dataclasses.dataclass(frozen=True)
class CovariatesConfig(Group):
    group = 'covariates'

    covariate_columns: tuple[str, ...] = option(
        (),
        'Names of the columns of covariates that are used. Default: all but those of the target and of the groups.',
    )
    # the smallest error in simulated effects, added and not (docs/accuracy.md), and the cheapest but for add
    covariate_fusion: str = option(
        'gmu',
        'How covariates enter the network; no effect without covariates. gmu: a gated unit weighs the pooled sample '
        'and them. add: they are added to each ASV token. concat: a layer reads each ASV token beside them. '
        'cross_attention: each ASV token asks them. perceiver: a few latent tokens attend to ASVs and covariates.',
        choices=('gmu', 'add', 'concat', 'cross_attention', 'perceiver'),
        advanced=True,
    )
    covariate_dropout: float = option(
        0.1,
        'Augmentation: share of the covariates of a sample that is made unknown at random at each training step, so '
        'that the model can do without.',
        low=0.0,
        high=0.9,
        advanced=True,
    )
