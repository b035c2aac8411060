"""An ASV is its own nucleotides, all of them and nothing else."""

import numpy as np
import pytest
import torch

from q2_aam.data.batches import Budget, sequence_chunks
from q2_aam.model.asv_encoder import CODES, ASVEncoder
from q2_aam.model.network import build_network

# lengths that are and are not multiples of nucleotides_per_token, an unknown letter (5) within and at an end
ASVS = [[1, 2, 3, 4, 1, 2, 3, 4], [2, 2, 5, 1], [4], [3, 1, 4, 1, 5, 2, 2, 1, 4, 3, 3, 3, 1], [1, 2, 3, 5]]


def padded(asvs, length=None):
    codes = np.zeros((len(asvs), length or max(map(len, asvs))), dtype=np.uint8)
    for row, asv in enumerate(asvs):
        codes[row, : len(asv)] = asv
    return codes


def chunk_of(asvs, per_token, masked=None, length=None):
    """All of some ASVs in one chunk."""
    budget = Budget(2**28, per_token, 1, 1, 1, 1)
    lengths = np.array([len(asv) for asv in asvs])
    (chunk,) = sequence_chunks(padded(asvs, length), lengths, budget, masked)
    return chunk


def encode(encoder, asvs, masked=None, length=None):
    return encoder(chunk_of(asvs, encoder.nucleotides_per_token, masked, length))


def close(one, two):
    torch.testing.assert_close(one, two, rtol=0, atol=1e-5)


@pytest.fixture(params=[1, 3, 5, 24])
def encoder(request, config_of, scrambled):
    return scrambled(ASVEncoder(config_of(nucleotides_per_token=request.param))).requires_grad_(False)


def test_an_asv_alone_has_the_embedding_that_it_has_among_longer_ones(encoder):
    together, outputs = encode(encoder, ASVS)
    assert together.shape == (5, 16) and outputs is None
    for row, asv in enumerate(ASVS):
        close(encode(encoder, [asv])[0][0], together[row])
        close(encode(encoder, [asv], length=24)[0][0], together[row])


def test_the_order_of_asvs_does_not_matter(encoder):
    close(encode(encoder, ASVS[::-1])[0], encode(encoder, ASVS)[0].flip(0))


def test_padding_adds_nothing_to_the_last_token(encoder):
    before = encode(encoder, ASVS)[0]
    encoder.nucleotide_embedding[::CODES] = 1e3
    torch.testing.assert_close(encode(encoder, ASVS)[0], before, rtol=0, atol=0)


def differ(encoder, one, two):
    embeddings = encode(encoder, [one, two])[0]
    return (embeddings[0] - embeddings[1]).abs().max() > 0.01


def test_an_unknown_letter_is_not_padding(encoder):
    assert differ(encoder, [1, 2, 3, 5], [1, 2, 3])
    assert differ(encoder, [1, 2, 5, 4], [1, 2, 0, 4])


@pytest.mark.parametrize('other', [[2, 2, 3, 4], [1, 2, 3, 3], [1, 2, 3], [2, 1, 3, 4], [1, 3, 2, 4], [1, 2, 3, 4, 1]])
def test_every_nucleotide_and_its_place_count(encoder, other):
    assert differ(encoder, [1, 2, 3, 4], other)


def test_already_an_untrained_encoder_tells_sequences_apart(config_of):
    network = build_network(config_of(), {}, torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert differ(network.asv_encoder, ASVS[0], [1, 2, 3, 4, 1, 2, 4, 4])


def test_the_nucleotides_of_a_masked_token_cannot_be_seen(config_of, scrambled):
    encoder = scrambled(ASVEncoder(config_of())).requires_grad_(False)
    masked = np.array([[False, True, False], [False, True, False]])
    before = encode(encoder, [[1, 2, 3, 4, 1, 2, 3], [3, 3, 3, 1]], masked)
    after = encode(encoder, [[1, 2, 3, 2, 5, 4, 3], [3, 3, 3, 2]], masked)
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    # while those of any other token can
    changed = encode(encoder, [[1, 2, 3, 4, 1, 2, 1], [3, 3, 3, 1]], masked)
    assert (changed[1][0] - before[1][0]).abs().max() > 0.01


def test_outputs_of_masked_tokens_come_asv_by_asv(config_of, scrambled):
    encoder = scrambled(ASVEncoder(config_of())).requires_grad_(False)
    asvs = [[1, 2, 3, 4, 1, 2, 3], [3, 3, 3, 1]]
    masked = np.array([[True, False, True], [False, True, False]])
    embeddings, outputs = encode(encoder, asvs, masked)
    assert embeddings.shape == (2, 16) and outputs.shape == (3, 16)
    close(outputs[:2], encode(encoder, asvs[:1], masked[:1])[1])
    close(outputs[2:], encode(encoder, asvs[1:], masked[1:])[1])
    # in the order of the tokens: without a layer in between, each is the mask at its position
    encoder.blocks = torch.nn.ModuleList()
    positions = [0, 2, 1]
    binding, position = encoder.position_binding[positions], encoder.position_embedding[positions]
    close(encode(encoder, asvs, masked)[1], encoder.norm(encoder.mask_embedding * binding + position))
