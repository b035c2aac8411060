"""What a training history says: whether training converged, overfitted or stopped early, and what to change."""

import dataclasses

import numpy as np
import pandas as pd

from q2_aam.data.splits import TEST, TRAINING, VALIDATION
from q2_aam.errors import UserError, counted

# Parts of a history that are no split.
RUN, WARNING = 'run', 'warning'
LOSS, BEST_EPOCH, FINAL = 'loss', 'best_epoch', 'final_'
LEARNING_RATE = 'learning_rate_share'
# What is kept of the encoder that pretraining went on from, by metrics of the whole run.
KEPT_DISTANCES = 'kept_distances_r2'
KEPT = {
    KEPT_DISTANCES: 'R2 of distances with those of before, between samples made of its sequences',
    'kept_distances_mae': 'mean absolute difference of these distances from before',
    'kept_of_initial_encoder': 'r of distances between embeddings of its sequences with those of before',
    'kept_in_untrained_network': 'the same r of an untrained network: what that figure begins at',
    'kept_beyond_untrained_network': 'the first r with the part of an untrained network taken out',
}
# Distances of an R2 below that are others than those of before.
FEW_KEPT = 0.95
# What an epoch took.
SECONDS, MEMORY = 'seconds', 'memory_gb'
# What epochs are chosen by, the first that is there; of a run with a best epoch, the first that is best in it.
SCORES = (
    'mae', 'balanced_log_loss', 'log_loss', 'rmse', 'target_loss', 'loss', 'distance_mae', 'nucleotide_loss', 'r2',
    'balanced_accuracy', 'accuracy', 'macro_f1',
)  # fmt: skip
# Those that are to be large.
LARGER = {'r2', 'balanced_accuracy', 'accuracy', 'macro_f1'}
# A best epoch in this last share of the run means that more epochs would have helped.
LATE = 0.1
# A change that is called one.
CHANGE = 0.1
# Validation errors that many times those of training tell that much was learned by heart.
GAP = 1.5
WORDS = {
    'mae': 'mean absolute error',
    'r2': 'R2',
    'distance_mae': 'mean absolute error of distances',
    'distance_r2': 'R2 of distances',
    'learning_rate_share': 'learning rate',
    'memory_gb': 'memory (GB)',
}


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a history holds.

    Attributes
    ----------
    epochs, steps : int
    score : str or None
        The validation metric by which epochs are judged; smaller is better, but for those in LARGER.
    best_epoch : int or None
        By that metric.
    chosen : bool
        Whether the weights of the best epoch were kept.
    curves : pandas.DataFrame
        One row an epoch, part and metric: epoch, part, metric, value.
    final : pandas.DataFrame
        Metrics of the finished model, one row a metric, one column a part.
    run : dict
        Numbers of the whole run, such as the shares of network and ensemble.
    warnings : list of str
    """

    epochs: int
    steps: int
    score: str | None
    best_epoch: int | None
    chosen: bool
    curves: pd.DataFrame
    final: pd.DataFrame
    run: dict
    warnings: list

    @property
    def larger(self):
        """Whether the score is to be large."""
        return self.score in LARGER

    def series(self, part, metric):
        """Return the values of a metric by epoch, in order; those that are not finite are left out."""
        rows = self.curves[(self.curves['part'] == part) & (self.curves['metric'] == metric)]
        values = rows.set_index('epoch')['value']
        return values[np.isfinite(values)]


def summarize(history):
    """Read a history.

    Parameters
    ----------
    history : pandas.DataFrame
        Columns step, epoch, part, metric, value.

    Returns
    -------
    Summary

    Raises
    ------
    UserError
        If it has no epoch.
    """
    warned = list(history.loc[history['part'] == WARNING, 'metric'])
    final = history['metric'].str.startswith(FINAL)
    best = history.loc[history['metric'] == BEST_EPOCH, 'value']
    by_epoch = (history['epoch'] > 0) & ~final & (history['metric'] != BEST_EPOCH)
    learned = by_epoch & history['part'].isin([TRAINING, VALIDATION])
    curves = history[learned | (by_epoch & (history['part'] == RUN) & history['metric'].isin([SECONDS, MEMORY]))]
    if not learned.any():
        raise UserError(
            'The history has no epoch, so that there is nothing to show: give the history that pretrain, fit-regressor '
            'or fit-classifier made.'
        )
    run = history[history['part'].isin([RUN, VALIDATION]) & (history['epoch'] == 0) & ~final]
    summary = Summary(
        epochs=int(curves['epoch'].max()),
        steps=int(curves['step'].max()),
        score=None,
        best_epoch=None,
        chosen=len(best) > 0,
        curves=curves[['epoch', 'part', 'metric', 'value']].reset_index(drop=True),
        final=_final(history[final]),
        run=dict(zip(run['metric'], run['value'])),
        warnings=warned,
    )
    score, epoch = _score(summary, int(best.iloc[0]) if len(best) else None)
    return dataclasses.replace(summary, score=score, best_epoch=epoch)


def _final(rows):
    rows = rows.assign(metric=rows['metric'].str.removeprefix(FINAL))
    table = rows.pivot_table(index='metric', columns='part', values='value', aggfunc='last', sort=False)
    parts = [part for part in (TRAINING, VALIDATION, TEST) if part in table]
    return table[parts].rename_axis(columns=None)


def _score(summary, best):
    """Return the metric by which epochs are judged, and its best epoch."""
    series = {name: summary.series(VALIDATION, name) for name in SCORES}
    found = {
        name: int(values.idxmax() if name in LARGER else values.idxmin())
        for name, values in series.items()
        if len(values)
    }
    if not found:
        return None, best
    agree = [name for name, epoch in found.items() if best is None or epoch == best]
    name = agree[0] if agree else next(iter(found))
    return name, found[name] if best is None else best


def verdict(summary, planned=None, patience=None):
    """Return what follows from the numbers, in plain words.

    Parameters
    ----------
    summary : Summary
    planned : int, optional
        The epochs that training would have run at most.
    patience : int, optional
        The epochs without a better score after which it stops.

    Returns
    -------
    first : str
        Whether it converged.
    rest : str
        Whether it overfitted and stopped early, how it does on samples that it did not learn from, and what to change.
    """
    (first, *more), advice = _convergence(summary, planned, patience)
    sentences = [_length(summary, planned), *more]
    for judge in (_overfitting, _gap):
        said, change = judge(summary)
        sentences += said
        advice += change
    sentences += _readers(summary) + _forest(summary)
    said, change = _kept(summary)
    sentences, advice = sentences + said, advice + change
    if advice:
        sentences.append(f'What to change: {"; ".join(advice)}.')
    else:
        sentences.append('Nothing needs to be changed.')
    return first, ' '.join(sentences)


def _length(summary, planned):
    of = f' of at most {planned:,}' if planned and planned != summary.epochs else ''
    return f'Training took {counted(summary.steps, "step")} in {counted(summary.epochs, "epoch")}{of}.'


def words(name):
    """Return the name of a metric in words."""
    return WORDS.get(name, name.replace('_', ' '))


def _convergence(summary, planned, patience):
    if summary.score is None:
        return ['There was no validation, so that nothing tells whether it converged.'], []
    values = summary.series(VALIDATION, summary.score)
    what, end = words(summary.score), values.max() if summary.larger else values.min()
    best, after = values.get(summary.best_epoch, end), summary.epochs - summary.best_epoch
    most, more = ('highest', 'higher') if summary.larger else ('lowest', 'lower')
    where = f'the validation {what} was {most} in epoch {summary.best_epoch} ({best:.3g})'
    if planned and summary.epochs < planned and after < (patience or 0):
        return [
            f'It stopped early: after epoch {summary.epochs} of at most {planned}, the network would have lowered the '
            f'error of the abundance ensemble too little to train on; {where}.'
        ], []
    if planned and summary.epochs < planned:
        return [f'It converged, and stopped early: {where}, and no {more} in the {after:,} epochs after.'], []
    if after < max(1, LATE * summary.epochs):
        if not _improves(values, summary.larger):
            return [f'It converged: {where}, and hardly changed before.'], []
        return [f'It was still improving: {where}, at the very end.'], [
            'raise epochs (or max_steps), since it was improving'
        ]
    return [f'It converged: {where}, and no {more} in the {after:,} epochs after.'], []


def _improves(values, larger):
    """Return whether the last tenth of the epochs still brought a change of 1 % or more."""
    values = -values if larger else values
    last = max(2, round(LATE * len(values)))
    if len(values) < 2 * last:
        return True
    before, end = values.iloc[-2 * last : -last].min(), values.iloc[-last:].min()
    return bool(end < before - 0.01 * abs(before))


def _overfitting(summary):
    training = summary.series(TRAINING, LOSS)
    if summary.score is None or summary.best_epoch not in training.index or training.empty:
        return [], []
    validation = summary.series(VALIDATION, summary.score)
    best, end = validation.get(summary.best_epoch, np.nan), validation.iloc[-1]
    first, last = training[summary.best_epoch], training.iloc[-1]
    change = best - end if summary.larger else end - best
    worse, fell = change > CHANGE * abs(best), last < first - CHANGE * abs(first)
    if not (worse and fell):
        return ['It did not overfit: the validation score held while the training loss fell.' if fell else
                'There is no sign of overfitting.'], []  # fmt: skip
    kept = (
        f'; the model has the weights of epoch {summary.best_epoch}, so that it is not affected'
        if summary.chosen
        else ''
    )
    said = (
        f'After that it overfitted: the training loss fell from {first:.3g} to {last:.3g} while the validation '
        f'{words(summary.score)} {"fell" if summary.larger else "rose"} from {best:.3g} to {end:.3g}{kept}.'
    )
    return [said], [] if summary.chosen else ['lower epochs, or raise asv_dropout or weight_decay']


def _gap(summary):
    """Compare the errors of the finished model on training samples with those on samples that it did not learn from."""
    metric = next((name for name in ('mae', 'balanced_log_loss', 'log_loss') if name in summary.final.index), None)
    other = next((part for part in (TEST, VALIDATION) if part in summary.final), None)
    if metric is None or other is None or TRAINING not in summary.final:
        return [], []
    seen, unseen = summary.final.loc[metric, TRAINING], summary.final.loc[metric, other]
    if not (np.isfinite(seen) and np.isfinite(unseen)):
        return [], []
    what = f'The {words(metric)} of {other} samples is {unseen:.3g}, that of training samples {seen:.3g}'
    if unseen > GAP * seen:
        return [f'{what}: much of what it learned holds for training samples only.'], [
            'add labelled samples (of new groups), start from an encoder of pretrain, or raise asv_dropout'
        ]
    return [f'{what}: what it learned holds for both.'], []


def _readers(summary):
    if 'network_weight' not in summary.run:
        return []
    share = summary.run['network_weight']
    return [
        f'In its predictions, the network has a share of {100 * share:.0f} % and the abundance ensemble one of '
        f'{100 * (1 - share):.0f} %, by their out-of-fold errors.'
    ]


def _kept(summary):
    if KEPT_DISTANCES not in summary.run:
        return [], []
    r2 = summary.run[KEPT_DISTANCES]
    what = 'Distances between samples made of what the initial encoder learned from have an R2 of'
    if r2 < FEW_KEPT:
        return [f'{what} {r2:.2f} with those that it predicted: much of them is not kept.'], [
            'keep the initial encoder for samples like those that it learned from'
        ]
    return [f'{what} {r2:.2f} with those that it predicted: they are kept.'], []


def _forest(summary):
    for metric in ('mae', 'balanced_log_loss', 'log_loss'):
        name = f'random_forest_{metric}'
        if TEST in summary.final and {metric, name} <= set(summary.final.index):
            ours, forest = summary.final.loc[[metric, name], TEST]
            order = 'ahead of' if ours < forest else 'behind'
            return [
                f'On this one test split it is {order} a random forest ({words(metric)} {ours:.3g} against '
                f'{forest:.3g}); cross-validate tells whether that is chance.'
            ]
    return []
