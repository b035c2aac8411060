"""The run directory: found again by the same call only, given to one run at a time, deleted on success."""

import errno

import numpy as np
import pytest

from q2_aam.config import FitRegressorConfig, PretrainConfig
from q2_aam.errors import AAMWarning, UserError
from q2_aam.runtime.run_directory import (
    MAX_SEED,
    name_of_run,
    run_directory,
    run_root,
    seed_of_run,
    temporary_directory,
)

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
        changed = name_of_run('call', call.from_flat({opt.name: another_value(opt)}), HASHES)
        # where and with how much the work is done does not change what is learned
        assert (changed == name) == (opt.group == 'runtime'), opt.name


def test_another_checkpoint_format_or_version_has_another_name(monkeypatch):
    names = {name_of_run('pretrain', PretrainConfig(), HASHES)}
    for attribute in ('q2_aam.runtime.checkpoint.CHECKPOINT_FORMAT', 'q2_aam.__version__', 'torch.__version__'):
        with monkeypatch.context() as patch:
            patch.setattr(attribute, 99)
            names.add(name_of_run('pretrain', PretrainConfig(), HASHES))
    assert len(names) == 4


def test_another_input_or_another_call_has_another_name():
    name = name_of_run('pretrain', PretrainConfig(), HASHES)
    assert name_of_run('pretrain', PretrainConfig(), HASHES | {'table': 'c' * 64}) != name
    assert name_of_run('pretrain', PretrainConfig(), HASHES | {'distance_matrix': 'c' * 64}) != name
    assert name_of_run('fit-regressor', PretrainConfig(), HASHES) != name
    assert name.startswith('pretrain-')


def test_the_place_is_the_given_one_else_in_the_cache_of_the_user(monkeypatch, tmp_path, work_dir):
    assert run_root() == work_dir
    monkeypatch.delenv('AAM_WORK_DIR')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    assert run_root() == tmp_path / 'cache' / 'q2-aam'
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    assert run_root() == tmp_path / 'home' / '.cache' / 'q2-aam'


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
def test_a_place_that_cannot_be_written_is_refused(monkeypatch, tmp_path, kind):
    (tmp_path / 'file').write_text('no directory')
    monkeypatch.setenv('AAM_WORK_DIR', str(tmp_path / 'file' / 'work'))
    with pytest.raises(UserError) as error, kind():
        raise AssertionError
    assert str(error.value) == (
        f'The directory for working files, {tmp_path}/file/work, cannot be written (Not a directory); set the '
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
