"""What a page is made of: blocks of text, numbers, figures and tables, which know nothing of HTML."""

import dataclasses
import typing

import pandas as pd

# Rows of a table that a page shows; the rest is in its file.
MAX_ROWS = 20


def percent(share):
    """Return a share as text, '94 %'."""
    return f'{100 * share:.0f} %'


@dataclasses.dataclass(frozen=True)
class Heading:
    """A section begins."""

    text: str


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes
    ----------
    text : str
    kind : str
        '' for plain text, 'verdict' for the one that a page begins with, 'note' for what a reader must know.
    """

    text: str
    kind: str = ''


@dataclasses.dataclass(frozen=True)
class Facts:
    """Numbers with their names, side by side: (name, value as text, what it means)."""

    items: typing.Sequence[tuple[str, str, str]]


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to show a figure.

    Attributes
    ----------
    label : str
        As a reader chooses it.
    patches : list of (path, value)
        What changes in the specification: the keys that lead to a place, and what is put there.
    """

    label: str
    patches: list


@dataclasses.dataclass(frozen=True)
class Figure:
    """A chart.

    Attributes
    ----------
    name : str
        Of its files, without an ending.
    title, caption : str
    spec : dict
        Vega-Lite.
    choice : str
        What a reader chooses among `variants`.
    variants : list of Variant
        The first is how the figure begins.
    """

    name: str
    title: str
    caption: str
    spec: dict
    choice: str = ''
    variants: typing.Sequence[Variant] = ()


@dataclasses.dataclass(frozen=True)
class Table:
    """A table, the first rows of which are on the page, and all in a TSV file.

    Attributes
    ----------
    name : str
        Of its file, without an ending.
    title, caption : str
    frame : pandas.DataFrame
        Its index becomes the first column where it has a name.
    rows : int
        How many are on the page.
    beside : bool
        Whether there is room for it beside a figure, on a wide screen.
    columns : list of str
        Those that are on the page, where not all are.
    """

    name: str
    title: str
    caption: str
    frame: pd.DataFrame
    rows: int = MAX_ROWS
    beside: bool = False
    columns: typing.Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Cards:
    """A list of things to read one after the other, and all of it in a TSV file.

    Attributes
    ----------
    name : str
        Of its file, without an ending.
    title, caption : str
    items : list of (kind, heading, where, text, advice)
        The kind is also how the card looks: error, warning or note.
    frame : pandas.DataFrame
        What is in the file.
    """

    name: str
    title: str
    caption: str
    items: typing.Sequence[tuple[str, str, str, str, str]]
    frame: pd.DataFrame


@dataclasses.dataclass(frozen=True)
class Command:
    """A command line, ready to copy.

    Attributes
    ----------
    title, caption : str
    text : str
        Its lines.
    """

    title: str
    caption: str
    text: str


Block = Heading | Text | Facts | Figure | Table | Cards | Command
