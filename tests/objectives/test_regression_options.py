"""Losses, quantiles, scalings and bounds of a numeric target, and what its epochs are chosen by."""

import dataclasses

import numpy as np
import pytest
import torch

from q2_aam.bundle import NumericTarget
from q2_aam.errors import UserError
from q2_aam.model.member_arrays import PERCEPTRONS
from q2_aam.objectives import Regression
from q2_aam.stats.conformal import calibrate

VALUES = np.array([0.0, 1.0, 3.0, 6.0, 10.0, 2.0, 4.0, 8.0])


@pytest.fixture
def regression(context_of):
    """The objective of VALUES, of which the last three are validation samples."""

    def make(values=VALUES, **options):
        options = {'target_scaling': 'none'} | options
        return Regression.align(context_of(values, np.arange(5), np.arange(5, 8), **options))

    return make


def test_an_asymmetric_loss_weighs_errors_by_their_side(regression):
    objective = regression(loss='asymmetric', over_penalty=3.0)
    true = torch.zeros(2)
    over, under = (objective.outputs_loss(torch.full((2, 1), error), true).item() for error in (2.0, -2.0))
    assert (over, under) == (pytest.approx(3.0), pytest.approx(1.0))
    even = regression(loss='asymmetric')
    outputs = torch.tensor([[2.0], [-1.0]])
    assert even.outputs_loss(outputs, true) == regression(loss='mae').outputs_loss(outputs, true)


def test_what_costs_more_above_is_learned_to_be_lower(regression):
    """The best constant of an asymmetric loss is a quantile: with penalties of 1 and 3 that of 3/4."""
    objective = regression(loss='asymmetric', under_penalty=3.0)
    true = torch.arange(100.0)
    losses = [objective.outputs_loss(torch.full((100, 1), constant), true).item() for constant in range(100)]
    assert np.argmin(losses) == pytest.approx(75, abs=1)


@pytest.mark.parametrize('loss', ['quantile', 'asymmetric'])
def test_members_that_know_no_other_loss_are_left_out(regression, loss):
    assert regression(loss=loss).kinds == (PERCEPTRONS,) != regression().kinds


def test_quantiles_are_learned_beside_those_of_the_interval_and_shown_alone(regression):
    objective = regression(loss='quantile', quantiles=[0.1, 0.5, 0.95], coverage=0.9)
    assert objective.levels == objective.target.levels == (0.5, 0.05, 0.95, 0.1)
    assert objective.head.outputs == objective.target.outputs == 4
    columns = objective.target.columns(np.array([[5.0, 1.0, 9.0, 2.0]]))
    assert {name: float(values[0]) for name, values in columns.items()} == {
        'prediction': 5, 'quantile_0.1': 2, 'quantile_0.5': 5, 'quantile_0.95': 9,
    }  # fmt: skip


def test_quantiles_never_cross_whatever_the_outputs(regression):
    levels = [0.01, 0.2, 0.5, 0.6, 0.99]
    target = regression(loss='quantile', quantiles=levels).target
    outputs = np.random.default_rng(1).normal(size=(200, target.outputs))
    columns = target.columns(outputs)
    quantiles = np.stack([columns[f'quantile_{level:g}'] for level in levels])
    assert (np.diff(quantiles, axis=0) >= 0).all()
    assert (columns['prediction'] == columns['quantile_0.5']).all()
    assert (target.predictions(outputs) == columns['prediction']).all()


def test_each_quantile_is_learned_by_its_own_output(regression):
    objective = regression(loss='quantile', quantiles=[0.25], coverage=0.9)
    true = torch.arange(101.0)
    best = []
    for place in range(objective.target.outputs):
        losses = []
        for constant in range(101):
            outputs = torch.zeros(101, objective.target.outputs)
            outputs[:, place] = constant
            losses.append(objective.outputs_loss(outputs, true).item())
        best.append(int(np.argmin(losses)))
    assert best == pytest.approx([50, 5, 95, 25], abs=1)


@pytest.mark.parametrize('scaling', ['standard', 'sqrt', 'log_standard', 'minmax', 'log_minmax', 'none'])
def test_every_scaling_is_undone_in_every_output(regression, scaling):
    target = regression(target_scaling=scaling, loss='quantile', quantiles=[0.5]).target
    target = dataclasses.replace(target, coverage=0.5, calibration=calibrate(np.zeros(4), difficulty=np.ones(4)))
    outputs = np.repeat(target.scaled(VALUES)[:, None], target.outputs, axis=1)
    for name, values in target.columns(outputs).items():
        assert values == pytest.approx(VALUES), name
    assert target.errors(outputs, VALUES) == pytest.approx(np.zeros(8))


def test_logarithms_are_scaled_on_the_training_samples(regression):
    target = regression(target_scaling='log_minmax').target
    assert target.scaled(np.array([0.0, 10.0, np.e - 1])) == pytest.approx([0, 1, 1 / np.log(11)])
    target = regression(target_scaling='log_standard').target
    logs = np.log1p(VALUES[:5])
    assert (target.center, target.scale) == (pytest.approx(logs.mean()), pytest.approx(logs.std()))
    assert np.isfinite(target.predictions(np.array([[1e6]]))).all()


def test_intervals_of_a_logarithm_are_wider_for_larger_values_and_never_below_0(regression):
    target = dataclasses.replace(
        regression(target_scaling='log_standard').target, coverage=0.5, calibration=calibrate(np.ones(4))
    )
    columns = target.columns(target.scaled(np.array([0.5, 8.0]))[:, None])
    widths = columns['upper_bound'] - columns['lower_bound']
    assert widths[1] > 3 * widths[0] and columns['lower_bound'][0] == 0


@pytest.mark.parametrize('activation', ['relu', 'softplus', 'exp', 'sigmoid'])
@pytest.mark.parametrize('scaling', ['standard', 'log_standard', 'none'])
def test_predictions_and_intervals_end_at_the_bounds_whatever_the_blend_gives(regression, activation, scaling):
    objective = regression(output_activation=activation, output_range=[0, 12], target_scaling=scaling)
    target = dataclasses.replace(objective.target, coverage=0.5, calibration=calibrate(np.full(4, 1e3)))
    for values in target.columns(np.array([[-50.0], [50.0]])).values():
        assert values.min() >= 0 and values.max() <= 12
    bounds = target.predictions(np.array([[objective.head.low], [objective.head.high]]))
    assert bounds == pytest.approx([0, 12])
    assert objective.head.activation == activation


def test_a_bound_from_below_alone_is_0_or_what_is_given(regression):
    assert regression(output_activation='relu').target.lowest == 0
    other = regression(VALUES - 5, output_activation='softplus', output_range=[-5, 100])
    assert (other.target.lowest, other.target.highest) == (-5, 100)


def test_values_outside_of_bounds_are_refused_by_name(regression):
    with pytest.raises(UserError) as error:
        regression(output_activation='sigmoid', output_range=[0, 9])
    assert str(error.value) == (
        "Parameter output_activation is sigmoid, so that predictions are from 0 to 9, but 'stage' is 10 for sample "
        "'s4'; give an output_range that holds all values, or set output_activation to none."
    )
    with pytest.raises(UserError, match="^Parameter output_activation is exp, .* of at least 0, but 'stage' is -1 for"):
        regression(VALUES - 1, output_activation='exp')


@pytest.mark.parametrize(
    ('select_by', 'metric', 'larger'),
    [
        ('auto', 'mae', False),
        ('loss', 'target_loss', False),
        ('mae', 'mae', False),
        ('rmse', 'rmse', False),
        ('r2', 'r2', True),
    ],
)
def test_epochs_are_scored_by_what_is_asked_for(regression, select_by, metric, larger):
    objective = regression(select_by=select_by, loss='mse')
    assert (objective.score, objective.larger) == (metric, larger)
    rows = objective.validation_rows
    # the first has the smaller absolute error, the second the smaller square
    outputs = VALUES[rows][:, None] + np.array([[[0.0], [0.0], [4.0]], [[2.0], [2.0], [-2.0]]])
    first, second = (objective.metrics_of(objective.target, one, rows)[metric] for one in outputs)
    scores = [objective.score_of(one, rows) for one in outputs]
    better_is_first = (first > second) if larger else (first < second)
    assert (scores[0] < scores[1]) == better_is_first == (metric == 'mae')
    assert min(scores) > 0


def test_an_asymmetric_loss_chooses_the_epoch_itself(regression):
    assert regression(loss='asymmetric').score == 'target_loss'
    assert regression(loss='asymmetric', select_by='mae').score == 'mae'


def test_r2_of_validation_samples_that_are_all_the_same_is_refused(regression):
    with pytest.raises(UserError) as error:
        regression(np.array([0.0, 1, 2, 3, 4, 2, 2, 2]), select_by='r2')
    assert str(error.value) == (
        "Parameter select_by is r2, but 'stage' is the same for all validation samples; choose mae or rmse, or raise "
        'validation_fraction.'
    )


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'levels': [0.5, 0.1]}, 'The levels of the target must be 0.5, two around it'),
        ({'levels': [0.5, 0.1, 0.9, 0.1]}, 'The levels of the target must be 0.5, two around it'),
        ({'levels': [0.5, 0.1, 0.9], 'quantiles': False}, 'The levels of the target must be 0.5, two around it'),
        ({'levels': 'all'}, 'The levels of the target must be a list'),
        ({'levels': [0.5, 0.1, 0.9], 'shown': [0.3]}, 'The levels of the target that are shown must be some of them'),
        ({'log': True, 'sqrt': True}, 'The target must not be both a square root and a logarithm.'),
        ({'lowest': 3.0, 'highest': 1.0}, 'The lowest value of the target'),
        ({'highest': 'x'}, 'The highest value of the target must be a number'),
    ],
)
def test_a_damaged_target_is_refused(fields, words):
    with pytest.raises(ValueError, match=f'^{words}'):
        NumericTarget('age', 0.0, 1.0, **{'quantiles': True} | fields)
