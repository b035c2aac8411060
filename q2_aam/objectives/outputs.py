"""What the outputs for a numeric target are: their bounds, their quantiles, and the head that gives them."""

from typing import Any

import numpy as np

from q2_aam.bundle import NumericTarget
from q2_aam.config import HeadConfig
from q2_aam.data.labels import Labels
from q2_aam.errors import UserError, shown

# Levels that are the same but for rounding are one.
DIGITS = 9


def limits_of(labels: Labels, learned: np.ndarray, training: Any) -> tuple[float | None, float | None]:
    """Return the least and the largest value that is predicted; None where there is no such limit.

    Parameters
    ----------
    labels : q2_aam.data.labels.Labels
    learned : int64 [N]
        Rows that may be learned from: where none of them is below 0, no prediction is.
    training : q2_aam.config.training.RegressorTraining

    Raises
    ------
    UserError
        If a value lies outside of bounds that are asked for.
    """
    if training.output_activation == 'none':
        return (0.0 if labels.values[learned].min() >= 0 else None), None
    low, high = training.output_range or (0.0, None)
    outside = np.flatnonzero((labels.values < low) | (labels.values > (np.inf if high is None else high)))
    if len(outside):
        allowed = f'from {low:g} to {high:g}' if high is not None else f'of at least {low:g}'
        raise UserError(
            f'Parameter output_activation is {training.output_activation}, so that predictions are {allowed}, but '
            f'{shown(labels.name)} is {labels.values[outside[0]]:g} for sample '
            f'{shown(labels.sample_ids[outside[0]])}; give an output_range that holds all values, or set '
            'output_activation to none.'
        )
    return float(low), None if high is None else float(high)


def all_levels(learned: tuple[float, ...], asked: tuple[float, ...]) -> tuple[float, ...]:
    """Return the level of each output: those that are learned anyway, then those that are asked for beside them."""
    levels = tuple(round(level, DIGITS) for level in learned)
    return (*levels, *(level for level in shown_levels(asked) if level not in levels))


def shown_levels(asked: tuple[float, ...]) -> tuple[float, ...]:
    """Return the levels that are asked for as :func:`all_levels` has them."""
    return tuple(round(level, DIGITS) for level in asked)


def head_of(target: NumericTarget, training: Any) -> HeadConfig:
    """Return the head of a numeric target, with its bounds on the scale on which it is learned."""
    bounds, by_category = {}, target.by_category
    if training.output_activation != 'none':
        low = float(target.scaled(np.array([target.lowest]))[0])
        high = low + 1 if target.highest is None else float(target.scaled(np.array([target.highest]))[0])
        bounds = {'activation': training.output_activation, 'low': low, 'high': high}
    return HeadConfig(
        'target',
        target.outputs,
        layers=training.head_layers,
        residual=training.residual_head,
        pooling=training.pooling,
        scaled=training.learnable_scale,
        categories=len(by_category.categories) + 1 if training.learnable_scale and by_category else 0,
        **bounds,
    )
