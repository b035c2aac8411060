"""What a page holds, outside of a browser: its verdict, figures and tables, for notebooks and scripts."""

import contextlib
import dataclasses
import html
import json
import pathlib
import re
import tempfile

import pandas as pd

from q2_aam.errors import UserError

from .page import TABLES, picture

FIGURE = re.compile(
    r'<figure class="aam-figure"[^>]*>\s*<h3>(?P<title>.*?)</h3>.*?<figcaption>(?P<caption>.*?)</figcaption>\s*'
    r'<script type="application/json" class="aam-spec">(?P<json>.*?)</script>',
    re.DOTALL,
)
VERDICT = re.compile(r'<p class="aam-text aam-verdict">(.*?)</p>', re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure of a page, which a notebook shows as a picture.

    Attributes
    ----------
    name, title, caption : str
    spec : dict
        Vega-Lite: `altair.Chart.from_dict` makes an interactive chart of it.
    """

    name: str
    title: str
    caption: str
    spec: dict = dataclasses.field(repr=False)

    def save(self, path):
        """Write the figure into a file; its ending, .svg or .png, says which kind."""
        picture(self, path)

    def _repr_png_(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / 'figure.png'
            picture(self, path, scale=1.25)
            return path.read_bytes()


def figures_of(visualization):
    """Return the figures of a page of this plugin.

    Parameters
    ----------
    visualization : qiime2.Visualization

    Returns
    -------
    dict
        {name: :class:`Picture`}, in the order of the page.

    Raises
    ------
    UserError
        If another plugin made the page.
    """
    with _page(visualization) as (_, text):
        found = [(match, json.loads(match['json'])) for match in FIGURE.finditer(text)]
    return {
        chart['name']: Picture(chart['name'], html.unescape(one['title']), html.unescape(one['caption']), chart['spec'])
        for one, chart in found
    }


def verdict_of(visualization):
    """Return the sentences that a page of this plugin begins with; UserError if another plugin made it."""
    with _page(visualization) as (_, text):
        return '\n'.join(html.unescape(found) for found in VERDICT.findall(text))


def tables_of(visualization):
    """Return the tables of a page, {name: pandas.DataFrame}, all rows; UserError if another plugin made it."""
    with _page(visualization) as (folder, _):
        return {path.stem: pd.read_csv(path, sep='\t') for path in sorted((folder / TABLES).glob('*.tsv'))}


@contextlib.contextmanager
def _page(visualization):
    with tempfile.TemporaryDirectory() as scratch:
        visualization.export_data(scratch)
        index = pathlib.Path(scratch) / 'index.html'
        text = index.read_text('utf-8') if index.exists() else ''
        if '<main id="aam">' not in text:
            raise UserError(f'The visualization {visualization.uuid} is no page of q2-aam; give one that it made.')
        yield index.parent, text
