"""The visualizer `summarize_training`: whether training was sound, and what to change."""

import pandas as pd

from q2_aam.evaluation.training_summary import KEPT, MEMORY, SECONDS, words
from q2_aam.types import (
    AAMClassifier,
    AAMEncoder,
    AAMModelDirectoryFormat,
    AAMRegressor,
    AAMTrainingHistory,
    AAMTrainingHistoryDirectoryFormat,
)

from . import charts
from .blocks import Facts, Figure, Heading, Table, Text, Variant
from .chart_parts import thinned
from .citations import cite
from .examples import summarize_training_example

# Metrics that are shown first, of those that there are.
FIRST_METRICS = ('loss', 'mae', 'balanced_log_loss', 'log_loss', 'distance_mae', 'distance_r2', 'nucleotide_loss')
# A metric whose largest value is that many times its smallest is drawn on a logarithmic scale.
WIDE = 50
COLOURED_BY = 'part'
SEED = 'random_seed'
RATE = 'learning_rate_share'
SAID = {
    RATE: 'As a share of the parameter learning_rate.',
    SECONDS: 'What each epoch took, validation included; epochs before an interruption are not in it.',
    MEMORY: 'What the process held at the end of each epoch, or on a GPU the most within it.',
}


def summarize_training(
    output_dir: str,
    history: AAMTrainingHistoryDirectoryFormat,
    model: AAMModelDirectoryFormat = None,  # type: ignore[assignment]
) -> None:
    # QIIME 2 loads this file to run any action of any plugin
    from q2_aam.evaluation.training_summary import summarize

    from .page import write_page

    summary = summarize(history.history.view(pd.DataFrame))
    points = history.points.view(pd.DataFrame)
    config, card = (None, None) if model is None else _read(str(model))
    write_page(output_dir, 'Summary of training', blocks_of(summary, points, config, card))


def _read(folder):
    import json
    import pathlib

    from q2_aam import bundle

    return bundle.read_config(folder), json.loads((pathlib.Path(folder) / bundle.CARD_FILE).read_bytes())


def blocks_of(summary, points, config=None, card=None):
    """Return the blocks of the page.

    Parameters
    ----------
    summary : q2_aam.evaluation.training_summary.Summary
    points : pandas.DataFrame
        Columns plot, part, predicted, true.
    config : q2_aam.bundle.schema.BundleConfig, optional
    card : dict, optional
    """
    from q2_aam.evaluation.training_summary import verdict

    first, rest = verdict(summary, *_planned(config))
    return [
        Text(first, 'verdict'),
        Text(rest),
        *(Text(note, 'note') for note in summary.warnings),
        _facts(summary, card),
        Heading('Epochs'),
        *_curves(summary),
        Heading('Predicted and true'),
        *_points(points, None if card is None else card['target']),
        *_final(summary),
        *_model(config, card),
    ]


def _planned(config):
    """Return after how many epochs training ends, and after how many that are no better; None where that is unknown."""
    training = None if config is None else config.call.training
    # steps may end the run within its epochs
    if training is None or training.max_steps or not isinstance(training.epochs, int):
        return None, None
    return training.epochs, getattr(training, 'patience', None)


def _facts(summary, card):
    items = [('Epochs', f'{summary.epochs:,}', ''), ('Steps', f'{summary.steps:,}', '')]
    if summary.best_epoch is not None and summary.score is not None:
        most = 'highest' if summary.larger else 'lowest'
        meaning = f'{most} validation {words(summary.score)}' + (', whose weights were kept' if summary.chosen else '')
        items.append(('Best epoch', f'{summary.best_epoch:,}', meaning))
    if 'network_weight' in summary.run:
        share = summary.run['network_weight']
        items.append(('Network', f'{100 * share:.0f} %', 'share in the predictions'))
        items.append(('Abundance ensemble', f'{100 * (1 - share):.0f} %', 'share in the predictions'))
    if card is not None:
        items.append(('Time', _duration(card['wall_seconds']), f'on {card["device"]}, {card["precision"]}'))
        samples = ', '.join(f'{number:,} {part}' for part, number in card['samples'].items())
        items.append(('Samples', f'{sum(card["samples"].values()):,}', samples))
        lengths = card['amplicon_length']
        of = 'features without sequences' if lengths is None else f'{lengths["median"]:g} nucleotides (median)'
        items.append(('Features' if lengths is None else 'ASVs', f'{card["asvs"]:,}', of))
    if SEED in summary.run:
        items.append(('Random seed', f'{summary.run[SEED]:.0f}', 'the same gives the same model'))
    return Facts(items)


def _duration(seconds):
    if seconds < 120:
        return f'{seconds:.0f} s'
    return f'{seconds / 60:.0f} min' if seconds < 7200 else f'{seconds / 3600:.1f} h'


def _curves(summary):
    """Return the figures of every metric by epoch, and of the learning rate and of what an epoch costs."""
    rows = summary.curves.rename(columns={'epoch': 'x', 'value': 'y', 'part': 'series'})
    names = list(dict.fromkeys([*(name for name in FIRST_METRICS if (rows['metric'] == name).any()), *rows['metric']]))
    single = [name for name in (RATE, SECONDS, MEMORY) if name in names]
    marked = summary.best_epoch
    specs = _together(summary)
    for name in names:
        if name not in single:
            drawn = rows.loc[rows['metric'] == name, ['x', 'y', 'series']]
            wide = drawn['y'].min() > 0 and drawn['y'].max() > WIDE * drawn['y'].min()
            specs[words(name)] = charts.curves(drawn, ('epoch', words(name)), marked=marked, log=bool(wide))
    variants = [Variant(name, [([key], value) for key, value in spec.items()]) for name, spec in specs.items()]
    best = '' if marked is None else f' The dashed line is the best epoch, {marked}.'
    caption = f'Training values are means over the steps of an epoch, validation values those at its end.{best}'
    blocks = [Figure('epochs', 'Losses and metrics', caption, next(iter(specs.values())), 'Show', variants)]
    blocks += _losses(rows, [name for name in names if name.endswith('loss')], marked)
    for name in single:
        drawn = rows.loc[rows['metric'] == name, ['x', 'y']].assign(series=words(name))
        spec = charts.curves(drawn, ('epoch', words(name)), marked=marked, zero=True)
        blocks.append(Figure(name, words(name)[:1].upper() + words(name)[1:], SAID[name], spec))
    table = summary.curves.assign(column=summary.curves['part'] + ' ' + summary.curves['metric'])
    wide = table.pivot_table(index='epoch', columns='column', values='value', sort=False).rename_axis(columns=None)
    return [*blocks, Table('epochs', 'Every epoch', 'Metrics by epoch.', wide.astype(float), 5)]


def _together(summary):
    """Return the training loss and the validation score on one axis, each relative to its first value, by its label."""
    pairs = [('training', 'loss'), *([('validation', summary.score)] if summary.score else [])]
    drawn = [(f'{part} {words(name)}', summary.series(part, name)) for part, name in pairs]
    parts = [
        pd.DataFrame({'x': values.index, 'y': values / values.iloc[0], 'series': label})
        for label, values in drawn
        if len(values) and values.iloc[0] > 0
    ]
    if len(parts) < 2:
        return {}
    titles = ('epoch', 'share of the value in the first epoch')
    return {'training loss and validation score': charts.curves(pd.concat(parts), titles, marked=summary.best_epoch)}


def _losses(rows, losses, marked):
    """Return a figure of all losses, where the loss has several parts."""
    drawn = rows[rows['metric'].isin(losses)]
    if drawn.loc[drawn['series'] == 'training', 'metric'].nunique() < 3:
        return []
    series = [f'{part} {words(name)}' for part, name in zip(drawn['series'], drawn['metric'])]
    spec = charts.curves(drawn.assign(series=series)[['x', 'y', 'series']], ('epoch', 'loss'), marked=marked)
    return [Figure('losses', 'Every loss', 'The loss of training is the weighted sum of its parts.', spec)]


def _points(points, target):
    if points.empty:
        return [Text('The history has no points of predicted against true values.')]
    figures = []
    for plot, drawn in points.groupby('plot', sort=False):
        plot = target if plot == 'target' and target else plot
        drawn, said = thinned(drawn.dropna(subset=['predicted', 'true']))
        if drawn.empty:
            continue
        spec, variants = charts.scatter(
            drawn, 'true', 'predicted', (f'true {plot}', f'predicted {plot}'), ['true', 'predicted', COLOURED_BY],
            [COLOURED_BY], diagonal=True,
        )  # fmt: skip
        parts = ', '.join(drawn[COLOURED_BY].unique())
        caption = f'Of {parts} samples, by the finished model. The dashed line is a perfect prediction.{said}'
        figures.append(
            Figure(f'points-{len(figures) + 1}', f'Predicted {plot}', caption, spec, 'Colour', variants[::-1])
        )
    return figures


def _final(summary):
    blocks = []
    if not summary.final.empty:
        caption = 'Metrics of the finished model, network and abundance ensemble together.'
        blocks.append(Table('final', 'The finished model', caption, summary.final, beside=True))
    kept = {what: summary.run[name] for name, what in KEPT.items() if name in summary.run}
    if kept:
        frame = pd.DataFrame({'what': list(kept), 'value': list(kept.values())})
        caption = 'Of the encoder that pretraining went on from; its sequences stand for what it learned from.'
        blocks.append(Table('kept', 'Kept of the initial encoder', caption, frame, beside=True))
    shares = {name: value for name, value in summary.run.items() if name not in (SEED, *KEPT)}
    if shares:
        frame = pd.DataFrame({'what': list(shares), 'value': list(shares.values())})
        caption = 'Shares in the predictions and the errors that they follow from: each part earns its share.'
        blocks.append(Table('shares', 'Network and abundance ensemble', caption, frame, beside=True))
    return blocks


def _model(config, card):
    """Return what the model was made with."""
    if config is None:
        return [Text('With the model, this page also shows its parameters, its time and its card.')]
    flat = config.call.to_flat()
    rows = [
        (opt.group, opt.name, str(flat[opt.name]), 'auto' if opt.auto else '', opt.help)
        for opt in config.call.options()
    ]
    parameters = pd.DataFrame(rows, columns=['group', 'parameter', 'value', 'can be derived', 'meaning'])
    parameters = parameters.sort_values('can be derived', ascending=False, kind='stable')
    derived = int((parameters['can be derived'] != '').sum())
    # an encoder has no target, and no unit of one
    lines = [(name, _line(value)) for name, value in card.items() if value is not None]
    return [
        Heading('The model'),
        Table(
            'parameters', 'Parameters', f'The values that it was trained with. Where auto was asked for, the first '
            f'{derived} are what was derived from the data.', parameters, derived,
        ),
        Table('card', 'Card', 'What the model tells of itself.', pd.DataFrame(lines, columns=['field', 'value']), 30),
    ]  # fmt: skip


def _line(value):
    if isinstance(value, dict):
        return ', '.join(f'{name}: {_line(one)}' for name, one in value.items())
    return f'{value:.6g}' if isinstance(value, float) else str(value)


def register(plugin):
    """Register the visualizer with the plugin object."""
    plugin.visualizers.register_function(
        function=summarize_training,
        inputs={'history': AAMTrainingHistory, 'model': AAMEncoder | AAMRegressor | AAMClassifier},
        parameters={},
        input_descriptions={
            'history': 'Training history of pretrain, fit-regressor or fit-classifier.',
            'model': 'The model that came with it: its parameters, its time and its card are then shown, too.',
        },
        parameter_descriptions={},
        name='Summarize a training run',
        description='Show whether training was sound, in one page: a plain paragraph (did it converge, overfit or stop '
        'early, what to change), losses and metrics of training and validation samples by epoch, the learning rate, '
        'predicted against true values, the shares of network and abundance ensemble, what was derived automatically, '
        "and the model's card. Every figure can be saved as SVG or PNG, every table as TSV.",
        citations=cite('loshchilov2019', 'satyanarayan2017', 'vanderplas2018'),
        examples={'summarize_a_training_run': summarize_training_example},
    )
