"""Starts the processes of a training, by PyTorch's elastic launcher, and waits for them.

Each is a command of its own, so that nothing of the caller (QIIME 2's command line, a notebook) is imported into it.
The caller itself computes nothing meanwhile and touches no GPU. What crosses is a folder in the run directory: a job
that the caller writes there (:mod:`q2_aam.training.job`), lines of progress, and the error of each process that has
one.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import json
import logging
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from q2_aam.config.fields import limits_of
from q2_aam.config.runtime import SINGLE, ClusterRuntime
from q2_aam.data.atomic import read_json
from q2_aam.errors import MachineError, UserError, counted

from .gpus import count_gpus, taken_gpus
from .limits import available_cpus

LINES, ERROR, LOGS = 'lines.jsonl', 'error-{}.json', 'logs'
# Without GPUs: a few more than there are CPUs do no harm.
PROCESSES_PER_CPU = 4
# The exit status of a process that misses another one.
DISCONNECTED = 1
SECONDS_BETWEEN_LOOKS = 0.2
# Where a machine waits for the others.
SECONDS_TO_JOIN = 3600
# A launcher that was silent for so long is taken for dead: by those who can do without it, and after many times as long
# by those who cannot, on whose busy machines it may still be alive. Its processes are missed at once.
SECONDS_OF_SILENCE, SIGNS_OF_LIFE, PATIENCE = 30, 6, 10
# How long those that are enough wait for others.
SECONDS_FOR_OTHERS = 30
# The folder of a job that is launched on another machine, and GPUs where none are taken.
UNKNOWN = '-'
COUNTS_BY_DRIVER = 'PYTORCH_NVML_BASED_CUDA_CHECK'
SIGNALS = ('SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT')
# What a process says last, of one that has no sentence for it.
MAX_LAST_WORDS = 2000


@dataclasses.dataclass(frozen=True)
class Processes:
    """The processes of a training: one for each device of each machine.

    Attributes
    ----------
    devices : int
        Of one machine.
    max_restarts : int
        How often all are started again after one was killed.
    nodes : int
        Machines; the most there may be.
    least_nodes : int
        With how many machines training begins and goes on; 0: with all of them.
    rendezvous : str
        Where several machines find each other, 'name:port'.
    on_gpus : bool
        Whether their devices are GPUs, if there are any.
    """

    devices: int
    max_restarts: int = 0
    nodes: int = 1
    rendezvous: str = ''
    on_gpus: bool = False
    least_nodes: int = 0

    @property
    def number(self) -> int:
        """How many there are, at most."""
        return self.devices * self.nodes

    @property
    def is_elastic(self) -> bool:
        """Whether machines may leave and join."""
        return 0 < self.least_nodes < self.nodes

    @classmethod
    def of(cls, runtime: ClusterRuntime) -> Processes:
        """Return those that a configuration asks for.

        Raises
        ------
        UserError
            If it asks for more than there are.
        """
        devices = 1 if runtime.strategy == SINGLE else count_devices(runtime.devices, runtime.device)
        least, most = limits_of(runtime.nodes)
        return cls(devices, runtime.max_restarts, most, runtime.rendezvous, runtime.device != 'cpu', least)


def count_devices(devices: int | str, device: str) -> int:
    """Return how many devices of this machine the parameter `devices` means; UserError if it has not so many."""
    # counted by the driver: the caller itself is not to hold a GPU
    os.environ.setdefault(COUNTS_BY_DRIVER, '1')
    gpus = count_gpus() if devices != 1 and device != 'cpu' else 0
    if isinstance(devices, str):
        return max(1, gpus)
    if gpus and devices > gpus:
        raise UserError(
            f'Parameter devices is {devices}, but there {"is" if gpus == 1 else "are"} {counted(gpus, "GPU")}; give at '
            'most that number, or auto.'
        )
    # each would hold memory of its own, and wait for the others
    most = PROCESSES_PER_CPU * available_cpus()
    if not gpus and devices > most:
        raise UserError(
            f'Parameter devices is {devices}, but without GPUs they share {counted(available_cpus(), "CPU")} and would '
            f'take longer than one; give at most {most}, or auto.'
        )
    return devices


def launch(module: str, folder: pathlib.Path, processes: Processes, say: Callable[[str], Any]) -> None:
    """Run ``python -m module folder`` in several processes until all are done.

    Where one is killed, all are started again. Interrupted, the caller ends them first.

    Parameters
    ----------
    module : str
        It ends in :func:`q2_aam.runtime.member.serve`.
    folder : path
        With the job.
    processes : Processes
        Those of other machines are started there, by :func:`launch_beside`.
    say : callable
        Takes each line of progress of rank 0.

    Raises
    ------
    UserError, MachineError
        The sentence of a process that has one; or that one was killed too often, or machines are missing.
    RuntimeError
        Any other error of a process, with its traceback.
    """
    with _progress(folder / LINES, say):
        failed = _run(module, folder, processes, folder / LOGS, True)
    _raise_errors(folder)
    if failed is not None:
        raise _killed(failed, folder / LOGS, processes)


def launch_beside(module: str, processes: Processes, logs: pathlib.Path) -> None:
    """Run the processes of this machine for a job that another one launches, which tells them where it is.

    Raises
    ------
    MachineError
        If one was killed too often, or no training is there to join.
    """
    failed = _run(module, UNKNOWN, processes, logs, False)
    if failed is not None:
        raise _killed(failed, logs, processes)


def _run(module, folder, processes, logs, is_first):
    """Start and await the processes of this machine; return the launcher's error where one was killed too often."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher import LaunchConfig, elastic_launch

    logs.mkdir(exist_ok=True)
    alone = processes.nodes == 1
    os.environ.setdefault(COUNTS_BY_DRIVER, '1')
    gpus = taken_gpus(processes.devices if processes.on_gpus else 0)
    config = LaunchConfig(
        min_nodes=processes.least_nodes or processes.nodes,
        max_nodes=processes.nodes,
        nproc_per_node=processes.devices,
        run_id='q2-aam',
        rdzv_backend='c10d',
        # alone: any free port
        rdzv_endpoint='localhost:0' if alone else processes.rendezvous,
        rdzv_configs={
            'join_timeout': SECONDS_TO_JOIN,
            'read_timeout': SECONDS_TO_JOIN,
            'is_host': is_first,
            'keep_alive_interval': SECONDS_OF_SILENCE // SIGNS_OF_LIFE,
            'keep_alive_max_attempt': SIGNS_OF_LIFE if processes.is_elastic else PATIENCE * SIGNS_OF_LIFE,
            'last_call_timeout': SECONDS_FOR_OTHERS,
        },
        local_addr='localhost' if alone else None,
        max_restarts=processes.max_restarts,
        logs_specs=DefaultLogsSpecs(log_dir=str(logs), redirects=Std.ALL),
    )
    try:
        with _environment(alone), _signals_as_before(), _without_its_log(), gpus as names:
            elastic_launch(config, sys.executable)('-m', module, str(folder), str(os.getpid()), names or UNKNOWN)
    except ChildFailedError as error:
        return error
    except RendezvousError as error:
        raise _not_met(processes, is_first) from error
    except SignalException as error:
        # as this process would have taken it
        signal.raise_signal(error.sigval)
        raise KeyboardInterrupt from None
    return None


@contextlib.contextmanager
def _progress(path: pathlib.Path, say: Callable[[str], Any]) -> Iterator[None]:
    """Pass on the lines that rank 0 writes into a file, as they come."""
    path.write_bytes(b'')
    over = threading.Event()

    def follow():
        with path.open(encoding='utf-8') as handle:
            begun = ''
            while True:
                ending = over.is_set()
                for part in iter(handle.readline, ''):
                    begun += part
                    if begun.endswith('\n'):
                        say(json.loads(begun))
                        begun = ''
                if ending:
                    return
                over.wait(SECONDS_BETWEEN_LOOKS)

    # what say does may belong to the context of the call
    thread = threading.Thread(target=contextvars.copy_context().run, args=(follow,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def _environment(alone):
    """Set what the launcher and its processes read, as long as they run."""
    values = {
        # Alone, processes find each other by the store of the launcher: a port that it only chose for them might be
        # taken before they use it. Launchers of several machines do not know how often the others have started theirs,
        # which would find in it what those before them have left.
        'TORCH_DISABLE_SHARE_RDZV_TCP_STORE': '0' if alone else '1',
        # a file of the user's folder is no module (from Python 3.11 on)
        'PYTHONSAFEPATH': '1',
    }
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _signals_as_before():
    """Put back what the launcher changes: how this process takes signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {name: signal.getsignal(getattr(signal, name)) for name in SIGNALS}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler if handler is not None else signal.SIG_DFL)


@contextlib.contextmanager
def _without_its_log():
    """Silence the launcher: what matters is said in sentences."""
    # each of its modules has a level of its own
    names = [name for name in logging.root.manager.loggerDict if name.startswith('torch.distributed.elastic')]
    levels = {logger: logger.level for logger in map(logging.getLogger, names)}
    for logger in levels:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


def _raise_errors(folder):
    """Raise the error of the first process that has one."""
    errors = [read_json(path) for path in sorted(folder.glob(ERROR.format('*')))]
    if not errors:
        return
    error = min(errors, key=lambda one: one['rank'])
    processes = error['processes']
    everywhere = len([one for one in errors if one['text'] == error['text']]) == processes
    # what is wrong with an input or a parameter is wrong for all of them; rank 0 reads inputs before the others
    everywhere |= error['kind'] == 'UserError' and error['rank'] == 0
    sentence = error['text'] if everywhere else f'Rank {error["rank"]} of {processes}: {error["text"]}'
    kinds = {'UserError': UserError, 'MachineError': MachineError}
    if error['kind'] in kinds:
        raise kinds[error['kind']](sentence)
    raise RuntimeError(f'{sentence}\n\n{error["traceback"]}')


def _not_met(processes, is_first):
    where, waited = processes.rendezvous, counted(SECONDS_TO_JOIN // 60, 'minute')
    late = (
        f'Fewer than {processes.least_nodes or processes.nodes} machines have come to {where} within {waited}; start '
        'q2-aam-worker with this rendezvous on the others, and give the same command again.'
    )
    over = (
        f'No training can be joined at {where}: it is over, or was not started there within {waited}; give the '
        'rendezvous of the action, and start both together.'
    )
    return MachineError(late if is_first else over)


def _killed(failed, logs, processes):
    # those that have only missed another one, or were ended then, come last
    follows = (DISCONNECTED, -signal.SIGTERM)
    rank, failure = min(failed.failures.items(), key=lambda item: (item[1].exitcode in follows, item[0]))
    times = f' after {counted(processes.max_restarts, "restart")}' if processes.max_restarts else ''
    how = f'by signal {-failure.exitcode}' if failure.exitcode < 0 else f'with status {failure.exitcode}'
    written = sorted(logs.glob(f'*/attempt_*/{failure.local_rank}/stderr.log'))
    words = written[-1].read_text(errors='replace')[-MAX_LAST_WORDS:].strip() if written else ''
    number = f'up to {processes.number}' if processes.is_elastic else processes.number
    return MachineError(
        f'Rank {rank} of {number} ended {how}{times}, without a word of its own: memory may have run out; give more '
        'memory or fewer devices, and give the same command again: it resumes from its checkpoint.'
        + (f'\n\n{words}' if words and failure.exitcode > 0 else '')
    )
