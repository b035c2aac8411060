"""The metrics of several methods on the same folds as an artifact: one row per metric, difference or verdict."""

from qiime2.plugin import ValidationError, model

from q2_aam.data.frames import is_number
from q2_aam.errors import shown
from q2_aam.evaluation.verdict import METRICS_COLUMNS

from .tsv import check_columns, read_rows

TEXTS = ('method', 'repeat', 'fold', 'metric')
NUMBERS = ('samples', 'value', 'sd', 'lower', 'upper')


class AAMMetricsFormat(model.TextFileFormat):
    """Tab-separated rows of METRICS_COLUMNS; numbers may be missing (empty), and so may `against` and `note`."""

    def _validate_(self, level):
        rows = read_rows(self, level)
        check_columns(rows, METRICS_COLUMNS)
        line = None
        for line, cells in rows:
            for column, cell in zip(METRICS_COLUMNS, cells):
                if column in TEXTS and not cell.strip():
                    raise ValidationError(f'Column {column} is empty at line {line}.')
                if column in NUMBERS and cell and not is_number(cell):
                    raise ValidationError(
                        f'Column {column} must hold numbers or be empty, but line {line} has {shown(cell)}.'
                    )
        if line is None:
            raise ValidationError('The metrics have no rows.')


AAMMetricsDirectoryFormat = model.SingleFileDirectoryFormat(
    'AAMMetricsDirectoryFormat', 'metrics.tsv', AAMMetricsFormat
)
