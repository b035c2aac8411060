"""A transformer layer as one function that knows its own gradient: on a CPU a third of a step is not matrix products.

PyTorch's gradient of the same layer joins and splits queries, keys and values once more for each bucket, adds what
could be added in place, and enters Python again for each thing that is recomputed.

Shapes: Q places of the buckets (tokens and padding), D width, H heads, E = D / H width of a head, F width of the MLP,
R sequences in a bucket, S its longest sequence.
"""

import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from q2_aam.data.layouts import Layout

aten = torch.ops.aten
# {activation: (gradient, x) -> gradient}
GRADIENTS: dict[Any, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    F.gelu: aten.gelu_backward,
    F.silu: aten.silu_backward,
    F.relu: lambda gradient, x: aten.threshold_backward(gradient, x, 0),
}


def can_fuse(x_QD: torch.Tensor) -> bool:
    """Tell whether a layer on `x_QD` is to be computed here: where there is a gradient, on a CPU, in one precision."""
    return (
        torch.is_grad_enabled()
        and x_QD.device.type == 'cpu'
        and x_QD.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled('cpu')
        and not torch.compiler.is_compiling()
    )


class FusedBlock(torch.autograd.Function):
    """The layer of :class:`q2_aam.model.layers.Block`, with the same outputs and gradients.

    Kept for the gradient are, for each token, 6 D + F floats: its input and that of the MLP, queries, keys and values,
    attention's output and the hidden units before their activation. Norms and activations are computed again.
    """

    @staticmethod
    def forward(ctx: Any, x_QD: torch.Tensor, layout: Layout, heads: int, activation: Any, eps: float, *weights):
        """Return the output [Q, D] of the layer; `weights` are those of :meth:`Block.weights`, in their order."""
        norm, norm_bias, qkv_in, qkv_bias, out, out_bias, norm_2, norm_2_bias, up, up_bias, down, down_bias = weights
        shape = (x_QD.shape[1],)
        y_QD, mean_Q1, spread_Q1 = torch.native_layer_norm(x_QD, shape, norm, norm_bias, eps)
        qkv_Q3HE = F.linear(y_QD, qkv_in, qkv_bias).unflatten(-1, (3, heads, -1))
        # the gradient of attention takes it for contiguous, whatever the strides of the input
        joined_QD, logs = torch.empty_like(x_QD, memory_format=torch.contiguous_format), []
        for rows, bucket, (q, k, v) in _buckets(qkv_Q3HE, layout):
            part_RHSE, log_RHS = aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, attn_mask=_mask(bucket, q))
            _heads_of(joined_QD[rows], bucket, heads).copy_(part_RHSE)
            logs.append(log_RHS)
        h_QD = F.linear(joined_QD, out, out_bias).add_(x_QD)
        z_QD, mean_2_Q1, spread_2_Q1 = torch.native_layer_norm(h_QD, shape, norm_2, norm_2_bias, eps)
        hidden_QF = F.linear(z_QD, up, up_bias)
        ctx.layout, ctx.heads, ctx.activation, ctx.eps = layout, heads, activation, eps
        kept = x_QD, mean_Q1, spread_Q1, qkv_Q3HE, joined_QD, h_QD, mean_2_Q1, spread_2_Q1, hidden_QF
        ctx.save_for_backward(*weights, *kept, *logs)
        return F.linear(activation(hidden_QF), down, down_bias).add_(h_QD)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients):
        """Return the gradients of all inputs of :meth:`forward`."""
        (d_QD,) = gradients
        # once: where a chunk is computed again, it is computed when they are asked for
        saved = ctx.saved_tensors
        norm, norm_bias, qkv_in, _, out, _, norm_2, norm_2_bias, up, _, down, _ = saved[:12]
        x_QD, mean_Q1, spread_Q1, qkv_Q3HE, joined_QD, h_QD, mean_2_Q1, spread_2_Q1, hidden_QF, *logs = saved[12:]
        d_QD, shape = d_QD.contiguous(), (x_QD.shape[1],)
        # where inputs alone are asked for, as importance does, those of weights would be two thirds of the work
        learns = any(ctx.needs_input_grad[5:])
        wanted = [True, learns, learns]

        of_down = of_linear(learns, d_QD, lambda: ctx.activation(hidden_QF))
        d_hidden_QF = GRADIENTS[ctx.activation](d_QD @ down, hidden_QF)
        of_up = of_linear(learns, d_hidden_QF, lambda: F.layer_norm(h_QD, shape, norm_2, norm_2_bias, ctx.eps))
        d_z_QD = d_hidden_QF @ up
        d_h_QD, *of_norm_2 = aten.native_layer_norm_backward(
            d_z_QD, h_QD, shape, mean_2_Q1, spread_2_Q1, norm_2, norm_2_bias, wanted
        )
        d_h_QD.add_(d_QD)

        of_out = of_linear(learns, d_h_QD, lambda: joined_QD)
        d_joined_QD = d_h_QD @ out
        d_qkv_Q3HE = torch.empty_like(qkv_Q3HE)
        for (rows, bucket, (q, k, v)), log_RHS in zip(_buckets(qkv_Q3HE, ctx.layout), logs):
            of_bucket = aten._scaled_dot_product_flash_attention_for_cpu_backward(
                _heads_of(d_joined_QD[rows], bucket, ctx.heads),
                *(q, k, v, _heads_of(joined_QD[rows], bucket, ctx.heads), log_RHS),
                *(0.0, False),
                attn_mask=_mask(bucket, q),
            )
            for part, d_RHSE in zip(_parts(d_qkv_Q3HE[rows], bucket), of_bucket):
                part.copy_(d_RHSE)
        d_qkv_QD = d_qkv_Q3HE.flatten(1)
        of_qkv = of_linear(learns, d_qkv_QD, lambda: F.layer_norm(x_QD, shape, norm, norm_bias, ctx.eps))
        d_x_QD, *of_norm = aten.native_layer_norm_backward(
            d_qkv_QD @ qkv_in, x_QD, shape, mean_Q1, spread_Q1, norm, norm_bias, wanted
        )
        d_x_QD.add_(d_h_QD)
        return d_x_QD, None, None, None, None, *of_norm, *of_qkv, *of_out, *of_norm_2, *of_up, *of_down


def of_linear(learns: bool, d_QB: torch.Tensor, make_x: Callable[[], torch.Tensor]) -> tuple[torch.Tensor | None, ...]:
    """Return the gradients of the weight [B, A] and the bias [B] of a linear layer; where it does not learn, two None.

    Parameters
    ----------
    learns : bool
    d_QB : [Q, B]
        Gradient of its outputs.
    make_x : callable
        () -> its inputs [Q, A].
    """
    if not learns:
        return None, None
    x_QA = make_x()
    # of two products that are each other's transpose, the one with the shorter columns is faster
    wide = d_QB.shape[1] > x_QA.shape[1]
    # a sum over rows takes twice as long as a product with ones
    return (x_QA.mT @ d_QB).mT if wide else d_QB.mT @ x_QA, d_QB.mT.mv(d_QB.new_ones(len(d_QB)))


def _buckets(qkv_Q3HE, layout):
    """Yield of each bucket its rows, itself, and its queries, keys and values [R, H, S, E]."""
    ends = itertools.accumulate(rows * length for rows, length in (bucket.shape for bucket in layout.buckets))
    start = 0
    for bucket, end in zip(layout.buckets, ends):
        yield slice(start, end), bucket, _parts(qkv_Q3HE[start:end], bucket)
        start = end


def _parts(qkv_Q3HE, bucket):
    return qkv_Q3HE.unflatten(0, bucket.shape).permute(2, 0, 3, 1, 4)


def _heads_of(x_QD, bucket, heads):
    """Return a view of rows of a bucket as [R, H, S, E]."""
    return x_QD.unflatten(-1, (heads, -1)).unflatten(0, bucket.shape).transpose(1, 2)


def _mask(bucket, like):
    """Return what is added to the logits of attention, [R, 1, 1, S]: nothing, and at padding minus infinity."""
    if bucket.real is None:
        return None
    mask = torch.zeros(bucket.real.shape, dtype=like.dtype)
    return mask.masked_fill_(~bucket.real, float('-inf'))[:, None, None, :]
