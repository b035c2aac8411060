"""Fitting the kernel head in closed form: each view a Gaussian process, everything chosen by leaving out whole groups.

Shapes: N labelled samples, M landmarks, O outputs, V views.
"""

import numpy as np
import scipy.linalg
import scipy.sparse

from q2_aam.model.kernel_head import (
    ASVS,
    MEAN,
    SAMPLES_AT_ONCE,
    KernelHead,
    View,
    known_asvs,
    radial,
    squared_distances,
)

# Lengths as multiples of the median distance; noise against a kernel whose diagonal is 1.
LENGTHS = (0.5, 0.7, 1.0, 1.4, 2.0)
NOISES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
# Labelled samples on which both are chosen: the cost grows with their cube.
MOST_TO_CHOOSE = 1000
# Four landmarks a sample span what the samples themselves do (same error on ECAM); the cost grows with their cube.
LANDMARKS_A_SAMPLE, MOST_LANDMARKS = 4, 4096
MIXED = 3
FOLDS = 10
JITTER = 1e-6
# Members of a blend count the same but for what this many samples and more say.
PRIOR_SAMPLES = 50


def fit_kernel_head(composition, targets_NO, groups, generator):
    """Fit the head.

    Parameters
    ----------
    composition : q2_aam.data.composition.Composition
        Of the labelled samples that may be learned from.
    targets_NO : float64 [N, O]
    groups : array [N], or None
        Samples of a group are left out together.
    generator : numpy.random.Generator

    Returns
    -------
    head : KernelHead
    left_out_NO : float64 [N, O]
        Outputs for the same samples from coefficients that were fitted without them and without the others of their
        group (ten parts of whole groups are left out in turn).
    """
    groups_N = _numbered(groups, len(targets_NO))
    center_O = targets_NO.mean(axis=0)
    centered_NO = targets_NO - center_O
    keys_C, inputs = _inputs(composition)
    mixtures_MN = _mixtures(len(targets_NO), generator)
    fold_N = _folds(groups_N, generator)
    some = _some(len(targets_NO), generator)
    views, left_out_VNO = {}, []
    for name, samples in inputs.items():
        length, noise, _ = choose(samples[some], centered_NO[some], groups_N[some])
        landmarks = (mixtures_MN @ samples).astype(np.float32)
        coefficients, left_out = _solve(samples, landmarks, length, noise, centered_NO, fold_N)
        views[name] = View(landmarks, coefficients, length)
        left_out_VNO.append(left_out)
    weights = blend(left_out_VNO, centered_NO)
    views = {
        name: View(view.landmarks, weight * view.coefficients, view.length)
        for weight, (name, view) in zip(weights, views.items())
    }
    return KernelHead(center_O, keys_C, views), center_O + np.tensordot(weights, left_out_VNO, 1)


def left_out_error(composition, targets_N, groups, unscaled, generator):
    """Return the mean absolute error, after `unscaled`, for groups left out, of a kernel on the ASVs alone.

    It tells which scaling of a target suits it, before anything slower is trained.
    """
    some = _some(len(targets_N), generator)
    groups_N = _numbered(groups, len(targets_N))[some]
    targets_N = targets_N[some]
    center = targets_N.mean()
    left_out_NO = choose(_inputs(composition)[1][ASVS][some], (targets_N - center)[:, None], groups_N)[2]
    return float(np.abs(unscaled(left_out_NO[:, 0] + center) - unscaled(targets_N)).mean())


def choose(samples, targets_NO, groups_N):
    """Return the length and the noise with the smallest squared error for groups left out, and those outputs [N, O].

    What a Gaussian process would say of a group that it had not seen follows from the inverse of the kernel matrix
    (Rasmussen and Williams 2006, section 5.4.2, there for single samples).
    """
    squared_NN = squared_distances(samples, samples)
    apart = squared_NN[np.triu_indices(len(squared_NN), 1)]
    median = float(np.sqrt(np.median(apart[apart > 0]))) if (apart > 0).any() else 1.0
    members = [np.flatnonzero(groups_N == group) for group in np.unique(groups_N)]
    best: tuple = (np.inf,)
    for length in LENGTHS:
        values, vectors = np.linalg.eigh(np.exp(squared_NN / (-2 * (median * length) ** 2)))
        projected = vectors.T @ targets_NO
        for noise in NOISES:
            scale = 1 / (values.clip(0) + noise)
            inverse, weights = (vectors * scale) @ vectors.T, vectors @ (projected * scale[:, None])
            errors = np.empty_like(targets_NO)
            for own in members:
                errors[own] = np.linalg.solve(inverse[np.ix_(own, own)], weights[own])
            error = float(np.square(errors).sum())
            if error < best[0]:
                best = (error, median * length, noise, targets_NO - errors)
    return best[1:]


def blend(members_VNO, targets_NO, prior_V=None, prior_samples=PRIOR_SAMPLES):
    """Return the weights [V], at least 0 and 1 in all, with which members sum to what is nearest to the targets.

    Least squares, drawn to `prior_V` (default: all alike) as strongly as that many samples would.
    """
    members_VX = np.asarray(members_VNO, dtype=np.float64).reshape(len(members_VNO), -1)
    prior_V = np.full(len(members_VX), 1 / len(members_VX)) if prior_V is None else np.asarray(prior_V)
    mean_X = prior_V @ members_VX
    apart_VX = members_VX - mean_X
    gram_VV = apart_VX @ apart_VX.T
    strength = prior_samples * np.trace(gram_VV) / len(gram_VV) / max(1, len(targets_NO))
    if strength == 0:
        return prior_V
    off_V = np.linalg.solve(gram_VV + strength * np.eye(len(gram_VV)), apart_VX @ (np.ravel(targets_NO) - mean_X))
    weights_V = np.maximum(prior_V + off_V - off_V.mean(), 0.0)
    return weights_V / weights_V.sum()


def _inputs(composition):
    keys_C = np.unique(composition.keys_A[np.unique(composition.asvs_BA.indices)])
    inputs = {ASVS: known_asvs(composition, keys_C)[0]}
    if composition.mean_BD is not None:
        inputs[MEAN] = composition.mean_BD
    return keys_C, inputs


def _solve(samples, landmarks, length, noise, targets_NO, fold_N):
    """Return coefficients [M, O] fitted on all samples, and outputs [N, O] of those fitted without a sample's fold."""
    among_MM = radial(landmarks, landmarks, length)
    among_MM[np.diag_indices(len(among_MM))] += JITTER
    among_MM *= noise
    folds = [np.flatnonzero(fold_N == fold) for fold in np.unique(fold_N)]
    gram_MM, right_MO = _gram(samples, landmarks, length, targets_NO, np.arange(len(targets_NO)))
    left_out_NO = np.zeros_like(targets_NO)
    # of a single group nothing would be left to learn from: its outputs stay those of the mean
    for own in folds if len(folds) > 1 else ():
        # computed again and not kept: ten of them are more than a gigabyte
        gram, right = _gram(samples, landmarks, length, targets_NO, own)
        coefficients = _ridge(among_MM + gram_MM - gram, right_MO - right)
        for block in _blocks(own):
            left_out_NO[block] = radial(samples[block], landmarks, length) @ coefficients
    return _ridge(among_MM + gram_MM, right_MO), left_out_NO


def _gram(samples, landmarks, length, targets_NO, own):
    """Return products of the kernel's columns with each other, [M, M], and with targets, [M, O], over `own` rows."""
    gram_MM, right_MO = 0.0, 0.0
    for block in _blocks(own):
        kernel_BM = radial(samples[block], landmarks, length)
        gram_MM, right_MO = gram_MM + kernel_BM.T @ kernel_BM, right_MO + kernel_BM.T @ targets_NO[block]
    return gram_MM, right_MO


def _blocks(rows):
    return np.split(rows, range(SAMPLES_AT_ONCE, len(rows), SAMPLES_AT_ONCE))


def _ridge(matrix_MM, right_MO):
    return scipy.linalg.solve(matrix_MM, right_MO, assume_a='sym')


def _mixtures(samples, generator):
    """Return the weights [M, N] with which landmarks mix samples: three of them each, at random."""
    landmarks, mixed = min(MOST_LANDMARKS, LANDMARKS_A_SAMPLE * samples), min(MIXED, samples)
    columns = np.stack([generator.choice(samples, mixed, replace=False) for _ in range(landmarks)])
    weights = generator.dirichlet(np.ones(mixed), landmarks)
    rows = np.repeat(np.arange(landmarks), mixed)
    return scipy.sparse.csr_matrix((weights.ravel(), (rows, columns.ravel())), shape=(landmarks, samples))


def _some(samples, generator):
    return np.sort(generator.permutation(samples)[:MOST_TO_CHOOSE])


def _numbered(groups, samples):
    return np.arange(samples) if groups is None else np.unique(groups, return_inverse=True)[1]


def _folds(groups_N, generator):
    """Deal whole groups to FOLDS parts at random, int64 [N]."""
    numbers = groups_N.max() + 1
    return (generator.permutation(numbers) % min(FOLDS, numbers))[groups_N]
