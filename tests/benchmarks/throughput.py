"""Samples per second of training and of prediction, against the padded baseline and the reference's defaults.

    python tests/benchmarks/throughput.py [--data FOLDER] [--tokens 6] [--seed 1] [--quick]

Both sides run in turn in one process, and medians are compared, because machines are noisy. Where the baseline would
take too long or too much memory it runs on fewer samples, which stand for all in richness, and seconds a sample are
compared. A missed aim prints FAIL and is no error; outputs that differ from the baseline's are.
"""

import bench
import numpy as np
import padded

from q2_aam.training.evaluate import outputs_of

BATCH = 64
# the aims that the project has set itself
AIM_BATCH_PADDED, AIM_PADDED, AIM_PREDICTION, AIM_DEFAULTS = 5, 8, 20, 60


def thinned(study, rows, count):
    """Return `count` of `rows` that stand for them all: evenly in order of richness."""
    order = rows[np.argsort(study.richness[rows], kind='stable')]
    step = len(rows) // count
    return order[step // 2 :: step][:count]


def baseline(network, study, procedure, device):
    """Return the baseline with the weights of `network`, once its outputs have been found equal."""
    other = padded.PaddedNetwork(network, procedure).to(device)
    padded.check_equal(network, other, study, bench.spread_rows(study, 8))
    return other


def training_sides(study, config, procedures, options):
    """Return {name: (function that does one step, samples a step)} for ours and for each (procedure, config, batch)."""
    batches = np.random.default_rng(options.seed).permutation(len(study))
    batches = [batches[i : i + BATCH] for i in range(0, len(batches) - BATCH + 1, BATCH)]

    def stepping(network, loss, config, count):
        step, turn = bench.training_step(network, loss, config), iter(batches * 100)
        return (lambda: step(thinned(study, next(turn), count))), count

    pairs = bench.random_distances(study, options.seed)
    sides = {'q2_aam': stepping(*bench.our_network(study, config, options.seed, options.device), config, BATCH)}
    for name, (procedure, other_config, count) in procedures.items():
        network, _ = bench.our_network(study, other_config, options.seed, options.device)
        other = baseline(network, study, procedure, options.device)
        loss = padded.padded_loss(study, pairs, other_config, procedure, options.device)
        sides[name] = stepping(other, loss, other_config, count)
    return sides


def prediction_sides(study, config, options):
    """Return {name: (function that predicts, samples)}: ours all samples, the baseline some of them."""
    network, _ = bench.our_network(study, config, options.seed, options.device)
    network.eval()
    everything = np.arange(len(study))
    sides = {'q2_aam': (lambda: outputs_of(network, study, everything, options.device), len(study))}
    for name, pad_to, count, batch in (
        ('batch-padded', None, 128, BATCH),
        ('1,024-padded', padded.REFERENCE_PAD, 32, padded.REFERENCE_BATCH),
    ):
        other = baseline(network, study, padded.Procedure(pad_to), options.device)
        rows = np.random.default_rng(options.seed).permutation(bench.spread_rows(study, count // (1 + options.quick)))
        sides[name] = (
            lambda other=other, rows=rows, batch=batch: padded.predict(other, study, rows, batch, options.device),
            len(rows),
        )
    return sides


def compare(title, sides, aims, options):
    """Time all sides and print their speeds, and for each but ours by how much ours is faster."""
    repeats = 1 if options.quick else 5
    seconds = bench.interleaved({name: side for name, (side, _) in sides.items()}, repeats, options)
    speeds = {name: samples / seconds[name] for name, (_, samples) in sides.items()}
    print(title)
    bench.say_table(
        ('', 'samples', 'seconds', 'samples/s', 'q2_aam is'),
        [
            (
                name,
                str(samples),
                f'{seconds[name]:.3f}',
                f'{speeds[name]:.2f}',
                bench.verdict(speeds['q2_aam'] / speeds[name], aims[name]) if name in aims else '',
            )
            for name, (_, samples) in sides.items()
        ],
    )


def main():
    options = bench.arguments(__doc__, tokens={'type': int, 'default': 6, 'help': 'nucleotides a token, like for like'})
    study = bench.read_data(options.data)
    bench.say_machine(options)
    alike = bench.configuration(study, nucleotides_per_token=options.tokens, precision='float32')
    sides = training_sides(
        study,
        alike,
        {
            'batch-padded': (padded.Procedure(), alike, BATCH),
            # at 64 samples of 1,024 places it would hold many times the memory
            '1,024-padded': (padded.Procedure(padded.REFERENCE_PAD), alike, BATCH // 4),
        },
        options,
    )
    aims = {'batch-padded': AIM_BATCH_PADDED, '1,024-padded': AIM_PADDED}
    compare(f'Training, like for like, {options.tokens} nucleotides a token, float32', sides, aims, options)
    aims = dict.fromkeys(aims, AIM_PREDICTION)
    title = f'Prediction of {len(study)} samples (baselines: of a part), {options.tokens} nucleotides a token, float32'
    compare(title, prediction_sides(study, alike, options), aims, options)
    reference = bench.configuration(study, nucleotides_per_token=padded.REFERENCE_TOKENS, precision='float32')
    sides = training_sides(
        study,
        bench.configuration(study),
        {"reference's defaults": (padded.REFERENCE, reference, padded.REFERENCE_BATCH)},
        options,
    )
    title = "Training, default tokens and batch, against the reference's defaults at the same width and depth"
    compare(title, sides, {"reference's defaults": AIM_DEFAULTS}, options)


if __name__ == '__main__':
    main()
