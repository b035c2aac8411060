"""One run: its directory, its seed, its device, where it reports, and the result that it keeps."""

import contextlib
import dataclasses
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import torch

from q2_aam.bundle import MODEL_FILE
from q2_aam.config.runtime import NO_TRACKER
from q2_aam.data.atomic import hash_file

from . import results
from .checkpoint import Checkpoint
from .device import choose_device, deterministic, use_threads
from .kept_embeddings import max_gb
from .ranks import ONE, Ranks
from .recorder import Recorder
from .run_directory import name_of_run, run_directory, seed_of_run
from .screen import print_line
from .tracking import Tracked, check_tracker, trackers_of


@dataclasses.dataclass(frozen=True)
class Run:
    """What every step of a run is given.

    Attributes
    ----------
    directory : path
        Its working files; deleted when it succeeds, but for its result where its seed was given.
    seed : int
    device : torch.device
    recorder : q2_aam.runtime.recorder.Recorder
    hashes : dict
        SHA-256 of each input.
    started : float
        `time.monotonic()` at its start.
    ranks : q2_aam.runtime.ranks.Ranks
        The processes that do it together.
    """

    directory: pathlib.Path
    seed: int
    device: torch.device
    recorder: Recorder
    hashes: dict[str, str]
    started: float
    ranks: Ranks = ONE

    def checkpoint(self, name: str) -> Checkpoint:
        """Return where one of the run's loops keeps its state."""
        return Checkpoint(self.directory / name, seed=self.seed)

    def result(self) -> results.Result | None:
        """Return the result of the same run where it was finished before, and say so; else None."""
        result = results.load(self.directory, self.seed)
        if result is not None:
            tracked = any(isinstance(sink, Tracked) for sink in self.recorder.sinks)
            self.recorder.say(
                f'This run finished on {result.finished}: its result is taken from {self.directory}'
                f'{", and the tracker is told nothing" if tracked else ""}; delete that directory to train again.'
            )
        return result

    def save_bundle(self, folder: str | os.PathLike, save: Callable[[Any], None]) -> None:
        """Let `save` write the run's bundle into its directory, or, where this has no room, into `folder`."""

        def save_and_report(into):
            save(into)
            model = pathlib.Path(into) / MODEL_FILE
            if model.exists():
                self.recorder.parameters(model_sha256=hash_file(model))

        results.save_bundle(self.directory, folder, save_and_report)

    def keep(self, details: pd.DataFrame | None = None) -> results.Result:
        """Keep what the run gives, and return it; its bundle has been saved."""
        return results.keep(self.directory, self.seed, details, self.recorder.history)


@contextlib.contextmanager
def open_run(
    action: str,
    config: Any,
    hashes: dict[str, str],
    say: Callable[[str], None] = print_line,
    computes: bool = True,
) -> Iterator[Run]:
    """Open the run of an action: found again by the same call on the same inputs.

    When it succeeds, its result is kept where its seed was given, and its directory is deleted where it was drawn.
    Where this process does not compute itself, it touches no GPU.
    """
    started = time.monotonic()
    # a search has none: its trials are many, and none of them is kept
    tracker = getattr(config.runtime, 'tracker', NO_TRACKER)
    check_tracker(tracker)
    # before hours of work
    max_gb()
    device = choose_device(config.runtime.device if computes else 'cpu')
    given = config.training.random_seed
    with (
        run_directory(name_of_run(action, config, hashes), bool(given), say) as directory,
        use_threads(config.runtime.threads),
        deterministic(device),
    ):
        seed = seed_of_run(directory, given)
        # where other processes compute, one of them reports
        sinks = trackers_of(tracker, directory, seed) if computes else []
        with Recorder(say, sinks=sinks).closing() as recorder:
            yield Run(directory, seed, device, recorder, hashes, started)
