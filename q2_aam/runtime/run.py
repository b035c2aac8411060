"""One run: its directory, its seed, its device, and where it reports."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from .checkpoint import Checkpoint
from .device import choose_device, deterministic, use_threads
from .recorder import Recorder
from .run_directory import name_of_run, run_directory, seed_of_run


@dataclasses.dataclass(frozen=True)
class Run:
    """What every step of a run is given.

    Attributes
    ----------
    directory : path
        Its working files; deleted when it succeeds.
    seed : int
    device : torch.device
    recorder : q2_aam.runtime.recorder.Recorder
    hashes : dict
        SHA-256 of each input.
    started : float
        `time.monotonic()` at its start.
    """

    directory: pathlib.Path
    seed: int
    device: torch.device
    recorder: Recorder
    hashes: dict[str, str]
    started: float

    def checkpoint(self, name: str) -> Checkpoint:
        """Return where one of the run's loops keeps its state."""
        return Checkpoint(self.directory / name)


@contextlib.contextmanager
def open_run(action: str, config: Any, hashes: dict[str, str], say: Callable[[str], None] = print) -> Iterator[Run]:
    """Open the run of an action: found again by the same call on the same inputs, deleted when it succeeds."""
    started = time.monotonic()
    device = choose_device(config.runtime.device)
    with (
        run_directory(name_of_run(action, config, hashes)) as directory,
        use_threads(config.runtime.threads),
        deterministic(device),
    ):
        seed = seed_of_run(directory, config.training.random_seed)
        yield Run(directory, seed, device, Recorder(say), hashes, started)
