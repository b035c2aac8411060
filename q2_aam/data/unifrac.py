"""True UniFrac between the samples of a batch, computed when it is asked for: no matrix of all samples is kept."""

import numpy as np
import scipy.spatial.distance

from q2_aam.errors import UserError

from .batches import positions_of

UNWEIGHTED = 'unweighted'

# Samples whose pairs tell mean and variance of the training part: 32,640 pairs.
SAMPLES_TO_ESTIMATE = 256
# Numbers in one array of nodes by samples: 128 MiB of them at a time, with their cumulative sums twice that.
FLOATS_AT_ONCE = 1 << 24


class UnifracDistances:
    """UniFrac seen from the rows of a study; to those who learn from it the same as a PairDistances.

    A pair's UniFrac counts every branch from its tips up to the root of the tree as the file has it, as
    ``skbio.diversity.beta_diversity`` does with that tree. (Where a tree is sheared by scikit-bio before, the stem that
    all tips share is gone, and unweighted distances are a little larger.)

    Lozupone and Knight 2005, doi 10.1128/AEM.71.12.8228-8235.2005 (unweighted); Lozupone et al. 2007, doi
    10.1128/AEM.01996-06 (weighted, normalized).

    Parameters
    ----------
    phylogeny : q2_aam.data.phylogeny.Phylogeny
        Its features are the ASVs of the study.
    study : q2_aam.data.study.Study
    training_rows : int64 [training samples]
        Two at least.
    generator : numpy.random.Generator
        Draws the training samples of which mean and variance are estimated, where they are more than 256.
    kind : str
        ``'unweighted'`` or ``'weighted_normalized'``.

    Attributes
    ----------
    place : int64 [samples]
        Row of each sample: every one has its distances.
    divisor : float
        1: UniFrac is never larger.
    mean, variance : float
        Of distances between training samples.

    Raises
    ------
    UserError
        If all these distances are the same.
    """

    divisor = 1.0

    def __init__(self, phylogeny, study, training_rows, generator, kind=UNWEIGHTED):
        self._phylogeny, self._study, self._kind = phylogeny, study, kind
        self.place = np.arange(len(study))
        # an array has at most two nodes for each tip, and at most as many tips as its samples have ASVs together
        mean_richness = len(study.asvs) / len(study)
        self._samples_at_once = max(2, int(np.sqrt(FLOATS_AT_ONCE / (2 * mean_richness))))
        chosen = np.sort(generator.permutation(training_rows)[:SAMPLES_TO_ESTIMATE])
        known = self.among(chosen)[np.triu_indices(len(chosen), 1)].astype(np.float64)
        if known.max() == known.min():
            raise UserError(
                f'All UniFrac distances between training samples are {known.max():g}; there is nothing to learn from '
                'such a phylogeny.'
            )
        self.mean, self.variance = float(known.mean()), float(known.var())

    def among(self, rows):
        """Return the UniFrac distances among `rows` of the study, float32 [rows, rows]."""
        rows = np.asarray(rows, dtype=np.int64)
        found = np.zeros((len(rows), len(rows)), dtype=np.float32)
        if len(rows) <= self._samples_at_once:
            found[:] = self._among_few(rows)
            return found
        # two halves of what fits: every pair meets in one of these rounds
        pieces = np.array_split(np.arange(len(rows)), -(-len(rows) // (self._samples_at_once // 2)))
        for i, one in enumerate(pieces):
            for other in pieces[i + 1 :]:
                both = np.concatenate([one, other])
                found[np.ix_(both, both)] = self._among_few(rows[both])
        return found

    def _among_few(self, rows):
        values_NB, lengths_N = self._nodes(rows)
        if self._kind == UNWEIGHTED:
            present_NB = (values_NB > 0).astype(np.float64)
            shared_BB = present_NB.T @ (present_NB * lengths_N[:, None])
            own_B = np.diagonal(shared_BB)
            whole_BB = own_B[:, None] + own_B - shared_BB
            apart_BB = whole_BB - shared_BB
        else:
            scaled_BN = np.ascontiguousarray((values_NB * lengths_N[:, None]).T)
            # sum over nodes of length * |a - b|
            apart_BB = scipy.spatial.distance.cdist(scaled_BN, scaled_BN, 'cityblock')
            own_B = scaled_BN.sum(axis=1)
            whole_BB = own_B[:, None] + own_B
        # samples of nothing but branches without length are not apart
        return np.divide(apart_BB, whole_BB, out=np.zeros_like(apart_BB), where=whole_BB > 0)

    def _nodes(self, rows):
        """Return what the samples have below each node that any of them has tips below, and the node's length.

        Only as many nodes are left as the tips of these samples can tell apart: a node's tips are an interval of all
        tips, and so an interval of these samples' tips; nodes with the same one become one, their lengths added.

        Returns
        -------
        values_NB : float64 [nodes, samples]
            Number of ASVs (unweighted), or share of the reads.
        lengths_N : float64 [nodes]
        """
        study, tree = self._study, self._phylogeny
        where, offsets = positions_of(study.offsets, rows)
        sample = np.repeat(np.arange(len(rows)), np.diff(offsets))
        position = tree.position[study.asvs[where]]
        # how many tips of these samples come before each tip
        present = np.zeros(len(tree.position), dtype=bool)
        present[position] = True
        before = np.concatenate([[0], np.cumsum(present)])
        first, last = before[tree.first], before[tree.last]
        kept = np.flatnonzero(last > first)
        first, last = first[kept], last[kept]
        # between two nodes of one interval the tree has only nodes that were just left out
        begins = np.flatnonzero(np.concatenate([[True], (first[1:] != first[:-1]) | (last[1:] != last[:-1])]))
        sums = np.zeros((before[-1] + 1, len(rows)))
        sums[before[position] + 1, sample] = 1 if self._kind == UNWEIGHTED else study.abundances[where]
        np.cumsum(sums, axis=0, out=sums)
        values = sums[last[begins]] - sums[first[begins]]
        return values, np.add.reduceat(tree.length[kept], begins)
