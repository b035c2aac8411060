"""How far a sample lies from those that a model was trained on, in units of how far left-out groups lie.

Shapes: N training samples, B samples, D features, K components.
"""

import dataclasses

import numpy as np
import scipy.sparse

# Groups from which on there is a scale at all; samples that a feature must be found in to have a part in the mean and
# in the components, so that neither tells what a single sample holds.
MIN_GROUPS, MIN_SAMPLES = 5, 5
# One component for so many groups, and as many components at most. On 16 studies, 8, 16 and 32 tell other studies from
# left-out groups alike; 4 do worse.
GROUPS_PER_COMPONENT, MAX_COMPONENTS = 10, 16
# A component is left out where one group has more of its variance: it is that group's profile.
MAX_SHARE = 0.5
# Parts that groups are dealt to, each of which is measured by the others. With 5, the scores of new samples are farther
# out than those of left-out groups (7.9 % of left-out samples instead of 5.9 % lie beyond the 95 % quantile).
FOLDS = 10
# That quantile of left-out samples lies at a distance of 1.
UNIT = 0.95
# Samples of whole groups from which all is learned, where there are more.
MAX_LEARNED = 10_000
OVERSAMPLING, POWER_ITERATIONS = 10, 3
# Least unit, relative to the mean squared length of a sample: samples that are all the same are not infinitely far.
MIN_UNIT = 1e-6
SAMPLES_AT_ONCE = 1024
NAMES = ('center', 'basis', 'deviations', 'units', 'unit_length')


@dataclasses.dataclass(frozen=True, eq=False)
class Familiarity:
    """Mean and first principal components of the training samples. It holds no sample and no ids.

    A sample is far where its scores are (their Mahalanobis distance), or where mean and components cannot tell what it
    is like (the squared length of what is left of it). Of both, the one that is farther out counts.

    Attributes
    ----------
    center : float32 [D]
    basis : float32 [D, K]
        Orthonormal; K may be 0.
    deviations : float32 [K]
        Standard deviation of the scores.
    units : float64 [5]
        Of the samples of left-out groups, the median of the remainder and how far above it their 95 % quantile is (or
        that of the training samples, if it is the higher); both of the Mahalanobis distance; and the 95 % quantile of
        what is the larger, in these units.
    unit_length : uint8 [1]
        1 where each sample is divided by its length (abundances, of which only the composition counts), 0 where it is
        measured as it is (embeddings).

    Raises
    ------
    ValueError
        If the arrays are not as described.
    """

    center: np.ndarray
    basis: np.ndarray
    deviations: np.ndarray
    units: np.ndarray
    unit_length: np.ndarray

    def __post_init__(self):
        if not self._is_sound():
            raise ValueError(
                'The familiarity of the model is damaged: it must hold a mean, components of the same features with '
                'their deviations, and the units of the distance, all finite; train the model again.'
            )

    def _is_sound(self):
        kinds = {'center': 'float32', 'basis': 'float32', 'deviations': 'float32', 'units': 'float64'}
        for name, kind in (kinds | {'unit_length': 'uint8'}).items():
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != kind or not np.isfinite(array).all():
                return False
        if self.center.ndim != 1 or self.basis.ndim != 2 or len(self.center) == 0:
            return False
        if self.basis.shape != (len(self.center), len(self.deviations)) or self.deviations.ndim != 1:
            return False
        if self.units.shape != (5,) or self.unit_length.shape != (1,) or self.unit_length[0] > 1:
            return False
        return bool((self.deviations > 0).all() and (self.units[[1, 3, 4]] > 0).all())

    @property
    def features(self):
        """The number of features, D."""
        return len(self.center)

    @classmethod
    def fit(cls, samples, groups, generator, outside=None, unit_length=False):
        """Learn what training samples are like, and how far those of left-out groups lie from the others.

        There is one component for each 10 groups, 16 at most; one of whose variance a single group has more than half
        is left out. A feature that fewer than 5 samples have counts as outside what is known.

        Parameters
        ----------
        samples : float [N, D] or scipy.sparse matrix [N, D]
        groups : array [N]
            Group of each sample; groups are left out as a whole, and each counts once, however many samples it has.
        generator : numpy.random.Generator
        outside : float64 [N], optional
            Squared length of what samples have in features that are not among the D; default 0.
        unit_length : bool
            See the class.

        Returns
        -------
        familiarity : Familiarity or None
            None with fewer than 5 groups: there is no telling then how far left-out groups lie.
        distances : float64 [N]
            Of every training sample, where its group was left out; NaN without a familiarity.
        """
        _, group = np.unique(np.asarray(groups), return_inverse=True)
        if group.max() + 1 < MIN_GROUPS:
            return None, np.full(len(group), np.nan)
        samples, outside = _prepared(samples, outside, unit_length)
        rows = _learned(group, generator)
        fold = (generator.permutation(group.max() + 1) % FOLDS)[group]
        components = _components(len(np.unique(group[rows])))
        measured = np.empty((2, len(group)))
        for number in np.unique(fold):
            out, others = np.flatnonzero(fold == number), rows[fold[rows] != number]
            statistics = _statistics(samples[others], group[others], components, generator)
            measured[:, out] = _measured(samples[out], outside[out], *statistics)
        center, basis, deviations = _statistics(samples[rows], group[rows], components, generator)
        within = _measured(samples[rows], outside[rows], center, basis, deviations)
        least = MIN_UNIT * np.mean(_squares(samples) + outside)
        units = _units(measured, group, within, group[rows], least)
        length = np.array([unit_length], dtype=np.uint8)
        return cls(center, basis, deviations, units, length), _distances(measured, units)

    def distance(self, samples, outside=None):
        """Return how far samples lie, float64 [B]: 1 is the 95 % quantile of left-out groups of the training samples.

        It is 0 where neither remainder nor scores are farther out than the median of these.

        Parameters
        ----------
        samples : float [B, D] or scipy.sparse matrix [B, D]
        outside : float64 [B], optional
            See :meth:`fit`.
        """
        samples, outside = _prepared(samples, outside, bool(self.unit_length[0]))
        statistics = self.center, self.basis, self.deviations
        return _distances(_measured(samples, outside, *statistics), self.units)

    def arrays(self):
        """Return {name: array}: everything that :meth:`from_arrays` needs."""
        return {name: getattr(self, name) for name in NAMES}

    @classmethod
    def from_arrays(cls, arrays, features):
        """Read what :meth:`arrays` gave; ValueError unless it is sound and of so many features."""
        familiarity = cls(**{name: arrays[name] for name in NAMES})
        if familiarity.features != features:
            raise ValueError(
                f'The familiarity of the model belongs to another model: it has {familiarity.features} features '
                f'instead of {features}; train the model again.'
            )
        return familiarity


def group_quantile(values, groups, share):
    """Return the smallest of `values` up to which at least a `share` of the samples lies; each group counts once."""
    order = np.argsort(values, kind='stable')
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    reached = np.cumsum(1 / sizes[group[order]]) / len(sizes)
    # rounding of the sum
    return float(values[order[min(np.searchsorted(reached, share * (1 - 1e-9)), len(order) - 1)]])


def _prepared(samples, outside, unit_length):
    """Return samples as float64, and the squared length of what is outside; both of a whole length of 1 if asked."""
    if scipy.sparse.issparse(samples):
        samples = scipy.sparse.csr_matrix(samples, dtype=np.float64)
    else:
        samples = np.asarray(samples, dtype=np.float64)
    outside = np.zeros(samples.shape[0]) if outside is None else np.asarray(outside, dtype=np.float64)
    if not unit_length:
        return samples, outside
    squares = _squares(samples) + outside
    squares = np.where(squares > 0, squares, 1.0)
    scale = scipy.sparse.diags(squares**-0.5) @ samples if scipy.sparse.issparse(samples) else None
    return (samples / np.sqrt(squares)[:, None] if scale is None else scale.tocsr()), outside / squares


def _squares(samples):
    if scipy.sparse.issparse(samples):
        return np.asarray(samples.multiply(samples).sum(axis=1)).ravel()
    return np.einsum('nd,nd->n', samples, samples)


def _components(groups):
    return min(groups // GROUPS_PER_COMPONENT, MAX_COMPONENTS)


def _learned(group, generator):
    """Return the samples that are learned from: all, or as many whole groups as make up enough of them."""
    if len(group) <= MAX_LEARNED:
        return np.arange(len(group))
    order = generator.permutation(group.max() + 1)
    # five groups there are in any case
    many = max(np.searchsorted(np.cumsum(np.bincount(group)[order]), MAX_LEARNED), MIN_GROUPS)
    return np.flatnonzero(np.isin(group, order[:many]))


def _statistics(samples, group, components, generator):
    """Return mean, components and the deviation of their scores."""
    held = np.asarray((samples != 0).sum(axis=0)).ravel() >= MIN_SAMPLES
    center = np.where(held, np.asarray(samples.mean(axis=0)).ravel(), 0.0)
    if not components:
        return center.astype(np.float32), np.zeros((len(center), 0), np.float32), np.zeros(0, np.float32)

    def scores(directions):
        return samples @ directions - center @ directions

    # randomised subspace iteration (Halko, Martinsson and Tropp 2011, doi:10.1137/090771806)
    size = min(components + OVERSAMPLING, *samples.shape)
    directions = held[:, None] * generator.normal(size=(len(center), size))
    for _ in range(POWER_ITERATIONS):
        left, _ = np.linalg.qr(scores(directions))
        directions = held[:, None] * (samples.T @ left - np.outer(center, left.sum(axis=0)))
        directions, _ = np.linalg.qr(directions)
        directions = held[:, None] * directions
    right = np.linalg.svd(scores(directions), full_matrices=False)[2]
    basis = (directions @ right.T)[:, :components]
    squares = scores(basis) ** 2
    of_groups = np.stack([np.bincount(group, column) for column in squares.T], axis=1)
    total = of_groups.sum(axis=0)
    shared = (of_groups.max(axis=0) <= MAX_SHARE * total) & (total > 0)
    deviations = np.sqrt(squares.mean(axis=0))
    # of directions in which nothing differs nothing can be told
    shared &= deviations > MIN_UNIT * max(deviations.max(), 1e-30)
    return tuple(array.astype(np.float32) for array in (center, basis[:, shared], deviations[shared]))


def _measured(samples, outside, center, basis, deviations):
    """Return the squared length of the remainder and the Mahalanobis distance, float64 [2, B]."""
    center, basis = center.astype(np.float64), basis.astype(np.float64)
    measured = np.zeros((2, samples.shape[0]))
    for start in range(0, samples.shape[0], SAMPLES_AT_ONCE):
        block = slice(start, start + SAMPLES_AT_ONCE)
        rows = samples[block]
        scores = rows @ basis - center @ basis
        whole = _squares(rows) - 2 * (rows @ center) + center @ center
        measured[0, block] = np.maximum(whole - np.square(scores).sum(axis=1), 0) + outside[block]
        if len(deviations):
            measured[1, block] = np.sqrt(np.square(scores / deviations).mean(axis=1))
    return measured


def _units(measured, group, within, group_within, least):
    """Return the units in which both are measured, and the one of the larger.

    Components fit the samples that they were learned from, whose scores are then larger than those of others; nor are
    those samples to be far.
    """
    units = []
    for values, fitted in zip(measured, within):
        median = group_quantile(values, group, 0.5)
        high = max(group_quantile(values, group, UNIT), group_quantile(fitted, group_within, UNIT))
        units += [median, max(high - median, least)]
    joint = _distances(measured, np.array([*units, 1.0]))
    return np.array([*units, max(group_quantile(joint, group, UNIT), MIN_UNIT)])


def _distances(measured, units):
    farther = np.maximum((measured[0] - units[0]) / units[1], (measured[1] - units[2]) / units[3])
    return np.maximum(farther, 0) / units[4]
