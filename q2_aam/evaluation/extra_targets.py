"""Extra targets: what was predicted of them out of fold, beside a guess and a random forest.

Shapes: S samples, K extra targets.
"""

import numpy as np
import pandas as pd

from q2_aam.data.extra_targets import EXTRA, TRUE_EXTRA
from q2_aam.errors import shown
from q2_aam.stats.metrics import regression_metrics

from .comparison import metrics_of
from .out_of_fold import MEDIAN, OURS, OutOfFold, gather_numbers
from .verdict import ALL, DIFFERENCE, compare

FOREST = 'random_forest'
# Before the name of an extra target: the column of what a random forest predicts of it.
OF_FOREST = f'{FOREST}_{EXTRA}'
# Forests that are fitted beside those of the target, one for each extra target: each costs as much.
MAX_FORESTS = 8
# What is told of an extra target.
METRICS = ('mae', 'r2', 'r')
ERROR = METRICS[0]
DIFFERENCES = f'{ERROR}{DIFFERENCE}'


def forests(counts, values, new_counts, new_ids, seed, threads, covariates=None, weights=None):
    """Predict the extra targets of a fold by random forests, one for each of the first MAX_FORESTS.

    Parameters
    ----------
    counts, new_counts, seed, threads, covariates, weights
        See :func:`q2_aam.evaluation.baselines.predict_numbers`.
    values : pandas.DataFrame
        Of the training samples in the order of `counts`; a forest learns from those whose value is known.
    new_ids : list of str

    Returns
    -------
    pandas.DataFrame
        One row a test sample and one column a target, named ``random_forest_extra_NAME``; none of a target that too
        few training samples have.
    """
    # scikit-learn takes a second to load
    from .baselines import random_forest_numbers, read_by_trees

    columns = {}
    for name in list(values)[:MAX_FORESTS]:
        known = np.flatnonzero(values[name].notna())
        heavy = None if weights is None else weights[known]
        if values[name].nunique() < 2 or (heavy is not None and not heavy.any()):
            continue
        beside = None if covariates is None else (covariates[0][known], covariates[1])
        learned, new = read_by_trees(counts[known], new_counts, beside)
        columns[f'{OF_FOREST}{name}'] = random_forest_numbers(
            learned, values[name].to_numpy()[known], new, seed, threads, weights=heavy
        )
    return pd.DataFrame(columns, index=pd.Index(new_ids, name='id'))


def forests_taken_off(frames):
    """Return predictions of baselines for the target alone, and those of random forests for extra targets."""
    of_forests = [frame.filter(regex=f'^{OF_FOREST}') for frame in frames]
    return [frame.drop(columns=one.columns) for frame, one in zip(frames, of_forests)], of_forests


def gather_extra_targets(values, target_ids, groups, ours, of_forests, folds):
    """Put the predictions of extra targets together.

    Parameters
    ----------
    values : pandas.DataFrame
        True values by sample id, NaN where unknown.
    target_ids : list of str
        The labelled samples, from which the models of the folds have learned.
    groups : pandas.Series or None
    ours, folds
        See :func:`q2_aam.evaluation.out_of_fold.gather_numbers`; their columns ``extra_NAME`` are taken.
    of_forests : list of pandas.DataFrame
        As many as `ours`, see :func:`forests_taken_off`; or none.

    Returns
    -------
    list of OutOfFold
        One for each extra target that the model of any fold has learned, of the samples whose value is known.
    """
    gathered = []
    for name in values:
        true = values[name].reindex(target_ids).dropna().rename(name)
        if not len(true) or not any(EXTRA + name in one for one in ours):
            continue
        told, others = [], []
        for number, one in enumerate(ours):
            ids = one.index[one.index.isin(true.index)]
            told.append(one.reindex(index=ids, columns=[EXTRA + name]).set_axis(['prediction'], axis=1))
            beside = pd.DataFrame({MEDIAN: true.drop(ids).median()}, index=ids)
            if of_forests and OF_FOREST + name in of_forests[number]:
                beside.insert(0, FOREST, of_forests[number][OF_FOREST + name].reindex(ids))
            others.append(beside)
        # a fold in which too few samples had a value has no forest
        methods = [method for method in (FOREST, MEDIAN) if any(method in frame for frame in others)]
        gathered.append(gather_numbers(true, groups, told, [one.reindex(columns=methods) for one in others], folds))
    return gathered


def true_values(gathered: list[OutOfFold]) -> pd.DataFrame:
    """Return the true values of extra targets by sample id, as columns of the details."""
    columns = {
        TRUE_EXTRA + one.target: pd.Series(one.true, one.sample_ids).groupby(level=0).first() for one in gathered
    }
    return pd.DataFrame(columns)


def rows_of_extra_targets(gathered: list[OutOfFold], seed: int) -> tuple[pd.DataFrame, list[str]]:
    """Return rows of metrics, means over repeats and differences, and a line for each extra target.

    Metrics are named ``extra_mae`` and so on; column note has the name of the target.
    """
    frames, lines = [], []
    for one in gathered:
        rows, _ = compare(one, seed)
        rows = rows[(rows['fold'] == ALL) & (rows['repeat'] == ALL) & rows['metric'].isin([*METRICS, DIFFERENCES])]
        frames.append(rows.assign(metric=EXTRA + rows['metric'], note=one.target))
        found, samples = metrics_of(one, OURS, np.arange(len(one.true)))
        if not samples:
            continue
        others = {method: metrics_of(one, method, np.arange(len(one.true)))[0] for method in one.baselines}
        beside = [
            f'{"guessing the median" if method == MEDIAN else "a random forest"} {metrics[ERROR]:.3g}'
            for method, metrics in others.items()
            if ERROR in metrics
        ]
        lines.append(
            f'Extra target {shown(one.target)}, out of fold: mean absolute error {found[ERROR]:.3g}'
            + (f' (R2 {found["r2"]:.2f}, r {found["r"]:.2f})' if {'r2', 'r'} <= set(found) else '')
            + (f'; {", ".join(beside)}.' if beside else '.')
        )
    return (pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()), lines


def is_of_extra_target(metrics: pd.DataFrame) -> pd.Series:
    """Return which rows of metrics are of extra targets."""
    return metrics['metric'].isin([EXTRA + name for name in (*METRICS, DIFFERENCES)])


def table_of_metrics(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return one row an extra target from the metrics of a cross-validation; empty where there is none."""
    rows = metrics[is_of_extra_target(metrics)]
    table = []
    for name, of_target in rows.groupby('note', sort=False):
        scores = of_target[of_target['against'].isna() | of_target['against'].eq('')]
        of_method = scores.set_index(['method', 'metric'])['value']
        ours = [of_method.get((OURS, EXTRA + metric), np.nan) for metric in METRICS]
        samples = scores.loc[scores['method'] == OURS, 'samples']
        found = dict(zip(METRICS, ours)) | {'samples': int(samples.iloc[0]) if len(samples) else 0}
        for method in (MEDIAN, FOREST):
            if (error := of_method.get((method, EXTRA + ERROR))) is None:
                continue
            found[f'{ERROR} of {_words(method)}'] = error
            against = of_target[of_target['against'] == method]
            if len(against) and not np.isnan(against['lower'].iloc[0]):
                low, high = against[['lower', 'upper']].iloc[0]
                found[f'difference from {_words(method)}'] = f'{low:.3g} to {high:.3g}'
        table.append({'extra target': name, **found})
    return _indexed(table)


def table_of_details(details: pd.DataFrame) -> pd.DataFrame:
    """Return one row an extra target from details, of the samples whose value is known; empty where there is none."""
    table = []
    for column in details:
        name = column.removeprefix(TRUE_EXTRA)
        # a cross-validation calls it so where a baseline has the name
        ours = f'{EXTRA}{name} of the model' if f'{EXTRA}{name} of the model' in details else EXTRA + name
        if not column.startswith(TRUE_EXTRA) or ours not in details:
            continue
        known = details[[ours, column]].dropna().astype(float)
        if len(known) < 2:
            continue
        predicted, true = known[ours].to_numpy(), known[column].to_numpy()
        found = regression_metrics(predicted, true)
        told = {metric: found[metric] for metric in METRICS} | {'samples': len(known)}
        told[f'{ERROR} of {_words(MEDIAN)}'] = np.abs(true - np.median(true)).mean()
        table.append({'extra target': name, **told})
    return _indexed(table)


def _indexed(rows):
    return pd.DataFrame(rows).set_index('extra target') if rows else pd.DataFrame()


def _words(method):
    return 'guessing the median' if method == MEDIAN else 'a random forest'
