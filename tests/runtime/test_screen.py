"""Whatever becomes of the lines of progress, the work goes on."""

import errno
import io
import os
import subprocess
import sys

import pytest

from q2_aam.runtime.progress import draw_bar
from q2_aam.runtime.recorder import Recorder
from q2_aam.runtime.screen import draw, print_line

LINE = "Target: 'Âge 日本'."


def encoded(encoding):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


@pytest.mark.parametrize(
    'encoding, written',
    [
        ('utf-8', LINE.encode()),
        ('latin-1', b"Target: '\xc2ge \\u65e5\\u672c'."),
        ('ascii', b"Target: '\\xc2ge \\u65e5\\u672c'."),
    ],
)
def test_what_the_output_cannot_encode_is_escaped(monkeypatch, encoding, written):
    output = encoded(encoding)
    monkeypatch.setattr(sys, 'stdout', output)
    print_line(LINE)
    # the line is there at once, not when the process ends
    assert output.buffer.getvalue() == written + os.linesep.encode()


class Broken(io.StringIO):
    """An output whose disk is full, or whose reader has gone; of a terminal."""

    def __init__(self, number, when):
        super().__init__()
        self.error, self.when = OSError(number, os.strerror(number)), when

    def write(self, text):
        if self.when == 'write':
            raise self.error
        return super().write(text)

    def flush(self):
        if self.when == 'flush':
            raise self.error

    def isatty(self):
        return True


def closed():
    file = io.StringIO()
    file.close()
    return file


@pytest.mark.parametrize(
    'output',
    [
        *(Broken(number, when) for number in (errno.EPIPE, errno.ENOSPC, errno.EIO) for when in ('write', 'flush')),
        closed(),
        None,
    ],
)
def test_an_output_that_is_gone_ends_nothing(monkeypatch, output):
    monkeypatch.setattr(sys, 'stdout', output)
    monkeypatch.setattr(sys, 'stderr', output)
    recorder = Recorder()
    recorder.say(LINE)
    recorder.log(1, 1, 'training', loss=0.5)
    draw_bar(1, 2, 'epoch 1')
    draw_bar(2, 2, 'epoch 1')
    assert recorder.history.rows == [(1, 1, 'training', 'loss', 0.5)]


def test_a_bar_is_drawn_on_a_terminal_only(monkeypatch):
    for is_terminal in (True, False):
        output = io.StringIO()
        output.isatty = lambda answer=is_terminal: answer
        monkeypatch.setattr(sys, 'stderr', output)
        draw('\rbar')
        assert output.getvalue() == ('\rbar' if is_terminal else '')


def test_a_call_goes_on_without_any_output():
    code = f'from q2_aam.runtime.screen import print_line; print_line({LINE!r}); import os; os._exit(7)'
    # as under a daemon, or of `command >&- 2>&-`
    done = subprocess.run(['sh', '-c', 'exec "$0" -c "$1" >&- 2>&-', sys.executable, code], timeout=60)
    assert done.returncode == 7
