"""Embeddings of ASVs by encoders that do not learn, kept for other folds, trials and calls, by content.

They are in files of one folder beside the run directories. A file is written once, under another name until it is
complete, and never changed, so that any number of processes may read, add and delete at the same time: who has opened
one goes on reading it when it is deleted. Nobody needs them: what is missing or damaged is computed.

Shapes: A ASVs, D width.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import hashlib
import json
import math
import os
import pathlib
import platform
import secrets
import struct
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np
import torch

import q2_aam
from q2_aam.data.atomic import BYTES_PER_BLOCK, TEMPORARY, reason, remove, replacing
from q2_aam.errors import AAMWarning, UserError, counted
from q2_aam.model.network import Network

from .device import device_name
from .run_directory import hash_of_code
from .run_root import EMBEDDINGS, EMBEDDINGS_NAME, make_private, make_root, run_root

# How many GB are kept, all encoders together; those that were not used for the longest time go first.
VARIABLE, DEFAULT_GB = 'AAM_EMBEDDINGS_GB', 1.0
# A name tells an ASV, or the tokens of a named feature, from every other.
NAME_BYTES = 16
# A file: this text, how many ASVs, their width, and the SHA-256 of all that follows: their names and embeddings.
MARK = b'AAM emb1'
HEAD = struct.Struct('<8sQQ32s')
# Where Linux tells the model of the processor, and in which lines, on x86 and on ARM.
CPU_INFO, OF_MODEL = pathlib.Path('/proc/cpuinfo'), ('model name', 'CPU implementer', 'CPU part')

_KEEPING: contextvars.ContextVar[bool] = contextvars.ContextVar('keeping', default=False)


@contextlib.contextmanager
def keeping(on: bool = True) -> Iterator[None]:
    """Let embeddings of an encoder that does not learn be kept, and taken from what is kept, until the block ends."""
    token = _KEEPING.set(on)
    try:
        yield
    finally:
        _KEEPING.reset(token)


def is_keeping() -> bool:
    """Tell whether embeddings are to be kept here."""
    return _KEEPING.get()


def digest_of(network: Network) -> str:
    """Return the digest of all that the embedding of an ASV depends on but the ASV, 32 hexadecimal digits.

    The weights and form of the ASV encoder, the precision, where and by which code it is computed.
    """
    encoder = network.asv_encoder
    device = next(encoder.parameters()).device
    settings = [
        type(encoder).__name__,
        dataclasses.asdict(network.config),
        *map(str, (network.precision, device.type, device_name(device), platform.machine(), _processor())),
        *(torch.backends.cpu.get_cpu_capability(), torch.get_num_threads(), len(network.copies)),
        *(q2_aam.__version__, hash_of_code(), torch.__version__, np.__version__),
    ]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, weights in sorted(encoder.state_dict().items()):
        digest.update(f'{name} {weights.dtype} {tuple(weights.shape)}\n'.encode())
        digest.update(weights.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def _processor():
    """Return the model of the processor: two that have the same instructions may sum up in another order."""
    with contextlib.suppress(OSError):
        lines = CPU_INFO.read_text().splitlines()
        if models := sorted({line for line in lines if line.startswith(OF_MODEL)}):
            return '\n'.join(models)
    return platform.processor()


def names_of(codes: np.ndarray, lengths: np.ndarray) -> list[bytes]:
    """Return the name of each ASV [A], by what an encoder reads of it: see `q2_aam.data.batches.read_sequences`."""
    return [
        hashlib.blake2b(row[:length].tobytes(), digest_size=NAME_BYTES).digest() for row, length in zip(codes, lengths)
    ]


@dataclasses.dataclass(frozen=True)
class KeptEmbeddings:
    """What is kept of one encoder.

    Attributes
    ----------
    folder : path
    encoder : str
        The digest of all that an embedding depends on but its ASV, 32 hexadecimal digits.
    max_bytes : int
        Of the files of all encoders together.
    """

    folder: pathlib.Path
    encoder: str
    max_bytes: int

    def take(self, names: Sequence[bytes], into_AD: np.ndarray) -> np.ndarray:
        """Write what is kept of these ASVs into an array, float32 [A, D]; return of which, bool [A].

        Warns
        -----
        AAMWarning
            If a file is damaged; it is deleted.
        """
        found = np.zeros(len(names), dtype=bool)
        with contextlib.suppress(OSError):
            for path in sorted(self.folder.glob(f'{self.encoder}-*')):
                if found.all():
                    break
                # another process may have deleted it; and others may be read where one cannot
                with contextlib.suppress(OSError):
                    self._take_from(path, names, into_AD, found)
        return found

    def _take_from(self, path, names, into_AD, found):
        try:
            with path.open('rb') as file:
                kept_names, rows = _read(file, into_AD.shape[1])
                # of the memory that the file is mapped to, only these rows are read
                row_of = {name: row for row, name in enumerate(kept_names)}
                places = [place for place in np.flatnonzero(~found) if names[place] in row_of]
                into_AD[places] = rows[[row_of[names[place]] for place in places]]
                found[places] = True
                if places:
                    # when it was used; when it was written tells how long it is kept
                    os.utime(path, (time.time(), os.fstat(file.fileno()).st_mtime))
        except ValueError as error:
            remove(path)
            warnings.warn(
                f'The embeddings in {path} are damaged ({reason(error)}) and were deleted; they are computed again.',
                AAMWarning,
                stacklevel=2,
            )

    def add(self, names: Sequence[bytes], embeddings_AD: np.ndarray) -> None:
        """Keep the embeddings of these ASVs, float32 [A, D], unless they are more than may be kept.

        Warns
        -----
        AAMWarning
            If they cannot be written.
        """
        size = HEAD.size + len(names) * NAME_BYTES + embeddings_AD.nbytes
        if not names or size > self.max_bytes:
            return
        try:
            with replacing(self.folder / f'{self.encoder}-{secrets.token_hex(8)}') as temporary:
                with open(temporary, 'wb', opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                    _write(file, names, np.ascontiguousarray(embeddings_AD, dtype='<f4'))
            self._make_room()
        except OSError as error:
            warnings.warn(
                f'The embeddings of {counted(len(names), "ASV")} cannot be kept in {self.folder} ({reason(error)}): '
                'other folds, trials and calls compute them again.',
                AAMWarning,
                stacklevel=2,
            )

    def _make_room(self):
        """Delete files, the one that was used before all others first, until the others are small enough."""
        files = []
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                # what is being written has another name
                if EMBEDDINGS_NAME.fullmatch(path.name) and not path.name.startswith(TEMPORARY):
                    status = path.lstat()
                    files.append((max(status.st_atime, status.st_mtime), status.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.max_bytes:
                return
            remove(path)
            total -= size


def open_kept(encoder: str) -> KeptEmbeddings | None:
    """Return what is kept of an encoder; None if nothing is to be kept or there is no folder for it.

    Raises
    ------
    UserError
        As :func:`max_gb`; if the folder is a link.

    Warns
    -----
    AAMWarning
        If the folder cannot be made.
    """
    max_bytes = int(max_gb() * 1e9)
    if not max_bytes:
        return None
    root = run_root()
    try:
        make_root(root)
        mine = make_private(root / EMBEDDINGS)
    except OSError as error:
        warnings.warn(
            f'Embeddings cannot be kept in {root / EMBEDDINGS} ({reason(error)}): other folds, trials and calls '
            'compute them again.',
            AAMWarning,
            stacklevel=2,
        )
        return None
    # what another user has written is not to be trusted
    return KeptEmbeddings(root / EMBEDDINGS, encoder, max_bytes) if mine else None


def max_gb() -> float:
    """Return how many GB of embeddings may be kept.

    Raises
    ------
    UserError
        If the environment variable AAM_EMBEDDINGS_GB is not a number, or below 0.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return DEFAULT_GB
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    # in bytes, too
    if not (math.isfinite(1e9 * number) and number >= 0):
        raise UserError(
            f'The environment variable {VARIABLE} is {text!r}, but it must be a number of GB, 0 or more; set it to how '
            'much may be kept of the embeddings of ASVs, 0 for nothing.'
        )
    return number


def _write(file: BinaryIO, names, embeddings_AD):
    names_and_rows = b''.join(names), embeddings_AD.data
    digest = hashlib.sha256()
    for part in names_and_rows:
        digest.update(part)
    file.write(HEAD.pack(MARK, *embeddings_AD.shape, digest.digest()))
    for part in names_and_rows:
        file.write(part)


def _read(file: BinaryIO, width: int) -> tuple[list[bytes], np.ndarray]:
    """Return the names [A] of an open file and their embeddings, mapped float32 [A, D].

    Raises
    ------
    ValueError
        In a few words, if it is damaged.
    """
    head = file.read(HEAD.size)
    if len(head) < HEAD.size:
        raise ValueError('it is too short')
    mark, asvs, kept_width, expected = HEAD.unpack(head)
    begin = HEAD.size + asvs * NAME_BYTES
    if mark != MARK or kept_width != width or os.fstat(file.fileno()).st_size != begin + 4 * asvs * width:
        raise ValueError('it has another size than it says')
    digest = hashlib.sha256()
    while block := file.read(BYTES_PER_BLOCK):
        digest.update(block)
    if digest.digest() != expected:
        raise ValueError('it does not match its checksum')
    file.seek(HEAD.size)
    names = file.read(asvs * NAME_BYTES)
    rows = np.memmap(file, '<f4', 'r', begin, (asvs, width))
    return [names[start : start + NAME_BYTES] for start in range(0, len(names), NAME_BYTES)], rows
