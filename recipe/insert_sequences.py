"""Sequences inserted into a tree that lacks them, each beside the nearest of those that it has already.

A tree of 50,000 short sequences takes FastTree long, and one of all that studies have is there.
"""

import io

import numpy as np
import skbio
import torch

# Distances of so many sequences are computed at a time.
BLOCK = 512
# Saturated pairs are taken to be this far apart, in substitutions a site.
MAX_DISTANCE = 2.0


def nearest(rows_NC, given):
    """Return for each sequence of an alignment the nearest of those before it, and how far it is.

    Parameters
    ----------
    rows_NC : uint8 [N, C]
        Letters of an alignment, '-' for gaps.
    given : int
        The first so many are not asked for.

    Returns
    -------
    places : int64 [N - given]
    distances : float64 [N - given]
        Substitutions a site (Jukes and Cantor 1969), over the columns that both have.
    """
    # MAFFT writes small letters
    letters = torch.from_numpy(np.where(rows_NC >= ord('a'), rows_NC - (ord('a') - ord('A')), rows_NC))
    known_NC = (letters != ord('-')).float()
    # one matrix product for all pairs: the number of columns in which they agree
    of_each = torch.cat([(letters == ord(letter)).float() for letter in 'ACGT'], dim=1)
    places, shares = [], []
    for start in range(given, len(letters), BLOCK):
        end = min(start + BLOCK, len(letters))
        overlap = known_NC[start:end] @ known_NC[:end].T
        same = of_each[start:end] @ of_each[:end].T
        differ = 1 - same / overlap.clamp_min(1)
        # none of those behind it, nor itself
        differ[torch.arange(end) >= torch.arange(start, end)[:, None]] = 2
        best = differ.min(dim=1)
        places.append(best.indices.numpy())
        shares.append(best.values.numpy())
    share = np.concatenate(shares).astype(float)
    with np.errstate(divide='ignore', invalid='ignore'):
        distances = -0.75 * np.log1p(-4 / 3 * share)
    return np.concatenate(places), np.where(np.isfinite(distances), np.minimum(distances, MAX_DISTANCE), MAX_DISTANCE)


def insert(newick, names, places, distances):
    """Return the tree with more leaves.

    A sequence joins the lineage of the nearest one halfway between both, as if both had changed as much since then.

    Parameters
    ----------
    newick : str
    names : list of str
        First those that the tree has, then those that it is to have, in order.
    places, distances
        Of the latter, from :func:`nearest`.
    """
    tree = skbio.TreeNode.read(io.StringIO(newick), convert_underscores=False)
    leaves = {leaf.name: leaf for leaf in tree.tips()}
    new = names[len(names) - len(places) :]
    for name, place, distance in zip(new, places.tolist(), distances.tolist()):
        below, height = leaves[names[place]], distance / 2
        while below.parent is not None and height > (below.length or 0.0):
            height -= below.length or 0.0
            below = below.parent
        leaf = skbio.TreeNode(name, length=distance / 2)
        leaves[name] = leaf
        if below.parent is None:
            # older than the root: from the root itself
            _append(below, leaf)
            continue
        above = below.parent
        joint = skbio.TreeNode(length=max(0.0, (below.length or 0.0) - height))
        above.children[above.children.index(below)] = joint
        joint.parent, below.length = above, height
        _append(joint, below)
        _append(joint, leaf)
    return str(tree)


def _append(parent, child):
    # skbio's own append clears what it has cached of the whole tree, each time
    parent.children.append(child)
    child.parent = parent
