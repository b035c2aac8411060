"""Tables that strangers send: JSON, BIOM 1 (which is JSON) or tab-separated text, read by the standard library alone.

BIOM 2 is HDF5, which is read by a library in C that was not made for files of strangers: it is refused, whoever sends
it, and so is all that would run code when it is read. What is read here is held to limits before it becomes arrays.
"""

import json
import math
from typing import Any, NoReturn

import numpy as np
import scipy.sparse

from q2_aam.data.in_memory import Counts
from q2_aam.errors import UserError, counted, shown

from .limits import Limits, Refused

HDF5 = b'\x89HDF\r\n\x1a\n'
# How an archive begins, as artifacts of QIIME 2 are.
ZIP = b'PK\x03\x04'
# A request has three levels, a table of BIOM as many.
MAX_ID = 1000
# What biom-format writes above the header of a table as text.
COMMENT = '# Constructed from biom file'
FIRST_COLUMN = ('#OTU ID', '#OTUID', 'feature-id', 'Feature ID', 'id')


def text_of(content: bytes, what: str) -> str:
    """Return bytes as text; Refused if they are none, or HDF5."""
    if content.startswith(HDF5):
        raise Refused(
            415,
            f'The {what} is BIOM 2 (HDF5), which is not read from strangers; send BIOM 1 or tab-separated text: '
            'biom convert -i table.biom -o table.json --to-json --table-type "OTU table".',
        )
    if content.startswith(ZIP):
        raise Refused(
            415,
            f'The {what} is an archive, as an artifact of QIIME 2 (.qza) is, which is not read from strangers; send '
            'what is in it: qiime tools export, then, of a table, biom convert --to-json.',
        )
    try:
        text = content.decode('utf-8-sig')
    except UnicodeDecodeError:
        raise Refused(400, f'The {what} is not text in UTF-8; send JSON, BIOM 1 or tab-separated text.') from None
    if '\0' in text:
        raise Refused(400, f'The {what} is not text: it has a character 0; send JSON, BIOM 1 or tab-separated text.')
    return text


def read_json(text: str, what: str) -> Any:
    """Return what is written in JSON; Refused if it is none, or has a name twice or a number that is none."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except RecursionError:
        raise Refused(400, f'The {what} is nested too deep; send an object as the page of this server shows.') from None
    except ValueError as error:
        raise Refused(400, f'The {what} is not JSON ({_brief(error)}); correct it.') from None


def _unique(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f'the name {shown(twice)} occurs twice in an object')
    return found


def _no_number(word) -> NoReturn:
    raise ValueError(f'{word} is no number')


def _brief(error):
    return str(error).splitlines()[0][:200]


def counts_of_json(table: Any, limits: Limits) -> Counts:
    """Return the table in an object of JSON: of BIOM 1, or {sample: {feature: count}}."""
    if not isinstance(table, dict) or not table:
        raise Refused(422, 'The table must be an object of samples, or one of BIOM 1, and not empty; send one.')
    if 'matrix_type' in table or 'format' in table and isinstance(table['format'], str):
        return _of_biom(table, limits)
    check_size(len(table), 0, limits)
    place: dict[str, int] = {}
    rows, columns, values = [], [], []
    for number, (sample, counts) in enumerate(table.items()):
        if not isinstance(counts, dict):
            raise Refused(422, f'Sample {shown(sample)} must be an object of counts by feature, but it is none.')
        for feature, count in counts.items():
            rows.append(number)
            columns.append(place.setdefault(feature, len(place)))
            values.append(_count(count, feature, sample))
    return _counts(rows, columns, values, list(table), list(place), limits)


def _of_biom(table, limits):
    """Return a table of BIOM 1 (https://biom-format.org/documentation/format_versions/biom-1.0.html)."""
    ids = {name: _ids_of_biom(table.get(name), name) for name in ('rows', 'columns')}
    check_size(len(ids['columns']), len(ids['rows']), limits)
    data, kind = table.get('data'), table.get('matrix_type')
    if kind not in ('sparse', 'dense') or not isinstance(data, list):
        raise Refused(
            422, 'The table is no BIOM 1: it must have data and a matrix_type, sparse or dense; export it again.'
        )
    shape = len(ids['rows']), len(ids['columns'])
    if kind == 'dense':
        if len(data) != shape[0] or any(not isinstance(row, list) or len(row) != shape[1] for row in data):
            raise Refused(422, f'The table is no BIOM 1: its data must be {shape[0]:,} rows of {shape[1]:,} counts.')
        data = [(row, column, value) for row, line in enumerate(data) for column, value in enumerate(line)]
    rows, columns, values = [], [], []
    for entry in data:
        if not isinstance(entry, (list, tuple)) or len(entry) != 3 or not _is_place(entry, shape):
            raise Refused(
                422,
                f'The table is no BIOM 1: an entry of its data is {shown(entry)}, which is not the place of a feature '
                'and a sample, and a count; export it again.',
            )
        feature, sample, count = entry
        rows.append(sample)
        columns.append(feature)
        values.append(_count(count, ids['rows'][feature], ids['columns'][sample]))
    return _counts(rows, columns, values, ids['columns'], ids['rows'], limits)


def _ids_of_biom(axis, name):
    if not isinstance(axis, list) or not all(isinstance(one, dict) and isinstance(one.get('id'), str) for one in axis):
        raise Refused(422, f'The table is no BIOM 1: its {name} must be a list of objects with an id; export it again.')
    return [one['id'] for one in axis]


def _is_place(entry, shape):
    return all(type(place) is int and 0 <= place < size for place, size in zip(entry, shape))


def counts_of_tsv(text: str, limits: Limits) -> Counts:
    """Return a table as text: a header with the ids of samples, then a line a feature (biom convert --to-tsv)."""
    lines = [line.rstrip('\r') for line in text.split('\n')]
    lines = [line for line in lines if line.strip() and not line.startswith(COMMENT)]
    header = lines[0].split('\t') if lines else []
    if len(header) < 2:
        raise Refused(
            422,
            'The table has no header: its first line must be #OTU ID and the IDs of samples, separated by tabs; '
            'features are lines.',
        )
    samples = header[1:]
    check_size(len(samples), len(lines) - 1, limits)
    features, parts = [], []
    for line in lines[1:]:
        feature, *cells = line.split('\t')
        if len(cells) != len(samples):
            raise Refused(
                422,
                f'The line of feature {shown(feature)} has {counted(len(cells), "count")}, but the header of the table '
                f'has {counted(len(samples), "sample")}; give one for each.',
            )
        features.append(feature)
        parts.append(_row(cells, feature, samples))
    matrix = scipy.sparse.csr_matrix(np.array(parts).reshape(len(features), len(samples)).T)
    return _checked(Counts(matrix, samples, features), limits)


def _row(cells, feature, samples):
    try:
        return np.array([float(cell) for cell in cells])
    except ValueError:
        wrong = next(number for number, cell in enumerate(cells) if not _is_number(cell))
        raise Refused(
            422,
            f'The table has {shown(cells[wrong])} for feature {shown(feature)} in sample {shown(samples[wrong])}, '
            'which is no number; give counts or relative frequencies.',
        ) from None


def _is_number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _count(count, feature, sample):
    if isinstance(count, bool) or not isinstance(count, (int, float)):
        raise Refused(
            422,
            f'The table has {shown(count)} for feature {shown(feature)} in sample {shown(sample)}, which is no number; '
            'give counts or relative frequencies.',
        )
    try:
        return float(count)
    except OverflowError:
        return math.inf


def _counts(rows, columns, values, samples, features, limits):
    shape = len(samples), len(features)
    matrix = scipy.sparse.csr_matrix((np.array(values, dtype=np.float64), (rows, columns)), shape=shape)
    return _checked(Counts(matrix, samples, features), limits)


def _checked(counts, limits):
    """Return counts whose ids are each there once, and not long, and which are within the limits."""
    check_size(len(counts.sample_ids), len(counts.feature_ids), limits)
    for axis, ids in (('sample', counts.sample_ids), ('feature', counts.feature_ids)):
        if not ids:
            raise UserError(f'The feature table is empty: it has no {axis}s; send one with counts above 0.')
        if len(set(ids)) < len(ids):
            seen: set[str] = set()
            twice = next(name for name in ids if name in seen or seen.add(name))
            raise UserError(f'{axis.capitalize()} IDs must be unique: {shown(twice)} occurs twice; rename one of them.')
        most = MAX_ID if axis == 'sample' else max(MAX_ID, limits.max_nucleotides)
        if longest := max(ids, key=len)[most:]:
            raise Refused(
                413, f'{axis.capitalize()} IDs may have {most:,} characters, but one has {most + len(longest):,}.'
            )
        if any('\ud800' <= letter <= '\udfff' for name in ids for letter in name):
            raise UserError(f'{axis.capitalize()} IDs must be text that UTF-8 can write; rename them.')
    if not np.isfinite(counts.matrix.data).all():
        raise UserError('The table has a count that is not finite; give counts or relative frequencies.')
    return counts


def check_size(samples: int, features: int, limits: Limits) -> None:
    """Raise Refused if a table has more samples or features than may be sent."""
    for number, most, what in ((samples, limits.max_samples, 'sample'), (features, limits.max_features, 'feature')):
        if number > most:
            raise Refused(
                413,
                f'The table has {counted(number, what)}, of at most {most:,} that this server takes at once; send '
                'fewer.',
            )
