"""Transformer layers over ragged sequences: linear work on all tokens at once, attention bucket by bucket.

Shapes: N tokens in all, D width, H heads, E = D / H width of a head, R sequences in a bucket, S its longest sequence.
"""

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

# A bucket ends where a sequence is shorter than this share of its longest: less padding against more kernel calls.
SHORTEST_IN_BUCKET = 0.7


@dataclasses.dataclass
class Bucket:
    """Sequences of like length: tokens int64 [R, S] (row of each token), real bool [R, S] (None: no padding)."""

    tokens: torch.Tensor
    real: torch.Tensor | None


@dataclasses.dataclass
class Layout:
    """How N tokens make sequences: the buckets, and for each token its place in their concatenation, int64 [N]."""

    buckets: list
    place: torch.Tensor


def layout_of(offsets, device='cpu'):
    """Sort sequences into buckets of like length.

    Parameters
    ----------
    offsets : int64 [sequences + 1]
        Where each sequence begins among the N tokens.

    Returns
    -------
    Layout
    """
    offsets = np.asarray(offsets)
    sizes = np.diff(offsets)
    order = np.argsort(-sizes, kind='stable')
    buckets, tokens_in_order = [], []
    start = 0
    while start < len(order):
        longest = sizes[order[start]]
        end = start + int((sizes[order[start:]] >= SHORTEST_IN_BUCKET * longest).sum())
        rows = order[start:end]
        steps = np.arange(longest)
        real = steps < sizes[rows, None]
        tokens = np.where(real, offsets[rows, None] + steps, offsets[rows, None])
        tokens_in_order.append(tokens[real])
        mask = None if real.all() else torch.from_numpy(real).to(device)
        buckets.append(Bucket(torch.from_numpy(tokens).to(device), mask))
        start = end
    order = np.concatenate(tokens_in_order)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return Layout(buckets, torch.from_numpy(place).to(device))


def ragged_attention(q_NHE, k_NHE, v_NHE, layout):
    """Attention of every token to the tokens of its own sequence; returns [N, H, E]."""
    outputs = []
    for bucket in layout.buckets:
        q_RHSE, k_RHSE, v_RHSE = (x[bucket.tokens].transpose(1, 2) for x in (q_NHE, k_NHE, v_NHE))
        mask = None if bucket.real is None else bucket.real[:, None, None, :]
        out_RSHE = F.scaled_dot_product_attention(q_RHSE, k_RHSE, v_RHSE, attn_mask=mask).transpose(1, 2)
        outputs.append(out_RSHE.flatten(0, 1) if bucket.real is None else out_RSHE[bucket.real])
    return torch.cat(outputs)[layout.place]


class Block(nn.Module):
    """One pre-norm transformer layer (Xiong et al. 2020, arXiv:2002.04745) on tokens [N, D]."""

    def __init__(self, width, heads, feed_forward_ratio):
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward_in = nn.Linear(width, feed_forward_ratio * width)
        self.feed_forward_out = nn.Linear(feed_forward_ratio * width, width)

    def forward(self, x_ND, layout):
        q, k, v = self.query_key_value(self.attention_norm(x_ND)).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        x_ND = x_ND + self.attention_out(ragged_attention(q, k, v, layout).flatten(-2))
        return x_ND + self.feed_forward_out(F.gelu(self.feed_forward_in(self.feed_forward_norm(x_ND))))
