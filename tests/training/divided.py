"""One of two processes that divide the weights of a network: ``python -m tests.training.divided FOLDER RANK``.

It learns as the tests of :mod:`tests.training.test_divided` ask, and writes what it has learned into the folder.
"""

import pathlib
import sys

import numpy as np
import pytest
import torch
import torch.distributed as dist

from q2_aam.config.runtime import FSDP
from q2_aam.runtime.member import _Distributed
from q2_aam.runtime.ranks import Several
from q2_aam.runtime.sharded import is_sharded
from tests.training.test_ranks import learn, prepare_tiny, to_float64

SIZE, STEPS = 2, 4
# Floats of a chunk in each process: one has work in one piece, the other cuts it into many.
LITTLE = (10**9, 3000)
DIVIDED = {'strategy': FSDP, 'devices': SIZE}
OPTIONS = {
    'encoder': {'masked_asv_ratio': 0.3, 'taxonomy_level': 2, **DIVIDED},
    'regressor': {'head_dropout': 0.2, **DIVIDED},
}


def spoiled(floats):
    """Let a network have this much memory."""

    def spoil(network):
        assert all(map(is_sharded, network.parameters()))
        network.max_floats = floats

    return spoil


def main(folder, rank):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=SIZE)
    with pytest.MonkeyPatch.context() as patch:
        to_float64(patch)
        found = {}
        for kind, options in OPTIONS.items():
            prepared = prepare_tiny(kind, folder / f'{kind}-{rank}', **options)
            for name, floats in {'whole': 10**9, 'cut': LITTLE[rank]}.items():
                ranks = Several(rank, SIZE, _Distributed())
                losses, weights, _ = learn(prepared, ranks, STEPS, spoiled(floats), divide=True)
                found |= {f'{kind}.{name}.losses': losses, f'{kind}.{name}.weights': weights}
    np.savez(folder / f'{rank}.npz', **found)


if __name__ == '__main__':
    main(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
