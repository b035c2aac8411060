"""The temperature of known probabilities is found, and few samples do not ask for certainty."""

import numpy as np
import pytest

from q2_aam.stats.temperature import best_temperature, softmax


@pytest.mark.parametrize('temperature', [0.5, 1.0, 3.0])
@pytest.mark.parametrize('balanced', [True, False])
def test_the_temperature_of_drawn_classes_is_found(temperature, balanced):
    random = np.random.default_rng(3)
    logits = random.normal(0, 2, (20000, 3))
    # one draw of a class for each sample, from its probabilities
    true = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    assert best_temperature(logits * temperature, true, balanced) == pytest.approx(temperature, rel=0.05)


def test_few_samples_that_are_all_right_do_not_ask_for_certainty():
    logits = np.tile([2.0, 0.0], (4, 1))
    assert 0.3 < best_temperature(logits, np.zeros(4, dtype=np.int64)) < 1
    # many may
    assert best_temperature(np.tile(logits, (1000, 1)), np.zeros(4000, dtype=np.int64)) < 0.3


def test_probabilities_of_a_temperature_are_those_of_a_calculation_by_hand():
    probabilities = softmax(np.array([[0.0, 2 * np.log(3)], [1000.0, 0.0]], dtype=np.float32), 2.0)
    np.testing.assert_allclose(probabilities, [[1 / 4, 3 / 4], [1, 0]], atol=1e-6)
    assert probabilities.dtype == np.float64


def test_the_temperature_never_changes_which_class_is_likeliest():
    logits = np.random.default_rng(1).normal(0, 3, (50, 4))
    likeliest = [softmax(logits, temperature).argmax(axis=1).tolist() for temperature in (0.06, 1.0, 19.0)]
    assert likeliest[0] == likeliest[1] == likeliest[2]
