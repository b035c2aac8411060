"""What a comparison says: a tidy table of metrics and differences, and a verdict in plain words."""

import numpy as np
import pandas as pd

from q2_aam.errors import shown

from .comparison import best_baseline, metrics_of, paired_difference
from .out_of_fold import GUESS, MAJORITY, MEDIAN, OURS

ALL = 'all'
METRICS_COLUMNS = (
    'method', 'against', 'repeat', 'fold', 'metric', 'samples', 'value', 'sd', 'lower', 'upper', 'note',
)  # fmt: skip
# stream of random numbers
COMPARED = 22
DIFFERENCE = '_difference'
# The metric of the row whose note says with which weights baselines have learned.
WEIGHTS = 'weights'
# What differences are of: metric, words, whether every class has the same weight. The first is what the best baseline
# is chosen by: for classes the balanced one, which our models minimise by default and in which rare classes count.
OF_NUMBERS = (('mae', 'mean absolute error', False),)
OF_CLASSES = (('balanced_error_rate', 'balanced error rate', True), ('error_rate', 'error rate', False))
WORDS = {
    MEDIAN: 'guessing the median, which looks at no sample',
    MAJORITY: 'guessing the majority class, which looks at no sample',
}
SEEN = (
    ' Its encoder may have seen the sequences of these samples and their distances in pretraining, never their labels.'
)


def compare(out_of_fold, seed, pretrained=False):
    """Score every method and compare ours with each other one.

    Parameters
    ----------
    out_of_fold : q2_aam.evaluation.out_of_fold.OutOfFold
    seed : int
        Of the draws for the intervals.
    pretrained : bool
        Whether ours started from an encoder, which may have seen the samples: the verdict then says so.

    Returns
    -------
    metrics : pandas.DataFrame
        Columns as in METRICS_COLUMNS, the verdict first and what it rests on after it: differences, means over
        repeats, then each repeat and each fold. Differences are the error of AAM minus that of the other method, with
        a 95 % interval: below 0, AAM is better.
    verdict : str
        One line: how ours compares with the best baseline and, always, with the guess that looks at no sample.
    """
    scores = [row for method in out_of_fold.predicted for row in _scores(out_of_fold, method)]
    scores.sort(key=lambda row: (row['fold'] != ALL, row['repeat'] != ALL))
    measures = OF_CLASSES if out_of_fold.classes else OF_NUMBERS
    first, sentences, rows = {}, {}, []
    for method in out_of_fold.baselines:
        # the same draws of groups for every method
        differences = [
            paired_difference(out_of_fold, method, np.random.default_rng([seed, COMPARED]), balanced)
            for _, _, balanced in measures
        ]
        first[method], sentences[method] = differences[0], _sentence(method, measures, differences)
        for number, ((metric, *_), difference) in enumerate(zip(measures, differences)):
            note = '' if number else sentences[method]
            rows.append(_difference_row(metric + DIFFERENCE, method, difference, note))
    best = best_baseline(out_of_fold)
    if best is None:
        pooled = metrics_of(out_of_fold, OURS, np.arange(len(out_of_fold.true)))[0]
        words = ', '.join(f'{name} {value:.3g}' for name, value in pooled.items())
        verdict = (
            f'{OURS} for {shown(out_of_fold.target)}, out of fold: {words}; there was no baseline to compare with.'
        )
    else:
        methods = dict.fromkeys([best, *(method for method in out_of_fold.baselines if method in GUESS)])
        verdict = ' '.join(
            [
                f'Best baseline for {shown(out_of_fold.target)}: {_words(best)}.',
                *(sentences[method] for method in methods),
            ]
        )
    if pretrained:
        verdict += SEEN
    if best is None:
        top = metrics_row(OURS, ALL, ALL, 'verdict', 0, np.nan, note=verdict)
    else:
        top = _difference_row('verdict', best, first[best], verdict)
    return pd.DataFrame([top, *rows, *scores], columns=METRICS_COLUMNS), verdict


def _scores(out_of_fold, method):
    """Yield rows of metrics: of each fold, of each repeat over its folds, and the means over repeats."""
    by_metric = {}
    for repeat in np.unique(out_of_fold.repeats):
        in_repeat = out_of_fold.repeats == repeat
        for fold in np.unique(out_of_fold.folds[in_repeat]):
            in_fold = np.flatnonzero(in_repeat & (out_of_fold.folds == fold))
            metrics, samples = metrics_of(out_of_fold, method, in_fold)
            yield from _rows_of(metrics, samples, method, repeat + 1, fold + 1)
        metrics, samples = metrics_of(out_of_fold, method, np.flatnonzero(in_repeat))
        yield from _rows_of(metrics, samples, method, repeat + 1, ALL)
        for metric, value in metrics.items():
            by_metric.setdefault(metric, []).append((value, samples))
    for metric, pairs in by_metric.items():
        values = [value for value, _ in pairs]
        sd = np.std(values, ddof=1) if len(values) > 1 else np.nan
        yield metrics_row(method, ALL, ALL, metric, pairs[0][1], np.mean(values), sd=sd)


def _rows_of(metrics, samples, method, repeat, fold):
    return (metrics_row(method, repeat, fold, metric, samples, value) for metric, value in metrics.items())


def metrics_row(method, repeat, fold, metric, samples, value, **more):
    """Return a row of metrics; columns that are not given are empty."""
    empty = {'against': '', 'sd': np.nan, 'lower': np.nan, 'upper': np.nan, 'note': ''}
    return empty | {
        'method': method, 'repeat': str(repeat), 'fold': str(fold), 'metric': metric, 'samples': samples,
        'value': float(value),
    } | more  # fmt: skip


def _difference_row(metric, method, difference, note):
    return metrics_row(
        OURS, ALL, ALL, metric, difference.samples, difference.value,
        against=method, lower=difference.lower, upper=difference.upper, note=note,
    )  # fmt: skip


def _sentence(method, measures, differences):
    """Say how ours compares with `method` in every measure, and how sure that is."""
    if not differences[0].samples:
        return f'{OURS} and {_words(method)} predicted no sample in common.'
    other = WORDS.get(method, _words(method))
    if np.isnan(differences[0].lower):
        means = '; '.join(
            '{} {} against {}'.format(words, *_digits(difference.ours, difference.other))
            for (_, words, _), difference in zip(measures, differences)
        )
        return f'Compared with {other}, {OURS} has {means}; a single group gives no interval.'
    clauses = ' and '.join(_clause(words, difference) for (_, words, _), difference in zip(measures, differences))
    return f'Compared with {other}, {OURS} is {clauses}.'


def _clause(words, difference):
    ours, other = _digits(difference.ours, difference.other)
    if difference.lower <= 0 <= difference.upper:
        low, high = _digits(difference.lower, difference.upper)
        interval = f'95 % interval of the difference {low} to {high}'
        return f'not clearly different in {words} ({ours} against {other}; {interval})'
    size, low, high = _digits(abs(difference.value), *sorted((abs(difference.lower), abs(difference.upper))))
    better = 'better' if difference.upper < 0 else 'worse'
    return f'{better} by {size} in {words} ({ours} against {other}; 95 % interval {low} to {high})'


def _words(method):
    return method.replace('_', ' ')


def table_of(metrics):
    """Return the lines of a markdown table: each method's means over repeats, and its differences from ours."""
    means = metrics[(metrics['fold'] == ALL) & (metrics['repeat'] == ALL) & metrics['metric'].ne('verdict')]
    scores, differences = means[means['against'].eq('')], means[means['against'].ne('')]
    names, compared = scores['metric'].unique(), differences['metric'].unique()
    differences = differences.set_index(['against', 'metric'])
    header = [*names, *(f'{OURS} minus method: {name[: -len(DIFFERENCE)]} (95 % interval)' for name in compared)]
    lines = [f'| method | {" | ".join(header)} |', '|---' * (len(header) + 1) + '|']
    for method, rows in scores.groupby('method', sort=False):
        rows = rows.set_index('metric')
        cells = [_cell(rows.loc[name]) if name in rows.index else '' for name in names]
        for name in compared:
            known = (method, name) in differences.index
            bounds = differences.loc[(method, name), ['value', 'lower', 'upper']] if known else ()
            cells.append('{} ({} to {})'.format(*_digits(*bounds)) if known else '')
        lines.append(f'| {method} | {" | ".join(cells)} |')
    return lines


def _cell(score):
    sd = '' if np.isnan(score['sd']) else f' +- {score["sd"]:.2g}'
    return f'{score["value"]:.3g}{sd}'


def _digits(*numbers):
    return [f'{number:.3g}' for number in numbers]
