"""What a model must be better than: predictions of a fold by methods that researchers have already."""

import dataclasses

import numpy as np
import pandas as pd
import scipy.linalg
import scipy.sparse
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from q2_aam.data.distance_matrix import read_distances
from q2_aam.data.table import read_table
from q2_aam.errors import UserError

from .out_of_fold import OF

# As q2-sample-classifier makes them where its user says nothing.
TREES = 100
NEIGHBOURS = 5
# What proportions are multiplied by before log(1 + x): about a usual read depth, so that one read counts.
DEPTH = 1e4
RIDGE_PENALTIES = 10.0 ** np.arange(-1, 6)
# Training samples, drawn at random, that a method learns from whose cost grows with their cube.
MOST_SAMPLES = 2000
# Of the Gaussian process: length scales as multiples of the median distance, noise as a multiple of the signal.
LENGTH_SCALES = 2.0 ** np.arange(-2, 5)
NOISES = 10.0 ** np.arange(-3, 2.5, 0.5)


def predict_fold(training_table, test_table, target, seed, threads=1, distance_matrix=None):
    """Predict the samples of a fold by every baseline, from files.

    Parameters
    ----------
    training_table, test_table : path
        BIOM 2.1 HDF5.
    target : pandas.Series
        Numbers, or words (classes), of the training samples.
    seed : int
    threads : int
        0 takes all.
    distance_matrix : path, optional

    Returns
    -------
    pandas.DataFrame
        One row a test sample and one column a method; for classes one a method and class, named ``method|class``.

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used.
    """
    target = target.sort_index()
    ids, (counts, new_counts) = _aligned(training_table, test_table, list(target.index))
    distances = None if distance_matrix is None else _distances_of(distance_matrix, list(target.index), ids)
    if target.dtype.kind in 'fiu':
        found = predict_numbers(counts, target.to_numpy(dtype=np.float64), new_counts, seed, threads, distances)
    else:
        names = sorted(set(target))
        by_method = predict_classes(counts, target.to_numpy(dtype=object), new_counts, seed, threads, distances)
        found = {
            f'{method}{OF}{name}': shares[:, column]
            for method, shares in by_method.items()
            for column, name in enumerate(names)
        }
    return pd.DataFrame(found, index=pd.Index(ids, name='id'))


def _aligned(training_table, test_table, training_ids):
    """Return the test ids, and both tables with the features of the training table, in order of their ids."""
    training, test = read_table(training_table), read_table(test_table)
    # in order of ids, as q2-sample-classifier has them: with the same seed its trees are the same
    features = sorted(training.feature_ids)
    rows = pd.Index(training.sample_ids).get_indexer(training_ids)
    if (rows < 0).any():
        raise UserError(
            f'The training table lacks sample {training_ids[np.argmin(rows)]}, which has a label; give labels of its '
            'samples alone.'
        )
    return list(test.sample_ids), (_columns(training, features)[rows], _columns(test, features))


def _columns(table, features):
    """Return the counts of `features`, all 0 where the table does not have one."""
    place = pd.Index(table.feature_ids).get_indexer(features)
    there = np.flatnonzero(place >= 0)
    onto = scipy.sparse.csr_matrix(
        (np.ones(len(there)), (place[there], there)), (len(table.feature_ids), len(features))
    )
    return scipy.sparse.csr_matrix(scipy.sparse.vstack(list(table.blocks())).astype(np.float64) @ onto)


def _distances_of(path, training_ids, test_ids):
    """Return distances [training + test samples, training samples], NaN for samples that are not in the matrix."""
    matrix = read_distances(path)
    place = pd.Index(matrix.ids)
    rows, columns = place.get_indexer(training_ids + test_ids), place.get_indexer(training_ids)
    found = matrix.values[np.ix_(rows, columns)].astype(np.float64)
    found[rows < 0] = np.nan
    found[:, columns < 0] = np.nan
    return found


def predict_numbers(training, values, test, seed, threads=1, distances=None):
    """Predict the target of a fold's samples by every baseline.

    Parameters
    ----------
    training, test : scipy.sparse.csr_matrix [samples, features]
        Counts or proportions, of the same features in the same order.
    values : float64 [training samples]
    seed : int
    threads : int
        0 takes all.
    distances : float [training + test samples, training samples], optional
        NaN where unknown; samples without any distance are not predicted by the methods that need them.

    Returns
    -------
    dict
        {method: float64 [test samples]}, NaN where it cannot tell.
    """
    forest = {'n_estimators': TREES, 'random_state': seed, 'n_jobs': threads or -1}
    counts, new_counts = _seen_in_training(training, test)
    logs, new_logs = _logs(counts), _logs(new_counts)
    some = _some(len(values), seed)
    found = {
        'random_forest': RandomForestRegressor(**forest).fit(counts, values).predict(new_counts),
        'extra_trees': ExtraTreesRegressor(**forest).fit(counts, values).predict(new_counts),
        'ridge': RidgeCV(RIDGE_PENALTIES).fit(logs[some], values[some]).predict(new_logs),
    }
    if distances is not None:
        found |= _by_distance(distances, values, some)
    return found | {'median': np.full(test.shape[0], np.median(values))}


def predict_classes(training, classes, test, seed, threads=1, distances=None):
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
    forest = {'n_estimators': TREES, 'random_state': seed, 'n_jobs': threads or -1}
    counts, new_counts = _seen_in_training(training, test)
    names, numbers = np.unique(classes, return_inverse=True)
    found = {
        'random_forest': RandomForestClassifier(**forest).fit(counts, numbers).predict_proba(new_counts),
        'extra_trees': ExtraTreesClassifier(**forest).fit(counts, numbers).predict_proba(new_counts),
        'logistic': LogisticRegression(max_iter=5000).fit(_logs(counts), numbers).predict_proba(_logs(new_counts)),
    }
    if distances is not None:
        near = _Near.of(distances, len(numbers))
        shares = near.empty(len(names))
        if near.enough():
            model = near.nearest(KNeighborsClassifier, numbers)
            shares[near.new] = 0
            shares[np.ix_(near.new, model.classes_)] = model.predict_proba(near.to_NT)
        found['nearest_neighbours'] = shares
    return found | {'majority': np.tile(np.bincount(numbers) / len(numbers), (test.shape[0], 1))}


def _seen_in_training(training, test):
    """Leave out features without a read in training, as q2-sample-classifier does."""
    seen = np.flatnonzero(np.bincount(training.indices, minlength=training.shape[1]))
    return training[:, seen], test[:, seen]


def _logs(counts):
    """Return log(1 + 10,000 proportion), sparse; a sample whose features are all unknown stays empty."""
    totals = np.maximum(np.asarray(counts.sum(axis=1), dtype=np.float64), np.finfo(np.float32).tiny)
    return scipy.sparse.csr_matrix(counts.multiply(DEPTH / totals)).log1p()


def _some(samples, seed):
    chosen = np.random.default_rng(seed).permutation(samples)[:MOST_SAMPLES]
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
