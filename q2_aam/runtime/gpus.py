"""Which GPUs of a machine a run takes where it sees several: those on which the fewest of our runs are.

Each run holds a lock on a file for each GPU that it uses, in the directory of run directories, so that runs of other
threads and processes can count them. The system gives the locks of a process back when it ends, whatever ends it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator

import torch

from q2_aam.errors import UserError

from .heard import ignoring
from .run_root import make_root, run_root

VISIBLE, FOLDER, CHOICE = 'CUDA_VISIBLE_DEVICES', 'gpus', 'choice'
SECONDS_TO_ASK = 20
# Of names in file names.
UNUSUAL = re.compile(r'[^A-Za-z0-9._-]')


class _Lock:
    """A lock on a file, held until it is released or forgotten."""

    def __init__(self, path: pathlib.Path, waits: bool = False):
        # what is not opened is released, too
        self.handle: int | None = None
        self.handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.handle, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        if self.handle is not None:
            os.close(self.handle)
            self.handle = None

    __del__ = release


class _Held(threading.local):
    """The locks of a thread, by the name of their GPU: they end with it, or where it takes others."""

    def __init__(self):
        self.locks: dict[str, _Lock] = {}


_held = _Held()


def count_gpus() -> int:
    """Return how many GPUs this process sees."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def take_gpus(number: int = 1, first: int | None = None) -> list[int]:
    """Return the GPUs, by their numbers in this process, that the calling thread is to compute on.

    Those with the fewest runs of other threads and processes, in order; of equal ones those that the thread has taken
    before, then those with most free memory. They count as taken until it ends, takes others or calls
    :func:`release_gpus`. Where no locks can be held, memory decides alone.

    Parameters
    ----------
    number : int
        How many, at most all that there are.
    first : int, optional
        One of them that is to be the first.
    """
    names = names_of_gpus()
    number = min(number, len(names))
    if len(names) <= 1:
        return list(range(number))
    # nothing to compute with is created on a GPU to ask for its memory
    free, mine = free_memory(names), _held.locks

    def chosen(runs):
        order = sorted(
            range(len(names)),
            key=lambda gpu: (
                gpu != first,
                runs.get(names[gpu], 0),
                names[gpu] not in mine,
                -free.get(names[gpu], 0),
                gpu,
            ),
        )
        return order[:1] + sorted(order[1:number]) if first is not None else sorted(order[:number])

    with contextlib.suppress(OSError, UserError), _choosing() as folder:
        gpus = chosen({name: _runs(folder, name) - (name in mine) for name in names})
        wanted = {names[gpu] for gpu in gpus}
        for name in set(mine) - wanted:
            mine.pop(name).release()
        for name in wanted - set(mine):
            mine[name] = _taken(folder, name)
        return gpus
    return chosen({})


def release_gpus() -> None:
    """Give back what the calling thread has taken."""
    while _held.locks:
        _held.locks.popitem()[1].release()


@contextlib.contextmanager
def taken_gpus(number: int) -> Iterator[str]:
    """Take so many GPUs until the end of the block; give their names, as CUDA_VISIBLE_DEVICES has them."""
    names = names_of_gpus() if number else []
    if not names:
        yield ''
        return
    try:
        yield ','.join(names[gpu] for gpu in take_gpus(number))
    finally:
        release_gpus()


def names_of_gpus() -> list[str]:
    """Return how the GPUs that this process sees are called outside of it, as CUDA_VISIBLE_DEVICES names them."""
    number = count_gpus()
    given = [name.strip() for name in os.environ.get(VISIBLE, '').split(',') if name.strip()][:number]
    return given if len(given) == number else [str(gpu) for gpu in range(number)]


def free_memory(names: list[str]) -> dict[str, int]:
    """Return the free memory, in MiB, of those GPUs of which the driver's own program tells it."""
    program = shutil.which('nvidia-smi')
    if program is None:
        return {}
    query = [program, '--query-gpu=index,uuid,memory.free', '--format=csv,noheader,nounits']
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        text = subprocess.run(query, capture_output=True, text=True, timeout=SECONDS_TO_ASK, check=True).stdout
        rows = [[word.strip() for word in line.split(',')] for line in text.splitlines() if line.strip()]
        # the beginning of a UUID is a name, too
        return {
            name: int(free) for name in names for index, uuid, free in rows if name == index or uuid.startswith(name)
        }
    return {}


@contextlib.contextmanager
def _choosing() -> Iterator[pathlib.Path]:
    """Let nobody else choose meanwhile; give the folder of the locks."""
    with ignoring():
        root = run_root()
        make_root(root)
    folder = root / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = _Lock(folder / f'{_machine()}-{CHOICE}', waits=True)
    try:
        yield folder
    finally:
        lock.release()


def _machine():
    # where a scheduler shows each job its own GPUs only, it counts them from 0 in each
    job = os.environ.get('SLURM_JOB_ID', '')
    return UNUSUAL.sub('_', f'{socket.gethostname()}-{job}' if job else socket.gethostname())


def _files(folder, name):
    """Yield the files of a GPU, one for each run that may be on it, and at last one that is new."""
    slot, beginning = 0, f'{_machine()}-{UNUSUAL.sub("_", name)}'
    while (path := folder / f'{beginning}.{slot}').exists():
        yield path
        slot += 1
    yield path


def _runs(folder, name):
    """Count the runs on a GPU."""
    runs = 0
    for path in list(_files(folder, name))[:-1]:
        try:
            _Lock(path).release()
        except BlockingIOError:
            runs += 1
    return runs


def _taken(folder, name):
    for path in _files(folder, name):
        with contextlib.suppress(BlockingIOError):
            return _Lock(path)
    raise BlockingIOError(name)
