"""The page of `plan`: what speaks against training on a study, what to expect of it, and the command to run."""

import shlex

import numpy as np
import pandas as pd

from q2_aam.errors import counted
from q2_aam.evaluation.error_analysis import errors_by_category
from q2_aam.evaluation.plan import as_frame, sort, verdict
from q2_aam.evaluation.plan_design import DEPTH

from . import charts, plan_charts
from .blocks import Block, Cards, Command, Facts, Figure, Heading, Table, Text
from .chart_parts import thinned

# Categories of a column that are drawn.
MAX_CATEGORIES = 20
GROUP = 'group'
# What is not in the command, since it is the file that QIIME 2 was given.
TABLE, SEQUENCES, ENCODER, DISTANCES, METADATA = (
    'table.qza', 'rep-seqs.qza', 'encoder.qza', 'distance-matrix.qza', 'metadata.tsv'
)  # fmt: skip


def blocks_of(looked, findings, given, encoder, rehearsal, curve):
    """Return the blocks of the page.

    Parameters
    ----------
    looked : q2_aam.evaluation.plan_study.Looked
    findings : list of q2_aam.evaluation.plan.Finding
        Those of `looked`, and what the rehearsal found.
    given : q2_aam.evaluation.plan_study.Given
    encoder : bool
        Whether one was given.
    rehearsal : q2_aam.training.rehearsal.Rehearsal or None
    curve : q2_aam.evaluation.plan_curve.Curve or None
    """
    first, rest = verdict(findings)
    return [
        Text(first, 'verdict'),
        Text(rest),
        _facts(looked, rehearsal),
        *_findings(findings),
        Heading('Run it'),
        *_commands(looked, given, encoder),
        *_costs(rehearsal),
        *_curve(curve, looked),
        Heading('The samples'),
        *_samples(looked, given),
        *_design(looked, given),
        *_derived(rehearsal),
    ]


def _facts(looked, rehearsal):
    if looked.study is None:
        return None
    study, labels, items = looked.study, looked.labels, []
    items.append(('Samples', f'{len(study):,}', 'with reads'))
    if labels is not None:
        items.append(('With a value', f'{len(labels.values):,}', f'of {labels.name}'))
        if looked.grouped:
            items.append(('Groups', f'{len(set(labels.groups)):,}', 'of samples with a value'))
        if labels.values.dtype == object:
            items.append(('Classes', f'{len(set(labels.values)):,}', ''))
    span = 'features without sequences' if study.named else f'of {_span(study.lengths)} nucleotides'
    items.append(('ASVs', f'{len(study.codes):,}', span))
    items.append(('Reads', f'{np.median(study.reads):,.0f}', f'per sample (median); fewest {study.reads.min():,.0f}'))
    items.append(('Richness', f'{np.median(study.richness):,.0f}', 'ASVs per sample (median)'))
    alone = int((looked.shared.in_samples == 1).sum())
    of = 'group' if looked.grouped else 'sample'
    share = looked.shared.private_to_group.mean()
    items.append(('Private', f'{100 * share:.1f} %', f'of the reads of a sample, in ASVs of no other {of}'))
    items.append(('ASVs of one sample', f'{alone:,}', f'of {len(study.codes):,}'))
    if rehearsal is not None:
        costs = rehearsal.costs
        items.append(('Time of a fit', _span_of_time(costs), f'about, on {costs.device}'))
        items.append(('Memory', f'{costs.memory_gb:.1f} GB', 'held by the steps that were timed'))
    return Facts(items)


def _span(lengths):
    return f'{lengths.min()}' if lengths.min() == lengths.max() else f'{lengths.min()} to {lengths.max()}'


def _span_of_time(costs):
    least, most = (_duration(seconds) for seconds in (costs.least, costs.most))
    return least if least == most else f'{least} to {most}'


def _duration(seconds):
    if seconds < 120:
        return f'{max(1, round(seconds, -1 if seconds > 20 else 0)):.0f} s'
    return f'{seconds / 60:.0f} min' if seconds < 7200 else f'{seconds / 3600:.1f} h'


def _findings(findings):
    if not findings:
        return []
    items = [(one.severity, one.title, one.where, one.what, one.action) for one in sort(findings)]
    caption = (
        'An error ends the training or makes its outcome worthless; a warning makes it look better, or be worse, than '
        'it need be; a note is good to know.'
    )
    return [Cards('findings', 'What was found', caption, items, as_frame(findings))]


def _commands(looked, given, encoder):
    """Return the commands that come next: an encoder where there is none, then a model and how good it is."""
    blocks: list[Block] = []
    target = None if given.target is None else str(given.target.name)
    if not encoder:
        matrix = given.distance_matrix is not None
        caption = (
            'It learns from all samples, labelled or not. '
            + ('Give the table that the distances were computed from.' if matrix else
               'With a distance matrix or a phylogeny it also learns how far samples are apart.')
        )  # fmt: skip
        text = _line('pretrain', given, {'distance_matrix': matrix}, '--output-dir pretrained')
        blocks.append(Command('1. An encoder' if target else 'An encoder', caption, text))
    if target is None:
        return blocks
    kind = 'regressor' if pd.api.types.is_numeric_dtype(given.target) else 'classifier'
    inputs = {'encoder': True, 'metadata': target, 'groups': None if given.groups is None else str(given.groups.name)}
    place = '' if encoder else '--i-encoder pretrained/encoder.qza'
    numbers = ('1. ', '2. ') if encoder else ('2. ', '3. ')
    caption = 'Every sample is predicted by a model that has not seen its group; baselines on the same folds.'
    text = _line(f'evaluate-{kind}', given, inputs, '--p-random-seed 1 --output-dir evaluation', place)
    blocks.append(Command(f'{numbers[0]}How good it is', caption, text))
    text = _line(f'fit-{kind}', given, inputs, '--p-random-seed 1 --output-dir fitted', place)
    blocks.append(Command(f'{numbers[1]}The model to keep', 'For new samples: predict or predict-classes.', text))
    if not looked.may_train:
        blocks.insert(0, Text('Mend the errors above first.', 'note'))
    return blocks


def _line(action, given, inputs, end, encoder=''):
    """Return a command line, one input a line."""
    lines = [f'qiime aam {action}', f'--i-table {TABLE}']
    if given.sequences is not None:
        lines.append(f'--i-sequences {SEQUENCES}')
    if inputs.get('encoder'):
        lines.append(encoder or f'--i-encoder {ENCODER}')
    if inputs.get('distance_matrix'):
        lines.append(f'--i-distance-matrix {DISTANCES}')
    for name in ('metadata', 'groups'):
        if inputs.get(name):
            lines.append(f'--m-{name}-file {METADATA} --m-{name}-column {shlex.quote(inputs[name])}')
    return ' \\\n  '.join([*lines, end])


def _costs(rehearsal):
    if rehearsal is None:
        return []
    costs = rehearsal.costs
    frame = costs.steps.rename(columns={'each': 'seconds each'})
    caption = (
        f'Measured here and now, a few steps of each, on {costs.device}: expect {_span_of_time(costs)} for one fit, '
        'less where the network is stopped early, since it would add too little; a cross-validation takes as many '
        'fits as it has folds, and its baselines. Other work on this machine makes it slower.'
    )
    return [Table('costs', 'What it will cost', caption, frame, beside=True)]


def _curve(curve, looked):
    if curve is None or curve.points.empty:
        return []
    error = 'balanced error rate' if looked.labels.values.dtype == object else 'mean absolute error'
    unit = 'groups' if looked.grouped else 'samples'
    points = curve.points.assign(groups=curve.points['groups'].round(1), samples=curve.points['samples'].round())
    points = points if looked.grouped else points.drop(columns='groups')
    said = f' With twice as many, about {curve.doubled:.3g} if it goes on so.' if curve.doubled else ''
    caption = (
        f'Out-of-fold {error} of simple models (linear models and trees), fitted to parts of the {unit}; bands are '
        f'95 % intervals over {unit}. A guess errs by {curve.guess:.3g}.{said} What fit gives is usually as good or '
        'better.'
    )
    spec = plan_charts.learning_curve(points, curve.guess, (unit, error))
    return [
        Heading('What to expect'),
        Figure('learning-curve', 'Would more samples help?', caption, spec),
        Table('learning-curve', f'Error by number of {unit}', 'As it is drawn.', points, beside=True),
    ]


def _samples(looked, given):
    if looked.study is None:
        return [Text('The sequences cannot be read, so that nothing more can be said.')]
    study = looked.study
    blocks: list[Block] = []
    frame = pd.DataFrame(
        {'sample': study.sample_ids, 'reads': study.reads, 'ASVs': study.richness,
         'private': looked.shared.private_to_group}
    ).set_index('sample', drop=False)  # fmt: skip
    colours = []
    for name, column in _columns(given).items():
        label = f'{name} (column)' if name in frame else name
        frame[label] = column.reindex(frame.index)
        if frame[label].nunique() > 1:
            colours.append(label)
    drawn, said = thinned(frame.reset_index(drop=True))
    spec, variants = charts.scatter(
        drawn, 'reads', 'ASVs', ('reads', 'ASVs'), ['sample', 'reads', 'ASVs', *colours[:3]], colours,
        log=bool(study.reads.min() > 0),
    )  # fmt: skip
    caption = f'One point a sample: its read depth and its number of ASVs.{said}'
    blocks.append(Figure('depth', 'Read depth and richness', caption, spec, 'Colour', variants))
    if looked.labels is not None:
        blocks.append(_target(looked.labels))
    table = frame.drop(columns='sample').sort_values('reads')
    blocks.append(Table('samples', 'Samples', 'Those with fewest reads first.', table, 8))
    return blocks


def _columns(given):
    """Return {name: column} by which samples are coloured, the target first."""
    columns = {}
    if given.target is not None:
        columns[str(given.target.name)] = given.target
    if given.groups is not None:
        columns.setdefault(str(given.groups.name), given.groups.map(str, na_action='ignore'))
    if given.batches is not None:
        for name in given.batches:
            columns.setdefault(str(name), given.batches[name])
    return columns


def _target(labels):
    if labels.values.dtype == object:
        spec = plan_charts.class_sizes(labels.values, labels.groups)
        return Figure('target', f'Classes of {labels.name}', 'Samples of each class.', spec)
    caption = f'{counted(len(labels.values), "sample")} with a value; median {np.median(labels.values):.4g}.'
    return Figure('target', f'Values of {labels.name}', caption, plan_charts.histogram(labels.values, labels.name))


def _design(looked, given):
    """Return what else goes with the target."""
    tested = looked.tested
    if tested.empty:
        return []
    blocks: list[Block] = [Heading('What else goes with the target')]
    blocks += _by_category(looked, given)
    caption = (
        'Strength is an absolute rank correlation, its like for categories, or Cramer’s V; where target and column '
        'have one value in each group, groups are counted; p_adjusted is corrected for the number of columns '
        '(Benjamini and Hochberg).'
    )
    blocks.append(Table('confounding', 'Columns tested', caption, tested, beside=True))
    return blocks


def _by_category(looked, given):
    labels = looked.labels
    index = pd.Index(labels.sample_ids)
    names = [
        name for name in looked.tested['column']
        if name != DEPTH and not pd.api.types.is_numeric_dtype(given.batches[name])
        and given.batches[name].reindex(index).nunique() <= MAX_CATEGORIES
    ]  # fmt: skip
    if not names:
        return []
    name = names[0]
    column = given.batches[name].reindex(index).dropna().map(str)
    if labels.values.dtype == object:
        counts = pd.crosstab(pd.Series(labels.values, index)[column.index], column)
        if len(counts) > MAX_CATEGORIES:
            return []
        spec = charts.heatmap(counts, (labels.name, name))
        return [Figure('by-category', f'{labels.name} by {name}', 'Number of samples.', spec)]
    means = errors_by_category(pd.Series(labels.values, index), column, pd.Series(labels.groups, index))
    frame = means.rename(columns={'category': 'label'})
    spec, _ = charts.intervals({name: frame}, f'mean {labels.name}')
    return [Figure('by-category', f'{labels.name} by {name}', 'Means, and their 95 % intervals over groups.', spec)]


def _derived(rehearsal):
    if rehearsal is None or rehearsal.derived.empty:
        return []
    parts = ', '.join(f'{number:,} {part}' for part, number in rehearsal.parts.items())
    caption = f'What parameters at auto become on these data; samples are split into {parts}.'
    return [Heading('What is derived'), Table('derived', 'Parameters at auto', caption, rehearsal.derived, 30)]
