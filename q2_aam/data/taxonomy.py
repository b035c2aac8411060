"""Taxonomy of features: the named ranks of a taxon, and the clades that features make at each level.

Shapes: A ASVs.
"""

import collections.abc
import dataclasses
import re

import numpy as np

# More ranks than any taxonomy of 16S has; text with hundreds of semicolons is none.
MAX_LEVELS = 15
SEPARATOR = '; '
# The prefix of a rank (g__, D_5__) with nothing behind it, and words for no taxon.
_UNNAMED = re.compile(r'(?:[a-z]{1,2}|d_\d+)__|unassigned|unclassified|unknown|none|', re.IGNORECASE)
_PREFIX = re.compile(r'(?:[a-z]{1,2}|d_\d+)__', re.IGNORECASE)


@dataclasses.dataclass(frozen=True, eq=False)
class Grouping:
    """ASVs in groups, each in one group or in none.

    Attributes
    ----------
    names : list of str
        Of the groups.
    codes : int64 [A]
        The group of each ASV, -1 for none.
    """

    names: list[str]
    codes: np.ndarray


def grouped(names: collections.abc.Iterable[str]) -> Grouping:
    """Return ASVs grouped by these names, one each; those of an empty name are in no group."""
    names = list(names)
    distinct = sorted({name for name in names if name})
    place = {name: number for number, name in enumerate(distinct)} | {'': -1}
    return Grouping(distinct, np.array([place[name] for name in names], dtype=np.int64))


def ranks_of(taxon: str) -> tuple[str, ...]:
    """Return the named ranks of a taxon, the highest first: of ``k__Bacteria; p__; c__`` there is one."""
    ranks = [rank.strip() for rank in taxon.split(';')][:MAX_LEVELS]
    while ranks and _UNNAMED.fullmatch(ranks[-1]):
        ranks.pop()
    return tuple(ranks)


def clade_at(taxon: str, level: int) -> str:
    """Return the taxon down to a level (1 is the highest) in full, or '' where no rank is named there."""
    ranks = ranks_of(taxon)
    return SEPARATOR.join(ranks[:level]) if len(ranks) >= level else ''


def deepest_clade(taxon: str, level: int) -> str:
    """Return the taxon down to its deepest named rank at this level or above it, '' where none is named."""
    return SEPARATOR.join(ranks_of(taxon)[:level])


def short_name(taxon: str) -> str:
    """Return how a taxon is called in little room: 'Bifidobacterium', 'Bifidobacterium longum', 'unnamed taxon'."""
    ranks = [_PREFIX.sub('', rank, count=1).strip() for rank in ranks_of(taxon)]
    named = [rank for rank in ranks if rank]
    if not named:
        return 'unnamed taxon'
    # a species is named by its second word alone
    is_species = len(ranks) >= 7 and named[-1] == ranks[-1] and named[-1][:1].islower() and len(named) > 1
    return f'{named[-2]} {named[-1]}' if is_species else named[-1]


def clades_of(taxa: collections.abc.Sequence[str]) -> list[Grouping]:
    """Return the clades of ASVs with these taxa, one :class:`Grouping` a level, the highest level first."""
    levels = max((len(ranks_of(taxon)) for taxon in taxa), default=0)
    return [grouped(clade_at(taxon, level) for taxon in taxa) for level in range(1, levels + 1)]
