"""Where run directories are, also where there is no home; old ones are swept, and nothing else is touched."""

import os
import pathlib
import stat
import tempfile
import time

import pytest

from q2_aam.errors import AAMWarning, UserError
from q2_aam.runtime import run_root as module
from q2_aam.runtime.run_root import make_private, make_root, open_lock, run_root, sweep

DAY = 86400


def test_the_place_is_the_given_one_else_in_the_cache_of_the_user(monkeypatch, tmp_path, work_dir):
    assert run_root() == work_dir
    monkeypatch.delenv('AAM_WORK_DIR')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    assert run_root() == tmp_path / 'cache' / 'q2-aam'
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    assert run_root() == tmp_path / 'home' / '.cache' / 'q2-aam'


def test_a_tilde_is_the_home_directory(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('AAM_WORK_DIR', '~/scratch')
    assert run_root() == tmp_path / 'scratch'
    monkeypatch.setenv('AAM_WORK_DIR', '~nobody-of-this-name/scratch')
    with pytest.raises(UserError) as error:
        run_root()
    assert str(error.value) == (
        "The environment variable AAM_WORK_DIR is '~nobody-of-this-name/scratch', but there is no such home directory; "
        'set it to the full path of a directory.'
    )


def test_a_relative_place_stays_the_same_when_the_process_moves(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('AAM_WORK_DIR', 'scratch')
    assert run_root() == tmp_path / 'scratch'


@pytest.mark.parametrize('home', ['unknown user', 'root of the file system', 'nonexistent'])
def test_without_a_home_that_can_be_written_the_place_is_that_of_temporary_files(monkeypatch, tmp_path, home):
    monkeypatch.delenv('AAM_WORK_DIR')
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))

    def unknown():
        raise RuntimeError('Could not determine home directory.')

    if home == 'unknown user':
        monkeypatch.setattr(pathlib.Path, 'home', unknown)
    else:
        monkeypatch.setenv('HOME', '/' if home == 'root of the file system' else '/nonexistent')
        # the tests may run as root, who can write everywhere
        monkeypatch.setattr(os, 'access', lambda path, mode: False)
    with pytest.warns(AAMWarning) as caught:
        root = run_root()
    assert root == tmp_path / f'q2-aam-{os.getuid()}'
    assert [str(one.message) for one in caught] == [
        f'There is no home directory that can be written: working files are kept in {root}; set the environment '
        'variable AAM_WORK_DIR to a directory that lasts.'
    ]
    make_root(root)
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    root.rmdir()
    root.symlink_to(tmp_path)
    with pytest.raises(UserError, match='is a symbolic link, which is not followed'):
        make_root(root)


def test_in_the_place_of_temporary_files_nobody_else_may_own_it(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    root = tmp_path / f'q2-aam-{os.getuid()}'
    make_root(root)
    monkeypatch.setattr(os, 'geteuid', lambda: root.stat().st_uid + 1)
    with pytest.raises(UserError, match=f'^The directory for working files, {root}, belongs to another user; set'):
        make_root(root)


def test_without_any_directory_that_can_be_written_it_is_one_sentence(monkeypatch, work_dir):
    def nowhere():
        raise FileNotFoundError(2, 'No usable temporary directory found')

    monkeypatch.setattr(tempfile, 'gettempdir', nowhere)
    make_root(run_root())
    monkeypatch.delenv('AAM_WORK_DIR')
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    monkeypatch.setattr(os, 'access', lambda path, mode: False)
    with pytest.raises(UserError) as error:
        run_root()
    assert str(error.value) == (
        'There is no directory for working files: neither a home directory nor one for temporary files can be written; '
        'set the environment variable AAM_WORK_DIR to a directory that you can write to.'
    )


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can give a directory away')
def test_root_takes_its_own_directories_and_those_of_nobody(tmp_path):
    for owner, taken in ((0, True), (65534, True), (54321, False)):
        directory = tmp_path / str(owner)
        directory.mkdir()
        os.chown(directory, owner, owner)
        assert make_private(directory) is taken


def test_a_planted_lock_is_not_followed(tmp_path):
    (tmp_path / 'victim').write_text('precious')
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'lock').symlink_to(tmp_path / 'victim')
    with pytest.raises(OSError):
        open_lock(tmp_path / 'run')
    assert (tmp_path / 'victim').read_text() == 'precious'


@pytest.fixture
def make(work_dir):
    """Make a directory of some days in the root: (name, days, files) -> path."""
    work_dir.mkdir()

    def make(name, days, *files):
        for file in files:
            path = work_dir / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('x')
        (work_dir / name).mkdir(exist_ok=True)
        for path in (*(work_dir / name).rglob('*'), work_dir / name):
            os.utime(path, (time.time() - days * DAY,) * 2)
        return work_dir / name

    return make


RUN, RESULT = 'fit-regressor-0123456789abcdef', 'result/finished.json'


@pytest.mark.parametrize(
    ('name', 'days', 'files', 'gone'),
    [
        (RUN, 31, ['lock', 'network/state.json'], True),
        (RUN, 29, ['lock', 'network/state.json'], False),
        (f'{RUN}-01234567', 31, [], True),
        (f'{RUN}.damaged', 31, ['seed.json'], True),
        (RUN, 8, ['lock', RESULT], True),
        (RUN, 6, ['lock', RESULT], False),
        ('temporary-abcdefgh', 31, ['lock', 'study/codes.npy'], True),
        ('temporary-abcdefgh', 29, ['lock', 'study/codes.npy'], False),
        ('temporary-abcdefgh', 31, [], True),
        # what a user may keep beside
        ('temporary-analysis', 99, ['table.qza'], False),
        ('temporary-abcdefgh', 99, ['table.qza'], False),
        ('my-results', 99, ['lock'], False),
        ('results', 99, [RESULT], False),
    ],
)
def test_only_old_working_files_are_swept(work_dir, make, name, days, files, gone):
    path, lines = make(name, days, *files), []
    sweep(work_dir, lines.append)
    assert path.exists() is not gone
    assert len(lines) == gone


def test_what_was_swept_is_said_in_one_line(work_dir, make):
    make(RUN, 31, 'lock')
    make('temporary-abcdefgh', 40, 'study/codes.npy')
    make('pretrain-0123456789abcdef', 8, RESULT)
    lines = []
    sweep(work_dir, lines.append)
    assert lines == [
        f'Deleted in {work_dir}: 2 directories of interrupted runs that had not been used for 30 days and 1 result '
        'older than 7 days.'
    ]
    sweep(work_dir, lines.append)
    assert len(lines) == 1


def test_a_file_written_lately_keeps_an_old_directory(work_dir, make):
    path = make(RUN, 31, 'network/state.json')
    (path / 'network' / 'state.json').write_text('new')
    os.utime(path / 'network', (0, 0))
    sweep(work_dir)
    assert path.exists()


def test_a_directory_that_a_run_uses_and_links_are_left_alone(work_dir, make, tmp_path):
    path = make(RUN, 31, 'lock')
    (tmp_path / 'elsewhere').mkdir()
    (work_dir / 'pretrain-0123456789abcdef').symlink_to(tmp_path / 'elsewhere')
    with open(path / 'lock') as handle:
        assert module.lock(handle)
        sweep(work_dir)
        assert path.exists()
    sweep(work_dir, lambda line: None)
    assert not path.exists() and (tmp_path / 'elsewhere').exists()


def test_a_root_that_cannot_be_listed_is_no_error(tmp_path):
    sweep(tmp_path / 'nowhere')


def test_embeddings_are_deleted_after_a_week_however_often_they_were_used(work_dir):
    folder = work_dir / module.EMBEDDINGS
    folder.mkdir(parents=True)
    old, new, unfinished = f'{"0a" * 16}-{"1b" * 8}', f'{"0a" * 16}-{"2c" * 8}', f'new.{"0a" * 16}-{"3d" * 8}'
    for name, days in ((old, 8), (new, 6), (unfinished, 8), ('mine.txt', 100)):
        (folder / name).write_text('')
        os.utime(folder / name, (time.time(), time.time() - days * DAY))
    said = []
    sweep(work_dir, said.append)
    assert sorted(path.name for path in folder.iterdir()) == [new, 'mine.txt']
    assert said == [f'Deleted in {work_dir}: 2 files of embeddings older than 7 days.']


def test_a_link_in_the_place_of_embeddings_is_not_followed(work_dir, tmp_path):
    work_dir.mkdir()
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    file = elsewhere / f'{"0a" * 16}-{"1b" * 8}'
    file.write_text('')
    os.utime(file, (1, 1))
    (work_dir / module.EMBEDDINGS).symlink_to(elsewhere)
    sweep(work_dir, lambda line: None)
    assert file.exists()
