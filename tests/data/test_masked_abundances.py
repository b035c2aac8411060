"""Abundances that are masked: which, and that what is shown does not tell them."""

import numpy as np
import pytest

from q2_aam.data.batches import Drawn
from q2_aam.data.masked_abundances import MASKED, mask_abundances


@pytest.fixture
def drawn():
    """Samples of 10, 1, 2 and 7 ASVs."""
    random, richness = np.random.default_rng(1), [10, 1, 2, 7]
    shares = np.concatenate([random.dirichlet(np.ones(number)) for number in richness]).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(richness)])
    asvs = np.concatenate([random.permutation(12)[:number] for number in richness])
    return Drawn(np.arange(4), asvs, shares, offsets, depths=np.array([100, 200, 300, 400], dtype=np.float32))


def test_a_share_of_the_asvs_is_masked_but_never_all_of_a_sample(drawn):
    masked = mask_abundances(drawn, 4, 0.3, np.random.default_rng(2))
    gone = [part.sum() for part in np.split(masked.abundances == MASKED, masked.offsets[1:-1])]
    assert gone == [3, 0, 1, 2]
    assert np.array_equal(masked.abundances == MASKED, np.isfinite(masked.true))
    assert np.array_equal(masked.places, drawn.inverse)
    np.testing.assert_allclose(masked.true[masked.abundances == MASKED], drawn.abundances[masked.abundances == MASKED])


def test_what_is_shown_sums_to_one_and_is_of_the_reads_that_are_shown(drawn):
    masked = mask_abundances(drawn, 4, 0.3, np.random.default_rng(2))
    for row, (begin, end) in enumerate(zip(masked.offsets[:-1], masked.offsets[1:])):
        shown = masked.abundances[begin:end] != MASKED
        assert masked.abundances[begin:end][shown].sum() == pytest.approx(1, rel=1e-5)
        counts = drawn.abundances[begin:end][shown] * drawn.depths[row]
        np.testing.assert_allclose(masked.abundances[begin:end][shown] * masked.depths[row], counts, rtol=1e-5)


def test_some_samples_are_read_again_each_time_others(drawn):
    ends = [mask_abundances(drawn, 2, 0.3, np.random.default_rng(seed)).offsets for seed in range(20)]
    assert all(len(end) == 3 for end in ends) and len({tuple(end) for end in ends}) > 3
