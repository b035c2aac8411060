"""The run directory: found again by the same call only, given to one run at a time, deleted on success."""

import errno
import os
import pathlib
import stat

import numpy as np
import pytest

from q2_aam.config import FitRegressorConfig, PretrainConfig
from q2_aam.errors import AAMWarning, MachineError, UserError
from q2_aam.runtime import run_directory as module
from q2_aam.runtime.run_directory import (
    MAX_SEED,
    name_of_run,
    run_directory,
    seed_of_run,
    temporary_directory,
)
from tests.values import one_changed

HASHES = {'table': 'a' * 64, 'sequences': 'b' * 64}


def another_value(opt):
    if opt.choices:
        return next(choice for choice in opt.choices if choice != opt.default)
    if opt.kind is bool:
        return not opt.default
    if isinstance(opt.default, str):
        return opt.low + 1 if opt.kind is int else (opt.low + opt.high) / 2
    return opt.default + 1 if opt.default + 1 <= (opt.high or np.inf) else (opt.low + opt.high) / 3


@pytest.mark.parametrize('call', [PretrainConfig, FitRegressorConfig])
def test_the_same_call_has_the_same_name_and_any_changed_parameter_another(call):
    name = name_of_run('call', call(), HASHES)
    assert name == name_of_run('call', call.from_flat({}), dict(reversed(HASHES.items())))
    for opt in call.options():
        changed = name_of_run('call', call.from_flat(one_changed(opt, another_value)), HASHES)
        # where and with how much the work is done does not change what is learned
        assert (changed == name) == (opt.group == 'runtime'), opt.name


def test_another_checkpoint_format_or_version_has_another_name(monkeypatch):
    names = {name_of_run('pretrain', PretrainConfig(), HASHES)}
    for attribute in ('q2_aam.runtime.checkpoint.CHECKPOINT_FORMAT', 'q2_aam.__version__', 'torch.__version__'):
        with monkeypatch.context() as patch:
            patch.setattr(attribute, 99)
            names.add(name_of_run('pretrain', PretrainConfig(), HASHES))
    # a change of the code alone, while it is developed
    monkeypatch.setattr(module, 'hash_of_code', lambda: 'other')
    names.add(name_of_run('pretrain', PretrainConfig(), HASHES))
    assert len(names) == 5


def test_the_code_is_hashed_whole(monkeypatch, tmp_path):
    before = module.hash_of_code()
    (tmp_path / 'room').mkdir()
    (tmp_path / '__init__.py').write_text('')
    (tmp_path / 'room' / 'file.py').write_text('a = 1')
    monkeypatch.setattr('q2_aam.__file__', str(tmp_path / '__init__.py'))
    hashes = {before}
    for text in ('a = 1', 'a = 2'):
        (tmp_path / 'room' / 'file.py').write_text(text)
        module.hash_of_code.cache_clear()
        hashes.add(module.hash_of_code())
    module.hash_of_code.cache_clear()
    assert len(hashes) == 3


def test_another_input_or_another_call_has_another_name():
    name = name_of_run('pretrain', PretrainConfig(), HASHES)
    assert name_of_run('pretrain', PretrainConfig(), HASHES | {'table': 'c' * 64}) != name
    assert name_of_run('pretrain', PretrainConfig(), HASHES | {'distance_matrix': 'c' * 64}) != name
    assert name_of_run('fit-regressor', PretrainConfig(), HASHES) != name
    assert name.startswith('pretrain-')


def test_success_leaves_no_directory(work_dir):
    with run_directory('run') as directory:
        (directory / 'file').write_text('x')
        assert directory == work_dir / 'run'
    assert list(work_dir.iterdir()) == []


def test_what_the_user_must_mend_leaves_no_directory(work_dir):
    with pytest.raises(UserError, match='^mend it$'), run_directory('run'):
        raise UserError('mend it')
    assert list(work_dir.iterdir()) == []


@pytest.mark.parametrize('error', [KeyboardInterrupt, RuntimeError])
def test_any_other_end_leaves_the_directory_to_be_found_again(work_dir, error):
    with pytest.raises(error), run_directory('run') as directory:
        (directory / 'file').write_text('kept')
        raise error
    with run_directory('run') as directory:
        assert (directory / 'file').read_text() == 'kept'
    assert list(work_dir.iterdir()) == []


def test_a_second_run_beside_the_first_has_another_directory_that_is_always_deleted(work_dir):
    with run_directory('run') as first:
        with run_directory('run') as second:
            assert second != first and second.parent == first.parent
        assert [path.name for path in work_dir.iterdir()] == ['run']
        with pytest.raises(KeyboardInterrupt), run_directory('run') as third:
            assert third not in (first, second)
            raise KeyboardInterrupt
        assert [path.name for path in work_dir.iterdir()] == ['run']
        assert first.is_dir()
    assert list(work_dir.iterdir()) == []


def test_a_file_system_without_locks_is_used_with_a_warning(work_dir, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr('fcntl.flock', no_locks)
    with pytest.raises(KeyboardInterrupt), pytest.warns(AAMWarning) as caught, run_directory('run') as directory:
        (directory / 'file').write_text('kept')
        raise KeyboardInterrupt
    assert str(caught[0].message) == (
        f'The file system of the directory for working files, {work_dir}, does not support locks (No locks available); '
        'do not run the same call twice at the same time, or set the environment variable AAM_WORK_DIR to a directory '
        'on another file system.'
    )
    with pytest.warns(AAMWarning), run_directory('run') as directory:
        assert (directory / 'file').read_text() == 'kept'


def test_a_temporary_directory_is_deleted_at_any_end(work_dir):
    with temporary_directory() as one, temporary_directory() as two:
        assert one.parent == two.parent == work_dir and one != two
        (one / 'file').write_text('x')
    with pytest.raises(KeyboardInterrupt), temporary_directory():
        raise KeyboardInterrupt
    assert list(work_dir.iterdir()) == []


@pytest.mark.parametrize('kind', [lambda: run_directory('run'), temporary_directory])
@pytest.mark.parametrize('name', ['file/work', 'file'])
def test_a_place_that_cannot_be_written_is_refused(monkeypatch, tmp_path, name, kind):
    (tmp_path / 'file').write_text('no directory')
    monkeypatch.setenv('AAM_WORK_DIR', str(tmp_path / name))
    with pytest.raises(UserError) as error, kind():
        raise AssertionError
    assert str(error.value) == (
        f'The directory for working files, {tmp_path}/{name}, cannot be written (Not a directory); set the '
        'environment variable AAM_WORK_DIR to a directory that you can write to.'
    )


def test_a_given_seed_is_taken_and_a_drawn_one_is_kept(tmp_path):
    assert seed_of_run(tmp_path, 5) == 5
    assert list(tmp_path.iterdir()) == []
    drawn = seed_of_run(tmp_path, 0)
    assert 1 <= drawn <= MAX_SEED
    assert seed_of_run(tmp_path, 0) == drawn


def test_seeds_are_drawn_anew_for_another_run(tmp_path):
    seeds = set()
    for name in 'abcd':
        (tmp_path / name).mkdir()
        seeds.add(seed_of_run(tmp_path / name, 0))
    assert len(seeds) == 4


def test_a_damaged_seed_is_set_aside_and_drawn_anew(tmp_path):
    for content in (b'', b'7', b'{"seed": 7}', bytes(9), None):
        path = tmp_path / 'seed.json'
        if content is None:
            path.unlink()
            path.mkdir()
        else:
            path.write_bytes(content)
        with pytest.warns(AAMWarning) as caught:
            drawn = seed_of_run(tmp_path, 0)
        (message,) = (str(one.message) for one in caught)
        assert message.startswith(f'The seed in the run directory, {tmp_path}, is damaged (seed.json ')
        assert message.endswith('; set aside as seed.json.damaged); the run begins anew with another.')
        assert seed_of_run(tmp_path, 0) == drawn
    module.write_json(path, {'seed': MAX_SEED + 1})
    with pytest.warns(AAMWarning, match='2147483648 is no seed'):
        assert seed_of_run(tmp_path, 0) <= MAX_SEED


def test_directories_are_for_the_user_alone(work_dir):
    for directory in (run_directory('run'), temporary_directory()):
        with directory as path:
            assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    work_dir.chmod(0o755)
    (work_dir / 'run').mkdir(mode=0o755)
    with run_directory('run') as first, run_directory('run') as second:
        assert stat.S_IMODE(first.stat().st_mode) == stat.S_IMODE(second.stat().st_mode) == 0o700
    # what was there before is the user's to decide
    assert stat.S_IMODE(work_dir.stat().st_mode) == 0o755


@pytest.mark.parametrize('planted', ['link', 'dangling link', 'file'])
def test_what_is_planted_under_the_name_of_the_run_is_refused(work_dir, tmp_path, planted):
    work_dir.mkdir()
    (tmp_path / 'elsewhere').mkdir()
    if planted == 'file':
        (work_dir / 'run').write_text('x')
    else:
        (work_dir / 'run').symlink_to(tmp_path / ('elsewhere' if planted == 'link' else 'nowhere'))
    with pytest.raises(UserError) as error, run_directory('run'):
        raise AssertionError
    what = 'not a directory' if planted == 'file' else 'a symbolic link, which is not followed'
    assert str(error.value) == (
        f'The run directory {work_dir}/run is {what}; delete it, or set the environment variable AAM_WORK_DIR to a '
        'directory of your own.'
    )
    assert list((tmp_path / 'elsewhere').iterdir()) == [] and not (tmp_path / 'nowhere').exists()


def test_the_directory_of_another_user_is_not_used(work_dir, monkeypatch):
    (work_dir / 'run').mkdir(parents=True)
    (work_dir / 'run' / 'file').write_text('planted')
    monkeypatch.setattr(os, 'geteuid', lambda: (work_dir / 'run').stat().st_uid + 1)
    monkeypatch.setattr('q2_aam.runtime.run_root.sweep', lambda *_: None)
    lines = []
    # the new one belongs to that user as well, but it is not asked
    with run_directory('run', say=lines.append) as directory:
        assert directory != work_dir / 'run' and list(directory.iterdir()) == []
    assert lines == [f'The run directory {work_dir}/run belongs to another user: this run has a directory of its own.']


def full(path=None):
    return OSError(errno.ENOSPC, 'No space left on device', path)


@pytest.mark.parametrize('kind', [lambda: run_directory('run'), temporary_directory])
@pytest.mark.parametrize('place', [None, 'inside'])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(work_dir, kind, place):
    with pytest.raises(MachineError) as error, kind() as directory:
        raise full(place and str(directory / 'study'))
    assert str(error.value) == (
        f'The run directory {directory} cannot be written (No space left on device); free disk space, or set the '
        'environment variable AAM_WORK_DIR to a folder that has it.'
    )
    assert list(work_dir.iterdir()) == []


def test_what_a_run_has_learned_is_kept_where_the_machine_fails_it(work_dir):
    for error in (full(), MemoryError()):
        with pytest.raises(MachineError), run_directory('run') as directory:
            (directory / 'network').mkdir(exist_ok=True)
            (directory / 'network' / 'state.json').write_text('{}')
            raise error
        assert (directory / 'network' / 'state.json').exists()
    with pytest.raises(UserError), run_directory('run'):
        raise UserError('mend it')
    assert list(work_dir.iterdir()) == []


@pytest.mark.parametrize('error', [full('/elsewhere'), OSError('no number'), FileNotFoundError(2, 'No', '/elsewhere')])
def test_errors_of_other_files_pass(work_dir, error):
    with pytest.raises(OSError) as raised, run_directory('run'):
        raise error
    assert raised.value is error


@pytest.mark.parametrize('kind', [lambda: run_directory('run'), temporary_directory])
@pytest.mark.parametrize('error', [MemoryError(), RuntimeError("[enforce fail] can't allocate memory: 9 bytes")])
def test_memory_that_runs_out_is_one_sentence(work_dir, kind, error):
    with pytest.raises(MachineError) as raised, kind():
        raise error
    assert str(raised.value) == (
        'Memory ran out; give more memory or fewer samples, or use a smaller model (width, asv_layers, sample_layers).'
    )
    assert list(work_dir.iterdir()) == []


def test_a_temporary_directory_in_use_is_not_swept(work_dir, monkeypatch):
    monkeypatch.setattr('q2_aam.runtime.run_root.DAYS_UNUSED', -1)
    with temporary_directory() as one, temporary_directory() as two, run_directory('pretrain-' + 'a' * 16) as run:
        assert one.is_dir() and two.is_dir() and run.is_dir()
    (pathlib.Path(work_dir) / 'temporary-abcdefgh').mkdir()
    with temporary_directory(lambda line: None):
        assert not (work_dir / 'temporary-abcdefgh').exists()
