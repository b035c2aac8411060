"""Predictions with all that is known about them, as an artifact: one row a sample."""

from qiime2.plugin import ValidationError, model

from q2_aam.data.parts import NEW, TEST, TRAINING, VALIDATION

from .tsv import check_columns, is_number, read_rows

FIRST_COLUMNS = ('id', 'part', 'prediction')
PARTS = (TRAINING, VALIDATION, TEST, NEW)


class AAMPredictionDetailsFormat(model.TextFileFormat):
    """Tab-separated rows that begin with id, part and prediction (empty: abstained); other columns are free."""

    def _validate_(self, level):
        rows = read_rows(self, level)
        _check_names(check_columns(rows, FIRST_COLUMNS, exactly=False))
        seen = set()
        for line, cells in rows:
            _check_row(line, *cells[:3])
            if cells[0] in seen:
                raise ValidationError(f'Sample {cells[0]} stands in it twice, again at line {line}.')
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
            raise ValidationError(f'The column name {name} stands in the header twice.')


def _check_row(line, name, part, prediction):
    if not name.strip():
        raise ValidationError(f'The sample id is empty at line {line}.')
    if part not in PARTS:
        raise ValidationError(
            f'The part of sample {name} (line {line}) must be one of {", ".join(PARTS)}, but it is {part!r}.'
        )
    if prediction and not is_number(prediction):
        raise ValidationError(
            f'The prediction of sample {name} (line {line}) must be a number or empty, but it is {prediction!r}.'
        )
