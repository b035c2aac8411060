"""The command that each process of a training runs: ``python -m q2_aam.training.worker FOLDER CALLER GPUS``.

See :mod:`q2_aam.runtime.launch`. Nothing of QIIME 2 is in it.
"""

import contextlib
import pathlib
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from q2_aam import bundle
from q2_aam.errors import AAMWarning
from q2_aam.runtime.device import choose_device, deterministic, use_threads
from q2_aam.runtime.heard import hear, hearing
from q2_aam.runtime.member import own_gpu, see_gpus, serve, threads_of_process
from q2_aam.runtime.ranks import Ranks
from q2_aam.runtime.recorder import Recorder
from q2_aam.runtime.run import Run
from q2_aam.runtime.tracking import trackers_of

from .fit import train_model
from .job import read_job
from .pretrain import train_encoder


def main(arguments: list[str]) -> int:
    """Do the job in a folder as one of its processes; return the exit status."""
    given, caller, gpus = arguments
    see_gpus(gpus)

    def work(folder: pathlib.Path, ranks: Ranks, say: Callable[[str], Any]) -> None:
        job, of_run = read_job(folder)
        runtime = job.config.runtime
        device = choose_device(runtime.device, own_gpu())
        sinks = trackers_of(runtime.tracker, of_run['directory'], of_run['seed']) if ranks.rank == 0 else []
        recorder = Recorder(say, sinks=sinks)
        run = Run(device=device, recorder=recorder, ranks=ranks, **of_run)
        threads = threads_of_process(runtime.threads)
        with use_threads(threads), deterministic(device), _hearing_warnings(), recorder.closing():
            (train_encoder if job.kind == bundle.ENCODER else train_model)(job, run)

    return serve(given, int(caller), work)


@contextlib.contextmanager
def _hearing_warnings() -> Iterator[None]:
    """Keep our warnings for the caller, who gives them to the user with the result."""
    with hearing(), warnings.catch_warnings():
        warnings.simplefilter('always', AAMWarning)
        warnings.showwarning = _hear_ours
        yield


def _hear_ours(message, category, *where, **more):
    if issubclass(category, AAMWarning):
        hear(' '.join(str(message).split()))


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
