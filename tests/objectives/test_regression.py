"""The objective of a numeric column: scaling, loss, intervals and metrics with known answers."""

import dataclasses
import types
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from q2_aam.bundle import NumericTarget
from q2_aam.data.labels import Labels
from q2_aam.errors import AAMWarning, UserError
from q2_aam.model.member_arrays import EXTRA_TREES, LINEAR, PERCEPTRONS
from q2_aam.objectives import Regression
from q2_aam.objectives.regression import choose_scaling, scaling_of
from q2_aam.stats.stacking import MIN_SHRINKAGE, combined_shares, cost_of_numbers, stack_least_squares

AGES = np.linspace(0, 12, 25)


def labels(values):
    ids = [f's{row}' for row in range(len(values))]
    return Labels('stage', ids, np.array(values), np.array(ids))


@pytest.fixture
def regression(context_of):
    """The objective of the numbers 0 to 7, of which the first are training samples; groups a a b c d d d e."""

    def make(coverage=0.5, training=4, validation=(), **options):
        groups = ['a', 'a', 'b', 'c', 'd', 'd', 'd', 'e']
        options = {'target_scaling': 'minmax', 'coverage': coverage} | options
        return Regression.align(context_of(np.arange(8.0), np.arange(training), validation, groups, **options))

    return make


def test_the_scaling_is_that_of_training_samples_alone(regression):
    target = regression().target
    assert (target.name, target.center, target.scale, target.calibration) == ('stage', 0, 3, None)
    assert regression().labels_of(np.array([3, 7])).tolist() == pytest.approx([1, 7 / 3])
    assert regression().labels_of(np.array([3])).dtype == torch.float32


def test_splits_are_blind_to_numbers():
    assert Regression.strata(labels([1.0, 2.0])) is None


@pytest.mark.parametrize(('loss', 'expected'), [('mse', 2.5), ('mae', 1.5), ('huber', (1 + 3) / 2)])
def test_the_loss_is_that_of_the_scaled_target(regression, loss, expected):
    objective = regression(loss=loss)
    true = objective.labels_of(np.array([0, 3]))
    # 1 and 2 off, in units of the scale
    outputs = (true + torch.tensor([1.0, -2.0]))[:, None]
    assert objective.outputs_loss(outputs, true).item() == pytest.approx(expected)
    batch = types.SimpleNamespace(labels={})
    objective.label(batch, types.SimpleNamespace(rows=np.array([0, 3])), None, None)
    value, metrics = objective.loss(types.SimpleNamespace(heads={'target': outputs}), batch)
    assert value.item() == pytest.approx(expected) and metrics == {'target_loss': pytest.approx(expected)}


def test_quantiles_are_learned_and_scale_the_errors(regression):
    objective = regression(training=5, loss='quantile')
    assert objective.head.outputs == objective.target.outputs == 3 and objective.target.quantiles
    true = torch.tensor([0.0, 1.0]) / 4
    outputs = torch.stack([true, true - 0.25, true + 0.25], dim=1)
    # both ends are a quarter off, on the side that costs a quarter; twice, in the mean of three
    assert objective.outputs_loss(outputs, true).item() == pytest.approx(2 * 2 * 0.25 * 0.25 / 3)
    # errors 1 and 2 of samples whose quantiles are 2 and 8 apart
    outputs = np.array([[5.0 + 1, 4, 6], [6.0 - 2, 0, 8]]) / 4
    calibration = objective.calibrated(outputs, np.array([5, 6])).calibration
    assert calibration.by_difficulty and calibration.scores == pytest.approx([0.5, 1])


def test_out_of_fold_errors_make_intervals_each_group_counting_once(regression):
    # of 4, 5, 6 and 7 the outputs say 5, 3, 6.5 and 9: errors 1, 2, 0.5 (all of group d) and 2 (of e)
    target = regression().calibrated(np.array([[5.0], [3.0], [6.5], [9.0]]) / 3, np.arange(4, 8))
    assert (target.center, target.scale, target.coverage) == (0, 3, 0.5)
    assert target.calibration.number_of_groups == 2
    assert target.calibration.scores == pytest.approx([0.5, 1, 2, 2])
    assert target.calibration.groups.tolist() == [0, 0, 0, 1]
    with pytest.warns(AAMWarning):
        assert regression(0.75).calibrated(np.zeros((2, 1)), np.arange(2)).coverage == 0.75


def test_errors_of_a_square_root_are_on_its_scale_so_that_intervals_widen_with_the_value(regression):
    objective = regression(training=8, target_scaling='sqrt')
    target, values = objective.target, np.array([1.0, 4, 4, 7])
    rows = values.astype(int)
    roots = np.sqrt(values) + [0.5, -0.5, 0.5, -0.5]
    calibrated = objective.calibrated((roots[:, None] - target.center) / target.scale, rows)
    assert calibrated.calibration.scores == pytest.approx([0.5] * 4)
    columns = calibrated.columns((np.array([[0.25], [1], [5]]) - target.center) / target.scale)
    assert list(columns['prediction']) == pytest.approx([0.0625, 1, 25])
    assert list(columns['lower_bound']) == pytest.approx([0, 0.25, 20.25])
    assert list(columns['upper_bound']) == pytest.approx([0.5625, 2.25, 30.25])


def test_metrics_of_intervals_are_those_of_a_calculation_by_hand(regression):
    objective = regression()
    target = objective.calibrated(np.array([[1.0], [2.0], [1.0]]) / 3, np.array([0, 2, 3]))
    # errors 1, 0 and 2 in groups a, b and c: half of the three and a new one have an error up to the second
    outputs, rows = np.array([[5.5], [4.0], [6.0]]) / 3, np.array([4, 5, 6])
    metrics = objective.test_metrics(target, outputs, rows)
    assert metrics == {'interval_coverage': pytest.approx(2 / 3), 'interval_width': pytest.approx(2)}
    assert objective.metrics_of(target, outputs, rows)['mae'] == pytest.approx((1.5 + 1 + 0) / 3)
    ((plot, predicted, true),) = objective.points_of(target, outputs, rows)
    assert (plot, list(predicted), list(true)) == ('target', pytest.approx([5.5, 4, 6]), [4, 5, 6])


def test_too_few_groups_for_the_coverage_are_said(regression):
    with pytest.warns(
        AAMWarning, match='^Prediction intervals with a guaranteed coverage of 0.9 need at least 9 groups'
    ):
        regression(0.9).calibrated(np.zeros((2, 1)), np.array([6, 7]))


def test_validation_samples_are_scored_in_the_unit_of_the_column(regression):
    objective, asked = regression(validation=(5, 6)), []

    def outputs(network, head, rows):
        asked.append((network, head, rows.tolist()))
        return np.array([[5.0], [9.0]]) / 3

    reader = types.SimpleNamespace(outputs=outputs)
    assert objective.metrics('network', reader)['mae'] == pytest.approx(1.5)
    ((_, predicted, true),) = objective.points('network', reader)
    assert list(predicted) == pytest.approx([5, 9]) and list(true) == [5, 6]
    assert asked == [('network', 'target', [5, 6])] * 2


@pytest.fixture
def stacked(context_of):
    """The objective of square roots 0, 3 and 6 of groups a, a and b, scaled -1, 0 and 1; other rows are 0 and 4."""
    objective = Regression.align(context_of([1e6, 0.0, 9.0, 36.0, -1e6], target_scaling='none'))
    objective.target = NumericTarget('stage', 3.0, 3.0, sqrt=True)
    objective.groups = np.array(['x', 'a', 'a', 'b', 'x'])
    return objective


ROWS, SCALED = np.array([1, 2, 3]), np.array([-1.0, 0, 1])


def test_the_share_of_the_network_is_stacked_on_the_scaled_target_of_the_rows_that_are_asked_about(stacked):
    network, ensemble = np.array([[-0.9, 7], [0.2, 7], [0.8, 7]]), np.array([[-1.2, 8], [0.5, 8], [2, 8]])
    gate = np.array([1.0, 0.5, 0.25])
    share = stack_least_squares(network[:, 0], ensemble[:, 0], gate, SCALED, ['a', 'a', 'b'], 0.1)
    assert stacked.share(network, ensemble, gate, ROWS, 0.1) == (pytest.approx(share), 1, 1)
    assert 0.1 < share < 1


@pytest.mark.parametrize(('times', 'scale'), [(2.0, 0.5), (-1.0, MIN_SHRINKAGE), (0.5, 1.0)])
def test_a_network_that_errs_more_than_a_guess_is_shrunk_to_the_mean(stacked, times, scale):
    network, ensemble = times * SCALED[:, None], np.array([[-0.7], [0.5], [1]])
    result = stacked.share(network, ensemble, np.ones(3), ROWS, 0.1)
    share = stack_least_squares(scale * network[:, 0], ensemble[:, 0], 1.0, SCALED, ['a', 'a', 'b'], 0.1)
    assert result == (pytest.approx(share), pytest.approx(scale), 1)


def test_members_learn_the_scaled_target_and_are_combined_by_its_error(stacked):
    values, classes, balanced = stacked.learned(ROWS)
    assert (values.tolist(), classes, balanced) == ([-1, 0, 1], 0, False)
    outputs = [np.array([[-0.9, 7], [0.2, 7], [0.8, 7]]), np.array([[-1.2, 8], [0.5, 8], [2, 8]])]
    shares, scales, cost = stacked.combine(outputs, ROWS)
    expected = combined_shares(2, ['a', 'a', 'b'], cost_of_numbers(np.stack([one[:, 0] for one in outputs]), SCALED))
    assert shares == pytest.approx(expected) and scales.tolist() == [1, 1] and shares[0] > shares[1]
    # what is noise of one member alone is no error of the mean over members
    noisy = stacked.combine(outputs, ROWS, np.array([0.0, 0.05]))
    assert noisy[0][1] > shares[1] and noisy[2] < cost
    assert stacked.combine(outputs, ROWS, prior=np.array([1.0, 3.0]))[0][1] > shares[1]


def test_quantiles_are_for_perceptrons_alone(regression):
    assert regression().kinds == (LINEAR, EXTRA_TREES, PERCEPTRONS)
    assert regression(loss='quantile').kinds == (PERCEPTRONS,)


@pytest.mark.parametrize(
    ('how', 'center', 'scale'), [('standard', 5, 4), ('sqrt', 2, 1), ('minmax', 1, 8), ('none', 0, 1)]
)
def test_the_scaling_of_a_target_is_that_of_a_calculation_by_hand(how, center, scale):
    assert scaling_of('age', np.array([1.0, 9.0]), how) == NumericTarget('age', center, scale, sqrt=how == 'sqrt')
    assert scaling_of('age', np.array([4.0, 4.0]), how) == NumericTarget('age', 0.0, 1.0)


@pytest.mark.parametrize(
    ('values', 'chosen'),
    [
        # linear as it is, and not so as its square root
        (AGES, 'standard'),
        (100 + AGES, 'standard'),
        (AGES**2, 'sqrt'),
        (AGES**3, 'sqrt'),
        (np.exp(AGES / 2), 'sqrt'),
        # a long tail, which nothing tells of: skew alone chooses nothing
        (np.roll(AGES, 12), 'standard'),
        # one below 0
        (AGES**2 - 1, 'standard'),
        (np.full(25, 4.0), 'standard'),
        (np.zeros(25), 'standard'),
    ],
)
def test_the_square_root_is_taken_where_left_out_groups_are_predicted_better_with_it(values, chosen):
    assert choose_scaling(labels(values), np.arange(25), 'auto', line) == chosen


def line(values):
    """Predict by a straight line on age, each of five folds by the others."""
    ages, fold = np.linspace(0, 12, 25), np.arange(25) % 5
    predictions = np.empty(25)
    for number in range(5):
        learned = fold != number
        predictions[~learned] = np.polyval(np.polyfit(ages[learned], values[learned], 1), ages[~learned])
    return predictions


def test_predictions_are_compared_in_the_unit_of_the_column():
    given = []

    def predict(values):
        given.append(values)
        # one standard deviation too much
        return values + 1

    values = AGES**2
    assert choose_scaling(labels(values), np.arange(25), 'auto', predict) == 'standard'
    for one, scaled in zip(given, (values, np.sqrt(values))):
        assert one == pytest.approx((scaled - scaled.mean()) / scaled.std())
    # of squares, 144 at most, one is 43; of their roots it is 3.6, which squared again is 55 on average
    assert np.abs((np.sqrt(values) + np.sqrt(values).std()) ** 2 - values).mean() > values.std()


@pytest.mark.parametrize(('gain', 'chosen'), [(0.02, 'sqrt'), (0.005, 'standard')])
def test_a_square_root_must_be_better_by_more_than_chance(gain, chosen):
    values = np.array([1.0, 9.0])

    def predict(scaled):
        # errors of 1 as they are, and of 1 - gain with square roots of 1 and 3
        if len(seen) == 0:
            seen.append(1)
            return scaled + 1 / 4
        return np.sqrt(values + 1 - gain) - 2

    seen = []
    assert choose_scaling(labels(values), np.arange(2), 'auto', predict) == chosen


def test_the_scaling_is_chosen_of_the_target_as_it_is_scaled_by_category():
    # linear within each of two categories, in units of which one is a hundred times the other
    sites = pd.Series(['a', 'b'] * 12 + ['a'], [f's{row}' for row in range(25)], name='site')
    south = (sites == 'b').to_numpy()
    values = np.where(south, 100 * AGES**2, AGES)

    def predict(scaled):
        given.append(scaled)
        # by straight lines, those of the south on the square of age
        fitted = np.empty(25)
        for part, exponent in ((south, 2), (~south, 1)):
            x = AGES[part] ** exponent
            fitted[part] = np.polyval(np.polyfit(x, scaled[part], 1), x)
        return fitted

    given = []
    assert choose_scaling(labels(values), np.arange(25), 'auto', predict, sites) == 'standard'
    for scaled in given:
        for part in (south, ~south):
            assert (scaled[part].mean(), scaled[part].std()) == pytest.approx((0, 1), abs=1e-9)
    # in the north the square root is linear; in the south a line is, but from far off its root looks like one, too
    values = np.where(south, 1e5 + 1000 * AGES, AGES**2)

    def by_line(scaled):
        fitted = np.empty(25)
        for part in (south, ~south):
            fitted[part] = np.polyval(np.polyfit(AGES[part], scaled[part], 1), AGES[part])
        return fitted

    # the north counts as much as the south, whose small errors are large numbers
    assert choose_scaling(labels(values), np.arange(25), 'auto', by_line, sites) == 'sqrt'
    assert choose_scaling(labels(values), np.arange(25), 'auto', by_line) == 'standard'


@pytest.mark.parametrize('how', ['standard', 'sqrt', 'minmax', 'none'])
def test_a_scaling_that_is_given_is_taken(how):
    # nothing is predicted for it
    assert choose_scaling(labels(AGES**3), np.arange(25), how, None) == how
    assert choose_scaling(labels(AGES), np.arange(25), how, None) == how


def test_samples_that_are_not_to_be_learned_from_choose_no_scaling():
    values = np.concatenate([AGES, [1e9, 1e9, -5.0]])
    assert choose_scaling(labels(values), np.arange(25), 'auto', line) == 'standard'
    values[:25] **= 3
    assert choose_scaling(labels(values), np.arange(25), 'auto', line) == 'sqrt'
    assert choose_scaling(labels(values), np.arange(25), 'sqrt', line) == 'sqrt'


def test_a_square_root_of_a_negative_value_is_refused():
    rows = np.array([1, 2, 4])
    with pytest.raises(UserError) as error:
        choose_scaling(labels(np.array([-9.0, 4, 3, -8, -0.5])), rows, 'sqrt', line)
    assert str(error.value) == "Parameter target_scaling is sqrt, but 'stage' is -0.5 for sample 's4'; choose standard."


@pytest.mark.parametrize(
    'values', [1 + np.arange(25) * 1e-16, 1e9 + np.arange(25) % 2 * 1e-7, [1.0] * 24 + [1 + 1e-15]]
)
def test_values_that_hardly_differ_have_no_square_root_and_nothing_warns_of_them(values, monkeypatch, recwarn):
    with monkeypatch.context() as patch:
        # the filters are those of the whole process, in which other threads may run
        patch.setattr(warnings, 'catch_warnings', None)
        assert choose_scaling(labels(np.array(values)), np.arange(25), 'auto', line) == 'standard'
    assert recwarn.list == []


@pytest.mark.parametrize('unit', [1e-15, 1e-3, 1.0, 1e7, 1e15])
def test_the_unit_of_a_target_does_not_matter_to_its_scaling(unit, recwarn):
    assert choose_scaling(labels(AGES**2 * unit), np.arange(25), 'auto', line) == 'sqrt'
    assert choose_scaling(labels(AGES * unit), np.arange(25), 'auto', line) == 'standard'
    assert recwarn.list == []


def test_auto_is_resolved_in_the_configuration_of_training(context_of):
    training = context_of(AGES**3).config.training
    assert training.target_scaling == 'auto'
    resolved = Regression.resolved(training, labels(AGES**3), np.arange(25), line)
    assert resolved == dataclasses.replace(training, target_scaling='sqrt', select_by='mae')


@pytest.mark.parametrize(
    ('scaling', 'words'),
    [('standard', 'a number'), ('sqrt', 'its square root is learned, and squared again in predictions')],
)
def test_what_is_learned_is_described(regression, scaling, words):
    assert regression(target_scaling=scaling).describe() == f"Target: 'stage', {words}."


@pytest.fixture
def counts():
    """Counts of 8 samples whose first feature is the target, sparse."""
    import scipy.sparse

    random = np.random.default_rng(1)
    return scipy.sparse.csr_matrix(np.column_stack([np.arange(8.0), random.integers(0, 3, (8, 3))]))


def test_the_random_forest_is_that_of_the_baselines(regression, counts):
    from q2_aam.evaluation.baselines import random_forest_numbers

    objective, rows, new = regression(), np.arange(5), np.arange(5, 8)
    metrics = objective.random_forest(counts[rows], rows, counts[new], new, 3, 1)
    predictions = random_forest_numbers(counts[rows], objective.values[rows], counts[new], 3, 1)
    assert metrics['mae'] == pytest.approx(np.abs(predictions - objective.values[new]).mean())


def test_the_random_forest_has_the_weights_of_the_samples(regression, counts):
    from q2_aam.evaluation.baselines import random_forest_numbers

    objective, rows, new = regression(), np.arange(5), np.arange(5, 8)
    plain = objective.random_forest(counts[rows], rows, counts[new], new, 3, 1)
    objective.weights = np.array([0, 0, 0, 5, 1, 1, 1, 1], dtype=np.float32)
    heavy = objective.random_forest(counts[rows], rows, counts[new], new, 3, 1)
    predictions = random_forest_numbers(
        counts[rows], objective.values[rows], counts[new], 3, 1, weights=np.array([0.0, 0, 0, 5, 1])
    )
    assert heavy['mae'] == pytest.approx(np.abs(predictions - objective.values[new]).mean()) != plain['mae']
    objective.weights[:5] = 0
    alike = objective.random_forest(counts[rows], rows, counts[new], new, 3, 1)
    assert alike['mae'] == plain['mae']
