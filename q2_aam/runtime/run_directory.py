"""The run directory: found again by the same call after a kill, given to one run at a time, deleted on success."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import os
import pathlib
import secrets
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from typing import IO, Any

import q2_aam
from q2_aam.data.atomic import read_json, reason, remove, set_aside, write_json
from q2_aam.errors import AAMWarning, MachineError, UserError

from .limits import is_out_of_memory
from .run_root import DAYS_KEPT, FINISHED, LOCK_FILE, RESULT, lock, make_private, make_root, open_lock, run_root, sweep
from .screen import print_line

SEED_FILE = 'seed.json'
MAX_SEED = 2**31 - 1
# How often a run looks whether the same run, which was started before it, has ended.
SECONDS_BETWEEN_LOOKS = 1.0
# What a disk without room says.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def name_of_run(call: str, config: Any, hashes: dict[str, str]) -> str:
    """Return the name of the run directory: equal for the same call on the same inputs, wherever it computes.

    Parameters
    ----------
    call : str
        Name of the action.
    config : dataclass
        The configuration of the call, with a field `runtime`, which does not count.
    hashes : dict
        {input: hash of its content}, see :mod:`q2_aam.runtime.content`.
    """
    import torch

    from .checkpoint import CHECKPOINT_FORMAT

    settings = dataclasses.asdict(config)
    # where and with how much the work is done does not change what is learned
    settings.pop('runtime')
    # other code may train differently: it must not resume from a checkpoint of this one, nor take its result
    versions = [q2_aam.__version__, hash_of_code(), CHECKPOINT_FORMAT, torch.__version__]
    text = json.dumps([call, settings, hashes, *versions], sort_keys=True)
    return f'{call}-{hashlib.sha256(text.encode()).hexdigest()[:16]}'


@functools.cache
def hash_of_code() -> str:
    """Return the SHA-256 of all code of the package: other code may compute otherwise."""
    digest = hashlib.sha256()
    for path in sorted(pathlib.Path(q2_aam.__file__).parent.rglob('*.py')):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def run_directory(name: str, keep: bool = False, say: Callable[[str], Any] = print_line) -> Iterator[pathlib.Path]:
    """Give the run its directory; delete it on success or when the user must mend an input, else leave it to resume.

    Parameters
    ----------
    name : str
        See :func:`name_of_run`.
    keep : bool
        Whether the same call is to have the same result (because its seed is given): on success the result stays
        (:mod:`q2_aam.runtime.results`), and a second run of the name waits for the first one to take it. Otherwise a
        second run beside the first gets another directory, which is always deleted.
    say : callable
        Takes one line of progress.

    Raises
    ------
    UserError
        If it cannot be written, or disk or memory run out.

    Warns
    -----
    AAMWarning
        If its file system does not support locks.
    """
    keep = keep and DAYS_KEPT > 0
    root = run_root()
    with writing(root):
        make_root(root)
        locked = _open_locked(root / name, keep, say)
        directory = root / name
        if locked is None:
            directory = root / f'{name}-{secrets.token_hex(4)}'
            make_private(directory)
        sweep(root, say)
    with locked or contextlib.nullcontext():
        try:
            with _machine_errors(directory):
                yield directory
        except MachineError:
            if locked is None or not _has_progress(directory):
                remove(directory)
            raise
        except UserError:
            remove(directory)
            raise
        except BaseException:
            if locked is None:
                remove(directory)
            raise
        if keep and locked is not None and (directory / RESULT / FINISHED).exists():
            _keep_result(directory)
        else:
            remove(directory)


def _open_locked(directory, wait, say) -> IO | None:
    """Return the locked file of a run directory; None if another run or another user has the directory.

    With `wait` until no other run has it.
    """
    waiting = False
    while True:
        if not make_private(directory):
            say(f'The run directory {directory} belongs to another user: this run has a directory of its own.')
            return None
        handle = open_lock(directory)
        try:
            free = lock(handle)
        except OSError as error:
            warnings.warn(
                f'The file system of the directory for working files, {directory.parent}, does not support locks '
                f'({error.strerror}); do not run the same call twice at the same time, or set the environment variable '
                'AAM_WORK_DIR to a directory on another file system.',
                AAMWarning,
            )
            free = True
        with contextlib.suppress(FileNotFoundError):
            # another run may have deleted it (and its directory) between our opening and locking
            if free and os.path.samestat(os.fstat(handle.fileno()), os.stat(handle.name)):
                return handle
        handle.close()
        if free:
            continue
        if not wait:
            say(f'The same call is running already, in {directory}: this run has a directory and a seed of its own.')
            return None
        if not waiting:
            say(f'The same call with the same seed is running already, in {directory}: waiting for its result.')
        waiting = True
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _has_progress(directory):
    """Tell whether a run has learned something: a checkpoint, or its result."""
    return any(directory.glob('*/state.json')) or (directory / RESULT / FINISHED).exists()


def _keep_result(directory):
    """Delete all of a run directory but its result."""
    for path in list(directory.iterdir()):
        if path.name not in (RESULT, LOCK_FILE):
            remove(path)


@contextlib.contextmanager
def temporary_directory(say: Callable[[str], Any] = print_line) -> Iterator[pathlib.Path]:
    """Give a call that is not resumed a directory beside those of the runs; it is always deleted at the end.

    Raises
    ------
    UserError
        If it cannot be written, or disk or memory run out.
    """
    root = run_root()
    with writing(root):
        make_root(root)
        sweep(root, say)
        # files that are still mapped cannot be deleted on every file system
        directory = tempfile.TemporaryDirectory(prefix='temporary-', dir=root, ignore_cleanup_errors=True)
    with directory as path, open_lock(path) as handle:
        # so that it is not taken for what a killed call has left
        with contextlib.suppress(OSError):
            lock(handle)
        with _machine_errors(path):
            yield pathlib.Path(path)


def seed_of_run(directory: pathlib.Path | None, random_seed: int) -> int:
    """Return the seed: the given one, or, for 0, the one this run drew before, or a new one (kept in the directory).

    Warns
    -----
    AAMWarning
        If the one that was drawn before cannot be read; it is set aside then.
    """
    if random_seed:
        return random_seed
    seed = 1 + secrets.randbelow(MAX_SEED)
    if directory is None:
        return seed
    path = directory / SEED_FILE
    if os.path.lexists(path):
        try:
            kept = read_json(path)['seed']
            if not (isinstance(kept, int) and 1 <= kept <= MAX_SEED):
                raise ValueError(f'{kept!r} is no seed')
            return kept
        except (OSError, ValueError, KeyError) as error:
            set_aside(path, f'The seed in the run directory, {directory},', error, 'the run begins anew with another')
    write_json(path, {'seed': seed})
    return seed


@contextlib.contextmanager
def writing(root: pathlib.Path) -> Iterator[None]:
    """Say in one sentence if the directory for working files cannot be written."""
    try:
        yield
    except OSError as error:
        # what the system says of a file in its place is File exists
        why = 'Not a directory' if isinstance(error, FileExistsError) else error.strerror
        raise UserError(
            f'The directory for working files, {root}, cannot be written ({why}); set the environment '
            'variable AAM_WORK_DIR to a directory that you can write to.'
        ) from error


@contextlib.contextmanager
def _machine_errors(directory):
    """Say in one sentence that the disk of the run directory, or memory, ran out."""
    try:
        yield
    except OSError as error:
        # a full disk may say no name; with another name it is an input or an output
        inside = str(error.filename or '').startswith(str(directory))
        if not inside and (error.filename is not None or error.errno not in FULL):
            raise
        raise MachineError(
            f'The run directory {directory} cannot be written ({reason(error)}); free disk space, or set the '
            'environment variable AAM_WORK_DIR to a folder that has it.'
        ) from error
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise MachineError(
            'Memory ran out; give more memory or fewer samples, or use a smaller model (width, asv_layers, '
            'sample_layers).'
        ) from error
