"""Files that are complete or absent, whatever ends the process: a temporary name, fsync of file and folder, rename."""

import collections.abc
import contextlib
import errno
import hashlib
import json
import os
import pathlib
import re
import shutil
import typing
import warnings

from q2_aam.errors import AAMWarning, MachineError

TEMPORARY, DAMAGED = 'new.', '.damaged'
BYTES_PER_BLOCK = 2**20
# A file system that cannot fsync a folder, or allocate in advance, says so with one of these.
UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> collections.abc.Iterator[pathlib.Path]:
    """Give the name under which to write a file; at the end of the block it takes the place of `path`.

    Raises
    ------
    OSError
        Whatever a full or broken disk does to the writer; `path` is then as it was before.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(TEMPORARY + path.name)
    try:
        with disk_errors():
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
            sync(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def sync(path: str | os.PathLike) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(handle)


def write_json(path: str | os.PathLike, values: dict[str, typing.Any]) -> None:
    """Write an object as JSON, with a checksum of its own."""
    text = json.dumps(values | {'sha256': _checksum(values)})
    with replacing(path) as temporary:
        temporary.write_text(text, encoding='utf-8')


def read_json(path: str | os.PathLike) -> dict[str, typing.Any]:
    """Read what :func:`write_json` wrote.

    Raises
    ------
    ValueError
        In a few words, if it is anything else, or cannot be read.
    """
    name = pathlib.Path(path).name
    try:
        values = json.loads(pathlib.Path(path).read_bytes())
    except OSError as error:
        raise ValueError(f'{name} cannot be read: {error.strerror}') from error
    # bytes that are no text, text that is no JSON, JSON that is nested too deep
    except (ValueError, RecursionError):
        raise ValueError(f'{name} is not JSON') from None
    if not isinstance(values, dict) or values.pop('sha256', None) != _checksum(values):
        raise ValueError(f'{name} does not match its checksum')
    return values


def _checksum(values):
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def hash_file(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, 'rb') as handle:
        while block := handle.read(BYTES_PER_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def check_file(path: str | os.PathLike, sha256: str) -> None:
    """Raise ValueError, in a few words, unless a file can be read and has this SHA-256."""
    name = pathlib.Path(path).name
    try:
        actual = hash_file(path)
    except OSError as error:
        raise ValueError(f'{name} cannot be read: {error.strerror}') from error
    if actual != sha256:
        raise ValueError(f'{name} does not match its checksum')


def set_aside(path: str | os.PathLike, what: str, error: Exception, then: str) -> None:
    """Rename a damaged file or folder, so that nothing reads it again, and warn.

    Parameters
    ----------
    path : path
    what : str
        What it belongs to: the beginning of the sentence.
    error : Exception
        What is wrong with it.
    then : str
        What happens instead: the end of the sentence.
    """
    path = pathlib.Path(path)
    aside = path.with_name(path.name + DAMAGED)
    remove(aside)
    done = f'; set aside as {aside.name}'
    try:
        os.replace(path, aside)
    except OSError:
        remove(path)
        done = ''
    warnings.warn(f'{what} is damaged ({reason(error)}{done}); {then}.', AAMWarning, stacklevel=3)


def remove(path: str | os.PathLike) -> None:
    """Delete a file, a link or a folder, if it is there and can be deleted."""
    with contextlib.suppress(OSError):
        pathlib.Path(path).unlink()
    shutil.rmtree(path, ignore_errors=True)


def reason(error: BaseException) -> str:
    """Return in a few words what an error says."""
    return (isinstance(error, OSError) and error.strerror) or ' '.join(str(error).split())


@contextlib.contextmanager
def disk_errors() -> collections.abc.Iterator[None]:
    """Raise an OSError where safetensors, which has an error of its own, cannot write."""
    try:
        yield
    except Exception as error:
        # safetensors is not imported here: the run directory is known to code that must load quickly
        if type(error).__name__ != 'SafetensorError':
            raise
        number = re.search(r'(?:os error|code:) (\d+)', str(error))
        if number is None:
            raise OSError(errno.EIO, str(error)) from error
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


@contextlib.contextmanager
def writing_output(folder: str | os.PathLike, kept: str = '') -> collections.abc.Iterator[None]:
    """Say in one sentence if a result cannot be written into `folder`, where the framework wants it.

    Parameters
    ----------
    folder : path
    kept : str
        What to add: where the result can still be had.

    Raises
    ------
    q2_aam.errors.MachineError
    """
    try:
        with disk_errors():
            yield
    except OSError as error:
        raise MachineError(
            f'The result cannot be written into {folder} ({reason(error)}); free space on its disk, or set the '
            f'environment variable TMPDIR to a folder on another disk{kept}.'
        ) from error
