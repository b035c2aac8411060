"""Fitting the kernel head: what is left out is left out, hyperparameters follow the data, blends follow the better."""

import numpy as np
import pytest
import scipy.sparse

from q2_aam.data.composition import Composition
from q2_aam.model.kernel_head import ASVS, MEAN, radial
from q2_aam.training import kernel
from q2_aam.training.kernel import blend, choose, fit_kernel_head, left_out_error


def made(samples=60, asvs=20, seed=0, mean=True):
    """Samples whose target is a smooth function of two ASVs, and their compositions."""
    generator = np.random.default_rng(seed)
    values = generator.random((samples, asvs)) * (generator.random((samples, asvs)) < 0.6)
    targets = np.sin(3 * values[:, 0]) + values[:, 1] ** 2
    mean_BD = np.float32(values @ generator.normal(size=(asvs, 4))) if mean else None
    return Composition(scipy.sparse.csr_matrix(np.float32(values)), np.arange(asvs) * 7, mean_BD), targets[:, None]


def some(composition, rows):
    return Composition(composition.asvs_BA[rows], composition.keys_A, composition.mean_BD[rows])


def test_new_samples_are_predicted_better_than_by_the_mean():
    composition, targets = made(200)
    head, left_out = fit_kernel_head(some(composition, slice(0, 150)), targets[:150], None, np.random.default_rng(1))
    error = targets[150:] - head.outputs(some(composition, slice(150, 200)))
    assert np.square(error).mean() < 0.5 * targets.var()
    assert np.square(left_out - targets[:150]).mean() < 0.5 * targets.var()


def test_outputs_are_those_of_the_gaussian_process_itself():
    """Landmarks, which are mixtures, span what the samples do: the exact solution is the yardstick."""
    composition, targets = made(80, mean=False)
    head, _ = fit_kernel_head(composition, targets, None, np.random.default_rng(1))
    dense = composition.asvs_BA.toarray().astype(float)
    length, noise, _ = choose(dense, targets - targets.mean(), np.arange(80))
    others = np.random.default_rng(3).random((30, 20))
    exact = targets.mean() + radial(others, dense, length) @ np.linalg.solve(
        radial(dense, dense, length) + noise * np.eye(80), targets - targets.mean()
    )
    new = Composition(scipy.sparse.csr_matrix(np.float32(others)), composition.keys_A, None)
    assert np.abs(head.outputs(new) - exact).mean() < 0.05 * targets.std()


def test_left_out_outputs_know_nothing_of_their_fold():
    """Other targets in a fold change what is said of the others, and nothing of what is said of the fold."""
    composition, targets = made(60)
    samples, folds = composition.mean_BD, np.repeat(np.arange(10), 6)
    own = folds == 4
    before = kernel._solve(samples, samples[:40], 1.0, 0.1, targets, folds)[1]
    after = kernel._solve(samples, samples[:40], 1.0, 0.1, np.where(own[:, None], targets + 5, targets), folds)[1]
    np.testing.assert_allclose(after[own], before[own], atol=1e-6)
    assert np.abs(after - before)[~own].max() > 0.1


def test_folds_hold_whole_groups():
    folds = kernel._folds(np.repeat(np.arange(25), 4), np.random.default_rng(0))
    assert (folds.reshape(25, 4) == folds[::4, None]).all()
    assert len(set(folds)) == kernel.FOLDS


def test_outputs_left_out_equal_a_fit_without_the_group(monkeypatch):
    """What the inverse of the matrix says of a group is what a process that never saw it says."""
    monkeypatch.setattr(kernel, 'LENGTHS', (1.0,))
    monkeypatch.setattr(kernel, 'NOISES', (0.1,))
    composition, targets = made(30)
    dense = composition.asvs_BA.toarray().astype(float)
    groups = np.repeat(np.arange(10), 3)
    length, noise, left_out = choose(dense, targets, groups)
    own = groups == 2
    rest = dense[~own]
    wanted = radial(dense[own], rest, length) @ np.linalg.solve(
        radial(rest, rest, length) + noise * np.eye(27), targets[~own]
    )
    np.testing.assert_allclose(left_out[own], wanted, rtol=1e-6)


def test_noise_follows_the_targets():
    composition, targets = made(120)
    dense = composition.asvs_BA.toarray().astype(float)
    loud = targets + np.random.default_rng(1).normal(size=targets.shape) * 2 * targets.std()
    centered = [values - values.mean() for values in (targets, loud)]
    quiet_noise, loud_noise = (choose(dense, values, np.arange(120))[1] for values in centered)
    assert quiet_noise < loud_noise == max(kernel.NOISES)


def test_all_samples_alike_give_the_mean():
    composition = Composition(scipy.sparse.csr_matrix(np.ones((6, 3), np.float32)), np.arange(3), None)
    targets = np.arange(6.0)[:, None]
    head, _ = fit_kernel_head(composition, targets, None, np.random.default_rng(0))
    np.testing.assert_allclose(head.outputs(composition), np.full((6, 1), 2.5), atol=1e-6)


def test_without_embeddings_there_is_one_view():
    composition, targets = made(20, mean=False)
    head, _ = fit_kernel_head(composition, targets, None, np.random.default_rng(0))
    assert list(head.views) == [ASVS]
    assert list(fit_kernel_head(made(20)[0], targets, None, np.random.default_rng(0))[0].views) == [ASVS, MEAN]


def test_landmarks_are_mixtures_of_three():
    weights = kernel._mixtures(50, np.random.default_rng(0)).toarray()
    assert weights.shape == (200, 50)
    assert ((weights > 0).sum(axis=1) == 3).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert kernel._mixtures(5000, np.random.default_rng(0)).shape == (kernel.MOST_LANDMARKS, 5000)


def test_the_same_seed_gives_the_same_head():
    composition, targets = made(30)
    one, two = (fit_kernel_head(composition, targets, None, np.random.default_rng(5))[0].arrays() for _ in range(2))
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])


def test_a_blend_is_equal_where_little_is_known_and_follows_the_better_where_much_is():
    generator = np.random.default_rng(0)
    for samples, least in ((4, 0.5), (20000, 0.97)):
        true = generator.normal(size=samples)
        good, bad = true + 0.1 * generator.normal(size=samples), generator.normal(size=samples)
        weights = blend([good, bad], true)
        assert weights.sum() == pytest.approx(1)
        assert least <= weights[0] <= least + 0.12
    np.testing.assert_allclose(blend([true, true, true], true), np.full(3, 1 / 3))


def test_the_scaling_that_suits_a_target_errs_less():
    composition, targets = made(150)
    values = np.exp(3 * targets[:, 0])
    plain = left_out_error(composition, values, None, lambda v: v, np.random.default_rng(0))
    logarithm = left_out_error(composition, np.log(values), None, np.exp, np.random.default_rng(0))
    assert logarithm < plain
