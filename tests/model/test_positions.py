"""How layers know where a token stands, and the activations of their feed-forward networks."""

import numpy as np
import pytest
import torch

from q2_aam.data.batches import make_batch
from q2_aam.data.layouts import layout_of
from q2_aam.model.layers import Block, turned, turns_of
from q2_aam.model.network import build_network
from tests.model.conftest import HEADS


@pytest.fixture
def asvs_of(config_of, scrambled, drawn_of):
    """Embeddings of the ASVs of some samples, by a network with these options."""

    def make(samples, **options):
        network = scrambled(build_network(config_of(**options), HEADS, torch.Generator().manual_seed(1)))
        drawn = drawn_of(np.array(samples))
        with torch.no_grad():
            outputs = network(make_batch(drawn, network.budget(), ('target',)))
        return dict(zip((tuple(codes[:length]) for codes, length in zip(drawn.codes, drawn.lengths)), outputs.asvs))

    return make


def test_products_of_turned_queries_and_keys_depend_on_how_far_apart_they_stand():
    qkv_Q3HE = torch.randn(1, 3, 2, 6, generator=torch.Generator().manual_seed(1)).expand(9, -1, -1, -1)
    q_QHE, k_QHE, v_QHE = turned(qkv_Q3HE, turns_of(9, 6, torch.device('cpu'))).unbind(1)
    products_HQQ = torch.einsum('qhe,phe->hqp', q_QHE, k_QHE)
    for apart in range(-8, 9):
        along = products_HQQ.diagonal(apart, 1, 2)
        torch.testing.assert_close(along, along[:, :1].expand_as(along))
    assert (products_HQQ[:, 0, 1:] - products_HQQ[:, 0, :1]).abs().min() > 1e-3
    # the first stands where nothing is turned, values are never
    torch.testing.assert_close(q_QHE[0], qkv_Q3HE[0, 0])
    assert torch.equal(v_QHE, qkv_Q3HE[:, 2])


def test_rotary_positions_take_the_place_of_learned_ones(config_of, asvs_of):
    rotary = build_network(config_of(positions='rotary'), HEADS)
    learned = {name for name, _ in build_network(config_of(), HEADS).named_parameters()}
    assert learned - {name for name, _ in rotary.named_parameters()} == {'asv_encoder.position_embedding'}
    of_learned, of_rotary = asvs_of([1, 3, 7]), asvs_of([1, 3, 7], positions='rotary')
    assert all((of_learned[code] - of_rotary[code]).abs().max() > 1e-3 for code in of_learned)


@pytest.mark.parametrize('positions', ['learned', 'rotary'])
def test_the_embedding_of_an_asv_is_the_same_in_any_batch(asvs_of, positions):
    alone, together = asvs_of([3], positions=positions), asvs_of([1, 3, 7], positions=positions)
    assert len(together) > len(alone)
    for code, embedding in alone.items():
        torch.testing.assert_close(together[code], embedding, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('activation', ['gelu', 'relu', 'silu'])
def test_the_feed_forward_network_of_a_layer_has_its_activation(scrambled, activation):
    block, layout = scrambled(Block(8, 2, 2, activation)), layout_of(np.array([3, 2]))
    x_ND = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    x_QD = layout.to_places(x_ND)
    attended_QD = x_QD + block.attention_out(torch.zeros_like(x_QD))
    # without values, attention gives nothing
    with torch.no_grad():
        block.query_key_value.weight.zero_(), block.query_key_value.bias.zero_()
    hidden_QF = getattr(torch.nn.functional, activation)(block.mlp_in(block.mlp_norm(attended_QD)))
    expected_QD = attended_QD + block.mlp_out(hidden_QF)
    torch.testing.assert_close(block(x_QD, layout), expected_QD)
