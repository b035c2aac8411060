"""Transformer layers over ragged sequences: linear work on all tokens at once, attention bucket by bucket.

Shapes: N tokens in all, Q places of the buckets (tokens and padding), D width, H heads, E = D / H width of a head,
F = E / 2, R sequences in a bucket, S its longest sequence.
"""

import contextvars
import functools
import importlib.util
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from q2_aam.data.layouts import Layout

from .fused_block import FusedBlock, can_fuse

# By the parameter activation.
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {'gelu': F.gelu, 'relu': F.relu, 'silu': F.silu}
# The slowest of turns takes some 6 times as many positions.
ROTARY_BASE = 10000.0
# Whether `recomputed` keeps everything: in work that is itself computed again, once is enough.
_keeps_all = contextvars.ContextVar('keeps_all', default=False)


def ragged_attention(qkv_Q3HE: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Attention of every token to the tokens of its own sequence; what stands at padding means nothing.

    Parameters
    ----------
    qkv_Q3HE : [Q, 3, H, E]
        Query, key and value at each place.

    Returns
    -------
    [Q, D]
    """
    if layout.ends is not None:
        return _without_buckets(qkv_Q3HE, layout)
    if qkv_Q3HE.device.type == 'cpu' and qkv_Q3HE.requires_grad and qkv_Q3HE.dtype in (torch.bfloat16, torch.float16):
        # there the gradient in half precision takes some 15 times as long as in float32
        with torch.autocast('cpu', enabled=False):
            return ragged_attention(qkv_Q3HE.float(), layout).to(qkv_Q3HE.dtype)
    outputs = []
    sizes = [rows * length for rows, length in (bucket.shape for bucket in layout.buckets)]
    for bucket, qkv in zip(layout.buckets, qkv_Q3HE.split(sizes)):
        q_RHSE, k_RHSE, v_RHSE = qkv.unflatten(0, bucket.shape).permute(2, 0, 3, 1, 4)
        mask = None if bucket.real is None else bucket.real[:, None, None, :]
        out_RHSE = F.scaled_dot_product_attention(q_RHSE, k_RHSE, v_RHSE, attn_mask=mask)
        outputs.append(out_RHSE.transpose(1, 2).flatten(2).flatten(0, 1))
    # joining a single one would be a copy
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _without_buckets(qkv_Q3HE, layout):
    """Return the same of tokens that are left as they stand: one kernel instead of some for each bucket."""
    from torch.nn.attention.varlen import varlen_attn

    q_QHE, k_QHE, v_QHE = qkv_Q3HE.unbind(1)
    out_QHE = varlen_attn(q_QHE, k_QHE, v_QHE, layout.ends, layout.ends, layout.longest, layout.longest)
    return out_QHE.flatten(1)


def needs_no_buckets(device: torch.device, precision: torch.dtype, head_width: int) -> bool:
    """Tell whether attention on a device reads sequences of any length at once, in half precision only.

    The kernels are those of FlashAttention (Dao 2023, arXiv:2307.08691), for GPUs from Ampere on.
    """
    return (
        device.type == 'cuda'
        and precision in (torch.bfloat16, torch.float16)
        and head_width % 8 == 0
        and head_width <= 256
        and torch.cuda.get_device_capability(device) >= (8, 0)
        and _has_kernel()
    )


@functools.cache
def _has_kernel():
    # asked for each batch
    return importlib.util.find_spec('torch.nn.attention.varlen') is not None


def recomputed(function, x):
    """Return `function(x)`; what it makes on the way to its last product is made again for the gradient, not kept.

    The second run ends as soon as it has what the gradient needs: of `linear(norm(x))` it runs the norm alone. A
    compiler decides by itself what to keep; and a GPU waits longer for Python than it computes, so there all is kept.
    """
    if not torch.is_grad_enabled() or x.is_cuda or torch.compiler.is_compiling() or _keeps_all.get():
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


def turns_of(length: int, width: int, device: torch.device) -> torch.Tensor:
    """Return by how much queries and keys of each position are turned: cosines and sines, [2, length, E / 2].

    Of rotary position embedding (Su et al. 2021, arXiv:2104.09864); `width` is E, that of a head, and even.
    """
    rates_F = ROTARY_BASE ** (torch.arange(width // 2, device=device) / (-width // 2))
    angles_LF = torch.arange(length, device=device)[:, None] * rates_F
    return torch.stack([angles_LF.cos(), angles_LF.sin()])


def turned(qkv_Q3HE: torch.Tensor, turns_2QF: torch.Tensor) -> torch.Tensor:
    """Turn queries and keys, so that their products depend on how far apart they stand and not on where."""
    cos_Q11F, sin_Q11F = turns_2QF.to(qkv_Q3HE.dtype)[:, :, None, None]
    one_Q2HF, other_Q2HF = qkv_Q3HE[:, :2].chunk(2, dim=-1)
    both = one_Q2HF * cos_Q11F - other_Q2HF * sin_Q11F, one_Q2HF * sin_Q11F + other_Q2HF * cos_Q11F
    return torch.cat([torch.cat(both, dim=-1), qkv_Q3HE[:, 2:]], dim=1)


class Block(nn.Module):
    """One pre-norm transformer layer (Xiong et al. 2020, arXiv:2002.04745) on tokens in their places, [Q, D]."""

    def __init__(self, width, heads, mlp_ratio, activation='gelu'):
        super().__init__()
        self.heads, self.compiled = heads, False
        self.activation = ACTIVATIONS[activation]
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, mlp_ratio * width)
        self.mlp_out = nn.Linear(mlp_ratio * width, width)

    def forward(self, x_QD, layout, turns_2QF=None):
        if turns_2QF is None and not self.compiled and can_fuse(x_QD):
            return FusedBlock.apply(x_QD, layout, self.heads, self.activation, self.mlp_norm.eps, *self.weights())
        qkv_Q3HE = self._attention_in(x_QD).unflatten(-1, (3, self.heads, -1))
        if turns_2QF is not None:
            qkv_Q3HE = turned(qkv_Q3HE, turns_2QF)
        x_QD = x_QD + self.attention_out(ragged_attention(qkv_Q3HE, layout))
        return self._mlp(x_QD)

    def weights(self) -> list[torch.Tensor]:
        """Return weight and bias of each part, in the order in which they are used."""
        parts = self.attention_norm, self.query_key_value, self.attention_out, self.mlp_norm, self.mlp_in, self.mlp_out
        return [weight for part in parts for weight in (part.weight, part.bias)]

    def compile_products(self) -> None:
        """Compile what does not depend on where sequences begin and end; buckets differ from batch to batch."""
        self.compiled = True
        for name in ('_attention_in', '_mlp'):
            setattr(self, name, torch.compile(getattr(self, name), dynamic=True))

    def _attention_in(self, x_QD):
        return recomputed(lambda x: self.query_key_value(self.attention_norm(x)), x_QD)

    def _mlp(self, x_QD):
        hidden_QF = recomputed(lambda x: self.mlp_in(self.mlp_norm(x)), x_QD)
        return x_QD + recomputed(lambda x: self.mlp_out(self.activation(x)), hidden_QF)
