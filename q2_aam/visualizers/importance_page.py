"""The page of `visualize_importance`: from importance details to blocks."""

import numpy as np
import pandas as pd

from q2_aam.data.importance import EFFECT_ON
from q2_aam.data.taxonomy import ranks_of, short_name
from q2_aam.errors import UserError, counted, shown

from . import importance_charts as charts
from .blocks import Facts, Figure, Heading, Table, Text, percent
from .chart_parts import thinned

CLASS = 'class'
# ASVs that figures show, and samples of the heatmap.
FIRST, MAX_SAMPLES = 20, 100
# Columns of ASVs that there is room for.
ON_PAGE = (
    'id', 'importance', 'effect', 'class', 'effect_sd', 'samples', 'share_of_samples', 'in_vocabulary', 'taxonomy',
)  # fmt: skip
# A mean that is so many times its standard error has a direction.
CLEAR = 2.0
# Ranks by the prefix that taxonomies give them.
RANKS = {
    'd': 'domain', 'k': 'kingdom', 'p': 'phylum', 'c': 'class', 'o': 'order', 'f': 'family', 'g': 'genus',
    's': 'species',
}  # fmt: skip
SHOWN_FIRST = ('genus', 'family', 'order')


def title_of(importance):
    """Return the title of the page."""
    return f'Importance for {_target(importance)}'


def _target(importance):
    return importance.details['target'].iloc[0] if 'target' in importance.details else 'the predictions'


def labels_of(details):
    """Return a short label of each ASV, by id."""
    taxa = details['taxonomy'].fillna('') if 'taxonomy' in details else pd.Series('', details.index)
    names = [short_name(taxon) if ranks_of(taxon) else '' for taxon in taxa]
    return pd.Series(charts.unique_labels(names, list(details.index)), details.index)


def blocks_of(importance, table=None, predictions=None):
    """Return the blocks of the page.

    Parameters
    ----------
    importance : q2_aam.data.importance.Importance
    table : biom.Table, optional
    predictions : pandas.Series, optional
        Of its samples, as text; both or none.
    """
    if (table is None) != (predictions is None):
        given, lacks = ('predictions', 'table') if table is None else ('table', 'predictions')
        raise UserError(f'The {given} can be shown only together with the {lacks}; give both, or none.')
    details, labels = importance.details, labels_of(importance.details)
    return [
        Text(_verdict(importance, labels), 'verdict'),
        Text(_of_clades(importance)),
        Text(
            'Importance tells what this model looks at, not what causes the target. ASVs that occur together share '
            'what they tell: each alone may seem to matter little, while their clade matters much.',
            'note',
        ),
        _facts(details),
        Heading('ASVs'),
        _bars(details, labels, _target(importance)),
        *_clades(importance),
        Heading('In single samples'),
        *_against_shares(importance, labels, table, predictions),
        *_heatmap(importance, labels),
        Heading('Tables'),
        Table(
            'asvs',
            'Every ASV',
            'The most important first; effects have signs. The TSV file has more columns.',
            _table(details),
            10,
            columns=[one for one in ON_PAGE if one == 'id' or one in details],
        ),
        Table('samples', 'Samples one by one', 'Some samples and the most important ASVs.', importance.samples, 5),
    ]


def _unit(details):
    return 'probability' if 'class' in details else 'prediction'


def _verdict(importance, labels):
    first = importance.details.iloc[0]
    of_class = f' of class {first["class"]}' if 'class' in importance.details else ''
    said = (
        f'Predictions of {_target(importance)} depend most on {labels.iloc[0]}: taking it away changes them by '
        f'{first["importance"]:.3g} on average over samples'
    )
    where = f'the {_unit(importance.details)}{of_class}, in {first["samples"]:.0f} samples that have it'
    error = first['effect_sd'] / np.sqrt(first['samples'])
    if abs(first['effect']) > CLEAR * error:
        up = 'raises' if first['effect'] > 0 else 'lowers'
        return f'{said}; it {up} {where}, by {abs(first["effect"]):.3g}.'
    return f'{said}; it neither clearly raises nor lowers {where} (mean {first["effect"]:+.3g}).'


def _of_clades(importance):
    levels = _levels(importance.clades)
    if not levels:
        return 'With a taxonomy, feature-importance also takes away all ASVs of a clade at once.'
    name = _first_level(levels)
    parts = [
        f'{short_name(row["clade"])} ({row["effect"]:+.3g}{f" for {row[CLASS]}" if CLASS in row else ""})'
        for _, row in levels[name].head(3).iterrows()
    ]
    return (
        f'Taken away as a whole, what matters most at the level {name} (mean effect in brackets): {", ".join(parts)}.'
    )


def _levels(clades):
    """Return {name of a level: its clades}, the highest first."""
    levels = {}
    for level, frame in clades.groupby('level', sort=True):
        prefix = frame['clade'].iloc[0].split(';')[-1].strip().split('__')[0].lower()
        levels[RANKS.get(prefix, f'level {int(level)}')] = frame
    return levels


def _first_level(levels):
    """Return the level that is shown first: the genus, or what comes nearest."""
    return next((name for name in SHOWN_FIRST if name in levels), list(levels)[-1])


def _facts(details):
    total = details['importance'].sum()
    share = details['importance'].head(FIRST).sum() / total if total > 0 else np.nan
    items = [
        ('ASVs', f'{len(details):,}', 'taken away, one at a time'),
        ('Samples for an ASV', f'{details["samples"].max():,.0f}', 'at most, among those that have it'),
        (f'First {min(FIRST, len(details))}', percent(share), 'of the importance of all that were taken away'),
    ]
    if 'in_vocabulary' in details:
        known = details['importance'][details['in_vocabulary'] == 1].sum() / total if total > 0 else np.nan
        items.append(('Known ASVs', percent(known), 'of importance; the network alone reads the others'))
    return Facts(items)


def _bar_rows(frame, labels, value, spread=None):
    rows = pd.DataFrame({'label': list(labels), 'value': list(value)})
    away = np.nan if spread is None else np.asarray(spread, dtype=float)
    rows['lower'], rows['upper'] = rows['value'] - away, rows['value'] + away
    for name in ('importance', 'samples', 'share_of_samples', 'mean_share_of_reads', 'taxonomy', 'clade'):
        if name in frame:
            rows[name.replace('_', ' ')] = list(frame[name])
    return rows.reset_index(drop=True)


def _with_class(names, frame):
    """Return names with the class that each changes most, where that is not the same for all."""
    if 'class' not in frame or frame['class'].nunique() < 2:
        return list(names)
    return [f'{name}: {one}' for name, one in zip(names, frame['class'])]


def _which(frame):
    classes = frame['class'].unique()
    return (
        f' of class {classes[0]}' if len(classes) == 1 else ' of the class that the ASV changes most (behind its name)'
    )


def _bars(details, labels, target):
    first = details.head(FIRST)
    names = labels[first.index]
    with_class = _with_class(names, first)
    frames = {'effect where it is present': _bar_rows(first, with_class, first['effect'], first['effect_sd'])}
    signed = first['importance'] * np.where(first['effect'] >= 0, 1.0, -1.0)
    frames['importance over all samples, with the sign of the effect'] = _bar_rows(first, with_class, signed)
    for name in details:
        if name.startswith(EFFECT_ON):
            class_ = name[len(EFFECT_ON) :]
            frames[f'effect on class {class_}'] = _bar_rows(first, names, first[name])
    spec, variants = charts.bars(frames, _unit(details))
    which = _which(first) if 'class' in details else f' of {target}'
    caption = (
        f'By how much the {_unit(details)}{which} is higher with the ASV than without, on average over samples that '
        'have it; lines are one standard deviation of samples. The most important ASV stands first.'
    )
    return Figure('asvs', f'The first {len(first)} ASVs', caption, spec, 'Show', variants)


def _clades(importance):
    levels = _levels(importance.clades)
    if not levels:
        return []
    default = _first_level(levels)
    frames = {}
    for name in [default, *(one for one in levels if one != default)]:
        rows = levels[name].head(FIRST)
        sizes = [counted(int(asvs), 'ASV') for asvs in rows['asvs']]
        names = charts.unique_labels([short_name(clade) for clade in rows['clade']], sizes)
        frames[name] = _bar_rows(rows, _with_class(names, rows), rows['effect'], rows['effect_sd'])
    spec, variants = charts.bars(frames, _unit(importance.details))
    caption = (
        'All ASVs of a clade are taken away at once, so that those which tell the same count together. Lines are one '
        'standard deviation of samples.'
    )
    return [
        Figure('clades', 'By taxonomy', caption, spec, 'Level', variants),
        Table('clades', 'Every clade', 'The highest level first.', importance.clades, 10),
    ]


def _against_shares(importance, labels, table, predictions):
    details = importance.details
    first = [one for one in details.index[:FIRST] if one in set(importance.samples['id'])]
    classes = {} if 'class' not in details else details['class'].to_dict()
    said, frames = '', {}
    if table is None:
        for one in first:
            rows = importance.samples[importance.samples['id'] == one]
            frames[labels[one]] = _share_rows(
                rows['sample'], rows['share_of_reads'], rows['prediction'], rows['effect']
            )
    else:
        shares, predicted, said = _shares_of(table, predictions, first)
        frames = {labels[one]: _share_rows(shares.index, shares[one], predicted) for one in first if one in shares}
    if not frames:
        return []
    title = f'predicted {_target(importance)}'
    caption = f'Each point is a sample; grey ones lack the ASV. The axis of shares is logarithmic above 0.01 %.{said}'
    if classes and table is None:
        title = 'probability'
        caption += ' The probability is that of the class that the ASV changes most.'
        frames = {f'{name}: {classes[one]}': frame for one, (name, frame) in zip(first, frames.items())}
    spec, variants = charts.against_shares(frames, title)
    return [Figure('abundance', 'Abundance and prediction', caption, spec, 'ASV', variants)]


def _share_rows(samples, shares, predictions, effects=None):
    rows = pd.DataFrame({'sample': list(samples), 'share of reads': list(shares), 'prediction': list(predictions)})
    return rows if effects is None else rows.assign(effect=list(effects))


def _shares_of(table, predictions, asvs):
    """Return shares of reads [samples, ASVs] and predictions of the samples that both have, and what to say of it."""
    ids = [one for one in table.ids('sample') if one in predictions.index]
    if not ids:
        raise UserError(
            f'The table and the predictions share no sample (the table has e.g. {shown(str(table.ids("sample")[0]))}, '
            f'the predictions {shown(str(predictions.index[0]))}); give predictions for the samples of this table.'
        )
    held = [one for one in asvs if table.exists(one, 'observation')]
    if not held:
        raise UserError(
            f'The table has none of the most important ASVs (e.g. {shown(asvs[0])}); give the table that '
            'feature-importance was given.'
        )
    totals = pd.Series(table.sum('sample'), table.ids('sample'))
    counts = pd.DataFrame({one: table.data(one, 'observation', dense=True) for one in held}, table.ids('sample'))
    shares = counts.loc[ids].div(totals[ids].where(totals[ids] > 0), axis=0).dropna()
    shares, said = thinned(shares)
    predicted = predictions[shares.index]
    numbers = pd.to_numeric(predicted, errors='coerce')
    return shares, numbers if numbers.notna().all() else predicted, said


def _heatmap(importance, labels):
    top = importance.details.head(FIRST)
    first, names = list(top.index), pd.Series(_with_class(labels[top.index], top), top.index)
    long = importance.samples[importance.samples['id'].isin(first)]
    if long.empty:
        return []
    order = long[long['id'] == long['id'].iloc[0]].sort_values('prediction', kind='stable')['sample'][:MAX_SAMPLES]
    long = long[long['sample'].isin(order)]
    drawn = pd.DataFrame(
        {
            'ASV': names[long['id']].to_numpy(), 'sample': long['sample'].to_numpy(), 'value': long['effect'],
            'share of reads': long['share_of_reads'], 'prediction': long['prediction'],
        }
    ).reset_index(drop=True)  # fmt: skip
    rows = [names[one] for one in first if one in set(long['id'])]
    spec = charts.signed_heatmap(drawn, rows, list(order), ('ASV', 'sample'))
    caption = (
        f'By how much each ASV raises (orange) or lowers (blue) the {_unit(importance.details)} of single samples, '
        'which stand in the order of their predictions, the lowest on the left. An ASV that is not present '
        'changes nothing.'
    )
    return [Figure('heatmap', 'Effects by sample and ASV', caption, spec)]


def _table(details):
    frame = details.drop(columns=[name for name in ('target',) if name in details])
    return frame.rename_axis('id')
