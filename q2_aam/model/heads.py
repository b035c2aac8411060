"""Heads: what turns embeddings into outputs. A new one is a class here and an entry in HEADS.

Shapes: B samples, M masked tokens, P nucleotides of a token, K memberships, D width, O outputs.
"""

import dataclasses
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from q2_aam.config import HeadConfig, ResolvedModel
from q2_aam.errors import shown

from .branches import Branches, own_lengths

NUCLEOTIDES = 4
# Of float32, above which an exponential is infinite; and where a sigmoid begins, as a share of its range, at least.
MAX_EXPONENT, MIN_START = 80.0, 0.01


@dataclasses.dataclass
class SampleEmbeddings:
    """What the heads see of B samples: summary [B, D], mean [B, D], memberships [B, K]."""

    summary: torch.Tensor
    mean: torch.Tensor
    memberships: torch.Tensor

    @classmethod
    def concatenate(cls, parts: list['SampleEmbeddings']) -> 'SampleEmbeddings':
        """Join the embeddings of chunks of samples."""
        if len(parts) == 1:
            return parts[0]
        return cls(**{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in dataclasses.fields(cls)})


class Head(nn.Module):
    """What all heads have: the configuration of the model and their own, and what they are given.

    Attributes
    ----------
    reads : str
        'samples' (SampleEmbeddings), 'branches' (samples by their memberships and ASVs), 'masked_samples' (ASVs within
        samples that do not show all abundances), 'asvs' (their embeddings) or 'masked' (outputs of masked tokens).
    has_outputs : bool
        Whether its configuration says how many outputs it has.
    """

    reads = 'samples'
    has_outputs = False

    def __init__(self, config: ResolvedModel, head: HeadConfig):
        super().__init__()


class DistanceHead(Head):
    """Distances of samples by their soft memberships: bounded to [0, 1] by form, with no flat ends.

    The distance of two samples is the weighted part of their memberships that one of them has and the other lacks.
    With hard memberships this is unweighted UniFrac (Lozupone and Knight 2005, doi:10.1128/AEM.71.12.8228-8235.2005),
    the memberships being the branches above an ASV and the weights their lengths.
    """

    def __init__(self, config: ResolvedModel, head: HeadConfig):
        super().__init__(config, head)
        self.weight = nn.Parameter(torch.empty(config.memberships))

    def forward(
        self, embeddings: SampleEmbeddings, shared_BB: torch.Tensor | None = None, own_B: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the distances among B samples, [B, B].

        Where they have branches beside their memberships, `shared_BB` is the length of those that two samples share,
        and `own_B` of those that each has.
        """
        own = None if shared_BB is None or own_B is None else (shared_BB, own_B, own_B)
        return self.between(embeddings.memberships, embeddings.memberships, own)

    def between(
        self,
        one: torch.Tensor | Branches,
        other: torch.Tensor | Branches,
        own: tuple[torch.Tensor, ...] | None = None,
    ) -> torch.Tensor:
        """Return the distances between two sets of samples, [A, B], each from 0 to 1.

        They are memberships, [A, K] and [B, K], or have branches beside these; of memberships, such branches may be
        given as what two samples share and each has (:func:`~q2_aam.model.branches.own_lengths`).
        """
        return branch_distances(one, other, F.softplus(self.weight), own)


class OwnBranchDistanceHead(Head):
    """Distances of samples by their soft memberships, and by which of their ASVs are the same.

    Memberships are smooth in the sequence: what tells an ASV apart from its nearest relatives is in no membership if
    the encoder never saw them, and samples of such ASVs look alike. So each ASV has a branch of its own, too, as it has
    in a tree, whose length follows from its embedding, and which two samples share if both have the ASV.
    """

    reads = 'branches'

    def __init__(self, config: ResolvedModel, head: HeadConfig):
        super().__init__(config, head)
        self.weight = nn.Parameter(torch.empty(config.memberships))
        self.own = nn.Linear(config.width, 1)

    def forward(self, given: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Return the distances among B samples, [B, B], from what :meth:`branches` takes."""
        branches = self.branches(*given)
        return self.between(branches, branches)

    def branches(
        self, memberships_BK: torch.Tensor, asvs_UD: torch.Tensor, asvs_N: torch.Tensor, richness_B: torch.Tensor
    ) -> Branches:
        """Return the branches of samples, from their memberships and ASVs (their place among the U)."""
        lengths_U = F.softplus(self.own(asvs_UD).squeeze(-1))
        return Branches(memberships_BK, asvs_N, lengths_U.index_select(0, asvs_N), richness_B)

    def between(self, one: Branches, other: Branches) -> torch.Tensor:
        """Return the distances between two sets of samples, [A, B], each from 0 to 1."""
        return branch_distances(one, other, F.softplus(self.weight))


def branch_distances(
    one: torch.Tensor | Branches,
    other: torch.Tensor | Branches,
    weight_K: torch.Tensor,
    own: tuple[torch.Tensor, ...] | None = None,
):
    """Return the weighted share of the branches of two samples that is not in both, [A, B]."""
    if isinstance(one, Branches) and isinstance(other, Branches):
        return membership_distances(one.memberships, other.memberships, weight_K, own_lengths(one, other))
    return membership_distances(one, other, weight_K, own)


def membership_distances(
    one_AK: torch.Tensor, other_BK: torch.Tensor, weight_K: torch.Tensor, own: tuple[torch.Tensor, ...] | None = None
) -> torch.Tensor:
    """Return the weighted share of the union of two samples' memberships that is not in both, [A, B].

    What is their `own` (:func:`~q2_aam.model.branches.own_lengths`) counts with the memberships.
    """
    shared_AB = torch.minimum(one_AK[:, None], other_BK[None]) @ weight_K
    one_A, other_B = one_AK @ weight_K, other_BK @ weight_K
    if own is not None:
        shared_AB, one_A, other_B = shared_AB + own[0], one_A + own[1], other_B + own[2]
    # the larger of two numbers is their sum less the smaller: no second [A, B, K]
    sum_AB = one_A[:, None] + other_B
    # rounding can leave a sample slightly less than 0 from itself
    return (sum_AB - 2 * shared_AB).clamp_min(0) / (sum_AB - shared_AB).clamp_min(1e-9)


class NucleotideHead(Head):
    """Tells the nucleotides of masked tokens."""

    reads = 'masked'

    def __init__(self, config: ResolvedModel, head: HeadConfig):
        super().__init__(config, head)
        self.out = nn.Linear(config.width, config.nucleotides_per_token * NUCLEOTIDES)

    def forward(self, masked_MD: torch.Tensor) -> torch.Tensor:
        """Return logits [M, P, 4] for the outputs of masked tokens, [M, D]."""
        return self.out(masked_MD).unflatten(-1, (-1, NUCLEOTIDES))


class ASVClassHead(Head):
    """Tells the class of each ASV, such as its clade."""

    reads = 'asvs'
    has_outputs = True

    def __init__(self, config: ResolvedModel, head: HeadConfig):
        super().__init__(config, head)
        self.norm = nn.LayerNorm(config.width)
        self.out = nn.Linear(config.width, head.outputs)

    def forward(self, asvs_UD: torch.Tensor) -> torch.Tensor:
        """Return logits [U, O] of the embeddings of ASVs."""
        return self.out(self.norm(asvs_UD))


class AbundanceHead(Head):
    """Tells how large a share of its sample's reads an ASV has whose abundance is masked, by its logarithm."""

    reads = 'masked_samples'

    def __init__(self, config: ResolvedModel, head: HeadConfig):
        super().__init__(config, head)
        self.hidden = nn.Linear(config.width, config.width)
        self.out = nn.Linear(config.width, 1)

    def forward(self, tokens_ND: torch.Tensor) -> torch.Tensor:
        """Return numbers [N] of ASVs as they are seen within their samples, [N, D]."""
        return self.out(F.gelu(self.hidden(tokens_ND))).squeeze(-1)


# What is known of a sample, by its field of SampleEmbeddings: the layer that normalises it in a head.
NORMS = {'summary': 'summary_norm', 'mean': 'mean_norm', 'memberships': 'membership_norm'}
# By the parameter pooling.
POOLED = {'attention': 'summary', 'mean': 'mean', 'soft_union': 'memberships'}


class TargetHead(Head):
    """Outputs from what is known of a sample: its summary, the mean of its ASVs, its soft memberships, or all.

    A number has one output, the scaled target; classes have one each, the logarithm of its odds up to a constant.
    """

    has_outputs = True

    def __init__(self, config: ResolvedModel, head: HeadConfig):
        super().__init__(config, head)
        width, sizes = config.width, dict.fromkeys(NORMS, config.width) | {'memberships': config.memberships}
        self.pooled = tuple(NORMS) if head.pooling == 'all' else (POOLED[head.pooling],)
        for name in self.pooled:
            setattr(self, NORMS[name], nn.LayerNorm(sizes[name]))
        inputs = sum(sizes[name] for name in self.pooled)
        if head.layers:
            self.hidden = nn.Linear(inputs, width)
        self.more = nn.ModuleList(nn.Linear(width, width) for _ in range(head.layers - 1))
        self.out = nn.Linear(width if head.layers else inputs, head.outputs)
        if head.residual:
            self.linear = nn.Linear(inputs, head.outputs)
        if head.scaled:
            # in one row: the optimizer takes what has two dimensions for a matrix, and makes it smaller
            numbers = max(1, head.categories) * head.outputs
            self.output_scale = nn.Parameter(torch.empty(numbers))
            self.output_offset = nn.Parameter(torch.empty(numbers))
        self.config = head
        self.bound = BOUNDS[head.activation]

    def forward(
        self,
        embeddings: SampleEmbeddings,
        kept_HBD: torch.Tensor | None = None,
        category_B: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return outputs [B, O].

        Parameters
        ----------
        embeddings : SampleEmbeddings
        kept_HBD : [hidden layers, B, D], optional
            What the units of each hidden layer are multiplied by, where some are dropped.
        category_B : int64 [B], optional
            Number of the category of each sample; without it, all are unknown (0).
        """
        x = given = torch.cat([getattr(self, NORMS[name])(getattr(embeddings, name)) for name in self.pooled], dim=-1)
        hidden = [self.hidden, *self.more] if self.config.layers else []
        for number, layer in enumerate(hidden):
            x = F.gelu(layer(x))
            if kept_HBD is not None:
                x = x * kept_HBD[number]
        x = self.out(x)
        if self.config.residual:
            x = x + self.linear(given)
        if self.config.scaled:
            x = x * self._of(self.output_scale, category_B) + self._of(self.output_offset, category_B)
        return self.bound(x, self.config.low, self.config.high)

    def _of(self, numbers, category_B):
        """Return the numbers of each sample's category, [B, O]; where none is told, those of the unknown, the first."""
        if category_B is None:
            return numbers[: self.config.outputs]
        return numbers.view(-1, self.config.outputs)[category_B]


def _exp(x, low, high):
    # begins at 0, the mean of a scaled target, wherever the bound is
    return low + (-low if low < 0 else 1.0) * torch.exp(x.clamp_max(MAX_EXPONENT))


def _sigmoid(x, low, high):
    start = min(max(-low / (high - low), MIN_START), 1 - MIN_START)
    return low + (high - low) * torch.sigmoid(x + math.log(start / (1 - start)))


# What keeps outputs within bounds, by HeadConfig.activation: (outputs, low, high) -> outputs.
BOUNDS: dict[str, Callable[[torch.Tensor, float, float], torch.Tensor]] = {
    'none': lambda x, low, high: x,
    'relu': lambda x, low, high: low + F.relu(x - low),
    'softplus': lambda x, low, high: low + F.softplus(x - low),
    'exp': _exp,
    'sigmoid': _sigmoid,
}


# By HeadConfig.kind.
HEADS: dict[str, type[Head]] = {
    'distances': DistanceHead,
    'own_branches': OwnBranchDistanceHead,
    'nucleotides': NucleotideHead,
    'target': TargetHead,
    'asv_classes': ASVClassHead,
    'abundances': AbundanceHead,
    'sample_numbers': TargetHead,
}


def make_head(config: ResolvedModel, head: HeadConfig) -> nn.Module:
    """Return the head that a configuration asks for; ValueError, in one sentence, if there is none."""
    if head.kind not in HEADS:
        raise ValueError(f'A head must be one of {", ".join(HEADS)}, but it is {shown(head.kind)}.')
    if (head.outputs > 0) != HEADS[head.kind].has_outputs:
        allowed = 'a whole number of at least 1' if HEADS[head.kind].has_outputs else '0'
        raise ValueError(f'Outputs of the head {head.kind} must be {allowed}, but they are {head.outputs}.')
    return HEADS[head.kind](config, head)
