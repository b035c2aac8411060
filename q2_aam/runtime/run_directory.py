"""The work folder of a run: found again by the same call after a kill, deleted on success."""

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

import h5py
import numpy as np
import torch

import q2_aam
from q2_aam.errors import AAMWarning, UserError

from .checkpoint import FORM

SEED_FILE = 'seed.json'
LOCK_FILE = 'lock'
LARGEST_SEED = 2**31 - 1
BYTES_AT_ONCE, VALUES_AT_ONCE = 2**20, 2**18


def work_root():
    """Return the folder for working files: $AAM_WORK_DIR, else one in the user's cache folder."""
    if given := os.environ.get('AAM_WORK_DIR'):
        return pathlib.Path(given)
    return pathlib.Path(os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache') / 'q2-aam'


def hash_files(**paths):
    """Return {name: SHA-256 of the content} for each path that is given.

    A folder counts with all its files. An HDF5 file counts with its arrays: written again, it has another date.
    """
    hashes = {}
    for name, path in paths.items():
        if path is None:
            continue
        path = pathlib.Path(path)
        digest = hashlib.sha256()
        for file in sorted(path.rglob('*')) if path.is_dir() else [path]:
            for block in _arrays(file) if h5py.is_hdf5(file) else _bytes(file):
                digest.update(block)
        hashes[name] = digest.hexdigest()
    return hashes


def _bytes(path):
    with path.open('rb') as handle:
        while block := handle.read(BYTES_AT_ONCE):
            yield block


def _arrays(path):
    """Yield names, forms and content of the arrays of an HDF5 file."""
    with h5py.File(path) as file:
        names = []
        file.visit(names.append)
        for name, array in ((name, file[name]) for name in sorted(names) if isinstance(file[name], h5py.Dataset)):
            yield f'{name} {array.dtype} {array.shape}\n'.encode()
            # a number alone is an array of one
            values = array if array.shape else np.asarray(array)[None]
            for start in range(0, len(values), VALUES_AT_ONCE):
                block = values[start : start + VALUES_AT_ONCE]
                # ids are objects of any length
                yield b'\0'.join(block.ravel()) if block.dtype == object else block.tobytes()


def hash_series(series):
    """Return the SHA-256 of a pandas Series: its ids and values in order of ids, and its name."""
    lines = [f'{series.name}', *(f'{index}\t{value!r}' for index, value in sorted(series.items()))]
    return hashlib.sha256('\n'.join(lines).encode()).hexdigest()


def name_of_run(call, config, hashes):
    """Return the name of the run folder: equal for the same call on the same inputs, wherever it computes."""
    settings = dataclasses.asdict(config)
    # where and with how much the work is done does not change what is learned
    settings.pop('runtime')
    # another version may train otherwise, and must not go on from this one's checkpoint
    text = json.dumps([call, settings, hashes, q2_aam.__version__, FORM, torch.__version__], sort_keys=True)
    return f'{call}-{hashlib.sha256(text.encode()).hexdigest()[:16]}'


@contextlib.contextmanager
def run_folder(name):
    """Give the run its folder; delete it on success or when the user must mend an input, else leave it to resume.

    A second run of the same name beside a running one gets a folder of its own, which is always deleted.
    """
    root = work_root()
    with _writing(root):
        folder = root / name
        folder.mkdir(exist_ok=True)
        lock = open(folder / LOCK_FILE, 'w', encoding='utf-8')
    with lock:
        alone = _lock(lock)
        if not alone:
            folder = root / f'{name}-{secrets.token_hex(4)}'
            folder.mkdir()
        try:
            yield folder
        except UserError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        except BaseException:
            if not alone:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def temporary_folder():
    """Give a call that is not resumed a folder beside those of the runs; it is deleted at any end."""
    root = work_root()
    with _writing(root):
        # files that are still mapped cannot be deleted on every file system
        folder = tempfile.TemporaryDirectory(prefix='temporary-', dir=root, ignore_cleanup_errors=True)
    with folder as path:
        yield pathlib.Path(path)


@contextlib.contextmanager
def _writing(root):
    try:
        root.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(
            f'The folder for working files, {root}, cannot be written ({error.strerror}); set the environment variable '
            'AAM_WORK_DIR to a folder that can.'
        ) from error


def _lock(handle):
    """Lock the file; False if another run has it, or deleted it (and its folder) between our opening and locking."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        warnings.warn(
            f'The disk of the folder for working files, {work_root()}, knows no locks ({error.strerror}): do not make '
            'the same call twice at a time, or set AAM_WORK_DIR to another disk.',
            AAMWarning,
        )
    try:
        return os.path.samestat(os.fstat(handle.fileno()), os.stat(handle.name))
    except FileNotFoundError:
        return False


def seed_of_run(folder, random_seed):
    """Return the seed: the given one, or, for 0, the one this run drew before, or a new one (kept in the folder)."""
    if random_seed:
        return random_seed
    path = folder / SEED_FILE
    if path.exists():
        return json.loads(path.read_text(encoding='utf-8'))
    seed = 1 + secrets.randbelow(LARGEST_SEED)
    path.write_text(json.dumps(seed), encoding='utf-8')
    return seed
