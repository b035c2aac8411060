"""A model is exactly its files: what is damaged, foreign or pickled is refused in a sentence of its own."""

import os
import pickle

import pytest
import qiime2
from qiime2.plugin import ValidationError

from q2_aam import bundle
from q2_aam.types import AAMEncoder, AAMModelDirectoryFormat, AAMRegressor


@pytest.fixture
def checked(monkeypatch):
    """Levels with which the bundle was checked; what the check itself finds is tested with the bundle."""
    levels = []
    monkeypatch.setattr(bundle, 'check', lambda folder, level='max': levels.append(level))
    return levels


@pytest.fixture
def folder(tmp_path):
    for name in bundle.FILES:
        (tmp_path / name).write_bytes(b'{}')
    return tmp_path


def refusal(folder):
    with pytest.raises(ValidationError) as error:
        AAMModelDirectoryFormat(str(folder), mode='r').validate()
    return str(error.value)


def test_a_valid_bundle_is_accepted_and_checked_at_the_level_asked_for(folder, checked):
    for level in ('min', 'max'):
        AAMModelDirectoryFormat(str(folder), mode='r').validate(level)
    assert checked == ['min', 'max']


def test_the_message_of_the_check_is_the_only_message(folder, monkeypatch):
    def check(folder, level='max'):
        raise ValueError('The file config.json of the model is not JSON.')

    monkeypatch.setattr(bundle, 'check', check)
    assert refusal(folder) == 'The file config.json of the model is not JSON.'


@pytest.mark.parametrize('name', ['notes.txt', '.hidden'])
def test_a_foreign_file_is_refused_hidden_or_not(folder, checked, name):
    (folder / name).write_text('hello')
    assert refusal(folder).startswith(
        f'The model contains {name!r}, which does not belong there: a model is the files '
    )


@pytest.mark.parametrize('name', ['folder', '.git'])
def test_a_folder_is_refused(folder, checked, name):
    (folder / name).mkdir()
    assert refusal(folder).startswith(f'The model contains {name!r}, which does not belong there')


def test_a_link_to_nowhere_is_refused(folder, checked):
    os.symlink(folder / 'gone', folder / 'link')
    assert refusal(folder).startswith("The model contains 'link', which does not belong there")


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
@pytest.mark.parametrize('name', ['extra.bin', '.extra', bundle.MODEL_FILE])
def test_a_pickle_is_refused_under_any_name(folder, checked, name, protocol):
    (folder / name).write_bytes(pickle.dumps({'weights': [1.0, 2.0]}, protocol=protocol))
    assert refusal(folder).startswith(
        f'The model contains a pickled file, {name!r}, which could run arbitrary code when loaded; use a model '
    )


def test_what_torch_save_writes_is_refused_as_pickled(folder, checked):
    (folder / bundle.MODEL_FILE).write_bytes(b'PK\x03\x04' + bytes(100))
    assert "a pickled file, 'model.safetensors'" in refusal(folder)


@pytest.mark.parametrize('size', [0x0280, 0x030480, 0x120580])
def test_a_safetensors_length_that_looks_like_a_pickle_is_none(folder, checked, size):
    (folder / bundle.MODEL_FILE).write_bytes(size.to_bytes(8, 'little') + b'{}')
    AAMModelDirectoryFormat(str(folder), mode='r').validate()


@pytest.mark.parametrize('name', bundle.FILES)
def test_a_missing_file_is_named(folder, checked, name):
    (folder / name).unlink()
    assert refusal(folder) == f'The model lacks the file {name}; use a model that was trained with this plugin.'


def test_a_file_is_not_a_model(tmp_path):
    path = tmp_path / 'model.safetensors'
    path.write_bytes(b'')
    assert 'is not a directory' in refusal(path)


def test_no_artifact_is_made_of_a_folder_with_a_hidden_file(folder, checked):
    assert str(qiime2.Artifact.import_data(AAMEncoder, str(folder)).type) == 'AAMEncoder'
    (folder / '.hidden').write_text('hello')
    with pytest.raises(ValidationError, match="^The model contains '.hidden', which does not belong there"):
        qiime2.Artifact.import_data(AAMRegressor, str(folder))
