"""True distances between samples of a study, scaled to at most 1 on the training split."""

import dataclasses
import warnings

import numpy as np

from q2_aam.errors import AAMWarning, UserError, counted, shown

from .batches import Drawn
from .distance_matrix import Distances

# Distances whose standard deviation is a smaller share of their mean hardly differ. On ECAM that of unweighted UniFrac
# is 0.17, of Bray-Curtis 0.13 and of Jaccard 0.09; one of 0.961 +- 0.048 says little.
MIN_SPREAD = 0.07


@dataclasses.dataclass(frozen=True)
class PairDistances:
    """A distance matrix seen from the rows of a study.

    Attributes
    ----------
    values : float32 [n, n]
    place : int64 [samples]
        Row of each sample in `values`, -1 where the matrix does not have it.
    divisor : float
        What the matrix is divided by: its largest training distance where that is above 1, else 1.
    mean, variance : float
        Of the divided distances between training samples.
    """

    values: np.ndarray
    place: np.ndarray
    divisor: float
    mean: float
    variance: float

    def among(self, rows: np.ndarray) -> np.ndarray:
        """Return the divided distances among `rows` of the study, float32 [rows, rows], NaN where unknown."""
        place = self.place[rows]
        distances = self.values[np.ix_(place, place)] / np.float32(self.divisor)
        distances[place < 0] = np.nan
        distances[:, place < 0] = np.nan
        return distances

    def of(self, drawn: Drawn) -> np.ndarray:
        """Return :meth:`among` the samples that were drawn: whatever is read of them, the matrix has one distance."""
        return self.among(drawn.rows)


def align_distances(distances: Distances, sample_ids: list[str], training_rows: np.ndarray) -> PairDistances:
    """Align a matrix with the samples of a study.

    Parameters
    ----------
    distances : q2_aam.data.distance_matrix.Distances
    sample_ids : list of str
        Those of the study.
    training_rows : int64 [training samples]

    Returns
    -------
    PairDistances

    Raises
    ------
    UserError
        If fewer than two training samples are in the matrix, or all their distances are the same.

    Warns
    -----
    AAMWarning
        If some samples are not in the matrix, if distances above 1 are divided, or if they hardly differ.
    """
    position = {sample: i for i, sample in enumerate(distances.ids)}
    place = np.array([position.get(sample, -1) for sample in sample_ids], dtype=np.int64)
    missing = [sample for sample, row in zip(sample_ids, place) if row < 0]
    training = np.sort(place[training_rows])
    training = training[training >= 0]
    if len(training) < 2:
        raise UserError(
            f'The distance matrix must contain at least two training samples of the feature table, but has '
            f'{len(training)} (e.g. {shown(sample_ids[0])} in the table, {shown(min(distances.ids))} in the matrix); '
            'provide a matrix of the samples in the table.'
        )
    if missing:
        warnings.warn(
            f'The distance matrix lacks {counted(len(missing), "sample")} of the table (e.g. {shown(missing[0])}); '
            'they are used without distances.',
            AAMWarning,
            stacklevel=2,
        )
    known = distances.values[np.ix_(training, training)][np.triu_indices(len(training), 1)]
    largest = float(known.max())
    if largest == float(known.min()):
        raise UserError(
            f'Distances must differ, but all distances between training samples are {largest:g} in the distance '
            'matrix; provide another matrix.'
        )
    divisor = largest if largest > 1 else 1.0
    if divisor > 1:
        warnings.warn(
            f'Distances between training samples reach {largest:g}, which is above 1; all distances are divided by it.',
            AAMWarning,
            stacklevel=2,
        )
    known = known.astype(np.float64) / divisor
    pairs = PairDistances(distances.values, place, divisor, float(known.mean()), float(known.var()))
    warn_of_alike(pairs.mean, pairs.variance, 'in the distance matrix')
    return pairs


def warn_of_alike(mean: float, variance: float, where: str) -> None:
    """Warn if distances between training samples hardly differ; `where` tells which, as 'in the distance matrix'."""
    spread = variance**0.5
    if spread < MIN_SPREAD * mean:
        warnings.warn(
            f'Distances between training samples hardly differ {where} ({mean:.3g} +- {spread:.2g}), so that little '
            'can be learned from them; another metric may tell samples apart better.',
            AAMWarning,
            stacklevel=3,
        )
