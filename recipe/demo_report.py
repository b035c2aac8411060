"""What recipe/demo.sh ends with: our errors beside those of baselines, time, memory, pictures, and the page to open."""

import csv
import math
import pathlib
import sys
import tempfile

METADATA = pathlib.Path(__file__).parents[1] / 'tests' / 'data' / 'ecam' / 'metadata.tsv'
# Figures of the evaluation that become pictures, and how these are named.
PICTURES = {'predicted': 'ecam-predictions.png', 'baselines': 'ecam-baselines.png'}
# That the intervals of the demonstration are made for.
COVERAGE = 0.9


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


def score_table(true, predicted):
    """Return the lines that compare methods on the samples of `true`, the best first.

    `true` is {sample id: number}, `predicted` {method: {sample id: number}}.
    """
    found = {}
    for name, values in predicted.items():
        if set(values) != set(true):
            raise ValueError(f'The predictions of {name} and the true values are not of the same samples.')
        found[name] = scores(list(true.values()), [values[i] for i in true])
    lines = [
        f'Age in months of all {len(true)} labelled samples, each predicted by a model that has not seen its infant',
        f'{"":<24}{"MAE":>8}{"R2":>8}',
    ]
    for name, (mae, r2) in sorted(found.items(), key=lambda item: item[1][0]):
        lines.append(f'{name:<24}{mae:>8.2f}{r2:>8.2f}')
    return lines


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


def draw(folder, predictions, details, metrics, groups):
    """Write figures of the evaluation's page as pictures into a folder; return their paths.

    `predictions` and `groups` are pandas.Series by sample id, `details` and `metrics` what the cross-validation gave.
    """
    from q2_aam.evaluation.evaluated import evaluated
    from q2_aam.visualizers.blocks import Figure
    from q2_aam.visualizers.evaluate_numbers import blocks_of_numbers
    from q2_aam.visualizers.page import picture

    seen = evaluated(predictions.map(str), None, details, groups=groups)
    figures = {one.name: one for one in blocks_of_numbers(seen, metrics, COVERAGE) if isinstance(one, Figure)}
    for name, file in PICTURES.items():
        picture(figures[name], folder / file)
    return [folder / file for file in PICTURES.values()]


def read_results(folder):
    """Return predictions, details and metrics of the cross-validation, and the rows of the pretraining's history."""
    import pandas as pd
    import qiime2

    from q2_aam.runtime.history import HISTORY_FILE

    def load(name, view):
        return qiime2.Artifact.load(str(folder / name)).view(view)

    details = load('cv-details.qza', qiime2.Metadata).to_dataframe()
    with tempfile.TemporaryDirectory() as scratch:
        qiime2.Artifact.load(str(folder / 'pretrain-history.qza')).export_data(scratch)
        history = read_rows(pathlib.Path(scratch) / HISTORY_FILE)
    return load('cv-predictions.qza', pd.Series), details, load('cv-metrics.qza', pd.DataFrame), history


def main(folder):
    import pandas as pd

    from q2_aam.evaluation.evaluated import BASELINES

    folder = pathlib.Path(folder)
    predictions, details, metrics, history = read_results(folder)
    subjects = pd.Series({row['sample-id']: row['subject'] for row in read_rows(METADATA)}, name='subject')
    columns = {'AAM': 'prediction', **{name.replace('_', ' '): name for name in BASELINES if name in details}}
    predicted = {name: details[column].astype(float).to_dict() for name, column in columns.items()}
    r, r2 = (last_metric(history, 'validation', name) for name in ('distance_r', 'distance_r2'))
    pictures = draw(folder, predictions, details, metrics, subjects)
    print(
        *score_table(details['true'].astype(float).to_dict(), predicted),
        '',
        *metrics.loc[metrics['metric'] == 'verdict', 'note'],
        '',
        f'Unweighted UniFrac between the held-out samples of pretraining: r {r:.2f}, R2 {r2:.2f}',
        '',
        *cost_table(read_rows(folder / 'steps.tsv')),
        '',
        f'Artifacts: {folder}',
        f'Pictures:  {", ".join(str(path) for path in pictures)}',
        f'Open this: {folder / "evaluation.qzv"} (qiime tools view, or drop it on view.qiime2.org)',
        sep='\n',
    )


if __name__ == '__main__':
    main(sys.argv[1])
