"""Which samples each fit of a cross-validation learns from and is tested on, with which weights, and what is said."""

import dataclasses

import numpy as np
import pandas as pd
import qiime2

from q2_aam.data.extra_targets import select_extra_targets
from q2_aam.data.given_splits import plan_of
from q2_aam.data.weights import weights_beside_fit
from q2_aam.errors import UserError, counted, shown
from q2_aam.evaluation.folds import seed_of_fit
from q2_aam.evaluation.sites import plan_sites


@dataclasses.dataclass(frozen=True)
class Part:
    """One fit of a cross-validation.

    Attributes
    ----------
    name : str
        'Fold 1 of 3'.
    seed : int
    learned, tested : bool [labelled samples]
    """

    name: str
    seed: int
    learned: np.ndarray
    tested: np.ndarray

    @property
    def line(self) -> str:
        """What is printed as it begins; the fit tells its seed, too, so that folds are told apart that run at once."""
        return (
            f'{self.name} (seed {self.seed}): learns from {counted(int(self.learned.sum()), "sample")}, then predicts '
            f'{counted(int(self.tested.sum()), "other")}.'
        )


def parts_of(plan, sites, seed):
    """Yield every fit of a cross-validation: of folds first, then of sites that are left out."""
    for repeat, of_repeat in enumerate(plan):
        folds = int(of_repeat.max()) + 1
        before = f'Repeat {repeat + 1} of {len(plan)}, fold' if len(plan) > 1 else 'Fold'
        for fold in range(folds):
            name = f'{before} {fold + 1} of {folds}'
            yield Part(name, seed_of_fit(seed, repeat, fold), of_repeat != fold, of_repeat == fold)
    for number, site in enumerate(sites):
        name = f'Site {shown(site.name)}, {number + 1} of {len(sites)}, left out'
        yield Part(name, seed_of_fit(seed, len(plan), number), site.learned, site.tested)


def given_plan(labels, named, how):
    """Return the folds that the user names."""
    if how.repeats > 1 or how.leave_one_group_out:
        other = f'repeats is {how.repeats}' if how.repeats > 1 else 'leave_one_group_out is True'
        raise UserError(f'Folds are given as split, so that there are no others, but {other}; leave it at its default.')
    return plan_of(labels, named)


def sites_of(places, labels, classes):
    """Return what is left out, site by site; `classes` are those of the labels, or None."""
    return plan_sites(places.reindex(labels.sample_ids).to_numpy(dtype=object), labels.groups, classes)


def extra_targets_of(frame, target, groups, training):
    """Return the extra targets that are scored, as metadata; None where none are learned."""
    if not training.extra_target_weight:
        return None
    chosen = select_extra_targets(frame, target, None if groups is None else groups.name)
    return None if chosen is None else qiime2.Metadata(chosen.rename_axis('id').rename(columns=str))


def weights_of_part(part, labels, columns, training):
    """Return the weights with which baselines learn, as a metadata column; None where all samples count the same."""
    ids = [name for name, learned in zip(labels.sample_ids, part.learned) if learned]
    weights = weights_beside_fit(
        pd.Series(labels.values[part.learned], ids),
        labels.groups[part.learned],
        columns['sample_weights'],
        columns['scale_by'] if getattr(training, 'category_weights', 'none') == 'balanced' else None,
        getattr(training, 'class_weight_of', {}),
    )
    if weights is None:
        return None
    return qiime2.NumericMetadataColumn(pd.Series(weights, pd.Index(ids, name='id'), name='weight'))


def words_of_weights(columns, training):
    """Return the sentence that says with which weights baselines learn; None where all samples count the same."""
    parts = []
    if columns['sample_weights'] is not None:
        parts.append(f'sample_weights {shown(columns["sample_weights"].name)}')
    if columns['scale_by'] is not None and training.category_weights == 'balanced':
        parts.append('category_weights balanced')
    if getattr(training, 'weights_of_classes', ()):
        parts.append('weights_of_classes')
    if not parts:
        return None
    return (
        f'Random forest, extra trees and the linear baseline learn with the same weights as this model '
        f'({", ".join(parts)}).'
    )
