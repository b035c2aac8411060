"""What a search is worth: its trials as rows of metrics, and tuned against default parameters on the outer folds."""

import numpy as np
import pandas as pd

from q2_aam.errors import counted, shown

from .comparison import paired_difference
from .out_of_fold import OF, OURS, OutOfFold
from .verdict import ALL, COMPARED, DIFFERENCE, METRICS_COLUMNS, OF_CLASSES, OF_NUMBERS, compare, metrics_row

# Outer folds, none of whose samples a search has seen.
FOLDS = 3
# What is compared: the best parameters of each search, and those that are there without one.
TUNED, DEFAULT = 'tuned', 'default'
INNER, WARNING = 'inner_', 'warning'


def trial_rows(trials: list[dict]) -> pd.DataFrame:
    """Return trials as rows of metrics.

    Parameters
    ----------
    trials : list of dict
        Of each its number, parameters, state, value (error of the inner test samples, NaN where there is none), epoch
        (the last one), score (name of the error), samples and error (why it failed).
    """
    rows = []
    for one in trials:
        words = ', '.join(f'{name} {value}' for name, value in one['parameters'].items()) or 'the default parameters'
        state = {'complete': '', 'stopped': f'; stopped after epoch {one["epoch"]}', 'failed': '; failed'}[one['state']]
        note = f'{words}{state}' + (f': {one["error"]}' if one['error'] else '')
        method, metric = f'trial_{one["number"] + 1}', INNER + one['score']
        rows.append(metrics_row(method, 1, ALL, metric, one['samples'], one['value'], note=note))
    return pd.DataFrame(rows, columns=METRICS_COLUMNS)


def with_warnings(trials: pd.DataFrame, texts: list[str]) -> pd.DataFrame:
    """Return trials with what their search has warned of, one row a warning, for :func:`judge`."""
    rows = [metrics_row(TUNED, ALL, ALL, WARNING, 0, 1, note=text) for text in texts]
    return pd.concat([pd.DataFrame(rows, columns=METRICS_COLUMNS), trials], ignore_index=True) if rows else trials


def judge(
    out_of_fold: OutOfFold, trials: list[pd.DataFrame], seed: int, warned: tuple[str, ...] = ()
) -> tuple[pd.DataFrame, str]:
    """Compare tuned with default parameters on the outer folds.

    Parameters
    ----------
    out_of_fold : OutOfFold
        Ours is of the models whose parameters were found without the fold; its one baseline is ``DEFAULT``.
    trials : list of pandas.DataFrame
        Those of the search without each fold, then those of the search on all samples.
    seed : int
        Of the draws for the interval.
    warned : tuple of str

    Returns
    -------
    metrics : pandas.DataFrame
        Columns as in METRICS_COLUMNS: the verdict, warnings, the difference, the metrics of both and of each fold, then
        every trial, with the fold that its search did not see.
    verdict : str
        One line.
    """
    scores, _ = compare(out_of_fold, seed)
    scores = scores[scores['metric'] != 'verdict'].assign(note='')
    scores['method'] = scores['method'].replace(OURS, TUNED)
    measure, words, balanced = (OF_CLASSES if out_of_fold.classes else OF_NUMBERS)[0]
    difference = paired_difference(out_of_fold, DEFAULT, np.random.default_rng([seed, COMPARED]), balanced)
    told = [*warned, *(text for frame in trials for text in frame.loc[frame['metric'] == WARNING, 'note'])]
    trials = [frame[frame['metric'] != WARNING] for frame in trials]
    verdict = _verdict(out_of_fold.target, words, difference, sum(map(len, trials)))
    samples = len(set(out_of_fold.sample_ids))
    top = metrics_row(
        TUNED, ALL, ALL, 'verdict', samples, difference.value, against=DEFAULT, lower=difference.lower,
        upper=difference.upper, note=verdict,
    )  # fmt: skip
    assert measure + DIFFERENCE in set(scores['metric'])
    of_warnings = [metrics_row(TUNED, ALL, ALL, WARNING, samples, 1, note=text) for text in dict.fromkeys(told)]
    numbered = [
        frame.assign(fold=str(number + 1) if number < len(trials) - 1 else ALL) for number, frame in enumerate(trials)
    ]
    rows = pd.DataFrame([top, *of_warnings], columns=METRICS_COLUMNS)
    return pd.concat([rows, scores, *numbered], ignore_index=True)[list(METRICS_COLUMNS)], verdict


def _verdict(target, words, difference, trials):
    ours, other = (f'{value:.3g}' for value in (difference.ours, difference.other))
    figures = (
        f'over the {FOLDS} outer folds, whose samples no trial has seen, the {words} of {shown(target)} is {ours} with '
        f'tuned parameters and {other} with the default ones'
    )
    interval = ''
    if not np.isnan(difference.lower):
        interval = (
            f' (difference {difference.value:.3g}, 95 % interval {difference.lower:.3g} to {difference.upper:.3g})'
        )
    if difference.upper < 0:
        says = 'Tuning helped'
    elif difference.lower > 0:
        says = 'Tuning did harm, so that the default parameters are the better choice'
    else:
        says = 'Tuning did not help, so that the default parameters are as good a choice'
    return (
        f'{says}: {figures}{interval}. Scores of single trials ({counted(trials, "trial")}) are of those samples that '
        'chose among them, and too good.'
    )


def as_baselines(details: list[pd.DataFrame], probability: str) -> list[pd.DataFrame]:
    """Return details of models with default parameters as those of a baseline; `probability` begins their columns."""
    frames = []
    for one in details:
        columns = [name for name in one.columns if name.startswith(probability)]
        if columns:
            frames.append(one[columns].rename(columns=lambda name: f'{DEFAULT}{OF}{name[len(probability) :]}'))
        else:
            frames.append(one[['prediction']].rename(columns={'prediction': DEFAULT}))
    return frames
