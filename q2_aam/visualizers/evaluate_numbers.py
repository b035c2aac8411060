"""The page that evaluates predictions of a number."""

import numpy as np
import pandas as pd

from q2_aam.data.details import LOWER, UPPER
from q2_aam.evaluation.comparison import paired_difference
from q2_aam.evaluation.error_analysis import bins_of, mean_with_interval, wilson_interval
from q2_aam.evaluation.out_of_fold import MEDIAN, OURS, OutOfFold
from q2_aam.evaluation.verdict import COMPARED
from q2_aam.stats.metrics import interval_metrics, regression_metrics

from . import charts
from .blocks import Block, Facts, Figure, Heading, Text, percent
from .chart_parts import thinned
from .evaluate_page import (
    baselines_blocks,
    compared_with,
    error_analysis_blocks,
    errors_by_column,
    extra_targets_blocks,
    samples_and_groups,
    verdict_of_metrics,
    with_colours,
)

MEAN_ERROR = 'mean absolute error'
# Coverage that near to what was promised is as promised.
NEAR = 0.02


def blocks_of_numbers(seen, metrics, coverage):
    """Return the blocks of the page.

    Parameters
    ----------
    seen : q2_aam.evaluation.evaluated.Evaluated
    metrics : pandas.DataFrame or None
        Of a cross-validation.
    coverage : float
        That the intervals were made for.
    """
    frame = seen.frame
    mean, lower, upper = mean_with_interval(frame['error'], frame['group'])
    differences = _differences(seen)
    verdict, warned = verdict_of_metrics(metrics)
    return [
        Text(_verdict(seen, mean, lower, upper), 'verdict'),
        Text(verdict or compared_with(differences[MEDIAN], 'guessing the median')),
        *(Text(note, 'note') for note in [*seen.notes, *warned]),
        _facts(seen, mean, lower, upper, coverage),
        Heading('Predicted and true values'),
        *_scatters(seen),
        *_calibration(seen, coverage),
        *baselines_blocks(
            metrics, [(name, one) for name, one in differences.items() if name in seen.baselines], 'mae', MEAN_ERROR
        ),
        *extra_targets_blocks(seen, metrics),
        Heading('Errors by column'),
        *(errors_by_column(seen, MEAN_ERROR) or [Text('There is no column by which samples can be divided.')]),
        *error_analysis_blocks(seen),
    ]


def _differences(seen):
    """Return {baseline: difference from it}; guessing the median of these samples always is one."""
    frame = seen.frame
    predicted = {OURS: frame['predicted'].to_numpy(dtype=float)}
    predicted |= {name: frame[name].to_numpy(dtype=float) for name in seen.baselines}
    predicted.setdefault(MEDIAN, np.full(len(frame), frame['true'].median()))
    zeros = np.zeros(len(frame), dtype=np.int64)
    out_of_fold = OutOfFold(
        seen.target, frame.index.to_numpy(dtype=object), frame['group'].to_numpy(dtype=object), zeros, zeros,
        frame['true'].to_numpy(dtype=float), predicted,
    )  # fmt: skip
    # the draws of the comparison itself
    return {
        name: paired_difference(out_of_fold, name, np.random.default_rng([1, COMPARED]))
        for name in out_of_fold.baselines
    }


def _verdict(seen, mean, lower, upper):
    interval = '' if np.isnan(lower) else f' (95 % interval {lower:.3g} to {upper:.3g})'
    return f'Predictions of {seen.target} for {samples_and_groups(seen)} are off by {mean:.3g} on average{interval}.'


def _facts(seen, mean, lower, upper, coverage):
    frame = seen.frame
    scores = regression_metrics(frame['predicted'], frame['true'])
    ends = '' if np.isnan(lower) else f'95 % interval {lower:.3g} to {upper:.3g}'
    items = [
        ('Mean absolute error', f'{mean:.3g}', ends),
        ('Median absolute error', f'{scores["median_absolute_error"]:.3g}', ''),
        ('RMSE', f'{scores["rmse"]:.3g}', ''),
        ('R\u00b2', f'{scores["r2"]:.3g}', 'share of the variance explained; below 0: worse than the mean'),
        ('Pearson correlation', f'{scores["r"]:.3g}', ''),
    ]
    inside = _with_bounds(frame)
    if len(inside):
        found = interval_metrics(inside[LOWER], inside[UPPER], inside['true'])
        meaning = f'of true values in their {percent(coverage)} interval'
        items.append(('Coverage', percent(found['interval_coverage']), meaning))
        items.append(('Interval width', f'{found["interval_width"]:.3g}', 'on average'))
    items.append(('Samples', f'{len(frame):,}', samples_and_groups(seen) if seen.grouped else ''))
    return Facts(items)


def _with_bounds(frame):
    return frame.dropna(subset=[LOWER, UPPER]) if LOWER in frame and UPPER in frame else frame.iloc[:0]


def _scatters(seen):
    frame, colours, said = with_colours(seen, seen.frame)
    drawn, said_thinned = thinned(frame)
    tips = ['sample', 'true', 'predicted', 'error', LOWER, UPPER, *colours[:6]]
    bounds = (LOWER, UPPER) if len(_with_bounds(drawn)) else None
    target = seen.target
    predicted, by_column = charts.scatter(
        drawn, 'true', 'predicted', (f'true {target}', f'predicted {target}'), tips, colours, bounds, diagonal=True
    )
    lines = 'Lines are prediction intervals; t' if bounds else 'T'
    figures = [
        Figure(
            'predicted', 'Predicted against true', f'One point a sample. {lines}he dashed line is a perfect prediction.'
            f'{said_thinned}{said}', predicted, 'Colour', by_column,
        )
    ]  # fmt: skip
    for x, title, log in (('true', f'true {target}', False), ('reads_used', 'reads used', True)):
        if x not in drawn or drawn[x].nunique() < 2:
            continue
        log = log and drawn[x].min() > 0
        spec, by_column = charts.scatter(
            drawn, x, 'residual', (title, 'predicted minus true'), [*tips, x], colours, zero=True, log=log
        )
        slope = _trend(seen.frame, x)
        figures.append(Figure(f'residual-by-{x}', f'Error by {title}', slope + said_thinned, spec, 'Colour', by_column))
    return figures


def _trend(frame, x):
    """Say whether errors have a direction along `x`."""
    rho = frame['residual'].corr(frame[x], method='spearman')
    if np.isnan(rho):
        return 'All errors are equal.'
    if abs(rho) < 0.3:
        return f'Errors have no clear direction here (rank correlation {rho:.2f}).'
    if x == 'true' and rho < 0:
        return f'Low values are predicted too high and high ones too low (rank correlation {rho:.2f}).'
    return f'Predictions are too {"high" if rho > 0 else "low"} where it is high (rank correlation {rho:.2f}).'


def _calibration(seen, coverage):
    """Return whether predictions are right on average, and whether intervals hold what they promise."""
    frame = seen.frame
    blocks: list[Block] = [Heading('Calibration')]
    if frame['predicted'].nunique() > 4:
        bins = bins_of(frame['predicted'], 6)
        rows = [
            (members['predicted'].mean(), *mean_with_interval(members['true'], members['group']), len(members), 'mean')
            for _, members in frame.groupby(bins, observed=True)
        ]
        means = pd.DataFrame(rows, columns=['x', 'y', 'lower', 'upper', 'samples', 'series'])
        ends = (float(means[['x', 'y']].min().min()), float(means[['x', 'y']].max().max()))
        spec = charts.curves(
            means, (f'mean predicted {seen.target}', f'mean true {seen.target}'), diagonal=ends, points=True
        )
        blocks.append(
            Figure(
                'calibration', 'Mean true value by predicted value', 'Samples in six bins of their prediction; the '
                'band is a 95 % interval that respects groups. On the dashed line, predictions are right on average.',
                spec,
            )
        )  # fmt: skip
    inside = _with_bounds(frame)
    if len(inside) > 4:
        blocks.append(_coverage(inside, coverage))
    return blocks if len(blocks) > 1 else []


def _coverage(frame, coverage):
    hit = ((frame[LOWER] <= frame['true']) & (frame['true'] <= frame[UPPER])).astype(float)
    parts = [('all samples', frame.index)]
    if frame['true'].nunique() > 4:
        bins = bins_of(frame['true'], 4)
        parts += [(f'true {name}', members.index) for name, members in frame.groupby(bins, observed=True)]
    rows = []
    for name, ids in parts:
        lower, upper = wilson_interval(hit[ids].sum(), len(ids))
        rows.append((f'{name} (n = {len(ids):,})', hit[ids].mean(), lower, upper))
    frame = pd.DataFrame(rows, columns=['label', 'value', 'lower', 'upper'])
    spec, _ = charts.intervals(
        {'': frame}, 'share of true values in their interval',
        coverage, shares=True,
    )  # fmt: skip
    lower, upper = rows[0][2:]
    # with many samples, a difference of nothing is a difference
    if lower <= coverage <= upper or abs(rows[0][1] - coverage) < NEAR:
        holds = 'Over all samples, the intervals hold what they promise'
    else:
        kind = 'narrow' if upper < coverage else 'wide'
        holds = f'The intervals are too {kind}'
    caption = (
        f'{holds}: {percent(rows[0][1])} of true values are in them ({percent(coverage)} expected, the dashed line). '
        f'{_narrow(rows[1:], coverage)}Lines are 95 % intervals, which take samples as independent.'
    )
    return Figure('coverage', 'Coverage of the prediction intervals', caption, spec)


def _narrow(rows, coverage):
    """Say for which values intervals are too narrow."""
    named = [f'{name}: {percent(share)}' for name, share, _, upper in rows if upper < coverage]
    return f'There are fewer than expected for {", ".join(named)}. ' if named else ''
