"""What features have in common: the clades of each, from the root to its tip, by a taxonomy or a phylogeny.

Shapes: F features, nodes of a tree.
"""

import collections.abc

import numpy as np
import pandas as pd

from .feature_names import name_keys, normalised
from .phylogeny import Phylogeny
from .taxonomy import ranks_of

# Clades of a feature that are read, from the root on.
MAX_CLADES = 15
# A tree is cut at so many depths, where it has about this many branches; clades of one tip are the tip itself.
CUTS = (4, 8, 16, 32, 64, 128, 256, 512)


def lineages_of_taxa(taxa: collections.abc.Sequence[str]) -> list[list[int]]:
    """Return the key of each clade that each taxon names, the highest rank first."""
    texts = [_prefixes(taxon) for taxon in taxa]
    distinct = sorted({text for of_one in texts for text in of_one})
    key = dict(zip(distinct, name_keys(distinct).tolist()))
    return [[key[text] for text in of_one] for of_one in texts]


def _prefixes(taxon):
    ranks = ranks_of(normalised(taxon))[:MAX_CLADES]
    return [';'.join(ranks[: level + 1]) for level in range(len(ranks))]


def taxa_of_ids(feature_ids: collections.abc.Sequence[str]) -> list[str]:
    """Return the taxon above each feature that is a taxon itself, as in a table that was collapsed by taxonomy."""
    return [_above(ranks_of(normalised(name))) for name in feature_ids]


def _above(ranks):
    ranks = list(ranks[:-1])
    # how q2-taxa writes a rank that a taxonomy does not name
    while ranks and ranks[-1] == '__':
        ranks.pop()
    return ';'.join(ranks)


def taxa_given(taxonomy: pd.Series, feature_ids: collections.abc.Sequence[str]) -> list[str]:
    """Return the taxon of each feature, '' where there is none; blanks and invisible characters do not count."""
    by_name = {normalised(str(name)): str(taxon) for name, taxon in taxonomy.dropna().items()}
    return [by_name.get(normalised(name), '') for name in feature_ids]


def lineages_of_tips(tree: Phylogeny, keys: np.ndarray) -> list[list[int]]:
    """Return the key of each clade of each feature, by cutting a tree at several depths, int64.

    Parameters
    ----------
    tree : Phylogeny
    keys : int64 [F]
        Of the features, by which their clades are known: a clade of the same features has the same key anywhere.

    Returns
    -------
    list of list of int
        Empty of a feature that is no tip of the tree.
    """
    place = np.flatnonzero(tree.position >= 0)
    tips = np.zeros(len(place), dtype=np.int64)
    tips[tree.position[place]] = keys[place]
    # sums wrap around, which is as good
    with np.errstate(over='ignore'):
        total = np.concatenate([[0], np.cumsum(tips)])
        key_of_node = total[tree.last] - total[tree.first]
    parents = parents_of(tree)
    depth, above = _depths(tree, parents)
    clade = np.full((len(CUTS), len(tips)), -1, dtype=np.int64)
    for level, nodes in enumerate(_cuts(depth, above)):
        for node in nodes[tree.last[nodes] - tree.first[nodes] > 1]:
            clade[level, tree.first[node] : tree.last[node]] = node
    lineages: list[list[int]] = [[] for _ in keys]
    for feature in place:
        # one node may be cut at several depths
        nodes = dict.fromkeys(clade[:, tree.position[feature]].tolist())
        nodes.pop(-1, None)
        lineages[feature] = [int(key_of_node[node]) for node in nodes]
    return lineages


def parents_of(tree: Phylogeny) -> np.ndarray:
    """Return the number of the node above each node, int64 [nodes]; -1 of the root."""
    parents = np.full(len(tree.first), -1, dtype=np.int64)
    open_nodes: list[int] = []
    first = tree.first.tolist()
    # a node stands behind all that is below it
    for node in range(len(first) - 1, -1, -1):
        while open_nodes and first[open_nodes[-1]] > first[node]:
            open_nodes.pop()
        parents[node] = open_nodes[-1] if open_nodes else -1
        open_nodes.append(node)
    return parents


def _depths(tree, parents):
    """Return how far each node, and what is above it, lies from the root."""
    above = np.zeros(len(parents))
    depth = np.zeros(len(parents))
    for node in range(len(parents) - 1, -1, -1):
        above[node] = depth[parents[node]] if parents[node] >= 0 else 0.0
        depth[node] = above[node] + tree.length[node]
    return depth, above


def _cuts(depth, above):
    """Yield the nodes whose branches cross each depth at which the tree is cut."""
    places = np.unique(depth)
    places = places[places > 0]
    crossing = np.searchsorted(np.sort(above), places) - np.searchsorted(np.sort(depth), places)
    for number in CUTS:
        enough = np.flatnonzero(crossing >= number)
        if not len(enough):
            return
        at = places[enough[0]]
        yield np.flatnonzero((above < at) & (depth >= at))
