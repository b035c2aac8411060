"""What a run reports while it runs: lines, metrics and points, which go to every sink."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .history import History, thin
from .screen import print_line

if TYPE_CHECKING:
    import numpy as np


class Terminal:
    """The sink that prints lines.

    Parameters
    ----------
    print_line : callable
        Takes one line.
    """

    def __init__(self, print_line: Callable[[str], Any] = print_line):
        self.say = print_line


class Recorder:
    """Passes what a run reports to its sinks.

    A sink is any object with some of these methods: ``say(line)``, ``log(step, epoch, part, **metrics)``,
    ``cost(step, epoch, **metrics)``, ``add_points(plot, part, predicted, true)``, ``parameters(**values)`` and
    ``close(finished)``. It is called in the order in which the run reports, in the thread and process of the run. A
    :class:`Terminal`, a :class:`q2_aam.runtime.history.History` and a :class:`q2_aam.runtime.tracking.Tracked` are
    sinks.

    Parameters
    ----------
    say : callable
        Takes one line of progress.
    history : q2_aam.runtime.history.History, optional
        Keeps metrics and points, default: a new one.
    sinks : iterable of objects
        Further sinks, e.g. an experiment tracker.

    Attributes
    ----------
    history : q2_aam.runtime.history.History
    sinks : list of objects
    """

    def __init__(
        self, say: Callable[[str], Any] = print_line, history: History | None = None, sinks: Iterable[object] = ()
    ):
        self.history = History() if history is None else history
        self.sinks = [Terminal(say), self.history, *sinks]

    def say(self, line: str) -> None:
        """Report one line of progress."""
        self._pass_on('say', line)

    def log(self, step: int, epoch: int, part: str, **metrics: float) -> None:
        """Report metrics of a part of the samples after `step` steps."""
        self._pass_on('log', step, epoch, part, **metrics)

    def cost(self, step: int, epoch: int, **metrics: float) -> None:
        """Report what an epoch took; sinks that have no method for it are not told."""
        self._pass_on('cost', step, epoch, **metrics)

    def add_points(self, plot: str, part: str, predicted: Any, true: Any, generator: np.random.Generator) -> None:
        """Report points of a plot of predicted against true; the numpy `generator` thins them where they are many."""
        self._pass_on('add_points', plot, part, *thin(predicted, true, generator))

    def parameters(self, **values: Any) -> None:
        """Report what the run was configured by, and its inputs."""
        self._pass_on('parameters', **values)

    def close(self, finished: bool) -> None:
        """Tell sinks that nothing more comes, and whether the run succeeded."""
        self._pass_on('close', finished)

    @contextlib.contextmanager
    def closing(self) -> Iterator[Recorder]:
        """Close the sinks at the end of the block, which has succeeded unless it raises."""
        finished = False
        try:
            yield self
            finished = True
        finally:
            self.close(finished)

    def restore(self, history: History) -> History:
        """Replace the rows of the history by those of a run that was interrupted, and return the history.

        Other sinks are not told again what they were told before.
        """
        self.history.rows[:] = history.rows
        return self.history

    def _pass_on(self, name, *values, **metrics):
        for sink in self.sinks:
            method = getattr(sink, name, None)
            if method is not None:
                method(*values, **metrics)
