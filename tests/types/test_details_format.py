"""Prediction details are refused where their content is wrong, and keep their numbers and text on the way."""

import tempfile

import numpy as np
import pandas as pd
import pytest
import qiime2
from q2_types.sample_data import SampleData
from qiime2.plugin import ValidationError

from q2_aam.errors import AAMWarning, MachineError
from q2_aam.types import AAMPredictionDetails, AAMPredictionDetailsFormat

DETAILS = SampleData[AAMPredictionDetails]
HEADER = 'id\tpart\tprediction\ttrue\n'
LONG = HEADER + ''.join(f's{i}\ttest\t1.5\t2\n' for i in range(10))


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / 'details.tsv'
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return AAMPredictionDetailsFormat(str(path), mode='r')

    return write


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            'part': ['training', 'test', 'new', 'validation'],
            'prediction': [0.1, 1 / 3, np.nan, -2e-9],
            'true': [0.0, 1.0, np.nan, np.nan],
            'reads_used': [1443, 94534, 0, 7],
            'flag': ['', 'wrong "orientation"', '1_2', ''],
            'empty': [np.nan] * 4,
        },
        index=pd.Index(['007', '10249.C001', 'with\ttab', 'NA'], name='id'),
    )


@pytest.mark.parametrize('text', [LONG, HEADER + 's\tnew\t\t\n', HEADER + 's\ttest\t-1.5E-3\tany words\n'])
def test_valid_details_are_accepted(written, text):
    written(text).validate('min')
    written(text).validate('max')


@pytest.mark.parametrize(
    'text, sentence',
    [
        ('', 'The header must begin with id, part, prediction, but it is empty.'),
        (
            'id\tprediction\tpart\n',
            "The header must begin with id, part, prediction, but it is 'id', 'prediction', 'part'.",
        ),
        (HEADER, 'The prediction details have no rows.'),
        (HEADER + 's\ttest\t1\n', 'Line 2 has 3 cells, but the header has 4 columns.'),
        (HEADER + 's\ttest\t1\t2\t3\n', 'Line 2 has 5 cells, but the header has 4 columns.'),
        (HEADER + '\ttest\t1\t2\n', 'The sample ID is empty at line 2.'),
        (
            HEADER + 's\ttesting\t1\t2\n',
            "The part of sample 's' (line 2) must be one of training, validation, test, new, but it is 'testing'.",
        ),
        (
            HEADER + 's\ttest\tmany\t2\n',
            "The prediction of sample 's' (line 2) must be a number or empty, but it is 'many'.",
        ),
        (HEADER + 's\ttest\tnan\t2\n', "The prediction of sample 's' (line 2) must be a number or empty"),
        (HEADER + 's\ttest\tinf\t2\n', "The prediction of sample 's' (line 2) must be a number or empty"),
        (HEADER + 's\ttest\t1_2\t2\n', "The prediction of sample 's' (line 2) must be a number or empty"),
        (HEADER + 's\ttest\t1\t2\ns\tnew\t1\t\n', "Sample IDs must be unique: 's' occurs again at line 3."),
        (
            'id\tpart\tprediction\tpart\ns\tnew\t1\t\n',
            "Column names must be unique: 'part' occurs twice in the header.",
        ),
        ('id\tpart\tprediction\t\ns\tnew\t1\t\n', 'Column 4 has no name.'),
        (b'\x80\x04\x95\xff\xfe', 'The file is not tab-separated text: '),
        (HEADER + '"s\ttest\t1\t2\n', 'The file is not tab-separated text: '),
    ],
)
def test_wrong_content_is_refused_in_one_sentence(written, text, sentence):
    with pytest.raises(ValidationError) as error:
        written(text).validate('max')
    message = str(error.value).split('\n\n')[-1]
    assert message.startswith(sentence) and message.endswith('.')


CLASSES = 'id\tpart\tprediction\ttrue\tprobability_10\tprobability_mid way\n'


@pytest.mark.parametrize('row', ['s\ttest\t10\t10\t0.75\t0.25\n', 's\tnew\t\t\t\t\n', 's\ttest\tmid way\t10\t0\t1\n'])
def test_classes_with_their_probabilities_are_accepted(written, row):
    written(CLASSES + row).validate('max')


@pytest.mark.parametrize(
    'row, sentence',
    [
        (
            's\ttest\t10.0\t10\t0.75\t0.25\n',
            "The prediction of sample 's' (line 2) must be one of the classes '10', 'mid way' or empty, but "
            "it is '10.0'.",
        ),
        (
            's\ttest\t10\t10\t0.75\t1.25\n',
            "The probability of class 'mid way' for sample 's' (line 2) must be a number from 0 to 1 or empty, but it "
            "is '1.25'.",
        ),
        (
            's\ttest\t10\t10\tnan\t0.25\n',
            "The probability of class '10' for sample 's' (line 2) must be a number from 0 to 1 or empty, but it is "
            "'nan'.",
        ),
    ],
)
def test_wrong_classes_and_probabilities_are_refused_in_one_sentence(written, row, sentence):
    with pytest.raises(ValidationError) as error:
        written(CLASSES + row).validate('max')
    assert str(error.value).split('\n\n')[-1] == sentence


INTERVALS = 'id\tpart\tprediction\ttrue\tlower_bound\tupper_bound\n'


@pytest.mark.parametrize('row', ['s\ttest\t1\t2\t-0.5\t3\n', 's\ttest\t1\t2\t1\t1\n', 's\ttraining\t1\t2\t\t\n'])
def test_intervals_are_accepted_and_may_be_empty(written, row):
    written(INTERVALS + row).validate('max')


@pytest.mark.parametrize(
    'lower, upper', [('3', '2'), ('', '2'), ('1', ''), ('nan', '2'), ('low', 'high'), ('-inf', '2')]
)
def test_intervals_that_are_none_are_refused_in_one_sentence(written, lower, upper):
    with pytest.raises(ValidationError) as error:
        written(f'{INTERVALS}s\ttest\t1\t2\t{lower}\t{upper}\n').validate('max')
    assert str(error.value).split('\n\n')[-1] == (
        "The prediction interval of sample 's' (line 2) must be two numbers, the lower one first, or empty, but it is "
        f'{lower!r} to {upper!r}.'
    )


def test_classes_that_look_like_numbers_stay_text_on_the_way():
    frame = pd.DataFrame(
        {
            'part': ['test', 'new'],
            'prediction': ['01', np.nan],
            'true': ['1.0', np.nan],
            'probability_01': [0.6, np.nan],
            'probability_1.0': [0.4, np.nan],
        },
        index=pd.Index(['a', 'b'], name='id'),
    )
    artifact = qiime2.Artifact.import_data(DETAILS, frame)
    pd.testing.assert_frame_equal(artifact.view(pd.DataFrame), frame)
    metadata = artifact.view(qiime2.Metadata)
    kinds = [column.type for column in metadata.columns.values()]
    assert kinds == ['categorical', 'categorical', 'categorical', 'numeric', 'numeric']
    assert metadata.get_column('prediction').to_series()['a'] == '01'


def test_classes_that_no_sample_is_known_to_be_of_are_metadata_too():
    frame = pd.DataFrame(
        {'part': 'new', 'prediction': 'x', 'true': np.nan, 'probability_x': 0.75, 'probability_y': 0.25},
        index=pd.Index(['a'], name='id'),
    )
    metadata = qiime2.Artifact.import_data(DETAILS, frame).view(qiime2.Metadata)
    assert metadata.get_column('true').to_series().isna().all()


def test_level_min_reads_the_first_rows_only(written):
    text = LONG + 's99\tnowhere\t1\t2\n'
    written(text).validate('min')
    with pytest.raises(ValidationError, match="The part of sample 's99' .line 12."):
        written(text).validate('max')


def test_a_frame_comes_back_as_it_went(frame):
    artifact = qiime2.Artifact.import_data(DETAILS, frame)
    assert str(artifact.type) == 'SampleData[AAMPredictionDetails]'
    pd.testing.assert_frame_equal(artifact.view(pd.DataFrame), frame.replace({'flag': {'': np.nan}}))


def test_a_frame_of_wrong_content_makes_no_artifact(frame):
    with pytest.raises(ValidationError, match="Sample IDs must be unique: 'same' occurs again"):
        qiime2.Artifact.import_data(DETAILS, frame.set_index(pd.Index(['a', 'b', 'same', 'same'])))


def test_metadata_have_numbers_as_numbers_and_text_as_categories(frame):
    metadata = qiime2.Artifact.import_data(DETAILS, frame).view(qiime2.Metadata)
    assert {name: column.type for name, column in metadata.columns.items()} == {
        'part': 'categorical',
        'prediction': 'numeric',
        'true': 'numeric',
        'reads_used': 'numeric',
        'flag': 'categorical',
        'empty': 'numeric',
    }
    assert metadata.ids == tuple(frame.index)
    pd.testing.assert_series_equal(metadata.get_column('prediction').to_series(), frame['prediction'])
    assert metadata.get_column('flag').to_series()['with\ttab'] == '1_2'


def test_metadata_rename_reserved_columns_and_hold_no_infinity_or_blanks(frame):
    frame = frame.assign(flag=['x', '  ', 'y', 'y'], true=[1.0, np.inf, -np.inf, 2.0]).rename(
        columns={'empty': 'SampleID'}
    )
    metadata = qiime2.Artifact.import_data(DETAILS, frame).view(qiime2.Metadata)
    assert 'SampleID (column)' in metadata.columns
    assert metadata.get_column('true').to_series().isna().tolist() == [False, True, True, False]
    assert metadata.get_column('flag').to_series().isna().tolist() == [False, True, False, False]


def test_samples_whose_id_metadata_refuse_are_left_out_with_a_warning(frame):
    frame.index = pd.Index(['#1', 'fine', 'Sample-ID', ' fine'], name='id')
    artifact = qiime2.Artifact.import_data(DETAILS, frame)
    with pytest.warns(
        AAMWarning, match=r"^The metadata leave out 3 samples whose ID is not allowed .* \(e.g. '#1'\)\.$"
    ):
        metadata = artifact.view(qiime2.Metadata)
    assert metadata.ids == ('fine',)
    assert artifact.view(pd.DataFrame).index.tolist() == ['#1', 'fine', 'Sample-ID', ' fine']


@pytest.mark.parametrize('what', ['make', 'write', 'close'])
def test_a_full_disk_is_one_sentence(what, frame, full_disk):
    full_disk(what)
    with pytest.raises(MachineError) as error:
        qiime2.Artifact.import_data(DETAILS, frame)
    assert str(error.value) == (
        f'The result cannot be written into {tempfile.gettempdir()} (No space left on device); free space on its disk, '
        'or set the environment variable TMPDIR to a folder on another disk.'
    )
