"""Attention over ragged sequences is plain attention, sequence by sequence; little is kept for the gradient."""

import gc
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from q2_aam.data.layouts import layout_of
from q2_aam.model import fused_block, layers
from q2_aam.model.fused_block import can_fuse
from q2_aam.model.layers import Block, all_recomputed, ragged_attention, recomputed
from q2_aam.model.network import KEPT_PER_TOKEN

SIZES = [[5], [4, 4, 4], [1, 1, 1], [3, 7, 1, 7, 2, 20, 19, 6], list(range(1, 30)), [9, 1]]


def layout(*sizes):
    return layout_of(np.array(sizes, dtype=np.int64))


def dense_attention(qkv_S3HE):
    """Softmax attention of one sequence, written out: [S, D]."""
    q_SHE, k_SHE, v_SHE = qkv_S3HE.unbind(1)
    scores_HSS = torch.einsum('she,the->hst', q_SHE, k_SHE) / q_SHE.shape[-1] ** 0.5
    return torch.einsum('hst,the->she', scores_HSS.softmax(-1), v_SHE).flatten(1)


def attention(qkv_N3HE, sizes):
    of_sizes = layout(*sizes)
    return of_sizes.to_tokens(ragged_attention(of_sizes.to_places(qkv_N3HE), of_sizes))


@pytest.mark.parametrize('sizes', SIZES)
def test_ragged_attention_equals_dense_attention_of_each_sequence(sizes):
    qkv = torch.randn(sum(sizes), 3, 2, 4, generator=torch.Generator().manual_seed(1)) * 2
    expected = torch.cat([dense_attention(part) for part in qkv.split(sizes)])
    torch.testing.assert_close(attention(qkv, sizes), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('sizes', SIZES)
def test_the_gradient_of_ragged_attention_is_that_of_dense_attention(sizes):
    qkv = torch.randn(sum(sizes), 3, 2, 4, generator=torch.Generator().manual_seed(2)).requires_grad_()
    expected = torch.cat([dense_attention(part) for part in qkv.split(sizes)])
    (gradient,) = torch.autograd.grad(expected.sin().sum(), qkv)
    (ragged,) = torch.autograd.grad(attention(qkv, sizes).sin().sum(), qkv)
    torch.testing.assert_close(ragged, gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('precision', [torch.bfloat16, torch.float16])
def test_on_a_cpu_the_gradient_of_attention_is_computed_in_float32(precision, monkeypatch):
    # that of torch in half precision takes 15 times as long
    qkv = torch.randn(12, 3, 2, 4, generator=torch.Generator().manual_seed(3)).to(precision).requires_grad_()
    attend, seen = F.scaled_dot_product_attention, []

    def see(*inputs, **more):
        out = attend(*inputs, **more)
        seen.append(out.dtype)
        return out

    monkeypatch.setattr(F, 'scaled_dot_product_attention', see)
    with torch.autocast('cpu', precision):
        out = attention(qkv, [5, 4, 3])
        (gradient,) = torch.autograd.grad(out.float().sin().sum(), qkv)
    assert out.dtype == gradient.dtype == precision and set(seen) == {torch.float32}
    with torch.no_grad(), torch.autocast('cpu', precision):
        seen.clear()
        attention(qkv, [5, 4, 3])
    assert set(seen) == {precision}
    whole = qkv.detach().float().requires_grad_()
    expected = attention(whole, [5, 4, 3])
    torch.testing.assert_close(out, expected.to(precision))
    (exact,) = torch.autograd.grad(expected.sin().sum(), whole)
    torch.testing.assert_close(gradient.float(), exact, rtol=0.02, atol=0.02)


def test_a_block_reads_each_sequence_alone(scrambled):
    block = scrambled(Block(16, 2, 2))
    sizes = [3, 7, 1, 9, 6]
    x_ND = torch.randn(sum(sizes), 16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        of_sizes = layout(*sizes)
        together = of_sizes.to_tokens(block(of_sizes.to_places(x_ND), of_sizes))
        alone = [block(part, layout(len(part))) for part in x_ND.split(sizes)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-5)


def plain_block(block, x_ND):
    """The block on one sequence, written out."""
    qkv = block.query_key_value(block.attention_norm(x_ND)).unflatten(-1, (3, block.heads, -1))
    x_ND = x_ND + block.attention_out(dense_attention(qkv))
    return x_ND + block.mlp_out(F.gelu(block.mlp_in(block.mlp_norm(x_ND))))


@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_outputs_and_gradients_of_a_block_are_those_of_its_layers_composed(scrambled, dtype, tolerance):
    block = scrambled(Block(16, 2, 2)).to(dtype)
    x_ND = torch.randn(7, 16, dtype=dtype, generator=torch.Generator().manual_seed(3)).requires_grad_()
    inputs = [x_ND, *block.parameters()]
    expected, outputs = plain_block(block, x_ND), block(x_ND, layout(7))
    torch.testing.assert_close(outputs, expected, rtol=tolerance, atol=tolerance)
    expected_gradients = torch.autograd.grad(expected.sin().sum(), inputs)
    gradients = torch.autograd.grad(outputs.sin().sum(), inputs)
    assert all(gradient.abs().max() > 0 for gradient in expected_gradients)
    torch.testing.assert_close(gradients, expected_gradients, rtol=10 * tolerance, atol=10 * tolerance)


def test_the_gradient_of_a_block_is_that_of_finite_differences(scrambled):
    block = scrambled(Block(4, 2, 2)).double()
    of_sizes = layout(3, 1)
    x_ND = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: of_sizes.to_tokens(block(of_sizes.to_places(x), of_sizes)), x_ND)


def test_what_is_computed_again_ends_before_the_product(scrambled):
    linear, runs = scrambled(torch.nn.Linear(4, 4)), []
    linear.register_forward_hook(lambda *_: runs.append('product'))

    def cheap(x):
        runs.append('cheap')
        return x.sin()

    x = torch.ones(2, 4, requires_grad=True)
    recomputed(lambda x: linear(cheap(x)), x).sum().backward()
    assert runs == ['cheap', 'product', 'cheap']
    torch.testing.assert_close(x.grad, (linear.weight.sum(0) * torch.ones(2, 4).cos()), rtol=1e-6, atol=1e-6)


def test_work_that_is_all_computed_again_is_computed_twice_and_no_more(scrambled):
    linear, runs = scrambled(torch.nn.Linear(4, 4)), []
    linear.register_forward_hook(lambda *_: runs.append('product'))
    x = torch.ones(2, 4, requires_grad=True)
    all_recomputed(lambda x: recomputed(lambda y: linear(y.sin()), x).cos(), x).sum().backward()
    assert runs == ['product', 'product']
    expected = x.detach().requires_grad_()
    linear(expected.sin()).cos().sum().backward()
    torch.testing.assert_close(x.grad, expected.grad, rtol=0, atol=0)


def kept(block, x, of_sizes):
    """Floats that the block keeps for its gradient, for each place and unit of width, its input included."""
    saved = {}

    def pack(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    def alive():
        tensors = [thing for thing in gc.get_objects() if type(thing) is torch.Tensor]
        return {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}

    before = alive()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = block(x, of_sizes)
    storages = alive() | {place: tensor.untyped_storage().nbytes() for place, tensor in saved.items()}
    weights = {parameter.untyped_storage().data_ptr() for parameter in block.parameters()}
    new = set(storages) - set(before) - weights - {y.untyped_storage().data_ptr()}
    return 1 + sum(storages[place] for place in new) / 4 / x.numel()


@pytest.mark.parametrize('ratio', [1, 4])
def test_a_block_keeps_for_its_gradient_what_memory_is_reckoned_with(ratio, monkeypatch):
    block = Block(64, 2, ratio)
    alike, unlike = layout(*[20] * 20), layout(*[20] * 10, *[10] * 20)
    x = torch.randn(400, 64).requires_grad_()
    # a norm keeps 2 floats a token, and attention one for each head
    assert kept(block, x, unlike) == pytest.approx(KEPT_PER_TOKEN - 1 + ratio, abs=0.1)
    monkeypatch.setattr(layers, 'can_fuse', lambda x: False)
    # where there is one bucket, attention's outputs need not be joined
    assert kept(block, x, alike) == pytest.approx(KEPT_PER_TOKEN - 1 + ratio, abs=0.1)
    assert kept(block, x, unlike) == pytest.approx(KEPT_PER_TOKEN + ratio, abs=0.1)


@pytest.mark.parametrize('activation', layers.ACTIVATIONS)
@pytest.mark.parametrize('sizes', [(3, 3, 3), (5, 1, 3, 4, 9)])
def test_a_fused_block_is_that_of_autograd(sizes, activation, scrambled, monkeypatch):
    block, of_sizes = scrambled(Block(12, 3, 2, activation).double()), layout(*sizes)
    x_ND = torch.randn(sum(sizes), 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = []
    for fused in (True, False):
        monkeypatch.setattr(layers, 'can_fuse', lambda x, fused=fused: fused)
        inputs = x_ND.clone().requires_grad_()
        y_ND = of_sizes.to_tokens(block(of_sizes.to_places(inputs), of_sizes))
        gradients = torch.autograd.grad(y_ND.sin().sum(), [inputs, *block.parameters()])
        found.append([y_ND, *gradients])
        assert ('FusedBlock' in str(y_ND.grad_fn.next_functions) + str(y_ND.grad_fn)) == fused
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_fused_block_takes_inputs_of_any_strides(scrambled):
    block, of_sizes = scrambled(Block(8, 2, 2).double()), layout(3, 3)
    x_QD = torch.randn(6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = []
    for inputs in (x_QD.clone(), x_QD.mT.contiguous().mT):
        assert can_fuse(inputs)
        inputs.requires_grad_()
        found.append(torch.autograd.grad(block(inputs, of_sizes).sin().sum(), [inputs, *block.parameters()]))
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)


def test_a_fused_block_computes_no_gradient_of_weights_that_do_not_learn(scrambled, monkeypatch):
    products = []
    monkeypatch.setattr(fused_block, 'of_linear', lambda learns, *_: products.append(learns) or (None, None))
    block, of_sizes = scrambled(Block(8, 2, 2)).requires_grad_(False), layout(2, 2)
    x_ND = torch.ones(4, 8).requires_grad_()
    torch.autograd.grad(block(x_ND, of_sizes).sum(), x_ND)
    assert products == [False] * 4


def test_a_block_without_a_gradient_or_in_half_precision_is_not_fused():
    x = torch.ones(2, 4)
    assert can_fuse(x)
    with torch.no_grad():
        assert not can_fuse(x)
    with torch.autocast('cpu', torch.bfloat16):
        assert not can_fuse(x)
    assert not can_fuse(x.bfloat16())
    assert not can_fuse(x.to('meta'))


def dense_varlen(q_QHE, k_QHE, v_QHE, ends, other_ends, longest, other_longest):
    """What the kernel of PyTorch computes, one sequence after the other."""
    assert ends is other_ends and ends.dtype == torch.int32 and longest == other_longest == int(ends.diff().max())
    parts = [part.split(ends.diff().tolist()) for part in (q_QHE, k_QHE, v_QHE)]
    one = F.scaled_dot_product_attention
    return torch.cat([one(*(x.transpose(0, 1) for x in sequence)).transpose(0, 1) for sequence in zip(*parts)])


def test_without_buckets_a_block_gives_the_same(scrambled, monkeypatch):
    from torch.nn.attention import varlen

    monkeypatch.setattr(varlen, 'varlen_attn', dense_varlen)
    monkeypatch.setattr(layers, 'can_fuse', lambda x: False)
    block, sizes = scrambled(Block(12, 3, 2)), (5, 1, 3, 9)
    x_ND = torch.randn(18, 12, generator=torch.Generator().manual_seed(1))
    found = []
    for of_sizes in (layout(*sizes), layout_of(np.array(sizes), ragged=True)):
        inputs = x_ND.clone().requires_grad_()
        y_ND = of_sizes.to_tokens(block(of_sizes.to_places(inputs), of_sizes))
        found.append((y_ND, *torch.autograd.grad(y_ND.sin().sum(), [inputs, *block.parameters()])))
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_only_recent_gpus_in_half_precision_need_no_buckets(monkeypatch):
    gpu = types.SimpleNamespace(type='cuda')
    for capability, needed in (((8, 0), True), ((9, 0), True), ((7, 5), False)):
        monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device, capability=capability: capability)
        assert layers.needs_no_buckets(gpu, torch.bfloat16, 32) == needed
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: (9, 0))
    assert not layers.needs_no_buckets(gpu, torch.float32, 32)
    assert not layers.needs_no_buckets(gpu, torch.bfloat16, 12)
    assert not layers.needs_no_buckets(torch.device('cpu'), torch.bfloat16, 32)


def test_a_block_that_is_compiled_is_not_fused(monkeypatch):
    block, of_sizes = Block(8, 2, 2), layout(2, 2)
    monkeypatch.setattr(torch, 'compile', lambda function, dynamic: function)
    assert 'FusedBlock' in str(block(torch.ones(4, 8), of_sizes).grad_fn)
    block.compile_products()
    assert 'FusedBlock' not in str(block(torch.ones(4, 8), of_sizes).grad_fn)
