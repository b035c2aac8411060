"""What a model must be better than: predictions of a fold by methods that researchers have already."""

import dataclasses

import numpy as np
import pandas as pd
import scipy.linalg
import scipy.sparse
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from q2_aam.data.covariates import balancing_scale

from .out_of_fold import MAJORITY, MEDIAN, OF

# As q2-sample-classifier makes them where its user says nothing.
TREES = 100
NEIGHBOURS = 5
# What proportions are multiplied by before log(1 + x): about a usual read depth, so that one read counts.
DEPTH = 1e4
RIDGE_PENALTIES = 10.0 ** np.arange(-1, 6)
# Training samples, drawn at random, for the methods whose cost grows with their cube.
MAX_SAMPLES = 2000
# Limits of a random forest that only stands beside a fit, whose cost grows with samples times ASVs. Cross-validation
# has none.
MAX_FOREST_SAMPLES, MAX_FOREST_ASVS = 1000, 8192
# Variance of covariates beside logarithms of proportions, as a share of theirs.
BALANCED = 0.1
# Of the Gaussian process: length scales as multiples of the median distance, noise as a multiple of the signal.
LENGTH_SCALES = 2.0 ** np.arange(-2, 5)
NOISES = 10.0 ** np.arange(-3, 2.5, 0.5)


def predict_fold(
    counts, target, new_counts, new_ids, seed, threads=1, distances=None, covariates=None, weights=None
):  # fmt: skip
    """Predict the samples of a fold by every baseline.

    Parameters
    ----------
    counts, new_counts : scipy.sparse.csr_matrix [samples, features]
        Of the training and of the test samples, the same features in the same order.
    target : pandas.Series
        Numbers, or words (classes), of the training samples in the order of `counts`.
    new_ids : list of str
        Of the test samples.
    seed, threads, distances, covariates, weights
        See :func:`predict_numbers`.

    Returns
    -------
    pandas.DataFrame
        One row a test sample and one column a method; for classes one a method and class, named ``method|class``.
    """
    if target.dtype.kind in 'fiu':
        values = target.to_numpy(dtype=np.float64)
        columns = predict_numbers(counts, values, new_counts, seed, threads, distances, covariates, weights)
    else:
        names = sorted(set(target))
        classes = target.to_numpy(dtype=object)
        by_method = predict_classes(counts, classes, new_counts, seed, threads, distances, covariates, weights)
        columns = {
            f'{method}{OF}{name}': probabilities[:, number]
            for method, probabilities in by_method.items()
            for number, name in enumerate(names)
        }
    return pd.DataFrame(columns, index=pd.Index(new_ids, name='id'))


def predict_numbers(counts, values, new_counts, seed, threads=1, distances=None, covariates=None, weights=None):
    """Predict the target of a fold's samples by every baseline.

    Parameters
    ----------
    counts, new_counts : scipy.sparse.csr_matrix [samples, features]
        Counts or proportions of the training and of the test samples, the same features in the same order.
    values : float64 [training samples]
    seed : int
    threads : int
        Above 0.
    distances : float [training + test samples, training samples], optional
        NaN where unknown; samples without any distance are not predicted by the methods that need them.
    covariates : tuple of float [training samples, columns] and [test samples, columns], optional
        What is known of samples besides their reads, one column a category. Methods that read counts read it beside
        them, those that read distances do not.
    weights : float64 [training samples], optional
        Of each training sample, not all 0, for the methods that read counts. Those that read distances, and the guess,
        count all samples the same.

    Returns
    -------
    dict
        {method: float64 [test samples]}, NaN where it cannot tell.
    """
    counts, new_counts = _seen_in_training(counts, new_counts)
    logs, new_logs = _beside(_logs(counts), _logs(new_counts), covariates, BALANCED)
    counts, new_counts = _beside(counts, new_counts, covariates)
    some = _some(len(values), seed)
    trees = ExtraTreesRegressor(TREES, random_state=seed, n_jobs=threads)
    # samples of weight 0 would count where the penalty is chosen
    ridge = RidgeCV(RIDGE_PENALTIES).fit(*_heavy(logs[some], values[some], None if weights is None else weights[some]))
    predictions = {
        'random_forest': random_forest_numbers(counts, values, new_counts, seed, threads, weights=weights),
        'extra_trees': trees.fit(counts, values, weights).predict(new_counts),
        'ridge': ridge.predict(new_logs),
    }
    if distances is not None:
        predictions |= _by_distance(distances, values, some)
    return predictions | {MEDIAN: np.full(new_counts.shape[0], np.median(values))}


def predict_classes(counts, classes, new_counts, seed, threads=1, distances=None, covariates=None, weights=None):
    """Predict the class of a fold's samples by every baseline; see :func:`predict_numbers`.

    Parameters
    ----------
    classes : object [training samples]
        The class of each, a word.

    Returns
    -------
    dict
        {method: float64 [test samples, classes]}: probabilities of the sorted classes of the training samples.
    """
    counts, new_counts = _seen_in_training(counts, new_counts)
    names, numbers = np.unique(classes, return_inverse=True)
    trees = ExtraTreesClassifier(TREES, random_state=seed, n_jobs=threads)
    linear = LogisticRegression(max_iter=5000)
    logs, new_logs = _beside(_logs(counts), _logs(new_counts), covariates, BALANCED)
    counts, new_counts = _beside(counts, new_counts, covariates)
    predictions = {
        'random_forest': random_forest_classes(counts, numbers, new_counts, seed, threads, weights=weights),
        'extra_trees': trees.fit(counts, numbers, weights).predict_proba(new_counts),
        'logistic': linear.fit(logs, numbers, weights).predict_proba(new_logs),
    }
    if distances is not None:
        near = _Near.of(distances, len(numbers))
        probabilities = near.empty(len(names))
        if near.enough():
            model = near.nearest(KNeighborsClassifier, numbers)
            probabilities[near.new] = 0
            probabilities[np.ix_(near.new, model.classes_)] = model.predict_proba(near.to_NT)
        predictions['nearest_neighbours'] = probabilities
    return predictions | {MAJORITY: np.tile(np.bincount(numbers) / len(numbers), (new_counts.shape[0], 1))}


def random_forest_numbers(counts, values, new_counts, seed, threads=1, trees=TREES, weights=None):
    """Predict numbers by a random forest (Breiman 2001, doi:10.1023/A:1010933404324) on counts.

    Parameters
    ----------
    counts, new_counts : scipy.sparse.csr_matrix [samples, features]
        Of the samples to learn from and to predict, the same features in the same order.
    values : float64 [samples to learn from]
    seed, threads, trees : int
    weights : float64 [samples to learn from], optional

    Returns
    -------
    float64 [samples to predict]
    """
    counts, values, weights = _heavy(counts, values, weights)
    forest = RandomForestRegressor(trees, random_state=seed, n_jobs=threads)
    return forest.fit(counts, values, weights).predict(new_counts)


def random_forest_classes(
    counts, classes, new_counts, seed, threads=1, class_weight=None, number_of_classes=None, weights=None
):  # fmt: skip
    """Predict probabilities of classes by a random forest; see :func:`random_forest_numbers`.

    Parameters
    ----------
    classes : int64 [samples to learn from]
        Number of the class of each.
    class_weight : 'balanced' or None
        Whether each class has the same weight in the splits.
    number_of_classes : int, optional
        By default the largest of `classes` plus one.

    Returns
    -------
    float64 [samples to predict, number_of_classes]
        0 for a class that has no sample to learn from.
    """
    forest = RandomForestClassifier(TREES, random_state=seed, n_jobs=threads, class_weight=class_weight)
    probabilities = np.zeros((new_counts.shape[0], number_of_classes or int(np.max(classes)) + 1))
    counts, classes, weights = _heavy(counts, classes, weights)
    probabilities[:, np.unique(classes)] = forest.fit(counts, classes, weights).predict_proba(new_counts)
    return probabilities


def limit_samples(samples, generator):
    """Draw MAX_FOREST_SAMPLES samples where there are more.

    Parameters
    ----------
    samples : int64 [samples]
        Rows of a study.
    generator : numpy.random.Generator

    Returns
    -------
    samples : int64
        Sorted.
    limit : str
        '1,000 samples', or empty if all are taken.
    """
    drawn = np.sort(generator.permutation(samples)[:MAX_FOREST_SAMPLES])
    return drawn, f'{MAX_FOREST_SAMPLES:,} samples' if len(drawn) < len(samples) else ''


def limit_asvs(counts, new_counts):
    """Take the ASVs that have reads in `counts`, of more than MAX_FOREST_ASVS those in most samples.

    Parameters
    ----------
    counts, new_counts : scipy.sparse.csr_matrix [samples, ASVs]

    Returns
    -------
    counts, new_counts : scipy.sparse.csr_matrix
    limit : str
        '8,192 ASVs', or empty if all are taken.
    """
    samples_A = np.bincount(counts.indices, minlength=counts.shape[1])
    order = np.argsort(-samples_A, kind='stable')[:MAX_FOREST_ASVS]
    taken = np.sort(order[samples_A[order] > 0])
    limit = f'{MAX_FOREST_ASVS:,} ASVs' if len(taken) < np.count_nonzero(samples_A) else ''
    return counts[:, taken], new_counts[:, taken], limit


def read_by_trees(counts, new_counts, covariates=None):
    """Return counts as the trees of :func:`predict_numbers` read them, covariates behind them."""
    counts, new_counts = _seen_in_training(counts, new_counts)
    return _beside(counts, new_counts, covariates)


def _seen_in_training(counts, new_counts):
    """Leave out features without a read in training, as q2-sample-classifier does."""
    seen = np.flatnonzero(np.bincount(counts.indices, minlength=counts.shape[1]))
    return counts[:, seen], new_counts[:, seen]


def _heavy(counts, target, weights):
    """Leave out samples of weight 0: of a tree that drew no others, all predictions would be NaN."""
    if weights is None:
        return counts, target, None
    heavy = np.flatnonzero(weights)
    return counts[heavy], target[heavy], weights[heavy]


def _beside(counts, new_counts, covariates, share=None):
    """Put columns of covariates behind those of counts, or of logarithms: with this share of their variance."""
    if covariates is None:
        return counts, new_counts
    columns, new_columns = covariates
    # a penalty on weights would leave little of columns that vary little beside logarithms
    scale = 1.0 if share is None else balancing_scale(counts, columns, share)
    parts = (counts, scale * columns), (new_counts, scale * new_columns)
    return tuple(scipy.sparse.csr_matrix(scipy.sparse.hstack(part)) for part in parts)


def _logs(counts):
    """Return log(1 + 10,000 proportion), sparse; a sample whose features are all unknown stays empty."""
    totals = np.maximum(np.asarray(counts.sum(axis=1), dtype=np.float64), np.finfo(np.float32).tiny)
    return scipy.sparse.csr_matrix(counts.multiply(DEPTH / totals)).log1p()


def _some(samples, seed):
    chosen = np.random.default_rng(seed).permutation(samples)[:MAX_SAMPLES]
    return np.sort(chosen)


def _by_distance(distances, values, some):
    near = _Near.of(distances, len(values))
    neighbours, process = near.empty(), near.empty()
    if near.enough():
        neighbours[near.new] = near.nearest(KNeighborsRegressor, values).predict(near.to_NT)
        some = np.flatnonzero(np.isin(np.flatnonzero(near.known), some))
        process[near.new] = gaussian_process(
            near.among_TT[np.ix_(some, some)], values[near.known][some], near.to_NT[:, some]
        )
    return {'nearest_neighbours': neighbours, 'gaussian_process': process}


@dataclasses.dataclass(frozen=True)
class _Near:
    """Distances among the training samples that have them, and from the test samples that have them to those."""

    known: np.ndarray
    new: np.ndarray
    among_TT: np.ndarray
    to_NT: np.ndarray

    @classmethod
    def of(cls, distances, training):
        distances = np.asarray(distances, dtype=np.float64)
        among, to = distances[:training], distances[training:]
        known, new = np.isfinite(np.diagonal(among)), np.isfinite(to).any(axis=1)
        return cls(known, new, among[np.ix_(known, known)], to[np.ix_(new, known)])

    def enough(self):
        return self.to_NT.size > 0

    def empty(self, *columns):
        return np.full((len(self.new), *columns), np.nan)

    def nearest(self, kind, targets):
        model = kind(min(NEIGHBOURS, len(self.among_TT)), metric='precomputed')
        return model.fit(self.among_TT, targets[self.known])


def gaussian_process(distances_TT, values, distances_NT):
    """Predict by a Gaussian process whose covariance is exp(-d^2 / 2 l^2), plus noise.

    Length scale and noise are those of the greatest marginal likelihood (Rasmussen and Williams 2006, Gaussian
    Processes for Machine Learning, equation 2.30), the scale of the signal in closed form. A dissimilarity that no
    Euclidean space has can make the covariance indefinite: negative eigenvalues are taken for 0.

    Parameters
    ----------
    distances_TT : float64 [training samples, training samples]
    values : float64 [training samples]
    distances_NT : float64 [new samples, training samples]

    Returns
    -------
    float64 [new samples]
    """
    squares, mean = distances_TT**2, values.mean()
    centered, samples = values - mean, len(values)
    apart = distances_TT[distances_TT > 0]
    if not len(apart) or not centered.any():
        return np.full(len(distances_NT), mean)
    best, chosen, weights = -np.inf, 1.0, centered
    for length in np.median(apart) * LENGTH_SCALES:
        eigenvalues, vectors = scipy.linalg.eigh(np.exp(-squares / (2 * length**2)))
        eigenvalues, projected = np.maximum(eigenvalues, 0), vectors.T @ centered
        for noise in NOISES:
            spectrum = eigenvalues + noise
            signal = (projected**2 / spectrum).sum() / samples
            likelihood = -(samples * np.log(signal) + np.log(spectrum).sum()) / 2
            if likelihood > best:
                best, chosen, weights = likelihood, length, vectors @ (projected / spectrum)
    return mean + np.exp(-(distances_NT**2) / (2 * chosen**2)) @ weights
