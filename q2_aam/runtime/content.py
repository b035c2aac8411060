"""Inputs are known by their content: hashes of files, folders and metadata columns."""

from __future__ import annotations

import hashlib
import os
import pathlib
from collections.abc import Iterator

import h5py
import numpy as np
import pandas as pd

BYTES_PER_BLOCK, VALUES_PER_BLOCK = 2**20, 2**18


def hash_files(**paths: str | os.PathLike | None) -> dict[str, str]:
    """Return {name: SHA-256 of the content} for each path that is given.

    A folder counts with all its files. An HDF5 file counts with its arrays: the same table written again has another
    date.
    """
    hashes = {}
    for name, given in paths.items():
        if given is None:
            continue
        path = pathlib.Path(given)
        digest = hashlib.sha256()
        for file in sorted(path.rglob('*')) if path.is_dir() else [path]:
            for block in _arrays(file) if h5py.is_hdf5(file) else _bytes(file):
                digest.update(block)
        hashes[name] = digest.hexdigest()
    return hashes


def hash_series(series: pd.Series) -> str:
    """Return the SHA-256 of a pandas Series: its ids and values in order of ids, and its name."""
    lines = [f'{series.name}', *(f'{index}\t{value!r}' for index, value in sorted(series.items()))]
    # half of a character pair is text for Python: what is wrong with it is said where ids are read
    return hashlib.sha256('\n'.join(lines).encode(errors='surrogatepass')).hexdigest()


def hash_frame(frame: pd.DataFrame) -> str:
    """Return the SHA-256 of a pandas DataFrame: of its columns in order of their names, see :func:`hash_series`."""
    columns = [hash_series(frame[name].rename(name)) for name in sorted(frame.columns)]
    return hashlib.sha256('\n'.join(columns).encode()).hexdigest()


def _bytes(path) -> Iterator[bytes]:
    with path.open('rb') as handle:
        while block := handle.read(BYTES_PER_BLOCK):
            yield block


def _arrays(path) -> Iterator[bytes]:
    """Yield names, types, shapes and content of the arrays of an HDF5 file."""
    with h5py.File(path) as file:
        names = []
        file.visit(names.append)
        for name, array in ((name, file[name]) for name in sorted(names) if isinstance(file[name], h5py.Dataset)):
            yield f'{name} {array.dtype} {array.shape}\n'.encode()
            # a number alone is an array of one
            values = array if array.shape else np.asarray(array)[None]
            for start in range(0, len(values), VALUES_PER_BLOCK):
                block = values[start : start + VALUES_PER_BLOCK]
                # ids are objects of any length
                yield b'\0'.join(block.ravel()) if block.dtype == object else block.tobytes()
