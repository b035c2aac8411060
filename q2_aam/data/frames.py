"""Tables of results: read from text with the right types, and made into what QIIME 2 metadata take."""

import re
import typing
import warnings

import numpy as np
import pandas as pd

from q2_aam.errors import AAMWarning, counted, shown

from .details import PROBABILITY
from .names import is_reserved

_NUMBER = re.compile(r'[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?')
_NOT_FINITE = re.compile(r'nan|[+-]?inf', re.IGNORECASE)
# 15 digits: what a float, and so Metadata, holds exactly
_WHOLE_NUMBER = re.compile(r'[+-]?[0-9]{1,15}')


def is_number(cell: str, finite: bool = True) -> bool:
    """Return whether `cell` is a number as text; not by Python's float(), which takes a label like 1_2 for 12."""
    return bool(_NUMBER.fullmatch(cell) or (not finite and _NOT_FINITE.fullmatch(cell)))


def read_frame(handle: typing.IO[str]) -> pd.DataFrame:
    """Read tab-separated text with a header: columns that hold numbers as such, every other cell as it is.

    Ids stay text (007), and with columns of class probabilities so do the classes, also those that look like numbers.
    Empty cells are missing.
    """
    frame = pd.read_csv(handle, sep='\t', dtype=str, keep_default_na=False, na_values=[''])
    texts = ['id', 'prediction', 'true'] if any(name.startswith(PROBABILITY) for name in frame) else ['id']
    for column in frame.columns.difference(texts):
        frame[column] = _typed(frame[column])
    return frame


def _typed(cells):
    filled = cells.dropna()
    if not all(is_number(cell, finite=False) for cell in filled):
        return cells
    if len(filled) and len(filled) == len(cells) and all(map(_WHOLE_NUMBER.fullmatch, filled)):
        return cells.astype('int64')
    return cells.astype(float)


def numbered(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose index is the number of each row, as text and with zeros, so that it sorts like numbers."""
    width = len(str(len(frame)))
    return frame.set_axis(pd.Index([f'{row:0{width}d}' for row in range(1, len(frame) + 1)], name='id'), axis=0)


def for_metadata(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame without what QIIME 2 metadata refuse: infinity, blank text, names and ids of a meaning there.

    Columns of reserved names are renamed.

    Warns
    -----
    AAMWarning
        If samples are left out because of their id.
    """
    frame = _without_refused_ids(frame)
    columns = {name: _without_refused_values(frame[name]) for name in frame}
    return pd.DataFrame(
        {f'{name} (column)' if is_reserved(name) else name: column for name, column in columns.items()}, frame.index
    )


def _without_refused_values(column):
    # not by replace(), which would guess the type anew, and from pandas 2.2 on warns of that
    if column.dtype == object:
        cells = [np.nan if isinstance(cell, str) and not cell.strip() else cell for cell in column]
        return pd.Series(cells, column.index, object)
    return column.where(np.isfinite(column)) if column.dtype.kind == 'f' else column


def _without_refused_ids(frame):
    ids = [name.strip() for name in frame.index]
    # an array: from pandas 2.2 on, one joined to an Index by | is an Index, which has no sum
    refused = np.array([name.startswith('#') or is_reserved(name) for name in ids], bool) | pd.Index(ids).duplicated()
    if refused.any():
        warnings.warn(
            f'The metadata leave out {counted(int(refused.sum()), "sample")} whose ID is not allowed in QIIME 2 '
            f'metadata (e.g. {shown(frame.index[refused][0])}).',
            AAMWarning,
            stacklevel=3,
        )
    return frame[~refused]
