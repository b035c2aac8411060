"""What tests of bundles share: copies of sound models, to be damaged."""

import hashlib
import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from q2_aam import bundle


@pytest.fixture
def encoder(tiny_encoder, tmp_path):
    """A copy of a sound encoder, to be damaged."""
    return shutil.copytree(tiny_encoder.folder, tmp_path / 'encoder')


@pytest.fixture
def regressor(tiny_regressor, tmp_path):
    """A copy of a sound regressor, to be damaged."""
    return shutil.copytree(tiny_regressor.folder, tmp_path / 'regressor')


@pytest.fixture
def classifier(tiny_classifier, tmp_path):
    """A copy of a sound classifier, to be damaged."""
    return shutil.copytree(tiny_classifier.folder, tmp_path / 'classifier')


@pytest.fixture
def seal():
    """(folder): make the checksums in a changed model match again, as whoever forges one would."""

    def write(folder):
        config, card = (json.loads((folder / name).read_text()) for name in (bundle.CONFIG_FILE, bundle.CARD_FILE))
        if 'weights_sha256' in config:
            config['weights_sha256'] = hashlib.sha256((folder / bundle.MODEL_FILE).read_bytes()).hexdigest()
        (folder / bundle.CONFIG_FILE).write_text(json.dumps(config))
        if 'config_sha256' in card:
            card['config_sha256'] = hashlib.sha256((folder / bundle.CONFIG_FILE).read_bytes()).hexdigest()
        (folder / bundle.CARD_FILE).write_text(json.dumps(card))

    return write


@pytest.fixture
def change_json(seal):
    """(path, change of its fields): change a file of a model and seal it."""

    def change_fields(path, change):
        fields = json.loads(path.read_text())
        change(fields)
        path.write_text(json.dumps(fields))
        seal(path.parent)

    return change_fields


@pytest.fixture
def change_weights(seal):
    """(folder, change of {name: tensor}): change weights or arrays of a model and seal it."""

    def change_tensors(folder, change):
        tensors = load_file(folder / bundle.MODEL_FILE)
        change(tensors)
        save_file(tensors, folder / bundle.MODEL_FILE)
        seal(folder)

    return change_tensors
