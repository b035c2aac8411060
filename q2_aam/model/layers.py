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
    """Sequences of like length: shape (R, S), and real bool [R, S] (None: no padding)."""

    shape: tuple
    real: torch.Tensor | None


@dataclasses.dataclass
class Layout:
    """How N tokens make sequences, and where each token stands in the padded buckets.

    Attributes
    ----------
    buckets : list of Bucket
    gather : int64 [padded tokens], or None where the tokens are one bucket as they stand
        The token at each place of the buckets, one bucket after the other; padding repeats a token of its sequence.
    place : int64 [N], or None likewise
        The place of each token.
    """

    buckets: list
    gather: torch.Tensor | None
    place: torch.Tensor | None


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
    if (sizes == sizes[0]).all():
        return Layout([Bucket((len(sizes), int(sizes[0])), None)], None, None)
    order = np.argsort(-sizes, kind='stable')
    buckets, gather, is_real = [], [], []
    start = 0
    while start < len(order):
        longest = sizes[order[start]]
        end = start + int((sizes[order[start:]] >= SHORTEST_IN_BUCKET * longest).sum())
        rows = order[start:end]
        steps = np.arange(longest)
        real = steps < sizes[rows, None]
        gather.append(np.where(real, offsets[rows, None] + steps, offsets[rows, None]).ravel())
        is_real.append(real.ravel())
        buckets.append(Bucket(real.shape, None if real.all() else torch.from_numpy(real).to(device)))
        start = end
    gather, is_real = np.concatenate(gather), np.concatenate(is_real)
    place = np.empty(offsets[-1], dtype=np.int64)
    place[gather[is_real]] = np.flatnonzero(is_real)
    return Layout(buckets, torch.from_numpy(gather).to(device), torch.from_numpy(place).to(device))


def ragged_attention(qkv_N3HE, layout):
    """Attention of every token to the tokens of its own sequence.

    Parameters
    ----------
    qkv_N3HE : [N, 3, H, E]
        Query, key and value of each token.

    Returns
    -------
    [N, D]
    """
    if layout.gather is not None:
        # index_select, because the gradient of plain indexing is several times slower on a CPU
        qkv_N3HE = qkv_N3HE.index_select(0, layout.gather)
    outputs = []
    sizes = [rows * length for rows, length in (bucket.shape for bucket in layout.buckets)]
    for bucket, qkv in zip(layout.buckets, qkv_N3HE.split(sizes)):
        q_RHSE, k_RHSE, v_RHSE = qkv.unflatten(0, bucket.shape).permute(2, 0, 3, 1, 4)
        mask = None if bucket.real is None else bucket.real[:, None, None, :]
        out_RHSE = F.scaled_dot_product_attention(q_RHSE, k_RHSE, v_RHSE, attn_mask=mask)
        outputs.append(out_RHSE.transpose(1, 2).flatten(2).flatten(0, 1))
    out_ND = torch.cat(outputs)
    return out_ND if layout.place is None else out_ND.index_select(0, layout.place)


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
        qkv_N3HE = self.query_key_value(self.attention_norm(x_ND)).unflatten(-1, (3, self.heads, -1))
        x_ND = x_ND + self.attention_out(ragged_attention(qkv_N3HE, layout))
        return x_ND + self.feed_forward_out(F.gelu(self.feed_forward_in(self.feed_forward_norm(x_ND))))
