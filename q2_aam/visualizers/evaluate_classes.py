"""The page that evaluates predictions of classes."""

import numpy as np
import pandas as pd

from q2_aam.evaluation.class_curves import curves_of_class, reliability
from q2_aam.evaluation.comparison import paired_difference
from q2_aam.evaluation.error_analysis import mean_with_interval
from q2_aam.evaluation.evaluated import FLAG
from q2_aam.evaluation.out_of_fold import MAJORITY, OURS, OutOfFold
from q2_aam.evaluation.verdict import COMPARED
from q2_aam.stats.metrics import MIN_PROBABILITY, classification_metrics

from . import charts
from .blocks import Facts, Figure, Heading, Table, Text, Variant, percent
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
    with_true_probability,
)

ERROR_RATE = 'share of wrong predictions'
# Curves that are drawn together.
MAX_CURVES = 8
CURVE_TITLES = {
    'roc': ('ROC', 'false positive rate', 'true positive rate'),
    'precision': ('Precision and recall', 'recall', 'precision'),
}
# Probabilities that are closer to the share that is right, on average, can be taken at their word.
MAX_SURPLUS = 0.05
# Classes are unbalanced where one has so many times the samples of another.
UNBALANCED = 1.5


def blocks_of_classes(seen, metrics):
    """Return the blocks of the page; see :func:`q2_aam.visualizers.evaluate_numbers.blocks_of_numbers`."""
    frame = seen.frame
    wrong, lower, upper = mean_with_interval(frame['error'], frame['group'])
    verdict, warned = verdict_of_metrics(metrics)
    return [
        Text(_verdict(seen, wrong, lower, upper), 'verdict'),
        Text(verdict or _against_majority(seen)),
        *(Text(note, 'note') for note in [*seen.notes, *warned]),
        _facts(seen, wrong, lower, upper),
        Heading('Predicted and true classes'),
        _confusion(seen),
        _by_class(seen),
        *_probabilities(seen),
        *baselines_blocks(metrics, [], 'balanced_error_rate', 'balanced error rate'),
        *extra_targets_blocks(seen, metrics),
        Heading('Errors by column'),
        *(errors_by_column(seen, ERROR_RATE) or [Text('There is no column by which samples can be divided.')]),
        *error_analysis_blocks(seen),
    ]


def _verdict(seen, wrong, lower, upper):
    ends = _ends(lower, upper)
    right = f'{percent(1 - wrong)} of {samples_and_groups(seen)} are assigned their true class of {seen.target}'
    return f'{right} ({ends}).' if ends else f'{right}.'


def _ends(lower, upper):
    """Return the interval of the share that is right as text, from that of the share that is wrong."""
    if np.isnan(lower):
        return ''
    return f'95 % interval {percent(max(0.0, 1 - upper))} to {percent(min(1.0, 1 - lower))}'


def _against_majority(seen):
    """Compare with guessing the most frequent class of these samples, where every class has the same weight."""
    frame = seen.frame
    numbers = {name: number for number, name in enumerate(seen.classes)}
    true = frame['true'].map(numbers).to_numpy(dtype=float)
    hard = np.eye(len(numbers))
    guess = np.bincount(true.astype(int)).argmax()
    predicted = {OURS: hard[frame['predicted'].map(numbers)], MAJORITY: np.tile(hard[guess], (len(frame), 1))}
    zeros = np.zeros(len(frame), dtype=np.int64)
    out_of_fold = OutOfFold(
        seen.target, frame.index.to_numpy(dtype=object), frame['group'].to_numpy(dtype=object), zeros, zeros, true,
        predicted, seen.classes,
    )  # fmt: skip
    difference = paired_difference(out_of_fold, MAJORITY, np.random.default_rng([1, COMPARED]), balanced=True)
    mean = f'In the mean over classes, {difference.ours:.3g} are wrong. '
    return mean + compared_with(difference, 'always guessing the most frequent class')


def _facts(seen, wrong, lower, upper):
    frame = seen.frame
    recalls = 1 - frame.groupby('true')['error'].mean()
    items = [
        ('Accuracy', percent(1 - wrong), _ends(lower, upper)),
        ('Balanced accuracy', percent(recalls.mean()), 'mean over classes'),
    ]
    if seen.probabilities is not None:
        numbers = {name: number for number, name in enumerate(seen.classes)}
        scores = classification_metrics(seen.probabilities.to_numpy(), frame['true'].map(numbers).to_numpy())
        items += [
            ('ROC area', f'{scores["roc_auc"]:.3g}', 'mean over classes; 0.5 is guessing'),
            ('Log loss', f'{scores["log_loss"]:.3g}', f'{np.log(len(seen.classes)):.3g} is guessing'),
            ('Calibration error', f'{scores["calibration_error"]:.3g}', 'of the predicted class'),
        ]
    items.append(('Samples', f'{len(frame):,}', samples_and_groups(seen) if seen.grouped else ''))
    items.append(('Classes', f'{len(seen.classes)}', ''))
    return Facts(items)


def _confusion(seen):
    order = list(seen.classes)
    frame = seen.frame
    counts = pd.crosstab(frame['true'], frame['predicted']).reindex(index=order, columns=order, fill_value=0)
    shares = counts.div(counts.sum(axis=1).replace(0, np.nan), axis=0)
    titles = ('true class', 'predicted class')
    specs = [charts.heatmap(counts, titles), charts.heatmap(shares, titles, '.0%')]
    variants = [
        Variant(label, [([key], value) for key, value in spec.items()])
        for label, spec in zip(('counts', 'shares of each true class'), specs)
    ]
    return Figure(
        'confusion', 'Confusion matrix', 'Rows are true classes, columns predicted ones; the diagonal is right.',
        specs[0], 'Show', variants,
    )  # fmt: skip


def _by_class(seen):
    frame, rows = seen.frame, []
    for name in seen.classes:
        true, predicted = frame['true'] == name, frame['predicted'] == name
        right = int((true & predicted).sum())
        recall = right / true.sum() if true.any() else np.nan
        precision = right / predicted.sum() if predicted.any() else np.nan
        rows.append((name, int(true.sum()), int(predicted.sum()), recall, precision))
    table = pd.DataFrame(rows, columns=['class', 'samples', 'predicted', 'recall', 'precision'])
    return Table('classes', 'Each class', 'Recall: share of its samples that is found. Precision: share of its '
                 'predictions that is right.', table, 30, True)  # fmt: skip


def _probabilities(seen):
    if seen.probabilities is None:
        return [Text('There are no probabilities: with them, this page draws ROC, precision and calibration.')]
    frame, shares = seen.frame, seen.probabilities
    confidence = shares.to_numpy().max(axis=1)
    bins = reliability(confidence, frame['error'] == 0)
    bins = bins.rename(columns={'confidence': 'x', 'value': 'y'}).assign(series='predicted class')
    spec = charts.curves(
        bins, ('probability of the predicted class', 'share that is right'), (0, 1), (0, 1), points=True
    )
    surplus = float(np.average(bins['x'] - bins['y'], weights=bins['samples']))
    return [
        Heading('Probabilities'),
        *(_curves(seen, kind) for kind in CURVE_TITLES),
        Figure(
            'reliability', 'Reliability', 'Bins of as many samples each, by the probability of their predicted class; '
            f'the band is a 95 % interval. {_trusted(surplus)}{_why(seen, surplus)}', spec,
        ),
        *_by_depth(seen),
    ]  # fmt: skip


def _trusted(surplus):
    """Say whether probabilities can be taken at their word, by how much they exceed the share that is right."""
    if abs(surplus) < MAX_SURPLUS:
        return 'Probabilities can be taken at their word, on average.'
    kind = 'overconfident: probabilities are higher' if surplus > 0 else 'underconfident: probabilities are lower'
    return f'Predictions are {kind} than the share that is right, by {abs(surplus):.2g} on average.'


def _why(seen, surplus):
    """Say that probabilities assume classes that are equally common, as training does by default, where that shows.

    It shows where probabilities that are multiplied by the shares of their classes come nearer to these shares on
    average and have a lower log loss. Those of a training by the classes as they are would take these shares twice.
    """
    # flags come with predictions of this package, which has the parameter
    if FLAG not in seen.frame:
        return ''
    sizes = seen.frame['true'].value_counts().reindex(list(seen.classes), fill_value=0).to_numpy()
    if sizes.max() < UNBALANCED * sizes.min():
        return ''
    share_C, given_NC = sizes / sizes.sum(), seen.probabilities.to_numpy()
    common_NC = given_NC * np.maximum(sizes, 0.5)
    common_NC /= common_NC.sum(axis=1, keepdims=True)
    true_N = seen.frame['true'].map({name: number for number, name in enumerate(seen.classes)}).to_numpy()
    away_C, left_C = (np.abs(shares_NC.mean(axis=0) - share_C) for shares_NC in (given_NC, common_NC))
    nearer = left_C.max() <= away_C.max() / 2 and _log_loss(common_NC, true_N) < _log_loss(given_NC, true_N)
    right = common_NC.argmax(axis=1) == true_N
    rest = (common_NC.max(axis=1) - right).mean()
    off = abs(surplus) >= MAX_SURPLUS
    if away_C.max() < MAX_SURPLUS or not nearer or (off and abs(rest) > abs(surplus) / 2):
        return ''
    worst = away_C.argmax()
    return (
        f' {"The reason:" if off else "Not so those of single classes:"} class_weights balanced, the default of '
        'fit-classifier, makes probabilities for samples among which all classes are equally common; that of '
        f'{seen.classes[worst]} is {given_NC[:, worst].mean():.2g} on average, while its share of these samples is '
        f'{share_C[worst]:.2g}. Train with class_weights none for probabilities at the shares of classes in the '
        'training samples.'
    )


def _log_loss(shares_NC, true_N):
    return -np.log(np.maximum(shares_NC[np.arange(len(true_N)), true_N], MIN_PROBABILITY)).mean()


def _curves(seen, kind):
    name, across, up = CURVE_TITLES[kind]
    frame, folds = seen.frame, seen.frame['fold'] if 'fold' in seen.frame else None
    drawn = [one for one in seen.classes if 0 < (frame['true'] == one).sum() < len(frame)]
    by_class = {}
    for one in drawn:
        curve = curves_of_class(kind, seen.probabilities[one], frame['true'] == one, folds)
        by_class[one] = curve.assign(series=one)
    first = pd.concat([by_class[one].drop(columns=['lower', 'upper']) for one in drawn[:MAX_CURVES]])
    diagonal = (0, 1) if kind == 'roc' else None
    together = charts.curves(first, (across, up), (0, 1), diagonal)
    label = 'all classes' if len(drawn) <= MAX_CURVES else f'first {MAX_CURVES} classes'
    specs = {label: together}
    for one, curve in by_class.items():
        beside = _beside(seen, kind, one)
        ours = curve.assign(series=OURS) if len(beside) else curve
        banded = ours if ours['lower'].notna().any() else ours.drop(columns=['lower', 'upper'])
        together_with = pd.concat([banded, beside], ignore_index=True)
        specs[f'class {one}'] = charts.curves(together_with, (across, up), (0, 1), diagonal)
    variants = [Variant(text, [([key], value) for key, value in spec.items()]) for text, spec in specs.items()]
    band = '' if folds is None else ' The band of a single class is the mean over folds plus and minus their SD.'
    guess = ' The dashed line is guessing.' if kind == 'roc' else ''
    others = ' Baselines are drawn beside a single class.' if seen.of_baselines else ''
    caption = f'Each class against the rest.{guess}{band}{others}'
    return Figure(kind, name, caption, together, 'Show', variants)


def _beside(seen, kind, one):
    """Return the curves of baselines for one class, without bands."""
    parts = [
        curves_of_class(kind, shares[one], seen.frame['true'] == one)[['x', 'y']].assign(series=name.replace('_', ' '))
        for name, shares in seen.of_baselines.items()
    ]
    return pd.concat(parts) if parts else pd.DataFrame()


def _by_depth(seen):
    frame = with_true_probability(seen)
    if 'reads_used' not in frame or frame['reads_used'].nunique() < 2:
        return []
    joined, colours, said = with_colours(seen, frame)
    drawn, said_thinned = thinned(joined)
    y = 'probability of the true class'
    tips = ['sample', 'true', 'predicted', y, *colours[:6]]
    spec, variants = charts.scatter(
        drawn, 'reads_used', y, ('reads used', y), tips, colours,
        log=bool(drawn['reads_used'].min() > 0),
    )  # fmt: skip
    caption = f'One point a sample: low ones are confident and wrong.{said_thinned}{said}'
    return [
        Figure('probability-by-reads', 'Probability of the true class by read depth', caption, spec, 'Colour', variants)
    ]
