"""The chart of a sequence: which of its nucleotides matter, and where it differs from another."""

import numpy as np
import pandas as pd

from .chart_parts import Columns, finished, gradient
from .importance_charts import COLOURS, LOWERS, NOTHING, RAISES

# Nucleotides of a line: as many as a phone shows, and the height of a line.
PER_LINE, LINE = 30, 17
# How a line of the other sequence is named.
NEAREST = 'nearest'


def sequence(letters, effects, nearest=''):
    """Return the specification of a sequence, cut into lines, whose nucleotides are coloured by their effect.

    Parameters
    ----------
    letters : str
    effects : [L]
        Above 0: orange, below: blue.
    nearest : str
        Another sequence, place by place, '-' where it has none; '' for none. It stands below, a dot where it is equal.
    """
    import altair as alt

    rows, order = _rows(letters, effects, nearest)
    columns = Columns(rows)
    names = columns.names
    most = float(np.abs(effects).max()) or 1.0
    chart = columns.chart.encode(
        x=alt.X(field=names['column'], type='ordinal', axis=None, scale=alt.Scale(domain=list(range(PER_LINE)))),
        y=alt.Y(
            field=names['line'], type='nominal', title=None, scale=alt.Scale(domain=order, padding=0.04),
            axis=alt.Axis(
                grid=False, domain=False, ticks=False, labelFontSize=10,
                # what keeps lines apart has no name
                labelExpr=f"test(/gap/, datum.label) ? '' : test(/{NEAREST}/, datum.label) ? '' : datum.label",
            ),
        ),
        tooltip=columns.tooltip(['position', 'nucleotide', 'effect', NEAREST]),
    )  # fmt: skip
    colours = alt.Scale(domain=[-most, 0, most], range=[COLOURS[LOWERS], NOTHING, COLOURS[RAISES]])
    colour = alt.Color(
        field=names['effect'], type='quantitative', title='effect', scale=colours,
        legend=gradient(alt),
    )  # fmt: skip
    is_other = f'test(/{NEAREST}/, datum.{names["line"]})'
    layers = [
        chart.transform_filter(f'!{is_other}').mark_rect().encode(color=colour),
        chart.mark_text(font='monospace', fontSize=11, color='currentColor').encode(
            text=alt.Text(field=names['shown'], type='nominal'),
            opacity=alt.condition(f"datum.{names['shown']} === '·'", alt.value(0.45), alt.value(1)),
        ),
    ]
    differ = int((rows['shown'].isin(list('ACGTN')) & rows['line'].str.contains(NEAREST)).sum())
    said = f'; {differ} differ in the nearest one of the vocabulary' if nearest else ''
    description = f'A sequence of {len(letters)} nucleotides, coloured by their effect{said}.'
    return finished(alt.layer(*layers), columns, description, max(60, LINE * len(order)))


def _rows(letters, effects, nearest):
    """Return one row a nucleotide of either sequence, and the names of all lines from top to bottom."""
    rows, order = [], []
    for start in range(0, len(letters), PER_LINE):
        if start:
            order.append(f'gap {start}')
        line = str(start + 1)
        order += [line, f'{line} {NEAREST}'] if nearest else [line]
        for place in range(start, min(start + PER_LINE, len(letters))):
            other = nearest[place] if nearest else ''
            common = place + 1, letters[place], float(effects[place]), other
            rows.append((line, place - start, letters[place], *common))
            if nearest:
                rows.append((f'{line} {NEAREST}', place - start, '·' if other == letters[place] else other, *common))
    names = ['line', 'column', 'shown', 'position', 'nucleotide', 'effect', NEAREST]
    return pd.DataFrame(rows, columns=names), order
