"""What charts have in common: how they look, their data, and the colours of samples.

Text follows the colour of the page (currentColor), so that one specification is right in light, in dark and on paper.
Columns are named c0, c1, ... in the data: names from metadata could be read as expressions.
"""

import numpy as np
import pandas as pd

from .blocks import Variant

# After Okabe and Ito (2008, https://jfly.uni-koeln.de/color), the blue a little lighter, to stand out on black as well.
PALETTE = ('#1a80bb', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#8C6BB1', '#A6761D')
OURS_COLOUR, OTHER_COLOUR, MISSING_COLOUR = PALETTE[0], '#8a8a8a', '#c4c4c4'
# Marks that a chart of samples draws; of more, as many are drawn at random, and the caption says so.
MAX_MARKS = 1000
OTHER, MISSING = 'other', 'missing'
HEIGHT = 320
# Name of a chart's data.
ROWS = 'rows'
FONT = 'Helvetica Neue, Helvetica, Arial, sans-serif'
# Pixels of a chart on a phone, and of the names beside its rows there.
PHONE, LABEL_ON_PHONE = 480, 175
_TEXT = {'labelColor': 'currentColor', 'titleColor': 'currentColor'}
CONFIG = {
    'background': 'transparent',
    'font': FONT,
    'view': {'stroke': None},
    'axis': {
        **_TEXT,
        'domainColor': 'currentColor',
        'tickColor': 'currentColor',
        'gridColor': 'currentColor',
        'gridOpacity': 0.12,
        'labelFontSize': 12,
        'titleFontSize': 13,
        'titleFontWeight': 'normal',
        'titlePadding': 8,
        'labelLimit': 150,
        'labelFlush': False,
    },
    'legend': {
        **_TEXT,
        'orient': 'bottom',
        # side by side they would be cut on a phone
        'columns': {'expr': f'width < {PHONE} ? 1 : 2'},
        'labelFontSize': 12,
        'titleFontSize': 12,
        'titleFontWeight': 'normal',
        'labelLimit': 220,
        'symbolType': 'circle',
        'symbolOpacity': 1,
    },
    'text': {'color': 'currentColor'},
}


class Columns:
    """A frame as inline data of a chart.

    Attributes
    ----------
    names : dict
        {column of the frame: its name in the data}
    values : list of dict
        One a row; what is missing is None.
    """

    def __init__(self, frame):
        self.names = {column: f'c{number}' for number, column in enumerate(frame.columns)}
        columns = [[_plain(value) for value in frame[column]] for column in frame.columns]
        self.values = [dict(zip(self.names.values(), row)) for row in zip(*columns)]

    @property
    def chart(self):
        """A chart of these data, without marks. The data come when it is finished: Altair would check every value."""
        import altair as alt

        return alt.Chart(alt.NamedData(name=ROWS))

    def tooltip(self, columns):
        """Return what is shown of a mark that the pointer is on: these columns."""
        import altair as alt

        return [_tip(alt, self, column) for column in columns if column in self.names]

    def is_number(self, column):
        """Return whether a column holds numbers."""
        name = self.names[column]
        return all(row[name] is None or isinstance(row[name], float | int) for row in self.values)


def _tip(alt, columns, column):
    if columns.is_number(column):
        return alt.Tooltip(field=columns.names[column], type='quantitative', title=str(column), format='.4~g')
    return alt.Tooltip(field=columns.names[column], type='nominal', title=str(column))


def _plain(value):
    if value is None or value is pd.NA or (isinstance(value, float | np.floating) and not np.isfinite(value)):
        return None
    if isinstance(value, np.generic):
        value = value.item()
    # as many digits as a screen can show, in half the bytes
    return float(f'{value:.6g}') if isinstance(value, float) else value


def thinned(frame, seed=1):
    """Return at most MAX_MARKS rows of a frame, drawn at random, and the sentence that says so, or ''."""
    if len(frame) <= MAX_MARKS:
        return frame, ''
    kept = np.sort(np.random.default_rng(seed).choice(len(frame), MAX_MARKS, replace=False))
    return frame.iloc[kept], f' {MAX_MARKS:,} of {len(frame):,} samples are drawn; the table has all of them.'


def finished(chart, columns, description, height=HEIGHT):
    """Return the specification of a chart of `columns`, as wide as its place, with what is read aloud of it."""
    spec = chart.properties(width='container', height=height, description=description).to_dict()
    return spec | {'config': CONFIG, 'datasets': {**spec.get('datasets', {}), ROWS: columns.values}}


def room_for_labels(pixels):
    """Return how long names beside the rows of a chart may be: `pixels`, or less on a phone, to leave room for it."""
    import altair as alt

    return alt.ExprRef(expr=f'containerSize()[0] < {PHONE} ? {LABEL_ON_PHONE} : {pixels}')


def gradient(alt):
    """Return the legend of colours that follow from numbers, no wider than the chart."""
    return alt.Legend(gradientLength=alt.ExprRef(expr='min(180, width)'), gradientThickness=10, tickCount=5)


def few_values(column):
    """Return a column of text with its most frequent values, one a colour, the others together as one."""
    most = len(PALETTE)
    text = column.astype(object).where(column.notna(), MISSING).map(str)
    values = list(text.value_counts().index)
    if len(values) <= most:
        return text
    rest = f'{OTHER} ({len(values) - most + 1:,} values)'
    return text.where(text.isin(values[: most - 1]), rest)


def colour_variants(frame, columns, paths):
    """Return how marks are coloured by each of several columns.

    Parameters
    ----------
    frame : Columns
    columns : dict
        {what a reader chooses: column with at most as many values as there are colours}
    paths : list of list
        Where the colours stand in the specification.
    """
    plain = Variant('one colour', [(path, {'value': OURS_COLOUR}) for path in paths])
    coloured = {label: _colour(frame, label, column) for label, column in columns.items()}
    return [plain, *(Variant(label, [(path, one) for path in paths]) for label, one in coloured.items())]


def _colour(frame, label, column):
    name = frame.names[column]
    if frame.is_number(column):
        scale = {'scheme': 'viridis'}
        coloured = {'field': name, 'type': 'quantitative', 'title': label, 'scale': scale}
        return {'condition': {'test': f'isValid(datum.{name})', **coloured}, 'value': MISSING_COLOUR}
    counts = pd.Series([row[name] for row in frame.values]).value_counts()
    values = sorted(counts.index, key=lambda value: (value == MISSING, value.startswith(f'{OTHER} ('), value))
    greys = {value: OTHER_COLOUR for value in values if value.startswith(f'{OTHER} (')} | {MISSING: MISSING_COLOUR}
    colours = [greys.get(value, PALETTE[place % len(PALETTE)]) for place, value in enumerate(values)]
    return {'field': name, 'type': 'nominal', 'title': label, 'scale': {'domain': values, 'range': colours}}
