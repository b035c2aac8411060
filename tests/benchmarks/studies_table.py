"""The tables and the picture of what studies.py computed, as far as it got.

    python tests/benchmarks/studies_table.py FOLDER [--methods NAME ...] [--name AAM-small] [--seed 1]

FOLDER is that of --out of studies.py. A task is in the table if all methods have the same folds of it. The rows give
the mean absolute error or the balanced accuracy of each method, and the error of ours minus that of the best baseline
(below 0: ours is better) with its 95 % interval over groups, which does not know that the baseline was chosen on the
same samples. Wins and losses are of sign-flip tests by groups, corrected over the tasks of a half by Holm's method for
each baseline by itself.
"""

import argparse
import dataclasses
import json
import pathlib

import numpy as np
import pandas as pd

from q2_aam.data.applicability import OK
from q2_aam.data.details import LOWER, UPPER
from q2_aam.errors import counted
from q2_aam.evaluation.comparison import Difference, best_baseline, metrics_of, paired_difference
from q2_aam.evaluation.out_of_fold import OURS, OutOfFold

# Every other usable task in alphabetical order, named before anything was chosen. Defaults are chosen on these alone.
CHOSEN_ON = (
    'amazon_homes.surface', 'apnea_mice.age_weeks', 'claesson_elderly.age', 'halfvarson_ibd.ileal_resection',
    'hmp_plaque.plaque_site', 'hmp_throat.oral_site', 'kostic_crc.tumor', 'morgan_ibd.uc', 'ravel_vaginal.nugent_score',
    'soils88.biome', 'turnbaugh_twins.obese',
)  # fmt: skip
CHOSEN, REPORTED, TRANSFER = 'chosen', 'reported', 'transfer'
# Where results are in FOLDER: a folder a task, a file a fold and method.
TASKS, TRANSFERS = 'tasks', 'transfers'
FOREST, EXTRA, LINEAR, GUESS, COUNTS = 'random_forest', 'extra_trees', 'linear', 'guess', '_counts'
METHODS = (OURS, FOREST, EXTRA, LINEAR, GUESS)
LEVEL, FLIPS = 0.05, 9999
# streams of random numbers
INTERVALS, TESTS = 0, 1
COLOURS = {CHOSEN: 'tab:gray', REPORTED: 'tab:blue', TRANSFER: 'tab:orange'}


def half_of(name):
    """Return whether defaults are chosen on a task, or it is what is reported."""
    return CHOSEN if name in CHOSEN_ON else REPORTED


@dataclasses.dataclass(frozen=True)
class Row:
    """What a task shows; `best`, `difference` and `p` (by baseline) are empty where ours is not among the methods."""

    task: str
    half: str
    samples: int
    groups: int
    metric: str
    values: dict
    seconds: dict
    best: str | None = None
    difference: Difference | None = None
    differences: dict = dataclasses.field(default_factory=dict)
    p: dict = dataclasses.field(default_factory=dict)

    @property
    def errors(self):
        """Return the values so that less is better."""
        sign = 1 if self.metric == 'mae' else -1
        return {method: sign * value for method, value in self.values.items()}


def read_results(folder, methods, name=OURS):
    """Return {task: {method: [result of each fold and repeat]}} of finished tasks, and the names of the others."""
    results, unfinished = {}, []
    for task in sorted(folder.iterdir()) if folder.exists() else ():
        files = {}
        for method in methods:
            stem = name if method == OURS else method
            found = [(path.stem.rsplit('-', 2), path) for path in task.glob('*.json')]
            files[method] = {(int(of[1]), int(of[2])): path for of, path in found if of[0] == stem}
        folds = {tuple(sorted(of_method)) for of_method in files.values()}
        read = {m: [json.loads(of[key].read_text()) for key in sorted(of)] for m, of in files.items()}
        first = next(iter(read.values()))
        if len(folds) == 1 and first and len(first) % first[0]['settings']['folds'] == 0:
            results[task.name] = read
        else:
            unfinished.append(task.name)
    return results, unfinished


def gather(name, results):
    """Put the results of all folds and repeats of a task together as an OutOfFold, ours first."""
    first = next(iter(results.values()))
    numeric = first[0]['columns'] == ['prediction']
    true = np.array([value for one in first for value in one['true']], dtype=float if numeric else object)
    classes = () if numeric else tuple(sorted({*true, *(name for one in first for name in one['columns'])}))
    columns, predicted = list(classes) or ['prediction'], {}
    for method in sorted(results, key=lambda method: method != OURS):
        values = []
        for one, reference in zip(results[method], first):
            if set(one['ids']) != set(reference['ids']):
                raise SystemExit(f'studies_table.py: the methods of {name} have other folds; compute it anew.')
            # a class without a sample to learn from has no column
            frame = pd.DataFrame(one['predicted'], one['ids'], one['columns']).reindex(columns=columns, fill_value=0.0)
            values.append(frame.loc[reference['ids']].to_numpy())
        predicted[method] = np.concatenate(values) if classes else np.concatenate(values)[:, 0]
    codes = pd.Index(classes).get_indexer(true) if classes else true
    ids, groups = (np.array([name for one in first for name in one[key]], object) for key in ('ids', 'groups'))
    number = np.repeat(np.arange(len(first)), [len(one['ids']) for one in first])
    folds = first[0]['settings']['folds']
    return OutOfFold(name, ids, groups, number // folds, number % folds, codes, predicted, classes)


def row_of(name, half, results, seed=1):
    """Return the row of a task."""
    out_of_fold = gather(name, results)
    balanced, everything = bool(out_of_fold.classes), np.arange(len(out_of_fold.true))
    metric = 'balanced_accuracy' if balanced else 'mae'
    row = Row(
        name, half, len(set(out_of_fold.sample_ids)), len(set(out_of_fold.groups)), metric,
        {method: metrics_of(out_of_fold, method, everything)[0][metric] for method in out_of_fold.predicted},
        {method: sum(one['seconds'] for one in of_method) for method, of_method in results.items()},
    )  # fmt: skip
    if OURS not in results or len(results) == 1:
        return row
    differences, p = {}, {}
    for method in out_of_fold.baselines:
        generator = np.random.default_rng([seed, INTERVALS])
        differences[method] = paired_difference(out_of_fold, method, generator, balanced)
        p[method] = sign_flip_p(out_of_fold, method, np.random.default_rng([seed, TESTS]), balanced)
    best = best_baseline(out_of_fold)
    return dataclasses.replace(row, best=best, difference=differences[best], differences=differences, p=p)


def sign_flip_p(out_of_fold, method, generator, balanced=False):
    """Return the two-sided p of no difference between ours and another method.

    If there is none, the difference of each group is as likely to have the other sign.
    """
    difference = out_of_fold.errors(OURS) - out_of_fold.errors(method)
    rows = pd.DataFrame(
        {'id': out_of_fold.sample_ids, 'group': out_of_fold.groups.astype(str), 'value': difference,
         'class': out_of_fold.true if balanced else 0}
    ).dropna()  # fmt: skip
    samples = rows.groupby('id').agg({'group': 'first', 'class': 'first', 'value': 'mean'})
    share = samples['value'] / samples.groupby('class')['value'].transform('size') / samples['class'].nunique()
    of_groups = share.groupby(samples['group']).sum().to_numpy()
    flipped = np.abs(generator.choice((-1.0, 1.0), (FLIPS, len(of_groups))) @ of_groups)
    # sums of the same numbers in another order may differ by rounding
    return float((1 + (flipped >= abs(of_groups.sum()) - 1e-12).sum()) / (FLIPS + 1))


def holm(p):
    """Return p values corrected for their number (Holm 1979, Scandinavian Journal of Statistics 6:65)."""
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]), 1)
    return corrected


def wins_ties_losses(rows, method):
    """Return on how many tasks ours is better than a baseline, neither, and worse, and the names of the last."""
    corrected = holm([row.p[method] for row in rows])
    signs = [np.sign(row.differences[method].value) if p < LEVEL else 0 for row, p in zip(rows, corrected)]
    lost = [row.task for row, sign in zip(rows, signs) if sign > 0]
    return signs.count(-1), signs.count(0), len(lost), lost


def mean_ranks(rows):
    """Return {method: mean over tasks of its rank, 1 for the best}."""
    return pd.DataFrame([row.errors for row in rows]).rank(axis=1).mean().to_dict()


def table_lines(rows):
    """Return the lines of a markdown table."""
    methods = list(rows[0].values)
    header = ['task', 'half', 'n', 'groups', 'metric', *methods, 'AAM minus best, in error (95 %)', 'best baseline']
    header.append(f'seconds of {", ".join(methods)}')
    lines = [f'| {" | ".join(header)} |', '|---' * len(header) + '|']
    for row in sorted(rows, key=lambda row: (row.half, row.task)):
        cells = [row.task, row.half, row.samples, row.groups, row.metric.replace('_', ' ').replace('mae', 'MAE')]
        cells += [f'{row.values[method]:.3g}' for method in methods]
        one = row.difference
        cells += ['', ''] if one is None else [f'{one.value:.2g} ({one.lower:.2g} to {one.upper:.2g})', row.best]
        cells.append(', '.join(f'{row.seconds[method]:.0f}' for method in methods))
        lines.append(f'| {" | ".join(map(str, cells))} |')
    return lines


def summary_lines(rows, words):
    """Return lines on some tasks together: mean ranks, wins, ties and losses."""
    ranks = ', '.join(f'{method} {rank:.2f}' for method, rank in sorted(mean_ranks(rows).items(), key=lambda x: x[1]))
    lines = [f'{words} ({counted(len(rows), "task")}): mean rank {ranks}.']
    for method in rows[0].p:
        wins, ties, losses, lost = wins_ties_losses(rows, method)
        names = f' ({", ".join(lost)})' if lost else ''
        numbers = f'{counted(wins, "win")}, {counted(ties, "tie")}, {losses} {"loss" if losses == 1 else "losses"}'
        lines.append(f'- {OURS} against {method}: {numbers}{names}.')
    return lines


def interval_lines(results):
    """Return lines on our flags and, over all tasks of numbers, on our prediction intervals."""
    ours = [one for of_task in results.values() for one in of_task.get(OURS, ())]
    flags = np.array([flag for one in ours for flag in one['flag']])
    if not len(flags):
        return []
    lines = [f'Flagged: {np.mean(flags != OK):.1%} of {len(flags):,} samples.']
    numeric = [one for one in ours if LOWER in one]
    held = [
        (lower <= value <= upper)
        for one in numeric
        for lower, upper, value, flag in zip(one[LOWER], one[UPPER], one['true'], one['flag'])
        if flag == OK
    ]
    return (
        [*lines, f'90 % intervals hold {np.mean(held):.1%} of {len(held):,} samples without a flag.'] if held else lines
    )


def draw(rows, path):
    """Draw the difference of each task relative to the error of its best baseline, if matplotlib is installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    rows = [row for row in rows if row.difference is not None and row.difference.other > 0]
    if not rows:
        return False
    rows.sort(key=lambda row: (row.half, row.difference.value / row.difference.other))
    figure = Figure(figsize=(8, 1.5 + 0.27 * len(rows)), layout='constrained')
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        one = row.difference
        value, lower, upper = (100 * number / one.other for number in (one.value, one.lower, one.upper))
        axes.plot([lower, upper], [place, place], color=COLOURS[row.half], linewidth=2)
        axes.plot(value, place, 'o', color=COLOURS[row.half])
    axes.axvline(0, color='black', linewidth=0.8)
    axes.set_yticks(range(len(rows)), [f'{row.task} ({row.half}; {row.best.replace("_", " ")})' for row in rows])
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_xlabel(
        f'error of {OURS}, % above that of the best baseline\n(left of 0: {OURS} is better; 95 % intervals)'
    )
    figure.savefig(path, dpi=150)
    return True


def report(folder, methods=METHODS, name=OURS, seed=1):
    """Return the lines on all that is in a folder of results, and draw its picture there."""
    lines, drawn = [], []
    for part in (TASKS, TRANSFERS):
        results, unfinished = read_results(folder / part, methods, name)
        rows = [
            row_of(task, half_of(task) if part == TASKS else TRANSFER, of_task, seed)
            for task, of_task in results.items()
        ]
        if rows:
            lines += ['', *table_lines(rows), '']
            for half in dict.fromkeys(row.half for row in sorted(rows, key=lambda row: row.half)):
                lines += summary_lines([row for row in rows if row.half == half], half)
            lines += interval_lines(results)
        if unfinished:
            lines.append(f'Not finished: {", ".join(unfinished)}.')
        drawn += rows
    if draw(drawn, folder / f'{name}.png'):
        lines.append(f'Picture: {folder / f"{name}.png"}')
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('folder', type=pathlib.Path)
    parser.add_argument('--methods', nargs='*', default=list(METHODS))
    parser.add_argument('--name', default=OURS)
    parser.add_argument('--seed', type=int, default=1)
    options = parser.parse_args()
    print(*report(options.folder, options.methods, options.name, options.seed), sep='\n')


if __name__ == '__main__':
    main()
