"""CPUs and memory: the least of what the machine, a container, a scheduler and the user allow."""

import os

import pytest

from q2_aam.runtime import limits
from q2_aam.runtime.limits import available_cpus, available_memory_gb, held_memory_gb, is_out_of_memory

GIB = 2**30


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine of 16 CPUs and 64 GiB without limits; its cgroups are in a folder."""
    for name in (*limits.CPU_VARIABLES, 'SLURM_MEM_PER_NODE', 'SLURM_MEM_PER_CPU', 'SLURM_CPUS_ON_NODE'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(os, 'sysconf', {'SC_PAGE_SIZE': 4096, 'SC_PHYS_PAGES': 16 * 2**20}.__getitem__)
    monkeypatch.setattr(limits, 'CGROUP_OF_PROCESS', tmp_path / 'cgroup')
    monkeypatch.setattr(limits, 'CGROUPS', tmp_path / 'cgroups')


@pytest.fixture
def cgroup(tmp_path):
    """Write the line of the process and files of limits."""

    def write(line, **files):
        with open(tmp_path / 'cgroup', 'a') as handle:
            handle.write(line + '\n')
        for name, content in files.items():
            path = tmp_path / 'cgroups' / name.replace('__', '/').replace('_dot_', '.')
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    return write


def test_without_limits_it_is_the_machine(cgroup):
    assert (available_cpus(), available_memory_gb()) == (16, 64 * GIB / 1e9)
    cgroup('0::/', cpu_dot_max='max 100000\n', memory_dot_max='max\n')
    assert (available_cpus(), available_memory_gb()) == (16, 64 * GIB / 1e9)


def test_where_affinity_is_unknown_the_cpus_are_counted(monkeypatch):
    monkeypatch.delattr(os, 'sched_getaffinity', raising=False)
    monkeypatch.setattr(os, 'cpu_count', lambda: 6)
    assert available_cpus() == 6


@pytest.mark.parametrize(
    ('quota', 'cpus'), [('50000', 1), ('100000', 1), ('150000', 2), ('400000', 4), ('9900000', 16)]
)
def test_a_quota_of_version_2_is_rounded_up(cgroup, quota, cpus):
    cgroup('0::/', cpu_dot_max=f'{quota} 100000\n')
    assert available_cpus() == cpus


def test_limits_of_the_groups_above_count_too(cgroup):
    cgroup(
        '0::/slurm/job_7/task',
        slurm__cpu_dot_max='300000 100000',
        slurm__job_7__task__cpu_dot_max='800000 100000',
        slurm__job_7__memory_dot_max=f'{8 * GIB}',
        slurm__job_7__task__memory_dot_max='max',
    )
    assert (available_cpus(), available_memory_gb()) == (3, 8 * GIB / 1e9)


def test_limits_of_version_1_count(cgroup):
    cgroup(
        '4:cpu,cpuacct:/docker/abc',
        cpu__cpu_dot_cfs_quota_us='250000\n',
        cpu__cpu_dot_cfs_period_us='100000\n',
    )
    cgroup('7:memory:/docker/abc', memory__memory_dot_limit_in_bytes=f'{4 * GIB}\n')
    assert (available_cpus(), available_memory_gb()) == (3, 4 * GIB / 1e9)


def test_version_1_without_limits(cgroup):
    cgroup('4:cpu:/', cpu__cpu_dot_cfs_quota_us='-1\n', cpu__cpu_dot_cfs_period_us='100000\n')
    cgroup('7:memory:/', memory__memory_dot_limit_in_bytes='9223372036854771712\n')
    assert (available_cpus(), available_memory_gb()) == (16, 64 * GIB / 1e9)


@pytest.mark.parametrize('name', ['SLURM_CPUS_PER_TASK', 'GALAXY_SLOTS', 'OMP_NUM_THREADS'])
@pytest.mark.parametrize(
    ('text', 'cpus'),
    [('1', 1), (' 4 ', 4), ('4,2', 4), ('64', 16), ('0', 16), ('-2', 16), ('', 16), ('all', 16), ('9' * 30, 16)],
)
def test_a_variable_bounds_the_cpus_if_it_is_a_number_above_0(monkeypatch, name, text, cpus):
    monkeypatch.setenv(name, text)
    assert available_cpus() == cpus


def test_the_least_of_all_counts(cgroup, monkeypatch):
    cgroup('0::/', cpu_dot_max='500000 100000')
    monkeypatch.setenv('SLURM_CPUS_PER_TASK', '8')
    monkeypatch.setenv('GALAXY_SLOTS', '3')
    assert available_cpus() == 3


@pytest.mark.parametrize(
    ('variables', 'gib'),
    [
        ({'SLURM_MEM_PER_NODE': '2048'}, 2),
        ({'SLURM_MEM_PER_NODE': '0'}, 64),
        ({'SLURM_MEM_PER_CPU': '512', 'SLURM_CPUS_ON_NODE': '8', 'SLURM_CPUS_PER_TASK': '2'}, 4),
        ({'SLURM_MEM_PER_CPU': '512', 'SLURM_CPUS_PER_TASK': '2'}, 1),
        ({'SLURM_MEM_PER_CPU': '512'}, 8),
        ({'SLURM_MEM_PER_CPU': 'much'}, 64),
    ],
)
def test_memory_that_slurm_gives_counts(monkeypatch, variables, gib):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert available_memory_gb() == gib * GIB / 1e9


@pytest.mark.parametrize('line', ['', 'nonsense', '0::/../../etc', '5:cpu', '::'])
def test_strange_lines_are_passed_over(cgroup, line):
    cgroup(line)
    assert (available_cpus(), available_memory_gb()) == (16, 64 * GIB / 1e9)


def test_what_the_process_holds_is_read_where_the_system_tells_it(tmp_path, monkeypatch):
    (tmp_path / 'status').write_text('VmRSS:\t 900 kB\nRssAnon:\t  1000 kB\n')
    monkeypatch.setattr(limits, 'STATUS', tmp_path / 'status')
    assert held_memory_gb() == 1000 * 1024 / 1e9
    monkeypatch.setattr(limits, 'STATUS', tmp_path / 'nothing')
    assert held_memory_gb() == 0.0


class OutOfMemoryError(RuntimeError):
    """As torch calls its own."""


@pytest.mark.parametrize(
    ('error', 'out'),
    [
        (MemoryError(), True),
        (OutOfMemoryError('HIP'), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError('std::bad_alloc'), True),
        (RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate'), True),
        (RuntimeError('shapes do not fit'), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_every_way_in_which_memory_runs_out_is_known(error, out):
    assert is_out_of_memory(error) is out
