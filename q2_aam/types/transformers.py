"""From formats to DataFrame and Metadata, and from DataFrames of details and metrics back to their formats.

What they do with the tables is in :mod:`q2_aam.data.frames`, which is tested on stacks without QIIME 2, too.
"""

import tempfile

import pandas as pd
import qiime2

from q2_aam.data.atomic import writing_output
from q2_aam.data.frames import for_metadata, numbered, read_frame

from .details import AAMPredictionDetailsFormat
from .history import AAMTrainingHistoryDirectoryFormat, AAMTrainingHistoryFormat, AAMTrainingPointsFormat
from .metrics import AAMMetricsFormat


def details_to_frame(details: AAMPredictionDetailsFormat) -> pd.DataFrame:
    return _read(details).set_index('id')


def details_to_metadata(details: AAMPredictionDetailsFormat) -> qiime2.Metadata:
    return qiime2.Metadata(for_metadata(_read(details).set_index('id')))


def frame_to_details(frame: pd.DataFrame) -> AAMPredictionDetailsFormat:
    return _written(AAMPredictionDetailsFormat, frame, index_label='id')


def log_to_frame(history: AAMTrainingHistoryFormat) -> pd.DataFrame:
    return _read(history)


def points_to_frame(points: AAMTrainingPointsFormat) -> pd.DataFrame:
    return _read(points)


def history_to_frame(history: AAMTrainingHistoryDirectoryFormat) -> pd.DataFrame:
    return history.history.view(pd.DataFrame)


def history_to_metadata(history: AAMTrainingHistoryDirectoryFormat) -> qiime2.Metadata:
    return qiime2.Metadata(for_metadata(numbered(history_to_frame(history))))


def metrics_to_frame(metrics: AAMMetricsFormat) -> pd.DataFrame:
    return _read(metrics)


def metrics_to_metadata(metrics: AAMMetricsFormat) -> qiime2.Metadata:
    return qiime2.Metadata(for_metadata(numbered(_read(metrics))))


def frame_to_metrics(frame: pd.DataFrame) -> AAMMetricsFormat:
    return _written(AAMMetricsFormat, frame, index=False)


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
    with file_format.open() as handle:
        return read_frame(handle)


def _written(kind, frame, **how):
    """Return a file of this format that holds the frame."""
    # from making the file to closing it, which writes its end: a full disk may show at any moment
    with writing_output(tempfile.gettempdir()):
        file = kind()
        with file.open() as handle:
            frame.to_csv(handle, sep='\t', lineterminator='\n', **how)
    # the framework would read the first rows only
    file.validate('max')
    return file
