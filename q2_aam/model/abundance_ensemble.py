"""The abundance ensemble: outputs from how much a sample holds of each ASV of a vocabulary.

It stands beside the transformer because it keeps ASVs apart that the encoder, which reads sequences, finds alike: with
a hundred labels as with two thousand that is where most of what can be learned lies (docs/accuracy.md). Its members are
of several kinds, those that researchers have used for long among them. It holds weights and trees, no sample and no id.
A new kind is an entry in KINDS here, and one in :data:`q2_aam.training.ensemble.FITS`.

Shapes: M members, B samples, C ASVs of the vocabulary, F of them and of columns of covariates, O outputs.
"""

import dataclasses
from typing import Any, Protocol

import numpy as np

from q2_aam.data.covariates import Covariates, CovariateSchema, beside
from q2_aam.stats.difficulty import disagreement_of
from q2_aam.stats.temperature import softmax

from .linear_members import LinearMembers
from .member_arrays import EXTRA_TREES, LINEAR, PERCEPTRONS
from .perceptrons import Perceptrons
from .tree_members import TreeMembers

# What the shares of members, float32, may miss 1 by.
ROUNDING = 1e-3
KINDS: dict[str, Any] = {PERCEPTRONS: Perceptrons, LINEAR: LinearMembers, EXTRA_TREES: TreeMembers}
# Of the arrays of all kinds.
COMMON = {'known': 'uint8', 'shares': 'float32'}


class Members(Protocol):
    """M models of one kind, each of which has learned from other samples.

    Attributes
    ----------
    ARRAYS : dict
        {name: type} of its arrays.
    """

    ARRAYS: dict[str, str]

    def outputs(self, abundances_BC) -> np.ndarray:
        """Return the outputs of every member, float64 [M, B, O], for samples in a sparse matrix of features."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Return {name: array}: everything that `from_arrays` needs."""


@dataclasses.dataclass(frozen=True, eq=False)
class AbundanceEnsemble:
    """M members of each of several kinds.

    Members of one number, of whatever kind, have learned from the same samples, so that each sample has members that
    know nothing of it (:mod:`q2_aam.training.ensemble`). The outputs of a number are the weighted sum of those of its
    kinds.

    Attributes
    ----------
    members : dict
        {kind: Members}.
    weights : dict
        {kind: weight of its outputs in the sum}.
    shares : float32 [M]
        Weight of each number in the mean over members.
    known : uint8 [M, F]
        1 where the training samples of a number hold an ASV, or a category. Its members read no others.
    covariates : q2_aam.data.covariates.CovariateSchema or None
        What of covariates is read beside the abundances.
    """

    members: dict[str, Members]
    weights: dict[str, float]
    shares: np.ndarray
    known: np.ndarray
    covariates: CovariateSchema | None = None

    @property
    def asvs(self) -> int:
        """Number of ASVs in the vocabulary, C."""
        return self.known.shape[1] - (0 if self.covariates is None else self.covariates.width)

    def features(self, abundances_BC, covariates: Covariates | None = None):
        """Return what members read: abundances and, behind them, covariates, which are unknown where none are given."""
        if self.covariates is not None and covariates is None:
            covariates = self.covariates.read(None, [''] * abundances_BC.shape[0])
        return beside(abundances_BC, covariates)

    def to(self, device) -> 'AbundanceEnsemble':
        """Move what computes on a device there; return the ensemble."""
        for members in self.members.values():
            if isinstance(members, Perceptrons):
                members.to(device)
        return self

    def outputs_by_kind(self, features_BF) -> dict[str, np.ndarray]:
        """Return {kind: float64 [M, B, O]} for samples in a sparse matrix of :meth:`features`, not weighted."""
        return {kind: members.outputs(features_BF) for kind, members in self.members.items()}

    def combine(self, by_kind: dict[str, np.ndarray]) -> np.ndarray:
        """Return the weighted sum of what :meth:`outputs_by_kind` gave, or of part of each."""
        return np.sum([self.weights[kind] * outputs for kind, outputs in by_kind.items()], axis=0)

    def outputs(self, features_BF) -> np.ndarray:
        """Return the outputs of every number, float64 [M, B, O], for samples in a sparse matrix of :meth:`features`."""
        return self.combine(self.outputs_by_kind(features_BF))

    def disagreement(self, by_kind: dict[str, np.ndarray]) -> np.ndarray:
        """Return how far the kinds are apart, float64 [B]: of scaled numbers, of probabilities of classes.

        `by_kind` is what :meth:`outputs_by_kind` gave, or out-of-fold outputs [B, O]; see
        :func:`q2_aam.stats.difficulty.disagreement_of`.
        """
        first = next(iter(by_kind.values()))
        if first.ndim == 3:
            # one member after the other: with thousands of classes, probabilities of all would be gigabytes
            of_members = [
                self.disagreement({kind: outputs[member] for kind, outputs in by_kind.items()})
                for member in range(len(first))
            ]
            return np.mean(of_members, axis=0)
        outputs = np.stack(list(by_kind.values()))
        return disagreement_of(softmax(outputs, 1.0) if outputs.shape[-1] > 1 else outputs)

    def coverage(self, abundances_BC, totals_B: np.ndarray) -> np.ndarray:
        """Return the share of each sample in ASVs that each number knows, float64 [M, B].

        Parameters
        ----------
        abundances_BC : sparse matrix [B, C]
            Logarithms of abundances, or shares of reads.
        totals_B : float64 [B]
            Their sum over all ASVs of each sample, those outside the vocabulary too.
        """
        coverage_BM = abundances_BC @ self.known[:, : self.asvs].T.astype(np.float32) / totals_B[:, None]
        # rounding of float32 sums
        return np.minimum(coverage_BM, 1).T.astype(np.float64)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return {name: array}: everything that :meth:`from_arrays` needs; no id and no sample is in it."""
        arrays = {'known': self.known, 'shares': self.shares}
        for kind, members in self.members.items():
            arrays |= {_named(kind, name): array for name, array in members.arrays().items()}
        return arrays

    @classmethod
    def from_arrays(
        cls,
        arrays: dict[str, np.ndarray],
        size: int,
        weights: dict[str, float],
        members: int,
        outputs: int,
        covariates: CovariateSchema | None = None,
    ) -> 'AbundanceEnsemble':
        """Read what :meth:`arrays` gave; ValueError unless it is an ensemble of these sizes."""
        known, shares = arrays['known'], arrays['shares']
        size += 0 if covariates is None else covariates.width
        if known.shape != (members, size) or shares.shape != (members,):
            raise ValueError(
                f"The model's abundance ensemble belongs to another model: known has the shape {known.shape} and "
                f'shares {shares.shape} instead of {(members, size)} and {(members,)}; train the model again.'
            )
        # written so that NaN fails
        if not (shares >= 0).all() or not abs(shares.astype(np.float64).sum() - 1) <= ROUNDING:
            raise ValueError(
                "The model's abundance ensemble is damaged: the shares of its members must sum to 1; train the model "
                'again.'
            )
        if known.max() > 1:
            raise ValueError("The model's abundance ensemble is damaged: known must be 0 or 1; train the model again.")
        read = {
            kind: KINDS[kind].from_arrays(
                {name: arrays[_named(kind, name)] for name in KINDS[kind].ARRAYS}, known, outputs
            )
            for kind in weights
        }
        return cls(read, weights, shares, known, covariates)


def array_types(kinds) -> dict[str, str]:
    """Return {name: type} of the arrays of an ensemble of these kinds."""
    return COMMON | {_named(kind, name): type_ for kind in kinds for name, type_ in KINDS[kind].ARRAYS.items()}


def _named(kind, name):
    # the first bundles had perceptrons alone, without the name of a kind
    return name if kind == PERCEPTRONS else f'{kind}.{name}'
