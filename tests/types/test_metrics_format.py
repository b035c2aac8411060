"""Metrics are read row by row, and can be looked at as DataFrame and Metadata."""

import tempfile

import numpy as np
import pandas as pd
import pytest
import qiime2
from qiime2.plugin import ValidationError

from q2_aam.errors import MachineError
from q2_aam.evaluation.out_of_fold import OURS, OutOfFold
from q2_aam.evaluation.verdict import compare
from q2_aam.types import AAMMetrics, AAMMetricsFormat


@pytest.fixture
def frame():
    ids = np.array(list('abcdefgh'), dtype=object)
    predicted = {OURS: np.arange(8.0), 'ridge': np.ones(8), 'gaussian_process': np.full(8, np.nan)}
    return compare(OutOfFold('age "x"', ids, ids, np.zeros(8, int), np.arange(8) % 2, np.zeros(8), predicted), 1)[0]


def test_what_a_comparison_gives_is_kept_as_it_is(frame):
    artifact = qiime2.Artifact.import_data(AAMMetrics, frame)
    pd.testing.assert_frame_equal(artifact.view(pd.DataFrame).fillna({'against': '', 'note': ''}), frame)


def test_metrics_are_viewed_as_metadata_with_an_id_for_each_row(frame):
    metadata = qiime2.Artifact.import_data(AAMMetrics, frame).view(qiime2.Metadata)
    assert metadata.ids[0] == '01' and len(metadata.ids) == len(frame)
    kinds = {name: column.type for name, column in metadata.columns.items()}
    assert [name for name, kind in kinds.items() if kind == 'numeric'] == [
        'samples', 'value', 'sd', 'lower', 'upper',
    ]  # fmt: skip
    assert metadata.get_column('note').to_series().iloc[0] == frame['note'].iloc[0]


@pytest.mark.parametrize(
    'old, new, sentence',
    [
        (
            'method\tagainst',
            'against\tmethod',
            'The header must be method, against, repeat, fold, metric, samples, value',
        ),
        ('\nAAM\t', '\n\t', 'Column method is empty at line 2.'),
        ('\tverdict\t', '\t \t', 'Column metric is empty at line 2.'),
        ('\tverdict\t8\t', '\tverdict\tfour\t', "Column samples must hold numbers or be empty, but line 2 has 'four'."),
        ('\tverdict\t8\t', '\tverdict\t8\t\t', 'Line 2 has 12 cells, but the header has 11 columns.'),
    ],
)
def test_wrong_content_is_refused_in_one_sentence(frame, tmp_path, old, new, sentence):
    path = tmp_path / 'metrics.tsv'
    text = frame.to_csv(sep='\t', index=False)
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValidationError) as caught:
        AAMMetricsFormat(str(path), mode='r').validate()
    assert sentence in str(caught.value)


def test_metrics_without_rows_are_refused(frame, tmp_path):
    path = tmp_path / 'metrics.tsv'
    frame[:0].to_csv(path, sep='\t', index=False)
    with pytest.raises(ValidationError, match='The metrics have no rows.'):
        AAMMetricsFormat(str(path), mode='r').validate()


@pytest.mark.parametrize('what', ['make', 'write', 'close'])
def test_a_full_disk_is_one_sentence(what, frame, full_disk):
    full_disk(what)
    with pytest.raises(MachineError) as error:
        qiime2.Artifact.import_data(AAMMetrics, frame)
    assert str(error.value) == (
        f'The result cannot be written into {tempfile.gettempdir()} (No space left on device); free space on its disk, '
        'or set the environment variable TMPDIR to a folder on another disk.'
    )
