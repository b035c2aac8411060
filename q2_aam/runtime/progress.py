"""How far a run is: a bar on a terminal, and a line a minute."""

import sys
import time

# Where nothing else is said for longer, a line tells how far a run is.
SECONDS_BETWEEN_LINES = 60.0
# Places of the bar, and of the line that it stands in.
BAR, WIDTH = 30, 60


class Timer:
    """Tells whether it is time again; the first time when `seconds` have passed."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.restart()

    def restart(self):
        """Wait anew."""
        self.due = time.monotonic() + self.seconds

    def rings(self):
        """Return whether it is time; if so, wait anew."""
        over = time.monotonic() >= self.due
        if over:
            self.restart()
        return over


class Clock:
    """Tells how long a run will take still.

    Parameters
    ----------
    say : callable
        Takes one line.
    step, steps : int
        Where the run begins, and how many steps it has in all.
    """

    def __init__(self, say, step, steps):
        self.say, self.first, self.steps = say, step, steps
        self.started, self.timer = time.monotonic(), Timer(SECONDS_BETWEEN_LINES)

    def is_time(self):
        """Return whether the last line was long ago; the caller then tells where it is."""
        return self.timer.rings()

    def hear(self):
        """Take note that something was said just now."""
        self.timer.restart()

    def left(self, step):
        """Return how long the steps after `step` will take if they take as long as those before."""
        seconds = (time.monotonic() - self.started) / (step - self.first) * (self.steps - step)
        unit, size = ('s', 1) if seconds < 120 else ('min', 60) if seconds < 7200 else ('h', 3600)
        return f'{seconds / size:.0f} {unit} left'

    def tell(self, where, loss, step):
        """Say how far the run is after `step` steps."""
        _clear()
        self.say(f'{where}: loss {loss:.3f} | {self.left(step)}')


def draw_bar(done, of, name):
    """Show on a terminal how far something is; nowhere else."""
    if sys.stderr.isatty():
        filled = BAR * done // of
        sys.stderr.write(f'\r{name} [{"#" * filled}{"." * (BAR - filled)}] {done}/{of}\r')
        sys.stderr.flush()
        if done == of:
            _clear()


def _clear():
    if sys.stderr.isatty():
        sys.stderr.write('\r' + ' ' * WIDTH + '\r')
        sys.stderr.flush()
