"""What a comparison says: a tidy table of figures and differences, and one plain sentence."""

import numpy as np
import pandas as pd

from .comparison import best_baseline, figures_of, paired_difference
from .out_of_fold import OURS

ALL = 'all'
METRICS_COLUMNS = (
    'method', 'against', 'repeat', 'fold', 'metric', 'samples', 'value', 'spread', 'lower', 'upper', 'note',
)  # fmt: skip
COMPARED = 22
# What differences are of: metric, words, whether every class counts the same. The first is what the verdict is about:
# for classes the balanced one, because that is what models of ours learn by default and what rare classes are seen in.
OF_NUMBERS = (('mae_difference', 'mean absolute error', False),)
OF_CLASSES = (
    ('balanced_error_rate_difference', 'balanced error rate', True),
    ('error_rate_difference', 'error rate', False),
)
SEEN = (
    ' Its encoder may have seen the sequences of these samples and their distances in pretraining, never their labels.'
)


def compare(found, seed, pretrained=False):
    """Score every method and compare ours with each other one.

    Parameters
    ----------
    found : q2_aam.evaluation.out_of_fold.OutOfFold
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
        One line.
    """
    figures = [row for method in found.predicted for row in _figures(found, method)]
    figures.sort(key=lambda row: (row['fold'] != ALL, row['repeat'] != ALL))
    measures = OF_CLASSES if found.classes else OF_NUMBERS
    compared, rows = {}, []
    for method in list(found.predicted)[1:]:
        # the same draws of groups for every method
        differences = [
            paired_difference(found, method, np.random.default_rng([seed, COMPARED]), balanced)
            for _, _, balanced in measures
        ]
        compared[method] = differences[0], _sentence(found.target, method, measures, differences)
        rows += [
            _difference_row(metric, method, difference, compared[method][1] if metric == measures[0][0] else '')
            for (metric, *_), difference in zip(measures, differences)
        ]
    best = best_baseline(found)
    if best is None:
        pooled = figures_of(found, OURS, np.arange(len(found.true)))[0]
        words = ', '.join(f'{name} {value:.3g}' for name, value in pooled.items())
        verdict = f'{OURS} of "{found.target}", out of fold: {words}; there was nothing to compare with.'
    else:
        verdict = f'Best of the others: {_words(best)}. {compared[best][1]}'
    if pretrained:
        verdict += SEEN
    if best is None:
        first = _row(OURS, ALL, ALL, 'verdict', 0, np.nan, note=verdict)
    else:
        first = _difference_row('verdict', best, compared[best][0], verdict)
    return pd.DataFrame([first, *rows, *figures], columns=METRICS_COLUMNS), verdict


def _figures(found, method):
    """Yield rows of figures: of each fold, of each repeat over its folds, and the means over repeats."""
    by_metric = {}
    for repeat in np.unique(found.repeats):
        in_repeat = found.repeats == repeat
        for fold in np.unique(found.folds[in_repeat]):
            figures, samples = figures_of(found, method, np.flatnonzero(in_repeat & (found.folds == fold)))
            yield from _rows_of(figures, samples, method, repeat + 1, fold + 1)
        figures, samples = figures_of(found, method, np.flatnonzero(in_repeat))
        yield from _rows_of(figures, samples, method, repeat + 1, ALL)
        for metric, value in figures.items():
            by_metric.setdefault(metric, []).append((value, samples))
    for metric, pairs in by_metric.items():
        values = [value for value, _ in pairs]
        spread = np.std(values, ddof=1) if len(values) > 1 else np.nan
        yield _row(method, ALL, ALL, metric, pairs[0][1], np.mean(values), spread=spread)


def _rows_of(figures, samples, method, repeat, fold):
    return (_row(method, repeat, fold, metric, samples, value) for metric, value in figures.items())


def _row(method, repeat, fold, metric, samples, value, **more):
    empty = {'against': '', 'spread': np.nan, 'lower': np.nan, 'upper': np.nan, 'note': ''}
    return empty | {
        'method': method, 'repeat': str(repeat), 'fold': str(fold), 'metric': metric, 'samples': samples,
        'value': float(value),
    } | more  # fmt: skip


def _difference_row(metric, method, difference, sentence):
    return _row(
        OURS, ALL, ALL, metric, difference.samples, difference.value,
        against=method, lower=difference.lower, upper=difference.upper, note=sentence,
    )  # fmt: skip


def _sentence(target, method, measures, differences):
    """Say who is better here, and how sure that is."""
    first, other = differences[0], _words(method)
    if not first.samples:
        return f'{_begin(other)} predicted no sample that {OURS} predicted.'
    means = '; '.join(
        '{} {} against {}'.format(words, *_digits(difference.ours, difference.other))
        for (_, words, _), difference in zip(measures, differences)
    )
    means = f'{means}, of "{target}"'
    if np.isnan(first.lower):
        return f'{OURS} and {other}: {means}; a single group gives no interval.'
    if first.lower <= 0 <= first.upper:
        low, high = _digits(first.lower, first.upper)
        interval = f'95 % interval of the difference {low} to {high}'
        return f'No clear difference here between {OURS} and {other} ({means}; {interval}).'
    size, low, high = _digits(abs(first.value), *sorted((abs(first.lower), abs(first.upper))))
    if first.value < 0:
        return f'{OURS} is better here than {other} by {size}; 95 % interval {low} to {high} ({means}).'
    return f'{_begin(other)} is better here than {OURS} by {size}; 95 % interval {low} to {high} ({means}).'


def _words(method):
    return method.replace('_', ' ')


def _begin(words):
    return words[0].upper() + words[1:]


def table_of(metrics):
    """Return the lines of a markdown table: each method's means over repeats, and its difference from ours."""
    means = metrics[(metrics['fold'] == ALL) & (metrics['repeat'] == ALL)]
    names = means.loc[means['against'].eq('') & means['metric'].ne('verdict'), 'metric'].unique()
    differences = means[means['metric'].str.endswith('_difference')].drop_duplicates('against').set_index('against')
    lines = [f'| method | {" | ".join(names)} | error of {OURS} less its own, 95 % interval |']
    lines.append('|---' * (len(names) + 2) + '|')
    for method, own in means[means['against'].eq('')].groupby('method', sort=False):
        own = own.set_index('metric')
        cells = [_cell(own.loc[name]) if name in own.index else '' for name in names]
        if method in differences.index:
            cells.append('{} ({} to {})'.format(*_digits(*differences.loc[method, ['value', 'lower', 'upper']])))
        else:
            cells.append('')
        lines.append(f'| {method} | {" | ".join(cells)} |')
    return lines


def _cell(figure):
    spread = '' if np.isnan(figure['spread']) else f' +- {figure["spread"]:.2g}'
    return f'{figure["value"]:.3g}{spread}'


def _digits(*numbers):
    return [f'{number:.3g}' for number in numbers]
