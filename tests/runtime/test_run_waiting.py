"""Identical calls: a finished one keeps its result, and of two at once the second waits for the result of the first."""

import threading
import time

import pytest

from q2_aam.errors import UserError
from q2_aam.runtime import run_directory as module
from q2_aam.runtime.run_directory import run_directory


@pytest.fixture
def kept(monkeypatch):
    """Results of finished runs are kept, as they are outside of tests; runs look often whether another has ended."""
    monkeypatch.setattr(module, 'DAYS_KEPT', 7)
    monkeypatch.setattr(module, 'SECONDS_BETWEEN_LOOKS', 0.01)


def finish(directory):
    (directory / 'result').mkdir(exist_ok=True)
    (directory / 'result' / 'finished.json').write_text('result')
    (directory / 'network').mkdir(exist_ok=True)
    (directory / 'network' / 'state.json').write_text('{}')
    (directory / 'seed.json').write_text('7')


def test_the_result_of_a_finished_run_is_kept_and_nothing_else(work_dir, kept):
    with run_directory('run', keep=True) as directory:
        finish(directory)
    assert sorted(path.name for path in directory.iterdir()) == ['lock', 'result']
    # an unseeded run of that name would be another one
    with run_directory('other') as directory:
        finish(directory)
    assert [path.name for path in work_dir.iterdir()] == ['run']


def test_without_a_result_nothing_is_kept(work_dir, kept):
    with run_directory('run', keep=True) as directory:
        (directory / 'file').write_text('x')
    assert list(work_dir.iterdir()) == []


def test_the_second_of_two_runs_with_the_same_seed_waits_for_the_result_of_the_first(work_dir, kept):
    lines, seen, waiting = [], [], threading.Event()

    def say(line):
        lines.append(line)
        waiting.set()

    def second():
        with run_directory('run', keep=True, say=say) as directory:
            seen.append((directory, (directory / 'result' / 'finished.json').read_text()))

    thread = threading.Thread(target=second)
    with run_directory('run', keep=True) as first:
        thread.start()
        assert waiting.wait(10)
        time.sleep(0.1)
        finish(first)
        assert not seen
    thread.join(10)
    assert seen == [(first, 'result')]
    assert lines == [f'The same call with the same seed is running already, in {first}: waiting for its result.']


def test_the_second_goes_on_where_the_first_fails(work_dir, kept):
    waiting, seen = threading.Event(), []

    def second():
        with run_directory('run', keep=True, say=lambda line: waiting.set()) as directory:
            seen.append(directory)

    for error in (KeyboardInterrupt, UserError):
        waiting.clear()
        thread = threading.Thread(target=second)
        with pytest.raises(error), run_directory('run', keep=True) as first:
            thread.start()
            assert waiting.wait(10)
            raise error
        thread.join(10)
    assert seen == [first, first]
    assert list(work_dir.iterdir()) == []


def test_a_second_run_without_a_seed_says_that_it_is_on_its_own(work_dir, kept):
    lines = []
    with run_directory('run') as first, run_directory('run', say=lines.append):
        assert lines == [
            f'The same call is running already, in {first}: this run has a directory and a seed of its own.'
        ]
