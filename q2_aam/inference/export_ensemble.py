"""The abundance ensemble of a model in tensors: its members, its blend with the network, and the signs of a sample.

Everything here is in numpy where samples are predicted; tests hold both to the same numbers.

Shapes: B samples, S places of a sample, C ASVs of the vocabulary, F of them and of columns of covariates, M members, K
kinds, T trees of all members, O outputs.
"""

import dataclasses

import numpy as np
import torch
from torch import nn

from q2_aam.bundle.blend import ENOUGH_COVERAGE
from q2_aam.data.log_abundances import READS
from q2_aam.model.member_arrays import EXTRA_TREES, LINEAR, PERCEPTRONS
from q2_aam.model.perceptrons import PerceptronBatch
from q2_aam.model.tree_members import LEAF, SMOOTHING


@dataclasses.dataclass
class SignsOf:
    """The signs of B samples (:class:`q2_aam.data.signs.Signs`) as tensors, float64 [B]."""

    vocabulary_coverage: torch.Tensor
    share_of_reads_in_vocabulary: torch.Tensor
    familiarity: torch.Tensor
    disagreement: torch.Tensor


class EnsembleGraph(nn.Module):
    """The abundance ensemble of a model, and the blend that puts it and the network together."""

    def __init__(self, model):
        super().__init__()
        ensemble = model.ensemble
        self.blend, self.schema = model.config.blend, ensemble.covariates
        self.vocabulary = len(model.vocabulary)
        self.members = nn.ModuleList(_KINDS[kind](members) for kind, members in ensemble.members.items())
        self.weights = [float(ensemble.weights[kind]) for kind in ensemble.members]
        self.tables = None if self.schema is None else _tables(self.schema)
        # float32, as it is multiplied in prediction
        self.register_buffer('known_CM', torch.from_numpy(ensemble.known[:, : ensemble.asvs].T.astype(np.float32)))
        shares = ensemble.shares.astype(np.float64)
        self.register_buffer('shares_M', torch.from_numpy(shares / shares.sum()))
        self.familiarity = None if model.domain is None else _Familiarity(model.domain.familiarity)

    def forward(self, network_BO, given):
        """Return the outputs of network and ensemble together, float64 [B, O], and the signs of the samples."""
        logs_BS = torch.where(given.real, torch.log(1 + READS * given.shares), 0.0).float()
        place_BS = given.vocabulary[given.asvs]
        logs_BC = given.scattered(logs_BS, place_BS, self.vocabulary)
        shares_BC = given.scattered(torch.where(given.real, given.shares, 0.0).float(), place_BS, self.vocabulary)
        coverage_MB = self._coverage(logs_BC, logs_BS)
        reads_MB = self._coverage(shares_BC, given.shares.float())
        features_BF = self._features(logs_BC, given)
        by_kind = [members(features_BF) for members in self.members]
        ensemble_MBO = sum(weight * outputs for weight, outputs in zip(self.weights, by_kind))
        outputs_MBO = self._blended(network_BO, ensemble_MBO, coverage_MB)
        if self.familiarity is None:
            familiarity_B = torch.full_like(coverage_MB[0], torch.nan)
        else:
            squares_B = logs_BS.double().square().sum(1)
            familiarity_B = self.familiarity(logs_BC.double(), squares_B)
        signs = SignsOf(
            self._mean(coverage_MB), self._mean(reads_MB), familiarity_B, _disagreement(torch.stack(by_kind))
        )
        return self._mean(outputs_MBO), signs

    def _mean(self, values):
        return torch.tensordot(self.shares_M, values, dims=1)

    def _coverage(self, known_BC, values_BS):
        share_BM = (known_BC @ self.known_CM).double() / values_BS.double().sum(1, keepdim=True)
        return share_BM.clamp_max(1.0).T

    def _blended(self, network_BO, ensemble_MBO, coverage_MB):
        blend = self.blend
        gate_MB1 = (coverage_MB / ENOUGH_COVERAGE).clamp_max(1.0)[..., None]
        both_MBO = blend.network * network_BO + blend.ensemble * ensemble_MBO
        return gate_MB1 * both_MBO + (1 - gate_MB1) * blend.network_alone * network_BO

    def _features(self, logs_BC, given):
        if self.tables is None:
            return logs_BC
        parts = [table[given.categories[:, place]] for place, table in enumerate(self.tables)]
        parts.append(given.numbers.flatten(1))
        return torch.cat([logs_BC, torch.cat(parts, dim=1) * self.schema.ensemble_scale], dim=1)


class _Perceptrons(nn.Module):
    def __init__(self, members):
        super().__init__()
        self.members = members.eval()

    def forward(self, features_BF):
        return self.members(PerceptronBatch(features_BF)).double()


class _Linear(nn.Module):
    def __init__(self, members):
        super().__init__()
        self.register_buffer('weight_MFO', torch.from_numpy(np.array(members.weight)))
        self.register_buffer('bias_M1O', torch.from_numpy(np.array(members.bias))[:, None])

    def forward(self, features_BF):
        return (features_BF @ self.weight_MFO + self.bias_M1O).double()


class _Trees(nn.Module):
    """Trees, whose paths are followed node by node, as many steps as the deepest has."""

    def __init__(self, members):
        super().__init__()
        self.members, self.trees = members.members, len(members.first) // members.members
        self.steps = depth(members.first, members.asv, members.right)
        for name in ('first', 'asv', 'right'):
            self.register_buffer(name, torch.from_numpy(getattr(members, name).astype(np.int64)))
        self.register_buffer('threshold', torch.from_numpy(np.array(members.threshold)))
        self.register_buffer('value', torch.from_numpy(members.value.astype(np.float64)))

    def forward(self, features_BF):
        samples = features_BF.shape[0]
        node_BT = self.first.expand(samples, -1)
        for _ in range(self.steps):
            asv_BT = self.asv[node_BT]
            held_BT = torch.gather(features_BF, 1, asv_BT.clamp_min(0))
            next_BT = torch.where(held_BT > self.threshold[node_BT], self.right[node_BT], node_BT + 1)
            node_BT = torch.where(asv_BT == LEAF, node_BT, next_BT)
        value_BTO = self.value[self.right[node_BT]]
        mean_MBO = value_BTO.unflatten(1, (self.members, self.trees)).mean(2).transpose(0, 1)
        if self.value.shape[1] == 1:
            return mean_MBO
        return torch.log((1 - SMOOTHING) * mean_MBO + SMOOTHING / self.value.shape[1])


def depth(first: np.ndarray, asv: np.ndarray, right: np.ndarray) -> int:
    """Return how many steps the longest path from a root to a leaf has."""
    steps, nodes = 0, first.astype(np.int64)
    while len(nodes := nodes[asv[nodes] != LEAF]):
        nodes = np.concatenate([nodes + 1, right[nodes].astype(np.int64)])
        steps += 1
    return steps


_KINDS = {PERCEPTRONS: _Perceptrons, LINEAR: _Linear, EXTRA_TREES: _Trees}


class _Familiarity(nn.Module):
    """How far a sample lies from the training samples (:class:`q2_aam.stats.familiarity.Familiarity`)."""

    def __init__(self, familiarity):
        super().__init__()
        self.unit_length = bool(familiarity.unit_length[0])
        self.units = [float(unit) for unit in familiarity.units]
        for name in ('center', 'basis', 'deviations'):
            self.register_buffer(name, torch.from_numpy(getattr(familiarity, name).astype(np.float64)))

    def forward(self, logs_BC, squares_B):
        inside_B = logs_BC.square().sum(1)
        outside_B = (squares_B - inside_B).clamp_min(0)
        if self.unit_length:
            whole_B = inside_B + outside_B
            whole_B = torch.where(whole_B > 0, whole_B, 1.0)
            logs_BC, outside_B = logs_BC / whole_B.sqrt()[:, None], outside_B / whole_B
            inside_B = logs_BC.square().sum(1)
        scores_BK = logs_BC @ self.basis - self.center @ self.basis
        whole_B = inside_B - 2 * (logs_BC @ self.center) + self.center @ self.center
        rest_B = (whole_B - scores_BK.square().sum(1)).clamp_min(0) + outside_B
        away_B = torch.zeros_like(rest_B)
        if len(self.deviations):
            away_B = (scores_BK / self.deviations).square().mean(1).sqrt()
        rest, of_rest, away, of_away, unit = self.units
        return torch.maximum((rest_B - rest) / of_rest, (away_B - away) / of_away).clamp_min(0) / unit


def _disagreement(outputs_KMBO):
    """Return how far the kinds are apart (:meth:`q2_aam.model.abundance_ensemble.AbundanceEnsemble.disagreement`)."""
    if outputs_KMBO.shape[-1] > 1:
        outputs_KMBO = torch.softmax(outputs_KMBO, dim=-1)
    away_KMBO = outputs_KMBO - outputs_KMBO.mean(0)
    return away_KMBO.square().mean(0).sqrt().mean(-1).mean(0)


def _tables(schema):
    """Return the columns of each category of each categorical covariate, float32 [entries, entries]."""
    tables = []
    for column in schema.categorical:
        entries = len(column.categories) + 1
        table = torch.zeros(entries, entries)
        table[0, :-1], table[0, -1] = torch.tensor(column.shares), 1.0
        table[1:, :-1] = torch.eye(entries - 1)
        tables.append(table)
    return tables
