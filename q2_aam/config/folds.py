"""Parameters of the folds group: how samples are divided for cross-validation, and what the model is compared with."""

import dataclasses

from .fields import Group, option


@dataclasses.dataclass(frozen=True)
class FoldsConfig(Group):
    group = 'folds'

    folds: int = option(
        5,
        'Folds into which the labelled samples (whole groups) are divided, alike in the target as far as whole groups '
        'allow. Each is predicted by a model that learned from the others.',
        low=2,
        high=1000,
    )
    leave_one_group_out: bool = option(
        False, 'Make every group a fold of its own, however many there are; folds is then not used.'
    )
    repeats: int = option(
        1,
        'How often the whole is done, each time with other folds and another seed; predictions are the means.',
        low=1,
        high=1000,
    )
    baselines: bool = option(
        True,
        'Compare with what else could be used, on the same folds: random forest, extra trees, a linear model on '
        'logarithms of proportions, the nearest samples of a distance matrix, and a guess that looks at no sample.',
    )
