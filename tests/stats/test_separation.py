"""What is said of a whole table, against figures counted by hand."""

import numpy as np
import pytest

from q2_aam.stats.separation import check_quantiles, describe, distance_quantiles, separation


def quantiles_of(seed=1, samples=2000):
    """Return those of distances of which 5 % lie beyond 1."""
    distances = np.random.default_rng(seed).exponential(size=samples)
    return distance_quantiles(distances / np.quantile(distances, 0.95), np.arange(samples))


def test_quantiles_are_those_of_the_distances_and_each_group_counts_once():
    distances = np.arange(101) / 100
    assert distance_quantiles(distances, np.arange(101)) == pytest.approx(distances)
    mostly = distance_quantiles(np.r_[np.zeros(1000), 1, 2, 3], np.r_[np.zeros(1000), 1, 2, 3])
    assert [mostly[place] for place in (25, 26, 50, 75, 100)] == [0, 1, 1, 2, 3]


def test_samples_of_the_same_study_cannot_be_told_apart():
    new = np.random.default_rng(2).exponential(size=1000) / np.log(20)
    found = separation(new, quantiles_of())
    assert found.farther == pytest.approx(0.5, abs=0.03) and found.samples == 1000
    assert found.low < found.beyond < found.high and found.beyond == pytest.approx(0.05, abs=0.02)
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(0.05 * 0.95 / 1000), rel=0.2)


def test_strangers_can_be_told_apart():
    found = separation(np.full(50, 9.0), quantiles_of())
    assert (found.farther, found.beyond, found.high) == (1, 1, pytest.approx(1)) and 0.9 < found.low < 0.95
    assert separation(np.zeros(10), quantiles_of()).farther < 0.01


def test_ties_count_half():
    assert separation(np.zeros(5), distance_quantiles(np.zeros(9), np.arange(9))).farther == 0.5


def test_one_sentence_says_how_well():
    assert describe(separation(np.full(50, 9.0), quantiles_of())) == (
        'Familiarity: 100% of 50 samples (93% to 100%) lie farther from the training samples than 95% of left-out '
        'groups do (5% are to be expected), and a sample lies farther than one of a left-out group with a probability '
        'of 1.00 (0.50 where both are alike): the table differs clearly from the training samples.'
    )
    quantiles = np.linspace(0, 100 / 95, 101)
    alike = describe(separation(np.linspace(0, 1.05, 200), quantiles))
    assert alike.endswith('the table cannot be told from new groups of the study that the model was trained on.')
    somewhat = describe(separation(np.linspace(0.3, 1.04, 200), quantiles))
    assert somewhat.endswith('0.64 (0.50 where both are alike): the table differs somewhat from the training samples.')
    # fewer in the middle, but many beyond
    beyond = describe(separation(np.r_[np.zeros(80), np.full(20, 9.0)], quantiles))
    assert beyond.endswith('the table differs somewhat from the training samples.')


def test_of_one_sample_nothing_is_said():
    quantiles = np.linspace(0, 100 / 95, 101)
    sentence = describe(separation([0.99], quantiles))
    assert sentence.startswith('Familiarity: 0% of 1 sample (')
    assert sentence.endswith('the table cannot be told from new groups of the study that the model was trained on.')


@pytest.mark.parametrize(
    'quantiles',
    [
        np.zeros(100),
        np.zeros((101, 1)),
        np.zeros(101, np.float32),
        np.arange(101.0)[::-1],
        np.arange(101.0) - 1,
        np.r_[np.zeros(100), np.inf],
        np.r_[np.zeros(50), np.nan, np.ones(50)],
        [0.0] * 101,
        None,
    ],
)
def test_damaged_quantiles_are_refused(quantiles):
    check_quantiles(np.arange(101.0))
    with pytest.raises(ValueError) as error:
        check_quantiles(quantiles)
    assert str(error.value) == (
        'The distances of left-out groups of the model are damaged: they must be 101 numbers of 0 or more in ascending '
        'order; train the model again.'
    )
