"""Abundances that are hidden: which, and that what is shown does not tell them."""

import numpy as np
import pytest

from q2_aam.data.batches import Drawn
from q2_aam.data.hidden_abundances import HIDDEN, hide_abundances


@pytest.fixture
def drawn():
    """Samples of 10, 1, 2 and 7 ASVs."""
    random, richness = np.random.default_rng(1), [10, 1, 2, 7]
    shares = np.concatenate([random.dirichlet(np.ones(number)) for number in richness]).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(richness)])
    asvs = np.concatenate([random.permutation(12)[:number] for number in richness])
    return Drawn(np.arange(4), asvs, shares, offsets, depths=np.array([100, 200, 300, 400], dtype=np.float32))


def test_a_share_of_the_asvs_is_hidden_but_never_all_of_a_sample(drawn):
    hidden = hide_abundances(drawn, 4, 0.3, np.random.default_rng(2))
    gone = [part.sum() for part in np.split(hidden.abundances == HIDDEN, hidden.offsets[1:-1])]
    assert gone == [3, 0, 1, 2]
    assert np.array_equal(hidden.abundances == HIDDEN, np.isfinite(hidden.true))
    assert np.array_equal(hidden.places, drawn.inverse)
    np.testing.assert_allclose(hidden.true[hidden.abundances == HIDDEN], drawn.abundances[hidden.abundances == HIDDEN])


def test_what_is_shown_sums_to_one_and_is_of_the_reads_that_are_shown(drawn):
    hidden = hide_abundances(drawn, 4, 0.3, np.random.default_rng(2))
    for row, (begin, end) in enumerate(zip(hidden.offsets[:-1], hidden.offsets[1:])):
        shown = hidden.abundances[begin:end] != HIDDEN
        assert hidden.abundances[begin:end][shown].sum() == pytest.approx(1, rel=1e-5)
        counts = drawn.abundances[begin:end][shown] * drawn.depths[row]
        np.testing.assert_allclose(hidden.abundances[begin:end][shown] * hidden.depths[row], counts, rtol=1e-5)


def test_some_samples_are_read_again_each_time_others(drawn):
    ends = [hide_abundances(drawn, 2, 0.3, np.random.default_rng(seed)).offsets for seed in range(20)]
    assert all(len(end) == 3 for end in ends) and len({tuple(end) for end in ends}) > 3
