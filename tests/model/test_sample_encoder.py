"""A sample is a set of ASVs with their shares of reads."""

import numpy as np
import pytest
import torch

from q2_aam.data.batches import Budget, sample_chunks
from q2_aam.model.sample_encoder import (
    ABUNDANCE_FEATURES,
    MIN_SHARE,
    Memberships,
    SampleEncoder,
    abundance_features,
)

# three samples of 2, 1 and 4 ASVs out of 5
ASVS = np.array([0, 3, 3, 4, 1, 0, 2])
SHARES = np.array([0.9, 0.1, 1.0, 0.5, 0.25, 0.2, 0.05], dtype=np.float32)
OFFSETS = np.array([0, 2, 3, 7])


def close(one, two):
    torch.testing.assert_close(one, two, rtol=0, atol=1e-5)


def chunk_of(asvs, shares, offsets):
    """All of some samples in one chunk."""
    (chunk,) = sample_chunks(asvs, shares, offsets, Budget(2**28, 1, 1, 1, 1, 1))
    return chunk


@pytest.fixture
def encode(config_of, scrambled):
    """Encode samples: (embeddings of ASVs, ASVs, shares, offsets) -> summaries, tokens."""
    encoder = scrambled(SampleEncoder(config_of())).requires_grad_(False)

    def encode(embeddings, asvs=ASVS, shares=SHARES, offsets=OFFSETS):
        chunk = chunk_of(asvs, shares, offsets)
        return encoder(embeddings, abundance_features(chunk.abundances), chunk)

    return encode


@pytest.fixture
def embeddings():
    return torch.randn(5, 16, generator=torch.Generator().manual_seed(3))


def test_a_sample_alone_is_what_it_is_in_a_batch(encode, embeddings):
    summary, tokens = encode(embeddings)
    assert summary.shape == (3, 16) and tokens.shape == (7, 16)
    for sample in range(3):
        inside = slice(*OFFSETS[sample : sample + 2])
        offsets = np.array([0, inside.stop - inside.start])
        alone, alone_tokens = encode(embeddings, ASVS[inside], SHARES[inside], offsets)
        close(alone[0], summary[sample])
        close(alone_tokens, tokens[inside])


def test_asvs_of_a_sample_have_no_order(encode, embeddings):
    summary, tokens = encode(embeddings)
    order = np.array([1, 0, 2, 5, 3, 6, 4])
    permuted, permuted_tokens = encode(embeddings, ASVS[order], SHARES[order])
    close(permuted, summary)
    close(permuted_tokens, tokens[torch.from_numpy(order)])


def test_every_asv_and_its_abundance_reach_the_summary(encode, embeddings):
    summary, _ = encode(embeddings)
    last = np.arange(7) == 6
    for changed_asvs, changed_shares in (
        (np.where(last, 1, ASVS), SHARES),
        (ASVS, np.where(last, SHARES / 2, SHARES)),
    ):
        changed, _ = encode(embeddings, changed_asvs, changed_shares)
        close(changed[:2], summary[:2])
        assert (changed[2] - summary[2]).abs().max() > 1e-3


def test_memberships_of_a_sample_are_the_largest_of_its_asvs(config_of, scrambled, embeddings):
    memberships = scrambled(Memberships(config_of())).requires_grad_(False)
    tokens_ND = torch.randn(7, 16, generator=torch.Generator().manual_seed(4))
    chunk = chunk_of(ASVS, SHARES, OFFSETS)
    features_N = abundance_features(chunk.abundances)
    samples_BK = memberships(embeddings, tokens_ND, features_N, chunk)
    logits_NK = memberships.asv(embeddings[torch.from_numpy(ASVS)]) + memberships.context(tokens_ND)
    members_NK = logits_NK.sigmoid() * memberships.presence(features_N).sigmoid()
    expected = torch.stack([part.amax(0) for part in members_NK.split([2, 1, 4])])
    torch.testing.assert_close(samples_BK, expected, rtol=0, atol=1e-6)


def test_abundance_features_are_those_of_the_share():
    features = abundance_features(torch.tensor([1.0, 0.01, 1e-6, 1e-9]))
    assert features.shape == (4, ABUNDANCE_FEATURES)
    expected = torch.tensor([[1, 1.5, 1, 1], [1 / 3, 0.5, 0.1, 0.01], [-1, 0, 1e-3, 1e-6], [-1, 0, 1e-9**0.5, 1e-9]])
    torch.testing.assert_close(features, expected)


def test_shares_below_the_smallest_are_finite():
    assert torch.isfinite(abundance_features(torch.tensor([0.0, MIN_SHARE / 1e6]))).all()
