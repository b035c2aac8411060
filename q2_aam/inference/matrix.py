"""Matrices of all pairs of samples: filled block by block, exactly symmetric, and refused where they do not fit."""

import numpy as np
import torch

from q2_aam.config import AUTO
from q2_aam.errors import UserError
from q2_aam.runtime.memory import available_memory_gb

# Rows and columns computed together: with 256 memberships blocks of 512 leave the caches and take four times as long.
MAX_BLOCK = 64
# The matrix is float32 from here to the artifact: scikit-bio takes it as it is, without a copy.
BYTES_A_PAIR = 4


@torch.no_grad()
def pairs_matrix(embeddings_BD, between, floats):
    """Return `between` of all pairs of B samples.

    Parameters
    ----------
    embeddings_BD : [B, D], or Branches of B samples
    between : callable
        Takes two sets of embeddings, [R, D] and [C, D]; returns a tensor [R, C] and may hold [R, C, D] meanwhile.
    floats : int
        Numbers that one call of `between` may hold.

    Returns
    -------
    float32 [B, B]
        Each pair computed once, so that the matrix is symmetric to the last bit; 0 on the diagonal.
    """
    samples, width = embeddings_BD.shape
    # twice [R, C, D]: what goes in and what comes out
    block = int(min(MAX_BLOCK, max(1, (floats / (2 * width)) ** 0.5)))
    values_BB = np.zeros((samples, samples), dtype=np.float32)
    starts = range(0, samples, block)
    for row in starts:
        rows = slice(row, row + block)
        for column in starts[row // block :]:
            columns = slice(column, column + block)
            values = between(embeddings_BD[rows], embeddings_BD[columns])
            if row == column:
                values = torch.triu(values, 1)
                values = values + values.T
            values = values.cpu().numpy()
            values_BB[rows, columns] = values
            values_BB[columns, rows] = values.T
    return values_BB


def euclidean(one_RD, other_CD):
    """Euclidean distances [R, C] from differences, which stay exact where two samples are all but the same."""
    return torch.cdist(one_RD, other_CD, compute_mode='donot_use_mm_for_euclid_dist')


def check_room(samples, max_memory_gb):
    """Refuse a matrix of so many samples where it takes more than `max_memory_gb`.

    'auto' is the memory that this process may use.

    Raises
    ------
    UserError
    """
    needed = BYTES_A_PAIR * samples**2 / 1e9
    if max_memory_gb == AUTO:
        room, whose = available_memory_gb(), 'this process may use'
    else:
        room, whose = max_memory_gb, 'max_memory_gb allows'
    if needed > room:
        raise UserError(
            f'The distance matrix of {samples:,} samples takes {needed:,.1f} GB of memory, but {whose} {room:,.1f} GB; '
            'give a table of fewer samples or more memory.'
        )
