"""Progress: a bar on a terminal only, and lines that tell how long a run will still take."""

import io

import pytest

from q2_aam.runtime import progress
from q2_aam.runtime.progress import Clock, Timer, draw_bar
from q2_aam.runtime.recorder import Recorder


@pytest.fixture
def now(monkeypatch):
    """The time, in seconds, as a list of one number."""
    seconds = [100.0]
    monkeypatch.setattr(progress.time, 'monotonic', lambda: seconds[0])
    return seconds


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_a_timer_rings_once_each_time_its_seconds_have_passed(now):
    timer = Timer(10)
    rung = []
    for now[0] in (105.0, 110.0, 111.0, 119.0, 120.0):
        rung.append(timer.rings())
    assert rung == [False, True, False, False, True]
    now[0] = 129.0
    timer.restart()
    now[0] = 131.0
    assert not timer.rings()


@pytest.mark.parametrize(('seconds', 'left'), [(12.0, '48 s left'), (60.0, '4 min left'), (3600.0, '4 h left')])
def test_steps_to_come_take_as_long_as_those_before(now, seconds, left):
    clock = Clock([].append, 10, 15)
    now[0] += seconds
    assert clock.left(11) == left


def test_a_clock_reports_to_a_recorder_or_to_a_callable(now):
    lines = []
    for recorder in (Recorder(lines.append), lines.append):
        clock = Clock(recorder, 0, 4)
        now[0] += 30
        clock.tell('epoch 1/2, step 2/4', 2.0, 2)
    assert lines == ['epoch 1/2, step 2/4: loss 2.000 | 30 s left'] * 2


def test_a_line_is_due_a_minute_after_the_last_one(now):
    clock = Clock([].append, 0, 4)
    now[0] += 59
    clock.hear()
    now[0] += 59
    assert not clock.is_time()
    now[0] += 1
    assert clock.is_time()


def test_a_bar_is_shown_on_a_terminal_only(monkeypatch):
    screen, file = Screen(), io.StringIO()
    for stream in (screen, file):
        monkeypatch.setattr('sys.stderr', stream)
        for done in (2, 4):
            draw_bar(done, 4, 'epoch 1')
    assert file.getvalue() == ''
    assert '\repoch 1 [###############...............] 2/4' in screen.getvalue()
    # the line is clean for what is printed next
    assert screen.getvalue().endswith(' ' * 60 + '\r')
