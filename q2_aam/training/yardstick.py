"""What a random forest, which is what most researchers have today, makes of the same samples."""

import numpy as np
import scipy.sparse
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from q2_aam.data.batches import positions_of
from q2_aam.data.profiles import most_common

TREES = 100
# Samples that a forest learns from at most, and ASVs, those in most of them: its cost grows with samples times ASVs,
# and it is only a yardstick. Cross-validation has no such limits.
MOST_SAMPLES, MOST_ASVS = 1000, 8192
# stream of random numbers that must not be confused with those of the loop and of fitting
FOREST = 30


def forest_figures(goal, study, learned, tested, seed, threads):
    """Return {figure: value} of a random forest for the rows `tested`.

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
    """
    learned = np.sort(np.random.default_rng([seed, FOREST]).permutation(learned)[:MOST_SAMPLES])
    settings = {'n_estimators': TREES, 'random_state': seed, 'n_jobs': threads or -1}
    counts, values = _counts(study, learned), goal.values[learned]
    asvs = most_common(counts, MOST_ASVS)
    counts, new = counts[:, asvs], _counts(study, tested)[:, asvs]
    if goal.values.dtype.kind == 'f':
        return goal.figures_of(RandomForestRegressor(**settings).fit(counts, values).predict(new), tested)
    forest = RandomForestClassifier(class_weight='balanced' if goal.balanced else None, **settings)
    return goal.figures_of(forest.fit(counts, values).predict_proba(new), tested)


def _counts(study, rows):
    where, offsets = positions_of(study.offsets, rows)
    counts = study.abundances[where] * np.repeat(study.reads[rows], np.diff(offsets))
    return scipy.sparse.csr_matrix((counts, study.asvs[where], offsets), shape=(len(rows), len(study.codes)))
