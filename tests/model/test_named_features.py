"""Named features have an embedding of their own and share those of their clades."""

import numpy as np
import pytest
import torch

from q2_aam.data.batches import Batch, sequence_chunks
from q2_aam.model.network import build_network

# clades 1 and 2, features 3, 4 and 5; the last is placed by its clade alone, and one is unknown
TOKENS = np.array([[1, 2, 3], [1, 2, 4], [5, 0, 0], [1, 2, 0], [0, 0, 0]], dtype=np.int32)
LENGTHS = np.array([3, 3, 1, 2, 1])


@pytest.fixture
def network(config_of):
    config = config_of(nucleotides_per_token=1, max_sequence_length=16)
    return build_network(config, {}, torch.Generator().manual_seed(1), tokens=5).eval()


def embedded(network, rows):
    chunks = sequence_chunks(TOKENS[rows], LENGTHS[rows], network.budget())
    return network(Batch(sequences=chunks)).asvs


def test_features_of_a_clade_are_more_alike_and_each_is_itself_alone_or_among_others(network):
    with torch.no_grad():
        together = embedded(network, np.arange(5))
        for row in range(5):
            torch.testing.assert_close(embedded(network, np.array([row]))[0], together[row], rtol=1e-5, atol=1e-6)
        one, two, alone, placed, unknown = together

    def apart(left, right):
        return (left - right).norm().item()

    assert apart(one, two) > 0.1 and apart(one, two) < min(apart(one, alone), apart(one, unknown))
    assert apart(one, placed) < apart(one, alone)


def test_what_one_feature_teaches_its_clade_moves_others_of_it_and_no_feature_elsewhere(network):
    embedded(network, np.array([0])).sum().backward()
    learned = network.asv_encoder.token_embedding.grad.abs().sum(1) > 0
    assert learned.tolist() == [False, True, True, True, False, False]


def test_tokens_begin_as_large_as_those_of_nucleotides_and_a_network_of_sequences_stays_as_it_was(network, config_of):
    plain = build_network(config_of(), {}, torch.Generator().manual_seed(1))
    assert network.asv_encoder.token_embedding.shape == (6, config_of().width)
    assert network.asv_encoder.token_embedding.std().item() == pytest.approx(1, rel=0.3)
    assert 'asv_encoder.nucleotide_embedding' in plain.state_dict()
    assert 'asv_encoder.token_embedding' not in plain.state_dict()
    assert 'asv_encoder.nucleotide_embedding' not in network.state_dict()
