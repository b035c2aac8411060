"""Charts of a study before training: how values are spread, and how many samples a class has."""

import numpy as np
import pandas as pd

from . import charts
from .chart_parts import OURS_COLOUR, Columns, finished, room_for_labels

MAX_BINS = 24


def histogram(values, title):
    """Return the specification of how many samples have values in each of a few ranges.

    Parameters
    ----------
    values : float64 [samples]
    title : str
        Of the axis.
    """
    import altair as alt

    counts, edges = np.histogram(values, bins=min(MAX_BINS, max(4, int(np.sqrt(len(values)) * 1.5))))
    columns = Columns(pd.DataFrame({'from': edges[:-1], 'to': edges[1:], 'samples': counts}))
    names = columns.names
    bars = columns.chart.mark_bar(color=OURS_COLOUR, stroke='currentColor', strokeWidth=0.3).encode(
        x=alt.X(field=names['from'], type='quantitative', bin='binned', title=title, scale=alt.Scale(zero=False)),
        x2=alt.X2(field=names['to']),
        y=alt.Y(field=names['samples'], type='quantitative', title='samples'),
        tooltip=columns.tooltip(list(names)),
    )
    return finished(bars, columns, f'Histogram of {title}, {len(values):,} samples.')


def class_sizes(values, groups):
    """Return the specification of the number of samples of each class.

    Parameters
    ----------
    values, groups : object [samples]
    """
    import altair as alt

    frame = pd.DataFrame({'class': values.astype(str), 'group': groups})
    sizes = frame.groupby('class')['group'].agg(samples='size', groups='nunique').reset_index()
    sizes = sizes.sort_values('samples', ascending=False, ignore_index=True)
    columns = Columns(sizes)
    names = columns.names
    bars = columns.chart.mark_bar(color=OURS_COLOUR, stroke='currentColor', strokeWidth=0.3).encode(
        x=alt.X(field=names['samples'], type='quantitative', title='samples'),
        y=alt.Y(
            field=names['class'], type='nominal', title=None, sort=list(sizes['class']),
            axis=alt.Axis(labelLimit=room_for_labels(220), grid=False, domain=False, ticks=False),
        ),
        tooltip=columns.tooltip(list(names)),
    )  # fmt: skip
    return finished(bars, columns, f'Number of samples of {len(sizes)} classes.', charts.height_of(len(sizes)))


def learning_curve(points, guess, titles):
    """Return the specification of the error by the number of groups or samples, beside that of a guess.

    Parameters
    ----------
    points : pandas.DataFrame
        Columns error, lower, upper, and the one that is drawn across.
    guess : float
    titles : (str, str)
        The column across, and what the error is called.
    """
    ours = pd.DataFrame(
        {
            'x': points[titles[0]], 'y': points['error'], 'series': 'simple models',
            'lower': points['lower'], 'upper': points['upper'],
        }
    )  # fmt: skip
    flat = ours.assign(y=guess, series='a guess', lower=guess, upper=guess)
    return charts.curves(pd.concat([ours, flat], ignore_index=True), titles, points=True)
