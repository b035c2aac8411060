"""How well samples are told apart after equal compute, by networks of different form.

    python tests/benchmarks/equal_compute.py [--tokens 6 10] [--ratios 2 4] [--widths 64 128] [--layers 1+2 2+4]
        [--data FOLDER] [--gflop 4000] [--seed 1] [--quick]

Forms are all combinations of nucleotides a token, MLP ratios, widths, and layers (ASV + sample);
what is not given is the default. Each is pretrained as users do it (unweighted UniFrac from the phylogeny of
--data; a tenth of the samples held out), with as many steps as need the operations asked for, by the formulas of
utilisation.py. It prints R2 of the distances among held-out samples and how much of masked nucleotides is told. Mind
that a larger token masks a longer stretch, which is a harder task: nucleotides do not compare between tokens.
"""

import argparse
import dataclasses
import itertools
import os
import pathlib
import tempfile

import arithmetic
import bench
import numpy as np

from q2_aam.config import PretrainConfig
from q2_aam.training.prepare import MASKED_BESIDE_DISTANCES
from q2_aam.training.pretrain import pretrain

BATCHES_TO_COUNT = 20


def step_gflop(study, config, seed):
    """Return the operations of an average step, in billions; `config` has its model resolved."""
    training = dataclasses.replace(config.training, masked_asv_ratio=MASKED_BESIDE_DISTANCES)
    config = dataclasses.replace(config, training=training)
    order = np.random.default_rng(seed)
    size = min(training.batch_size, len(study))
    batches = [order.permutation(len(study))[:size] for _ in range(BATCHES_TO_COUNT)]
    return size * arithmetic.a_sample(lambda rows: arithmetic.our_step_flops(config, study, rows), batches) / 1e9


def unpacked(data, work):
    """Return the files {name: path} of a study whose artifacts lie in the folder `data`."""
    return {
        'table': bench._unpack(data / 'table.qza', 'data/feature-table.biom', work),
        'phylogeny': bench._unpack(data / 'rooted-tree.qza', 'data/tree.nwk', work),
        'sequences': bench._unpack(data / 'rep-seqs.qza', 'data/dna-sequences.fasta', work),
    }


def held_out_metrics(files, config, folder):
    """Pretrain and return the metrics of the last epoch on the validation split."""
    folder.mkdir()
    os.environ['AAM_WORK_DIR'] = str(folder / 'work')
    history = pretrain(
        files['table'], folder, config, files['sequences'], phylogeny=files['phylogeny'], say=lambda line: None
    )
    return history.last('validation')


def layers(text):
    """Return (ASV layers, sample layers), given as 2+4."""
    try:
        of_asvs, of_samples = map(int, text.split('+'))
    except ValueError:
        raise argparse.ArgumentTypeError(f'layers are given as 2+4 (ASV + sample), not as {text}') from None
    return of_asvs, of_samples


def main():
    auto = ['auto']
    options = bench.arguments(
        __doc__,
        tokens={'type': int, 'nargs': '+', 'default': auto, 'help': 'nucleotides a token'},
        ratios={'type': int, 'nargs': '+', 'default': auto, 'help': 'MLP ratios'},
        widths={'type': int, 'nargs': '+', 'default': auto, 'help': 'widths of the network'},
        layers={'type': layers, 'nargs': '+', 'default': [('auto', 'auto')], 'help': 'ASV + sample layers'},
        gflop={'type': float, 'default': 4000.0, 'help': 'operations of each training, in billions'},
    )
    study = bench.read_data(options.data)
    bench.say_machine(options)
    gflop = 40.0 if options.quick else options.gflop
    table = []
    with tempfile.TemporaryDirectory() as work:
        files = unpacked(options.data, work)
        forms = list(itertools.product(options.tokens, options.ratios, options.widths, options.layers))
        for number, (tokens, ratio, width, (asv_layers, sample_layers)) in enumerate(
            forms[:2] if options.quick else forms
        ):
            form = {'nucleotides_per_token': tokens, 'mlp_ratio': ratio, 'width': width}
            form |= {'asv_layers': asv_layers, 'sample_layers': sample_layers}
            more = {'random_seed': options.seed, 'device': options.device.type, 'epochs': 10_000}
            config = PretrainConfig.from_flat(form | more)
            model = config.model.resolved(study.longest, len(study))
            config = dataclasses.replace(config, model=model)
            each = step_gflop(study, config, options.seed)
            steps = max(2, round(gflop / each))
            config = PretrainConfig.from_flat(config.to_flat() | {'max_steps': steps})
            metrics = held_out_metrics(files, config, pathlib.Path(work) / str(number))
            table.append(
                (str(model.nucleotides_per_token), str(model.mlp_ratio), str(model.width))
                + (f'{model.asv_layers}+{model.sample_layers}', f'{each:.1f}', str(steps))
                + (f'{metrics["distance_r2"]:.3f}', f'{metrics["nucleotide_loss"]:.3f}')
                + (f'{metrics["nucleotide_accuracy"]:.3f}',)
            )
            print(*table[-1], flush=True)
    header = ('nt a token', 'MLP ratio', 'width', 'layers', 'GFLOP a step', 'steps')
    bench.say_table((*header, 'R2 of held-out distances', 'nucleotide loss', 'nucleotide accuracy'), table)


if __name__ == '__main__':
    main()
