"""Lines for the user to read while work goes on: whatever becomes of them, the work goes on."""

from __future__ import annotations

import contextlib
import sys
from typing import TextIO

# A pipe whose reader has gone, a full disk, a terminal that was closed; a file that is closed already.
LOST = (OSError, ValueError)


def print_line(line: str) -> None:
    """Print a line of progress. What the output cannot encode is escaped; where it is gone, nobody reads the line."""
    _write(sys.stdout, f'{line}\n')


def draw(text: str) -> None:
    """Write onto the terminal, where there is one, without the end of a line."""
    with contextlib.suppress(*LOST):
        # there is none where the process was started without
        if sys.stderr is not None and sys.stderr.isatty():
            _write(sys.stderr, text)


def _write(file: TextIO | None, text: str) -> None:
    if file is None:
        return
    with contextlib.suppress(*LOST):
        try:
            file.write(text)
        except UnicodeEncodeError:
            encoding = getattr(file, 'encoding', None) or 'ascii'
            file.write(text.encode(encoding, 'backslashreplace').decode(encoding))
        # a log shows how far the run is, also after a kill
        file.flush()
