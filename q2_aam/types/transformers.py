"""From formats to DataFrame and Metadata, and from DataFrames of details and metrics back to their formats."""

import warnings

import numpy as np
import pandas as pd
import qiime2

from q2_aam.data.details import PROBABILITY
from q2_aam.errors import AAMWarning, counted

from .details import AAMPredictionDetailsFormat
from .history import AAMTrainingHistoryDirectoryFormat, AAMTrainingHistoryFormat, AAMTrainingPointsFormat
from .metrics import AAMMetricsFormat
from .tsv import is_number

# Names that QIIME 2 metadata reserve for the header of their id column (https://docs.qiime2.org, Metadata in QIIME 2).
RESERVED_LOWER = {'id', 'sampleid', 'sample id', 'sample-id', 'featureid', 'feature id', 'feature-id'}
RESERVED_EXACT = {'#SampleID', '#Sample ID', '#OTUID', '#OTU ID', 'sample_name'}


def details_to_frame(details: AAMPredictionDetailsFormat) -> pd.DataFrame:
    return _read(details).set_index('id')


def details_to_metadata(details: AAMPredictionDetailsFormat) -> qiime2.Metadata:
    return _to_metadata(_read(details).set_index('id'))


def frame_to_details(frame: pd.DataFrame) -> AAMPredictionDetailsFormat:
    details = AAMPredictionDetailsFormat()
    with details.open() as handle:
        frame.to_csv(handle, sep='\t', index_label='id', lineterminator='\n')
    # the framework would read the first rows only
    details.validate('max')
    return details


def log_to_frame(history: AAMTrainingHistoryFormat) -> pd.DataFrame:
    return _read(history)


def points_to_frame(points: AAMTrainingPointsFormat) -> pd.DataFrame:
    return _read(points)


def history_to_frame(history: AAMTrainingHistoryDirectoryFormat) -> pd.DataFrame:
    return history.history.view(pd.DataFrame)


def history_to_metadata(history: AAMTrainingHistoryDirectoryFormat) -> qiime2.Metadata:
    return _numbered(history_to_frame(history))


def metrics_to_frame(metrics: AAMMetricsFormat) -> pd.DataFrame:
    return _read(metrics)


def metrics_to_metadata(metrics: AAMMetricsFormat) -> qiime2.Metadata:
    return _numbered(_read(metrics))


def frame_to_metrics(frame: pd.DataFrame) -> AAMMetricsFormat:
    metrics = AAMMetricsFormat()
    with metrics.open() as handle:
        frame.to_csv(handle, sep='\t', index=False, lineterminator='\n')
    metrics.validate('max')
    return metrics


ALL = (
    details_to_frame,
    details_to_metadata,
    frame_to_details,
    log_to_frame,
    points_to_frame,
    history_to_frame,
    history_to_metadata,
    metrics_to_frame,
    metrics_to_metadata,
    frame_to_metrics,
)


def _read(file_format):
    """Read cells as text, so that an id 007 is kept, and then convert the columns that hold numbers."""
    with file_format.open() as handle:
        frame = pd.read_csv(handle, sep='\t', dtype=str, keep_default_na=False, na_values=[''])
    # classes are text, also those that look like numbers
    texts = ['id', 'prediction', 'true'] if frame.columns.str.startswith(PROBABILITY).any() else ['id']
    for column in frame.columns.difference(texts):
        frame[column] = _typed(frame[column])
    return frame


def _typed(cells):
    filled = cells.dropna()
    if not all(is_number(cell, finite=False) for cell in filled):
        return cells
    # 15 digits: what a float, and so Metadata, holds exactly
    if len(filled) and len(filled) == len(cells) and filled.str.fullmatch('[+-]?[0-9]{1,15}').all():
        return cells.astype('int64')
    return cells.astype(float)


def _numbered(frame):
    """Return `frame` as Metadata, which needs an id for each row: its number."""
    # padded with zeros, so that text sorts like numbers
    width = len(str(len(frame)))
    frame.index = pd.Index([f'{row:0{width}d}' for row in range(1, len(frame) + 1)], name='id')
    return _to_metadata(frame)


def _to_metadata(frame):
    """Return `frame` as Metadata, without what Metadata refuse: infinity, blank text, reserved names."""
    frame = _without_refused_ids(frame).replace([np.inf, -np.inf], np.nan).replace(r'^\s*$', np.nan, regex=True)
    return qiime2.Metadata(frame.rename(columns=lambda name: f'{name} (column)' if _is_reserved(name) else name))


def _without_refused_ids(frame):
    ids = frame.index.str.strip()
    refused = ids.str.startswith('#') | ids.map(_is_reserved).astype(bool) | ids.duplicated()
    if refused.any():
        warnings.warn(
            f'The metadata leave out {counted(int(refused.sum()), "sample")} whose ID is not allowed in QIIME 2 '
            f'metadata (e.g. {frame.index[refused][0]}).',
            AAMWarning,
            stacklevel=2,
        )
    return frame[~refused]


def _is_reserved(name):
    return name.strip() in RESERVED_EXACT or name.strip().lower() in RESERVED_LOWER
