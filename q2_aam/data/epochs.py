"""The order in which the samples of an epoch are read."""

import collections.abc

import numpy as np


def batches_of_epoch(
    rows: np.ndarray, batch_size: int, generator: np.random.Generator
) -> collections.abc.Iterator[np.ndarray]:
    """Yield the rows of each batch of one epoch, shuffled; batches differ in size by at most one.

    Equal sizes instead of a small last batch: no sample is dropped and, from three a batch on, none is
    too small for pairs.
    """
    rows = generator.permutation(rows)
    yield from np.array_split(rows, max(1, -(-len(rows) // batch_size)))
