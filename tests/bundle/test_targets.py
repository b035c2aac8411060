"""What a model predicts: columns, intervals and probabilities that one can compute by hand, and what is refused."""

import numpy as np
import pytest

from q2_aam.bundle import Blend, ClassTarget, NumericTarget
from q2_aam.bundle.blend import gate_of
from q2_aam.stats.conformal import calibrate


def columns_of(target, outputs):
    return {name: list(column) for name, column in target.columns(np.array(outputs)).items()}


def test_columns_of_a_target_are_prediction_and_interval_in_its_unit():
    outputs = [[0.0], [1.5]]
    assert columns_of(NumericTarget('age', 10.0, 2.0), outputs) == {'prediction': [10, 13]}
    # of 4 groups and a new one, 3 of 5 have an error up to the third
    target = NumericTarget('age', 10.0, 2.0, 0.6, calibration=calibrate([0.5, -1.0, 2.0, 4.0]))
    assert columns_of(target, outputs) == {
        'prediction': [10, 13],
        'lower_bound': [8, 11],
        'upper_bound': [12, 15],
    }


def test_values_are_scaled_and_predictions_are_scaled_back():
    target = NumericTarget('age', 10.0, 2.0)
    values = np.array([4.0, 10.0, 13.0])
    assert target.scaled(values).tolist() == [-3, 0, 1.5]
    assert target.predictions(target.scaled(values)[:, None]).tolist() == values.tolist()
    assert target.errors(np.array([[0.0], [1.0]]), np.array([9.0, 13.0])).tolist() == [1, -1]


def test_intervals_of_quantiles_are_as_wide_as_these_are_apart():
    calibration = calibrate([1.0, 2.0], difficulty=[0.5, 0.5])
    target = NumericTarget('age', 10.0, 2.0, 0.5, quantiles=True, calibration=calibration)
    assert target.outputs == 3
    # outer quantiles 4 and 16, 9 and 10; crossed ones count as a tenth of a standard deviation
    outputs = np.array([[0.0, -3.0, 3.0], [1.0, -0.5, 0.0], [2.0, 1.0, -1.0]])
    assert target.difficulty_of(outputs, None) == pytest.approx([6, 0.5, 0.2])
    columns = target.columns(outputs)
    assert columns['prediction'] == pytest.approx([10, 12, 14])
    # three quarters of two groups and a new one: the larger of the scores 2 and 4
    assert columns['upper_bound'] - columns['prediction'] == pytest.approx([6 * 4, 0.5 * 4, 0.2 * 4])
    assert columns['prediction'] - columns['lower_bound'] == pytest.approx([6 * 4, 0.5 * 4, 0.2 * 4])
    assert NumericTarget('age', 0.0, 1.0).difficulty_of(outputs, None) is None


def test_a_square_root_is_scaled_and_squared_again_and_never_predicts_below_0():
    target = NumericTarget('age', 2.0, 0.5, sqrt=True)
    values = np.array([0.0, 4.0, 9.0])
    assert target.scaled(values).tolist() == [-4, 0, 2]
    assert target.predictions(target.scaled(values)[:, None]).tolist() == [0, 4, 9]
    # below the square root of 0 nothing is left to be squared
    assert target.predictions(np.array([[-4.5], [-100.0], [4.0]])).tolist() == [0, 0, 16]


def test_intervals_of_a_square_root_are_wider_for_large_values_and_never_below_0():
    # square roots 1, 2 and 6 predicted as 2, 2 and 5
    plain = NumericTarget('age', 2.0, 0.5, sqrt=True)
    outputs = np.array([[0.0], [0.0], [6.0]])
    errors = plain.errors(outputs, np.array([1.0, 4.0, 36.0]))
    assert errors.tolist() == [1, 0, -1]
    target = NumericTarget('age', 2.0, 0.5, 0.5, sqrt=True, calibration=calibrate(errors))
    # half of three and a new one: up to an error of 1
    assert columns_of(target, [[-3.0], [0.0], [6.0]]) == {
        'prediction': [0.25, 4, 25],
        'lower_bound': [0, 1, 16],
        'upper_bound': [2.25, 9, 36],
    }


def test_intervals_of_a_square_root_with_quantiles_grow_with_both():
    calibration = calibrate([1.0, 1.0, 1.0], difficulty=[0.5, 0.5, 0.5])
    target = NumericTarget('age', 2.0, 1.0, 0.5, sqrt=True, quantiles=True, calibration=calibration)
    # outer quantiles of the square root are 1 and 3, 3.5 and 4.5, 3 and 5: half of it doubles
    columns = target.columns(np.array([[0.0, -1.0, 1.0], [2.0, 1.5, 2.5], [2.0, 1.0, 3.0]]))
    assert columns['prediction'].tolist() == [4, 16, 16]
    assert columns['lower_bound'].tolist() == [0, 9, 4]
    assert columns['upper_bound'].tolist() == [16, 25, 36]


def test_a_calibration_by_difficulty_goes_with_quantiles_only():
    by_difficulty = calibrate([1.0], difficulty=[1.0])
    for calibration, quantiles in ((by_difficulty, False), (calibrate([1.0]), True)):
        with pytest.raises(ValueError) as error:
            NumericTarget('age', 0.0, 1.0, 0.5, quantiles=quantiles, calibration=calibration)
        assert str(error.value) == (
            'The calibration of the target must be by difficulty if, and only if, it has quantiles, a difficulty or a '
            'scaling by category.'
        )


def test_columns_of_classes_are_the_most_probable_one_and_all_probabilities():
    target = ClassTarget('stage', ('a', 'b'), 2.0)
    columns = target.columns(np.array([[0.0, 2 * np.log(3)], [2 * np.log(4), 0.0]]))
    assert list(columns) == ['prediction', 'probability_a', 'probability_b']
    assert columns['prediction'].tolist() == ['b', 'a']
    assert columns['probability_a'] == pytest.approx([0.25, 0.8])
    assert columns['probability_b'] == pytest.approx([0.75, 0.2])


@pytest.mark.parametrize(
    ('coverage', 'gate'), [(1.0, 1.0), (0.8, 1.0), (0.5, 1.0), (0.25, 0.5), (0.1, 0.2), (0.0, 0.0)]
)
def test_a_blend_is_each_output_times_its_weight_and_leaves_to_the_network_what_is_not_covered(coverage, gate):
    network, ensemble = np.array([[1.0, 2.0]]), np.array([[-4.0, 8.0]])
    outputs = Blend(0.5, 0.25, 3.0, 7.0, 3).outputs(network, ensemble, np.array([coverage]))
    assert outputs == pytest.approx(gate * (0.5 * network + 0.25 * ensemble) + (1 - gate) * 3 * network)
    assert gate_of(np.array([coverage])) == pytest.approx([gate])


def test_a_blend_leaves_to_the_network_what_of_each_sample_is_not_covered():
    outputs = Blend(0.5, 0.5, 1.0, 1.0, 3).outputs(np.zeros((3, 1)), np.full((3, 1), 8.0), np.array([1.0, 0.25, 0.0]))
    assert outputs.tolist() == [[4], [2], [0]]


def test_each_member_of_a_blend_has_the_say_that_its_coverage_allows():
    # two members, three samples: what the network gives is 10, 20, 30
    network = np.array([[10.0], [20.0], [30.0]])
    ensemble = np.array([[[2.0], [4.0], [6.0]], [[-2.0], [-4.0], [-6.0]]])
    coverage = np.array([[1.0, 0.25, 0.0], [0.0, 1.0, 0.25]])
    outputs = Blend(0.25, 0.75, 1.0, 1.0, 2).outputs(network, ensemble, coverage)
    # 0.25 * 10 + 0.75 * 2; half of 0.25 * 20 + 0.75 * 4 and half of 20; the network alone
    assert outputs[0].ravel().tolist() == [4, 14, 30]
    # the network alone; 0.25 * 20 - 0.75 * 4; half of 0.25 * 30 - 0.75 * 6 and half of 30
    assert outputs[1].ravel().tolist() == [10, 2, 16.5]
