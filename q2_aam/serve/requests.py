"""The body of a request: a table, the sequences of its features, covariates; in one object of JSON or in parts."""

import csv
import dataclasses
import io
import re
from typing import Any

import pandas as pd

from q2_aam.data.in_memory import Counts, frame_of
from q2_aam.errors import UserError, shown

from .limits import Limits, Refused
from .tables import counts_of_json, counts_of_tsv, read_json, text_of

JSON = ('application/json', 'application/biom+json')
TSV = ('text/tab-separated-values', 'text/plain')
FORM = 'multipart/form-data'
# The parts of a form, and the fields of an object.
PARTS = ('table', 'sequences', 'covariates')
BOUNDARY = re.compile(r'boundary=("?)([0-9A-Za-z\'()+_,./:=?-]{1,70})\1\s*(?:;|$)')
MAX_PART_HEADER = 2000
PART_NAME = re.compile(rb'content-disposition:\s*form-data;[^\r\n]*?\bname="([^"\r\n]*)"', re.IGNORECASE)
# Of covariates.
MAX_COLUMNS = 200


@dataclasses.dataclass(frozen=True, eq=False)
class Asked:
    """What a request asks about.

    Attributes
    ----------
    counts : q2_aam.data.in_memory.Counts
    sequences : str or None
        FASTA; None where feature ids are the sequences, or names.
    covariates : pandas.DataFrame or None
        By sample id.
    """

    counts: Counts
    sequences: str | None = None
    covariates: pd.DataFrame | None = None


def read_request(content_type: str, content: bytes, limits: Limits) -> Asked:
    """Read the body of a request.

    Raises
    ------
    Refused
        If it is of another type, malformed, or too large.
    q2_aam.errors.UserError
        If the table, the sequences or the covariates in it cannot be used.
    """
    kind, _, more = content_type.partition(';')
    kind = kind.strip().lower()
    if not content:
        raise Refused(400, 'The request has no body; send a table, as the page of this server shows.')
    if kind in JSON:
        asked = _of_object(read_json(text_of(content, 'request'), 'request'), limits)
    elif kind in TSV:
        asked = Asked(counts_of_tsv(text_of(content, 'table'), limits))
    elif kind == FORM:
        asked = _of_form(parts_of(content, more), limits)
    else:
        raise Refused(
            415,
            f'The type of the request is {shown(kind)}, but must be one of {", ".join((*JSON, *TSV, FORM))}; set '
            'Content-Type.',
        )
    _check_lengths(asked, limits)
    return asked


def _of_object(given, limits):
    if not isinstance(given, dict) or not given:
        raise Refused(422, 'The request must be an object with a table, and sequences where IDs are none; send one.')
    if 'matrix_type' in given:
        return Asked(counts_of_json(given, limits))
    if unknown := sorted(set(given) - set(PARTS)):
        raise Refused(422, f'The request has the field {shown(unknown[0])}, but may have {", ".join(PARTS)} only.')
    if 'table' not in given:
        raise Refused(422, 'The request has no table; send one, as the page of this server shows.')
    counts = counts_of_json(given['table'], limits)
    return Asked(counts, _fasta(given.get('sequences'), counts), _frame(given.get('covariates'), counts))


def _fasta(sequences, counts):
    """Return sequences by feature as FASTA; those of features that are not in the table are left out."""
    if sequences is None:
        return None
    if not isinstance(sequences, dict) or not all(isinstance(value, str) for value in sequences.values()):
        raise Refused(422, 'The sequences must be an object with the sequence of each feature as text; send one.')
    names = [name for name in counts.feature_ids if name in sequences]
    if wrong := [name for name in names if name.split() != [name] or len(sequences[name].split()) > 1]:
        raise Refused(
            422,
            f'Feature IDs and sequences must have no blanks, but there is feature {shown(wrong[0])} with sequence '
            f'{shown(sequences[wrong[0]])}; take them out.',
        )
    if not names:
        raise Refused(
            422,
            f'The sequences have none of the features of the table (e.g. {shown(counts.feature_ids[0])}); send the '
            'sequence of each, or leave sequences out where the IDs are the sequences.',
        )
    return ''.join(f'>{name}\n{sequences[name]}\n' for name in names)


def _frame(covariates, counts):
    if covariates is None:
        return None
    if not isinstance(covariates, dict) or not all(isinstance(row, dict) for row in covariates.values()):
        raise Refused(422, 'The covariates must be an object of samples, each an object of values by column; send one.')
    # of others than the samples of the table nothing is asked
    covariates = {name: covariates[name] for name in counts.sample_ids if name in covariates}
    _check_columns({name for row in covariates.values() for name in row})
    for sample, row in covariates.items():
        for name, value in row.items():
            if isinstance(value, bool) or not isinstance(value, (str, int, float, type(None))):
                raise Refused(
                    422,
                    f'Covariate {shown(name)} of sample {shown(sample)} is {shown(value)}, but must be a number, text '
                    'or null.',
                )
    try:
        frame = pd.DataFrame.from_dict(covariates, orient='index')
        # a column of numbers has no text in it
        return frame_of(frame.apply(_numbers_if_all), 'covariates')
    except (OverflowError, ValueError) as error:
        raise UserError(f'The covariates cannot be read ({shown(str(error))}); send numbers, text or null.') from error


def _check_columns(names):
    if len(names) > MAX_COLUMNS:
        raise Refused(413, f'The covariates have {len(names):,} columns, of at most {MAX_COLUMNS:,}; send fewer.')


def _numbers_if_all(column):
    given = column.dropna()
    if len(given) and all(isinstance(value, (int, float)) for value in given):
        return column.astype(float)
    return column.astype(object)


def _of_form(parts: dict[str, bytes], limits):
    if 'table' not in parts:
        raise Refused(422, 'The form has no part named table; send one: curl -F table=@table.tsv.')
    text = text_of(parts['table'], 'table')
    if text.lstrip()[:1] == '{':
        counts = counts_of_json(read_json(text, 'table'), limits)
    else:
        counts = counts_of_tsv(text, limits)
    sequences = text_of(parts['sequences'], 'part sequences') if 'sequences' in parts else None
    covariates = _metadata(text_of(parts['covariates'], 'part covariates')) if 'covariates' in parts else None
    return Asked(counts, sequences, covariates)


def _metadata(text):
    """Return tab-separated metadata: a header, then a line a sample, its id first; numbers where all are numbers."""
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter='\t', strict=True))
    except csv.Error as error:
        raise Refused(422, f'The covariates are not tab-separated text ({error}); correct them.') from None
    # the line of QIIME 2 that tells the types of columns
    rows = [row for row in rows if any(row) and row[0] != '#q2:types']
    if len(rows) < 2 or any(len(row) != len(rows[0]) for row in rows) or len(rows[0]) < 2:
        raise Refused(
            422,
            'The covariates must be a header, then a line for each sample with its ID and as many cells as the header; '
            'correct them.',
        )
    header, *body = rows
    _check_columns(header[1:])
    if len({row[0] for row in body}) < len(body):
        raise Refused(422, 'The covariates have a sample ID twice; keep one line of each sample.')
    frame = pd.DataFrame([row[1:] for row in body], index=[row[0] for row in body], columns=header[1:], dtype=object)
    frame = frame_of(frame.mask(frame == ''), 'covariates')
    return frame.apply(_numbers_of_text)


def _numbers_of_text(column):
    try:
        return column.astype(float)
    except ValueError:
        return column


def parts_of(content: bytes, parameters: str) -> dict[str, bytes]:
    """Return the parts of a form by name (RFC 7578); Refused if it is malformed."""
    match = BOUNDARY.search(parameters)
    if match is None:
        raise Refused(400, 'The type of the form names no boundary; let the program that sends it set Content-Type.')
    mark = b'\r\n--' + match[2].encode()
    pieces = (b'\r\n' + content).split(mark)
    if len(pieces) < 3 or pieces[0].strip() or not pieces[-1].startswith(b'--'):
        raise Refused(400, 'The form is malformed or incomplete: it does not begin and end with its boundary.')
    parts: dict[str, bytes] = {}
    for piece in pieces[1:-1]:
        head, blank, value = piece.partition(b'\r\n\r\n')
        # the search takes time that grows with the square of the header's length
        short = bool(blank) and len(head) <= MAX_PART_HEADER
        name = PART_NAME.search(head) if short else None
        if name is None:
            raise Refused(
                400, 'The form is malformed: each part must have a name and, behind an empty line, its content.'
            )
        key = name[1].decode('utf-8', 'replace')
        if key not in PARTS or key in parts:
            raise Refused(
                422, f'The form has a part named {shown(key)}, but must have {", ".join(PARTS)}, each once at most.'
            )
        parts[key] = value
    return parts


def _check_lengths(asked, limits):
    """Raise Refused if a sequence is too long: all take as much memory as the longest."""
    longest, running = 0, 0
    for line in asked.counts.feature_ids if asked.sequences is None else asked.sequences.splitlines():
        running = 0 if asked.sequences is None or line.startswith('>') else running
        running += 0 if line.startswith('>') else len(line.strip())
        longest = max(longest, running)
    if longest > limits.max_nucleotides:
        raise Refused(
            413,
            f'A sequence has {longest:,} nucleotides, of at most {limits.max_nucleotides:,} that this server takes; '
            'send amplicons, or cut them where those of the training ended.',
        )


def option(parameters: Any, known: tuple[str, ...]) -> None:
    """Raise Refused if a parameter of the query is none of those that are known, or there twice."""
    names = [name for name, _ in parameters]
    for name in names:
        if name not in known or names.count(name) > 1:
            raise Refused(422, f'The parameter {shown(name)} must be one of {", ".join(known)}, and be there once.')
