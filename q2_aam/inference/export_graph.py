"""A model as a function of a few tensors, all of it: what a graph for other runtimes is made of.

The network is the one that trains and predicts; it is given samples and sequences with padding in place of ragged rows
(:mod:`q2_aam.model.segments`). What stands around it in numpy (abundance ensemble, blend, scaling of the target) is
written in tensors in :mod:`q2_aam.inference.export_ensemble` and :mod:`q2_aam.inference.export_target`.

Shapes: U distinct ASVs, L nucleotides, T tokens of P nucleotides, B samples, S places of a sample, D width, K
memberships, O outputs, C categorical and R numeric covariates.
"""

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from q2_aam import bundle
from q2_aam.bundle.targets import NumericTarget
from q2_aam.data.augmentation import ROUNDING
from q2_aam.data.batches import Batch, SampleChunk, SequenceChunk
from q2_aam.data.covariates import MAX_DEVIATIONS, CovariateSchema
from q2_aam.data.extra_targets import EXTRA
from q2_aam.data.extra_targets import HEAD as EXTRA_HEAD
from q2_aam.data.layouts import Bucket, Layout
from q2_aam.model.heads import OwnBranchDistanceHead, membership_distances
from q2_aam.model.network import Network

from .export_ensemble import EnsembleGraph
from .export_target import ClassGraph, NumberGraph

DISTANCES = 'distances'
# What a graph gives of each sample besides its prediction, in the words of the details.
SIGNS = ('vocabulary_coverage', 'share_of_reads_in_vocabulary', 'familiarity', 'disagreement')


@dataclasses.dataclass
class Given:
    """What a graph is given, made ready for all of its parts.

    Attributes
    ----------
    codes : uint8 [U, L]
    vocabulary : int64 [U]
        Number of each ASV in the vocabulary, -1 of others.
    asvs : int64 [B, S]
        Number among the U of what stands at each place of a sample, 0 of padding.
    shares : float64 [B, S]
        Of the reads of the sample, 0 of padding.
    real : bool [B, S]
        Which places hold an ASV that is read.
    categories : int64 [B, C], or None
    numbers : float32 [B, R, 2], or None
        See :attr:`q2_aam.data.covariates.Covariates.views`.
    """

    codes: torch.Tensor
    vocabulary: torch.Tensor
    asvs: torch.Tensor
    shares: torch.Tensor
    real: torch.Tensor
    categories: torch.Tensor | None = None
    numbers: torch.Tensor | None = None

    def scattered(self, values_BS: torch.Tensor, place_BS: torch.Tensor, places: int) -> torch.Tensor:
        """Return values put to their places, [B, places]: a place below 0 is none."""
        # one place more, for what has none
        place_BS = torch.where(self.real & (place_BS >= 0), place_BS, places)
        whole = values_BS.new_zeros(values_BS.shape[0], places + 1)
        return whole.scatter_add(1, place_BS, values_BS)[:, :places]


class ModelGraph(nn.Module):
    """All of a model, from nucleotides and abundances to what the user reads.

    Parameters
    ----------
    model : q2_aam.bundle.Bundle
        Its target has the coverage that intervals are to have.

    Attributes
    ----------
    columns : list of str
        Names of what :meth:`forward` returns, in order.
    """

    def __init__(self, model: bundle.Bundle):
        super().__init__()
        self.network: Network = model.network
        self.limit = model.config.call.data.max_asvs_per_sample
        self.schema: CovariateSchema | None = model.config.covariates
        self.nucleotides = model.config.call.model.nucleotides_per_token
        self.reads: nn.Module
        if model.config.kind == bundle.ENCODER:
            self.reads = _Encoder(model)
        else:
            self.reads = _Predictor(model)
        self.columns: list[str] = self.reads.columns

    def forward(
        self,
        tokens: torch.Tensor,
        vocabulary_index: torch.Tensor,
        asv_index: torch.Tensor,
        abundances: torch.Tensor,
        covariate_categories: torch.Tensor | None = None,
        covariate_numbers: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """Return what `columns` names.

        Parameters
        ----------
        tokens : int32 [U, L]
            Codes of nucleotides, 0 behind the end of a sequence.
        vocabulary_index : int32 [U]
        asv_index : int32 [B, S]
            Below 0: padding.
        abundances : float32 [B, S]
            Counts, or shares of reads.
        covariate_categories : int32 [B, C], optional
        covariate_numbers : float32 [B, R], optional
            In the unit of the column; NaN where there is none.
        """
        given = self._given(tokens, vocabulary_index, asv_index, abundances)
        if self.schema is not None:
            given.categories = self._categories(given, covariate_categories)
            given.numbers = self._views(given, self.schema.numeric, covariate_numbers)
        batch = Batch(self.reads.heads, sequences=[self._sequences(given.codes)], samples=[self._samples(given)])
        reads_B = given.real.any(1)
        columns = self.reads(self.network(batch), given)
        return tuple(_of_reads(name, values, reads_B) for name, values in zip(self.columns, columns))

    def _given(self, tokens_UL, vocabulary_U, index_BS, abundances_BS):
        real_BS = (index_BS >= 0) & (abundances_BS > 0)
        asvs_BS = torch.where(real_BS, index_BS, 0).long()
        # as a study has them: divided in double precision, kept in single
        counts_BS = torch.where(real_BS, abundances_BS, 0.0).double()
        shares_BS = (counts_BS / counts_BS.sum(1, keepdim=True)).float().double()
        if self.limit:
            real_BS = real_BS & self._among_first(shares_BS)
            shares_BS = torch.where(real_BS, shares_BS, 0.0)
        return Given(tokens_UL.to(torch.uint8), vocabulary_U.long(), asvs_BS, shares_BS, real_BS)

    def _among_first(self, shares_BS):
        """Tell which ASVs of a sample are read where that is limited; of equal ones, those that come first."""
        places = torch.arange(shares_BS.shape[1], device=shares_BS.device)
        one_BSS, other_BSS = shares_BS[:, :, None], shares_BS[:, None, :]
        before_BSS = (other_BSS > one_BSS) | ((other_BSS == one_BSS) & (places < places[:, None]))
        if self.limit >= 1:
            return before_BSS.sum(2) < int(self.limit)
        held_BS = torch.where(before_BSS, other_BSS, 0.0).sum(2)
        return held_BS < (self.limit - ROUNDING) * shares_BS.sum(1, keepdim=True)

    def _sequences(self, codes_UL):
        asvs, length = codes_UL.shape
        tokens = (length + self.nucleotides - 1) // self.nucleotides
        codes_UL = F.pad(codes_UL, (0, self.nucleotides - 1))[:, : tokens * self.nucleotides]
        real_UT = (codes_UL > 0).unflatten(1, (tokens, self.nucleotides)).any(2)
        every = torch.arange(asvs * tokens, device=codes_UL.device)
        return SequenceChunk(codes_UL, real_UT, every, _padded(asvs, tokens, real_UT), None, None, True)

    def _samples(self, given):
        samples, places = given.real.shape
        summary_B1 = torch.ones_like(given.real[:, :1])
        layout = _padded(samples, places + 1, torch.cat([summary_B1, given.real], dim=1))
        rows_B1 = torch.arange(samples, device=given.real.device)[:, None]
        # the summary token of a sample stands before its ASVs
        source_BT = torch.cat([rows_B1 * 0, rows_B1 * places + torch.arange(places, device=rows_B1.device) + 1], dim=1)
        token_BT = rows_B1 * (places + 1) + torch.arange(places + 1, device=rows_B1.device)
        return SampleChunk(
            asvs=given.asvs.reshape(-1),
            abundances=given.shares.float().reshape(-1),
            richness=given.real,
            source=source_BT.reshape(-1),
            summaries=token_BT[:, 0],
            members=token_BT[:, 1:].reshape(-1),
            layout=layout,
            kept=True,
            codes=given.categories,
            numbers=given.numbers,
        )

    @staticmethod
    def _categories(given, categories_BC):
        if categories_BC is None:
            return torch.zeros(given.real.shape[0], 0, dtype=torch.int64)
        return categories_BC.long()

    @staticmethod
    def _views(given, columns, numbers_BR):
        if numbers_BR is None:
            return torch.zeros(given.real.shape[0], 0, 2)
        center_R, scale_R = (
            torch.tensor([getattr(column, name) for column in columns], dtype=torch.float64)
            for name in ('center', 'scale')
        )
        values_BR = numbers_BR.double()
        # NaN is nowhere
        known_BR = (values_BR > -torch.inf) & (values_BR < torch.inf)
        away_BR = (torch.where(known_BR, values_BR, center_R) - center_R) / scale_R
        away_BR = away_BR.clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS).float()
        return torch.stack([away_BR, (~known_BR).float()], dim=-1)


def _of_reads(name, values, reads_B):
    """Return an output with NaN, or -1 for a whole number, where a sample has no reads."""
    nothing = torch.nan if values.is_floating_point() else -1
    values = torch.where(reads_B.unflatten(0, (-1, *[1] * (values.ndim - 1))), values, nothing)
    # a distance is of two samples
    return torch.where(reads_B, values, nothing) if name == DISTANCES else values


def _padded(rows, length, real):
    return Layout([Bucket((rows, length), real)], None, None)


class _Predictor(nn.Module):
    """What is read of a model that predicts a target."""

    def __init__(self, model):
        super().__init__()
        self.ensemble = None if model.ensemble is None else EnsembleGraph(model)
        target, extra = model.config.target, model.config.extra_targets
        self.heads = ('target', EXTRA_HEAD) if extra else ('target',)
        self.target = NumberGraph(target) if isinstance(target, NumericTarget) else ClassGraph(target)
        self.extra = nn.ModuleList(NumberGraph(one) for one in extra)
        self.columns = [*self.target.columns, *(EXTRA + one.name for one in extra)]
        self.columns += SIGNS if self.ensemble is not None else ()

    def forward(self, outputs, given):
        outputs_BO, signs = outputs.heads['target'].double(), None
        if self.ensemble is not None:
            outputs_BO, signs = self.ensemble(outputs_BO, given)
        columns = [*self.target(outputs_BO, signs)]
        for number, one in enumerate(self.extra):
            columns += one(outputs.heads[EXTRA_HEAD][:, number : number + 1].double(), None)
        return (*columns, *(getattr(signs, name) for name in SIGNS if signs is not None))


class _Encoder(nn.Module):
    """What is read of an encoder: embeddings and, where it has learned some, distances."""

    heads = ()

    def __init__(self, model):
        super().__init__()
        self.divisor = model.config.distance_divisor
        self.columns = ['summary', 'mean']
        self.own_factor, self.head = 1.0, None
        if self.divisor is not None:
            self.head = model.network.heads['distances']
            self.has_own = isinstance(self.head, OwnBranchDistanceHead)
            self.columns += [DISTANCES] if self.has_own else [DISTANCES, 'memberships']
            if model.known_asvs is not None:
                self.own_factor = float(model.known_asvs.length[0])

    def forward(self, outputs, given):
        samples = outputs.samples
        if self.head is None:
            return samples.summary, samples.mean
        weight_K = F.softplus(self.head.weight)
        own = self._own(self.head, outputs.asvs, given) if self.has_own else None
        distances_BB = membership_distances(samples.memberships, samples.memberships, weight_K, own) * self.divisor
        given_out = samples.summary, samples.mean, distances_BB
        if self.has_own:
            return given_out
        return (*given_out, F.normalize(samples.memberships * weight_K.sqrt(), dim=1))

    def _own(self, head, asvs_UD, given):
        """Return the length of the own branches that samples share, [B, B], and that each has, [B] twice."""
        lengths_U = F.softplus(head.own(asvs_UD).squeeze(-1))
        lengths_U = torch.where(given.vocabulary >= 0, lengths_U * self.own_factor, lengths_U)
        present_BU = given.scattered(torch.ones_like(given.shares).float(), given.asvs, asvs_UD.shape[0])
        lengths_BU = present_BU * lengths_U
        return lengths_BU @ present_BU.T, lengths_BU.sum(1), lengths_BU.sum(1)
