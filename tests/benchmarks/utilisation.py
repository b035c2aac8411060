"""Share of the machine's measured peak that a training step turns into the arithmetic of the network.

    python tests/benchmarks/utilisation.py [--data FOLDER] [--device cuda] [--widths 128 512] [--seed 1] [--quick]

The peak is the best rate of a large matrix product on the same machine in the same precision, not that of the data
sheet. The operations are those that the network needs, counted from the configuration and the batch; padding and
recomputation do not count. For N tokens of width D in sequences of s tokens each, MLP ratio r, one layer
forward:

    projections and MLP           2 N D (3 D + D + 2 r D)  =  (8 + 4 r) N D^2
    attention                     4 D sum(s^2)

The sample level also projects U ASVs (2 U D^2), and F abundance features of N non-zeros twice (2 * 2 N F D). The
distance head: memberships of U ASVs and of N non-zeros, 2 (U + N) D K, and presence 2 N F K. The nucleotide head:
2 h D 4 P for h masked tokens of P nucleotides. A gradient costs twice the forward pass, but once where the input is
data (abundance features). Distances of pairs are no matrix product: they are in the time and not in the operations.
"""

import bench
import numpy as np
import torch

from q2_aam.data.batches import draw_samples
from q2_aam.model.sample_encoder import ABUNDANCE_FEATURES

AIM_GPU, WIDTH_OF_AIM = 0.4, 512
NUCLEOTIDES = 4


def layer_flops(sizes, width, ratio):
    """Forward operations of one transformer layer on sequences of `sizes` tokens."""
    sizes = np.asarray(sizes, dtype=np.float64)
    return (8 + 4 * ratio) * sizes.sum() * width**2 + 4 * width * (sizes**2).sum()


def asv_flops(config, lengths):
    """Forward operations of the ASV encoder on ASVs of `lengths` nucleotides."""
    tokens = -(-np.asarray(lengths) // config.nucleotides_per_token)
    return config.asv_layers * layer_flops(tokens, config.width, config.mlp_ratio)


def step_flops(config, training, lengths, richness):
    """Operations of one pretraining step on a batch: distinct ASVs of `lengths`, samples of `richness`."""
    asvs, non_zeros = len(lengths), int(np.sum(richness))
    sample = config.sample_layers * layer_flops(np.asarray(richness) + 1, config.width, config.mlp_ratio)
    projections = 2 * asvs * config.width**2
    memberships = 2 * (asvs + non_zeros) * config.width * config.memberships
    features = 2 * non_zeros * ABUNDANCE_FEATURES * (2 * config.width + config.memberships)
    few = max(1, round(training.masked_asv_ratio * asvs))
    # the masked task reads its ASVs a second time; like the rest, they count by their mean length
    masked = asv_flops(config, lengths) * few / asvs
    tokens = np.maximum(1, np.round(training.mask_ratio * (-(-np.asarray(lengths) // config.nucleotides_per_token))))
    head = 2 * tokens.mean() * few * config.width * NUCLEOTIDES * config.nucleotides_per_token
    return 3 * (asv_flops(config, lengths) + sample + projections + memberships + masked + head) + 2 * features


def measured_peak(device, precision, options):
    """Return the operations per second of the fastest of several large matrix products."""
    size = 8192 if device.type == 'cuda' else 2048
    one = torch.randn(size, size, device=device, dtype=precision)
    times = [bench.interleaved({'product': lambda: one @ one}, 3, options)['product'] for _ in range(3)]
    return 2 * size**3 / min(times)


def main():
    options = bench.arguments(
        __doc__, widths={'type': int, 'nargs': '+', 'default': [128, 256, 512], 'help': 'widths of the network'}
    )
    study = bench.read_data(options.data)
    bench.say_machine(options)
    rows = bench.spread_rows(study, 8 if options.quick else 64)
    lengths, richness = study.lengths[draw_samples(study, rows).distinct], study.richness[rows]
    table = []
    for width in options.widths[:1] if options.quick else options.widths:
        config = bench.configuration(study, width=width)
        network, loss = bench.our_network(study, config, options.seed, options.device)
        step = bench.training_step(network, loss, config)
        peak = measured_peak(options.device, network.precision, options)
        seconds = bench.interleaved({'step': lambda step=step: step(rows)}, 1 if options.quick else 5, options)['step']
        flops = step_flops(config.model, config.training, lengths, richness)
        share = flops / seconds / peak
        words = f'{share:.0%}'
        if options.device.type == 'cuda' and width >= WIDTH_OF_AIM:
            words += f' (aim {AIM_GPU:.0%}) {"PASS" if share >= AIM_GPU else "FAIL"}'
        precision = str(network.precision).removeprefix('torch.')
        table.append(
            (str(width), precision, f'{flops / 1e9:.0f}', f'{seconds:.3f}', f'{flops / seconds / 1e9:.0f}')
            + (f'{peak / 1e9:.0f}', words)
        )
    bench.say_table(('width', 'precision', 'GFLOP a step', 'seconds', 'GFLOP/s', 'peak GFLOP/s', 'share'), table)


if __name__ == '__main__':
    main()
