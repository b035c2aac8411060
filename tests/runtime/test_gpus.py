"""Runs of several threads and processes share out the GPUs of a machine, which are pretended here."""

import gc
import os
import subprocess
import sys
import threading
import types

import pytest
import torch

from q2_aam.config.runtime import ClusterRuntime, PredictionRuntime
from q2_aam.runtime import copies, gpus, launch
from q2_aam.runtime import device as devices
from q2_aam.runtime.gpus import free_memory, names_of_gpus, release_gpus, take_gpus
from q2_aam.runtime.launch import UNKNOWN, Processes
from q2_aam.runtime.member import own_gpu, see_gpus

# A process that takes as many GPUs as it is told, of three, and keeps them until its input ends.
OTHER = """
import sys
from q2_aam.runtime import gpus
gpus.count_gpus = lambda: 3
gpus.free_memory = lambda names: {'0': 5, '1': 7, '2': 6}
print(*gpus.take_gpus(int(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def none_taken(monkeypatch, work_dir):
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    monkeypatch.delenv('SLURM_JOB_ID', raising=False)
    yield
    release_gpus()


@pytest.fixture
def pretend(monkeypatch):
    """Let there be so many GPUs, with this much free memory each."""

    def make(number, free=()):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: number > 0)
        monkeypatch.setattr(torch.cuda, 'device_count', lambda: number)
        monkeypatch.setattr(gpus, 'free_memory', lambda names: dict(zip(names, free)))

    return make


class Thread:
    """A thread that takes GPUs when it is told to, and ends when it is told to."""

    def __init__(self):
        self.asked, self.answered, self.taken = threading.Semaphore(0), threading.Semaphore(0), []
        self.number: int | None = 1
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while self.asked.acquire() and self.number:
            self.taken.append(take_gpus(self.number))
            self.answered.release()

    def take(self, number=1):
        self.number = number
        self.asked.release()
        assert self.answered.acquire(timeout=20)
        return self.taken[-1]

    def end(self):
        if not self.thread.is_alive():
            return
        self.number = None
        self.asked.release()
        self.thread.join()


@pytest.fixture
def threads():
    made = [Thread() for _ in range(4)]
    yield made
    for thread in made:
        thread.end()


def test_each_thread_has_a_gpu_of_its_own_as_long_as_there_are_some(pretend, threads):
    pretend(3, (5, 7, 6))
    assert [thread.take() for thread in threads] == [[1], [2], [0], [1]]


def test_a_thread_that_takes_again_counts_once_and_stays_where_it_is(pretend, threads):
    pretend(2, (5, 7))
    first, second, third, _ = threads
    assert [first.take(), second.take(), first.take(), second.take(), first.take()] == [[1], [0], [1], [0], [1]]
    # the second's is free again
    second.end()
    assert third.take() == [0]


def test_several_are_taken_where_fewest_runs_are(pretend, threads):
    pretend(4, (1, 2, 3, 4))
    first, second, third, fourth = threads
    assert [first.take(2), second.take(), third.take(2)] == [[2, 3], [1], [0, 3]]
    # of its two one is given back
    assert third.take() == [0]
    assert fourth.take(4) == [0, 1, 2, 3]


def test_one_gpu_is_taken_without_a_file(pretend, work_dir):
    pretend(1)
    assert take_gpus() == [0]
    assert not work_dir.exists() or not list(work_dir.iterdir())
    pretend(0)
    assert take_gpus() == []


def test_processes_share_out_gpus_and_give_them_back_when_they_are_killed(pretend, work_dir):
    pretend(3, (5, 7, 6))
    others, taken = [], []
    for number in (1, 1):
        others.append(
            subprocess.Popen(
                [sys.executable, '-c', OTHER, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )
        taken.append(others[-1].stdout.readline().split())
    try:
        assert taken == [['1'], ['2']] and take_gpus() == [0]
        release_gpus()
        assert take_gpus(2) == [0, 1]
        others[0].kill()
        others[0].wait()
        release_gpus()
        assert take_gpus() == [1]
        assert {path.parent for path in work_dir.rglob('*') if path.is_file()} == {work_dir / 'gpus'}
    finally:
        for other in others:
            other.kill()
            other.communicate()


def test_gpus_are_known_by_the_names_that_cuda_visible_devices_gives_them(pretend, monkeypatch, threads):
    pretend(2)
    first, second, *_ = threads
    monkeypatch.setenv(gpus.VISIBLE, '4, GPU-ab')
    assert names_of_gpus() == ['4', 'GPU-ab'] and first.take() == [0]
    # the same GPU is another number where others are seen
    monkeypatch.setenv(gpus.VISIBLE, '7,4')
    assert second.take() == [0]
    monkeypatch.setenv(gpus.VISIBLE, '4,5')
    assert take_gpus() == [1]
    # a job that sees its own only
    monkeypatch.setenv('SLURM_JOB_ID', '17')
    release_gpus()
    assert take_gpus() == [0]


def test_without_locks_the_most_free_memory_decides(pretend, monkeypatch):
    pretend(3, (5, 7, 6))

    def fail(*_):
        raise OSError('No locks available')

    monkeypatch.setattr(gpus.fcntl, 'flock', fail)
    assert [take_gpus(), take_gpus(), take_gpus(2)] == [[1], [1], [1, 2]]


def test_where_the_files_cannot_be_opened_it_decides_without_a_word(pretend, work_dir, monkeypatch):
    pretend(3, (5, 7, 6))
    said = []
    monkeypatch.setattr(sys, 'unraisablehook', said.append)
    # as the folder of another user
    (work_dir / 'gpus' / f'{gpus._machine()}-{gpus.CHOICE}').mkdir(parents=True)
    assert take_gpus() == [1]
    gc.collect()
    assert said == []


def test_free_memory_is_that_which_the_driver_tells(tmp_path, monkeypatch):
    program = tmp_path / 'nvidia-smi'
    program.write_text('#!/bin/sh\necho "0, GPU-ab12, 500"\necho "1, GPU-cd34, 900"\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:/bin:/usr/bin')
    assert free_memory(['1', 'GPU-ab', '3']) == {'1': 900, 'GPU-ab': 500}
    program.write_text('#!/bin/sh\necho "No devices were found"\nexit 6\n')
    assert free_memory(['0']) == {}
    monkeypatch.setenv('PATH', str(tmp_path / 'empty'))
    assert free_memory(['0']) == {}


def test_the_device_of_a_run_is_its_gpu(pretend, monkeypatch, threads):
    pretend(2, (5, 7))
    monkeypatch.setattr(devices, '_fault_of_gpu', lambda device: None)
    threads[0].take()
    assert devices.choose_device('auto') == torch.device('cuda', 0)
    assert devices.choose_device('auto', 1) == torch.device('cuda', 1)
    # a single one is the current one, as ever
    pretend(1)
    assert devices.choose_device('cuda') == torch.device('cuda')


def test_the_gpu_of_a_run_is_the_current_one_of_its_thread(monkeypatch):
    current, ones = [], torch.ones
    monkeypatch.setattr(torch.cuda, 'set_device', current.append)
    monkeypatch.setattr(torch, 'ones', lambda *size, device: ones(*size))
    assert devices._fault_of_gpu(torch.device('cuda', 1)) is None and current == [torch.device('cuda', 1)]
    assert devices._fault_of_gpu(torch.device('cuda')) is None and len(current) == 1


def test_copies_are_on_other_gpus_than_the_network(pretend, monkeypatch, threads):
    pretend(4, (1, 2, 3, 4))
    threads[0].take()
    placed = []
    monkeypatch.setattr(copies, 'place', lambda network, runtime, device: placed.append(device) or network)
    copies.place_copies(types.SimpleNamespace(), PredictionRuntime(devices=3), torch.device('cuda', 1))
    assert placed == [torch.device('cuda', gpu) for gpu in (1, 0, 2)]


@pytest.mark.parametrize('device, names', [('auto', '1,2'), ('cpu', UNKNOWN)])
def test_the_launcher_tells_processes_which_gpus_are_theirs(pretend, monkeypatch, tmp_path, threads, device, names):
    from torch.distributed import launcher

    pretend(3, (1, 2, 3))
    monkeypatch.setattr(gpus, 'free_memory', lambda names: {'0': 9})
    threads[0].take()
    told = []
    monkeypatch.setattr(launcher, 'elastic_launch', lambda *_: lambda *words: told.append(words))
    processes = Processes.of(ClusterRuntime(devices=2, device=device))
    launch.launch('module', tmp_path, processes, print)
    assert told == [('-m', 'module', str(tmp_path), str(os.getpid()), names)]
    # they are given back
    assert threads[1].take(2) == [1, 2]


def test_processes_of_a_training_see_the_gpus_that_were_taken_for_them(pretend, monkeypatch, threads):
    pretend(4)
    monkeypatch.setattr(gpus, 'free_memory', lambda names: {'8': 1, '9': 2, '10': 3, '11': 4})
    monkeypatch.setenv(gpus.VISIBLE, '8,9,10,11')
    processes = Processes.of(ClusterRuntime(devices=2))
    assert processes.on_gpus and [threads[0].take(), threads[1].take()] == [[3], [2]]
    with gpus.taken_gpus(processes.devices) as names:
        threads[1].end()
        # another run finds them taken
        assert names == '8,9' and threads[2].take() == [2]
    assert not Processes.of(ClusterRuntime(devices=2, device='cpu')).on_gpus
    with gpus.taken_gpus(0) as names:
        assert names == ''
    see_gpus('8,9')
    monkeypatch.setenv('LOCAL_RANK', '1')
    pretend(2)
    assert names_of_gpus() == ['8', '9'] and own_gpu() == 1
    see_gpus(UNKNOWN)
    pretend(0)
    assert names_of_gpus() == [] and own_gpu() is None
