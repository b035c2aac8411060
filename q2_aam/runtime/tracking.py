"""Experiment trackers as sinks of the recorder: which there are, and what of a run goes to them, once.

What a tracker needs to be reached (addresses, keys) it takes from its own environment variables; nothing of that is
read here, kept or said. A tracker that fails costs a warning, never the run.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import pathlib
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from q2_aam.config.runtime import NO_TRACKER
from q2_aam.data.atomic import read_json, write_json
from q2_aam.data.splits import TEST, TRAINING, VALIDATION
from q2_aam.errors import AAMWarning, UserError, missing_package

from .figures import confusion_png, confusion_table, scatter_png

# In the run directory: the tracker's run, and the last step of each thing that it was told.
STATE_FILE = 'tracker.json'
# Parts of a history whose metrics are metrics: others name samples or hold texts, which stay here.
PARTS = (TRAINING, VALIDATION, TEST, 'run', 'range_test')
# Their loggers may name addresses.
LOGGERS = ('mlflow', 'alembic', 'urllib3', 'wandb')
# Folders of artifacts are called by these.
UUID = re.compile(r'[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}')


class Tracker(Protocol):
    """What a class named Tracker in a module of :mod:`q2_aam.runtime.trackers` offers.

    It is made from the name of the run and the `id` that it had before, None for a new one.
    """

    id: str

    def parameters(self, values: dict[str, Any]) -> None:
        """Keep what the run was configured by, and its inputs."""

    def metrics(self, step: int, epoch: int, values: dict[str, float]) -> None:
        """Keep metrics after `step` steps."""

    def figure(self, name: str, png: bytes, step: int) -> None:
        """Keep a picture."""

    def close(self, finished: bool) -> None:
        """Send what is left; `finished` tells whether the run succeeded."""


class Kind(NamedTuple):
    """A kind of tracker: how it is opened, the packages that it needs, and what to look at where it fails."""

    opened: Callable[[str, str | None], Tracker]
    packages: tuple[str, ...]
    hint: str


def _tensorboard(name, found):
    from .trackers.tensorboard import Tracker

    return Tracker(name, found)


def _mlflow(name, found):
    from .trackers.mlflow import Tracker

    return Tracker(name, found)


def _wandb(name, found):
    from .trackers.wandb import Tracker

    return Tracker(name, found)


# By the names of their extras.
TRACKERS = {
    'tensorboard': Kind(
        _tensorboard, ('tensorboard',), 'the disk and the environment variable TENSORBOARD_LOGGING_DIR'
    ),
    'mlflow': Kind(_mlflow, ('mlflow',), 'its server, the network and its environment variables (MLFLOW_TRACKING_URI)'),
    'wandb': Kind(_wandb, ('wandb', 'PIL'), 'the network and its environment variables (WANDB_MODE, WANDB_API_KEY)'),
}


def check_tracker(name: str) -> None:
    """Raise UserError, in one sentence, if the packages of a tracker are not installed; 'none' needs none."""
    if name == NO_TRACKER:
        return
    if missing := missing_package(TRACKERS[name].packages):
        raise UserError(
            f'Parameter tracker is {name}, but the Python package {missing} is not installed; run pip install '
            f"'q2-aam[{name}]', or set tracker to {NO_TRACKER}."
        )


def trackers_of(name: str, directory: pathlib.Path, seed: int) -> list[Tracked]:
    """Return the sinks for the parameter `tracker`: none or one; see :class:`Tracked`."""
    return [] if name == NO_TRACKER else [Tracked(name, directory, f'{directory.name}-{seed}')]


def parameters_of(config: Any, hashes: dict[str, str], inputs: Any) -> dict[str, Any]:
    """Return what a run is known by: its configuration, hashes of its inputs, and UUIDs where paths tell them.

    Parameters
    ----------
    config : q2_aam.config.Call
        With every 'auto' resolved.
    hashes : dict
        {input: SHA-256}.
    inputs : dataclass
        Some of whose fields are paths.
    """
    known = {f'{name}_sha256': value for name, value in hashes.items()}
    for name, value in vars(inputs).items():
        if isinstance(value, (str, os.PathLike)):
            found = [part for part in pathlib.Path(value).parts if UUID.fullmatch(part)]
            known |= {f'{name}_uuid': found[-1]} if found else {}
    # names of machines are nobody's business
    options = {name: value for name, value in config.to_flat().items() if name != 'rendezvous'}
    return options | known


class Tracked:
    """A sink of the recorder that passes on to a tracker what this has not been told before.

    The tracker is opened at the first report. A run that resumes goes on with the same run of the tracker.

    Parameters
    ----------
    kind : str
        A key of ``TRACKERS``.
    directory : path
        The run directory.
    name : str
        Of the run.
    """

    def __init__(self, kind: str, directory: pathlib.Path, name: str):
        self.kind, self.directory, self.name = kind, directory, name
        self.tracker: Tracker | None = None
        self.dropped = False
        self.told: dict[str, int] = {}
        self.points: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
        self.step = 0

    def parameters(self, **values: Any) -> None:
        """Pass on parameters."""
        self._tell('parameters', 0, values, lambda tracker, new: tracker.parameters(new))

    def log(self, step: int, epoch: int, part: str, **metrics: float) -> None:
        """Pass on metrics of a part, after `step` steps."""
        if part in PARTS:
            numbers = {name: float(value) for name, value in metrics.items()}
            self._metrics(step, epoch, part, numbers)

    def cost(self, step: int, epoch: int, **metrics: float) -> None:
        """Pass on what an epoch took."""
        self._metrics(step, epoch, 'run', metrics)

    def _metrics(self, step, epoch, part, metrics):
        self.step = max(step, self.step)

        def tell(tracker, new):
            tracker.metrics(step, epoch, {f'{part}/{name}': value for name, value in new.items()})

        self._tell(part, step, metrics, tell)

    def add_points(self, plot: str, part: str, predicted: Any, true: Any) -> None:
        """Pass on a picture of predicted against true values; those of classes wait for the others of their part."""
        self.points[plot, part] = np.asarray(predicted, dtype=float), np.asarray(true, dtype=float)

    def close(self, finished: bool) -> None:
        """Draw what was collected, and close the tracker."""
        for name, draw in self._figures() if finished else ():
            self._tell('figures', 0, {name: draw}, self._draw)
        if self.tracker is not None:
            self._try(functools.partial(self.tracker.close, finished))
            self.tracker = None

    def _draw(self, tracker, figures):
        for name, draw in figures.items():
            tracker.figure(name, draw(), self.step)

    def _figures(self) -> Iterator[tuple[str, Callable[[], bytes]]]:
        for part in dict.fromkeys(part for _, part in self.points):
            of_part = {plot: points for (plot, other), points in self.points.items() if other == part}
            table = confusion_table(of_part)
            if table is not None:
                yield f'confusion_{part}', functools.partial(confusion_png, table, part)
                continue
            for plot, points in of_part.items():
                yield f'{plot}_{part}', functools.partial(scatter_png, *points, plot, part)

    def _tell(self, what, step, values, tell):
        """Open the tracker where it is not, and `tell` it those values whose step is beyond what it was told."""
        if self.dropped or not (self.tracker or self._try(self._open)):
            return
        new = {name: value for name, value in values.items() if step > self.told.get(f'{what}/{name}', -1)}
        if new and self._try(lambda: tell(self.tracker, new)):
            self.told |= {f'{what}/{name}': step for name in new}
            self._try(self._remember)

    def _open(self):
        before = {}
        with contextlib.suppress(OSError, ValueError, KeyError):
            found = read_json(self.directory / STATE_FILE)
            before = found if found['name'] == self.name and found['kind'] == self.kind else {}
        self.told = dict(before.get('told', {}))
        self.tracker = TRACKERS[self.kind].opened(self.name, before.get('id'))
        self._remember()

    def _remember(self):
        assert self.tracker is not None
        known = {'kind': self.kind, 'name': self.name, 'id': self.tracker.id, 'told': self.told}
        write_json(self.directory / STATE_FILE, known)

    def _try(self, work):
        """Do some work of the tracker; return whether it succeeded. After a failure nothing more is tried."""
        if self.dropped:
            return False
        try:
            with _quiet():
                work()
        # whatever it is, it must not cost the run; its text may hold addresses and keys
        except Exception as error:
            self.dropped = True
            warnings.warn(
                f'The tracker {self.kind} failed ({type(error).__name__}), so that training goes on without it; check '
                f'{TRACKERS[self.kind].hint}.',
                AAMWarning,
            )
            return False
        return True


@contextlib.contextmanager
def _quiet():
    """Keep the loggers of trackers silent, which may say where they send things to."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        for logger, level in zip(loggers, before):
            logger.setLevel(level)
