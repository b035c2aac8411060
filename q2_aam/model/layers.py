"""Transformer layers over ragged sequences: linear work on all tokens at once, attention bucket by bucket.

Shapes: N tokens in all, Q places of the buckets (tokens and padding), D width, H heads, E = D / H width of a head,
R sequences in a bucket, S its longest sequence.
"""

import contextvars
import dataclasses

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

# A bucket ends where a sequence is shorter than this share of its longest: less padding against more kernel calls. On
# ECAM a seventeenth of the places are padding.
SHORTEST_IN_BUCKET = 0.85

# Whether `recomputed` keeps everything: in work that is itself computed again, once is enough.
_keeps_all = contextvars.ContextVar('keeps_all', default=False)


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
    gather : int64 [Q], or None where the tokens are one bucket as they stand
        The token at each place of the buckets, one bucket after the other; padding repeats a token of its sequence.
    place : int64 [N], or None likewise
        The place of each token.
    """

    buckets: list
    gather: torch.Tensor | None
    place: torch.Tensor | None

    def spread(self, x_ND):
        """Put tokens into their places, [Q, D]."""
        # index_select, because the gradient of plain indexing is several times slower on a CPU
        return x_ND if self.gather is None else x_ND.index_select(0, self.gather)

    def collect(self, x_QD):
        """Take tokens from their places, [N, D]."""
        return x_QD if self.place is None else x_QD.index_select(0, self.place)


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


def ragged_attention(qkv_Q3HE, layout):
    """Attention of every token to the tokens of its own sequence; what stands at padding means nothing.

    Parameters
    ----------
    qkv_Q3HE : [Q, 3, H, E]
        Query, key and value at each place.

    Returns
    -------
    [Q, D]
    """
    outputs = []
    sizes = [rows * length for rows, length in (bucket.shape for bucket in layout.buckets)]
    for bucket, qkv in zip(layout.buckets, qkv_Q3HE.split(sizes)):
        q_RHSE, k_RHSE, v_RHSE = qkv.unflatten(0, bucket.shape).permute(2, 0, 3, 1, 4)
        mask = None if bucket.real is None else bucket.real[:, None, None, :]
        out_RHSE = F.scaled_dot_product_attention(q_RHSE, k_RHSE, v_RHSE, attn_mask=mask)
        outputs.append(out_RHSE.transpose(1, 2).flatten(2).flatten(0, 1))
    # joining a single one would be a copy
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def recomputed(function, x):
    """Return `function(x)`; what it makes on the way to its last product is made again for the gradient, not kept.

    The second run ends as soon as it has what the gradient needs: of `linear(norm(x))` it runs the norm alone. A
    compiler decides by itself what to keep.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling() or _keeps_all.get():
        return function(x)
    return checkpoint(function, x, use_reentrant=False, preserve_rng_state=False)


def all_recomputed(function, *inputs):
    """Return `function(*inputs)`, of which nothing but the inputs is kept: all is computed again for the gradient."""

    def keeping_all(*inputs):
        before = _keeps_all.set(True)
        try:
            return function(*inputs)
        finally:
            _keeps_all.reset(before)

    return checkpoint(keeping_all, *inputs, use_reentrant=False, preserve_rng_state=False)


class Block(nn.Module):
    """One pre-norm transformer layer (Xiong et al. 2020, arXiv:2002.04745) on tokens in their places, [Q, D]."""

    def __init__(self, width, heads, feed_forward_ratio):
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward_in = nn.Linear(width, feed_forward_ratio * width)
        self.feed_forward_out = nn.Linear(feed_forward_ratio * width, width)

    def forward(self, x_QD, layout):
        qkv_Q3HE = self._attention_in(x_QD).unflatten(-1, (3, self.heads, -1))
        x_QD = x_QD + self.attention_out(ragged_attention(qkv_Q3HE, layout))
        return self._feed_forward(x_QD)

    def compile_products(self):
        """Compile what does not depend on where sequences begin and end; buckets differ from batch to batch."""
        for name in ('_attention_in', '_feed_forward'):
            setattr(self, name, torch.compile(getattr(self, name), dynamic=True))

    def _attention_in(self, x_QD):
        return recomputed(lambda x: self.query_key_value(self.attention_norm(x)), x_QD)

    def _feed_forward(self, x_QD):
        hidden_QF = recomputed(lambda x: self.feed_forward_in(self.feed_forward_norm(x)), x_QD)
        return x_QD + recomputed(lambda x: self.feed_forward_out(F.gelu(x)), hidden_QF)
