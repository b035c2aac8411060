"""What a random forest, which is what most researchers have today, makes of the same samples."""

import numpy as np
import scipy.sparse
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from q2_aam.data.batches import positions_of
from q2_aam.data.log_abundances import most_common

TREES = 100
# Samples that a forest learns from at most, and ASVs, those in most of them: its cost grows with samples times ASVs,
# and it is only a yardstick. Cross-validation has no such limits.
MOST_SAMPLES, MOST_ASVS = 1000, 8192
# stream of random numbers that must not be confused with those of the loop and of fitting
FOREST = 30


def forest_figures(goal, study, learned, tested, seed, threads):
    """Return {figure: value} of a random forest for the rows `tested`, and what it was not given, in words.

    It learns from counts, as that of q2-sample-classifier does, and from the rows `learned`: the training and the
    validation samples.

    Parameters
    ----------
    goal : q2_aam.training.goals.NumericGoal or CategoricalGoal
    study : q2_aam.data.study.Study
    learned, tested : int64 [samples]
        Rows of the study.
    seed, threads : int
        0 threads: all.

    Returns
    -------
    figures : dict
    limits : str
        Empty, or ' that ...', which follows 'a random forest'.
    """
    samples = np.sort(np.random.default_rng([seed, FOREST]).permutation(learned)[:MOST_SAMPLES])
    found, values = _counts(study, samples), goal.values[samples]
    asvs = most_common(found, MOST_ASVS)
    counts, new = found[:, asvs], _counts(study, tested)[:, asvs]
    limits = [f'{MOST_SAMPLES:,} samples'] if len(learned) > MOST_SAMPLES else []
    limits += [f'{MOST_ASVS:,} ASVs'] if counts.nnz < found.nnz else []
    settings = {'n_estimators': TREES, 'random_state': seed, 'n_jobs': threads or -1}
    if goal.values.dtype.kind == 'f':
        figures = goal.figures_of(RandomForestRegressor(**settings).fit(counts, values).predict(new), tested)
    else:
        forest = RandomForestClassifier(class_weight='balanced' if goal.balanced else None, **settings)
        # a rare class may not be among the samples drawn
        shares = np.zeros((len(tested), goal.outputs))
        shares[:, np.unique(values)] = forest.fit(counts, values).predict_proba(new)
        figures = goal.figures_of(shares, tested)
    return figures, f' that was given {" and ".join(limits)} only' if limits else ''


def _counts(study, rows):
    where, offsets = positions_of(study.offsets, rows)
    counts = study.abundances[where] * np.repeat(study.reads[rows], np.diff(offsets))
    return scipy.sparse.csr_matrix((counts, study.asvs[where], offsets), shape=(len(rows), len(study.codes)))
