"""Whole ASVs are hidden, the same ones in all samples, and nothing else changes."""

import numpy as np
import pytest
import scipy.sparse

from q2_aam.data.thinning import DRAWS, SHARES, thinned


def matrix_of(seed=1):
    random = np.random.default_rng(seed)
    return scipy.sparse.csr_matrix((random.random((30, 50)) < 0.3) * random.uniform(1, 9, (30, 50)), dtype=np.float32)


def test_asvs_are_hidden_from_all_samples_alike():
    matrix = matrix_of()
    before = matrix.copy()
    draws = list(thinned(matrix, np.random.default_rng(0)))
    assert len(draws) == DRAWS * len(SHARES) and (matrix != before).nnz == 0
    for (kept, thin), share in zip(draws, np.repeat(SHARES, DRAWS)):
        assert kept.dtype == bool and (~kept).sum() == int(share * 50)
        assert np.array_equal(thin.toarray(), matrix.toarray() * kept)
        assert thin.nnz == matrix[:, kept].nnz and thin.dtype == np.float32 and thin.has_canonical_format


def test_draws_differ_and_a_seed_makes_the_same():
    def kept(seed):
        return [kept for kept, _ in thinned(matrix_of(), np.random.default_rng(seed), (0.5,), 3)]

    one, again, other = kept(1), kept(1), kept(2)
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert not np.array_equal(one[0], one[1])


@pytest.mark.parametrize('share, nonzeros', [(0.0, True), (1.0, False)])
def test_all_or_nothing_can_be_hidden(share, nonzeros):
    ((kept, thin),) = thinned(matrix_of(), np.random.default_rng(0), (share,), 1)
    assert kept.all() == nonzeros and bool(thin.nnz) == nonzeros and thin.shape == (30, 50)
