"""A sample is a set of ASVs with their shares of reads."""

import pytest
import torch

from q2_aam.model.sample_encoder import ABUNDANCE_FEATURES, SMALLEST_SHARE, SampleEncoder, abundance_features

# three samples of 2, 1 and 4 ASVs out of 5
ASVS = torch.tensor([0, 3, 3, 4, 1, 0, 2])
SHARES = torch.tensor([0.9, 0.1, 1.0, 0.5, 0.25, 0.2, 0.05])
OFFSETS = torch.tensor([0, 2, 3, 7])


def close(one, two):
    torch.testing.assert_close(one, two, rtol=0, atol=1e-5)


@pytest.fixture
def encoder(config_of, scrambled):
    return scrambled(SampleEncoder(config_of())).requires_grad_(False)


@pytest.fixture
def embeddings():
    return torch.randn(5, 16, generator=torch.Generator().manual_seed(3))


def test_a_sample_alone_is_what_it_is_in_a_batch(encoder, embeddings):
    summary, tokens = encoder(embeddings, ASVS, abundance_features(SHARES), OFFSETS)
    assert summary.shape == (3, 16) and tokens.shape == (7, 16)
    for sample in range(3):
        own = slice(*OFFSETS[sample : sample + 2].tolist())
        alone, alone_tokens = encoder(
            embeddings, ASVS[own], abundance_features(SHARES[own]), torch.tensor([0, own.stop - own.start])
        )
        close(alone[0], summary[sample])
        close(alone_tokens, tokens[own])


def test_asvs_of_a_sample_have_no_order(encoder, embeddings):
    summary, tokens = encoder(embeddings, ASVS, abundance_features(SHARES), OFFSETS)
    order = torch.tensor([1, 0, 2, 5, 3, 6, 4])
    permuted, permuted_tokens = encoder(embeddings, ASVS[order], abundance_features(SHARES[order]), OFFSETS)
    close(permuted, summary)
    close(permuted_tokens, tokens[order])


def test_every_asv_and_its_abundance_reach_the_summary(encoder, embeddings):
    summary, _ = encoder(embeddings, ASVS, abundance_features(SHARES), OFFSETS)
    for changed_asvs, changed_shares in (
        (torch.where(torch.arange(7) == 6, 1, ASVS), SHARES),
        (ASVS, torch.where(torch.arange(7) == 6, 0.5 * SHARES, SHARES)),
    ):
        changed, _ = encoder(embeddings, changed_asvs, abundance_features(changed_shares), OFFSETS)
        close(changed[:2], summary[:2])
        assert (changed[2] - summary[2]).abs().max() > 1e-3


def test_abundance_features_are_those_of_the_share():
    features = abundance_features(torch.tensor([1.0, 0.01, 1e-6, 1e-9]))
    assert features.shape == (4, ABUNDANCE_FEATURES)
    expected = torch.tensor([[1, 1.5, 1, 1], [1 / 3, 0.5, 0.1, 0.01], [-1, 0, 1e-3, 1e-6], [-1, 0, 1e-9**0.5, 1e-9]])
    torch.testing.assert_close(features, expected)


def test_shares_below_the_smallest_are_finite():
    assert torch.isfinite(abundance_features(torch.tensor([0.0, SMALLEST_SHARE / 1e6]))).all()
