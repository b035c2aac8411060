"""Members of the abundance ensemble that are trees: what they ask of a sample is how much it holds of one ASV.

A tree is a run of nodes in plain arrays, the left child of a node right behind it. Leaves hold a mean over five
training samples or more, never one sample.

Shapes: M members, T trees of all members, N nodes and L leaves of all trees, B samples, C ASVs of the vocabulary, O
outputs.
"""

import dataclasses

import numpy as np

from .member_arrays import EXTRA_TREES, check_shape

# The mark of a leaf in place of an ASV.
LEAF = -1
# Samples whose paths are followed at a time.
SAMPLES_AT_ONCE = 256
# Probabilities of a class are mixed with so much of equal ones before the logarithm: that of 0 is not finite, and
# leaves of few samples are too sure.
SMOOTHING = 0.02
# More trees than training ever makes: the paths of a block of samples through all of them are in memory together.
MAX_TREES = 10000


@dataclasses.dataclass(frozen=True, eq=False)
class TreeMembers:
    """M members side by side, each the mean of as many trees.

    Attributes
    ----------
    members : int
    first : int32 [T]
        Number of the first node of each tree: T / M trees of the first member, as many of the second, ...
    asv : int16 [N]
        Number in the vocabulary of the ASV that a node asks for, or -1 of a leaf.
    threshold : float32 [N]
        Samples with a logarithm of at most this go to the left: to the next node.
    right : int32 [N]
        Number of the node to the right; of a leaf, that of its value.
    value : float32 [L, O]
        Numbers, where there is one output, else shares of classes; outputs are then their logarithms.
    """

    ARRAYS = {'first': 'int32', 'asv': 'int16', 'threshold': 'float32', 'right': 'int32', 'value': 'float32'}

    members: int
    first: np.ndarray
    asv: np.ndarray
    threshold: np.ndarray
    right: np.ndarray
    value: np.ndarray

    def outputs(self, abundances_BC) -> np.ndarray:
        """Return the outputs of every member, float64 [M, B, O], for samples in a sparse matrix of the vocabulary."""
        starts = range(0, abundances_BC.shape[0], SAMPLES_AT_ONCE)
        blocks = [self._block(abundances_BC[start : start + SAMPLES_AT_ONCE].toarray()) for start in starts]
        outputs_MBO = np.concatenate(blocks, axis=1)
        if self.value.shape[1] == 1:
            return outputs_MBO
        return np.log((1 - SMOOTHING) * outputs_MBO + SMOOTHING / self.value.shape[1])

    def _block(self, abundances_BC):
        """Return the mean over the trees of each member, float64 [M, B, O]."""
        leaf_BT = self._leaves(abundances_BC)
        trees = len(self.first) // self.members
        means = [
            # tree by tree: values of all trees at once would be gigabytes where classes are many
            sum(self.value[leaf_B].astype(np.float64) for leaf_B in leaf_BT[:, start : start + trees].T) / trees
            for start in range(0, len(self.first), trees)
        ]
        return np.stack(means)

    def noise(self, abundances_BC, member_B: np.ndarray) -> float:
        """Return the variance of the outputs of one member for each sample that comes from its few trees, in the mean.

        Parameters
        ----------
        abundances_BC : sparse matrix [B, C]
        member_B : int64 [B]
            The member that each sample is told by.
        """
        trees, total = len(self.first) // self.members, 0.0
        for start in range(0, len(member_B), SAMPLES_AT_ONCE):
            block = slice(start, start + SAMPLES_AT_ONCE)
            leaf_BT = self._leaves(abundances_BC[block].toarray())
            own = member_B[block, None] * trees + np.arange(trees)
            value_BTO = self.value[np.take_along_axis(leaf_BT, own, axis=1)].astype(np.float64)
            variance_BO = value_BTO.var(axis=1) / max(1, trees - 1)
            if self.value.shape[1] > 1:
                # of a logarithm, to first order
                shares_BO = (1 - SMOOTHING) * value_BTO.mean(axis=1) + SMOOTHING / self.value.shape[1]
                variance_BO = variance_BO * np.square((1 - SMOOTHING) / shares_BO)
            total += variance_BO.mean(axis=1).sum()
        return total / len(member_B)

    def _leaves(self, abundances_BC):
        """Return the number of the value that each sample finds in each tree, [B, T]."""
        node_BT = np.broadcast_to(self.first, (len(abundances_BC), len(self.first))).copy()
        # samples and trees whose path has not ended yet
        sample, tree = (index.ravel() for index in np.indices(node_BT.shape))
        while len(sample):
            node = node_BT[sample, tree]
            asv = self.asv[node]
            inside = asv != LEAF
            sample, tree, node, asv = sample[inside], tree[inside], node[inside], asv[inside]
            to_right = abundances_BC[sample, asv] > self.threshold[node]
            node_BT[sample, tree] = np.where(to_right, self.right[node], node + 1)
        return self.right[node_BT]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return {name: array}: everything that :meth:`from_arrays` needs."""
        return {name: getattr(self, name) for name in self.ARRAYS}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], known: np.ndarray, outputs: int) -> 'TreeMembers':
        """Read what :meth:`arrays` gave; ValueError unless every path in it ends in a value of these outputs.

        `known` is uint8 [M, C].
        """
        members, size = known.shape
        first, asv, right, value = (arrays[name] for name in ('first', 'asv', 'right', 'value'))
        for name in ('asv', 'threshold', 'right'):
            check_shape(f'{EXTRA_TREES}.{name}', arrays[name], (asv.size,))
        check_shape(f'{EXTRA_TREES}.value', value, (value.shape[0] if value.ndim else 0, outputs))
        check_shape(f'{EXTRA_TREES}.first', first, (first.size,))
        if first.size % members or first.size > MAX_TREES or not _all_paths_end(first, asv, right, len(value), size):
            raise ValueError(
                "The model's abundance ensemble is damaged: its trees have paths that do not end; train the model "
                'again.'
            )
        if outputs > 1 and not ((value >= 0) & (value <= 1)).all():
            raise ValueError(
                "The model's abundance ensemble is damaged: its trees have shares of classes outside 0 to 1; train the "
                'model again.'
            )
        return cls(members, *(arrays[name] for name in cls.ARRAYS))


def _all_paths_end(first, asv, right, values, size):
    """Tell whether every node leads to nodes behind it in its own tree, and every leaf to a value."""
    # differences of int32 may be too large for it
    first = first.astype(np.int64)
    if not first.size or first[0] != 0 or (np.diff(first) <= 0).any() or first[-1] >= asv.size:
        return False
    end = np.repeat(np.append(first[1:], asv.size), np.diff(np.append(first, asv.size)))
    node, leaf = np.arange(asv.size), asv == LEAF
    inner = (asv >= 0) & (asv < size) & (right > node + 1) & (right < end)
    return bool(np.where(leaf, (right >= 0) & (right < values), inner).all())
