"""The page of `visualize_attention`: where the network looks in some samples, and which nucleotides matter to it."""

import numpy as np
import pandas as pd

from q2_aam.data.alignment import MIN_OVERLAP
from q2_aam.data.taxonomy import ranks_of, short_name
from q2_aam.errors import counted

from . import charts
from .attention_charts import sequence
from .blocks import Facts, Figure, Heading, Table, Text, Variant, percent
from .importance_charts import unique_labels

# ASVs of a sample that are drawn.
FIRST = 20
ROLLOUT = 'rollout'
# Room for the name of an ASV.
LABEL = 210
# Correlations that are called none, weak, fair; above these: strong.
WORDS = ((0.1, 'hardly'), (0.3, 'weakly'), (0.6, 'fairly'), (np.inf, 'strongly'))


def title_of(found):
    """Return the title of the page."""
    return f'Attention for {found.target}'


def blocks_of(found):
    """Return the blocks of the page; `found` is a :class:`q2_aam.inference.explain_samples.Attention`."""
    ids = list(found.taxa)
    names = [short_name(taxon) if ranks_of(taxon) else '' for taxon in found.taxa.values()]
    labels = pd.Series(unique_labels(names, ids), ids)
    return [
        Text(_verdict(found), 'verdict'),
        Text(
            'Attention is no explanation: it tells where the network looks, not what decides, and nothing of the '
            'abundance ensemble. What decides is measured by taking ASVs away: that is the effect on this page, and '
            f'what feature-importance measures in many samples.{_of_network(found.network_share)}',
            'note',
        ),
        _facts(found),
        Heading('What samples attend to'),
        *_heads(found, labels),
        _against_effects(found, labels),
        Table('correlations', 'Attention and effects', 'Spearman correlations, sample by sample.', found.correlations),
        *_nucleotides_that_matter(found, labels),
        Heading('Tables'),
        Table('samples', 'ASVs of the samples', 'Rollout, effect and share of reads.', found.samples, 10),
        Table('heads', 'Every head', 'Attention of the summary token to each ASV.', found.heads, 5),
        *([_nucleotides(found)] if found.sequences else []),
    ]


def _nucleotides_that_matter(found, labels):
    """Return the part on sequences; nothing where features have none."""
    if not found.sequences:
        return []
    return [
        Heading('Nucleotides that matter'),
        Text(
            'By how much the prediction of the network alone is higher (orange) or lower (blue) with a nucleotide than '
            'with another in its place. Below it stands the nearest other ASV that the model knows, a dot where both '
            'are alike.'
        ),
        *(_sequence(found, labels, number, *one) for number, one in enumerate(found.sequences, 1)),
    ]


def _of_network(share):
    if share == 1:
        return ''
    if share == 0:
        return (
            ' In this model the network has no share in predictions (0 %): the abundance ensemble alone makes them, '
            'where it knows the ASVs.'
        )
    return f' In this model the network has a share of {percent(share)} in predictions, and the ensemble the rest.'


def _word(correlation):
    return next(word for bound, word in WORDS if abs(correlation) < bound)


def _verdict(found):
    of_effects = found.correlations['rollout_with_effect'].dropna()
    samples = counted(len(found.correlations), 'sample')
    if of_effects.empty:
        said = f'In {samples}, attention cannot be compared with effects: there are too few ASVs'
    else:
        mean = of_effects.mean()
        said = (
            f'In {samples}, what the network attends to is {_word(mean)} related to what changes the prediction '
            f'(mean Spearman correlation {mean:+.2f})'
        )
    if found.with_importance == found.with_importance:
        said += f'; with the importance of these ASVs, it is {_word(found.with_importance)} related '
        said += f'({found.with_importance:+.2f})'
    return f'{said}.'


def _facts(found):
    heads = found.heads[['layer', 'head']].max()
    items = [
        (str(row['sample']), f'{row["prediction"]:.3g}', f'{_what(row)}; {row["asvs"]:,} ASVs')
        for _, row in found.correlations.iterrows()
    ]
    return Facts([*items, ('Layers', f'{heads["layer"]}', f'of {heads["head"]} heads each')])


def _what(row):
    return f'probability of {row["class"]}' if 'class' in row else 'predicted'


def _heads(found, labels):
    """Return the figure of all heads, a choice for each sample."""
    specs = {}
    for name, frame in found.samples.groupby('sample', sort=False):
        first = frame.sort_values('rollout', ascending=False, kind='stable').head(FIRST)
        heads = found.heads[(found.heads['sample'] == name) & found.heads['id'].isin(first['id'])]
        wide = heads.assign(column=heads['layer'].astype(str) + '.' + heads['head'].astype(str))
        wide = wide.pivot_table(index='id', columns='column', values='attention', sort=False).loc[first['id']]
        wide.insert(0, ROLLOUT, first['rollout'].to_numpy())
        specs[name] = charts.heatmap(wide.set_axis(labels[wide.index], axis=0), ('ASV', 'layer.head'), '.2r')
        for layer in specs[name]['layer']:
            layer['encoding']['y']['axis']['labelLimit'] = LABEL
    caption = (
        'Share of the attention of the summary token, by layer and head (1.2 is the second head of the first layer), '
        f'the darker the more; rollout follows it through all layers. The {FIRST} ASVs with most rollout, of each '
        'sample.'
    )
    variants = _variants(specs)
    return [
        Figure('heads', 'Attention of the summary to ASVs', caption, next(iter(specs.values())), 'Sample', variants)
    ]


def _variants(specs):
    return [Variant(str(name), [([key], value) for key, value in spec.items()]) for name, spec in specs.items()]


def _against_effects(found, labels):
    specs = {}
    for name, frame in found.samples.groupby('sample', sort=False):
        drawn = frame.assign(ASV=labels[frame['id']].to_numpy(), size=frame['effect'].abs())
        tips = ['ASV', 'rollout', 'effect', 'share_of_reads', 'taxonomy']
        titles = ('attention (rollout)', 'size of the effect')
        specs[name] = charts.scatter(drawn.dropna(subset=['size']), 'rollout', 'size', titles, tips)[0]
    caption = (
        'Each point is an ASV of the sample. The effect is the change of the prediction, of network and abundance '
        'ensemble together, where the ASV is taken away. Were attention an explanation, points would lie along a line.'
    )
    first = next(iter(specs.values()))
    return Figure('effects', 'Attention and effect', caption, first, 'Sample', _variants(specs))


def _sequence(found, labels, number, name, nearest_id, read):
    of_class = f' Of the probability of class {found.classes[read.quantity]}.' if found.classes else ''
    mean = f'Mean over {counted(read.samples, "sample")} that hold most of it.{of_class}'
    caption = f'{mean} {_beside(labels, nearest_id, read)}'
    spec = sequence(read.letters, read.effects, read.nearest)
    return Figure(f'sequence-{number}', str(labels[name]), caption, spec)


def _beside(labels, nearest_id, read):
    if not read.nearest:
        return (
            'No other ASV that the model knows can be laid beside it, which takes a stretch that is much alike: '
            f'{MIN_OVERLAP} nucleotides, and half of both.'
        )
    who = f'which is {labels[nearest_id]}' if nearest_id else 'which this table does not have'
    return (
        f'The nearest other ASV of the vocabulary, {who}, differs in {counted(read.mismatches, "nucleotide")} of '
        f'{read.overlap:,} that both have.'
    )


def _nucleotides(found):
    frames = [
        pd.DataFrame(
            {
                'id': name, 'position': np.arange(1, len(read.letters) + 1), 'nucleotide': list(read.letters),
                'effect': read.effects, 'nearest': list(read.nearest or ' ' * len(read.letters)),
            }
        )
        for name, _, read in found.sequences
    ]  # fmt: skip
    return Table(
        'nucleotides', 'Every nucleotide', 'Effects on the network, and the nearest ASV.', pd.concat(frames), 5
    )
