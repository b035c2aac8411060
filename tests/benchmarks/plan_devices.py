"""Memory, time and traffic of pretraining past one machine, computed: what fits, how long it takes, where it stops.

    python tests/benchmarks/plan_devices.py [--gflops 22 29 44] [--device-gb 24] [--link-gb 1.25] [--batch 64]

Nothing is measured here, but that the memory of a step is printed beside what an H100 needed for it. Operations come
from the formulas of utilisation.py and weights from the networks themselves; --gflops is the rate that a device
reaches at each width, as utilisation.py has measured it (the defaults are one CPU core of docs/performance.md; the
last rate counts for all wider networks). The data are like those of the study of 100,000 samples there: 200 ASVs of
150 nt in a sample and 11,000 distinct ones in a batch of 64. A device that has --device-gb of memory sends --link-gb
GB a second, and receives as much at the same time.
"""

import argparse

import numpy as np
import torch
import utilisation

from q2_aam.config import HeadConfig, PretrainConfig
from q2_aam.model.network import build_network
from q2_aam.runtime.memory import COPIES_OF_WEIGHTS
from q2_aam.training.prepare import MASKED_BESIDE_DISTANCES

# Width, ASV layers, sample layers.
FORMS = ((128, 2, 4), (256, 2, 4), (512, 4, 8), (768, 8, 16), (1152, 12, 24))
SAMPLES = (10**5, 10**6, 10**7)
RICHNESS, LENGTH, DISTINCT_OF_64 = 200, 150, 11_000
DEVICES = (1, 8, 64)
BYTES, SECONDS_PER_HOUR = 4, 3600
COPIES_OF_PAIRS, FLOATS_OF_MEMBERSHIP = 3.5, 4
# A step of ECAM samples with 4 + 8 layers: width, samples, distinct ASVs, non-zeros, and the peak in GB on an H100, as
# PyTorch counts it, on 26 November 2026.
TOKENS_OF_ASV = 15
MEASURED = (
    (128, 64, 592, 2941, 0.40),
    (512, 64, 592, 2941, 1.70),
    (512, 512, 1193, 22529, 9.70),
    (1152, 64, 592, 2941, 5.05),
    (1152, 256, 921, 11338, 10.52),
    (1152, 600, 1304, 26398, 28.25),
)
# What each process does by itself in a step of 64 samples, on a CPU (docs/clusters.md).
SECONDS_NOT_DIVIDED = 0.07


def network_of(width, asv_layers, sample_layers):
    """Return the configuration of pretraining at one size, that of its network, and how many weights it has."""
    given = {'width': width, 'asv_layers': asv_layers, 'sample_layers': sample_layers}
    call = PretrainConfig.from_flat(given | {'masked_asv_ratio': MASKED_BESIDE_DISTANCES})
    model = call.model.resolved(LENGTH, max(SAMPLES))
    network = build_network(model, {'distances': HeadConfig('distances')})
    return call, model, sum(parameter.numel() for parameter in network.parameters())


def describe(width, asv_layers, sample_layers, batch):
    """Return weights, operations of a step, and bytes of what is exchanged, of pretraining at one size."""
    call, model, weights = network_of(width, asv_layers, sample_layers)
    distinct = DISTINCT_OF_64 * batch // 64
    flops = utilisation.step_flops(
        model, call.training, np.full(distinct, LENGTH), np.full(batch, RICHNESS, dtype=np.int64)
    )
    moved = BYTES * (distinct * width + batch * (2 * width + model.memberships))
    return weights, flops, moved


def step_gb(model, weights, tokens, non_zeros, batch):
    """Return the memory of a step in bfloat16 on a GPU, where nothing is computed again.

    Weights, gradients and moments take 16 bytes each. Of each token a layer keeps four rows in float32 (its input, that
    of the MLP, and what both norms give) and in half precision the copies that products read, queries, keys, values,
    attention's output, and hidden units before and after their activation. The distance head holds the memberships
    that pairs share, their gradient, and that of both sides.
    """
    bytes_of_token = model.width * (4 * 4 + 2 * (2 + 3 + 1 + 2 * model.mlp_ratio))
    layers = tokens * model.asv_layers * (1 + MASKED_BESIDE_DISTANCES) + (non_zeros + batch) * model.sample_layers
    pairs = BYTES * COPIES_OF_PAIRS * batch**2 * model.memberships
    of_asvs = BYTES * FLOATS_OF_MEMBERSHIP * non_zeros * model.memberships
    return (BYTES * COPIES_OF_WEIGHTS * weights + layers * bytes_of_token + pairs + of_asvs) / 1e9


def memory_gb(weights, devices, divided):
    """Return what weights, gradients and moments take of each device; where divided, one copy while they are drawn."""
    copies = 1 + COPIES_OF_WEIGHTS / devices if divided and devices > 1 else COPIES_OF_WEIGHTS
    return BYTES * copies * weights / 1e9


def traffic_gb(weights, embeddings, devices, divided):
    """Return what a device sends in a step: gradients and weights around a ring, and embeddings there and back."""
    if devices == 1:
        return 0.0
    # an all-reduce is two rounds; divided, weights are gathered twice and gradients are scattered
    rounds = 3 if divided else 2
    return (rounds * BYTES * weights + 2 * embeddings) * (devices - 1) / devices / 1e9


def step_seconds(flops, weights, embeddings, devices, divided, rate, link_gb):
    """Return the seconds of a step where nothing is sent while something is computed."""
    sent = traffic_gb(weights, embeddings, devices, divided) / link_gb
    return flops / rate / devices + SECONDS_NOT_DIVIDED + sent


def most_devices(flops, weights, embeddings, divided, rate, link_gb):
    """Return from how many devices on doubling them takes less than a quarter of a step's time away."""
    devices = 1
    while devices < 2**16:
        now, twice = (
            step_seconds(flops, weights, embeddings, number, divided, rate, link_gb)
            for number in (devices, 2 * devices)
        )
        if twice > 0.75 * now:
            return devices
        devices *= 2
    return devices


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--gflops', type=float, nargs='+', default=[22.0, 29.0, 44.0])
    parser.add_argument('--device-gb', type=float, default=24.0)
    parser.add_argument('--link-gb', type=float, default=1.25, help='1.25 is 10-gigabit Ethernet')
    parser.add_argument('--batch', type=int, default=64)
    return parser.parse_args()


def main():
    options = arguments()
    print(f'{options.batch} samples a step, {options.device_gb:g} GB a device, {options.link_gb:g} GB/s a link')
    sizes = [describe(*form, options.batch) for form in FORMS]
    rates = [1e9 * options.gflops[min(place, len(options.gflops) - 1)] for place in range(len(FORMS))]
    print('\n| width, layers | weights | TFLOP a step | GB, whole | GB of each of 8, divided | fits whole |')
    for (width, *layers), (weights, flops, _) in zip(FORMS, sizes):
        whole, divided = memory_gb(weights, 1, False), memory_gb(weights, 8, True)
        fits = 'yes' if whole <= options.device_gb else 'no'
        name = f'{width}, {"+".join(map(str, layers))}'
        print(f'| {name} | {weights / 1e6:.1f} M | {flops / 1e12:.2f} | {whole:.2f} | {divided:.2f} | {fits} |')
    print('\n| width | samples a step | GB planned | GB measured | planned / measured |')
    for width, batch, distinct, non_zeros, measured in MEASURED:
        _, model, weights = network_of(width, 4, 8)
        planned = step_gb(model, weights, distinct * TOKENS_OF_ASV, non_zeros, batch)
        print(f'| {width} | {batch} | {planned:.2f} | {measured:.2f} | {planned / measured:.2f} |')
    epochs = ' | '.join(f'hours an epoch of {samples:.0e}' for samples in SAMPLES)
    print(f'\n| width | devices | GB sent a step: ddp, fsdp | seconds a step: ddp, fsdp | {epochs} |')
    for (width, *_), (weights, flops, moved), rate in zip(FORMS, sizes, rates):
        for devices in DEVICES:
            sent = [traffic_gb(weights, moved, devices, divided) for divided in (False, True)]
            seconds = [
                step_seconds(flops, weights, moved, devices, divided, rate, options.link_gb)
                for divided in (False, True)
            ]
            hours = [samples / options.batch * seconds[0] / SECONDS_PER_HOUR for samples in SAMPLES]
            cells = [f'{sent[0]:.3f}, {sent[1]:.3f}', f'{seconds[0]:.2f}, {seconds[1]:.2f}']
            print(f'| {width} | {devices} | {" | ".join(cells)} | {" | ".join(f"{hour:,.0f}" for hour in hours)} |')
    print('\n| width | doubling pays up to: ddp | fsdp |')
    for (width, *_), (weights, flops, moved), rate in zip(FORMS, sizes, rates):
        most = [most_devices(flops, weights, moved, divided, rate, options.link_gb) for divided in (False, True)]
        print(f'| {width} | {most[0]} | {most[1]} |')


if __name__ == '__main__':
    with torch.device('meta'):
        main()
