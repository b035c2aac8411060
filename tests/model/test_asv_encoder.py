"""An ASV is its own nucleotides, all of them and nothing else."""

import pytest
import torch

from q2_aam.model.asv_encoder import CODES, ASVEncoder, NucleotideHead, hidden_nucleotides
from q2_aam.model.network import Network

# lengths that are and are not multiples of nucleotides_per_token, an unknown letter (5) within and at an end
ASVS = [[1, 2, 3, 4, 1, 2, 3, 4], [2, 2, 5, 1], [4], [3, 1, 4, 1, 5, 2, 2, 1, 4, 3, 3, 3, 1], [1, 2, 3, 5]]


def padded(asvs, length=None):
    codes = torch.zeros(len(asvs), length or max(map(len, asvs)), dtype=torch.uint8)
    for row, asv in enumerate(asvs):
        codes[row, : len(asv)] = torch.tensor(asv, dtype=torch.uint8)
    return codes, torch.tensor([len(asv) for asv in asvs])


def close(one, two):
    torch.testing.assert_close(one, two, rtol=0, atol=1e-5)


@pytest.fixture(params=[1, 3, 5, 24])
def encoder(request, config_of, scrambled):
    return scrambled(ASVEncoder(config_of(nucleotides_per_token=request.param))).requires_grad_(False)


def test_an_asv_alone_has_the_embedding_that_it_has_among_longer_ones(encoder):
    together, outputs = encoder(*padded(ASVS))
    assert together.shape == (5, 16) and outputs is None
    for row, asv in enumerate(ASVS):
        close(encoder(*padded([asv]))[0][0], together[row])
        close(encoder(*padded([asv], length=24))[0][0], together[row])


def test_the_order_of_asvs_does_not_matter(encoder):
    close(encoder(*padded(ASVS[::-1]))[0], encoder(*padded(ASVS))[0].flip(0))


def test_padding_adds_nothing_to_the_last_token(encoder):
    before = encoder(*padded(ASVS))[0]
    encoder.nucleotide_embedding[::CODES] = 1e3
    torch.testing.assert_close(encoder(*padded(ASVS))[0], before, rtol=0, atol=0)


def differ(encoder, one, two):
    embeddings = encoder(*padded([one, two]))[0]
    return (embeddings[0] - embeddings[1]).abs().max() > 0.01


def test_an_unknown_letter_is_not_padding(encoder):
    assert differ(encoder, [1, 2, 3, 5], [1, 2, 3])
    assert differ(encoder, [1, 2, 5, 4], [1, 2, 0, 4])


@pytest.mark.parametrize('other', [[2, 2, 3, 4], [1, 2, 3, 3], [1, 2, 3], [2, 1, 3, 4], [1, 3, 2, 4], [1, 2, 3, 4, 1]])
def test_every_nucleotide_and_its_place_count(encoder, other):
    assert differ(encoder, [1, 2, 3, 4], other)


def test_already_an_untrained_encoder_tells_sequences_apart(config_of):
    torch.manual_seed(1)
    with torch.no_grad():
        assert differ(Network(config_of()).asv_encoder, ASVS[0], [1, 2, 3, 4, 1, 2, 4, 4])


def test_the_nucleotides_of_a_hidden_token_cannot_be_seen(config_of, scrambled):
    encoder = scrambled(ASVEncoder(config_of())).requires_grad_(False)
    codes, lengths = padded([[1, 2, 3, 4, 1, 2, 3], [3, 3, 3, 1]])
    hidden = torch.tensor([[False, True, False], [False, True, False]])
    embeddings, outputs = encoder(codes, lengths, hidden)
    changed = codes.clone()
    changed[0, 3:6] = torch.tensor([2, 5, 4])
    changed[1, 3] = 2
    embeddings_too, outputs_too = encoder(changed, lengths, hidden)
    torch.testing.assert_close((embeddings_too, outputs_too), (embeddings, outputs), rtol=0, atol=0)
    # while those of any other token can
    changed[0, 6] = 1
    assert (encoder(changed, lengths, hidden)[1][0] - outputs[0]).abs().max() > 0.01


def test_hidden_outputs_come_in_the_order_of_their_nucleotides(config_of, scrambled):
    encoder = scrambled(ASVEncoder(config_of())).requires_grad_(False)
    codes, lengths = padded([[1, 2, 3, 4, 1, 2, 3], [3, 3, 3, 1]])
    hidden = torch.tensor([[True, False, True], [False, True, False]])
    assert hidden_nucleotides(codes, hidden, 3).tolist() == [[1, 2, 3], [3, 0, 0], [1, 0, 0]]
    _, outputs = encoder(codes, lengths, hidden)
    assert outputs.shape == (3, 16)
    close(outputs[:2], encoder(codes[:1], lengths[:1], hidden[:1])[1])
    close(outputs[2:], encoder(codes[1:], lengths[1:], hidden[1:])[1])


def test_the_head_has_four_logits_for_each_nucleotide_of_a_token(config_of, scrambled):
    head = scrambled(NucleotideHead(config_of()))
    outputs = torch.randn(7, 16)
    logits = head(outputs)
    assert logits.shape == (7, 3, 4)
    torch.testing.assert_close(logits.flatten(1), head.out(outputs))
