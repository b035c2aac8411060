"""The training history as an artifact: a table of metrics, and points for plots of predicted against true values."""

from qiime2.plugin import ValidationError, model

from q2_aam.data.frames import is_number
from q2_aam.errors import shown
from q2_aam.runtime.history import HISTORY_COLUMNS, HISTORY_FILE, POINTS_COLUMNS, POINTS_FILE

from .tsv import check_columns, read_rows


class _LogFormat(model.TextFileFormat):
    """Tab-separated rows of fixed columns; those in `finite` and `numeric` hold numbers, the others text."""

    columns: tuple
    finite: tuple = ()
    numeric: tuple

    def _validate_(self, level):
        rows = read_rows(self, level)
        check_columns(rows, self.columns)
        for line, cells in rows:
            for column, cell in zip(self.columns, cells):
                self._check_cell(line, column, cell)

    def _check_cell(self, line, column, cell):
        if column in self.finite or column in self.numeric:
            if not is_number(cell, finite=column in self.finite):
                raise ValidationError(f'Column {column} must hold numbers, but line {line} has {shown(cell)}.')
        elif not cell.strip():
            raise ValidationError(f'Column {column} is empty at line {line}.')


class AAMTrainingHistoryFormat(_LogFormat):
    """One row per metric: step, epoch, part, metric, value."""

    columns = HISTORY_COLUMNS
    finite = ('step', 'epoch')
    # an overflowed loss or an undefined R2 is logged as it is: a long run must not be lost because of it
    numeric = ('value',)

    def _validate_(self, level):
        super()._validate_(level)
        if sum(1 for _ in read_rows(self, 'min')) < 2:
            raise ValidationError('The training history has no rows.')


class AAMTrainingPointsFormat(_LogFormat):
    """Points for a plot: plot, part, predicted, true; there may be none."""

    columns = POINTS_COLUMNS
    numeric = ('predicted', 'true')


class AAMTrainingHistoryDirectoryFormat(model.DirectoryFormat):
    """`history.tsv` and `points.tsv`."""

    history = model.File(HISTORY_FILE, format=AAMTrainingHistoryFormat)
    points = model.File(POINTS_FILE, format=AAMTrainingPointsFormat)
