"""The format of importance details: what it refuses, in one sentence, and what metadata it makes."""

import pandas as pd
import pytest
import qiime2
from qiime2.plugin import ValidationError

from q2_aam.data.importance import CLADES_FILE, DETAILS_FILE, SAMPLES_FILE
from q2_aam.types import AAMImportanceDetailsDirectoryFormat

DETAILS = (
    'id\timportance\teffect\tclass\teffect_on_01\tshare_of_samples\n'
    'a\t0.5\t-0.25\t01\t-0.25\t1.0\nb\t0\t0.0\t02\t\t0.5\n'
)
CLADES = 'level\tclade\timportance\teffect\n1\tk__B\t0.5\t-1\n2\tk__B; p__F\t0.25\t1e-3\n'
SAMPLES = 'sample\tid\tshare_of_reads\tprediction\teffect\nS1\ta\t0.25\t3.5\t-0.25\nS1\tb\t0.0\t3.5\t\n'


@pytest.fixture
def written(tmp_path):
    """Write the three tables, some of them as given: -> the format."""

    def write(details=DETAILS, clades=CLADES, samples=SAMPLES):
        for name, text in ((DETAILS_FILE, details), (CLADES_FILE, clades), (SAMPLES_FILE, samples)):
            (tmp_path / name).write_text(text)
        return AAMImportanceDetailsDirectoryFormat(str(tmp_path), mode='r')

    return write


def test_valid_details_are_metadata_and_a_table_whose_classes_stay_text(written):
    made = written()
    made.validate('max')
    artifact = qiime2.Artifact.import_data('FeatureData[AAMImportanceDetails]', made)
    frame = artifact.view(pd.DataFrame)
    assert list(frame.index) == ['a', 'b'] and list(frame['class']) == ['01', '02'] and frame['effect']['a'] == -0.25
    metadata = artifact.view(qiime2.Metadata)
    assert metadata.columns['effect'].type == 'numeric' and metadata.columns['class'].type == 'categorical'
    assert metadata.id_header == 'id' and metadata.ids == ('a', 'b')


def test_without_clades_or_samples_it_is_valid_too(written):
    written(clades=CLADES.split('\n')[0] + '\n', samples=SAMPLES.split('\n')[0] + '\n').validate('max')


@pytest.mark.parametrize(
    'change, message',
    [
        (
            {'details': DETAILS.replace('\t0.5\t-0.25\t', '\t-0.5\t-0.25\t')},
            "must not be negative, but it is '-0.5' at",
        ),
        (
            {'details': DETAILS.replace('\t-0.25\t01', '\tmuch\t01')},
            "Column 'effect' must hold numbers, but line 2 has",
        ),
        (
            {'details': DETAILS.replace('\t-0.25\t1.0', '\tmuch\t1.0')},
            "Column 'effect_on_01' must hold numbers, but line",
        ),
        ({'details': DETAILS.replace('\t-0.25\t01', '\tnan\t01')}, "Column 'effect' must hold numbers, but line 2 has"),
        ({'details': DETAILS.replace('b\t0', 'a\t0')}, "Feature IDs must be unique: 'a' occurs again at line 3"),
        ({'details': DETAILS.replace('b\t0', ' \t0')}, 'Column id is empty at line 3'),
        ({'details': DETAILS.split('\n')[0] + '\n'}, 'The importance details have no rows'),
        ({'details': DETAILS.replace('\t1.0\n', '\t1.5\n')}, 'must hold shares from 0 to 1, but line 2 has'),
        (
            {'details': DETAILS.replace('importance', 'weight')},
            'The header must begin with id, importance, effect, but',
        ),
        ({'details': DETAILS.replace('class\t', 'effect\t')}, "Column names must be unique: 'effect' occurs twice"),
        (
            {'clades': CLADES.replace('2\tk__B; p__F', '1\tk__B')},
            "Clades must be unique: 'k__B' occurs again at line 3",
        ),
        ({'clades': CLADES.replace('2\tk', 'two\tk')}, "Column 'level' must hold numbers, but line 3 has 'two'"),
        (
            {'samples': SAMPLES.replace('\tb\t', '\ta\t')},
            "Pairs of sample and feature must be unique: 'a' occurs again",
        ),
        (
            {'samples': SAMPLES.replace('0.25\t3.5', '\t3.5')},
            "Column 'share_of_reads' must hold numbers, but line 2 has",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(written, change, message):
    with pytest.raises(ValidationError, match=message.replace('(', r'\(')):
        written(**change).validate('max')
