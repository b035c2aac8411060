"""Heads: what turns embeddings into outputs.

Shapes: B samples, N non-zeros, U ASVs, K memberships, D width.
"""

import torch
import torch.nn.functional as F
from torch import nn

from .sample_encoder import ABUNDANCE_FEATURES


class DistanceHead(nn.Module):
    """Distances of samples as soft unions over their ASVs: bounded to [0, 1] by form, with no flat ends.

    Each ASV holds K soft memberships (the branches of an imagined tree); a sample holds the largest of its ASVs; the
    distance of two samples is the weighted part that one of them has and the other lacks. With hard memberships this
    is unweighted UniFrac (Lozupone and Knight 2005, doi:10.1128/AEM.71.12.8228-8235.2005), the memberships being the
    branches above an ASV and the weights their lengths. What a sample holds of an ASV also depends on its abundance
    (a rare one may be missing from a rarefied sample) and on what the sample encoder makes of it.
    """

    def __init__(self, config):
        super().__init__()
        self.membership = nn.Linear(config.width, config.memberships)
        self.context = nn.Linear(config.width, config.memberships, bias=False)
        self.presence = nn.Linear(ABUNDANCE_FEATURES, config.memberships)
        self.weight = nn.Parameter(torch.empty(config.memberships))

    def unions(self, asvs_UD, asv_N, tokens_ND, features_N, offsets_B):
        """Soft memberships of samples, [B, K], from their ASVs and what the sample encoder made of them."""
        logits_NK = self.membership(asvs_UD).index_select(0, asv_N) + self.context(tokens_ND)
        # in float32 whatever the logits are: memberships near 0 and near 1 must stay apart
        members_NK = torch.sigmoid(logits_NK.float()) * torch.sigmoid(self.presence(features_N).float())
        return torch.segment_reduce(members_NK, 'max', lengths=offsets_B.diff(), axis=0, unsafe=True)

    def forward(self, unions_AK, unions_BK):
        """Distances between two sets of samples, [A, B], each from 0 to 1."""
        weight_K = F.softplus(self.weight)
        shared_AB = torch.minimum(unions_AK[:, None], unions_BK[None]) @ weight_K
        # the larger of two numbers is their sum less the smaller: no second [A, B, K]
        sum_AB = (unions_AK @ weight_K)[:, None] + unions_BK @ weight_K
        # rounding can leave a sample slightly less than 0 from itself
        return (sum_AB - 2 * shared_AB).clamp_min(0) / (sum_AB - shared_AB).clamp_min(1e-9)


class RegressionHead(nn.Module):
    """Outputs from what is known of a sample: its summary, the mean of its ASVs and its soft memberships.

    A number has one output, the scaled target; classes have one each, the logarithm of its odds up to a constant.
    """

    def __init__(self, config, outputs):
        super().__init__()
        self.summary_norm = nn.LayerNorm(config.width)
        self.mean_norm = nn.LayerNorm(config.width)
        self.union_norm = nn.LayerNorm(config.memberships)
        self.hidden = nn.Linear(2 * config.width + config.memberships, config.width)
        self.out = nn.Linear(config.width, outputs)

    def forward(self, embeddings):
        """Return outputs [B, outputs] for the SampleEmbeddings of B samples."""
        x = torch.cat(
            [
                self.summary_norm(embeddings.summary),
                self.mean_norm(embeddings.mean),
                self.union_norm(embeddings.unions),
            ],
            dim=-1,
        )
        return self.out(F.gelu(self.hidden(x)))
