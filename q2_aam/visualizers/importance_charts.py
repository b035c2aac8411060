"""Charts of importance: bars with a direction, an abundance against predictions, a heatmap of signed numbers."""

import numpy as np
import pandas as pd

from .blocks import Variant
from .chart_parts import OURS_COLOUR, PALETTE, ROWS, Columns, finished, gradient, room_for_labels
from .charts import height_of, labels_of, row_patches

# What raises a prediction, and what lowers it: two colours that everyone tells apart, and a side of 0 each.
RAISES, LOWERS = 'raises', 'lowers'
COLOURS = {RAISES: PALETTE[1], LOWERS: PALETTE[0]}
# Of a signed number near 0: the page shines through, light or dark.
NOTHING = 'rgba(136,136,136,0.10)'
# A share of reads below which the scale of shares is even, so that 0 has a place.
EVEN_BELOW = 1e-4


def bars(frames, unit):
    """Return the specification of one bar a row from 0 to its signed value, and its variants: one each of `frames`.

    Parameters
    ----------
    frames : dict
        {name: pandas.DataFrame} with columns label (text, in the order of rows), value, and lower and upper (ends of a
        line over the bar; may be missing); others are shown of the bar under the pointer. All have the same columns.
    unit : str
        What is raised or lowered.
    """
    import altair as alt

    title = f'change of the {unit}'
    drawn = {name: _bar_data(frame) for name, frame in frames.items()}
    columns = next(iter(drawn.values()))
    names = columns.names
    y = alt.Y(
        field=names['label'], type='nominal', title=None, sort=labels_of(columns),
        axis=alt.Axis(labelLimit=room_for_labels(210), grid=False, domain=False, ticks=False),
    )  # fmt: skip
    axis = alt.Axis(tickCount=5, titleAnchor='end')
    colour = alt.Color(
        field=names['direction'], type='nominal', title=None,
        scale=alt.Scale(domain=list(COLOURS), range=list(COLOURS.values())),
        legend=alt.Legend(symbolType='square', columns=1, labelExpr=f"datum.label + ' the {unit}'"),
    )  # fmt: skip
    tips = columns.tooltip([name for name in names if name not in ('lower', 'upper', 'direction')])
    x = alt.X(field=names['value'], type='quantitative', title=title, axis=axis)
    ends = columns.chart.mark_rule(strokeWidth=1.5, color='currentColor', opacity=0.7)
    layers = [
        columns.chart.mark_bar(height={'band': 0.72}).encode(x=x, y=y, color=colour, tooltip=tips),
        ends.encode(
            x=alt.X(field=names['lower'], type='quantitative', title=title, axis=axis),
            x2=alt.X2(field=names['upper']), y=y, tooltip=tips,
        ),
        alt.Chart(alt.InlineData(values=[{'x': 0}])).mark_rule(color='currentColor').encode(
            x=alt.X('x:Q', title=title, axis=axis)
        ),
    ]  # fmt: skip
    rows = len(columns.values)
    spec = finished(alt.layer(*layers), columns, f'{title}: {rows} bars.', height_of(rows))
    variants = [Variant(name, row_patches(one)) for name, one in drawn.items()]
    return spec, variants if len(variants) > 1 else []


def _bar_data(frame):
    direction = np.where(frame['value'] >= 0, RAISES, LOWERS)
    ends = {end: frame[end].fillna(frame['value']) for end in ('lower', 'upper')}
    return Columns(frame.assign(direction=direction, **ends))


def against_shares(frames, title):
    """Return the specification of predictions against shares of reads, and its variants: one each of `frames`.

    Parameters
    ----------
    frames : dict
        {name of the ASV: pandas.DataFrame} with columns sample, share of reads and prediction (numbers, or names of
        classes), and others that are shown of the sample under the pointer. All have the same columns.
    title : str
        Of the predictions.
    """
    import altair as alt

    drawn = {name: Columns(frame) for name, frame in frames.items()}
    columns = next(iter(drawn.values()))
    names = columns.names
    number = columns.is_number('prediction')
    scale = alt.Scale(type='symlog', constant=EVEN_BELOW, domainMin=0)
    # a scale that is even near 0 would write all of them with the same digits
    label = "format(datum.value, datum.value > 0 && datum.value < 0.01 ? '.1%' : '.0%')"
    axis = alt.Axis(values=[0, 0.001, 0.01, 0.1, 1], labelExpr=label)
    up = {'scale': alt.Scale(zero=False)} if number else {'axis': alt.Axis(grid=True)}
    chart = columns.chart.mark_point(filled=True, size=46, opacity=0.8, stroke='currentColor', strokeWidth=0.4)
    chart = chart.encode(
        x=alt.X(field=names['share of reads'], type='quantitative', title='share of reads', scale=scale, axis=axis),
        y=alt.Y(field=names['prediction'], type='quantitative' if number else 'nominal', title=title, **up),
        color=alt.condition(f'datum.{names["share of reads"]} > 0', alt.value(OURS_COLOUR), alt.value('#8a8a8a')),
        tooltip=columns.tooltip(list(names)),
    )
    spec = finished(chart, columns, f'Scatter plot of {title} against the share of reads of one ASV at a time.')
    return spec, [Variant(name, [(['datasets', ROWS], one.values)]) for name, one in drawn.items()]


def signed_heatmap(long, rows, columns, titles, height=None, legend='effect'):
    """Return the specification of a matrix of signed numbers: orange above 0, blue below, nothing at 0.

    Parameters
    ----------
    long : pandas.DataFrame
        One row a cell; the first column names the row, the second the column, `value` colours it; others are shown of
        the cell under the pointer.
    rows, columns : list of str
        Their order.
    titles : (str, str)
        Of rows and columns.
    """
    import altair as alt

    data = Columns(long)
    by_row, by_column = (data.names[name] for name in long.columns[:2])
    value = data.names['value']
    most = float(np.nanmax(np.abs(long['value'].to_numpy(dtype=float)), initial=0.0)) or 1.0
    colours = alt.Scale(domain=[-most, 0, most], range=[COLOURS[LOWERS], NOTHING, COLOURS[RAISES]])
    few = len(columns) <= 24
    chart = data.chart.mark_rect().encode(
        x=alt.X(
            field=by_column, type='nominal', title=titles[1], sort=list(columns),
            axis=alt.Axis(labels=few, labelAngle=-40, ticks=False, domain=False, grid=False),
        ),
        y=alt.Y(
            field=by_row, type='nominal', title=titles[0], sort=list(rows),
            axis=alt.Axis(labelLimit=room_for_labels(210), ticks=False, domain=False, grid=False),
        ),
        color=alt.Color(
            field=value, type='quantitative', title=legend, scale=colours,
            legend=gradient(alt),
        ),
        tooltip=data.tooltip(list(long.columns)),
    )  # fmt: skip
    description = f'{titles[0]} by {titles[1]}: {len(rows)} by {len(columns)} cells, coloured by {legend}.'
    return finished(chart, data, description, height or max(120, 22 * len(rows)))


def unique_labels(names, ids):
    """Return a label for each ASV: its name and the beginning of its id, told apart by a number where they are alike.

    Parameters
    ----------
    names : list of str
        Of taxa, '' where there is none.
    ids : list of str
    """
    labels = []
    for name, one in zip(names, ids):
        # ids may be whole sequences
        brief = one if len(one) <= 16 else f'{one[:6]}…'
        if not name:
            brief = one if len(one) <= 24 else f'{one[:22]}…'
        labels.append(f'{name} ({brief})' if name else brief)
    seen: dict[str, int] = {}
    counts = pd.Series(labels, dtype=object).value_counts()
    for place, label in enumerate(labels):
        if counts[label] > 1:
            seen[label] = seen.get(label, 0) + 1
            labels[place] = f'{label} #{seen[label]}'
    return labels
