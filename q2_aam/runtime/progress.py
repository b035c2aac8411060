"""How far a run is: a bar on a terminal, and a line a minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .recorder import Recorder
from .screen import draw

# Where nothing else is reported for longer, a line tells how far a run is.
SECONDS_BETWEEN_LINES = 60.0
# Characters of the bar, and of the line that it is in.
BAR, WIDTH = 30, 60


class Timer:
    """Tells whether it is time again; the first time when `seconds` have passed."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.restart()

    def restart(self) -> None:
        """Start to wait again."""
        self.due = time.monotonic() + self.seconds

    def rings(self) -> bool:
        """Return whether it is time; if so, start to wait again."""
        over = time.monotonic() >= self.due
        if over:
            self.restart()
        return over


class Clock:
    """Reports how far a run is, and how long it will still take.

    Parameters
    ----------
    recorder : q2_aam.runtime.recorder.Recorder or callable
        Takes lines; a callable takes one line.
    step, steps : int
        Where the run begins, and how many steps it has in all.
    """

    def __init__(self, recorder: Recorder | Callable[[str], Any], step: int, steps: int):
        self.say = recorder.say if isinstance(recorder, Recorder) else recorder
        self.first, self.steps = step, steps
        self.started, self.timer = time.monotonic(), Timer(SECONDS_BETWEEN_LINES)

    def is_time(self) -> bool:
        """Return whether the last line was long ago; the caller then reports how far it is."""
        return self.timer.rings()

    def hear(self) -> None:
        """Note that the run has just reported something else."""
        self.timer.restart()

    def left(self, step: int) -> str:
        """Return how long the steps after `step` will take if they take as long as those before."""
        seconds = (time.monotonic() - self.started) / (step - self.first) * (self.steps - step)
        unit, size = ('s', 1) if seconds < 120 else ('min', 60) if seconds < 7200 else ('h', 3600)
        return f'{seconds / size:.0f} {unit} left'

    def tell(self, where: str, loss: float, step: int) -> None:
        """Report how far the run is after `step` steps."""
        _clear()
        self.say(f'{where}: loss {loss:.3f} | {self.left(step)}')


def draw_bar(done: int, of: int, name: str) -> None:
    """Show how far something is, on a terminal only."""
    filled = BAR * done // of
    draw(f'\r{name} [{"#" * filled}{"." * (BAR - filled)}] {done}/{of}\r')
    if done == of:
        _clear()


def _clear():
    draw('\r' + ' ' * WIDTH + '\r')
