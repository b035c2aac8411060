"""How much faster two processes train one network than one: share of what two independent ones reach at the same time.

    python tests/benchmarks/strong_scaling.py [--data FOLDER] [--processes 2] [--width 128] [--steps 6] [--repeats 5]

Each process has one thread and a CPU of its own. Independent processes (each does whole steps) and processes that share
each step take turns. With T seconds of a step of independent ones and t of shared ones, N processes reach T / (N t) of
the most that the machine gives N processes; a machine whose cores get slower together is not held against them.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

# before torch is loaded
os.environ['OMP_NUM_THREADS'] = '1'

import bench
import numpy as np
import torch
import torch.distributed as dist

from q2_aam.runtime.device import deterministic
from q2_aam.runtime.member import _Distributed
from q2_aam.runtime.ranks import ONE, Several
from q2_aam.training.batch import loss_of
from q2_aam.training.optimizer import make_optimizer

AIM = 0.85
# What a process is told: where all meet (or nothing), its number, of how many.
WORKER = '--worker'
BATCH = 64


def work(meeting, rank, size, options):
    """Do steps, and print the wall and the processor seconds of one."""
    os.sched_setaffinity(0, [sorted(os.sched_getaffinity(0))[rank]])
    torch.set_num_threads(1)
    ranks = ONE
    if meeting:
        dist.init_process_group('gloo', init_method=f'file://{meeting}', rank=rank, world_size=size)
        ranks = Several(rank, size, _Distributed())
    study = bench.read_data(options.data)
    config = bench.configuration(study, width=options.width)
    network, prepared, reader = bench.our_training(study, config, options.seed)
    optimizer = make_optimizer(network, 1e-3, 0.01)
    rows = np.random.default_rng(options.seed).permutation(len(study))

    def step(number):
        generator = np.random.default_rng(number)
        batch = np.roll(rows, -BATCH * number)[:BATCH]
        loss, _, _ = loss_of(network, prepared, reader, batch, generator, ranks.share())
        optimizer.zero_grad()
        loss.backward()
        ranks.average(network)
        optimizer.step()

    with deterministic(bench.CPU):
        step(0)
        if meeting:
            ranks.meet()
        clocks = time.perf_counter(), time.process_time()
        for number in range(1, options.steps + 1):
            step(number)
    wall, cpu = time.perf_counter() - clocks[0], time.process_time() - clocks[1]
    print(wall / options.steps, cpu / options.steps, flush=True)
    if meeting:
        dist.destroy_process_group()


def run(together, options):
    """Run as many processes as there are; return the mean wall and processor seconds of their steps."""
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(pathlib.Path(folder) / 'store') if together else ''
        command = [sys.executable, *sys.argv]
        processes = [
            subprocess.Popen(
                [*command, WORKER, f'{meeting}:{rank}:{options.processes}'], stdout=subprocess.PIPE, text=True
            )
            for rank in range(options.processes)
        ]
        said = [process.communicate()[0] for process in processes]
        if any(process.returncode for process in processes):
            raise SystemExit('A process failed.')
    return [statistics.mean(column) for column in zip(*(map(float, text.split()[-2:]) for text in said))]


def main():
    options = bench.arguments(
        __doc__,
        processes={'type': int, 'default': 2},
        width={'type': int, 'default': 128},
        steps={'type': int, 'default': 6},
        repeats={'type': int, 'default': 5},
        worker={'help': 'of the benchmark itself'},
    )
    if options.worker:
        meeting, rank, size = options.worker.rsplit(':', 2)
        work(meeting, int(rank), int(size), options)
        return
    if options.processes > len(os.sched_getaffinity(0)):
        raise SystemExit(f'There are fewer than {options.processes} CPUs.')
    bench.say_machine(options)
    rows, shares = [], {'wall': [], 'cpu': []}
    for number in range(1 if options.quick else options.repeats):
        # whoever is first may find the machine quieter
        sides = [run(together, options) for together in ((False, True) if number % 2 else (True, False))]
        alone, together = sides if number % 2 else sides[::-1]
        for clock, one, other in zip(shares, alone, together):
            shares[clock].append(one / (options.processes * other))
        rows.append([f'{seconds:.3f}' for seconds in (*alone, *together)] + [f'{shares["wall"][-1]:.0%}'])
    bench.say_table(('independent: wall', 'cpu', 'shared: wall', 'cpu', 'of the ceiling'), rows)
    for clock, values in shares.items():
        verdict = f' (aim {AIM:.0%}) {"PASS" if statistics.median(values) >= AIM else "FAIL"}'
        print(f'By {clock} seconds: {statistics.median(values):.0%} of the ceiling{verdict}.')


if __name__ == '__main__':
    main()
