"""The categories by which a target is scaled: which are learned, and which a sample has. Importable without torch.

Shapes: N samples.
"""

import warnings

import numpy as np
import pandas as pd

from q2_aam.errors import AAMWarning, UserError, counted, listed, shown

from .covariates import MAX_CATEGORIES, words_of
from .names import OF_CLASSES, OF_COLUMNS, first_fault

# A category of fewer training samples, or of one group, has no scaling of its own: as of covariates.
MIN_SAMPLES, MIN_GROUPS = 5, 2


def learn_categories(column: pd.Series, sample_ids: list[str], groups: np.ndarray) -> tuple[str, ...]:
    """Return the categories with training samples enough, in order.

    Parameters
    ----------
    column : pandas.Series
        Names of categories by sample id, missing where unknown.
    sample_ids : list of str
        Training samples.
    groups : object [N]

    Raises
    ------
    UserError
        If there is none, if there are too many, or if a name cannot be written.
    """
    words = words_of(column.reindex(sample_ids))
    there = np.array([word is not None for word in words], dtype=bool)
    frame = pd.DataFrame({'word': words[there], 'group': groups[there]})
    counts = frame.groupby('word')['group'].agg(['size', 'nunique'])
    kept = sorted(counts.index[(counts['size'] >= MIN_SAMPLES) & (counts['nunique'] >= MIN_GROUPS)])
    if not kept:
        raise UserError(
            f'Metadata column {shown(column.name)} (scale_by) has no category with {MIN_SAMPLES} training samples of '
            f'{MIN_GROUPS} groups, so that no target can be scaled by it; choose another column, or none.'
        )
    if len(kept) > MAX_CATEGORIES:
        raise UserError(
            f'Metadata column {shown(column.name)} (scale_by) has {len(kept):,} categories, of at most '
            f'{MAX_CATEGORIES:,}; merge categories, or choose another column.'
        )
    for names, faults in (([str(column.name)], OF_COLUMNS), (kept, OF_CLASSES)):
        fault = first_fault(names, faults)
        if fault is not None:
            said, wrong = fault
            raise UserError(
                f'The metadata column that is given as scale_by and its categories must not {said}, but one is named '
                f'{shown(wrong[0])}; rename it.'
            )
    return tuple(kept)


def codes_of(column: pd.Series | None, sample_ids: list[str], categories: tuple[str, ...]) -> np.ndarray:
    """Return the number of the category of each sample from 1 on, int64 [N]; 0 where it is unknown."""
    if column is None:
        return np.zeros(len(sample_ids), dtype=np.int64)
    index = pd.Index(categories, dtype=object)
    return index.get_indexer(words_of(column.reindex(sample_ids))).astype(np.int64) + 1


def describe_unknown(column: pd.Series, sample_ids: list[str], codes: np.ndarray) -> str | None:
    """Return the line that tells of how many samples the category is unknown, and why; None where none is."""
    unknown = np.flatnonzero(codes == 0)
    if not len(unknown):
        return None
    words = words_of(column.reindex(sample_ids))[unknown]
    unseen = sorted({word for word in words if word is not None})
    names = f' (not learned: {listed(map(shown, unseen), 3)})' if unseen else ''
    return (
        f'Scaling: that of all samples for {counted(len(unknown), "sample")} whose category of {shown(column.name)} is '
        f'unknown{names}.'
    )


def warn_of_no_shared_samples(column: pd.Series, sample_ids: list[str]) -> None:
    """Warn if a metadata column knows none of the samples."""
    if set(sample_ids) & set(column.index):
        return
    example = f'{shown(min(column.index))} in the metadata' if len(column) else 'none in the metadata'
    warnings.warn(
        f'The feature table and metadata column {shown(column.name)} (scale_by) share no sample IDs (e.g. '
        f'{shown(min(sample_ids))} in the table, {example}), so that every category is unknown; use the same IDs in '
        'both.',
        AAMWarning,
        stacklevel=2,
    )
