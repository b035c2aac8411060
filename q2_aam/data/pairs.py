"""True distances between samples of a study, scaled to at most 1 on the training part."""

import dataclasses
import warnings

import numpy as np

from q2_aam.errors import AAMWarning, UserError, counted


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

    def among(self, rows):
        """Return the divided distances among `rows` of the study, float32 [rows, rows], NaN where unknown."""
        place = self.place[rows]
        found = self.values[np.ix_(place, place)] / np.float32(self.divisor)
        found[place < 0] = np.nan
        found[:, place < 0] = np.nan
        return found

    def of_batch(self, batch):
        """Return :meth:`among` the samples of a batch: whatever it reads of them, the matrix has one distance."""
        return self.among(batch.samples.numpy())


def align_distances(distances, sample_ids, training_rows):
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
        If some samples are not in the matrix, or if distances above 1 are divided.
    """
    position = {sample: i for i, sample in enumerate(distances.ids)}
    place = np.array([position.get(sample, -1) for sample in sample_ids], dtype=np.int64)
    missing = [sample for sample, row in zip(sample_ids, place) if row < 0]
    training = np.sort(place[training_rows])
    training = training[training >= 0]
    if len(training) < 2:
        raise UserError(
            f'The distance matrix has {counted(len(training), "training sample")} of the table (the table has '
            f'"{sample_ids[0]}" ..., the matrix "{min(distances.ids)}" ...), but pairs need two; give a matrix of the '
            "table's samples."
        )
    if missing:
        warnings.warn(
            f'The distance matrix lacks {counted(len(missing), "sample")} of the table (e.g. {missing[0]}); such '
            'samples are used without distances.',
            AAMWarning,
            stacklevel=2,
        )
    known = distances.values[np.ix_(training, training)][np.triu_indices(len(training), 1)]
    largest = float(known.max())
    if largest == float(known.min()):
        raise UserError(
            f'All distances between training samples are {largest:g}; there is nothing to learn from such a distance '
            'matrix.'
        )
    divisor = largest if largest > 1 else 1.0
    if divisor > 1:
        warnings.warn(
            f'Distances go up to {largest:g} (between training samples); all are divided by that.',
            AAMWarning,
            stacklevel=2,
        )
    known = known.astype(np.float64) / divisor
    return PairDistances(distances.values, place, divisor, float(known.mean()), float(known.var()))
