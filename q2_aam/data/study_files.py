"""The arrays of a study: in memory, or memory-mapped files of a folder, which is finished once it has its marker."""

import collections.abc
import json
import os
import pathlib
import typing
import warnings

import numpy as np

from q2_aam.errors import AAMWarning, UserError

ARRAYS = ('codes', 'lengths', 'truncated', 'offsets', 'asvs', 'abundances', 'reads')
# arrays that grow with ASVs times nucleotides or with non-zeros; the others are read into memory
LARGE = ('codes', 'asvs', 'abundances')
# written last: a folder that has it has a finished study
MARKER = 'study.json'


def new_array(folder: pathlib.Path | None, name: str, shape: tuple[int, ...], dtype: typing.Any) -> np.ndarray:
    """Return an array of zeros: a file of the folder, memory-mapped, or in memory where there is no folder."""
    if folder is None:
        return np.zeros(shape, dtype)
    path = folder / f'{name}.npy'
    array = np.lib.format.open_memmap(path, 'w+', dtype, shape)
    # a mapped file that the disk has no room for would end the process without a message when it is written
    if hasattr(os, 'posix_fallocate'):
        try:
            with path.open('r+b') as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            raise UserError(
                f'The run directory {folder} has no room for {array.nbytes / 1e9:.1f} GB ({error.strerror}); free disk '
                'space, or set the environment variable AAM_WORK_DIR to a folder that has it.'
            ) from error
    return array


def finish(folder: pathlib.Path, arrays: collections.abc.Mapping[str, np.ndarray], **rest) -> None:
    """Write all that is not written yet, and last the marker with `rest`, which is JSON as it is."""
    for array in arrays.values():
        if isinstance(array, np.memmap):
            array.flush()
    half = folder / f'{MARKER}.half'
    half.write_text(json.dumps(rest), encoding='utf-8')
    half.replace(folder / MARKER)


def load(folder: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, typing.Any]] | None:
    """Return the arrays of a folder and what else :func:`finish` was given; None if nothing was finished there.

    Warns
    -----
    AAMWarning
        If it was finished but cannot be read; None then, too.
    """
    if not (folder / MARKER).exists():
        return None
    try:
        rest = json.loads((folder / MARKER).read_text(encoding='utf-8'))
        arrays = read_arrays(folder)
    except (OSError, ValueError, EOFError) as error:
        warnings.warn(
            f'The study in the run directory, {folder}, is damaged ({error}); it is built again.',
            AAMWarning,
            stacklevel=3,
        )
        return None
    return arrays, rest


def read_arrays(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Return the arrays of a folder, the large ones memory-mapped."""
    return {
        name: np.load(folder / f'{name}.npy', mmap_mode='r' if name in LARGE else None, allow_pickle=False)
        for name in ARRAYS
    }
