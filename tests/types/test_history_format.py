"""The training history is read row by row, and can be looked at as DataFrame and Metadata."""

import numpy as np
import pandas as pd
import pytest
import qiime2
from qiime2.plugin import ValidationError

from q2_aam.runtime.history import HISTORY_FILE, POINTS_FILE, History
from q2_aam.types import (
    AAMTrainingHistory,
    AAMTrainingHistoryDirectoryFormat,
    AAMTrainingPointsFormat,
)


@pytest.fixture
def folder(tmp_path):
    """A history of 12 rows and 3 points, as training writes it."""
    history = History()
    for epoch in range(6):
        history.log(epoch * 13, epoch, 'training', loss=1 / (epoch + 3))
        history.log(epoch * 13, epoch, 'validation', r2=np.nan if epoch else np.inf)
    history.add_points('distance', 'validation', [0.1, 0.2, 0.3], [0.1, 0.2, 1 / 3], np.random.default_rng(1))
    history.save(tmp_path)
    return tmp_path


def validate(folder, level='max'):
    AAMTrainingHistoryDirectoryFormat(str(folder), mode='r').validate(level)


def test_what_training_saves_is_accepted(folder):
    validate(folder, 'min')
    validate(folder)


def test_a_history_without_points_is_accepted(folder):
    (folder / POINTS_FILE).write_text('plot\tpart\tpredicted\ttrue\n')
    validate(folder)


@pytest.mark.parametrize(
    'file, old, new, sentence',
    [
        (
            HISTORY_FILE,
            'step\tepoch',
            'epoch\tstep',
            "The header must be step, epoch, part, metric, value, but it is 'epo",
        ),
        (POINTS_FILE, 'plot\t', 'plots\t', "The header must be plot, part, predicted, true, but it is 'plots', "),
        (HISTORY_FILE, '\tinf\n', '\n', 'Line 3 has 4 cells, but the header has 5 columns.'),
        (HISTORY_FILE, '\tinf\n', '\tgood\n', "Column value must hold numbers, but line 3 has 'good'."),
        (HISTORY_FILE, '\n65\t', '\nnan\t', "Column step must hold numbers, but line 12 has 'nan'."),
        (HISTORY_FILE, '\tr2\t', '\t\t', 'Column metric is empty at line 3.'),
        (POINTS_FILE, '\t0.2\n', '\t\n', "Column true must hold numbers, but line 3 has ''."),
    ],
)
def test_wrong_content_is_refused_in_one_sentence(folder, file, old, new, sentence):
    path = folder / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ValidationError) as error:
        validate(folder)
    assert str(error.value).split('\n\n')[-1].startswith(sentence)


@pytest.mark.parametrize('level', ['min', 'max'])
def test_a_history_without_rows_is_refused(folder, level):
    (folder / HISTORY_FILE).write_text('step\tepoch\tpart\tmetric\tvalue\n')
    with pytest.raises(ValidationError, match='The training history has no rows.'):
        validate(folder, level)


def test_level_min_reads_the_first_rows_only(folder):
    path = folder / HISTORY_FILE
    path.write_text(path.read_text() + 'torn')
    validate(folder, 'min')
    with pytest.raises(ValidationError, match='Line 14 has 1 cells'):
        validate(folder)


def test_history_and_points_are_viewed_as_frames(folder):
    artifact = qiime2.Artifact.import_data(AAMTrainingHistory, str(folder))
    frame = artifact.view(pd.DataFrame)
    assert frame.columns.tolist() == ['step', 'epoch', 'part', 'metric', 'value']
    assert frame.dtypes.astype(str).tolist() == ['int64', 'int64', 'object', 'object', 'float64']
    assert frame['value'].tolist()[::2] == [1 / (epoch + 3) for epoch in range(6)]
    points = artifact.view(AAMTrainingHistoryDirectoryFormat).points
    frame = points.view(pd.DataFrame)
    assert frame['true'].tolist() == [0.1, 0.2, 1 / 3]
    assert points.view(AAMTrainingPointsFormat).path.name == POINTS_FILE


def test_history_is_viewed_as_metadata_with_an_id_for_each_row(folder):
    metadata = qiime2.Artifact.import_data(AAMTrainingHistory, str(folder)).view(qiime2.Metadata)
    assert metadata.ids[:2] == ('01', '02') and metadata.ids[-1] == '12'
    types = {name: column.type for name, column in metadata.columns.items()}
    assert types == {
        'step': 'numeric',
        'epoch': 'numeric',
        'part': 'categorical',
        'metric': 'categorical',
        'value': 'numeric',
    }
    assert metadata.get_column('value').to_series().isna().sum() == 6
