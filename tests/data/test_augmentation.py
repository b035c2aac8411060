"""Augmentation: what of a sample is read, and how training varies it."""

import numpy as np
import pytest

from q2_aam.config import FitRegressorConfig
from q2_aam.data.augmentation import (
    add_nucleotide_noise,
    largest_of_each,
    make_augmentation,
    random_depths,
    resample,
    shift_codes,
    trim_at_random,
    vary_sequences,
)
from q2_aam.data.batches import draw_samples
from q2_aam.data.sequences import UNKNOWN

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


def test_a_share_of_the_reads_takes_as_few_of_the_most_abundant_as_hold_it():
    shares = np.array([0.1, 0.6, 0.3, 1.0, 0.25, 0.25, 0.25, 0.25], dtype=np.float32)
    offsets = np.array([0, 3, 4, 8])
    expected = {
        0.5: [0, 1, 0, 1, 1, 1, 0, 0],
        0.6: [0, 1, 0, 1, 1, 1, 1, 0],
        0.61: [0, 1, 1, 1, 1, 1, 1, 0],
        0.999: [1, 1, 1, 1, 1, 1, 1, 1],
    }
    for share, kept in expected.items():
        augment = make_augmentation(config_of(max_asvs_per_sample=share).data)
        assert augment(shares, offsets)[0].tolist() == [bool(one) for one in kept], share


def test_a_share_of_the_reads_at_random_holds_it_too_and_no_sample_is_empty():
    random = np.random.default_rng(3)
    sizes = random.integers(1, 40, 50)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    shares = np.concatenate([random.dirichlet(np.full(size, 0.3)) for size in sizes]).astype(np.float32)
    config = config_of(max_asvs_per_sample=0.8, asv_choice='random', asv_dropout=0.3)
    augment = make_augmentation(config.data, config.training, np.random.default_rng(1))
    keep, drawn = augment(shares, offsets)
    assert (np.add.reduceat(drawn * keep, offsets[:-1]) >= 0.8 - 1e-5).all()
    assert not (keep & (drawn == 0)).any() and keep.sum() < (drawn > 0).sum()
    again = augment(shares, offsets)[0]
    assert (keep != again).any()


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


def test_depths_are_as_often_shallow_as_deep_and_each_sample_has_its_own():
    depths = random_depths(20000, 1000, 100.0, np.random.default_rng(1))
    assert depths.min() >= 10 and depths.max() <= 1000 and (depths < 100).mean() == pytest.approx(0.5, abs=0.02)
    config = config_of(rarefaction_depth=1000, rarefaction_range=500.0)
    augment = make_augmentation(config.data, config.training, np.random.default_rng(1))
    offsets = np.arange(0, 401, 100)
    kept = np.array([np.add.reduceat(augment(np.full(400, 0.01), offsets)[0], offsets[:-1]) for _ in range(200)])
    # at 2 reads one or two ASVs of 100 are left, at 1,000 all
    assert kept.min() <= 3 and kept.max() == 100 and (kept.max(axis=1) - kept.min(axis=1)).mean() > 30


def test_without_a_range_reads_are_drawn_as_they_always_were():
    config = config_of(rarefaction_depth=50)
    augment = make_augmentation(config.data, config.training, np.random.default_rng(1))
    generator = np.random.default_rng(1)
    reads = generator.poisson(50 * SHARES.astype(np.float64))
    generator.random(len(SHARES))
    assert (augment(SHARES, OFFSETS)[0] >= (reads > 0)).all() and augment(SHARES, OFFSETS)[1].sum() > 0
    assert np.array_equal(
        make_augmentation(config.data, config.training, np.random.default_rng(1))(SHARES, OFFSETS)[0][:4], reads[:4] > 0
    )


def test_a_sequence_that_begins_later_lacks_its_first_nucleotides_and_one_that_begins_earlier_has_unknown_ones():
    codes = np.array([[1, 2, 3, 4, 1, 0], [1, 2, 3, 4, 1, 0], [4, 3, 2, 1, 4, 3]], dtype=np.uint8)
    shifted = shift_codes(codes, np.array([3, 6, 4]), np.array([2, -1, 0]))
    assert shifted.tolist() == [[3, 4, 1, 0, 0, 0], [UNKNOWN, 1, 2, 3, 4, 1], [4, 3, 2, 1, 0, 0]]
    assert shifted.dtype == np.uint8


def test_half_of_the_sequences_begin_elsewhere_and_half_of_them_end_earlier():
    random = np.random.default_rng(1)
    lengths = random.integers(40, 61, 4000)
    codes = np.where(np.arange(60) < lengths[:, None], random.integers(1, 5, (4000, 60)), 0).astype(np.uint8)
    varied, new = trim_at_random(codes, lengths, 3, 10, random)
    # each is a piece of what it was, with unknown nucleotides in front where it begins earlier
    shift = np.zeros(4000, dtype=int)
    for row in range(4000):
        text, piece = codes[row, : lengths[row]].tobytes(), varied[row, : new[row]].tobytes()
        known = piece.lstrip(bytes([UNKNOWN]))
        assert known in text and not varied[row, new[row] :].any() and varied[row, : new[row]].all()
        shift[row] = text.index(known) or len(known) - len(piece)
    assert set(shift) == set(range(-3, 4))
    # of 7 shifts one is none
    assert (shift != 0).mean() == pytest.approx(0.5 * 6 / 7, abs=0.03)
    trimmed = np.minimum(lengths - shift, 60) - new
    assert trimmed.min() == 0 and trimmed.max() == 10 and (trimmed > 0).mean() == pytest.approx(0.5 * 10 / 11, abs=0.03)


def test_half_of_a_sequence_is_left_and_half_of_that_is_known():
    codes = np.tile(np.array([1, 2, 3, 4] * 4, dtype=np.uint8), (500, 1))
    varied, lengths = trim_at_random(codes, np.full(500, 16), 1000, 1000, np.random.default_rng(1))
    assert lengths.min() == 8 and lengths.max() == 16
    assert ((varied > 0) & (varied != UNKNOWN)).sum(axis=1).min() == 4


def test_an_asv_has_one_variation_in_all_samples_and_chance_follows_from_the_generator(study_of):
    study = study_of({'a': {'ACGTACGTACGT': 5, 'CCCCACGTGGTT': 2}, 'b': {'ACGTACGTACGT': 1}})
    training = config_of(max_shift=2, max_trim=4, nucleotide_noise=0.2).training
    drawn = draw_samples(study, [0, 1], sequences=True)
    one, same, other = (vary_sequences(drawn, training, np.random.default_rng(seed)) for seed in (1, 1, 4))
    assert one.codes.shape == drawn.codes.shape and len(one.codes) == 2
    assert np.array_equal(one.codes, same.codes) and np.array_equal(one.lengths, same.lengths)
    assert not np.array_equal(one.codes, other.codes)
    assert np.array_equal(one.lengths, (one.codes > 0).sum(axis=1))
    # what was drawn is left as it was, and what has no sequences has nothing to vary
    assert np.array_equal(drawn.codes, draw_samples(study, [0, 1], sequences=True).codes)
    without = draw_samples(study, [0, 1])
    assert vary_sequences(without, training, np.random.default_rng(1)) is without


def test_by_default_sequences_are_read_as_they_are(study_of):
    drawn = draw_samples(study_of({'a': {'ACGT': 5}}), [0], sequences=True)
    assert np.array_equal(vary_sequences(drawn, config_of().training, np.random.default_rng(1)).codes, drawn.codes)
