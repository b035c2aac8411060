"""The run directory: found again by the same call after a kill, deleted on success."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

import q2_aam
from q2_aam.errors import AAMWarning, UserError

SEED_FILE = 'seed.json'
LOCK_FILE = 'lock'
MAX_SEED = 2**31 - 1


def run_root() -> pathlib.Path:
    """Return the directory that run directories are in: $AAM_WORK_DIR, else one in the user's cache directory."""
    if given := os.environ.get('AAM_WORK_DIR'):
        return pathlib.Path(given)
    return pathlib.Path(os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache') / 'q2-aam'


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
    # another version may train differently, and must not resume from a checkpoint of this one
    versions = [q2_aam.__version__, CHECKPOINT_FORMAT, torch.__version__]
    text = json.dumps([call, settings, hashes, *versions], sort_keys=True)
    return f'{call}-{hashlib.sha256(text.encode()).hexdigest()[:16]}'


@contextlib.contextmanager
def run_directory(name: str) -> Iterator[pathlib.Path]:
    """Give the run its directory; delete it on success or when the user must mend an input, else leave it to resume.

    A second run of the same name beside a running one gets another directory, which is always deleted.

    Raises
    ------
    UserError
        If it cannot be written.

    Warns
    -----
    AAMWarning
        If its file system does not support locks.
    """
    root = run_root()
    with _writing(root):
        directory = root / name
        directory.mkdir(exist_ok=True)
        lock = open(directory / LOCK_FILE, 'w', encoding='utf-8')
    with lock:
        alone = _lock(lock)
        if not alone:
            directory = root / f'{name}-{secrets.token_hex(4)}'
            directory.mkdir()
        try:
            yield directory
        except UserError:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        except BaseException:
            if not alone:
                shutil.rmtree(directory, ignore_errors=True)
            raise
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def temporary_directory() -> Iterator[pathlib.Path]:
    """Give a call that is not resumed a directory beside those of the runs; it is always deleted at the end.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    root = run_root()
    with _writing(root):
        # files that are still mapped cannot be deleted on every file system
        directory = tempfile.TemporaryDirectory(prefix='temporary-', dir=root, ignore_cleanup_errors=True)
    with directory as path:
        yield pathlib.Path(path)


def seed_of_run(directory: pathlib.Path, random_seed: int) -> int:
    """Return the seed: the given one, or, for 0, the one this run drew before, or a new one (kept in the directory)."""
    if random_seed:
        return random_seed
    path = directory / SEED_FILE
    if path.exists():
        return json.loads(path.read_text(encoding='utf-8'))
    seed = 1 + secrets.randbelow(MAX_SEED)
    path.write_text(json.dumps(seed), encoding='utf-8')
    return seed


@contextlib.contextmanager
def _writing(root):
    try:
        root.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(
            f'The directory for working files, {root}, cannot be written ({error.strerror}); set the environment '
            'variable AAM_WORK_DIR to a directory that you can write to.'
        ) from error


def _lock(handle):
    """Lock the file; False if another run has it, or deleted it (and its directory) between our opening and locking."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        warnings.warn(
            f'The file system of the directory for working files, {run_root()}, does not support locks '
            f'({error.strerror}); do not run the same call twice at the same time, or set the environment variable '
            'AAM_WORK_DIR to a directory on another file system.',
            AAMWarning,
        )
    try:
        return os.path.samestat(os.fstat(handle.fileno()), os.stat(handle.name))
    except FileNotFoundError:
        return False
