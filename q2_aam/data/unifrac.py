"""True UniFrac between samples that were drawn, computed when it is asked for: no matrix of all samples is kept."""

import numpy as np
import scipy.spatial.distance

from q2_aam.errors import UserError

from .augmentation import Augment
from .batches import Drawn, draw_samples, positions_of
from .pairs import warn_of_alike
from .phylogeny import Phylogeny
from .study import Study

UNWEIGHTED, WEIGHTED, GENERALISED = 'unweighted', 'weighted', 'generalised'
# How much abundant lineages count in the generalised form: 0 as little, 1 as much as in the weighted one.
ALPHA = 0.5

# Samples whose pairs tell mean and variance of the training split: 32,640 pairs.
SAMPLES_TO_ESTIMATE = 256
# Numbers in one array of nodes by samples: 128 MiB of them at a time, with their cumulative sums twice that.
FLOATS_AT_ONCE = 1 << 24


class UnifracDistances:
    """UniFrac seen from the rows of a study, with the attributes and methods of a PairDistances.

    A pair's UniFrac counts every branch from its tips up to the root of the tree as the file has it, but no length of
    the root itself, as q2-diversity-lib (unifrac) does; ``skbio.diversity.beta_diversity`` gives the same wherever the
    root has no length, and with one, which it counts as a branch, less.

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
        ``'unweighted'``, ``'weighted_normalized'``, ``'weighted'`` (not normalized) or ``'generalised'`` (with an alpha
        of 0.5; Chen et al. 2012, doi 10.1093/bioinformatics/bts342).
    augment : callable, optional
        From :func:`q2_aam.data.augmentation.make_augmentation`: what of those samples mean and variance are estimated
        from; default all their reads.

    Attributes
    ----------
    place : int64 [samples]
        Row of each sample: every one has its distances.
    divisor : float
        The largest distance between training samples where that is above 1, which only the weighted form can be.
    mean, variance : float
        Of distances between training samples.

    Raises
    ------
    UserError
        If all these distances are the same.
    """

    def __init__(
        self,
        phylogeny: Phylogeny,
        study: Study,
        training_rows: np.ndarray,
        generator: np.random.Generator,
        kind: str = UNWEIGHTED,
        augment: Augment | None = None,
    ):
        self._phylogeny, self._study, self._kind, self.divisor = phylogeny, study, kind, 1.0
        self.place = np.arange(len(study))
        # an array has at most two nodes for each tip, and at most as many tips as its samples have ASVs together
        mean_richness = len(study.asvs) / len(study)
        self._samples_at_once = max(2, int(np.sqrt(FLOATS_AT_ONCE / (2 * mean_richness))))
        chosen = np.sort(generator.permutation(training_rows)[:SAMPLES_TO_ESTIMATE])
        distances = self.of(draw_samples(study, chosen, augment))
        if kind == WEIGHTED:
            self.divisor = max(1.0, float(distances.max()))
            distances = distances / np.float32(self.divisor)
        known = distances[np.triu_indices(len(chosen), 1)].astype(np.float64)
        if known.max() == known.min():
            raise UserError(
                f'UniFrac distances must differ, but all between training samples are {known.max():g}; check the '
                'branch lengths of the phylogeny.'
            )
        self.mean, self.variance = float(known.mean()), float(known.var())
        warn_of_alike(self.mean, self.variance, f'by {kind} UniFrac')

    def among(self, rows: np.ndarray) -> np.ndarray:
        """Return the UniFrac distances among `rows` of the study with all their reads, float32 [rows, rows]."""
        return self.of(draw_samples(self._study, rows))

    def of(self, drawn: Drawn) -> np.ndarray:
        """Return the UniFrac distances among the samples of a :class:`~q2_aam.data.batches.Drawn`, float32 [B, B].

        They are those of what was drawn: of these ASVs, and of their shares of these reads.
        """
        asvs, offsets = drawn.asvs, drawn.offsets
        abundances = drawn.abundances.astype(np.float64)
        # of what max_asvs_per_sample leaves, too
        abundances /= np.repeat(np.add.reduceat(abundances, offsets[:-1]), np.diff(offsets))
        samples = len(offsets) - 1
        if samples <= self._samples_at_once:
            return (self._among_few(asvs, abundances, offsets) / self.divisor).astype(np.float32)
        distances = np.zeros((samples, samples), dtype=np.float32)
        # two halves of what fits: every pair meets in one of these rounds
        pieces = np.array_split(np.arange(samples), -(-samples // (self._samples_at_once // 2)))
        for i, one in enumerate(pieces):
            for other in pieces[i + 1 :]:
                both = np.concatenate([one, other])
                where, inner = positions_of(offsets, both)
                distances[np.ix_(both, both)] = self._among_few(asvs[where], abundances[where], inner) / self.divisor
        return distances

    def _among_few(self, asvs, abundances, offsets):
        values_NB, lengths_N = self._nodes(asvs, abundances, offsets)
        if self._kind == UNWEIGHTED:
            present_NB = (values_NB > 0).astype(np.float64)
            shared_BB = present_NB.T @ (present_NB * lengths_N[:, None])
            total_B = np.diagonal(shared_BB)
            union_BB = total_B[:, None] + total_B - shared_BB
            difference_BB = union_BB - shared_BB
        elif self._kind == GENERALISED:
            difference_BB, union_BB = _generalised(values_NB, lengths_N)
        else:
            scaled_BN = np.ascontiguousarray((values_NB * lengths_N[:, None]).T)
            # sum over nodes of length * |a - b|
            difference_BB = scipy.spatial.distance.cdist(scaled_BN, scaled_BN, 'cityblock')
            total_B = scaled_BN.sum(axis=1)
            union_BB = np.ones_like(difference_BB) if self._kind == WEIGHTED else total_B[:, None] + total_B
        # samples of nothing but branches without length are not apart
        return np.divide(difference_BB, union_BB, out=np.zeros_like(difference_BB), where=union_BB > 0)

    def _nodes(self, asvs, abundances, offsets):
        """Return what the samples have below each node that any of them has tips below, and the node's length.

        Only as many nodes are left as the tips of these samples can tell apart: a node's tips are an interval of all
        tips, and so an interval of these samples' tips; nodes with the same one become one, their lengths added.

        Returns
        -------
        values_NB : float64 [nodes, samples]
            Number of ASVs (unweighted), or share of the reads.
        lengths_N : float64 [nodes]
        """
        tree, samples = self._phylogeny, len(offsets) - 1
        sample = np.repeat(np.arange(samples), np.diff(offsets))
        position = tree.position[asvs]
        # how many tips of these samples come before each tip
        present = np.zeros(len(tree.position), dtype=bool)
        present[position] = True
        before = np.concatenate([[0], np.cumsum(present)])
        first, last = before[tree.first], before[tree.last]
        kept = np.flatnonzero(last > first)
        first, last = first[kept], last[kept]
        # between two nodes of one interval the tree has only nodes that were just left out
        begins = np.flatnonzero(np.concatenate([[True], (first[1:] != first[:-1]) | (last[1:] != last[:-1])]))
        sums = np.zeros((before[-1] + 1, samples))
        sums[before[position] + 1, sample] = 1 if self._kind == UNWEIGHTED else abundances
        np.cumsum(sums, axis=0, out=sums)
        values = sums[last[begins]] - sums[first[begins]]
        return values, np.add.reduceat(tree.length[kept], begins)


def _generalised(values_NB, lengths_N):
    """Return the weighted differences and sums of generalised UniFrac, float64 [B, B] each, one sample at a time."""
    samples = values_NB.shape[1]
    difference_BB, sum_BB = np.zeros((samples, samples)), np.zeros((samples, samples))
    for sample in range(samples):
        # of each pair once
        one_N1, others_NB = values_NB[:, sample : sample + 1], values_NB[:, sample:]
        total_NB = one_N1 + others_NB
        weight_NB = lengths_N[:, None] * total_NB**ALPHA
        share_NB = np.divide(np.abs(one_N1 - others_NB), total_NB, out=np.zeros_like(total_NB), where=total_NB > 0)
        difference_BB[sample, sample:] = (weight_NB * share_NB).sum(axis=0)
        sum_BB[sample, sample:] = weight_NB.sum(axis=0)
    return difference_BB + difference_BB.T, sum_BB + sum_BB.T - np.diag(sum_BB.diagonal())
