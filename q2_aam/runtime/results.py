"""What a finished run gives, kept in its run directory: an identical call takes it from there. No pickle anywhere."""

from __future__ import annotations

import dataclasses
import datetime
import os
import pathlib
import shutil
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from q2_aam.data.atomic import (
    check_file,
    disk_errors,
    hash_file,
    read_json,
    reason,
    remove,
    set_aside,
    sync,
    write_json,
    writing_output,
)
from q2_aam.errors import AAMWarning

from .heard import heard
from .history import History
from .run_root import DAYS_KEPT, FINISHED, RESULT

if TYPE_CHECKING:
    import pandas as pd

BUNDLE, TABLES = 'bundle', 'tables.json'


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run gives.

    Attributes
    ----------
    bundle : path or None
        Its model in the run directory; None where that had no room, and the model is where the caller wants it.
    details : pandas.DataFrame or None
    history : q2_aam.runtime.history.History
    finished : str
        When, for the user.
    """

    bundle: pathlib.Path | None
    details: pd.DataFrame | None
    history: History
    finished: str


def save_bundle(directory: pathlib.Path, folder: str | os.PathLike, save: Callable[[Any], None]) -> None:
    """Let `save` write a bundle into the run directory, or, where this has no room, into `folder`.

    Raises
    ------
    q2_aam.errors.MachineError
        If neither has.

    Warns
    -----
    AAMWarning
        If the run directory has none.
    """
    result = directory / RESULT
    try:
        with disk_errors():
            remove(result)
            (result / BUNDLE).mkdir(parents=True)
            save(result / BUNDLE)
    except OSError as error:
        remove(result)
        _not_kept(directory, error)
        with writing_output(folder):
            save(folder)


def keep(directory: pathlib.Path, seed: int, details: pd.DataFrame | None, history: History) -> Result:
    """Write what belongs to the bundle that :func:`save_bundle` has written, and return both.

    What the run has warned of is kept with it (:func:`q2_aam.runtime.heard.heard`).

    Warns
    -----
    AAMWarning
        If the run directory has no room; the result is then returned all the same.
    """
    result = directory / RESULT
    finished = datetime.datetime.now().isoformat(' ', 'minutes')
    bundle = result / BUNDLE
    if not bundle.is_dir():
        return Result(None, details, history, finished)
    tables = {'details': None if details is None else to_json(details), 'history': vars(history), 'warnings': heard()}
    try:
        write_json(result / TABLES, tables)
        files = {path.name: hash_file(path) for path in bundle.iterdir()}
        for name in files:
            sync(bundle / name)
        sync(bundle)
        write_json(result / FINISHED, {'finished': finished, 'seed': seed, 'bundle': files})
    # whatever it is, it must not cost the run its result; the bundle stays, because the caller has yet to take it
    except (OSError, ValueError, TypeError) as error:
        remove(result / FINISHED)
        _not_kept(directory, error)
    return Result(bundle, details, history, finished)


def _not_kept(directory, error):
    warnings.warn(
        f'The run directory {directory} cannot be written ({reason(error)}): the result of this run is not kept there '
        f'for {DAYS_KEPT} days.',
        AAMWarning,
    )


def load(directory: pathlib.Path, seed: int) -> Result | None:
    """Return the result of a run that was finished in this directory, None if there is none.

    Warns
    -----
    AAMWarning
        If it is damaged, or of another seed; it is set aside then. Else of all that the run has warned of.
    """
    result = directory / RESULT
    if not os.path.lexists(result / FINISHED):
        return None
    try:
        marker, tables = read_json(result / FINISHED), read_json(result / TABLES)
        if marker['seed'] != seed:
            raise ValueError('it belongs to a run with another seed')
        for name, checksum in marker['bundle'].items():
            check_file(result / BUNDLE / name, checksum)
        details = tables['details'] and from_json(tables['details'])
        history = History(**tables['history'])
        warned = list(map(str, tables.get('warnings', [])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        set_aside(result, f'The result in the run directory, {directory},', error, 'the model is trained again')
        return None
    for text in warned:
        warnings.warn(text, AAMWarning, stacklevel=2)
    return Result(result / BUNDLE, details, history, marker['finished'])


def deliver(result: Result, folder: str | os.PathLike) -> None:
    """Copy the bundle of a result into `folder`, which exists.

    Raises
    ------
    q2_aam.errors.MachineError
        If it cannot be written; the run directory keeps the result.
    """
    if result.bundle is None:
        return
    kept = ''
    if (result.bundle.parent / FINISHED).exists():
        kept = f', and give the same command again: it takes its result from {result.bundle.parents[1]}'
    with writing_output(folder, kept):
        for path in result.bundle.iterdir():
            shutil.copyfile(path, pathlib.Path(folder) / path.name)


def to_json(frame: pd.DataFrame) -> dict[str, list]:
    """Return a DataFrame of text, numbers and booleans as JSON has it, nothing rounded."""
    return {
        'index': [frame.index.name, str(frame.index.dtype), frame.index.tolist()],
        'columns': [[name, str(frame[name].dtype), frame[name].tolist()] for name in frame],
    }


def from_json(values: dict[str, list]) -> pd.DataFrame:
    """Return the DataFrame that :func:`to_json` was given."""
    import pandas as pd

    name, dtype, ids = values['index']
    index = pd.Index(ids, dtype, name=name)
    return pd.DataFrame({column: pd.Series(of, index, dtype) for column, dtype, of in values['columns']}, index)
