"""How the time of a training step and of a prediction grows with the data and with the width of the network.

    python tests/benchmarks/scaling.py [--seed 1] [--quick]

Made-up studies; one quantity varies over five points and the others stay at BASE. The exponent is the slope of log
seconds on log size: 1 is proportional, 0 does not depend on it. Small sizes have fixed costs, which make it smaller.
"""

import bench
import numpy as np

from q2_aam.runtime.encode import StudyReader

BASE = {'samples': 32, 'asvs': 256, 'richness': 32, 'length': 150, 'width': 64}
POINTS = {
    'samples': (16, 32, 64, 128, 256),
    'asvs': (128, 256, 512, 1024, 2048),
    'richness': (16, 32, 64, 128, 256),
    'length': (75, 150, 300, 600, 1200),
    'width': (32, 64, 128, 256, 512),
}
WORDS = {
    'samples': 'samples',
    'asvs': 'distinct ASVs',
    'richness': 'ASVs a sample',
    'length': 'nucleotides',
    'width': 'width',
}
# enough non-zeros that every one of the most distinct ASVs turns up
SAMPLES_TO_VARY_ASVS = 128


def sides_of(size, options):
    """Return {name: callable} for one training step on all samples of a made-up study and for their prediction."""
    study = bench.make_up(size['samples'], size['asvs'], size['richness'], size['length'], options.seed)
    config = bench.configuration(study, width=size['width'], asv_layers=2, sample_layers=4)
    network, loss = bench.our_network(study, config, options.seed, options.device)
    step = bench.training_step(network, loss, config)
    rows = np.arange(len(study))
    return {'step': lambda: step(rows), 'prediction': lambda: StudyReader(study).outputs(network, 'target', rows)}


def exponent(sizes, seconds):
    """Return the slope of log seconds on log size."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def main():
    options = bench.arguments(__doc__)
    bench.say_machine(options)
    rows = []
    for quantity, points in POINTS.items():
        points = points[:3] if options.quick else points
        base = BASE | ({'samples': SAMPLES_TO_VARY_ASVS} if quantity == 'asvs' else {})
        sides = {
            (point, name): side
            for point in points
            for name, side in sides_of(base | {quantity: point}, options).items()
        }
        seconds = bench.interleaved(sides, 1 if options.quick else 3, options)
        for name in ('step', 'prediction'):
            times = [seconds[point, name] for point in points]
            cells = [f'{point}: {time:.3f}' for point, time in zip(points, times)]
            rows.append((WORDS[quantity], name, f'{exponent(points, times):.2f}', *cells))
    bench.say_table(('', 'seconds of', 'exponent', *[''] * (3 if options.quick else 5)), rows)


if __name__ == '__main__':
    main()
