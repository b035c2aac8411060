"""Augmentation: what of a sample is read, and how training varies it."""

import numpy as np
import pytest

from q2_aam.config import FitRegressorConfig
from q2_aam.data.augmentation import add_nucleotide_noise, largest_of_each, make_augmentation, resample
from q2_aam.data.batches import draw_samples

OFFSETS = np.array([0, 4, 5, 10])
SHARES = np.array([0.1, 0.5, 0.3, 0.1, 1.0, 0.2, 0.2, 0.3, 0.25, 0.05], dtype=np.float32)


def config_of(**values):
    return FitRegressorConfig.from_flat({'asv_dropout': 0.0, **values})


def test_the_largest_of_each_sample_are_marked():
    kept = largest_of_each(SHARES, OFFSETS, 2)
    assert kept.tolist() == [False, True, True, False, True, False, False, True, True, False]
    assert largest_of_each(np.array([1.0, 1.0, 1.0]), np.array([0, 3]), 2).tolist() == [True, True, False]


def test_by_default_samples_are_read_as_they_are():
    config = config_of()
    assert make_augmentation(config.data) is None
    assert make_augmentation(config.data, config.training, np.random.default_rng(1)) is None


def test_resampled_reads_are_right_on_average_and_sum_to_1():
    generator = np.random.default_rng(1)
    drawn = np.stack([resample(SHARES, OFFSETS, 50, 0.0, generator)[1] for _ in range(2000)])
    assert np.allclose(np.add.reduceat(drawn, OFFSETS[:-1], axis=1), 1, atol=1e-5)
    assert np.allclose(drawn.mean(0), SHARES, atol=0.01)
    assert drawn[:, 0].std() > 0.02


def test_a_shallow_depth_loses_rare_asvs_more_often():
    generator = np.random.default_rng(1)
    kept = np.stack([resample(SHARES, OFFSETS, 10, 0.0, generator)[0] for _ in range(2000)]).mean(0)
    # the probability that a Poisson number with mean 10 * share is not 0
    assert np.allclose(np.delete(kept, 4), np.delete(1 - np.exp(-10 * SHARES), 4), atol=0.03)


def test_asvs_are_left_out_with_the_asked_probability_and_a_sample_is_never_empty():
    generator = np.random.default_rng(1)
    kept = np.stack([resample(SHARES, OFFSETS, 0, 0.3, generator)[0] for _ in range(3000)])
    assert np.allclose(kept[:, :4].mean(), 0.7, atol=0.02)
    assert kept[:, 4].all()
    assert (np.add.reduceat(kept, OFFSETS[:-1], axis=1) > 0).all()


def test_a_limit_takes_the_most_abundant_and_at_random_only_in_training():
    config = config_of(max_asvs_per_sample=2, asv_choice='random')
    for_prediction = make_augmentation(config.data)
    keep, shares = for_prediction(SHARES, OFFSETS)
    assert np.array_equal(keep, largest_of_each(SHARES, OFFSETS, 2)) and np.array_equal(shares, SHARES)
    in_training = make_augmentation(config.data, config.training, np.random.default_rng(1))
    several = np.stack([in_training(SHARES, OFFSETS)[0] for _ in range(500)])
    assert set(np.add.reduceat(several, OFFSETS[:-1], axis=1).ravel()) == {1, 2}
    assert np.allclose(several[:, :4].mean(0), 0.5, atol=0.08)


def test_a_limit_counts_what_is_left_after_dropout():
    config = config_of(max_asvs_per_sample=3, asv_dropout=0.5)
    augment = make_augmentation(config.data, config.training, np.random.default_rng(1))
    for _ in range(50):
        keep, shares = augment(SHARES, OFFSETS)
        assert (shares[keep] > 0).all()


def test_noise_hits_the_asked_share_and_never_padding():
    codes = np.tile(np.array([1, 2, 3, 4, 5, 0, 0], dtype=np.uint8), (20000, 1))
    noisy = add_nucleotide_noise(codes, 0.2, np.random.default_rng(1))
    assert not noisy[:, 5:].any() and noisy.dtype == np.uint8
    # a quarter of the replacements are the same nucleotide again
    assert (noisy[:, :4] != codes[:, :4]).mean() == pytest.approx(0.15, abs=0.01)
    assert set(noisy[:, :5].ravel()) == {1, 2, 3, 4, 5}


def test_only_what_the_augmentation_keeps_is_drawn(study_of):
    study = study_of({'a': {'ACGT': 5, 'CCCC': 2, 'GGTT': 1}, 'b': {'ACGT': 1, 'TTTT': 4}})
    drawn = draw_samples(study, [0, 1], make_augmentation(config_of(max_asvs_per_sample=1).data))
    assert drawn.offsets.tolist() == [0, 1, 2]
    assert [study.feature_ids[asv] for asv in drawn.asvs] == ['ACGT', 'TTTT']
    np.testing.assert_allclose(drawn.abundances, [5 / 8, 4 / 5])
