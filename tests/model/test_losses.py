"""Knowing nothing costs 1; what is not known does not count."""

import math

import pytest
import torch

from q2_aam.model.losses import (
    TARGET_LOSSES,
    asymmetric_loss,
    class_loss,
    distance_loss,
    known_losses,
    nucleotide_loss,
    quantile_loss,
    weighted_mean,
)


def test_guessing_nucleotides_costs_1():
    codes = torch.tensor([[1, 2, 3], [4, 4, 1]])
    loss, accuracy = nucleotide_loss(torch.zeros(2, 3, 4), codes)
    assert loss.item() == pytest.approx(1)
    # equal logits name the first nucleotide
    assert accuracy.item() == pytest.approx(2 / 6)


def test_naming_every_nucleotide_costs_nothing():
    codes = torch.tensor([[1, 2], [3, 4]])
    logits = 100 * torch.nn.functional.one_hot(codes - 1, 4).float()
    loss, accuracy = nucleotide_loss(logits, codes)
    assert (loss.item(), accuracy.item()) == (0, 1)


def test_the_loss_of_one_nucleotide_is_its_share_of_a_guess():
    logits = torch.log(torch.tensor([[[0.5, 0.25, 0.125, 0.125]]]))
    loss, _ = nucleotide_loss(logits, torch.tensor([[3]]))
    assert loss.item() == pytest.approx(math.log(8) / math.log(4))


def test_unknown_letters_and_places_after_the_end_do_not_count():
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))
    known, _ = nucleotide_loss(logits[:1, :1], torch.tensor([[2]]))
    loss, accuracy = nucleotide_loss(logits, torch.tensor([[2, 5, 0], [0, 5, 5]]))
    assert loss.item() == pytest.approx(known.item())
    assert accuracy.item() in (0, 1)


@pytest.mark.parametrize('codes', [torch.zeros(0, 3, dtype=torch.int64), torch.full((2, 3), 5)])
def test_without_a_known_nucleotide_the_loss_is_0_with_a_gradient(codes):
    logits = torch.randn(len(codes), 3, 4, requires_grad=True)
    loss, accuracy = nucleotide_loss(logits, codes)
    loss.backward()
    assert loss.item() == 0 and math.isnan(accuracy.item())
    assert not logits.grad.any()


def symmetric(size, seed):
    values = torch.rand(size, size, generator=torch.Generator().manual_seed(seed)).triu(1)
    return values + values.T


def pairs_of(matrix):
    return matrix[tuple(torch.triu_indices(len(matrix), len(matrix), 1))]


def test_predicting_the_mean_distance_costs_1():
    true = symmetric(6, 1)
    known = pairs_of(true)
    loss = distance_loss(torch.full((6, 6), known.mean().item()), true, known.var(correction=0).item())
    assert loss.item() == pytest.approx(1, abs=1e-5)


def test_each_pair_counts_once_and_the_diagonal_never():
    true, predicted = symmetric(5, 1), symmetric(5, 2)
    expected = (pairs_of(predicted) - pairs_of(true)).square().mean() / 0.25
    predicted.fill_diagonal_(9)
    assert distance_loss(predicted, true, 0.25).item() == pytest.approx(expected.item())


def test_pairs_whose_distance_is_unknown_do_not_count_nor_reach_the_gradient():
    true, predicted = symmetric(5, 1), symmetric(5, 2).requires_grad_()
    known = distance_loss(predicted[1:, 1:], true[1:, 1:], 0.5)
    true[0] = true[:, 0] = float('nan')
    loss = distance_loss(predicted, true, 0.5)
    loss.backward()
    assert loss.item() == pytest.approx(known.item())
    assert torch.isfinite(predicted.grad).all() and not predicted.grad[0].any()


@pytest.mark.parametrize('true', [torch.zeros(1, 1), torch.full((4, 4), float('nan')), torch.zeros(0, 0)])
def test_without_a_known_pair_the_loss_is_0_with_a_gradient(true):
    predicted = torch.rand(true.shape, requires_grad=True)
    loss = distance_loss(predicted, true, 0.5)
    loss.backward()
    assert loss.item() == 0 and not predicted.grad.any()


@pytest.mark.parametrize('name, expected', [('mse', [0.25, 9]), ('mae', [0.5, 3]), ('huber', [0.25, 5])])
def test_target_losses_of_an_error_of_a_half_and_of_three(name, expected):
    losses = [TARGET_LOSSES[name](torch.tensor([error]), torch.zeros(1)).item() for error in (0.5, 3.0)]
    assert losses == pytest.approx(expected)


def test_predicting_the_mean_of_a_scaled_target_costs_1():
    target = torch.tensor([-1.0, 1.0, -1.0, 1.0])
    assert [TARGET_LOSSES[name](torch.zeros(4), target).mean().item() for name in TARGET_LOSSES] == [1, 1, 1]


@pytest.mark.parametrize('classes', [2, 3, 7])
def test_guessing_among_any_number_of_classes_costs_1(classes):
    true = torch.arange(classes)
    assert class_loss(torch.zeros(classes, classes), true, torch.ones(classes)).item() == pytest.approx(1)


def test_a_class_counts_by_its_weight_and_not_by_its_share_of_the_batch():
    logits = torch.log(torch.tensor([[0.5, 0.5], [0.25, 0.75], [0.25, 0.75]]))
    loss = class_loss(logits, torch.tensor([1, 0, 0]), torch.tensor([0.5, 3.0]))
    assert loss.item() == pytest.approx((3 * math.log(2) + 2 * 0.5 * math.log(4)) / 3 / math.log(2))
    # a batch of the weightier class only is not scaled down
    assert class_loss(logits[:1], torch.tensor([1]), torch.tensor([0.5, 3.0])).item() == pytest.approx(3)


def test_the_quantile_loss_is_least_at_the_quantiles():
    true = torch.arange(11.0) ** 2
    levels = (0.5, 0.1, 0.9)
    at = torch.quantile(true, torch.tensor(levels)).repeat(11, 1)
    least = quantile_loss(at, true, levels)
    for column in range(3):
        for step in (-3.0, 3.0):
            off = at.clone()
            off[:, column] += step
            assert quantile_loss(off, true, levels) > least
    # of the median alone it is the mean absolute error
    absolute = TARGET_LOSSES['mae'](at[:, 0], true).mean().item()
    assert quantile_loss(at[:, :1], true, (0.5,)).item() == pytest.approx(absolute)
    # one below a value by 2 and one above by 1, at a level of 0.9
    assert quantile_loss(torch.tensor([[1.0], [4.0]]), torch.tensor([3.0, 3.0]), (0.9,)).item() == pytest.approx(1.9)


def test_weights_multiply_the_loss_of_each_sample():
    true, outputs, weights = torch.tensor([0.0, 1.0]), torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([2.0, 0.0])
    logits = torch.tensor([[1.0, 0.0], [5.0, 0.0]])
    for loss in (
        lambda rows, weights=None: quantile_loss(outputs[rows], true[rows], (0.5, 0.9), weights),
        lambda rows, weights=None: asymmetric_loss(outputs[rows, 0], true[rows], 1.0, 2.0, weights),
        lambda rows, weights=None: class_loss(logits[rows], true[rows].long(), torch.ones(2), 0.1, weights),
        lambda rows, weights=None: weighted_mean(TARGET_LOSSES['mse'](outputs[rows, 0], true[rows]), weights),
    ):
        # the second sample counts for nothing, the first for both
        assert loss([0, 1], weights).item() == pytest.approx(loss([0]).item())


def test_each_target_has_the_mean_loss_of_the_samples_that_have_it():
    nan = float('nan')
    predicted = torch.tensor([[1.0, 2.0, 3.0], [5.0, 2.0, 3.0]], requires_grad=True)
    losses = known_losses(TARGET_LOSSES['mse'], predicted, torch.tensor([[0.0, nan, nan], [3.0, 0.0, nan]]))
    assert losses.tolist() == [2.5, 4.0, 0.0]
    losses.sum().backward()
    assert torch.isfinite(predicted.grad).all() and predicted.grad[0, 1] == predicted.grad[1, 2] == 0
    weights = torch.tensor([0.0, 1.0])
    assert known_losses(TARGET_LOSSES['mse'], predicted, torch.tensor([[0.0] * 3] * 2), weights)[0] == 12.5
