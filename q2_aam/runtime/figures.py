"""Pictures of predicted against true values, as PNG: what trackers are given.

Shapes: N points, C classes.
"""

from __future__ import annotations

import numpy as np

from q2_aam.data.details import PROBABILITY

SIZE, SCALE = 320, 2
# More classes than these are told apart on no picture.
MAX_CLASSES = 30


def scatter_png(predicted: np.ndarray, true: np.ndarray, plot: str, part: str) -> bytes:
    """Draw predicted against true values, [N] each, with a line where both are equal."""
    finite = np.isfinite(predicted) & np.isfinite(true)
    values = [{'x': float(x), 'y': float(y)} for x, y in zip(true[finite], predicted[finite])]
    # an empty picture where there is none
    ends = [float(min(true[finite], default=0.0)), float(max(true[finite], default=1.0))]
    points = {
        'data': {'values': values},
        'mark': {'type': 'point', 'filled': True, 'opacity': 0.6, 'size': 30},
        'encoding': {
            'x': {'field': 'x', 'type': 'quantitative', 'title': 'true', 'scale': {'zero': False}},
            'y': {'field': 'y', 'type': 'quantitative', 'title': 'predicted', 'scale': {'zero': False}},
        },
    }
    line = {
        'data': {'values': [{'x': end, 'y': end} for end in ends]},
        'mark': {'type': 'line', 'color': 'grey', 'strokeDash': [4, 4]},
        'encoding': {axis: {'field': axis, 'type': 'quantitative'} for axis in 'xy'},
    }
    return _png({'title': f'{plot}, {part}', 'layer': [line, points]})


def confusion_table(points: dict[str, tuple[np.ndarray, np.ndarray]]) -> tuple[list[str], np.ndarray] | None:
    """Count samples by their true and their most probable class.

    Parameters
    ----------
    points : dict
        {name of a plot: (probability [N], 1 for samples of the class, else 0 [N])}, one a class.

    Returns
    -------
    names of the classes, and int64 [C, C] (true, predicted); or None where points are not those of classes, or were
    thinned, so that those of different classes are of different samples.
    """
    names = [plot.removeprefix(PROBABILITY) for plot in points]
    numbers = {len(true) for _, true in points.values()}
    if len(numbers) != 1 or not 2 <= len(points) <= MAX_CLASSES or not all(map(_is_of_class, points)):
        return None
    true_CN, probability_CN = (np.stack([pair[place] for pair in points.values()]) for place in (1, 0))
    if not (true_CN.sum(axis=0) == 1).all():
        return None
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, (true_CN.argmax(axis=0), probability_CN.argmax(axis=0)), 1)
    return names, counts


def _is_of_class(plot):
    return plot.startswith(PROBABILITY)


def confusion_png(table: tuple[list[str], np.ndarray], part: str) -> bytes:
    """Draw what :func:`confusion_table` counted."""
    names, counts = table
    values = [
        {'true': true, 'predicted': predicted, 'samples': int(counts[i, j])}
        for i, true in enumerate(names)
        for j, predicted in enumerate(names)
    ]
    places = {
        'y': {'field': 'true', 'type': 'nominal', 'sort': names},
        'x': {'field': 'predicted', 'type': 'nominal', 'sort': names},
    }
    colour = {'field': 'samples', 'type': 'quantitative', 'scale': {'scheme': 'blues'}, 'legend': None}
    layers = [
        {'mark': 'rect', 'encoding': {**places, 'color': colour}},
        {'mark': 'text', 'encoding': {**places, 'text': {'field': 'samples', 'type': 'quantitative'}}},
    ]
    return _png({'title': f'confusion, {part}', 'data': {'values': values}, 'layer': layers})


def _png(spec):
    # it takes a moment to load
    import vl_convert

    return vl_convert.vegalite_to_png({'width': SIZE, 'height': SIZE, 'background': 'white', **spec}, scale=SCALE)
