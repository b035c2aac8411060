"""The arrays of a study: in memory, or memory-mapped files of a folder, which is finished once it has its marker."""

import collections.abc
import os
import pathlib
import typing

import numpy as np

from q2_aam.errors import MachineError

from .atomic import UNSUPPORTED, check_file, hash_file, read_json, reason, remove, set_aside, sync, write_json

ARRAYS = ('codes', 'lengths', 'truncated', 'offsets', 'asvs', 'abundances', 'reads')
# arrays that grow with ASVs times nucleotides or with non-zeros; the others are read into memory
LARGE = ('codes', 'asvs', 'abundances')
# written last: a folder that has it has a finished study
MARKER = 'study.json'
HASHES = 'arrays'


def new_array(folder: pathlib.Path | None, name: str, shape: tuple[int, ...], dtype: typing.Any) -> np.ndarray:
    """Return an array of zeros: a file of the folder, memory-mapped, or in memory where there is no folder."""
    if folder is None:
        return np.zeros(shape, dtype)
    path = _path(folder, name)
    size = np.dtype(dtype).itemsize * int(np.prod(shape))
    try:
        array = np.lib.format.open_memmap(path, 'w+', dtype, shape)
        # a mapped file that the disk has no room for would end the process without a message when it is written
        if hasattr(os, 'posix_fallocate'):
            with path.open('r+b') as file:
                _allocate(file)
    except OSError as error:
        raise MachineError(
            f'The run directory {folder} has no room for another {_size(size)} ({reason(error)}); free disk space, or '
            'set the environment variable AAM_WORK_DIR to a folder that has it.'
        ) from error
    return array


def _allocate(file):
    try:
        os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def finish(folder: pathlib.Path, arrays: collections.abc.Mapping[str, np.ndarray], **rest) -> None:
    """Write all that is not written yet, and last the marker with `rest`, which is JSON as it is."""
    try:
        for name, array in arrays.items():
            if isinstance(array, np.memmap):
                array.flush()
                sync(_path(folder, name))
        hashes = {name: hash_file(_path(folder, name)) for name in arrays}
        write_json(folder / MARKER, rest | {HASHES: hashes})
    except OSError as error:
        raise MachineError(
            f'The study cannot be written into the run directory {folder} ({reason(error)}); free disk space, or set '
            'the environment variable AAM_WORK_DIR to another folder.'
        ) from error


def load(folder: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, typing.Any]] | None:
    """Return the arrays of a folder and what else :func:`finish` was given; None if nothing was finished there.

    Warns
    -----
    AAMWarning
        If it was finished but cannot be read; its marker is then set aside and its arrays are deleted: they can be
        large, and a disk that was full is what damages them. None then, too.
    """
    # a link to nowhere is there, too
    if not os.path.lexists(folder / MARKER):
        return None
    try:
        rest = read_json(folder / MARKER)
        hashes = rest.pop(HASHES)
        for name in ARRAYS:
            check_file(_path(folder, name), hashes[name])
        arrays = read_arrays(folder)
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        set_aside(folder / MARKER, f'The study in the run directory, {folder},', error, 'it is built again')
        for name in ARRAYS:
            remove(_path(folder, name))
        return None
    return arrays, rest


def read_arrays(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Return the arrays of a folder, the large ones memory-mapped."""
    return {
        name: np.load(_path(folder, name), mmap_mode='r' if name in LARGE else None, allow_pickle=False)
        for name in ARRAYS
    }


def _size(number):
    """Return a number of bytes in the unit in which it can be read."""
    for unit, factor in (('GB', 1e9), ('MB', 1e6)):
        if number >= factor:
            return f'{number / factor:.1f} {unit}'
    return f'{number:,} bytes'


def _path(folder, name):
    return folder / f'{name}.npy'
