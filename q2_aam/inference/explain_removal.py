"""How predictions change where the reads of an ASV, or of a whole clade, are taken away from a sample.

Shapes: N samples, A ASVs of the study, G groups of ASVs, K cells (a sample and a group of which it has reads), Z
non-zeros, M members of the abundance ensemble, O outputs, Q quantities that are told: one, or the probability of each
class.
"""

import copy
import dataclasses

import numpy as np

from q2_aam.bundle import Bundle, NumericTarget
from q2_aam.bundle.blend import gate_of
from q2_aam.data.batches import positions_of
from q2_aam.data.log_abundances import READS
from q2_aam.data.study import Study
from q2_aam.data.taxonomy import Grouping
from q2_aam.runtime.encode import StudyReader
from q2_aam.runtime.memory import with_less_memory

# Samples without some of their reads that are predicted together: as many non-zeros, and outputs of all members, 32 MB.
MAX_NONZEROS, MAX_OUTPUTS = 2**18, 2**22


@dataclasses.dataclass(frozen=True, eq=False)
class Predicted:
    """What a model says of N samples, as its user reads it: a number in its unit, or the probabilities of classes.

    Attributes
    ----------
    blended : float64 [N, Q]
        Of network and abundance ensemble together.
    members : float64 [M, N, Q]
        As it would be, were a member of the ensemble the only one.
    """

    blended: np.ndarray
    members: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Cells:
    """Samples and the groups of ASVs that they have reads of, K of them, by sample and group.

    Attributes
    ----------
    rows, groups : int64 [K]
    asvs : int64 [K]
        How many ASVs of the group the sample has.
    share : float64 [K]
        Of the sample's reads.
    first : int64 [K]
        The first non-zero of the sample that is in the group.
    chosen : bool [K]
        Whether the reads are taken away.
    change : float64 [K, Q]
        By how much the prediction is higher with these reads than without; NaN where they were not taken away.
    members : float64 [M, G, Q]
        The mean of that over the samples of a group, by member; of the finest groups alone.
    """

    rows: np.ndarray
    groups: np.ndarray
    asvs: np.ndarray
    share: np.ndarray
    first: np.ndarray
    chosen: np.ndarray
    change: np.ndarray
    members: np.ndarray


def predict_members(model: Bundle, reader: StudyReader, device, codes: np.ndarray | None = None) -> Predicted:
    """Return what a model says of all samples of a study; `reader` has remembered its ASVs.

    The network is asked only where it has a say. `codes` are those of the category of each sample, where the target is
    scaled by one, int64 [N].
    """
    every, target = np.arange(len(reader.study)), scaled_as(model.config.target, codes)
    if model.ensemble is None or model.vocabulary is None or model.config.blend is None:
        blended = told(target, reader.outputs(model.network, 'target', every))
        return Predicted(blended, blended[None])
    blend, ensemble = model.config.blend, model.ensemble.to(device)
    parts = list(reader.ensemble_outputs(ensemble, model.vocabulary, every))
    of_members = np.concatenate([ensemble.combine(part.by_kind) for part in parts], axis=1)
    coverage = np.concatenate([part.coverage for part in parts], axis=1)
    network = np.zeros(of_members.shape[1:])
    needed = every if blend.network > 0 else np.flatnonzero((gate_of(coverage) < 1).any(axis=0))
    if len(needed):
        network[needed] = reader.outputs(model.network, 'target', needed)
    outputs = blend.outputs(network, of_members, coverage)
    blended = np.average(outputs, axis=0, weights=ensemble.shares.astype(np.float64))
    return Predicted(told(target, blended), np.stack([told(target, one) for one in outputs]))


def scaled_as(target, codes: np.ndarray | None):
    """Return the target as outputs for samples of these categories, int64 [N], are read by it; None: of no category."""
    return target if codes is None else target.of(codes)


def told(target, outputs: np.ndarray) -> np.ndarray:
    """Return outputs [N, O] as predictions in the unit of the target, [N, 1], or as probabilities of classes."""
    if isinstance(target, NumericTarget):
        return target.predictions(outputs)[:, None]
    return target.probabilities(outputs)


def without(reader: StudyReader, rows: np.ndarray, codes_A: np.ndarray, groups: np.ndarray) -> StudyReader:
    """Return a reader of samples from each of which the ASVs of one group were taken away, as from the table.

    What is left of a sample makes up all of it again, as if those reads had not been sequenced.

    Parameters
    ----------
    reader : StudyReader
    rows : int64 [K]
        Of its study; each has reads of other ASVs, too.
    codes_A : int64 [A]
        The group of each ASV.
    groups : int64 [K]
        The one that is taken away.
    """
    study = reader.study
    where, offsets = positions_of(study.offsets, rows)
    asvs, sizes = study.asvs[where], np.diff(offsets)
    kept = codes_A[asvs] != np.repeat(groups, sizes)
    abundances = study.abundances[where] * kept.astype(np.float64)
    total = np.add.reduceat(abundances, offsets[:-1])
    left = dataclasses.replace(
        study,
        sample_ids=[study.sample_ids[row] for row in rows],
        offsets=np.concatenate([[0], np.cumsum(kept)])[offsets],
        asvs=asvs[kept],
        abundances=(abundances / np.repeat(total, sizes))[kept].astype(np.float32),
        reads=study.reads[rows] * total,
        covariates=None if study.covariates is None else study.covariates.of(rows),
    )
    other = copy.copy(reader)
    other.study = left
    other.given = {head: codes[rows] for head, codes in reader.given.items()}
    return other


def subset(reader: StudyReader, rows: np.ndarray) -> StudyReader:
    """Return a reader of some samples of a study as they are, which has remembered the same ASVs."""
    nothing = np.full(len(rows), -1)
    return without(reader, rows, np.zeros(len(reader.study.feature_ids), dtype=np.int64), nothing)


def changes(
    model: Bundle,
    reader: StudyReader,
    whole: Predicted,
    levels: list[Grouping],
    limits: list[np.ndarray],
    order: np.ndarray,
    max_samples: int,
    device,
    codes: np.ndarray | None = None,
) -> list[Cells]:
    """Take each group of ASVs away from the samples that have it.

    Groups of which a sample has the same ASVs (a genus with one ASV there, and this ASV) are taken away once: `levels`
    are nested, the finest first.

    Parameters
    ----------
    model : q2_aam.bundle.Bundle
    reader : StudyReader
        Its ASVs are remembered.
    whole : Predicted
        Of all its samples as they are.
    levels : list of Grouping
        The finest first, each group of which is within one group of every later level.
    limits : list of bool [G]
        Of each level, which groups are taken away.
    order : int64
        Samples that are used, rows of the study; the first that have a group are taken.
    max_samples : int
        For each group.
    device : torch.device
    codes : int64 [N], optional
        Number of the category by which the target of each sample is scaled.

    Returns
    -------
    list of Cells
        One a level, of the samples in `order`.
    """
    done: list[Cells] = []
    finer: list[tuple[np.ndarray, Cells]] = []
    rank = np.full(len(reader.study), len(order))
    rank[order] = np.arange(len(order))
    for level, limit in zip(levels, limits):
        cells, place = _cells_of(reader.study, np.sort(order), level, limit, rank, max_samples)
        cells = dataclasses.replace(
            cells,
            change=np.full((len(cells.rows), whole.blended.shape[1]), np.nan),
            members=np.zeros((0 if finer else len(whole.members), len(level.names), whole.blended.shape[1])),
        )
        same = _same_as_finer(cells, finer)
        todo = np.flatnonzero(cells.chosen & np.isnan(same).any(axis=1))
        cells.change[:] = np.where(cells.chosen[:, None], same, np.nan)
        _take_away(model, reader, whole, level.codes, cells, todo, device, codes)
        finer.append((place, cells))
        done.append(cells)
    return done


def _cells_of(study, rows, level, limit, rank, max_samples):
    """Return the cells of a grouping, not yet changed, and the cell of each non-zero of `rows`, -1 for none."""
    where, offsets = positions_of(study.offsets, rows)
    sample = np.repeat(np.arange(len(rows)), np.diff(offsets))
    codes, groups = level.codes[study.asvs[where]], len(level.names)
    inside = np.flatnonzero(codes >= 0)
    keys, first, inverse, counts = np.unique(
        sample[inside] * max(1, groups) + codes[inside], return_index=True, return_inverse=True, return_counts=True
    )
    place = np.full(len(where), -1)
    place[inside] = inverse
    share = np.bincount(inverse, study.abundances[where][inside].astype(np.float64), len(keys))
    row, group = keys // max(1, groups), keys % max(1, groups)
    # nothing would be left of a sample of one group
    possible = (counts < np.diff(offsets)[row]) & limit[group]
    chosen = np.zeros(len(keys), dtype=bool)
    by_rank = np.lexsort((rank[rows[row]], group))
    by_rank = by_rank[possible[by_rank]]
    _, start, size = np.unique(group[by_rank], return_index=True, return_counts=True)
    chosen[by_rank[np.arange(len(by_rank)) - np.repeat(start, size) < max_samples]] = True
    nothing = np.zeros(0)
    return Cells(rows[row], group, counts, share, inside[first], chosen, nothing, nothing), place


def _same_as_finer(cells, finer):
    """Return the changes of cells that hold the same ASVs as one of a finer level, whose change is known, else NaN."""
    change = cells.change.copy()
    for place, fine in finer:
        at = place[cells.first]
        known = (at >= 0) & np.isnan(change).any(axis=1)
        known[known] = fine.asvs[at[known]] == cells.asvs[known]
        change[known] = fine.change[at[known]]
    return change


def _take_away(model, reader, whole, codes_A, cells, todo, device, codes):
    """Fill in the changes of the cells `todo`, and the means of members."""
    size = np.diff(reader.study.offsets)[cells.rows[todo]]
    at_once = max(1, MAX_OUTPUTS // (len(whole.members) * model.config.target.outputs))
    done = 0
    while done < len(todo):
        inside = np.searchsorted(np.cumsum(size[done : done + at_once]), MAX_NONZEROS, side='right')
        part = todo[done : done + max(1, int(inside))]
        rows, groups = cells.rows[part], cells.groups[part]
        left = without(reader, rows, codes_A, groups)
        category = None if codes is None else codes[rows]
        predicted = with_less_memory(model.network, lambda: predict_members(model, left, device, category))  # noqa: B023
        cells.change[part] = whole.blended[rows] - predicted.blended
        for member, total in enumerate(cells.members):
            np.add.at(total, groups, whole.members[member, rows] - predicted.members[member])
        done += len(part)
    counted = np.bincount(cells.groups[todo], minlength=cells.members.shape[1])
    cells.members[:] /= np.maximum(counted, 1)[:, None]


def weight_of(study: Study, rows: np.ndarray, codes_A: np.ndarray, groups: int) -> np.ndarray:
    """Return how much of some samples each group of ASVs makes up, by the logarithms of abundances, float64 [G]."""
    where, _ = positions_of(study.offsets, rows)
    codes = codes_A[study.asvs[where]]
    inside = codes >= 0
    logs = np.log1p(READS * study.abundances[where][inside].astype(np.float64))
    return np.bincount(codes[inside], logs, groups)
