"""The recorder: what a run reports goes to every sink that takes it; the history keeps metrics and points."""

import numpy as np
import pytest

from q2_aam.runtime.history import MAX_POINTS, History
from q2_aam.runtime.recorder import Recorder, Terminal


class Tracker:
    """A sink that takes everything."""

    def __init__(self):
        self.calls = []

    def say(self, line):
        self.calls.append(line)

    def log(self, step, epoch, part, **metrics):
        self.calls.append((step, epoch, part, metrics))

    def add_points(self, plot, part, predicted, true):
        self.calls.append((plot, part, list(predicted), list(true)))


class MetricsOnly:
    """A sink that takes one kind of report."""

    def __init__(self):
        self.metrics = {}

    def log(self, step, epoch, part, **metrics):
        self.metrics |= metrics


def report(recorder):
    recorder.say('Begins.')
    recorder.log(2, 1, 'training', loss=0.5, r=0.25)
    recorder.add_points('target', 'test', np.array([1.0]), np.array([2.0]), np.random.default_rng(1))


def test_lines_go_to_the_terminal_and_the_rest_into_the_history():
    lines = []
    recorder = Recorder(lines.append)
    report(recorder)
    assert lines == ['Begins.']
    assert recorder.history.rows == [(2, 1, 'training', 'loss', 0.5), (2, 1, 'training', 'r', 0.25)]
    assert recorder.history.points == [('target', 'test', 1.0, 2.0)]


def test_without_anything_given_lines_are_printed_and_a_new_history_is_kept(capsys):
    one, two = Recorder(), Recorder()
    report(one)
    assert capsys.readouterr().out == 'Begins.\n'
    assert one.history.rows and not two.history.rows


def test_a_given_history_is_added_to_even_if_it_is_empty():
    history = History()
    report(Recorder([].append, history))
    assert len(history.rows) == 2


def test_a_third_sink_takes_what_it_can():
    tracker, metrics = Tracker(), MetricsOnly()
    recorder = Recorder([].append, sinks=[tracker, metrics])
    report(recorder)
    assert tracker.calls == [
        'Begins.',
        (2, 1, 'training', {'loss': 0.5, 'r': 0.25}),
        ('target', 'test', [1.0], [2.0]),
    ]
    assert metrics.metrics == {'loss': 0.5, 'r': 0.25}
    assert len(recorder.history.rows) == 2


def test_all_sinks_take_the_same_points_and_more_sinks_draw_no_more_numbers():
    many = np.arange(5000.0)
    tracker = Tracker()
    generators = [np.random.default_rng(1) for _ in range(3)]
    alone, beside, history = Recorder([].append), Recorder([].append, sinks=[tracker]), History()
    for keeper, generator in zip((alone, beside, history), generators):
        keeper.add_points('distance', 'validation', many, many + 0.5, generator)
    assert beside.history.points == alone.history.points == history.points
    assert len(history.points) == MAX_POINTS
    assert tracker.calls[0][2] == [row[2] for row in history.points]
    assert len({generator.random() for generator in generators}) == 1


def test_an_interrupted_history_is_restored_without_telling_other_sinks():
    tracker = Tracker()
    recorder = Recorder([].append, sinks=[tracker])
    recorder.log(0, 0, 'run', random_seed=3)
    interrupted = History([(2, 1, 'training', 'loss', 0.5)])
    history, tracker.calls = recorder.history, []
    assert recorder.restore(interrupted) is history is recorder.history
    assert history.rows == interrupted.rows and tracker.calls == []
    recorder.log(4, 2, 'training', loss=0.25)
    assert history.series('training', 'loss') == [0.5, 0.25]
    assert len(interrupted.rows) == 1


def test_a_terminal_takes_lines_only():
    with pytest.raises(AttributeError):
        Terminal(print).log(1, 1, 'training', loss=1.0)
