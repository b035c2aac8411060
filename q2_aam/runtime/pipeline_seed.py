"""The seed of a pipeline whose user gave none: kept until it is done, so that a second start repeats no finished step.

Each step of a pipeline is a run of its own, whose seed follows from that of the pipeline. Started again after a kill
with the same seed, every step that was finished takes its result from its run directory
(:mod:`q2_aam.runtime.results`).
"""

from __future__ import annotations

import contextlib
from typing import Any

from q2_aam.data.atomic import read_json, remove

from .run_directory import SEED_FILE, name_of_run, seed_of_run, writing
from .run_root import LOCK_FILE, make_private, make_root, run_root


def seed_of_pipeline(call: str, config: Any, hashes: dict[str, str], random_seed: int) -> int:
    """Return the given seed; for 0, the one that the same call drew before and has not forgotten, or a new one.

    Parameters
    ----------
    call, config, hashes
        See :func:`q2_aam.runtime.run_directory.name_of_run`.
    random_seed : int

    Raises
    ------
    q2_aam.errors.UserError
        If the directory for working files cannot be written.
    """
    if random_seed:
        return random_seed
    root = run_root()
    directory = root / name_of_run(call, config, hashes)
    with writing(root):
        make_root(root)
        if not make_private(directory):
            # it belongs to another user: a seed that nobody keeps
            return seed_of_run(None, 0)
        return seed_of_run(directory, 0)


def forget_seed(seed: int) -> None:
    """Let the next call draw a seed of its own: the pipeline with this seed is done."""
    with contextlib.suppress(OSError):
        for path in list(run_root().glob(f'*/{SEED_FILE}')):
            with contextlib.suppress(OSError, ValueError, KeyError):
                # a run that draws its own seed has a lock, and may still need it
                if read_json(path)['seed'] == seed and not (path.parent / LOCK_FILE).exists():
                    remove(path.parent)
