"""One of the processes that :mod:`q2_aam.runtime.launch` starts: how it joins the others, reports and ends."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import pathlib
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from q2_aam.config.runtime import FSDP
from q2_aam.data.atomic import read_json, write_json
from q2_aam.errors import MachineError, UserError, counted

from .gpus import VISIBLE, count_gpus
from .launch import DISCONNECTED, ERROR, LINES, UNKNOWN
from .limits import available_cpus, is_out_of_memory
from .ranks import OthersFailed, Parted, Ranks, Several

# In the folder of the job: how many processes do it.
MEMBERS = 'members.json'
# Rank 0 validates and fits an ensemble while the others wait; a process that is gone is missed at once.
TIMEOUT = datetime.timedelta(days=7)
SECONDS_BETWEEN_LOOKS = 1.0


class Disconnected(Exception):
    """Another process is gone."""


def serve(given: str, caller: int, work: Callable[[pathlib.Path, Ranks, Callable[[str], Any]], None]) -> int:
    """Do `work` as one of several processes; return the exit status.

    An error is written into the folder and told to the others, and all end: only where one was killed is there a status
    after which they are started again.

    Parameters
    ----------
    given : str
        The folder of the job; `UNKNOWN` where another machine knows it.
    caller : int
        The process that waits for this one: without it, this one ends.
    work : callable
        Takes the folder, the ranks and what takes a line of progress.
    """
    threading.Thread(target=_end_with, args=(caller,), daemon=True).start()
    # at once, and not when what is computed in C++ has come to its end
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        ranks = _join()
        folder, is_shared = _agreed(given)
        if is_shared:
            _work(folder, ranks, work)
        elif given != UNKNOWN:
            _report(folder, ranks, _not_shared(folder))
    except (OthersFailed, Parted):
        return 0
    except Disconnected:
        traceback.print_exc()
        return DISCONNECTED
    return 0


def _work(folder, ranks, work):
    say = (lambda line: None) if ranks.rank else _say_into(folder / LINES)
    try:
        if not ranks.rank:
            _tell_of_restart(folder, ranks.size, say)
        # what a process could not tell the others, it has written down before it ended
        if not ranks.on_first(lambda: any(folder.glob(ERROR.format('*'))))():
            work(folder, ranks, say)
    except (OthersFailed, Parted, Disconnected):
        raise
    except Exception as error:
        if _is_of_connection(error):
            raise Disconnected from error
        _report(folder, ranks, error)
        if ranks.strategy == FSDP and not ranks.parted:
            # others may be within an exchange of weights, which only the end of this process ends
            raise Disconnected from error
        ranks.fail()


def _tell_of_restart(folder, size, say):
    """Say why processes have begun again, if they have."""
    path = folder / MEMBERS
    before = read_json(path)['processes'] if path.exists() else size
    write_json(path, {'processes': size})
    if before != size:
        what = 'left' if size < before else 'joined'
        go = 'goes' if size == 1 else 'go'
        say(f'A machine has {what}: {counted(size, "process", "processes")} {go} on from the last checkpoint.')
    elif restarts := int(os.environ['TORCHELASTIC_RESTART_COUNT']):
        say(f'A process was killed: all go on from the last checkpoint (restart {restarts}).')


def _agreed(given):
    """Return the folder of the job, which those know that its caller has started, and whether all can see it."""
    content = b'' if given == UNKNOWN else given.encode()
    size, rank = torch.tensor([len(content)]), torch.tensor([dist.get_rank() if content else -1])
    with _gone():
        dist.all_reduce(rank, dist.ReduceOp.MAX)
        dist.broadcast(size, int(rank))
        data = torch.zeros(int(size), dtype=torch.uint8)
        if content:
            data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        dist.broadcast(data, int(rank))
        folder = pathlib.Path(data.numpy().tobytes().decode())
        seen = torch.tensor([folder.is_dir()], dtype=torch.int64)
        dist.all_reduce(seen, dist.ReduceOp.MIN)
    return folder, bool(seen)


def _not_shared(folder):
    return MachineError(
        f'The run directory {folder.parent} is not there on all machines; set the environment variable AAM_WORK_DIR, '
        'on each of them, to the same directory on a disk that all of them share.'
    )


def threads_of_process(threads: int) -> int:
    """Return how many of the threads of a call (0: all available ones) one of its processes has."""
    return max(1, (threads or available_cpus()) // int(os.environ['LOCAL_WORLD_SIZE']))


def see_gpus(names: str) -> None:
    """See those GPUs only that the launcher has taken for the processes of this machine, before anything asks for one.

    Parameters
    ----------
    names : str
        As in CUDA_VISIBLE_DEVICES; `UNKNOWN` where it has taken none.
    """
    if names != UNKNOWN:
        os.environ[VISIBLE] = names


def own_gpu() -> int | None:
    """Return the number of the GPU of this process; None where there is none."""
    return int(os.environ['LOCAL_RANK']) if count_gpus() else None


def _end_with(caller):
    while os.getppid() == caller:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(DISCONNECTED)


def _say_into(path):
    def say(line):
        with path.open('a', encoding='utf-8') as handle:
            handle.write(json.dumps(line) + '\n')

    return say


def _report(folder, ranks, error):
    """Write what the caller needs to raise an error as its own."""
    kind = next((one.__name__ for one in (MachineError, UserError) if isinstance(error, one)), None)
    text = str(error) if kind else f'{type(error).__name__}: {error}'
    lines = '' if kind else traceback.format_exc()
    content = {'rank': ranks.rank, 'processes': ranks.size, 'kind': kind, 'text': text, 'traceback': lines}
    write_json(folder / ERROR.format(ranks.rank), content)


def _join() -> Several:
    """Join the other processes: the launcher has put where they are into the environment.

    The connection ends with the process: rank 0 goes on when the others are gone, and nobody waits for anybody then.
    """
    if os.environ['LOCAL_WORLD_SIZE'] == os.environ['WORLD_SIZE']:
        # on one machine, whose name need not be known to any network
        os.environ.setdefault('GLOO_SOCKET_IFNAME', 'lo0' if sys.platform == 'darwin' else 'lo')
    gpus = torch.cuda.is_available() and torch.cuda.device_count() > 0
    backend = 'cpu:gloo,cuda:nccl' if gpus else 'gloo'
    with _gone():
        if os.environ['TORCHELASTIC_USE_AGENT_STORE'] == 'True':
            rank, size = int(os.environ['RANK']), int(os.environ['WORLD_SIZE'])
            dist.init_process_group(backend, store=_store_of_launcher(), rank=rank, world_size=size, timeout=TIMEOUT)
        else:
            dist.init_process_group(backend, timeout=TIMEOUT)
    ranks = Several(dist.get_rank(), dist.get_world_size(), _Distributed())
    ranks.nodes = int(os.environ['GROUP_WORLD_SIZE'])
    return ranks


def _store_of_launcher():
    """Return where processes find each other; nothing is left there by those that were started before them."""
    where = os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT'])
    store = dist.TCPStore(*where, is_master=False, timeout=TIMEOUT)
    return dist.PrefixStore(f'processes-{os.environ["TORCHELASTIC_RESTART_COUNT"]}', store)


@contextlib.contextmanager
def _gone():
    """Tell errors of the connection from all others."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise Disconnected from error


def _is_of_connection(error):
    """Tell whether an exchange failed that PyTorch makes by itself, of weights that are divided."""
    # Gloo has no class of its own, but names the file of its code
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and '/gloo/' in str(error))


class _Distributed:
    """Carries tensors by torch.distributed; see :class:`q2_aam.runtime.ranks.Lines`."""

    def most(self, number):
        state = torch.tensor([number])
        with _gone():
            dist.all_reduce(state, dist.ReduceOp.MAX)
        return int(state)

    def gather(self, part):
        whole = part.new_empty((dist.get_world_size() * len(part), *part.shape[1:]))
        with _gone():
            dist.all_gather(list(whole.chunk(dist.get_world_size())), part)
        return whole

    def add(self, whole):
        with _gone():
            dist.all_reduce(whole)

    def add_own(self, whole):
        parts = list(whole.chunk(dist.get_world_size()))
        if whole.is_cuda:
            own = torch.empty_like(parts[0])
            with _gone():
                dist.reduce_scatter(own, parts)
            return own
        # gloo has no other way in every version of torch
        whole = whole.clone()
        self.add(whole)
        return whole.chunk(dist.get_world_size())[dist.get_rank()].clone()

    def send(self, text):
        content = b'' if text is None else text.encode()
        size = torch.tensor([len(content)])
        with _gone():
            dist.broadcast(size, 0)
            data = torch.zeros(int(size), dtype=torch.uint8)
            if dist.get_rank() == 0 and content:
                data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
            dist.broadcast(data, 0)
        return data.numpy().tobytes().decode()

    def copy(self, tensor):
        with _gone():
            dist.broadcast(tensor, 0)
