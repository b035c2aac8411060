"""What the network attends to in some samples, beside what changes their predictions; and nucleotides of some ASVs.

Shapes: N samples, A ASVs of the study, K cells (see explain_removal), S ASVs of one sample.
"""

import dataclasses

import numpy as np
import pandas as pd

from q2_aam.bundle.finite import GIVEN, check_finite
from q2_aam.data.taxonomy import grouped
from q2_aam.errors import UserError, counted, shown
from q2_aam.runtime.device import use_threads
from q2_aam.runtime.memory import with_less_memory
from q2_aam.runtime.run_directory import temporary_directory
from q2_aam.runtime.screen import print_line

from .explain import SEED, asked
from .explain_attention import sample_attention
from .explain_nucleotides import ReadSequence, read_sequence
from .explain_open import open_model, taxa_of
from .explain_removal import changes, predict_members, subset

# Samples, and ASVs, that are shown where none are asked for; samples among which these are chosen.
SHOWN, MAX_CANDIDATES = 3, 1000
NO_NUCLEOTIDES = 'Nucleotides: none, because the model knows features by their names and reads no sequences.'
# Fewer ASVs have no correlation.
MIN_CORRELATED = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Attention:
    """What the network attends to.

    Attributes
    ----------
    target : str
    classes : tuple of str
        None of a number.
    samples : pandas.DataFrame
        One row for a sample and an ASV that it has: sample, id, share_of_reads, rollout, effect (of the blended
        prediction: of the number, or of the probability of the class that is predicted for the sample; missing of a
        sample's only ASV), taxonomy; class, the one that is predicted.
    heads : pandas.DataFrame
        sample, id, layer, head, attention (of the summary token).
    correlations : pandas.DataFrame
        One row a sample: sample, prediction, asvs, and Spearman's correlation of rollout with the size of effects and
        with shares of reads.
    with_importance : float
        Spearman's correlation of the mean rollout with the importance of ASVs; NaN without importance details.
    sequences : list of (str, str, ReadSequence)
        ID, id of the nearest ASV of the vocabulary in this table ('' where the table lacks it), and the rest.
    taxa : dict
        {id: taxon, '' where there is none}.
    network_share : float
        Of the network in predictions, 0 to 1, where the abundance ensemble knows the ASVs of a sample.
    """

    target: str
    classes: tuple[str, ...]
    samples: pd.DataFrame
    heads: pd.DataFrame
    correlations: pd.DataFrame
    with_importance: float
    sequences: list[tuple[str, str, ReadSequence]]
    taxa: dict[str, str]
    network_share: float


def attention(
    table, model, config, sequences=None, taxonomy=None, importance=None, say=print_line, covariates=None, scale_by=None
) -> Attention:
    """Read out what the network attends to in some samples, and which nucleotides of some ASVs matter to it.

    Attention tells where the network looks, not what decides (Jain and Wallace 2019, doi:10.18653/v1/N19-1357), and
    nothing of the abundance ensemble: so the effect of each ASV on the blended prediction stands beside it.

    Parameters
    ----------
    table : path
        BIOM 2.1 HDF5.
    model : path
        Bundle of a regressor or a classifier.
    config : q2_aam.config.VisualizeAttentionConfig
    sequences : path, optional
        FASTA with the sequence of each feature; without it the feature ids are the sequences.
    taxonomy : pandas.Series, optional
        Taxon by feature id.
    importance : pandas.DataFrame, optional
        Importance details, by feature id.
    say : callable
        Takes one line of progress.
    covariates : pandas.DataFrame, optional
        Metadata by sample id, where the model was trained with some.
    scale_by : pandas.Series, optional
        Category by sample id, where the target of the model is scaled by one.

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used, or if samples or features are asked for that the table lacks.
    """
    chosen = config.attention
    with temporary_directory() as directory, use_threads(config.runtime.threads):
        opened = open_model(
            table, model, config.runtime, config.data.harmonize, sequences, covariates, directory, say, taxonomy,
            scale_by,
        )  # fmt: skip
        study, network = opened.study, opened.model.network
        taxa = None if taxonomy is None else taxa_of(study.feature_ids, taxonomy)
        rows = _rows_of(study, chosen.sample_ids)
        few, codes = subset(opened.reader, rows), None if opened.codes is None else opened.codes[rows]
        whole = with_less_memory(network, lambda: predict_members(opened.model, few, opened.device, codes))
        check_finite(whole.blended, few.study.sample_ids, GIVEN)
        order = np.arange(len(rows)) if chosen.sample_ids else _spread(whole.blended)
        say(f'Attention: in {counted(len(order), "sample")}.')
        level = grouped(study.feature_ids)
        everything = [np.ones(len(level.names), dtype=bool)]
        (cells,) = changes(opened.model, few, whole, [level], everything, order, len(order), opened.device, codes)
        read = [sample_attention(network, few, row) for row in order]
        samples, heads = _frames(few.study, level, cells, whole, order, read, taxa, opened.classes)
        asvs = [] if study.named else _features(study, chosen.feature_ids, importance, samples)
        say(NO_NUCLEOTIDES if study.named else f'Nucleotides: of {counted(len(asvs), "ASV")}.')
        found = [(study.feature_ids[asv], read_sequence(opened, asv)) for asv in asvs]
    return Attention(
        opened.target.name,
        opened.classes,
        samples,
        heads,
        _correlations(samples),
        _with_importance(samples, importance),
        [(name, _nearest_id(opened, one), one) for name, one in found],
        dict(zip(study.feature_ids, taxa or [''] * len(study.feature_ids))),
        _network_share(opened.model.config.blend),
    )


def _network_share(blend):
    return 1.0 if blend is None else min(blend.network / blend.network_alone, 1.0)


def _rows_of(study, sample_ids):
    """Return the rows of the samples that are asked for, or of candidates."""
    if not sample_ids:
        drawn = np.random.default_rng(SEED).permutation(len(study))[:MAX_CANDIDATES]
        return np.sort(drawn)
    known = set(study.sample_ids)
    if missing := [name for name in dict.fromkeys(sample_ids) if name not in known]:
        raise UserError(
            f'Attention is asked for {counted(len(missing), "sample ID")} that the table does not have with reads '
            f'(e.g. {shown(missing[0])}; the table has e.g. {shown(study.sample_ids[0])}); give IDs of its samples.'
        )
    return study.rows_of(dict.fromkeys(sample_ids))


def _spread(blended):
    """Return the samples with the lowest, the median and the highest prediction, of classes its probability."""
    order = np.argsort(blended.max(axis=1), kind='stable')
    places = np.unique(np.linspace(0, len(order) - 1, SHOWN).round().astype(int))
    return order[places]


def _frames(study, level, cells, whole, order, read, taxa, classes):
    samples, heads = [], []
    by_sample = {row: np.flatnonzero(cells.rows == row) for row in order}
    for row, one in zip(order, read):
        inside = by_sample[row]
        predicted = int(whole.blended[row].argmax())
        effect = pd.Series(cells.change[inside, predicted], cells.groups[inside])
        sample = study.sample_ids[row]
        ids = [study.feature_ids[asv] for asv in one.asvs]
        frame = pd.DataFrame(
            {'sample': sample, 'id': ids, 'prediction': whole.blended[row, predicted], 'share_of_reads': one.shares}
        )
        frame['rollout'] = one.rollout
        frame['effect'] = effect[level.codes[one.asvs]].to_numpy()
        frame['taxonomy'] = '' if taxa is None else [taxa[asv] for asv in one.asvs]
        if classes:
            frame.insert(2, 'class', classes[predicted])
        samples.append(frame)
        layers, of_head, asv = np.indices(one.weights.shape).reshape(3, -1)
        heads.append(
            pd.DataFrame(
                {
                    'sample': sample, 'id': np.array(ids, dtype=object)[asv], 'layer': layers + 1, 'head': of_head + 1,
                    'attention': one.weights.ravel(),
                }
            )
        )  # fmt: skip
    return pd.concat(samples, ignore_index=True), pd.concat(heads, ignore_index=True)


def _features(study, feature_ids, importance, samples):
    """Return the ASVs of the study whose nucleotides are shown."""
    if feature_ids:
        asked(study.feature_ids, feature_ids)
        ids = list(dict.fromkeys(feature_ids))
    elif importance is not None:
        ids = list(importance.index[importance.index.isin(study.feature_ids)][:SHOWN])
        if not ids:
            raise UserError(
                'The importance details and the table share no ASV (the details have e.g. '
                f'{shown(str(importance.index[0]))}, the table {shown(study.feature_ids[0])}); give those that '
                'feature-importance has made of this table.'
            )
    else:
        size = samples['effect'].abs().groupby(samples['id']).sum()
        ids = list(size.sort_values(ascending=False, kind='stable').index[:SHOWN])
    place = {name: asv for asv, name in reversed(list(enumerate(study.feature_ids)))}
    return [place[name] for name in ids]


def spearman(one: pd.Series, other: pd.Series) -> float:
    """Return Spearman's correlation of two series with one index; NaN of few values, or of values that do not vary."""
    both = pd.DataFrame({'one': one, 'other': other}).dropna().rank()
    if len(both) < MIN_CORRELATED or (both.nunique() < 2).any():
        return float('nan')
    return float(both['one'].corr(both['other']))


def _correlations(samples):
    rows = [
        {
            'sample': name, 'prediction': frame['prediction'].iloc[0], 'asvs': len(frame),
            'rollout_with_effect': spearman(frame['rollout'], frame['effect'].abs()),
            'rollout_with_share_of_reads': spearman(frame['rollout'], frame['share_of_reads']),
        }
        for name, frame in samples.groupby('sample', sort=False)
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    if 'class' in samples:
        frame.insert(1, 'class', samples.drop_duplicates('sample')['class'].to_numpy())
    return frame


def _with_importance(samples, importance):
    if importance is None:
        return float('nan')
    return spearman(samples.groupby('id')['rollout'].mean(), importance['importance'])


def _nearest_id(opened, one):
    if one.nearest_asv < 0:
        return ''
    places = np.flatnonzero(opened.study.keys == opened.model.vocabulary.keys[one.nearest_asv])
    return opened.study.feature_ids[places[0]] if len(places) else ''
