"""Folds put together: what each method predicted of samples that it did not learn from."""

import dataclasses

import numpy as np
import pandas as pd

from q2_aam.data.details import LOWER, UPPER

OURS = 'AAM'
# The guess that looks at no sample, of numbers and of classes: baselines of this name.
MEDIAN, MAJORITY = 'median', 'majority'
GUESS = (MEDIAN, MAJORITY)
# Between a method and a class in the name of a column of probabilities; no method has it in its name.
OF = '|'
# More classes than these fit no page: there the rarest become one.
MAX_CLASSES = 30


@dataclasses.dataclass(frozen=True)
class OutOfFold:
    """What every method predicted of samples that it did not learn from, one row a sample and repeat.

    Attributes
    ----------
    target : str
        Name of the metadata column.
    sample_ids, groups : object [rows]
    repeats, folds : int64 [rows]
        From 0.
    true : float64 [rows]
        The target, or for classes their number.
    predicted : dict
        {method: float64 [rows]}, for classes their probabilities [rows, classes]; NaN where a method could not tell.
        The first is ours.
    classes : tuple of str
        Empty for a numeric target.
    bounds : float64 [rows, 2] or None
        Ends of our prediction intervals; NaN where there is none.
    """

    target: str
    sample_ids: np.ndarray
    groups: np.ndarray
    repeats: np.ndarray
    folds: np.ndarray
    true: np.ndarray
    predicted: dict
    classes: tuple = ()
    bounds: np.ndarray | None = None

    @property
    def baselines(self):
        """Names of the other methods."""
        return list(self.predicted)[1:]

    def errors(self, method):
        """Return the error of each row, float64: absolute, or 1 for a wrong class; NaN where nothing was predicted."""
        predicted = self.predicted[method]
        if not self.classes:
            return np.abs(predicted - self.true)
        wrong = np.argmax(np.nan_to_num(predicted), axis=1) != self.true
        return np.where(np.isnan(predicted[:, 0]), np.nan, wrong.astype(np.float64))


def gather_numbers(target, groups, ours, baselines, folds):
    """Put the predictions of a number together.

    Parameters
    ----------
    target : pandas.Series
        True values by sample id; its name is that of the metadata column.
    groups : pandas.Series or None
        Group by sample id.
    ours : list of pandas.DataFrame
        Details of our models by sample id: of the first fold, the second ..., then those of the next repeat. Of their
        columns `prediction`, and `lower_bound` and `upper_bound` if they are there, are taken.
    baselines : list of pandas.DataFrame
        As many, one column a method; empty if there is nothing to compare with.
    folds : int
        Folds of a repeat.

    Returns
    -------
    OutOfFold
    """
    predicted = {OURS: np.concatenate([one['prediction'].to_numpy(dtype=np.float64) for one in ours])}
    if baselines:
        for method in baselines[0].columns:
            columns = [frame[method].reindex(one.index) for one, frame in zip(ours, baselines)]
            predicted[method] = np.concatenate([column.to_numpy(dtype=np.float64) for column in columns])
    bounds = np.concatenate([one.reindex(columns=[LOWER, UPPER]).to_numpy(dtype=np.float64) for one in ours])
    return dataclasses.replace(_out_of_fold(target, groups, ours, predicted, folds), bounds=bounds)


def gather_classes(target, groups, ours, baselines, folds):
    """Put probabilities of classes together; see :func:`gather_numbers`.

    Parameters
    ----------
    ours : list of pandas.DataFrame
        Probabilities, one column a class; a class that no training sample of the fold had may lack.
    baselines : list of pandas.DataFrame
        Their columns are named ``method|class``.
    """
    classes = tuple(sorted(set(target.astype(str))))
    predicted = {OURS: np.concatenate([_of_classes(one, classes) for one in ours])}
    methods = dict.fromkeys(name.split(OF, 1)[0] for frame in baselines for name in frame.columns)
    for method in methods:
        frames = []
        for one, frame in zip(ours, baselines):
            columns = [name for name in frame.columns if name.split(OF, 1)[0] == method]
            probabilities = frame[columns].rename(columns=lambda name: name.split(OF, 1)[1])
            frames.append(_of_classes(probabilities.reindex(one.index), classes))
        predicted[method] = np.concatenate(frames)
    numbers = target.astype(str).map({name: number for number, name in enumerate(classes)})
    return _out_of_fold(numbers.rename(target.name), groups, ours, predicted, folds, classes)


def _of_classes(frame, classes):
    """Return probabilities of `classes`; those of unknown classes are 0, rows without any stay NaN."""
    known = frame.notna().all(axis=1).to_numpy()
    values = frame.reindex(columns=list(classes)).fillna(0.0).to_numpy(dtype=np.float64)
    values[~known] = np.nan
    return values


def _out_of_fold(target, groups, ours, predicted, folds, classes=()):
    number = np.repeat(np.arange(len(ours)), [len(one) for one in ours])
    ids = np.concatenate([one.index.to_numpy(dtype=object) for one in ours])
    of_rows = ids if groups is None else groups.loc[ids].to_numpy(dtype=object)
    true = target.loc[ids].to_numpy(dtype=np.float64)
    return OutOfFold(str(target.name), ids, of_rows, number // folds, number % folds, true, predicted, classes)


def means_of(out_of_fold):
    """Return what each method predicts of each sample in the mean over repeats.

    Returns
    -------
    pandas.DataFrame
        By sample id: `fold` (of the first repeat, from 1), `prediction` and, with several repeats, `prediction_sd`
        (their standard deviation), then one column a baseline; for classes `fold` and, of at most MAX_CLASSES, the
        probabilities of each baseline but the guess, named ``method|class``.
    """
    by_sample = pd.DataFrame({'fold': out_of_fold.folds + 1}, index=pd.Index(out_of_fold.sample_ids, name='id'))
    means = by_sample[out_of_fold.repeats == 0]
    if out_of_fold.classes:
        return means.join(_probabilities_of_baselines(out_of_fold)).sort_index()
    columns = pd.DataFrame(out_of_fold.predicted, index=by_sample.index).rename(columns={OURS: 'prediction'})
    repeated = columns.groupby(level=0)
    averages = repeated.mean()
    if out_of_fold.repeats.max() > 0:
        averages.insert(1, 'prediction_sd', repeated['prediction'].std())
    return means.join(averages).sort_index()


def _probabilities_of_baselines(out_of_fold):
    index = pd.Index(out_of_fold.sample_ids, name='id')
    methods = [name for name in out_of_fold.baselines if name not in GUESS]
    columns = {
        f'{method}{OF}{name}': out_of_fold.predicted[method][:, number]
        for method in (methods if len(out_of_fold.classes) <= MAX_CLASSES else ())
        for number, name in enumerate(out_of_fold.classes)
    }
    return pd.DataFrame(columns, index=index).groupby(level=0).mean()


def mean_probabilities(out_of_fold):
    """Return the probabilities of ours in the mean over repeats, by sample id, one column a class."""
    index = pd.Index(out_of_fold.sample_ids, name='id')
    frame = pd.DataFrame(out_of_fold.predicted[OURS], index=index, columns=list(out_of_fold.classes))
    return frame.groupby(level=0).mean()
