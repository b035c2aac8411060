"""Where the time of our own training step and prediction goes: the operators that take the most of it.

python tests/benchmarks/costs.py [--data FOLDER] [--seed 1] [--quick]
"""

import bench
import numpy as np
import throughput
import torch

from q2_aam.runtime.encode import outputs_of
from q2_aam.training.loop import reproducible

MOST = 14


def profiled(side, options):
    """Print the operators of one call of `side` by the time that is their own."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    on_gpu = options.device.type == 'cuda'
    if on_gpu:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with reproducible(options.device, 0):
        side()
        with torch.profiler.profile(activities=activities) as profile:
            side()
            bench.synchronise()
    own = 'self_device_time_total' if on_gpu else 'self_cpu_time_total'
    events = sorted(profile.key_averages(), key=lambda event: -getattr(event, own))
    total = sum(getattr(event, own) for event in events)
    rows = [
        (event.key[:60], str(event.count), f'{getattr(event, own) / 1e3:.0f}', f'{getattr(event, own) / total:.1%}')
        for event in events[:MOST]
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
    profiled(lambda: outputs_of(network, study, everything, options.device), options)


if __name__ == '__main__':
    main()
