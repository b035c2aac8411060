"""What recipe/demo.sh ends with: our errors beside the forest's, time, memory, and where everything lies."""

import csv
import math
import pathlib
import random
import sys
import tempfile

METADATA = pathlib.Path(__file__).parents[1] / 'tests' / 'data' / 'ecam' / 'metadata.tsv'


def scores(true, predicted):
    """Return the mean absolute error and R2 of two sequences of numbers in the same order."""
    errors = [p - t for t, p in zip(true, predicted)]
    mean = sum(true) / len(true)
    spread = sum((t - mean) ** 2 for t in true)
    r2 = 1 - sum(e * e for e in errors) / spread if spread else math.nan
    return sum(map(abs, errors)) / len(errors), r2


def last_metric(history, part, metric):
    """Return the value of `metric` in `part` at its last epoch; `history` holds rows as dicts."""
    rows = [row for row in history if row['part'] == part and row['metric'] == metric]
    return float(max(rows, key=lambda row: float(row['epoch']))['value']) if rows else math.nan


def score_table(true, ours, forest):
    """Return the lines that compare both on the samples of `true`; all three are {sample id: number}."""
    if not set(true) == set(ours) == set(forest):
        raise ValueError('Our predictions, those of the forest and the true values are not of the same samples.')
    lines = [f'Age in months of {len(true)} test samples', f'{"":<16}{"MAE":>8}{"R2":>8}']
    for name, predicted in (('AAM', ours), ('random forest', forest)):
        mae, r2 = scores([true[i] for i in true], [predicted[i] for i in true])
        lines.append(f'{name:<16}{mae:>8.2f}{r2:>8.2f}')
    return lines


def interval_line(true, ours, forest, groups, draws=5000):
    """Return the line that tells how certain the difference is: whole groups drawn with replacement, seed fixed.

    `groups` is {sample id: group}: samples of one infant are alike, so that drawing samples would promise too much.
    """
    difference = {i: abs(ours[i] - true[i]) - abs(forest[i] - true[i]) for i in true}
    members = {}
    for i in sorted(true):
        members.setdefault(groups[i], []).append(difference[i])
    names, generator, means = sorted(members), random.Random(1), []
    for _ in range(draws):
        drawn = [value for name in generator.choices(names, k=len(names)) for value in members[name]]
        means.append(sum(drawn) / len(drawn))
    means.sort()
    low, high = means[int(0.025 * draws)], means[int(0.975 * draws)]
    mean = sum(difference.values()) / len(difference)
    return (
        f'MAE of AAM minus forest: {mean:.2f}, 95 % interval {low:.2f} to {high:.2f} '
        f'({len(names)} infants drawn with replacement)'
    )


def cost_table(steps):
    """Return the lines that tell seconds and peak memory of each step; `steps` holds rows as dicts."""
    lines = [f'{"step":<24}{"seconds":>8}{"peak MB":>9}']
    lines += [f'{row["step"]:<24}{float(row["seconds"]):>8.1f}{float(row["megabytes"]):>9.0f}' for row in steps]
    seconds = sum(float(row['seconds']) for row in steps)
    return [*lines, f'{"all":<24}{seconds:>8.1f}{max(float(row["megabytes"]) for row in steps):>9.0f}']


def read_rows(path):
    """Return the rows of a TSV file as dicts."""
    with open(path, newline='', encoding='utf-8') as handle:
        return list(csv.DictReader(handle, delimiter='\t'))


def draw(path, true, ours, forest):
    """Write the picture of predicted against true ages: ours and the forest's side by side, on the same axes."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MultipleLocator

    figure, both = plt.subplots(1, 2, figsize=(8.4, 4.7), dpi=150, constrained_layout=True)
    values = [*true.values(), *ours.values(), *forest.values()]
    margin = 0.05 * (max(values) - min(values)) or 1.0
    ends = min(values) - margin, max(values) + margin
    # blue and vermilion of Okabe and Ito (2008) stay apart for colour-blind eyes
    for axes, name, predicted, color in zip(both, ('AAM', 'random forest'), (ours, forest), ('#0072b2', '#d55e00')):
        mae, r2 = scores([true[i] for i in true], [predicted[i] for i in true])
        axes.plot(ends, ends, color='0.6', linewidth=1, linestyle='--', zorder=0, label='predicted = true')
        axes.scatter([true[i] for i in true], [predicted[i] for i in true], s=30, alpha=0.7, color=color, linewidths=0)
        axes.set_title(f'{name}: MAE {mae:.2f} months, R² {r2:.2f}', fontsize=10)
        axes.set(xlim=ends, ylim=ends, aspect='equal', xlabel='true age (months)')
        axes.xaxis.set_major_locator(MultipleLocator(5))
        axes.yaxis.set_major_locator(MultipleLocator(5))
        axes.spines[['top', 'right']].set_visible(False)
    both[0].set_ylabel('predicted age (months)')
    both[0].legend(loc='lower right', fontsize=8, frameon=False)
    figure.suptitle(f'ECAM: the same {len(true)} test samples, of infants whose age no model was told', fontsize=11)
    figure.savefig(path)
    plt.close(figure)


def read_results(folder):
    """Return (true, ours, forest) of the test samples, each {sample id: number}, and the pretraining history's rows."""
    import pandas as pd
    import qiime2

    from q2_aam.runtime.history import HISTORY_FILE

    def load(name):
        return qiime2.Artifact.load(str(folder / name))

    details = load('details.qza').view(qiime2.Metadata).to_dataframe()
    true = details.loc[details['part'] == 'test', 'true'].astype(float).to_dict()
    ours = load('predictions.qza').view(pd.Series).astype(float).to_dict()
    forest = load('forest-predictions.qza').view(pd.Series).astype(float).to_dict()
    with tempfile.TemporaryDirectory() as scratch:
        load('pretrain-history.qza').export_data(scratch)
        return true, ours, forest, read_rows(pathlib.Path(scratch) / HISTORY_FILE)


def main(folder):
    folder = pathlib.Path(folder)
    true, ours, forest, history = read_results(folder)
    subjects = {row['sample-id']: row['subject'] for row in read_rows(METADATA)}
    picture = folder / 'ecam-predictions.png'
    draw(picture, true, ours, forest)
    r = last_metric(history, 'validation', 'distance_r')
    r2 = last_metric(history, 'validation', 'distance_r2')
    print(
        *score_table(true, ours, forest),
        interval_line(true, ours, forest, subjects),
        '(The forest learned from our training and validation samples together.)',
        '',
        f'Unweighted UniFrac between the held-out samples of pretraining: r {r:.2f}, R2 {r2:.2f}',
        '',
        *cost_table(read_rows(folder / 'steps.tsv')),
        '',
        f'Artifacts:  {folder}',
        f'Scatterplot: {folder / "predictions.qzv"} (qiime tools view, or drop it on view.qiime2.org)',
        f'Picture:    {picture}',
        sep='\n',
    )


if __name__ == '__main__':
    main(sys.argv[1])
