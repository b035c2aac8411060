"""Parameters of the folds group: how cross-validation divides the samples, and which baselines it compares with."""

import dataclasses

from .fields import Group, option


@dataclasses.dataclass(frozen=True)
class FoldsConfig(Group):
    group = 'folds'

    folds: int = option(
        5,
        'Number of folds. Groups stay whole, and folds are stratified by the target as far as groups allow. Each fold '
        'is predicted by a model trained on the others.',
        low=2,
        high=1000,
    )
    leave_one_group_out: bool = option(False, 'Make each group a fold, however many there are; folds is then ignored.')
    repeats: int = option(
        1,
        'Number of repeats of the cross-validation, each with other folds and another seed; predictions are averaged.',
        low=1,
        high=1000,
    )
    baselines: bool = option(
        True,
        'Compare with baselines on the same folds: random forest, extra trees, a linear model on log proportions, '
        'methods based on the distance matrix where there is one, and a constant guess.',
    )
