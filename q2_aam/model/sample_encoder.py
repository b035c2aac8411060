"""From ASV embeddings and abundances to an embedding of each sample.

Shapes: B samples, N non-zeros of the batch in all, U distinct ASVs, D width, M = N + B tokens (one summary token a
sample), Q their places with padding.
"""

import torch
from torch import nn

from .layers import Block, layout_of

# Shares of reads below this are told apart no more: 1 read in a million is deeper than amplicon studies go.
SMALLEST_SHARE = 1e-6
ABUNDANCE_FEATURES = 4


class SampleEncoder(nn.Module):
    """Transformer over the ASVs of a sample, which have no order, and a summary token."""

    def __init__(self, config):
        super().__init__()
        width = config.width
        self.asv_in = nn.Linear(width, width)
        self.abundance_in = nn.Linear(ABUNDANCE_FEATURES, width)
        self.abundance_scale = nn.Linear(ABUNDANCE_FEATURES, width)
        self.summary_embedding = nn.Parameter(torch.empty(1, width))
        self.blocks = nn.ModuleList(
            Block(width, config.attention_heads, config.feed_forward_ratio) for _ in range(config.sample_layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, asvs_UD, asv_N, features_N, offsets_B):
        """Encode samples.

        Parameters
        ----------
        asvs_UD : [U, D]
        asv_N : int64 [N]
            Row in `asvs_UD` of each non-zero.
        features_N : [N, ABUNDANCE_FEATURES]
            From :func:`abundance_features`.
        offsets_B : int64 [B + 1]
            Where each sample begins among the non-zeros.

        Returns
        -------
        summary : [B, D]
        tokens : [N, D]
            Each ASV as seen within its sample.
        """
        x_ND = self.asv_in(asvs_UD).index_select(0, asv_N)
        x_ND = x_ND * (1 + self.abundance_scale(features_N)) + self.abundance_in(features_N)
        # the summary token of sample b stands before its ASVs, so its row is offsets[b] + b
        samples = len(offsets_B) - 1
        offsets_M = offsets_B + torch.arange(samples + 1, device=offsets_B.device)
        is_summary_M = torch.zeros(len(x_ND) + samples, dtype=torch.bool, device=x_ND.device)
        is_summary_M[offsets_M[:-1]] = True
        source_M = torch.where(is_summary_M, 0, (~is_summary_M).cumsum(0))
        x_MD = torch.cat([self.summary_embedding, x_ND]).index_select(0, source_M)
        layout = layout_of(offsets_M.cpu().numpy(), x_MD.device)
        x_QD = layout.spread(x_MD)
        for block in self.blocks:
            x_QD = block(x_QD, layout)
        x_MD = self.norm(layout.collect(x_QD))
        asv_rows_N = (~is_summary_M).nonzero()[:, 0]
        return x_MD.index_select(0, offsets_M[:-1]), x_MD.index_select(0, asv_rows_N)


def abundance_features(abundances_N):
    """Views of a share of reads that stay apart for rare and for common ASVs: [N, 4], each of order 1."""
    log_N = torch.log10(abundances_N.clamp_min(SMALLEST_SHARE))
    return torch.stack([log_N / 3 + 1, (log_N + 3).clamp_min(0) / 2, abundances_N.sqrt(), abundances_N], dim=-1)
