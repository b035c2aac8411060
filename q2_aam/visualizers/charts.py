"""Chart builders: Vega-Lite specifications made with Altair, one function a kind of chart."""

import numpy as np
import pandas as pd

from .blocks import Variant
from .chart_parts import OURS_COLOUR, PALETTE, ROWS, Columns, colour_variants, few_values, finished, room_for_labels

# Height of one row of a chart with rows.
ROW = 26
# Characters that are as wide as a chart on a phone.
LEVEL = 36
# Ends of an interval, as they are drawn.
ENDS = ('from', 'to')


def scatter(frame, x, y, titles, tips, colours=(), bounds=None, diagonal=False, zero=False, log=False):
    """Return the specification of one point a sample, and its variants: coloured by each of `colours`.

    Parameters
    ----------
    frame : pandas.DataFrame
        At most MAX_MARKS rows.
    x, y : str
        Columns.
    titles : (str, str)
        Of the axes.
    tips : list of str
        Columns that are shown of the sample under the pointer.
    colours : list of str
        Columns; of text at most eight values are told apart.
    bounds : (str, str), optional
        Columns with the ends of an interval of `y`.
    diagonal, zero : bool
        Whether a line marks where both axes are equal, or where `y` is 0.
    log : bool
        Whether `x` is drawn on a logarithmic scale; it must then be above 0.
    """
    import altair as alt

    columns, shades = _with_shades(frame, [x, y, *(bounds or ()), *tips], colours)
    scale = alt.Scale(type='log', nice=False) if log else alt.Scale(zero=False)
    chart = columns.chart
    axis = alt.Axis(tickCount=6, format='~s', labelOverlap='greedy') if log else alt.Axis(tickCount=6)
    across = alt.X(field=columns.names[x], type='quantitative', title=titles[0], scale=scale, axis=axis)
    layers = []
    if diagonal:
        ends = [float(np.nanmin(frame[[x, y]])), float(np.nanmax(frame[[x, y]]))]
        layers.append(_line_between(alt, [(end, end) for end in ends]))
    if zero:
        layers.append(
            alt.Chart(alt.InlineData(values=[{'y': 0}]))
            .mark_rule(strokeDash=[4, 4], color='currentColor')
            .encode(y='y:Q')
        )
    if bounds:
        up = alt.Y(field=columns.names[bounds[0]], type='quantitative', title=titles[1])
        rules = chart.mark_rule(opacity=0.35, strokeWidth=1.5)
        layers.append(
            rules.encode(x=across, y=up, y2=alt.Y2(field=columns.names[bounds[1]]), color=alt.value(OURS_COLOUR))
        )
    up = alt.Y(field=columns.names[y], type='quantitative', title=titles[1], scale=alt.Scale(zero=False))
    points = chart.mark_point(filled=True, size=46, opacity=0.85, stroke='currentColor', strokeWidth=0.4)
    layers.append(points.encode(x=across, y=up, color=alt.value(OURS_COLOUR), tooltip=columns.tooltip(tips)))
    first = len(layers) - (2 if bounds else 1)
    paths = [['layer', place, 'encoding', 'color'] for place in range(first, len(layers))]
    description = f'Scatter plot of {titles[1]} against {titles[0]}, {len(frame):,} samples.'
    spec = finished(alt.layer(*layers), columns, description)
    return spec, colour_variants(columns, shades, paths) if colours else []


def _with_shades(frame, needed, colours):
    """Return the data of points, and {column: the column by which it colours them}, which has few values."""
    kept = frame[[name for name in dict.fromkeys(needed) if name in frame]].reset_index(drop=True)
    shades = {}
    for name in colours:
        number = pd.api.types.is_numeric_dtype(frame[name])
        shade = frame[name] if number else few_values(frame[name])
        # the pointer shows what stands in the metadata
        shades[name] = name if number or (name in kept and shade.equals(frame[name])) else f'{name} (colour)'
        kept[shades[name]] = shade.to_numpy()
    return Columns(kept), shades


def _line_between(alt, points):
    data = alt.InlineData(values=[{'x': x, 'y': y} for x, y in points])
    line = alt.Chart(data).mark_line(strokeDash=[4, 4], color='currentColor', opacity=0.6, strokeWidth=1.2)
    return line.encode(x='x:Q', y='y:Q')


def intervals(frames, title, marked=None, shares=False):
    """Return the specification of one row a label, a point with its interval, and its variants: one each of `frames`.

    Parameters
    ----------
    frames : dict
        {name: pandas.DataFrame} with columns label (text, in the order of rows), value, lower and upper (may be
        missing); others are shown of the row under the pointer.
    title : str
        Of the axis.
    marked : float, optional
        Where a line stands.
    shares : bool
        Whether values are shares, drawn from 0 to 1.
    """
    import altair as alt

    drawn = {name: _row_data(frame) for name, frame in frames.items()}
    columns = next(iter(drawn.values()))
    names = columns.names
    y = alt.Y(
        field=names['label'], type='nominal', title=None, sort=labels_of(columns),
        axis=alt.Axis(labelLimit=room_for_labels(220), grid=False, domain=False, ticks=False),
    )  # fmt: skip
    scale = alt.Scale(domain=[0, 1]) if shares else alt.Scale(zero=False)
    axis = alt.Axis(tickCount=5, titleAnchor='end', format='.0%' if shares else alt.Undefined)

    def across(column):
        return alt.X(field=names[column], type='quantitative', title=title, scale=scale, axis=axis)

    rules = columns.chart.mark_rule(strokeWidth=2.5, color=OURS_COLOUR, opacity=0.6)
    points = columns.chart.mark_point(filled=True, size=80, color=OURS_COLOUR, opacity=1)
    tips = columns.tooltip([column for column in names if column not in ENDS])
    layers = [
        rules.encode(x=across(ENDS[0]), x2=alt.X2(field=names[ENDS[1]]), y=y),
        points.encode(x=across('value'), y=y, tooltip=tips),
    ]
    if marked is not None:
        rule = alt.Chart(alt.InlineData(values=[{'x': marked}])).mark_rule(strokeDash=[4, 4], color='currentColor')
        layers.append(rule.encode(x=alt.X('x:Q', scale=scale, axis=axis, title=title)))
    spec = finished(alt.layer(*layers), columns, f'{title}, one row a category, each with its interval.', 80)
    variants = [Variant(name, row_patches(one)) for name, one in drawn.items()]
    for path, value in variants[0].patches:
        if path == ['height']:
            spec['height'] = value
    return spec, variants if len(variants) > 1 else []


def _row_data(frame):
    """Return the data of rows; an interval that is missing is drawn as a point, and said not to be there."""
    lower, upper = (frame[end].fillna(frame['value']) for end in ('lower', 'upper'))
    said = [
        f'{low:.4g} to {high:.4g}' if low == low else 'unknown' for low, high in zip(frame['lower'], frame['upper'])
    ]
    shown = frame.drop(columns=['lower', 'upper'])
    return Columns(shown.assign(**{'95 % interval': said, ENDS[0]: lower, ENDS[1]: upper}))


def labels_of(columns):
    """Return the label of each row, in order."""
    return [row[columns.names['label']] for row in columns.values]


def height_of(rows):
    """Return the height of so many rows, in pixels."""
    return max(80, ROW * rows + 10)


def row_patches(columns):
    """Return what other rows change in a chart whose first two layers have one category a row."""
    return [
        (['datasets', ROWS], columns.values),
        (['height'], height_of(len(columns.values))),
        *((['layer', layer, 'encoding', 'y', 'sort'], labels_of(columns)) for layer in (0, 1)),
    ]


def heatmap(frame, titles, formatted='d'):
    """Return the specification of a matrix whose cells are coloured by their values, which stand in them.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows by columns, both named by text; a missing cell stays empty.
    titles : (str, str)
        Of rows and columns.
    formatted : str
        How numbers are written.
    """
    import altair as alt

    long = pd.DataFrame(
        [(row, column, frame.loc[row, column]) for row in frame.index for column in frame.columns],
        columns=[titles[0], titles[1], 'value'],
    )
    columns = Columns(long)
    places = {
        name: {'field': columns.names[title], 'type': 'nominal', 'title': title, 'sort': [str(one) for one in order]}
        for name, title, order in (('y', titles[0], frame.index), ('x', titles[1], frame.columns))
    }
    # short names fit below their columns, also on a phone
    level = len(frame.columns) * (max(len(str(name)) for name in frame.columns) + 1) <= LEVEL
    value = columns.names['value']
    highest = float(np.nanmax(frame.to_numpy(dtype=float))) or 1.0
    chart = columns.chart.encode(
        x=alt.X(**places['x'], axis=alt.Axis(labelAngle=0 if level else -40, grid=False, domain=False, ticks=False)),
        y=alt.Y(**places['y'], axis=alt.Axis(grid=False, domain=False, ticks=False)),
        tooltip=columns.tooltip(list(long.columns)),
    )
    colour = alt.Color(
        field=value, type='quantitative', scale=alt.Scale(scheme='blues', domain=[0, highest]), legend=None
    )
    dark = alt.condition(f'datum.{value} > {highest / 2}', alt.value('white'), alt.value('black'))
    text = alt.Text(field=value, type='quantitative', format=formatted)
    layers = [chart.mark_rect().encode(color=colour)]
    # more would overlap on a phone
    if len(frame.columns) <= 8:
        layers.append(chart.mark_text(fontSize=12).encode(text=text, color=dark))
    return finished(
        alt.layer(*layers), columns, f'{titles[0]} against {titles[1]}, {frame.shape[0]} by {frame.shape[1]} cells.',
        max(160, 30 * len(frame)),
    )  # fmt: skip


def curves(frame, titles, domain=None, diagonal=None, points=False, log=False, marked=None, zero=False):
    """Return the specification of lines, with a band where there is one.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns x, y, series (text) and, for bands, lower and upper; others are shown of the point under the pointer.
    titles : (str, str)
        Of the axes.
    domain : (float, float), optional
        Of both axes.
    diagonal : (float, float), optional
        From where to where a line marks that both axes are equal.
    points : bool
        Whether points are drawn on the lines.
    log : bool
        Whether `y` is drawn on a logarithmic scale.
    marked : float, optional
        Where, on the first axis, a line stands.
    zero : bool
        Whether the second axis begins at 0, so that what hardly changes looks like that.
    """
    import altair as alt

    columns = Columns(frame)
    names = columns.names
    # a domain that is written down is a sequence
    fixed = {'domain': list(domain)} if domain else {'zero': False}
    series = list(dict.fromkeys(frame['series']))
    # the same for both, which are shown in one
    legend = alt.Legend(symbolType='stroke', symbolStrokeWidth=3) if len(series) > 1 else None
    colour = alt.Color(
        field=names['series'], type='nominal', title=None,
        scale=alt.Scale(domain=series, range=[PALETTE[place % 8] for place in range(len(series))]),
        legend=legend,
    )  # fmt: skip
    chart = columns.chart.encode(
        x=alt.X(
            field=names['x'], type='quantitative', title=titles[0], scale=alt.Scale(**fixed), axis=alt.Axis(tickCount=6)
        ),
        color=colour,
    )
    up = alt.Scale(type='log') if log else alt.Scale(zero=True) if zero else alt.Scale(**fixed)
    layers = []
    if diagonal:
        layers.append(_line_between(alt, [(end, end) for end in diagonal]))
    if marked is not None:
        layers.append(_rule_at(alt, marked))
    if 'lower' in names:
        lower = alt.Y(field=names['lower'], type='quantitative', title=titles[1], scale=up)
        layers.append(chart.mark_area(opacity=0.2).encode(y=lower, y2=alt.Y2(field=names['upper'])))
    y = alt.Y(field=names['y'], type='quantitative', title=titles[1], scale=up)
    layers.append(
        chart.mark_line(strokeWidth=2, point={'size': 50} if points else False).encode(
            y=y,
            order=alt.Order(field=names['x'], type='quantitative'),
            strokeDash=_dashes(alt, names, series, legend),
            tooltip=columns.tooltip(list(frame.columns)),
        )  # fmt: skip
    )
    return finished(alt.layer(*layers), columns, f'{titles[1]} against {titles[0]}, {len(series)} lines.')


def _rule_at(alt, x):
    rule = alt.Chart(alt.InlineData(values=[{'x': x}]))
    return rule.mark_rule(strokeDash=[4, 4], color='currentColor', opacity=0.6).encode(x='x:Q')


def _dashes(alt, names, series, legend):
    """Tell lines apart without their colours."""
    kinds = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3]]
    scale = alt.Scale(domain=series, range=[kinds[place % 4] for place in range(len(series))])
    return alt.StrokeDash(field=names['series'], type='nominal', title=None, scale=scale, legend=legend)
