"""From cells to tables: the importance of ASVs and of clades.

Shapes: N samples, G groups of ASVs, Q quantities that are told (see explain_removal).
"""

import dataclasses

import numpy as np
import pandas as pd

from q2_aam.data.importance import CLADES_COLUMNS, EFFECT_ON, SAMPLES_COLUMNS, Importance
from q2_aam.data.taxonomy import Grouping, deepest_clade

from .explain_open import Opened, known_asvs
from .explain_removal import Cells, Predicted

# Samples and ASVs that are told of one by one.
MAX_TOLD_SAMPLES, MAX_TOLD_ASVS = 100, 50
# More classes have no columns of their own.
MAX_CLASSES = 30


@dataclasses.dataclass(frozen=True, eq=False)
class Summary:
    """What cells say of their groups, G of them."""

    importance: np.ndarray
    effects: np.ndarray
    spread: np.ndarray
    samples: np.ndarray
    share_of_samples: np.ndarray
    share_of_reads: np.ndarray


def summarized(cells: Cells, groups: int, samples: int) -> Summary:
    """Summarize cells by group: importance, effects and their spread [G, Q], samples and shares; NaN where unknown."""
    done = ~np.isnan(cells.change).any(axis=1)
    change, group = cells.change[done], cells.groups[done]
    number = np.bincount(group, minlength=groups).astype(float)
    have = np.bincount(cells.groups, minlength=groups).astype(float)
    with np.errstate(invalid='ignore', divide='ignore'):
        mean = _sum_by(group, change, groups) / number[:, None]
        squares = _sum_by(group, np.square(change - mean[group]), groups)
        spread = np.sqrt(np.where(number[:, None] > 1, squares / (number[:, None] - 1), np.nan))
        absolute = np.abs(change).sum(axis=1) / (1 if change.shape[1] == 1 else 2)
        size = np.bincount(group, absolute, groups) / number * have / samples
        reads = np.bincount(cells.groups, cells.share, groups) / have
    return Summary(size, mean, spread, number.astype(np.int64), have / samples, reads)


def _sum_by(group, values, groups):
    return np.stack([np.bincount(group, column, groups) for column in values.T], axis=1)


def tables(
    opened: Opened,
    levels: list[Grouping],
    cells: list[Cells],
    whole: Predicted,
    order: np.ndarray,
    slopes: np.ndarray,
    taxa: list[str] | None,
    level_shown: int,
) -> Importance:
    """Return the tables that :func:`q2_aam.inference.explain.importance` describes."""
    study, classes = opened.study, opened.classes
    names, codes = levels[0].names, levels[0].codes
    summaries = [summarized(cell, len(level.names), len(order)) for level, cell in zip(levels, cells)]
    told = summaries[0]
    most = _most_changed(told.effects)
    frame = pd.DataFrame({'importance': told.importance}, index=pd.Index(names, name='id'))
    frame['effect'] = _picked(told.effects, most)
    if classes:
        frame['class'] = np.array(classes, dtype=object)[most]
    frame['effect_sd'] = _picked(told.spread, most)
    frame['effect_sd_members'] = _picked(cells[0].members.std(axis=0), most) if len(cells[0].members) > 1 else np.nan
    frame['samples'], frame['share_of_samples'] = told.samples, told.share_of_samples
    frame['mean_share_of_reads'] = told.share_of_reads
    frame['in_vocabulary'] = 0
    frame.iloc[np.unique(codes[known_asvs(opened.model, study)]), -1] = 1
    frame['network_gradient'] = slopes
    if 0 < len(classes) <= MAX_CLASSES:
        for place_, name in enumerate(classes):
            frame[EFFECT_ON + name] = told.effects[:, place_]
    clades = _clades(levels[1:], summaries[1:], classes)
    if taxa is not None:
        of_id = dict(zip(study.feature_ids, taxa))
        frame['taxonomy'] = [of_id[name] for name in names]
        frame['clade'] = [deepest_clade(taxon, level_shown) for taxon in frame['taxonomy']]
        of_clades = clades.set_index('clade')[['importance', 'effect']]
        frame[['clade_importance', 'clade_effect']] = of_clades.reindex(frame['clade']).to_numpy()
    frame['target'] = opened.target.name
    frame = frame[frame['importance'].notna()].sort_values('importance', ascending=False, kind='stable')
    samples = _samples(study, levels[0], cells[0], whole, order, frame.index[:MAX_TOLD_ASVS], most)
    return Importance(frame, clades, samples)


def _most_changed(effects):
    """Return which quantity each group changes most, [G]; 0 where that is unknown."""
    if effects.shape[1] == 2:
        # both change alike: of one and the same class, signs can be compared
        return np.zeros(len(effects), dtype=np.int64)
    return np.abs(np.nan_to_num(effects)).argmax(axis=1)


def _picked(values, most):
    return values[np.arange(len(most)), most]


def _clades(levels, summaries, classes):
    """Return one row a clade, the highest level first, the most important of a level first."""
    frames = []
    for number, (level, told) in reversed(list(enumerate(zip(levels, summaries)))):
        most = _most_changed(told.effects)
        frame = pd.DataFrame({'level': len(levels) - number, 'clade': level.names, 'importance': told.importance})
        frame['effect'] = _picked(told.effects, most)
        if classes:
            frame['class'] = np.array(classes, dtype=object)[most]
        frame['effect_sd'] = _picked(told.spread, most)
        frame['asvs'] = np.bincount(level.codes[level.codes >= 0], minlength=len(level.names))
        frame['samples'], frame['share_of_samples'] = told.samples, told.share_of_samples
        frame['mean_share_of_reads'] = told.share_of_reads
        frames.append(frame.sort_values('importance', ascending=False, kind='stable'))
    if not frames:
        return pd.DataFrame(columns=list(CLADES_COLUMNS))
    every = pd.concat(frames, ignore_index=True)
    return every[every['importance'].notna()].reset_index(drop=True)


def _samples(study, level: Grouping, cells, whole, order, asvs, most):
    """Return one row for each of the first samples and each of the most important ASVs."""
    rows = np.sort(order[:MAX_TOLD_SAMPLES])
    places = pd.Index(level.names).get_indexer(asvs)
    share = np.zeros((len(rows), len(places)))
    effect = np.zeros_like(share)
    row_of, column_of = np.full(len(study), -1), np.full(len(level.names), -1)
    row_of[rows], column_of[places] = np.arange(len(rows)), np.arange(len(places))
    inside = (row_of[cells.rows] >= 0) & (column_of[cells.groups] >= 0)
    at = row_of[cells.rows[inside]], column_of[cells.groups[inside]]
    share[at] = cells.share[inside]
    effect[at] = _picked(cells.change[inside], most[cells.groups[inside]])
    frame = {
        'sample': np.repeat([study.sample_ids[row] for row in rows], len(places)),
        'id': np.tile(np.array(asvs, dtype=object), len(rows)),
        'share_of_reads': share.ravel(),
        'prediction': whole.blended[rows[:, None], most[places]].ravel(),
        'effect': effect.ravel(),
    }
    return pd.DataFrame(frame, columns=list(SAMPLES_COLUMNS))
