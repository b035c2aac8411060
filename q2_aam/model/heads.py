"""Heads: what turns embeddings into outputs. A new one is a class here and an entry in HEADS.

Shapes: B samples, M masked tokens, P nucleotides of a token, K memberships, D width, O outputs.
"""

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from q2_aam.config import HeadConfig, ResolvedModel
from q2_aam.errors import shown

NUCLEOTIDES = 4


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
        'samples' (SampleEmbeddings) or 'masked' (outputs of masked tokens).
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

    def forward(self, embeddings: SampleEmbeddings) -> torch.Tensor:
        """Return the distances among B samples, [B, B]."""
        return self.between(embeddings.memberships, embeddings.memberships)

    def between(self, one_AK: torch.Tensor, other_BK: torch.Tensor) -> torch.Tensor:
        """Return the distances between two sets of samples, [A, B], each from 0 to 1."""
        return membership_distances(one_AK, other_BK, F.softplus(self.weight))


def membership_distances(one_AK: torch.Tensor, other_BK: torch.Tensor, weight_K: torch.Tensor) -> torch.Tensor:
    """Return the weighted share of the union of two samples' memberships that is not in both, [A, B]."""
    shared_AB = torch.minimum(one_AK[:, None], other_BK[None]) @ weight_K
    # the larger of two numbers is their sum less the smaller: no second [A, B, K]
    sum_AB = (one_AK @ weight_K)[:, None] + other_BK @ weight_K
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


class TargetHead(Head):
    """Outputs from what is known of a sample: its summary, the mean of its ASVs and its soft memberships.

    A number has one output, the scaled target; classes have one each, the logarithm of its odds up to a constant.
    """

    has_outputs = True

    def __init__(self, config: ResolvedModel, head: HeadConfig):
        super().__init__(config, head)
        self.summary_norm = nn.LayerNorm(config.width)
        self.mean_norm = nn.LayerNorm(config.width)
        self.membership_norm = nn.LayerNorm(config.memberships)
        self.hidden = nn.Linear(2 * config.width + config.memberships, config.width)
        self.out = nn.Linear(config.width, head.outputs)

    def forward(self, embeddings: SampleEmbeddings) -> torch.Tensor:
        """Return outputs [B, O]."""
        x = torch.cat(
            [
                self.summary_norm(embeddings.summary),
                self.mean_norm(embeddings.mean),
                self.membership_norm(embeddings.memberships),
            ],
            dim=-1,
        )
        return self.out(F.gelu(self.hidden(x)))


# By HeadConfig.kind.
HEADS: dict[str, type[Head]] = {'distances': DistanceHead, 'nucleotides': NucleotideHead, 'target': TargetHead}


def make_head(config: ResolvedModel, head: HeadConfig) -> nn.Module:
    """Return the head that a configuration asks for; ValueError, in one sentence, if there is none."""
    if head.kind not in HEADS:
        raise ValueError(f'A head must be one of {", ".join(HEADS)}, but it is {shown(head.kind)}.')
    if (head.outputs > 0) != HEADS[head.kind].has_outputs:
        allowed = 'a whole number of at least 1' if HEADS[head.kind].has_outputs else '0'
        raise ValueError(f'Outputs of the head {head.kind} must be {allowed}, but they are {head.outputs}.')
    return HEADS[head.kind](config, head)
