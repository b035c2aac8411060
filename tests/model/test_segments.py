"""Padded rows give what ragged rows give, whatever stands at padding."""

import pytest
import torch

from q2_aam.model.segments import largest_of, mean_of, sum_of, wholes_of

LENGTHS = torch.tensor([3, 1, 4])
REAL = torch.arange(4) < LENGTHS[:, None]


def padded(x, fill):
    """Return ragged rows [N, ...] with padding of `fill`, [R * S, ...]."""
    rows = x.new_full((*REAL.shape, *x.shape[1:]), fill)
    rows[REAL] = x
    return rows.flatten(0, 1)


@pytest.mark.parametrize('function', [mean_of, sum_of, largest_of])
@pytest.mark.parametrize('shape', [(8,), (8, 2), (8, 2, 3)])
@pytest.mark.parametrize('fill', [0.0, 1e9, -1e9, float('nan')])
def test_padding_counts_for_nothing(function, shape, fill):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(function(padded(x, fill), REAL), function(x, LENGTHS))


def test_a_mean_of_known_numbers():
    x = torch.tensor([1.0, 2.0, 6.0, 5.0, 0.0, 0.0, 0.0, 8.0])
    assert mean_of(x, LENGTHS).tolist() == [3.0, 5.0, 2.0] and sum_of(x, LENGTHS).tolist() == [9.0, 5.0, 8.0]
    assert largest_of(x, LENGTHS).tolist() == [6.0, 5.0, 8.0]


def test_each_part_knows_its_whole():
    assert wholes_of(LENGTHS, 8).tolist() == [0, 0, 0, 1, 2, 2, 2, 2]
    assert wholes_of(REAL, 12).tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]


def test_a_whole_without_parts_has_no_mean():
    none = torch.zeros(1, 2, dtype=torch.bool)
    assert mean_of(torch.ones(2, 3), none).isnan().all()
