"""AAMSettings: parameters of a fit, every one of which is checked."""

import json

import pytest
from qiime2.plugin import ValidationError
from qiime2.sdk import Artifact

from q2_aam.config.search import SETTINGS_FILE
from q2_aam.types import AAMSettingsDirectoryFormat, AAMSettingsFormat

GOOD = {'format_version': 1, 'kind': 'regressor', 'encoder': False, 'parameters': {'width': 64, 'freeze': 'auto'}}


@pytest.fixture
def written(tmp_path):
    def write(content):
        path = tmp_path / SETTINGS_FILE
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return AAMSettingsFormat(str(path), mode='r')

    return write


def test_settings_are_valid_and_become_an_artifact(written, tmp_path):
    written(GOOD).validate('max')
    artifact = Artifact.import_data('AAMSettings', str(tmp_path / SETTINGS_FILE), AAMSettingsFormat)
    folder = artifact.view(AAMSettingsDirectoryFormat)
    assert json.loads((folder.path / SETTINGS_FILE).read_text('utf-8')) == GOOD


@pytest.mark.parametrize('level', ['min', 'max'])
@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'\xff\xfe', 'The settings are not UTF-8 text.'),
        (b'width: 64', 'The settings are not JSON.'),
        (b' ' * (2**20 + 1), 'The settings are larger than 1,048,576 characters.'),
        (
            GOOD | {'parameters': {'tracker': 'wandb'}},
            "The settings have a parameter that no fit takes from them: 'tra",
        ),
        (GOOD | {'parameters': {'width': 4}}, 'Parameter width must be a whole number from '),
    ],
    ids=['bytes', 'text', 'long', 'tracker', 'width'],
)
def test_anything_else_is_refused(written, content, message, level):
    with pytest.raises(ValidationError, match=message):
        written(content).validate(level)
