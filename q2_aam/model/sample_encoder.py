"""From ASV embeddings and abundances to an embedding of each sample.

Shapes: B samples, N non-zeros of the batch, U distinct ASVs, D width, K memberships, M = N + B tokens (one summary
token a sample), Q their places with padding.
"""

import torch
from torch import nn

from q2_aam.config import ResolvedModel
from q2_aam.data.batches import SampleChunk

from .layers import Block
from .segments import largest_of, wholes_of

# Shares of reads below this are not told apart: 1 read in a million is deeper than amplicon studies go.
MIN_SHARE = 1e-6
ABUNDANCE_FEATURES = 4
# Counts above this are told apart by their logarithm alone.
FEW_READS = 10.0
# In place of each feature of an abundance that is masked.
MASKED_FEATURE = -1.5


class SampleEncoder(nn.Module):
    """Transformer over the ASVs of a sample, which have no order, and a summary token."""

    def __init__(self, config: ResolvedModel):
        super().__init__()
        width = config.width
        self.fusion = config.abundance_fusion
        self.asv_in = nn.Linear(width, width)
        if self.fusion == 'concat':
            self.abundance_fused = nn.Linear(width + ABUNDANCE_FEATURES, width)
        else:
            self.abundance_in = nn.Linear(ABUNDANCE_FEATURES, width)
        # film: Perez et al. 2018, arXiv:1709.07871
        if self.fusion not in ('concat', 'add'):
            self.abundance_scale = nn.Linear(ABUNDANCE_FEATURES, width)
        self.summary_embedding = nn.Parameter(torch.empty(1, width))
        self.blocks = nn.ModuleList(
            Block(width, config.attention_heads, config.mlp_ratio, config.activation)
            for _ in range(config.sample_layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, asvs_UD: torch.Tensor, features_N: torch.Tensor, chunk: SampleChunk):
        """Encode samples.

        Parameters
        ----------
        asvs_UD : [U, D]
        features_N : [N, ABUNDANCE_FEATURES]
            From :func:`abundance_features`.
        chunk : SampleChunk

        Returns
        -------
        summary : [B, D]
        tokens : [N, D]
            Each ASV as seen within its sample.
        """
        x_ND = self.asv_in(asvs_UD).index_select(0, chunk.asvs)
        x_ND = self._with_abundances(x_ND, features_N)
        x_MD = torch.cat([self.summary_embedding.to(x_ND.dtype), x_ND]).index_select(0, chunk.source)
        x_QD = chunk.layout.to_places(x_MD)
        for block in self.blocks:
            x_QD = block(x_QD, chunk.layout)
        x_MD = self.norm(chunk.layout.to_tokens(x_QD))
        return x_MD.index_select(0, chunk.summaries), x_MD.index_select(0, chunk.members)

    def _with_abundances(self, x_ND, features_N):
        if self.fusion == 'concat':
            return self.abundance_fused(torch.cat([x_ND, features_N.to(x_ND.dtype)], dim=-1))
        shift_ND = self.abundance_in(features_N)
        return x_ND + shift_ND if self.fusion == 'add' else x_ND * (1 + self.abundance_scale(features_N)) + shift_ND


class Memberships(nn.Module):
    """Soft memberships of samples: what the branches of a tree are to UniFrac.

    Each ASV holds K soft memberships; a sample holds the largest of its ASVs. What a sample holds of an ASV also
    depends on its abundance (a rare one may be missing from a rarefied sample) and on what the sample encoder makes of
    it.
    """

    def __init__(self, config: ResolvedModel):
        super().__init__()
        self.asv = nn.Linear(config.width, config.memberships)
        self.context = nn.Linear(config.width, config.memberships, bias=False)
        self.presence = nn.Linear(ABUNDANCE_FEATURES, config.memberships)

    def forward(
        self, asvs_UD: torch.Tensor, tokens_ND: torch.Tensor, features_N: torch.Tensor, chunk: SampleChunk
    ) -> torch.Tensor:
        """Return the memberships of samples, [B, K], from their ASVs and what the sample encoder made of them."""
        logits_NK = self.asv(asvs_UD).index_select(0, chunk.asvs) + self.context(tokens_ND)
        # in float32 whatever the logits are: memberships near 0 and near 1 must stay apart
        members_NK = torch.sigmoid(logits_NK.float()) * torch.sigmoid(self.presence(features_N).float())
        return largest_of(members_NK, chunk.richness)


def features_of(chunk: SampleChunk, told_as: str) -> torch.Tensor:
    """Return what the network is told of the abundances in a chunk, [N, 4], by the parameter abundance_as."""
    if told_as != 'log_counts':
        return abundance_features(chunk.abundances, told_as)
    assert chunk.depths is not None
    of_N = wholes_of(chunk.richness, chunk.asvs.shape[0])
    return count_features(chunk.abundances, chunk.depths.index_select(0, of_N))


def abundance_features(abundances_N: torch.Tensor, told_as: str = 'shares') -> torch.Tensor:
    """Views of a share of reads that stay apart for rare and for common ASVs: [N, 4], each of order 1.

    With `told_as` 'presence' they are those of 1 for every ASV that is there. A share below 0 is masked.
    """
    if told_as == 'presence':
        abundances_N = torch.ones_like(abundances_N)
    log_N = torch.log10(abundances_N.clamp_min(MIN_SHARE))
    root_N = abundances_N.clamp_min(0).sqrt()
    features = [log_N / 3 + 1, (log_N + 3).clamp_min(0) / 2, root_N, abundances_N]
    return _masked(torch.stack(features, dim=-1), abundances_N)


def count_features(abundances_N: torch.Tensor, depths_N: torch.Tensor) -> torch.Tensor:
    """Views of a count and of the depth of its sample: [N, 4], each of order 1. A share below 0 is masked."""
    counts_N = abundances_N.clamp_min(0) * depths_N
    log_N, depth_N = torch.log10(1 + counts_N), torch.log10(1 + depths_N)
    # those of few reads are apart, too
    features = [log_N / 2 - 1, (log_N - depth_N) / 3 + 1, counts_N.clamp_max(FEW_READS) / FEW_READS, depth_N - 4]
    return _masked(torch.stack(features, dim=-1), abundances_N)


def _masked(features_N4, abundances_N):
    """Give masked abundances features that no other has; those of the depth are masked with them."""
    return torch.where(abundances_N[..., None] < 0, MASKED_FEATURE, features_N4)
