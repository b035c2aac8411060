"""Where run directories are, that nobody else can read them, and what is deleted there after a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import re
import stat
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import IO, Any

from q2_aam.data.atomic import remove
from q2_aam.errors import AAMWarning, UserError, counted

from .screen import print_line

LOCK_FILE = 'lock'
# A run that was finished keeps its result in this folder, with this file written last.
RESULT, FINISHED = 'result', 'finished.json'
DAYS_KEPT, DAYS_UNUSED = 7, 30
SECONDS_PER_DAY = 86400
# Nobody but the user: working files hold sample ids and metadata.
PRIVATE, NOBODY = 0o700, 65534
# The names that this package and tempfile make; nothing else is ever deleted.
TEMPORARY_NAME = re.compile(r'temporary-[a-z0-9_]{8}')
RUN_NAME = re.compile(r'[a-z]+(-[a-z]+)*-[0-9a-f]{16}(-[0-9a-f]{8})?(\.damaged)?')
# The folder of embeddings (q2_aam.runtime.kept_embeddings), and the names of its files, complete or not.
EMBEDDINGS = 'kept-embeddings'
EMBEDDINGS_NAME = re.compile(r'(new\.)?[0-9a-f]{32}-[0-9a-f]{16}')
# What temporary directories hold.
TEMPORARY_FILES = {LOCK_FILE, 'study'}


def run_root() -> pathlib.Path:
    """Return the directory that run directories are in: $AAM_WORK_DIR, else one in the user's cache directory.

    Raises
    ------
    UserError
        If AAM_WORK_DIR begins with ~ and there is no such home directory, or no directory at all can be written.

    Warns
    -----
    AAMWarning
        If the user has no home directory that can be written, as in many containers: it is in that for temporary files
        then.
    """
    if given := os.environ.get('AAM_WORK_DIR'):
        try:
            return pathlib.Path(given).expanduser().absolute()
        except RuntimeError as error:
            raise UserError(
                f'The environment variable AAM_WORK_DIR is {given!r}, but there is no such home directory; set it to '
                'the full path of a directory.'
            ) from error
    # without HOME, pathlib asks the system for the user's home directory: an unknown user has none
    with contextlib.suppress(RuntimeError):
        root = pathlib.Path(os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache') / 'q2-aam'
        if _can_be_written(root):
            return root
    try:
        root = pathlib.Path(tempfile.gettempdir()) / f'q2-aam-{os.getuid()}'
    except FileNotFoundError as error:
        raise UserError(
            'There is no directory for working files: neither a home directory nor one for temporary files can be '
            'written; set the environment variable AAM_WORK_DIR to a directory that you can write to.'
        ) from error
    warnings.warn(
        f'There is no home directory that can be written: working files are kept in {root}; set the environment '
        'variable AAM_WORK_DIR to a directory that lasts.',
        AAMWarning,
    )
    return root


def _can_be_written(root):
    """Tell whether a directory can be written, or made; True where it is something else, which is an error later."""
    existing = next((folder for folder in (root, *root.parents) if os.path.lexists(folder)), root)
    return not existing.is_dir() or os.access(existing, os.W_OK | os.X_OK)


def make_root(root: pathlib.Path) -> None:
    """Make the directory that run directories are in, for the user alone; one that is there stays as it is."""
    if root.name == f'q2-aam-{os.getuid()}' and root.parent == pathlib.Path(tempfile.gettempdir()):
        # where everybody can write, another user may have been quicker
        if not make_private(root):
            raise UserError(
                f'The directory for working files, {root}, belongs to another user; set the environment variable '
                'AAM_WORK_DIR to a directory of your own.'
            )
        return
    root.mkdir(mode=PRIVATE, parents=True, exist_ok=True)


def make_private(directory: pathlib.Path) -> bool:
    """Make a directory that only the user can read, unless it is there; False if it belongs to another user.

    Raises
    ------
    UserError
        If it is a symbolic link, or no directory.
    OSError
    """
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=PRIVATE)
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode):
        what = 'a symbolic link, which is not followed' if stat.S_ISLNK(status.st_mode) else 'not a directory'
        raise UserError(
            f'The run directory {directory} is {what}; delete it, or set the environment variable AAM_WORK_DIR to a '
            'directory of your own.'
        )
    # on many network disks what root makes belongs to nobody
    if status.st_uid not in ((0, NOBODY) if os.geteuid() == 0 else (os.geteuid(),)):
        return False
    if stat.S_IMODE(status.st_mode) & ~PRIVATE:
        directory.chmod(PRIVATE)
    return True


def open_lock(directory: str | os.PathLike) -> IO:
    """Open the file of a directory that :func:`lock` takes; a link of that name is not followed."""
    path = os.path.join(directory, LOCK_FILE)
    return open(path, 'w', encoding='utf-8', opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600))


def lock(handle: IO) -> bool:
    """Lock an open file; False if another run has it.

    Raises
    ------
    OSError
        If the file system does not support locks.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sweep(root: pathlib.Path, say: Callable[[str], Any] = print_line) -> None:
    """Delete what is too old.

    Results and embeddings older than ``DAYS_KEPT`` days, and other working files that nobody has used for
    ``DAYS_UNUSED``.
    """
    results = unused = 0
    with contextlib.suppress(OSError):
        for directory in list(root.iterdir()):
            with contextlib.suppress(OSError):
                finished = directory / RESULT / FINISHED
                if not _is_ours(directory):
                    continue
                if RUN_NAME.fullmatch(directory.name) and finished.is_file():
                    results += _days_since(finished.stat().st_mtime) > DAYS_KEPT and _deleted(directory)
                else:
                    unused += _days_since(_last_use(directory)) > DAYS_UNUSED and _deleted(directory)
    deleted = []
    if unused:
        deleted.append(
            f'{counted(unused, "directory", "directories")} of interrupted runs that had not been used for '
            f'{DAYS_UNUSED} days'
        )
    if results:
        deleted.append(f'{counted(results, "result")} older than {DAYS_KEPT} days')
    if embeddings := _old_embeddings(root):
        deleted.append(f'{counted(embeddings, "file")} of embeddings older than {DAYS_KEPT} days')
    if deleted:
        say(f'Deleted in {root}: {" and ".join(deleted)}.')


def _old_embeddings(root):
    """Delete embeddings older than ``DAYS_KEPT`` days, however often they were used; return the number of files."""
    deleted = 0
    with contextlib.suppress(OSError):
        for path in [] if (root / EMBEDDINGS).is_symlink() else list((root / EMBEDDINGS).iterdir()):
            with contextlib.suppress(OSError):
                if EMBEDDINGS_NAME.fullmatch(path.name) and _days_since(path.lstat().st_mtime) > DAYS_KEPT:
                    path.unlink()
                    deleted += 1
    return deleted


def _is_ours(directory):
    if directory.is_symlink() or not directory.is_dir():
        return False
    if RUN_NAME.fullmatch(directory.name):
        return True
    # a user's directory may have such a name, but not such a content
    return bool(TEMPORARY_NAME.fullmatch(directory.name)) and set(os.listdir(directory)) <= TEMPORARY_FILES


def _days_since(moment):
    return (time.time() - moment) / SECONDS_PER_DAY


def _last_use(directory):
    """Return when something in a directory was last written, in seconds since 1970."""
    return max(path.lstat().st_mtime for path in (directory, *directory.rglob('*')))


def _deleted(directory):
    """Delete a directory unless a run uses it; tell whether it is gone."""
    with contextlib.ExitStack() as stack:
        # without a lock file, or where locks are not supported, its age must do
        with contextlib.suppress(OSError):
            handle = stack.enter_context(open(directory / LOCK_FILE, encoding='utf-8'))
            if not lock(handle):
                return False
        remove(directory)
    return not directory.exists()
