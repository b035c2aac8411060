"""A study on disk is complete, as it was written, or built again."""

import errno

import numpy as np
import pytest

from q2_aam.data import study_files
from q2_aam.data.study_files import ARRAYS, LARGE, MARKER, finish, load, new_array
from q2_aam.errors import AAMWarning, MachineError


@pytest.fixture
def written(tmp_path):
    arrays = {name: new_array(tmp_path, name, (5,), np.int64) for name in ARRAYS}
    for number, array in enumerate(arrays.values()):
        array[:] = number
    finish(tmp_path, arrays, messages=[], sample_ids=['später'])
    return tmp_path


def test_arrays_and_the_rest_come_back(written):
    arrays, rest = load(written)
    assert rest == {'messages': [], 'sample_ids': ['später']}
    assert [array.tolist() for array in arrays.values()] == [[number] * 5 for number in range(len(ARRAYS))]
    assert [name for name in ARRAYS if isinstance(arrays[name], np.memmap)] == list(LARGE)


@pytest.mark.parametrize('name', [MARKER, *(f'{name}.npy' for name in ARRAYS)])
@pytest.mark.parametrize('damage', ['empty', 'half', 'bit', 'missing', 'folder'])
def test_whatever_is_damaged_is_built_again(written, name, damage):
    path = written / name
    content = path.read_bytes()
    path.unlink()
    if damage == 'folder':
        path.mkdir()
    elif damage != 'missing':
        flipped = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
        path.write_bytes({'empty': b'', 'half': content[: len(content) // 2], 'bit': flipped}[damage])
    if (name, damage) == (MARKER, 'missing'):
        # a run that was killed before it finished the study
        assert load(written) is None
    else:
        with pytest.warns(AAMWarning) as caught:
            assert load(written) is None
        (message,) = (str(one.message) for one in caught)
        assert message.startswith(f'The study in the run directory, {written}, is damaged ({name} ')
        assert message.endswith('; set aside as study.json.damaged); it is built again.')
    arrays = {name: new_array(written, name, (2,), np.int64) for name in ARRAYS}
    finish(written, arrays)
    assert load(written) is not None


def full(*_):
    raise OSError(errno.ENOSPC, 'No space left on device')


@pytest.mark.parametrize('function', ['open_memmap', 'posix_fallocate'])
def test_a_full_disk_names_the_directory_and_the_variable(tmp_path, monkeypatch, function):
    monkeypatch.setattr(np.lib.format if function == 'open_memmap' else study_files.os, function, full)
    with pytest.raises(MachineError) as error:
        new_array(tmp_path, 'codes', (3000,), np.uint8)
    assert str(error.value) == (
        f'The run directory {tmp_path} has no room for another 3,000 bytes (No space left on device); free disk space, '
        'or set the environment variable AAM_WORK_DIR to a folder that has it.'
    )


@pytest.mark.parametrize(
    'number, size', [(999_999, '999,999 bytes'), (2_500_000, '2.5 MB'), (12_340_000_000, '12.3 GB')]
)
def test_how_much_room_is_needed_is_said_in_a_unit_that_can_be_read(tmp_path, monkeypatch, number, size):
    monkeypatch.setattr(np.lib.format, 'open_memmap', full)
    with pytest.raises(MachineError, match=f'has no room for another {size} '):
        new_array(tmp_path, 'codes', (number,), np.uint8)


def test_a_disk_that_is_full_at_the_end_is_one_sentence(written, monkeypatch):
    monkeypatch.setattr('os.fsync', full)
    with pytest.raises(MachineError, match='^The study cannot be written into the run directory .*AAM_WORK_DIR'):
        finish(written, {})


def test_a_file_system_that_cannot_allocate_in_advance_is_no_error(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.EOPNOTSUPP, 'Operation not supported')

    monkeypatch.setattr(study_files.os, 'posix_fallocate', unsupported)
    assert new_array(tmp_path, 'codes', (3,), np.uint8).tolist() == [0, 0, 0]
