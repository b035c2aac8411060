"""What this process may use of the machine: CPUs and memory, as the system, a container or a scheduler limits them."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator

CGROUP_OF_PROCESS, CGROUPS = pathlib.Path('/proc/self/cgroup'), pathlib.Path('/sys/fs/cgroup')
STATUS = pathlib.Path('/proc/self/status')
# What users, schedulers and Galaxy set: it may be any text, and only a number above 0 counts.
CPU_VARIABLES = ('SLURM_CPUS_PER_TASK', 'GALAXY_SLOTS', 'OMP_NUM_THREADS')
SLURM_MB = 2**20


def available_cpus() -> int:
    """Return how many CPUs this process may use.

    The least of its affinity, the CPU quota of its cgroup (rounded up) and the environment variables
    ``CPU_VARIABLES``.
    """
    try:
        numbers = [len(os.sched_getaffinity(0))]
    except AttributeError:
        # not on macOS
        numbers = [os.cpu_count() or 1]
    for folder in _cgroup_folders('cpu'):
        # version 2: 'max 100000' or '150000 100000'; version 1 has a file for each, and a quota of -1 for none
        quota, period = (_numbers(folder / 'cpu.max') + [None, None])[:2]
        if quota is None:
            quota, period = (
                (_numbers(folder / f'cpu.cfs_{name}_us') or [None])[0] for name in ('quota', 'period')
            )  # fmt: skip
        if quota and period and quota > 0 and period > 0:
            numbers.append(-(-quota // period))
    numbers += [number for name in CPU_VARIABLES if (number := _number_above_0(name))]
    return max(1, min(numbers))


def available_memory_gb() -> float:
    """Return how much memory, in GB, this process may use, what it holds already included.

    The least of the machine's memory, the limit of its cgroup and what SLURM has given the job on this machine.
    """
    sizes = [os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')]
    for folder in _cgroup_folders('memory'):
        for name in ('memory.max', 'memory.limit_in_bytes'):
            # without a limit version 2 says 'max', version 1 gives a number larger than any machine
            sizes += [size for size in _numbers(folder / name)[:1] if size and size > 0]
    if per_node := _number_above_0('SLURM_MEM_PER_NODE'):
        sizes.append(per_node * SLURM_MB)
    if per_cpu := _number_above_0('SLURM_MEM_PER_CPU'):
        cpus = _number_above_0('SLURM_CPUS_ON_NODE') or _number_above_0('SLURM_CPUS_PER_TASK') or available_cpus()
        sizes.append(per_cpu * cpus * SLURM_MB)
    return min(sizes) / 1e9


def held_memory_gb() -> float:
    """Return how much memory, in GB, this process holds that cannot be read again from files; 0.0 where unknown."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in STATUS.read_text().splitlines():
            if line.startswith('RssAnon:'):
                return int(line.split()[1]) * 1024 / 1e9
    return 0.0


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory, of the machine or of a GPU, ran out; torch, numpy and C++ each have words of their own."""
    words = ("can't allocate memory", 'std::bad_alloc', 'CUDA out of memory', '_STATUS_ALLOC_FAILED')
    return (
        isinstance(error, MemoryError)
        # torch is not imported here
        or type(error).__name__ == 'OutOfMemoryError'
        or (isinstance(error, RuntimeError) and any(word in str(error) for word in words))
    )


def _cgroup_folders(controller: str) -> Iterator[pathlib.Path]:
    """Yield the folders of this process's cgroup that may limit it: its own, and those above it."""
    try:
        lines = CGROUP_OF_PROCESS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(':')
        names, _, path = rest.partition(':')
        if not names:
            mounts = [CGROUPS, CGROUPS / 'unified']
        elif controller in names.split(','):
            mounts = [CGROUPS / names, CGROUPS / controller]
        else:
            continue
        place = pathlib.PurePosixPath(path.lstrip('/'))
        for mount in mounts:
            # in a container the path may be that of the host, and only the mount itself is there
            for folder in (place, *place.parents):
                if '..' not in folder.parts:
                    yield mount / folder


def _numbers(path):
    """Return the whole numbers in a small file, None for each other word; an empty list if there is no such file."""
    try:
        words = path.read_text().split()
    except (OSError, ValueError):
        return []
    return [int(word) if word.lstrip('-').isdecimal() else None for word in words]


def _number_above_0(name):
    """Return the number that an environment variable is, or begins with; None if it is none, or not above 0."""
    # OMP_NUM_THREADS may be a list, one number for each nested level
    text = os.environ.get(name, '').split(',')[0].strip()
    # more digits are no number of CPUs, and no number of megabytes either
    return int(text) or None if text.isdecimal() and len(text) < 16 else None
