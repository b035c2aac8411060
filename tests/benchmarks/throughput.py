"""Samples per second of training and of prediction, against the padded baseline and the reference's defaults.

    python tests/benchmarks/throughput.py [--data FOLDER] [--parts training prediction defaults]
        [--forms ours reference] [--max-memory-gb 4] [--repeats 5] [--quick]

Both sides run in turn in one process, and medians are compared, because machines are noisy. Where the baseline would
take too long or too much memory it runs on fewer samples, which stand for all in richness, and seconds a sample are
compared. Training and prediction are compared like for like, both sides with the tokens and MLP ratio of our defaults
or of the reference's. A missed aim prints FAIL and is no error; outputs that differ from the baseline's are.
"""

import bench
import numpy as np
import padded

from q2_aam.runtime.encode import StudyReader

BATCH = 64
# the aims that the project has set itself
AIM_BATCH_PADDED, AIM_PADDED, AIM_PREDICTION, AIM_DEFAULTS = 5, 8, 20, 60
# whose tokens and MLP ratio both sides have where they are compared like for like
FORMS = {'ours': {}, 'reference': padded.REFERENCE_FORM}
# where nothing is computed twice, as on the other side
PLENTY_GB = 16


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
    sides = {'q2_aam': (lambda: StudyReader(study).outputs(network, 'target', everything), len(study))}
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
    repeats = 1 if options.quick else options.repeats
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


def alike(study, form):
    """Return (configuration of both sides, its tokens and MLP ratio in words)."""
    config = bench.configuration(study, **{'precision': 'float32', 'max_memory_gb': PLENTY_GB} | FORMS[form])
    model = config.model
    return config, f'{model.nucleotides_per_token} nt a token, MLP ratio {model.mlp_ratio}, float32'


def training(study, options):
    for form in options.forms:
        config, words = alike(study, form)
        # at 64 samples the baselines would hold some 20 GB, single nucleotides and places for 1,024 ASVs alike
        few = BATCH // (16 if options.quick else 4)
        fits = few if FORMS[form] else BATCH
        procedures = {
            'batch-padded': (padded.Procedure(), config, fits),
            '1,024-padded': (padded.Procedure(padded.REFERENCE_PAD), config, few),
        }
        aims = {'batch-padded': AIM_BATCH_PADDED, '1,024-padded': AIM_PADDED}
        sides = training_sides(study, config, procedures, options)
        compare(f'Training, like for like, {words}', sides, aims, options)


def prediction(study, options):
    aims = dict.fromkeys(('batch-padded', '1,024-padded'), AIM_PREDICTION)
    for form in options.forms:
        config, words = alike(study, form)
        title = f'Prediction of {len(study)} samples (baselines: of a part), {words}'
        compare(title, prediction_sides(study, config, options), aims, options)


def defaults(study, options):
    reference = bench.configuration(study, **padded.REFERENCE_FORM)
    memory = {} if options.max_memory_gb is None else {'max_memory_gb': options.max_memory_gb}
    sides = training_sides(
        study,
        bench.configuration(study, **memory),
        {"reference's defaults": (padded.REFERENCE, reference, padded.REFERENCE_BATCH)},
        options,
    )
    title = "Training, default form and batch, against the reference's defaults at the same width and depth"
    compare(title, sides, {"reference's defaults": AIM_DEFAULTS}, options)


PARTS = {'training': training, 'prediction': prediction, 'defaults': defaults}


def main():
    options = bench.arguments(
        __doc__,
        **{
            'parts': {'nargs': '+', 'choices': tuple(PARTS), 'default': list(PARTS), 'help': 'which comparisons'},
            'forms': {
                'nargs': '+',
                'choices': tuple(FORMS),
                'default': list(FORMS),
                'help': 'whose tokens and MLP ratio both sides have, like for like',
            },
            'max-memory-gb': {'type': float, 'help': 'of our side in part defaults'},
            'repeats': {'type': int, 'default': 5},
        },
    )
    study = bench.read_data(options.data)
    bench.say_machine(options)
    for part in options.parts:
        PARTS[part](study, options)


if __name__ == '__main__':
    main()
