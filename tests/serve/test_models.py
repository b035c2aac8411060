"""A model is read from a folder or an artifact: no name in the archive becomes a path, no size is believed."""

import dataclasses
import uuid
import zipfile

import pytest

from q2_aam import bundle
from q2_aam.errors import UserError
from q2_aam.serve import models
from q2_aam.serve.limits import Limits
from q2_aam.serve.models import open_model, unpack
from q2_aam.serve.schema import description_of

from .conftest import FROZEN

UUID = str(uuid.UUID(int=7, version=4))


def artifact(path, names=bundle.FILES, kind='regressor', more=(), root=UUID):
    """Write an artifact as QIIME 2 does."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f'{root}/metadata.yaml', f'uuid: {root}\n')
        archive.writestr(f'{root}/provenance/action/action.yaml', 'action: {}\n')
        for name in names:
            archive.write(FROZEN / kind / name, f'{root}/data/{name}')
        for name, content in more:
            archive.writestr(name, content)
    return path


def refusal(path):
    with pytest.raises(UserError) as error:
        open_model(path)
    assert '\n' not in str(error.value)
    return str(error.value)


def test_an_artifact_and_a_folder_are_the_same_model(tmp_path):
    one, other = open_model(artifact(tmp_path / 'model.qza')), open_model(FROZEN / 'regressor')
    assert one.model.config == other.model.config
    assert one.card['uuid'] == UUID and one.card | {'uuid': None} == other.card


def test_nothing_but_the_three_files_is_written_whatever_else_there_is(tmp_path):
    more = [('../../evil', 'x'), ('/etc/evil', 'x'), (f'{UUID}/data/../../../evil', 'x'), (f'{UUID}/data/a/b', 'x')]
    folder = tmp_path / 'inside' / 'deep'
    folder.mkdir(parents=True)
    assert unpack(artifact(tmp_path / 'model.qza', more=more), folder) == UUID
    assert {path.name for path in tmp_path.rglob('*') if path.is_file()} == {'model.qza', *bundle.FILES}


@pytest.mark.parametrize('name', bundle.FILES)
def test_a_missing_file_and_one_of_another_artifact_are_refused(tmp_path, name):
    others = [one for one in bundle.FILES if one != name]
    words = f"or damaged ('it must have one file data/{name}')"
    assert words in refusal(artifact(tmp_path / 'lacks.qza', others))
    other = [(f'{uuid.UUID(int=8, version=4)}/data/{name}', b'{}')]
    # of the first file that is looked for
    assert 'it must have one file data/' in refusal(artifact(tmp_path / 'two.qza', more=other))


def test_a_file_that_unpacks_to_more_than_a_model_has_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(models, 'CHUNK', 1000)
    monkeypatch.setitem(models.MAX_SIZES, bundle.MODEL_FILE, 5000)
    assert 'its data/model.safetensors has more than 5,000 bytes' in refusal(artifact(tmp_path / 'bomb.qza'))


def test_too_many_entries_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(models, 'MAX_ENTRIES', 4)
    assert 'it has 5 entries, of at most 4' in refusal(artifact(tmp_path / 'many.qza'))


def test_what_is_no_archive_and_what_is_not_there_is_said(tmp_path):
    (tmp_path / 'text.qza').write_text('hello')
    assert 'is no artifact of a model of this plugin, or damaged' in refusal(tmp_path / 'text.qza')
    assert refusal(tmp_path / 'gone.qza').startswith('There is no model at ')


def test_a_damaged_model_and_an_encoder_are_refused(tmp_path):
    with zipfile.ZipFile(artifact(tmp_path / 'changed.qza', bundle.FILES[1:]), 'a') as archive:
        archive.writestr(f'{UUID}/data/{bundle.MODEL_FILE}', b'no weights')
    assert 'does not match the checksum' in refusal(tmp_path / 'changed.qza')
    assert refusal(FROZEN / 'encoder').startswith('An encoder predicts nothing that could be served; give a regressor')


def test_entries_whose_bytes_are_damaged_are_refused(tmp_path):
    path = artifact(tmp_path / 'damaged.qza')
    name = f'{UUID}/data/{bundle.MODEL_FILE}'
    with zipfile.ZipFile(path) as archive:
        begin = archive.getinfo(name).header_offset + 30 + len(name)
    content = bytearray(path.read_bytes())
    # no block of a compressed stream begins so
    content[begin] = 255
    path.write_bytes(content)
    assert 'is no artifact of a model of this plugin, or damaged' in refusal(path)


def test_who_asks_a_model_that_knows_names_is_told_to_send_no_sequences():
    served = open_model(FROZEN / 'regressor')
    card = served.card | {'request': served.card['request'] | {'reads_sequences': False}}
    words = 'It knows features by their names: name them as in the training, and send no sequences.'
    assert words in description_of(dataclasses.replace(served, card=card), Limits())
    assert words not in description_of(served, Limits())
