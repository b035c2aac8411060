"""The loop in float16: the scale of the loss, steps that overflow, and a run that goes on in another precision."""

import pytest
import torch

from q2_aam.errors import UserError
from q2_aam.runtime.checkpoint import Checkpoint
from q2_aam.training import steps
from q2_aam.training.steps import FIRST_LOSS_SCALE
from tests.training.line import Line, run


def half_loss(network, factor):
    """A loss whose gradient in float16 is `factor` times the scale of the loss."""

    def loss(rows, step):
        return (network.slope[0].half() * factor).float().sum() + 0 * network.offset.sum(), {}, len(rows)

    return loss


def test_steps_that_overflow_float16_are_skipped_and_the_scale_is_halved_and_said():
    # float16 holds 300 times the scale once the scale is 128: three halvings of 1024
    network = Line()
    _, _, lines, state = run(network, loss=half_loss(network, 300), precision=torch.float16, epochs=1)
    assert lines[0] == 'Skipped 3 steps of epoch 1: the gradient overflowed float16.'
    assert state.scale['scale'] == FIRST_LOSS_SCALE / 8 == 128
    # the fourth step was made
    assert network.slope.item() < 0.5
    network = Line()
    run(network, loss=half_loss(network, 300), precision=torch.float16, epochs=1, max_steps=3)
    assert network.slope.item() == 0.5


def test_a_gradient_that_overflows_without_any_scale_is_refused():
    network = Line()
    steps = []
    loss = half_loss(network, 300)

    def overflowing(rows, step):
        steps.append(step)
        value, metrics, samples = loss(rows, step)
        value.register_hook(lambda gradient: gradient * float('inf'))
        return value, metrics, samples

    with pytest.raises(UserError) as error:
        run(network, loss=overflowing, precision=torch.float16)
    assert str(error.value) == (
        'Parameter precision is float16, in which the gradient overflows; use bfloat16 or float32, or lower '
        'learning_rate.'
    )
    # from 1024 the scale is halved down to 1
    assert len(steps) == 11 and network.slope.item() == 0.5


def test_the_scale_of_the_loss_leaves_no_trace_in_a_step_and_gradients_are_clipped_without_it():
    for clip in (0.0, 0.1):
        plain, scaled = (
            run(precision=precision, gradient_clip=clip, epochs=2)[0] for precision in (torch.float32, torch.float16)
        )
        assert scaled.slope.item() == pytest.approx(plain.slope.item(), rel=1e-6) and plain.slope.item() != 0.5


def test_the_scale_doubles_where_it_holds(monkeypatch):
    monkeypatch.setattr(steps, 'STEPS_TO_DOUBLE', 5)
    state = run(precision=torch.float16, epochs=3)[3]
    # 12 steps, whatever epoch they are in
    assert state.scale['scale'] == 4 * FIRST_LOSS_SCALE
    # other precisions scale nothing
    assert run(precision=torch.bfloat16, epochs=1)[3].scale == run(epochs=1)[3].scale == {}


@pytest.mark.parametrize(('before', 'after'), [(torch.float16, torch.float32), (torch.float32, torch.float16)])
def test_a_run_that_goes_on_in_another_precision_scales_the_loss_as_that_one_does(tmp_path, before, after):
    network = Line()

    def killed(rows, step):
        if step == 2:
            raise KeyboardInterrupt
        return network.loss(rows, step)

    # without clipping, which would hide gradients that are a thousand times too large
    options = {'epochs': 2, 'gradient_clip': 0.0}
    with pytest.raises(KeyboardInterrupt):
        run(network, loss=killed, checkpoint=Checkpoint(tmp_path, 0), precision=before, **options)
    resumed, _, lines, _ = run(checkpoint=Checkpoint(tmp_path, 0), precision=after, **options)
    complete = run(precision=after, **options)[0]
    assert lines[0] == 'Resumed after 2 of 8 steps.'
    assert resumed.slope.item() == pytest.approx(complete.slope.item(), rel=1e-5)
