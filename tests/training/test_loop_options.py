"""Optimizers, schedules, accumulation, the range test and averaged weights: in one loop, resumed to the same end."""

import numpy as np
import pytest
import torch

from q2_aam.config import FitRegressorConfig
from q2_aam.runtime.checkpoint import Checkpoint
from q2_aam.training.optimizer import OPTIMIZERS, SCHEDULES, cosine_restarts, make_optimizer
from tests.training.line import ROWS, Line, run, scripted

EVERY = {
    'adam': {'name': 'adam'},
    'sgd': {'name': 'sgd'},
    'plateau': {'plateau': (0.5, 1), 'score': 'mae', 'schedule': lambda step, steps: (1.0, None)},
    'cosine_restarts': {'schedule': cosine_restarts},
    'constant': {'schedule': lambda step, steps: (1.0, None)},
    'average': {'ema_decay': 0.9},
    'average of the best epoch': {'ema_decay': 0.9, 'score': 'mae'},
    'accumulation': {'accumulation': 2, 'steps_per_epoch': 2},
    'range test': {'finds_rate': True},
}


def start(network=None, name='adamw', checkpoint=None, loss=None, **options):
    network = network or Line()
    optimizer = make_optimizer(network, 1.0 if options.get('finds_rate') else 0.05, 0.05, name=name)
    if 'score' in options:
        options['validate'] = lambda: {'mae': abs(network.slope.item() - 1.2)}
    return run(network, checkpoint=checkpoint, loss=loss or network.loss, optimizer=optimizer, **options)


@pytest.mark.parametrize('case', EVERY)
def test_a_run_that_was_killed_ends_as_one_that_was_not(tmp_path, case):
    # within an epoch, after several
    options, stop = EVERY[case], 10
    complete, history, _, state = start(**options)
    killed, steps = Line(), []

    def loss(rows, step):
        # steps of the range test come first and save nothing
        steps.append(step)
        if not options.get('finds_rate') and len(steps) == stop or steps.count(stop - 1) == 2:
            raise KeyboardInterrupt
        return killed.loss(rows, step)

    with pytest.raises(KeyboardInterrupt):
        start(killed, loss=loss, checkpoint=Checkpoint(tmp_path / 'network', 0), **options)
    resumed, history_resumed, lines, state_resumed = start(checkpoint=Checkpoint(tmp_path / 'network', 0), **options)
    assert any(line.startswith('Resumed after') for line in lines)
    assert resumed.slope.item() == complete.slope.item() and resumed.offset.item() == complete.offset.item()
    assert history_resumed.rows == history.rows
    for name in ('best_epoch', 'waited', 'plateau_share'):
        assert getattr(state_resumed, name) == getattr(state, name)


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_every_optimizer_learns_in_its_own_way(name):
    network, *_ = start(name=name)
    # the true slope is 3
    assert 0.55 < network.slope.item() < 3.2
    others = [start(name=other)[0].slope.item() for other in OPTIMIZERS if other != name]
    assert network.slope.item() not in others


def test_sgd_has_its_momentum():
    def after(momentum):
        network = Line()
        optimizer = make_optimizer(network, 0.05, 0.0, name='sgd', momentum=momentum)
        return run(network, optimizer=optimizer)[0].slope.item()

    assert after(0.9) > after(0.5) > after(0.0)


def test_a_plateau_lowers_the_learning_rate_after_its_patience_and_waits_again():
    def rates(scores, **options):
        optimizer = make_optimizer(network := Line(), 0.08, 0.0)
        _, history, _, _ = run(
            network, optimizer=optimizer, schedule=lambda step, steps: (1.0, None), validate=scripted(scores),
            score='mae', epochs=len(scores), plateau=(0.5, 2), keeps_best=False, **options,
        )  # fmt: skip
        return history.series('training', 'learning_rate_share')

    assert rates([3.0, 4.0, 4.0, 4.0, 4.0, 1.0]) == [1, 1, 1, 0.5, 0.5, 0.25]
    assert rates([3.0, 4.0, 2.0, 4.0, 4.0, 4.0]) == [1, 1, 1, 1, 1, 0.5]
    assert rates([3.0, 4.0, 4.0, 5.0], larger=True) == [1, 1, 1, 1]


def test_the_best_epoch_of_a_score_that_is_to_be_large_is_kept():
    weights, network = [], Line()
    validate = scripted([0.1, 0.9, 0.5], weights, network)
    _, _, _, state = run(network, validate=validate, score='mae', larger=True, epochs=3)
    assert state.best_epoch == 2 and network.slope.item() == weights[1]


def test_a_score_may_stop_training_without_keeping_the_best_epoch():
    weights, network = [], Line()
    validate = scripted([1.0, 2.0, 3.0], weights, network)
    run(network, validate=validate, score='mae', keeps_best=False, patience=2, epochs=9)
    assert network.slope.item() == weights[2]


def test_batches_that_are_accumulated_are_one_batch():
    def slope(accumulation, size):
        network, seen = Line(), []

        def loss(rows, step):
            seen.append((step, len(rows)))
            loss = (network.slope[0] * torch.tensor(rows / 20) - 3).square().mean()
            return loss, {'size': torch.tensor(len(rows))}, len(rows)

        def batches(epoch, skip):
            order = np.random.default_rng(epoch).permutation(ROWS)
            return iter(np.array_split(order, range(size, len(order), size))[skip:])

        steps = -(-len(ROWS) // (size * accumulation))
        _, history, _, state = run(
            network, loss=loss, batches=batches, accumulation=accumulation, steps_per_epoch=steps, epochs=2
        )
        return network.slope.item(), state.step, history.series('training', 'loss'), seen

    one, steps, losses, _ = slope(1, 6)
    two, steps_too, losses_too, seen = slope(3, 2)
    assert two == pytest.approx(one, rel=1e-5) and steps == steps_too == 6
    assert losses_too == pytest.approx(losses, rel=1e-5)
    # randomness of each batch is its own
    assert [step for step, _ in seen] == list(range(18))


def test_averaged_weights_lie_behind_and_are_those_that_are_validated_and_kept():
    seen = []

    def validated(decay):
        network = Line()
        seen.clear()
        run(network, ema_decay=decay, validate=lambda: seen.append(network.slope.item()) or {})
        return network.slope.item(), list(seen)

    last, every = validated(0.0)
    averaged, of_average = validated(0.9)
    assert averaged == of_average[-1] < last == every[-1]
    assert all(low < high for low, high in zip(of_average, every))
    # training itself goes on with the weights
    tiny, _ = validated(1e-9)
    assert tiny == pytest.approx(last, rel=1e-6)


def test_the_range_test_logs_its_curve_and_leaves_no_trace_but_the_rate():
    network = Line()
    optimizer = make_optimizer(network, 1.0, 0.05, 0.1, ('slope',))
    before = network.slope.item()
    starts = []

    def loss(rows, step):
        if step == 0:
            starts.append((network.slope.item(), network.offset.item(), len(optimizer.state)))
        return network.loss(rows, step)

    _, history, lines, _ = run(network, loss=loss, optimizer=optimizer, finds_rate=True)
    rates, losses = (history.series('range_test', name) for name in ('learning_rate', 'loss'))
    assert len(rates) == len(losses) > 20 and rates == sorted(rates)
    (found,) = history.series('run', 'learning_rate')
    assert found == pytest.approx(rates[int(np.argmin(losses))] / 10)
    # slow parts stay slower
    assert sorted(group['peak'] / found for group in optimizer.param_groups) == pytest.approx([0.1, 1.0])
    assert starts == [(before, 0.0, 0), (before, 0.0, 0)]
    assert lines[0] == f'Learning rate: {found:.2g}, found by a range test.'


@pytest.mark.parametrize('name', SCHEDULES)
def test_every_schedule_has_positive_shares_of_the_peak(name):
    training = FitRegressorConfig.from_flat({'schedule': name}).training
    shares = [SCHEDULES[name](step, 50, training)[0] for step in range(50)]
    assert all(0 < share <= 1 for share in shares) and max(shares) == 1


def test_restarts_begin_at_the_peak_and_last_twice_as_long():
    shares = [cosine_restarts(step, 710, 10 / 710, 2)[0] for step in range(710)]
    peaks = [step for step in range(1, 709) if shares[step - 1] < shares[step] > shares[step + 1] - 1e-12]
    assert peaks[-2:] == [110, 310] and shares[10] == pytest.approx(1.0, abs=1e-3)
    assert shares[109] == pytest.approx(shares[709], abs=1e-3) and shares[709] < 0.03


@pytest.mark.parametrize('options', [{'finds_rate': True}, {}])
def test_a_batch_that_is_made_again_for_want_of_memory_has_its_number(options):
    network, pairs = Line(), []

    def loss(made, number):
        rows, known = made
        pairs.append((known, number))
        return network.loss(rows, number)

    # the second of two steps of an epoch has one batch
    run(network, loss=loss, make=lambda *made: made, accumulation=3, steps_per_epoch=2, **options)
    assert len(pairs) > 20 and all(known == number for known, number in pairs)
