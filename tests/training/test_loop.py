"""The loop: the best epoch kept, patience, schedules, float16, and a run that goes on where it stopped."""

import io

import numpy as np
import pytest
import torch

from q2_aam.errors import UserError
from q2_aam.runtime import progress
from q2_aam.runtime.checkpoint import Checkpoint
from q2_aam.training import loop
from q2_aam.training.optimizer import make_optimizer, one_cycle, warmup_cosine
from tests.training.line import Line, run, scripted


def test_losses_fall_and_metrics_are_means_over_samples():
    network, history, _, state = run(epochs=30)
    losses = history.series('training', 'loss')
    assert losses[-1] < 0.1 * losses[0]
    assert history.series('training', 'double') == pytest.approx([2 * value for value in losses])
    assert not network.training and (state.step, state.epoch) == (120, 30)


def test_a_batch_counts_as_often_as_it_has_samples():
    sizes = [5, 4, 4, 4]
    network = Line()

    def loss(rows, step):
        return 0 * network.slope.sum() + step % 4 + 1, {}, sizes[step % 4]

    _, history, _, _ = run(network, loss=loss, epochs=2)
    assert history.series('training', 'loss') == pytest.approx([(5 * 1 + 4 * (2 + 3 + 4)) / 17] * 2)


def test_every_epoch_asks_for_its_batches_and_the_steps_are_numbered_on():
    asked, learned = [], []

    def batches(epoch, skip):
        asked.append((epoch, skip))
        return iter([np.array([epoch, 1]), np.array([epoch, 2])])

    network = Line()

    def loss(rows, step):
        learned.append((rows.tolist(), step))
        return network.loss(rows, step)

    run(network, loss=loss, batches=batches, steps_per_epoch=2, epochs=2)
    assert asked == [(1, 0), (2, 0)]
    assert learned == [([1, 1], 0), ([1, 2], 1), ([2, 1], 2), ([2, 2], 3)]


def test_training_ends_with_its_last_step_even_within_an_epoch():
    seen = []
    network = Line()

    def loss(rows, step):
        seen.append(len(rows))
        return network.loss(rows, step)

    _, history, lines, state = run(network, loss=loss, epochs=9, max_steps=6)
    assert seen == [5, 4, 4, 4, 5, 4]
    assert [row[:2] for row in history.rows if row[3] == 'loss'] == [(4, 1), (6, 2)]
    assert lines[-1].startswith('epoch 2/2 ')
    assert (state.step, state.epoch) == (6, 2)


def test_every_epoch_tells_its_seconds_and_its_memory_beside_the_rows():
    _, history, _, _ = run(Line(), epochs=3)
    assert [row[1:4] for row in history.costs[:4]] == [
        (1, 'run', 'seconds'), (1, 'run', 'memory_gb'), (2, 'run', 'seconds'), (2, 'run', 'memory_gb')
    ]  # fmt: skip
    assert len(history.costs) == 6 and all(value >= 0 for *_, value in history.costs)
    assert not {'seconds', 'memory_gb'} & {row[3] for row in history.rows}


def test_the_weights_of_the_best_epoch_are_kept():
    weights, network = [], Line()
    validate = scripted([3.0, 1.0, 2.0, 4.0], weights, network)
    _, history, _, state = run(network, validate=validate, score='mae', epochs=4)
    assert network.slope.item() == weights[1] != weights[3]
    assert history.rows[-1] == (8, 2, 'validation', 'best_epoch', 2.0)
    assert state.best_epoch == 2


def test_without_a_score_the_last_epoch_is_kept():
    weights, network = [], Line()
    _, history, _, state = run(network, validate=scripted([3.0, 1.0, 2.0], weights, network), epochs=3)
    assert network.slope.item() == weights[2]
    assert history.series('validation', 'best_epoch') == [] and state.best_epoch == 0


def test_training_stops_after_as_many_epochs_without_a_better_score_as_patience_says():
    validate = scripted([3.0, 1.0, 2.0, 1.0, 0.5])
    _, history, lines, _ = run(validate=validate, score='mae', epochs=5, patience=2)
    assert history.series('validation', 'mae') == [3.0, 1.0, 2.0, 1.0]
    assert lines[-1] == 'Stopped after epoch 4: no better mae in 2 epochs.'


def test_a_better_score_in_time_lets_training_go_on():
    validate = scripted([3.0, 4.0, 2.0, 5.0, 1.0])
    _, history, _, _ = run(validate=validate, score='mae', epochs=5, patience=2)
    assert history.rows[-1][4] == 5


def test_a_loss_that_is_no_number_is_refused():
    network = Line()
    with pytest.raises(UserError) as error:
        run(network, loss=lambda rows, step: (network.loss(rows, step)[0] * float('nan'), {}, len(rows)))
    assert str(error.value) == 'The loss is nan in step 1; lower learning_rate.'


@pytest.mark.parametrize('patience', [None, 1])
def test_a_score_that_is_never_a_number_is_refused(patience):
    # weights may break down in the last step of an epoch, after its last finite loss
    with pytest.raises(UserError) as error:
        run(validate=scripted([float('nan')] * 2), score='mae', epochs=2, patience=patience)
    assert str(error.value) == 'The validation mae is nan in every epoch; lower learning_rate.'


def test_gradients_are_clipped_to_their_norm_and_0_does_not_clip():
    # the optimizer does not see the size of gradients, so look at them
    def norm(clip):
        norms, network = [], Line()

        def loss(rows, step):
            if network.slope.grad is not None:
                norms.append(torch.hypot(network.slope.grad.norm(), network.offset.grad.norm()).item())
            return network.loss(rows, step)

        run(network, loss=loss, epochs=1, gradient_clip=clip)
        return max(norms)

    assert norm(0.01) == pytest.approx(0.01, rel=1e-3)
    assert norm(0.0) > 0.5


@pytest.mark.parametrize('schedule', [warmup_cosine, one_cycle])
def test_the_optimizer_steps_at_the_rate_and_beta_of_the_schedule(schedule):
    network, seen = Line(), []
    optimizer = make_optimizer(network, 0.05, 0.05)
    step = optimizer.step

    def recording(*inputs, **options):
        group = optimizer.param_groups[0]
        seen.append((group['lr'], group['betas'][0]))
        return step(*inputs, **options)

    optimizer.step = recording
    _, history, _, _ = run(network, optimizer=optimizer, schedule=schedule, epochs=3)
    shares = [schedule(number, 12) for number in range(12)]
    assert seen == [(0.05 * share, 0.9 if beta is None else beta) for share, beta in shares]
    # the last of each epoch
    assert history.series('training', 'learning_rate_share') == [shares[number][0] for number in (3, 7, 11)]


def test_each_epoch_is_one_line_with_losses_learning_rate_and_seconds_left():
    _, _, lines, _ = run(validate=scripted([3.0] * 10), score='mae', epochs=10)
    assert len(lines) == 10
    assert lines[0].startswith('epoch  1/10 loss ')
    assert ' | validation mae 3.000 | learning rate ' in lines[0] and lines[0].endswith(' s left')
    assert 'learning_rate_share' not in lines[0]


def test_what_has_a_name_reports_no_epochs_and_logs_no_losses():
    _, history, lines, _ = run(name='Ensemble', epochs=1)
    assert (history.rows, lines) == ([], [])


def slopes(steps):
    """Return a verdict that stops at so many steps and keeps what it was asked, and outputs of epochs."""
    asked = []

    def verdict(step, outputs):
        asked.append((step, {epoch: values.tolist() for epoch, values in outputs.items()}))
        return 'it is of no use' if step >= steps else None

    return asked, verdict


def test_training_stops_where_it_is_told_that_it_is_not_worth_it():
    network = Line()
    asked, verdict = slopes(10)
    outputs = {'outputs': lambda: network.slope.detach().clone(), 'verdict': verdict}
    _, _, lines, state = run(network, validate=scripted([3, 1, 2, 0, 0, 0]), score='mae', patience=9, **outputs)
    # asked before each epoch, of 4 steps
    assert [step for step, _ in asked] == [0, 4, 8, 12]
    assert [sorted(kept) for _, kept in asked] == [[], [1], [1, 2], [1, 2, 3]]
    assert (state.epoch, state.best_epoch) == (3, 2) and lines[-1] == 'Stopped after epoch 3: it is of no use.'
    # the weights of the best epoch up to there
    assert network.slope.item() == asked[-1][1][2][0][0]


@pytest.mark.parametrize('stop', [2, 5, 9, 10, 11, 12, 13])
def test_a_run_that_was_killed_stops_where_it_would_have_stopped(tmp_path, stop):
    """Killed in any step: what it is asked when it goes on is what it was asked at the beginning of the epoch."""

    def start(checkpoint=None, kill_in=0):
        network, calls = Line(), []
        asked, verdict = slopes(10)

        def loss(rows, step):
            calls.append(step)
            if step == kill_in - 1:
                raise KeyboardInterrupt
            return network.loss(rows, step)

        def validate():
            return {'mae': abs(network.slope.item() - 0.8)}

        outputs = {'outputs': lambda: network.slope.detach().clone(), 'verdict': verdict}
        done = run(network, loss=loss, validate=validate, score='mae', patience=9, checkpoint=checkpoint, **outputs)
        return done, asked

    (complete, history, lines, state), asked = start()
    assert state.epoch == 3
    if stop <= 12:
        with pytest.raises(KeyboardInterrupt):
            start(Checkpoint(tmp_path, 0), stop)
    else:
        start(Checkpoint(tmp_path, 0))
    (resumed, history_resumed, lines_resumed, state_resumed), asked_again = start(Checkpoint(tmp_path, 0))
    assert lines_resumed[-1] == lines[-1] == 'Stopped after epoch 3: it is of no use.'
    assert asked_again == asked[-len(asked_again) :]
    assert (state_resumed.epoch, state_resumed.best_epoch) == (3, state.best_epoch)
    assert resumed.slope.item() == complete.slope.item() and history_resumed.rows == history.rows


@pytest.mark.parametrize('stop', [1, 3, 5, 6])
def test_an_interrupted_run_goes_on_as_if_it_had_never_stopped(tmp_path, stop):
    def start(checkpoint=None, say=None):
        network = Line()

        def validate():
            return {'mae': abs(network.slope.item() - 0.8)}

        return run(network, validate=validate, score='mae', patience=9, checkpoint=checkpoint, say=say)

    def interrupt(line):
        if line.startswith(f'epoch {stop}/'):
            raise KeyboardInterrupt

    complete, history, _, _ = start()
    with pytest.raises(KeyboardInterrupt):
        start(Checkpoint(tmp_path, 0), interrupt)
    resumed, history_resumed, lines, _ = start(Checkpoint(tmp_path, 0))
    assert lines[0] == f'Resumed after {4 * stop} of 24 steps.'
    assert len(lines) == 7 - stop
    assert resumed.slope.item() == complete.slope.item() and resumed.offset.item() == complete.offset.item()
    assert history_resumed.rows == history.rows


@pytest.mark.parametrize('schedule', [warmup_cosine, one_cycle])
@pytest.mark.parametrize('precision', [torch.float32, torch.float16])
@pytest.mark.parametrize('stop', [2, 4, 5, 7])
def test_a_run_that_was_killed_within_an_epoch_goes_on_from_there(tmp_path, stop, precision, schedule):
    # gradients of the third step overflow, so that the scale of the loss is another from there on
    learned = []

    def start(killed=None, checkpoint=None):
        network = Line()

        def loss(rows, step):
            learned.append(rows.tolist())
            if len(learned) == killed:
                raise KeyboardInterrupt
            value, metrics, samples = network.loss(rows, step)
            overflows = precision == torch.float16 and step == 2
            return value * (1e38 if overflows else 1), metrics, samples

        def validate():
            return {'mae': abs(network.slope.item() - 0.8)}

        options = {'validate': validate, 'score': 'mae', 'precision': precision, 'schedule': schedule}
        return run(network, loss=loss, checkpoint=checkpoint, epochs=3, **options)

    complete, history, lines, state = start()
    expected = list(learned)
    learned.clear()
    with pytest.raises(KeyboardInterrupt):
        start(killed=stop, checkpoint=Checkpoint(tmp_path, 0))
    del learned[stop - 1 :]
    resumed, history_resumed, lines_resumed, state_resumed = start(checkpoint=Checkpoint(tmp_path, 0))
    assert lines_resumed[0] == f'Resumed after {stop - 1} of 12 steps.'
    # no batch is learned from twice, and none is left out
    assert learned == expected
    assert resumed.slope.item() == complete.slope.item() and resumed.offset.item() == complete.offset.item()
    assert history_resumed.rows == history.rows
    assert state_resumed.scale == state.scale and bool(state.scale) == (precision == torch.float16)
    assert ('Skipped 1 step of epoch 1' in ' '.join(lines)) == (precision == torch.float16)


@pytest.mark.parametrize(
    ('a_step', 'expected'),
    [
        (19.0, []),
        (31.0, ['epoch 1/2, step 2/4: loss 2.000 | 3 min left', 'epoch 2/2, step 2/4: loss 2.000 | 62 s left']),
    ],
)
def test_an_epoch_that_takes_long_tells_how_far_it_is(monkeypatch, a_step, expected):
    now, network = [0.0], Line()
    monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])

    def slow(rows, step):
        now[0] += a_step
        return 0 * network.slope.sum() + 2, {}, len(rows)

    _, _, lines, _ = run(network, loss=slow, epochs=2)
    assert [line for line in lines if ', step ' in line] == expected
    assert len(lines) == len(expected) + 2


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_line_on_a_terminal_stands_where_the_bar_was(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr('sys.stderr', screen)
    monkeypatch.setattr(progress, 'SECONDS_BETWEEN_LINES', 0)
    run(epochs=1, say=screen.write)
    assert '2/4\r\r' + ' ' * 60 + '\repoch 1/1, step 2/4: loss ' in screen.getvalue()


def test_freed_memory_is_given_back_now_and_then(monkeypatch):
    now, given, network = [0.0], [], Line()
    monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
    monkeypatch.setattr(loop, 'give_back_memory', lambda: given.append(now[0]))

    def slow(rows, step):
        now[0] += 4
        return 0 * network.slope.sum() + 2, {}, len(rows)

    run(network, loss=slow, epochs=2)
    assert given == [12, 24]


def test_a_batch_that_runs_out_of_memory_is_done_again_with_smaller_chunks():
    network, tried = Line(), []

    def loss(rows, step):
        tried.append((step, network.max_floats))
        if len(tried) == 2:
            raise MemoryError
        return network.loss(rows, step)

    again = run(network, loss=loss, epochs=1)[0]
    assert tried == [(0, 2**20), (1, 2**20), (1, 2**19), (2, 2**19), (3, 2**19)]
    assert again.slope.item() == run(epochs=1)[0].slope.item()
