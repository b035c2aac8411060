"""A numeric target that is scaled by the category of each sample, and the weights of categories and samples.

Shapes: N samples of the study.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from q2_aam.bundle import NumericTarget
from q2_aam.bundle.scales import ByCategory
from q2_aam.data.categories import codes_of, describe_unknown, learn_categories
from q2_aam.data.labels import Labels
from q2_aam.data.splits import TRAINING
from q2_aam.data.weights import weights_of
from q2_aam.errors import UserError, counted, shown

from .context import Context


@dataclasses.dataclass(frozen=True)
class Categories:
    """Categories of the samples of a study.

    Attributes
    ----------
    name : str
        Of the metadata column.
    names : tuple of str
        Of the categories that are learned.
    codes : int64 [N]
        Number of each sample's from 1 on, 0 where it is unknown.
    unknown : str or None
        The line that tells of those.
    """

    name: str
    names: tuple[str, ...]
    codes: np.ndarray
    unknown: str | None

    def describe(self) -> str:
        """Return how the line that tells of the target goes on."""
        text = f', scaled by {counted(len(self.names), "category", "categories")} of {shown(self.name)}'
        return text if self.unknown is None else f'{text}. {self.unknown[:-1]}'


def categories_of(context: Context) -> Categories | None:
    """Return the categories by which the target is scaled, learned on training samples; None where there are none.

    Raises
    ------
    UserError
        If they cannot be used, or if another option contradicts them.
    """
    column, training = context.inputs.scale_by, context.config.training
    labels = context.labels
    assert labels is not None
    if column is None:
        if training.category_weights != 'none':
            raise UserError(
                f'Parameter category_weights is {training.category_weights}, but no scale_by is given whose categories '
                'could be weighted; give it, or leave category_weights at none.'
            )
        return None
    if training.target_scaling == 'none':
        raise UserError(
            'Parameter target_scaling is none, so that nothing is scaled, but scale_by is given; choose another '
            'target_scaling, or leave scale_by out.'
        )
    if training.output_activation != 'none':
        raise UserError(
            f'Parameter output_activation is {training.output_activation}, whose bounds cannot be the same for all '
            'categories of scale_by once these are scaled; set it to none, or leave scale_by out.'
        )
    return learned_categories(column, labels, context.rows[TRAINING])


def learned_categories(column: pd.Series, labels: Labels, rows: np.ndarray) -> Categories:
    """Return the categories of samples, learned on `rows`; UserError if they cannot be used."""
    names = learn_categories(column, [labels.sample_ids[row] for row in rows], labels.groups[rows])
    codes = codes_of(column, labels.sample_ids, names)
    return Categories(str(column.name), names, codes, describe_unknown(column, labels.sample_ids, codes))


def scaled_by(
    target: NumericTarget,
    categories: Categories | None,
    values: np.ndarray,
    rows: np.ndarray,
    learn: Callable[[np.ndarray], tuple[float, float]],
) -> NumericTarget:
    """Return a target with the scaling of each category; one whose values are all the same has the scale of all.

    Parameters
    ----------
    target : NumericTarget
    categories : Categories or None
        None: the target is returned as it is.
    values : float64 [N]
    rows : int64
        Training samples.
    learn : callable
        How values, once they are on their scale, become center and scale.
    """
    if categories is None:
        return target
    centers, scales = [], []
    for number in range(1, len(categories.names) + 1):
        of_category = target.on_scale.to_scale(values[rows[categories.codes[rows] == number]])
        center, scale = learn(of_category)
        centers.append(center)
        scales.append(scale if np.ptp(of_category) > 0 else target.scale)
    by_category = ByCategory(categories.name, categories.names, tuple(centers), tuple(scales))
    return dataclasses.replace(target, by_category=by_category)


def words_of_weights(context: Context, training: Any) -> str:
    """Return how the line that tells of the target goes on where samples do not count the same in losses."""
    column = context.inputs.sample_weights
    text = '' if column is None else f', samples weighted by {shown(column.name)}'
    balanced = getattr(training, 'category_weights', 'none') == 'balanced'
    return f'{text}, categories weighted to count the same' if balanced else text


def weights_of_forest(weights: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    """Return the weights, float64, with which a baseline learns from `rows`; None where all of them count the same."""
    if weights is None or not weights[rows].any():
        return None
    return weights[rows].astype(np.float64)


def loss_weights(context: Context, training: Any, codes: np.ndarray | None = None) -> np.ndarray | None:
    """Return the weight of each sample in losses, float32 [N], with a mean of 1 over training samples.

    They are those that the user gives, times those by which all categories count the same, where these are asked for.
    None where all samples count the same.
    """
    labels, rows = context.labels, context.rows[TRAINING]
    assert labels is not None
    weights = np.ones(len(labels.sample_ids))
    if context.inputs.sample_weights is not None:
        weights = weights_of(context.inputs.sample_weights, labels.sample_ids, rows)
    elif codes is None or training.category_weights == 'none':
        return None
    if codes is not None and training.category_weights == 'balanced':
        samples_C = np.bincount(codes[rows], minlength=codes.max() + 1)
        # a category without training samples teaches nothing
        weights = weights / np.maximum(samples_C, 1)[codes]
    return (weights / weights[rows].mean()).astype(np.float32)
