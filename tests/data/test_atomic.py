"""Files are complete or absent, whatever ends the process, and what is damaged is named and set aside."""

import errno
import os

import pytest

from q2_aam.data import atomic
from q2_aam.data.atomic import read_json, replacing, set_aside, write_json, writing_output
from q2_aam.errors import AAMWarning, MachineError

VALUES = {'text': 'später\ud800', 'numbers': [0.1 + 0.2, float('inf'), 2**70], 'nothing': None}


def test_what_is_written_comes_back_exactly(tmp_path):
    write_json(tmp_path / 'a.json', VALUES)
    assert read_json(tmp_path / 'a.json') == VALUES
    assert [path.name for path in tmp_path.iterdir()] == ['a.json']


@pytest.mark.parametrize('end', [OSError(errno.ENOSPC, 'No space left on device'), KeyboardInterrupt()])
@pytest.mark.parametrize('where', ['q2_aam.data.atomic.os.fsync', 'q2_aam.data.atomic.os.replace'])
def test_a_write_that_fails_leaves_the_file_before_and_nothing_else(tmp_path, monkeypatch, where, end):
    write_json(tmp_path / 'a.json', VALUES)

    def fail(*_):
        raise end

    monkeypatch.setattr(where, fail)
    with pytest.raises(type(end)):
        write_json(tmp_path / 'a.json', {})
    monkeypatch.undo()
    assert read_json(tmp_path / 'a.json') == VALUES
    assert [path.name for path in tmp_path.iterdir()] == ['a.json']


def test_file_and_folder_are_on_the_disk_before_and_after_the_rename(tmp_path, monkeypatch):
    done, replace = [], os.replace
    monkeypatch.setattr(atomic, 'sync', lambda path: done.append(path.name))
    monkeypatch.setattr(os, 'replace', lambda *paths: (done.append('rename'), replace(*paths)))
    write_json(tmp_path / 'a.json', VALUES)
    assert done == ['new.a.json', 'rename', tmp_path.name]


def test_a_file_system_that_cannot_sync_is_no_error(tmp_path, monkeypatch):
    def unsupported(_):
        raise OSError(errno.EINVAL, 'Invalid argument')

    monkeypatch.setattr(os, 'fsync', unsupported)
    write_json(tmp_path / 'a.json', VALUES)
    assert read_json(tmp_path / 'a.json') == VALUES


@pytest.mark.parametrize(
    ('content', 'why'),
    [
        (b'', 'a.json is not JSON'),
        (b'\xff\xfe', 'a.json is not JSON'),
        (b'[' * 100_000, 'a.json is not JSON'),
        (b'7', 'a.json does not match its checksum'),
        (b'{}', 'a.json does not match its checksum'),
        (None, 'a.json cannot be read: No such file or directory'),
    ],
)
def test_anything_else_is_damaged(tmp_path, content, why):
    if content is not None:
        (tmp_path / 'a.json').write_bytes(content)
    with pytest.raises(ValueError) as error:
        read_json(tmp_path / 'a.json')
    assert str(error.value) == why


def test_every_flipped_bit_and_every_truncation_is_noticed(tmp_path):
    path = tmp_path / 'a.json'
    write_json(path, {'step': 14, 'loss': 0.125})
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place])
        with pytest.raises(ValueError):
            read_json(path)
        for bit in range(8):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
            try:
                assert read_json(path) == {'step': 14, 'loss': 0.125}
            except ValueError:
                pass


def test_what_is_damaged_is_set_aside_in_one_sentence(tmp_path):
    for content in ('first', 'second'):
        (tmp_path / 'a').mkdir()
        (tmp_path / 'a' / 'file').write_text(content)
        with pytest.warns(AAMWarning) as caught:
            set_aside(tmp_path / 'a', 'The checkpoint,', ValueError('its\nmark is gone'), 'training begins anew')
        assert [str(one.message) for one in caught] == [
            'The checkpoint, is damaged (its mark is gone; set aside as a.damaged); training begins anew.'
        ]
        assert not (tmp_path / 'a').exists()
        assert (tmp_path / 'a.damaged' / 'file').read_text() == content


def test_an_output_that_cannot_be_written_names_the_folder_and_the_variable(tmp_path):
    with pytest.raises(MachineError) as error, writing_output(tmp_path):
        raise OSError(errno.ENOSPC, 'No space left on device')
    assert str(error.value) == (
        f'The result cannot be written into {tmp_path} (No space left on device); free space on its disk, or set the '
        'environment variable TMPDIR to a folder on another disk.'
    )


def test_the_error_of_safetensors_is_that_of_the_disk(tmp_path):
    from safetensors.numpy import save_file

    with pytest.raises(OSError) as error, replacing(tmp_path / 'nowhere' / 'a') as temporary:
        save_file({}, temporary)
    assert error.value.errno == errno.ENOENT
