"""Counts as methods other than ours take them: the training and the test samples of a fold, on the same features."""

import numpy as np
import pandas as pd
import scipy.sparse

from q2_aam.errors import UserError, shown

from .distance_matrix import read_distances
from .table import read_table


def read_fold(training_table, test_table, training_ids):
    """Read the counts of a fold.

    Parameters
    ----------
    training_table, test_table : path
        BIOM 2.1 HDF5.
    training_ids : list of str
        The labelled samples of the training table.

    Returns
    -------
    test_ids : list of str
        All samples of the test table.
    counts, new_counts : scipy.sparse.csr_matrix, float64 [training_ids or test_ids, features]
        On the features of the training table, in order of their ids; 0 for what the test table does not have.

    Raises
    ------
    q2_aam.errors.UserError
        If a table cannot be used, or if the training table lacks a sample.
    """
    training, test = read_table(training_table), read_table(test_table)
    # in order of ids, as q2-sample-classifier has them: with the same seed its trees are the same
    features = sorted(training.feature_ids)
    rows = pd.Index(training.sample_ids).get_indexer(training_ids)
    if (rows < 0).any():
        raise UserError(
            f'Every labelled sample must be in the training table: {shown(training_ids[np.argmin(rows)])} is not; '
            'remove its label, or add the sample to the table.'
        )
    return list(test.sample_ids), _columns(training, features)[rows], _columns(test, features)


def _columns(table, features):
    """Return the counts of `features`, all 0 where the table does not have one."""
    place = pd.Index(table.feature_ids).get_indexer(features)
    there = np.flatnonzero(place >= 0)
    onto = scipy.sparse.csr_matrix(
        (np.ones(len(there)), (place[there], there)), (len(table.feature_ids), len(features))
    )
    return scipy.sparse.csr_matrix(scipy.sparse.vstack(list(table.blocks())).astype(np.float64) @ onto)


def read_fold_distances(path, training_ids, test_ids):
    """Read the distances of a fold.

    Parameters
    ----------
    path : path
        See :func:`q2_aam.data.distance_matrix.read_distances`, which also says what is refused.
    training_ids, test_ids : list of str

    Returns
    -------
    float64 [training + test samples, training samples]
        NaN for samples that are not in the matrix.
    """
    matrix = read_distances(path)
    place = pd.Index(matrix.ids)
    rows, columns = place.get_indexer([*training_ids, *test_ids]), place.get_indexer(training_ids)
    distances = matrix.values[np.ix_(rows, columns)].astype(np.float64)
    distances[rows < 0] = np.nan
    distances[:, columns < 0] = np.nan
    return distances


def counts_of(study, rows):
    """Return the counts of samples of a study, as far as rounding of proportions allows.

    Parameters
    ----------
    study : q2_aam.data.study.Study
    rows : int64 [rows]

    Returns
    -------
    scipy.sparse.csr_matrix, float64 [rows, ASVs of the study]
    """
    # brings torch along, which reading a fold does without
    from .batches import positions_of

    where, offsets = positions_of(study.offsets, rows)
    counts = study.abundances[where] * np.repeat(study.reads[rows], np.diff(offsets))
    return scipy.sparse.csr_matrix((counts, study.asvs[where], offsets), shape=(len(rows), len(study.codes)))
