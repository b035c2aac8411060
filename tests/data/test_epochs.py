"""Each sample of an epoch is read once, in an order that follows from its generator."""

import numpy as np
import pytest

from q2_aam.data.epochs import batches_of_epoch


@pytest.mark.parametrize('rows, batch_size', [(10, 4), (9, 3), (3, 64), (1, 2), (64, 64), (65, 64), (7, 3)])
def test_an_epoch_covers_each_row_once_in_batches_of_like_size(rows, batch_size):
    chosen = np.arange(100, 100 + rows)
    batches = list(batches_of_epoch(chosen, batch_size, np.random.default_rng(1)))
    assert sorted(np.concatenate(batches)) == chosen.tolist()
    sizes = [len(batch) for batch in batches]
    assert len(sizes) == -(-rows // batch_size)
    assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1


def test_epochs_are_shuffled_by_their_generator_alone():
    rows = np.arange(20)
    one, same, other = (np.concatenate(list(batches_of_epoch(rows, 5, np.random.default_rng(s)))) for s in (1, 1, 2))
    assert one.tolist() == same.tolist()
    assert one.tolist() != other.tolist() and one.tolist() != rows.tolist()
