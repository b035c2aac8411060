"""From blocks to a page: `index.html` with q2templates' look, its scripts, and a TSV file for each table."""

import html
import json
import pathlib

import numpy as np
import pandas as pd

from .blocks import Cards, Command, Facts, Figure, Heading, Table, Text

ASSETS = pathlib.Path(__file__).parent / 'assets'
SCRIPT, STYLE, VEGA = 'page.js', 'page.css', 'vega.js'
TABLES = 'tables'
# What could end the element that holds the JSON, or begin another: Altair leaves them as they are.
ESCAPES = {ord('<'): '\\u003c', ord('>'): '\\u003e', ord('&'): '\\u0026'}
DIGITS = 4
# Characters from which on text gets room for half of it on a line, and the most that it gets: a column that is pressed
# to one word a line makes its rows as tall as a screen.
SHORT, MAX_ROOM = 16, 44
# Characters from which on text is long. A table with such text behind its first column is wordy: on a phone, where that
# text would be beyond the edge, its rows are cards.
LONG = 33


def write_page(output_dir, title, blocks):
    """Write a page and all that it needs into the folder of a visualization.

    Parameters
    ----------
    output_dir : path
    title : str
    blocks : list
        Of :mod:`q2_aam.visualizers.blocks`. Names of figures and of tables must differ.
    """
    import q2templates

    folder = pathlib.Path(output_dir)
    (folder / TABLES).mkdir()
    blocks = [block for block in blocks if block is not None]
    for block in blocks:
        if isinstance(block, Table | Cards):
            _with_index(block.frame).to_csv(folder / TABLES / f'{block.name}.tsv', sep='\t', index=False)
    (folder / VEGA).write_text(_vega(), encoding='utf-8')
    for name in (SCRIPT, STYLE):
        (folder / name).write_bytes((ASSETS / name).read_bytes())
    context = {'page_title': ascii_html(html.escape(title)), 'page_body': body(title, blocks)}
    q2templates.render(str(ASSETS / 'index.html'), str(folder), context=context)


def body(title, blocks):
    """Return the HTML of a page's body: ASCII alone, since q2templates writes it in the encoding of the machine."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    sections = [_content(block) for block in blocks]
    return ascii_html(environment.get_template('body.html').render(title=title, blocks=sections))


def ascii_html(text):
    """Return HTML with every character beyond ASCII written as a reference."""
    return text.encode('ascii', 'xmlcharrefreplace').decode('ascii')


def inline_json(value):
    """Return JSON as it can stand in an HTML page, whatever text is in it."""
    return json.dumps(value, separators=(',', ':'), allow_nan=False).translate(ESCAPES)


def picture(figure, path, scale=2.0):
    """Write a figure as a picture; the ending of `path`, .svg or .png, says which.

    It is the one that the page shows first. A PNG has `scale` pixels for each of the page's.
    """
    import vl_convert

    path = pathlib.Path(path)
    spec = figure.spec | {'width': 640, 'background': 'white'}
    if path.suffix == '.svg':
        path.write_text(vl_convert.vegalite_to_svg(spec, vl_version=_vega_lite()), encoding='utf-8')
    else:
        path.write_bytes(vl_convert.vegalite_to_png(spec, vl_version=_vega_lite(), scale=scale))


def _vega():
    """Return the JavaScript that draws charts: Vega, Vega-Lite and Vega-Embed as vl-convert carries them."""
    import vl_convert

    return vl_convert.javascript_bundle('window.vegaEmbed = vegaEmbed;', _vega_lite())


def _vega_lite():
    """Return the version of Vega-Lite that Altair writes, or the nearest of its major version in vl-convert."""
    import altair as alt
    import vl_convert

    written = [int(part) for part in alt.SCHEMA_VERSION.lstrip('v').split('.')[:2]]
    carried = [[int(part) for part in version.split('.')] for version in vl_convert.get_vegalite_versions()]
    same = [version for version in carried if version[0] == written[0]]
    nearest = min(same or carried, key=lambda version: abs(version[1] - written[1]))
    return '.'.join(map(str, nearest))


def _content(block):
    """Return what the template reads of a block."""
    if isinstance(block, Heading):
        return {'kind': 'heading', 'text': block.text}
    if isinstance(block, Text):
        return {'kind': 'text', 'text': block.text, 'style': block.kind}
    if isinstance(block, Facts):
        return {'kind': 'facts', 'items': block.items}
    if isinstance(block, Command):
        return {'kind': 'command', 'command': block}
    if isinstance(block, Cards):
        return {'kind': 'cards', 'cards': block, 'path': f'{TABLES}/{block.name}.tsv'}
    if isinstance(block, Figure):
        return {'kind': 'figure', 'figure': block, 'json': _figure_json(block)}
    return {'kind': 'table', 'table': block, 'path': f'{TABLES}/{block.name}.tsv', **_cells(block)}


def _figure_json(figure):
    import markupsafe

    variants = [{'label': one.label, 'patches': one.patches} for one in figure.variants]
    # escaped already, and within a script element references are not read
    return markupsafe.Markup(inline_json({'spec': figure.spec, 'variants': variants, 'name': figure.name}))


def _with_index(frame):
    return frame if frame.index.name is None else frame.reset_index()


def _cells(table):
    frame = _with_index(table.frame)
    shown = frame[list(table.columns) or list(frame.columns)].head(table.rows)
    numeric = [pd.api.types.is_numeric_dtype(shown[column]) for column in shown]
    rows = [
        [
            {
                'text': (text := _written(value)),
                'sort': value if number else '',
                'number': number,
                'room': _room(text) if place and not number else 0,
                'long': bool(place) and not number and len(text) >= LONG and ' ' in text,
            }
            for place, (value, number) in enumerate(zip(row, numeric))
        ]
        for row in shown.itertuples(index=False)
    ]
    return {
        'wordy': any(cell['long'] for row in rows for cell in row),
        'header': list(zip(map(str, shown.columns), numeric)),
        'rows': rows,
        'more': len(frame) - len(shown),
        'total': len(frame),
    }


def _room(text):
    """Return how many characters of a cell's text a line has to hold, 0 where none must be broken."""
    return min(MAX_ROOM, len(text) // 2 + 2) if len(text) >= SHORT and ' ' in text else 0


def _written(value):
    """Return a cell as text: numbers with a few digits, what is missing as nothing."""
    if pd.isna(value):
        return ''
    if isinstance(value, bool | np.bool_ | str):
        return str(value)
    if np.isfinite(value) and (value == round(value) or abs(value) >= 1e4):
        return f'{value:,.0f}'
    return f'{value:.{DIGITS}g}'
