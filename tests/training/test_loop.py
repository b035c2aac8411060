"""The loop: every sample once an epoch, the best epoch kept, patience, and all randomness from (seed, epoch, step)."""

import io
import types

import numpy as np
import pytest
import torch
from torch import nn

from q2_aam.config import FitConfig
from q2_aam.errors import UserError
from q2_aam.runtime.checkpoint import Checkpoint
from q2_aam.training import loop, progress
from q2_aam.training.loop import Task, reproducible, train

ROWS = np.arange(3, 20)


class Line(nn.Module):
    """The smallest network that the loop can train."""

    precision = torch.float32

    def __init__(self):
        super().__init__()
        self.config = types.SimpleNamespace(width=8)
        self.max_floats = 2**20
        self.slope = nn.Parameter(torch.tensor([[0.5]]))
        self.offset = nn.Parameter(torch.tensor([0.0]))


def loss(network, rows, generator):
    x = torch.tensor(rows, dtype=torch.float32) / 20 + 0.01 * torch.from_numpy(generator.random(len(rows))).float()
    loss = (network.slope[0] * x + network.offset - 3 * x).square().mean()
    return loss, {'own': loss.item() * 2}


def scripted(scores, seen=None):
    """A validation whose score is given epoch by epoch; `seen` takes the weights at each."""
    left = iter(scores)

    def validate(network):
        if seen is not None:
            seen.append(network.slope.item())
        return {'mae': next(left)}

    return validate


def run(task=None, epochs=6, seed=1, checkpoint=None, patience=None, say=None, **options):
    network, said = Line(), []
    schedule = FitConfig.from_flat({'batch_size': 5, 'learning_rate': 0.05, **options}).training
    task = task or Task(ROWS, loss, lambda network: {})
    history = train(network, task, schedule, epochs, seed, checkpoint, say or said.append, patience)
    return network, history, said


def test_every_training_row_is_in_one_batch_of_each_epoch_and_batches_are_alike():
    batches = []

    def recording(network, rows, generator):
        batches.append(rows)
        return loss(network, rows, generator)

    _, history, _ = run(Task(ROWS, recording, lambda network: {}), epochs=2)
    assert [len(rows) for rows in batches] == [5, 4, 4, 4] * 2
    for epoch in (batches[:4], batches[4:]):
        assert sorted(np.concatenate(epoch)) == list(ROWS)
    assert list(np.concatenate(batches[:4])) != list(np.concatenate(batches[4:]))
    assert [row[:2] for row in history.rows if row[3] == 'loss'] == [(4, 1), (8, 2)]


def test_the_loss_falls_and_figures_are_means_over_samples():
    network, history, _ = run(epochs=30)
    losses = history.series('training', 'loss')
    assert losses[-1] < 0.1 * losses[0]
    assert history.series('training', 'own') == pytest.approx([2 * value for value in losses])
    assert not network.training


def test_training_ends_with_its_last_step_even_within_an_epoch():
    batches = []

    def recording(network, rows, generator):
        batches.append(rows)
        return loss(network, rows, generator)

    _, history, said = run(Task(ROWS, recording, lambda network: {}), epochs=9, max_steps=6)
    assert [len(rows) for rows in batches] == [5, 4, 4, 4, 5, 4]
    assert [row[:2] for row in history.rows if row[3] == 'loss'] == [(4, 1), (6, 2)]
    assert said[-1].startswith('epoch 2/2 ')


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    one, two, other = (run(seed=seed)[0].slope.item() for seed in (1, 1, 2))
    assert one == two != other


def test_the_weights_of_the_best_epoch_are_kept():
    seen = []
    task = Task(ROWS, loss, scripted([3.0, 1.0, 2.0, 4.0], seen), 'mae')
    network, history, _ = run(task, epochs=4)
    assert network.slope.item() == seen[1] != seen[3]
    assert history.rows[-1] == (8, 2, 'validation', 'best_epoch', 2.0)


def test_without_a_score_the_last_epoch_is_kept():
    seen = []
    network, history, _ = run(Task(ROWS, loss, scripted([3.0, 1.0, 2.0], seen)), epochs=3)
    assert network.slope.item() == seen[2]
    assert history.series('validation', 'best_epoch') == []


def test_training_stops_after_as_many_epochs_without_a_better_score_as_patience_says():
    task = Task(ROWS, loss, scripted([3.0, 1.0, 2.0, 1.0, 0.5]), 'mae')
    _, history, said = run(task, epochs=5, patience=2)
    assert history.series('validation', 'mae') == [3.0, 1.0, 2.0, 1.0]
    assert said[-1] == 'Stopped after epoch 4: no better mae in 2 epochs.'


def test_a_better_score_in_time_lets_training_go_on():
    task = Task(ROWS, loss, scripted([3.0, 4.0, 2.0, 5.0, 1.0]), 'mae')
    _, history, _ = run(task, epochs=5, patience=2)
    assert history.rows[-1][4] == 5


def test_a_loss_that_is_no_number_is_refused():
    def broken(network, rows, generator):
        return loss(network, rows, generator)[0] * float('nan'), {}

    with pytest.raises(UserError) as error:
        run(Task(ROWS, broken, lambda network: {}))
    assert str(error.value) == 'The loss is nan in step 1; lower learning_rate.'


def test_gradients_are_clipped_to_their_norm_and_0_does_not_clip():
    # the optimizer does not see the size of gradients, so look at them
    def norm(**options):
        norms = []

        def recording(network, rows, generator):
            if network.slope.grad is not None:
                norms.append(torch.hypot(network.slope.grad.norm(), network.offset.grad.norm()).item())
            return loss(network, rows, generator)

        run(Task(ROWS, recording, lambda network: {}), epochs=1, **options)
        return max(norms)

    assert norm(gradient_clip=0.01) == pytest.approx(0.01, rel=1e-3)
    assert norm(gradient_clip=0.0) > 0.5


def test_each_epoch_is_one_line_with_losses_learning_rate_and_seconds_left():
    task = Task(ROWS, loss, scripted([3.0] * 10), 'mae')
    _, _, said = run(task, epochs=10)
    assert len(said) == 10
    assert said[0].startswith('epoch  1/10 loss ')
    assert ' | validation mae 3.000 | learning rate ' in said[0] and said[0].endswith(' s left')


@pytest.mark.parametrize('stop', [1, 3, 5, 6])
def test_an_interrupted_run_goes_on_as_if_it_had_never_stopped(tmp_path, stop):
    def task():
        return Task(ROWS, loss, lambda network: {'mae': abs(network.slope.item() - 0.8)}, 'mae')

    def interrupt(line):
        if line.startswith(f'epoch {stop}/'):
            raise KeyboardInterrupt

    whole, history, _ = run(task(), patience=9)
    with pytest.raises(KeyboardInterrupt):
        run(task(), patience=9, checkpoint=Checkpoint(tmp_path, 0), say=interrupt)
    resumed, history_resumed, said = run(task(), patience=9, checkpoint=Checkpoint(tmp_path, 0))
    assert said[0] == f'Resumed after {4 * stop} of 24 steps.'
    assert len(said) == 7 - stop
    assert resumed.slope.item() == whole.slope.item() and resumed.offset.item() == whole.offset.item()
    assert history_resumed.rows == history.rows


@pytest.mark.parametrize('precision', [torch.float32, torch.float16])
@pytest.mark.parametrize('stop', [2, 4, 5, 7])
def test_a_run_that_was_killed_within_an_epoch_goes_on_from_there(tmp_path, monkeypatch, stop, precision):
    # gradients of the third step overflow, so that the scale of the loss is another from there on
    monkeypatch.setattr(Line, 'precision', precision)
    steps = []

    def task(killed=None):
        def counted(network, rows, generator):
            steps.append(rows)
            if len(steps) == killed:
                raise KeyboardInterrupt
            found, figures = loss(network, rows, generator)
            overflows = precision == torch.float16 and len(steps) == 3
            return found * (1e38 if overflows else 1), figures

        return Task(ROWS, counted, lambda network: {'mae': abs(network.slope.item() - 0.8)}, 'mae')

    whole, history, said = run(task(), epochs=3)
    own = list(steps)
    steps.clear()
    with pytest.raises(KeyboardInterrupt):
        run(task(killed=stop), epochs=3, checkpoint=Checkpoint(tmp_path, 0))
    del steps[stop - 1 :]
    resumed, history_resumed, said_resumed = run(task(), epochs=3, checkpoint=Checkpoint(tmp_path, 0))
    assert said_resumed[0] == f'Resumed after {stop - 1} of 12 steps.'
    # no batch is learned from twice, and none is left out
    assert [list(rows) for rows in steps] == [list(rows) for rows in own]
    assert resumed.slope.item() == whole.slope.item() and resumed.offset.item() == whole.offset.item()
    assert history_resumed.rows == history.rows
    assert ('Left out 1 step of epoch 1' in ' '.join(said)) == (precision == torch.float16)


@pytest.mark.parametrize(
    ('a_step', 'lines'),
    [
        (19.0, []),
        (31.0, ['epoch 1/2, step 2/4: loss 2.000 | 3 min left', 'epoch 2/2, step 2/4: loss 2.000 | 62 s left']),
        (
            3000.0,
            [
                'epoch 1/2, step 1/4: loss 2.000 | 6 h left',
                'epoch 1/2, step 2/4: loss 2.000 | 5 h left',
                'epoch 1/2, step 3/4: loss 2.000 | 4 h left',
                'epoch 2/2, step 1/4: loss 2.000 | 2 h left',
                'epoch 2/2, step 2/4: loss 2.000 | 100 min left',
                'epoch 2/2, step 3/4: loss 2.000 | 50 min left',
            ],
        ),
    ],
)
def test_an_epoch_that_takes_long_tells_how_far_it_is(monkeypatch, a_step, lines):
    now = [0.0]
    monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])

    def slow(network, rows, generator):
        now[0] += a_step
        return 0 * network.slope.sum() + 2, {}

    _, _, said = run(Task(ROWS, slow, lambda network: {}), epochs=2)
    assert [line for line in said if ', step ' in line] == lines
    assert len(said) == len(lines) + 2


def test_torch_is_seeded_and_deterministic_within_and_as_before_afterwards():
    cpu = torch.device('cpu')
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    with pytest.raises(KeyError), reproducible(cpu, 11):
        inside = torch.rand(2)
        assert torch.are_deterministic_algorithms_enabled()
        raise KeyError
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.rand(2), wanted)
    with reproducible(cpu, 11):
        assert torch.equal(torch.rand(2), inside)
    with reproducible(types.SimpleNamespace(type='cuda'), 11):
        assert not torch.are_deterministic_algorithms_enabled()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_is_shown_on_a_terminal_only(monkeypatch):
    screen, file = Terminal(), io.StringIO()
    monkeypatch.setattr('sys.stderr', file)
    run(epochs=1)
    monkeypatch.setattr('sys.stderr', screen)
    run(epochs=1)
    assert file.getvalue() == ''
    assert '\repoch 1 [###############...............] 2/4' in screen.getvalue()
    # the line is clean when the epoch's own line is printed
    assert screen.getvalue().endswith(' ' * 60 + '\r')


def test_steps_that_overflow_float16_are_left_out_and_said():
    def half(network, rows, generator):
        # a gradient of 300 times the scale of the loss: more than float16 holds until the scale is 128
        return (network.slope[0].half() * 300).float().sum() + 0 * network.offset.sum(), {}

    network, said = Line(), []
    network.precision = torch.float16
    schedule = FitConfig.from_flat({'batch_size': 4, 'learning_rate': 0.05}).training
    train(network, Task(ROWS, half, lambda network: {}), schedule, 1, 1, None, said.append)
    assert said[0] == 'Left out 3 steps of epoch 1, whose gradient overflowed float16.'
    assert network.slope.item() < 0.5


@pytest.mark.parametrize('before, after', [(torch.float16, torch.float32), (torch.float32, torch.float16)])
def test_a_run_that_goes_on_in_another_precision_scales_the_loss_as_that_one_does(tmp_path, monkeypatch, before, after):
    monkeypatch.setattr(Line, 'precision', before)
    calls = []

    def killed(network, rows, generator):
        calls.append(rows)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return loss(network, rows, generator)

    # without clipping, by which gradients that are a thousand times too large would be hidden
    with pytest.raises(KeyboardInterrupt):
        run(Task(ROWS, killed, lambda network: {}), epochs=2, gradient_clip=0.0, checkpoint=Checkpoint(tmp_path, 0))
    monkeypatch.setattr(Line, 'precision', after)
    more = {'epochs': 2, 'gradient_clip': 0.0}
    resumed, _, said = run(Task(ROWS, loss, lambda network: {}), checkpoint=Checkpoint(tmp_path, 0), **more)
    whole = run(Task(ROWS, loss, lambda network: {}), **more)[0]
    assert said[0] == 'Resumed after 2 of 8 steps.'
    assert resumed.slope.item() == pytest.approx(whole.slope.item(), rel=1e-5)


def test_a_line_on_a_terminal_stands_where_the_bar_was(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr('sys.stderr', screen)
    monkeypatch.setattr(progress, 'SECONDS_BETWEEN_LINES', 0)
    run(epochs=1, say=screen.write)
    assert '2/4\r\r' + ' ' * 60 + '\repoch 1/1, step 2/4: loss ' in screen.getvalue()


def test_freed_memory_is_given_back_now_and_then(monkeypatch):
    now, given = [0.0], []
    monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
    monkeypatch.setattr(loop, 'give_back_memory', lambda: given.append(now[0]))

    def slow(network, rows, generator):
        now[0] += 4
        return 0 * network.slope.sum() + 2, {}

    run(Task(ROWS, slow, lambda network: {}), epochs=2)
    assert given == [12, 24]
