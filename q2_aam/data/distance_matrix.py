"""The distance matrix: read line by line into one array, and refused where it is no dissimilarity."""

import dataclasses
import os
import typing

import numpy as np

from q2_aam.errors import UserError, counted, shown

# Rounding error, far below any difference between samples.
TOLERANCE = 1e-5

_BLOCK = 256

NOT_FINITE = (
    'Distances must be finite: the distance matrix has {value:g} between {one} and {two}; provide a distance for every '
    'pair of samples.'
)
NEGATIVE = (
    'Distances must not be negative: the distance matrix has {value:g} between {one} and {two}; provide a matrix of '
    'dissimilarities.'
)
NOT_SYMMETRIC = (
    'The distance matrix must be symmetric: it has {value:g} from {one} to {two}, but another value from {two} to '
    '{one}; create it again.'
)


@dataclasses.dataclass(frozen=True)
class Distances:
    """Distances between all pairs of samples.

    Attributes
    ----------
    ids : list of str
    values : float32 [n, n]
        Symmetric, finite, 0 or more, 0 on the diagonal.
    """

    ids: list[str]
    values: np.ndarray


def read_distances(path: str | os.PathLike) -> Distances:
    """Read a distance matrix.

    Parameters
    ----------
    path : path
        Tab-separated text: a header line with the ids, then for each sample its id and its distances to all of them.

    Returns
    -------
    Distances

    Raises
    ------
    UserError
        If the file is no such matrix or is damaged (the line is named), if an id occurs twice, or if a distance
        is not finite, negative, not symmetric, or not 0 between a sample and itself (the samples are named).
    """
    try:
        with open(path, encoding='utf-8-sig') as handle:
            ids, values = _read_lines(enumerate(handle, start=1))
    except UnicodeDecodeError as error:
        raise UserError('The distance matrix is damaged: it is not text; create it again.') from error
    _check_values(ids, values)
    np.fill_diagonal(values, 0)
    return Distances(ids, values)


def _read_lines(lines):
    number, line = next(((n, text) for n, text in lines if text.strip() and not text.startswith('#')), (1, ''))
    ids = _read_header(number, line.rstrip('\n'))
    values = np.empty((len(ids), len(ids)), dtype=np.float32)
    rows = 0
    for number, line in lines:
        if not line.strip():
            continue
        if rows == len(ids):
            _damaged(number, f'the header names {counted(rows, "sample")}, but more lines follow')
        _read_row(number, line.rstrip('\n'), ids, rows, values)
        rows += 1
    if rows < len(ids):
        _damaged(number, f'it ends there, after {rows:,} of the {counted(len(ids), "sample")} that the header names')
    return ids, values


def _read_header(number, line):
    first, *ids = (name.strip() for name in line.split('\t'))
    if first or not ids or '' in ids:
        raise UserError(
            f'The distance matrix is not a matrix: line {number} should be a tab followed by tab-separated sample IDs, '
            f'but it begins with {shown(line, 20)}; create it again.'
        )
    if len(set(ids)) < len(ids):
        seen = set()
        twice = next(name for name in ids if name in seen or seen.add(name))
        raise UserError(
            f'Sample IDs must be unique: {shown(twice)} occurs twice in the distance matrix; rename one of them.'
        )
    return ids


def _read_row(number, line, ids, row, values):
    name, _, numbers = line.partition('\t')
    if name.strip() != ids[row]:
        raise UserError(
            f'Rows and columns of the distance matrix must have the same IDs in the same order: line {number} is for '
            f'{shown(name.strip())}, but column {row + 1} is for {shown(ids[row])}; create it again.'
        )
    cells = numbers.split('\t') if numbers else []
    if len(cells) != len(ids):
        _damaged(
            number, f'it has {counted(len(cells), "distance")}, but the header names {counted(len(ids), "sample")}'
        )
    try:
        parsed = np.fromiter(map(float, cells), np.float64, len(cells)) if _is_plain(numbers) else None
    except ValueError:
        parsed = None
    if parsed is None:
        _damaged(
            number, f'it has {shown(next(cell for cell in cells if not _is_number(cell)))} where a distance should be'
        )
    # what is too large for float32 becomes infinite, and is refused with its samples
    with np.errstate(over='ignore'):
        values[row] = parsed


def _is_plain(text):
    """Return whether text has none of the numbers that Python reads and other programs do not, such as 1_2."""
    return text.isascii() and '_' not in text


def _is_number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return _is_plain(cell)


def _damaged(number, why) -> typing.NoReturn:
    raise UserError(f'The distance matrix is damaged at line {number}: {why}; create it again.')


def _check_values(ids, values):
    """Check block after block of rows: no second array of the matrix's size is made."""
    for start in range(0, len(ids), _BLOCK):
        rows = values[start : start + _BLOCK]
        _refuse_pair(ids, start, rows, ~np.isfinite(rows), NOT_FINITE)
        _refuse_pair(ids, start, rows, rows < 0, NEGATIVE)
    wrong = np.flatnonzero(np.diagonal(values) > TOLERANCE)
    if len(wrong):
        raise UserError(
            'The distance between a sample and itself must be 0: the distance matrix has '
            f'{values[wrong[0], wrong[0]]:g} for {shown(ids[wrong[0]])}; create it again.'
        )
    for start in range(0, len(ids), _BLOCK):
        rows, mirrored = values[start : start + _BLOCK], values[:, start : start + _BLOCK].T
        unlike = np.abs(rows - mirrored) > TOLERANCE * np.maximum(rows, 1)
        _refuse_pair(ids, start, rows, unlike, NOT_SYMMETRIC)


def _refuse_pair(ids, start, rows, wrong, sentence):
    if wrong.any():
        row, column = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        raise UserError(sentence.format(value=rows[row, column], one=shown(ids[start + row]), two=shown(ids[column])))
