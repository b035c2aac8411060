"""The work folder: found again by the same call only, given to one run at a time, gone when it has served."""

import errno

import biom
import h5py
import numpy as np
import pandas as pd
import pytest

from q2_aam.config import FitConfig, PretrainConfig
from q2_aam.errors import AAMWarning, UserError
from q2_aam.runtime.run_directory import (
    LARGEST_SEED,
    hash_files,
    hash_series,
    name_of_run,
    run_folder,
    seed_of_run,
    temporary_folder,
    work_root,
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


@pytest.mark.parametrize('call', [PretrainConfig, FitConfig])
def test_the_same_call_has_the_same_name_and_any_changed_parameter_another(call):
    name = name_of_run('call', call(), HASHES)
    assert name == name_of_run('call', call.from_flat({}), dict(reversed(HASHES.items())))
    for opt in call.options():
        changed = name_of_run('call', call.from_flat({opt.name: another_value(opt)}), HASHES)
        # where and with how much the work is done does not change what is learned
        assert (changed == name) == (opt.group == 'runtime'), opt.name


def test_another_input_or_another_call_has_another_name():
    name = name_of_run('pretrain', PretrainConfig(), HASHES)
    assert name_of_run('pretrain', PretrainConfig(), HASHES | {'table': 'c' * 64}) != name
    assert name_of_run('pretrain', PretrainConfig(), HASHES | {'distance_matrix': 'c' * 64}) != name
    assert name_of_run('fit-regressor', PretrainConfig(), HASHES) != name
    assert name.startswith('pretrain-')


def test_a_file_is_known_by_its_content_and_a_folder_by_all_its_files(tmp_path):
    for folder in ('one', 'two', 'three'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'a').write_text('same')
        (tmp_path / folder / 'b').write_text('other' if folder == 'three' else 'too')
    hashes = hash_files(
        **{name: tmp_path / name for name in ('one', 'two', 'three')}, file=tmp_path / 'one' / 'a', none=None
    )
    assert hashes['one'] == hashes['two'] != hashes['three']
    # sha256sum of "same"
    assert hashes['file'] == '0967115f2813a3541eaef77de9d9d5773f1c0c04314b0bbfe4ff3b3b1c55b5d5'
    assert 'none' not in hashes


def test_a_table_is_known_by_what_is_in_it_and_not_by_when_it_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr('q2_aam.runtime.run_directory.VALUES_AT_ONCE', 2)
    counts = np.array([[1.0, 2, 0], [0, 3, 4]])
    for name, values, samples in (
        ('one', counts, 'xyz'),
        ('two', counts, 'xyz'),
        ('three', counts, 'xyw'),
        ('four', counts * 2, 'xyz'),
        ('five', counts, 'xyz'),
    ):
        table = biom.Table(values, ['f1', 'f2'], list(samples))
        table.create_date = f'2026-11-2{len(name)}T00:00:00'
        with h5py.File(tmp_path / name, 'w') as file:
            table.to_hdf5(file, name)
            file['number'] = float(name == 'five')
    hashes = hash_files(**{name: tmp_path / name for name in ('one', 'two', 'three', 'four', 'five')})
    assert (tmp_path / 'one').read_bytes() != (tmp_path / 'two').read_bytes()
    assert hashes['one'] == hashes['two'] and len(set(hashes.values())) == 4


def test_a_column_is_known_by_its_ids_values_and_name_in_any_order():
    series = pd.Series([1.0, np.nan, 3.0], index=['a', 'b', 'c'], name='age')
    assert hash_series(series) == hash_series(series[::-1])
    others = [series.rename('days'), series.fillna(2.0), series.rename({'a': 'x'})]
    assert len({hash_series(series), *map(hash_series, others)}) == 4


def test_the_folder_is_the_given_one_else_in_the_cache_of_the_user(monkeypatch, tmp_path, work_dir):
    assert work_root() == work_dir
    monkeypatch.delenv('AAM_WORK_DIR')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    assert work_root() == tmp_path / 'cache' / 'q2-aam'
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    assert work_root() == tmp_path / 'home' / '.cache' / 'q2-aam'


def test_success_leaves_no_folder(work_dir):
    with run_folder('run') as folder:
        (folder / 'file').write_text('x')
        assert folder == work_dir / 'run'
    assert list(work_dir.iterdir()) == []


def test_what_the_user_must_mend_leaves_no_folder(work_dir):
    with pytest.raises(UserError, match='^mend it$'), run_folder('run'):
        raise UserError('mend it')
    assert list(work_dir.iterdir()) == []


@pytest.mark.parametrize('error', [KeyboardInterrupt, RuntimeError])
def test_any_other_end_leaves_the_folder_to_be_found_again(work_dir, error):
    with pytest.raises(error), run_folder('run') as folder:
        (folder / 'file').write_text('kept')
        raise error
    with run_folder('run') as folder:
        assert (folder / 'file').read_text() == 'kept'
    assert list(work_dir.iterdir()) == []


def test_a_second_run_beside_the_first_has_a_folder_of_its_own_that_is_always_deleted(work_dir):
    with run_folder('run') as first:
        with run_folder('run') as second:
            assert second != first and second.parent == first.parent
        assert [path.name for path in work_dir.iterdir()] == ['run']
        with pytest.raises(KeyboardInterrupt), run_folder('run') as third:
            assert third not in (first, second)
            raise KeyboardInterrupt
        assert [path.name for path in work_dir.iterdir()] == ['run']
        assert first.is_dir()
    assert list(work_dir.iterdir()) == []


def test_a_disk_without_locks_is_worked_on_with_a_warning(work_dir, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr('fcntl.flock', no_locks)
    with pytest.raises(KeyboardInterrupt), pytest.warns(AAMWarning) as caught, run_folder('run') as folder:
        (folder / 'file').write_text('kept')
        raise KeyboardInterrupt
    assert str(caught[0].message) == (
        f'The disk of the folder for working files, {work_dir}, knows no locks (No locks available): do not make the '
        'same call twice at a time, or set AAM_WORK_DIR to another disk.'
    )
    with pytest.warns(AAMWarning), run_folder('run') as folder:
        assert (folder / 'file').read_text() == 'kept'


def test_a_temporary_folder_is_deleted_at_any_end(work_dir):
    with temporary_folder() as one, temporary_folder() as two:
        assert one.parent == two.parent == work_dir and one != two
        (one / 'file').write_text('x')
    with pytest.raises(KeyboardInterrupt), temporary_folder():
        raise KeyboardInterrupt
    assert list(work_dir.iterdir()) == []


@pytest.mark.parametrize('kind', [lambda: run_folder('run'), temporary_folder])
def test_a_place_that_cannot_be_written_is_refused(monkeypatch, tmp_path, kind):
    (tmp_path / 'file').write_text('no folder')
    monkeypatch.setenv('AAM_WORK_DIR', str(tmp_path / 'file' / 'work'))
    with pytest.raises(UserError) as error, kind():
        raise AssertionError
    assert str(error.value) == (
        f'The folder for working files, {tmp_path}/file/work, cannot be written (Not a directory); set the environment '
        'variable AAM_WORK_DIR to a folder that can.'
    )


def test_a_given_seed_is_taken_and_a_drawn_one_is_kept(tmp_path):
    assert seed_of_run(tmp_path, 5) == 5
    assert list(tmp_path.iterdir()) == []
    drawn = seed_of_run(tmp_path, 0)
    assert 1 <= drawn <= LARGEST_SEED
    assert seed_of_run(tmp_path, 0) == drawn


def test_seeds_are_drawn_anew_for_another_run(tmp_path):
    seeds = set()
    for name in 'abcd':
        (tmp_path / name).mkdir()
        seeds.add(seed_of_run(tmp_path / name, 0))
    assert len(seeds) == 4
