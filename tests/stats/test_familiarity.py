"""Strangers lie far and left-out groups do not; what is stored holds no sample."""

import numpy as np
import pytest
import scipy.sparse

from q2_aam.stats import familiarity as module
from q2_aam.stats.familiarity import Familiarity, group_quantile


def study_of(groups, per_group, features, seed, axes=3, shift=0.0):
    """Return samples of groups that differ along a few axes, with noise, and the group of each."""
    shared = np.random.default_rng(99)
    directions = np.linalg.qr(shared.normal(size=(features, axes)))[0]
    random = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), per_group)
    scores = random.normal(size=(groups, axes))[group] * 3 + random.normal(size=(len(group), axes))
    return scores @ directions.T + 0.3 * random.normal(size=(len(group), features)) + shift, group


def tables_of(groups, per_group, features, seed, likely):
    """Return sparse log abundances of samples whose ASVs are drawn by probabilities, and the group of each."""
    random = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), per_group)
    present = random.random((len(group), features)) < likely
    return scipy.sparse.csr_matrix(present * random.uniform(2, 8, present.shape)), group


def test_one_in_twenty_of_new_groups_lies_beyond_a_distance_of_1():
    samples, groups = study_of(60, 3, 40, 1)
    familiarity, left_out = Familiarity.fit(samples, groups, np.random.default_rng(0))
    assert np.mean(left_out > 1) == pytest.approx(0.05, abs=0.01) and np.mean(left_out == 0) > 0.2
    new, _ = study_of(400, 3, 40, 2)
    assert 0.02 < np.mean(familiarity.distance(new) > 1) < 0.09
    assert familiarity.basis.shape == (40, 6)


def test_what_varies_along_other_axes_and_what_lies_far_along_known_ones_are_both_far():
    samples, groups = study_of(60, 3, 40, 1)
    familiarity, _ = Familiarity.fit(samples, groups, np.random.default_rng(0))
    shifted, _ = study_of(20, 1, 40, 3, shift=1.0)
    assert (familiarity.distance(shifted) > 1.5).all()
    along = samples.mean(axis=0) + 20 * familiarity.basis[:, 0]
    assert familiarity.distance(along[None])[0] > 1.5
    assert familiarity.distance(samples.mean(axis=0)[None])[0] == 0


def test_abundances_of_another_habitat_are_far_and_a_scale_changes_nothing():
    random = np.random.default_rng(5)
    likely = random.beta(0.5, 2, 300)
    samples, groups = tables_of(40, 2, 300, 1, likely)
    familiarity, left_out = Familiarity.fit(samples, groups, np.random.default_rng(0), unit_length=True)
    new, _ = tables_of(100, 1, 300, 2, likely)
    other, _ = tables_of(100, 1, 300, 3, random.permutation(likely))
    near, far = familiarity.distance(new), familiarity.distance(other)
    assert np.mean(near > 1.5) < 0.05 and np.mean(far > 1.5) > 0.95
    assert familiarity.distance(7 * new) == pytest.approx(near)
    assert np.isfinite(left_out).all()


def test_what_lies_outside_the_vocabulary_makes_a_sample_strange():
    likely = np.random.default_rng(5).beta(0.5, 2, 300)
    samples, groups = tables_of(40, 2, 300, 1, likely)
    familiarity, _ = Familiarity.fit(samples, groups, np.random.default_rng(0), unit_length=True)
    new, _ = tables_of(50, 1, 300, 2, likely)
    squares = np.asarray(new.multiply(new).sum(axis=1)).ravel()
    distances = [familiarity.distance(new, share * squares).mean() for share in (0, 0.5, 2, 8)]
    assert distances == sorted(distances) and distances[0] < 0.5 and distances[-1] > 2
    # nothing at all of it is known
    assert familiarity.distance(new[:1] * 0, np.ones(1))[0] > 1.5
    assert np.isfinite(familiarity.distance(new[:1] * 0)).all()


def test_the_training_samples_themselves_are_not_far():
    # components of noise fit the samples that they were learned from, and no others
    samples, groups = np.random.default_rng(1).normal(size=(60, 300)), np.arange(60)
    familiarity, left_out = Familiarity.fit(samples, groups, np.random.default_rng(0))
    assert np.mean(familiarity.distance(samples) > 1.5) < 0.05
    assert np.mean(left_out > 1) == pytest.approx(0.05, abs=0.02)


def test_sparse_and_dense_samples_are_the_same():
    likely = np.random.default_rng(5).beta(0.5, 2, 200)
    samples, groups = tables_of(30, 2, 200, 1, likely)
    for unit_length in (False, True):
        (sparse, left_out), (dense, others) = (
            Familiarity.fit(one, groups, np.random.default_rng(0), None, unit_length)
            for one in (samples, samples.toarray())
        )
        assert left_out == pytest.approx(others, abs=1e-4)
        assert sparse.distance(samples) == pytest.approx(dense.distance(samples.toarray()), abs=1e-4)


def test_a_distance_is_that_of_the_sample_alone_in_whatever_block(monkeypatch):
    samples, groups = study_of(30, 3, 20, 1)
    familiarity, _ = Familiarity.fit(samples, groups, np.random.default_rng(0))
    every = familiarity.distance(samples)
    alone = np.array([familiarity.distance(row[None])[0] for row in samples])
    assert alone == pytest.approx(every, abs=1e-9)
    monkeypatch.setattr(module, 'SAMPLES_AT_ONCE', 7)
    assert familiarity.distance(samples) == pytest.approx(every, abs=1e-9)


@pytest.mark.parametrize('groups, components', [(5, 0), (9, 0), (10, 1), (35, 3), (160, 16), (400, 16)])
def test_there_is_one_component_for_ten_groups_and_sixteen_at_most(groups, components):
    samples = np.random.default_rng(1).normal(size=(groups, 30))
    familiarity, _ = Familiarity.fit(samples, np.arange(groups), np.random.default_rng(0))
    assert familiarity.basis.shape == (30, components)


def test_a_component_that_is_one_groups_profile_is_left_out():
    samples = np.random.default_rng(1).normal(size=(50, 30))
    odd = np.zeros(30)
    odd[3] = 100.0
    samples[7] += odd
    familiarity, _ = Familiarity.fit(samples, np.arange(50), np.random.default_rng(0))
    assert familiarity.basis.shape == (30, 4) and np.abs(familiarity.basis[3]).max() < 0.2
    # where several groups are so, it tells of none of them
    samples[8:20] += odd
    familiarity, _ = Familiarity.fit(samples, np.arange(50), np.random.default_rng(0))
    assert familiarity.basis.shape == (30, 5) and np.abs(familiarity.basis[3]).max() > 0.9


def test_an_asv_of_few_samples_is_in_nothing_that_is_stored():
    likely = np.random.default_rng(5).beta(0.5, 2, 200)
    samples, groups = tables_of(30, 2, 200, 1, likely)
    samples = samples.tolil()
    samples[:, :20] = 0
    samples[:4, :10] = 5.0
    samples[:5, 10:20] = 5.0
    familiarity, _ = Familiarity.fit(samples.tocsr(), groups, np.random.default_rng(0), unit_length=True)
    assert not familiarity.center[:10].any() and not familiarity.basis[:10].any()
    assert familiarity.center[10:20].all() and familiarity.basis[10:20].any()


def test_with_few_groups_there_is_no_telling():
    familiarity, left_out = Familiarity.fit(np.eye(8), np.arange(8) % 4, np.random.default_rng(0))
    assert familiarity is None and np.isnan(left_out).all() and left_out.shape == (8,)


def test_samples_that_are_all_the_same_have_finite_distances():
    samples = np.ones((20, 3))
    familiarity, left_out = Familiarity.fit(samples, np.arange(20), np.random.default_rng(0))
    assert (left_out == 0).all() and familiarity.basis.shape == (3, 0)
    assert familiarity.distance(samples + 1)[0] > 1.5


def test_of_many_samples_whole_groups_are_learned_from(monkeypatch):
    monkeypatch.setattr(module, 'MAX_LEARNED', 60)
    samples, groups = study_of(60, 3, 40, 1)
    familiarity, left_out = Familiarity.fit(samples, groups, np.random.default_rng(0))
    assert 1 <= familiarity.basis.shape[1] <= 2 and np.isfinite(left_out).all()
    assert np.mean(left_out > 1) == pytest.approx(0.05, abs=0.01)


def test_a_seed_makes_the_same_and_the_order_of_groups_names_nothing():
    samples, groups = study_of(30, 3, 20, 1)
    one, left_out = Familiarity.fit(samples, groups, np.random.default_rng(4))
    other, again = Familiarity.fit(samples, [f'g{name:02d}' for name in groups], np.random.default_rng(4))
    assert all(np.array_equal(one.arrays()[name], other.arrays()[name]) for name in module.NAMES)
    assert np.array_equal(left_out, again)


def test_arrays_are_all_that_it_takes():
    samples, groups = study_of(30, 3, 20, 1)
    familiarity, _ = Familiarity.fit(samples, groups, np.random.default_rng(0))
    again = Familiarity.from_arrays({name: array.copy() for name, array in familiarity.arrays().items()}, 20)
    # the order in which numbers are summed depends on where arrays lie in memory
    assert again.distance(samples) == pytest.approx(familiarity.distance(samples), abs=1e-12)
    with pytest.raises(ValueError) as error:
        Familiarity.from_arrays(familiarity.arrays(), 21)
    assert str(error.value) == (
        'The familiarity of the model belongs to another model: it has 20 features instead of 21; train the model '
        'again.'
    )


@pytest.mark.parametrize(
    'change',
    [
        {'center': np.zeros(4)},
        {'center': np.zeros((4, 1), np.float32)},
        {'center': np.zeros(0, np.float32), 'basis': np.zeros((0, 2), np.float32)},
        {'center': np.full(4, np.nan, np.float32)},
        {'basis': np.zeros((3, 2), np.float32)},
        {'basis': np.zeros((4, 1), np.float32)},
        {'basis': np.zeros(4, np.float32)},
        {'deviations': np.array([1, 0], np.float32)},
        {'deviations': np.array([1, np.inf], np.float32)},
        {'deviations': np.ones((2, 1), np.float32)},
        {'units': np.ones(4)},
        {'units': np.array([1, 0, 1, 1, 1.0])},
        {'units': np.array([1, 1, 1, 1, -1.0])},
        {'units': np.array([np.nan, 1, 1, 1, 1])},
        {'unit_length': np.array([2], np.uint8)},
        {'unit_length': np.array([1])},
        {'center': [0.0] * 4},
    ],
)
def test_a_damaged_familiarity_is_refused(change):
    sound = {
        'center': np.zeros(4, np.float32), 'basis': np.eye(4, 2, dtype=np.float32),
        'deviations': np.ones(2, np.float32), 'units': np.ones(5), 'unit_length': np.array([0], np.uint8),
    }  # fmt: skip
    assert Familiarity(**sound).features == 4
    with pytest.raises(ValueError) as error:
        Familiarity(**sound | change)
    assert str(error.value) == (
        'The familiarity of the model is damaged: it must hold a mean, components of the same features with their '
        'deviations, and the units of the distance, all finite; train the model again.'
    )


def test_in_a_quantile_each_group_counts_once():
    values, groups = np.array([1.0, 2, 3, 4, 9]), np.array(['a', 'a', 'a', 'a', 'b'])
    assert [group_quantile(values, groups, share) for share in (0.25, 0.5, 0.51, 1)] == [2, 4, 9, 9]
    assert group_quantile(values, np.arange(5), 0.6) == 3
