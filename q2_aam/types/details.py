"""Prediction details as an artifact: one row per sample, with its split, its prediction and more."""

from qiime2.plugin import ValidationError, model

from q2_aam.data.details import LOWER, PROBABILITY, UPPER
from q2_aam.data.frames import is_number
from q2_aam.data.splits import NEW, TEST, TRAINING, VALIDATION
from q2_aam.errors import listed, shown

from .tsv import check_columns, read_rows

FIRST_COLUMNS = ('id', 'part', 'prediction')
PARTS = (TRAINING, VALIDATION, TEST, NEW)


class AAMPredictionDetailsFormat(model.TextFileFormat):
    """Tab-separated rows that begin with id, part and prediction (empty: abstained); other columns are free.

    With columns of class probabilities, the prediction is one of their classes, else a number. With columns of interval
    bounds, each row has both, the lower one not above the upper one, or neither.
    """

    def _validate_(self, level):
        rows = read_rows(self, level)
        header = check_columns(rows, FIRST_COLUMNS, exactly=False)
        _check_names(header)
        classes = {
            name.removeprefix(PROBABILITY): place for place, name in enumerate(header) if name.startswith(PROBABILITY)
        }
        bounds = [header.index(name) for name in (LOWER, UPPER) if name in header]
        seen = set()
        for line, cells in rows:
            _check_row(line, *cells[:2])
            _check_prediction(line, cells, classes)
            if len(bounds) == 2:
                _check_interval(line, cells[0], *(cells[place] for place in bounds))
            if cells[0] in seen:
                raise ValidationError(f'Sample IDs must be unique: {shown(cells[0])} occurs again at line {line}.')
            seen.add(cells[0])
        if not seen:
            raise ValidationError('The prediction details have no rows.')


AAMPredictionDetailsDirectoryFormat = model.SingleFileDirectoryFormat(
    'AAMPredictionDetailsDirectoryFormat', 'details.tsv', AAMPredictionDetailsFormat
)


def _check_names(header):
    names = [name.strip() for name in header]
    for place, name in enumerate(names):
        if not name:
            raise ValidationError(f'Column {place + 1} has no name.')
        if name in names[:place]:
            raise ValidationError(f'Column names must be unique: {shown(name)} occurs twice in the header.')


def _check_row(line, name, part):
    if not name.strip():
        raise ValidationError(f'The sample ID is empty at line {line}.')
    if part not in PARTS:
        raise ValidationError(
            f'The part of sample {shown(name)} (line {line}) must be one of {", ".join(PARTS)}, but it is '
            f'{shown(part)}.'
        )


def _check_prediction(line, cells, classes):
    """Check a prediction and, where there are any, the probabilities; `classes` is {class: place of its column}."""
    name, prediction = cells[0], cells[2]
    if prediction and not (prediction in classes if classes else is_number(prediction)):
        allowed = f'one of the classes {listed(map(shown, classes))}' if classes else 'a number'
        raise ValidationError(
            f'The prediction of sample {shown(name)} (line {line}) must be {allowed} or empty, but it is '
            f'{shown(prediction)}.'
        )
    for label, place in classes.items():
        cell = cells[place]
        if cell and not (is_number(cell) and 0 <= float(cell) <= 1):
            raise ValidationError(
                f'The probability of class {shown(label)} for sample {shown(name)} (line {line}) must be a number from '
                f'0 to 1 or empty, but it is {shown(cell)}.'
            )


def _check_interval(line, name, lower, upper):
    if not (lower or upper):
        return
    if not (is_number(lower) and is_number(upper) and float(lower) <= float(upper)):
        raise ValidationError(
            f'The prediction interval of sample {shown(name)} (line {line}) must be two numbers, the lower one first, '
            f'or empty, but it is {shown(lower)} to {shown(upper)}.'
        )
