"""Where the time of our own training step and prediction goes: the operators that take the most of it.

python tests/benchmarks/costs.py [--data FOLDER] [--seed 1] [--quick]
"""

import bench
import numpy as np
import throughput
import torch

from q2_aam.runtime.device import deterministic
from q2_aam.runtime.encode import StudyReader

MAX_ROWS = 14


def profiled(side, options):
    """Print the operators of one call of `side` by the time that is their own."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    on_gpu = options.device.type == 'cuda'
    if on_gpu:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with deterministic(options.device):
        side()
        with torch.profiler.profile(activities=activities) as profile:
            side()
            bench.synchronise()
    time_of = 'self_device_time_total' if on_gpu else 'self_cpu_time_total'
    events = sorted(profile.key_averages(), key=lambda event: -getattr(event, time_of))
    total = sum(getattr(event, time_of) for event in events)
    rows = [
        (
            event.key[:60],
            str(event.count),
            f'{getattr(event, time_of) / 1e3:.0f}',
            f'{getattr(event, time_of) / total:.1%}',
        )
        for event in events[:MAX_ROWS]
    ]
    bench.say_table(('operator', 'calls', 'ms', 'share'), rows)


def main():
    options = bench.arguments(__doc__)
    study = bench.read_data(options.data)
    bench.say_machine(options)
    config = bench.configuration(study)
    network, loss = bench.our_network(study, config, options.seed, options.device)
    step = bench.training_step(network, loss, config)
    rows = bench.spread_rows(study, 8 if options.quick else throughput.BATCH)
    print(f'One training step on {len(rows)} samples')
    profiled(lambda: step(rows), options)
    everything = np.arange(len(study))
    print(f'Prediction of {len(study)} samples')
    profiled(lambda: StudyReader(study).outputs(network, 'target', everything), options)


if __name__ == '__main__':
    main()
