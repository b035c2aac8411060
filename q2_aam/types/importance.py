"""Importance details as an artifact: one row an ASV, one a clade, and what was seen in single samples."""

import pandas as pd
import qiime2
from qiime2.plugin import ValidationError, model

from q2_aam.data.frames import for_metadata, is_number
from q2_aam.data.importance import (
    CLADES_COLUMNS,
    CLADES_FILE,
    DETAILS_COLUMNS,
    DETAILS_FILE,
    SAMPLES_COLUMNS,
    SAMPLES_FILE,
    TEXTS,
    read_tsv,
)
from q2_aam.errors import shown

from .tsv import check_columns, read_rows

# Columns that hold shares, where they are there; what sums of float32 shares may exceed 1 by.
SHARES = ('share_of_samples', 'mean_share_of_reads', 'share_of_reads')
ROUNDING = 1e-6


class _ImportanceTable(model.TextFileFormat):
    """Tab-separated rows that begin with `columns`; others are free."""

    columns: tuple
    # what no two rows may have in common
    key: tuple
    # those of the first columns that may be empty
    optional: tuple = ()
    rows: str

    def _validate_(self, level):
        rows = read_rows(self, level)
        header = check_columns(rows, self.columns, exactly=False)
        if len(set(header)) < len(header):
            twice = next(name for place, name in enumerate(header) if name in header[:place])
            raise ValidationError(f'Column names must be unique: {shown(twice)} occurs twice in the header.')
        seen = set()
        for line, cells in rows:
            row = dict(zip(header, cells))
            key = tuple(row[name] for name in self.key)
            self._check_row(line, row)
            if key in seen:
                raise ValidationError(f'{self.rows} must be unique: {shown(key[-1])} occurs again at line {line}.')
            seen.add(key)
        self._check_number(len(seen))

    def _check_row(self, line, row):
        for name in self.key:
            if not row[name].strip():
                raise ValidationError(f'Column {name} is empty at line {line}.')
        for name, cell in row.items():
            # cells of text are whatever they are
            empty = not cell and (name not in self.columns or name in self.optional)
            if name not in TEXTS and not empty and not is_number(cell):
                raise ValidationError(f'Column {shown(name)} must hold numbers, but line {line} has {shown(cell)}.')
            if name in SHARES and cell and not 0 <= float(cell) <= 1 + ROUNDING:
                raise ValidationError(f'Column {name} must hold shares from 0 to 1, but line {line} has {shown(cell)}.')
        if 'importance' in row and float(row['importance']) < 0:
            raise ValidationError(
                f'Importance must not be negative, but it is {shown(row["importance"])} at line {line}.'
            )

    def _check_number(self, rows):
        """Raise ValidationError where there must be a row."""


class AAMImportanceDetailsFormat(_ImportanceTable):
    """One row an ASV: id, importance (0 or more), effect (with its sign), and more."""

    columns, key, rows = DETAILS_COLUMNS, ('id',), 'Feature IDs'

    def _check_number(self, rows):
        if not rows:
            raise ValidationError('The importance details have no rows.')


class AAMImportanceCladesFormat(_ImportanceTable):
    """One row a clade: level, clade, importance, effect, and more; there may be none."""

    columns, key, rows = CLADES_COLUMNS, ('level', 'clade'), 'Clades'


class AAMImportanceSamplesFormat(_ImportanceTable):
    """One row for a sample and an ASV: sample, id, share_of_reads, prediction, effect (may be missing)."""

    columns, key, rows = SAMPLES_COLUMNS, ('sample', 'id'), 'Pairs of sample and feature'
    optional = ('effect',)


class AAMImportanceDetailsDirectoryFormat(model.DirectoryFormat):
    """`details.tsv`, `clades.tsv` and `samples.tsv`."""

    details = model.File(DETAILS_FILE, format=AAMImportanceDetailsFormat)
    clades = model.File(CLADES_FILE, format=AAMImportanceCladesFormat)
    samples = model.File(SAMPLES_FILE, format=AAMImportanceSamplesFormat)


FORMATS = (
    AAMImportanceDetailsFormat,
    AAMImportanceCladesFormat,
    AAMImportanceSamplesFormat,
    AAMImportanceDetailsDirectoryFormat,
)


def importance_to_frame(importance: AAMImportanceDetailsDirectoryFormat) -> pd.DataFrame:
    return read_tsv(f'{importance}/{DETAILS_FILE}').set_index('id')


def importance_to_metadata(importance: AAMImportanceDetailsDirectoryFormat) -> qiime2.Metadata:
    return qiime2.Metadata(for_metadata(importance_to_frame(importance)))


TRANSFORMERS = (importance_to_frame, importance_to_metadata)
