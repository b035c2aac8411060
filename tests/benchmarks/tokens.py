"""How well samples are told apart after equal compute: nucleotides a token, and widths of the feed-forward part.

    python tests/benchmarks/tokens.py [--tokens 1 3 6 10 15] [--ratios 2 4] [--gflop 4000] [--seed 1] [--quick]

Each form of network is pretrained as users do it (the default width and depth; unweighted UniFrac from the phylogeny of
--data; a fifth of the samples held out), with as many steps as need the operations asked for, by the formulas of
utilisation.py. It prints R2 of the distances among held-out samples and how much of hidden nucleotides is told. Mind
that a larger token hides a longer stretch, which is a harder task: nucleotides compare between ratios, and only
distances between tokens.
"""

import dataclasses
import os
import pathlib
import tempfile

import arithmetic
import bench
import numpy as np

from q2_aam.config import PretrainConfig
from q2_aam.training.pretrain import MASKED_BESIDE_DISTANCES, pretrain

BATCHES_TO_COUNT = 20


def step_gflop(study, config, seed):
    """Return the operations of an average step, in billions."""
    model = config.model.resolved(study.longest)
    training = dataclasses.replace(config.training, masked_asv_fraction=MASKED_BESIDE_DISTANCES)
    config = dataclasses.replace(config, model=model, training=training)
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


def held_out_figures(files, config, folder):
    """Pretrain and return the figures of the last epoch on the validation part."""
    folder.mkdir()
    os.environ['AAM_WORK_DIR'] = str(folder / 'work')
    history = pretrain(
        files['table'], folder, config, files['sequences'], phylogeny=files['phylogeny'], say=lambda line: None
    )
    return history.last('validation')


def main():
    options = bench.arguments(
        __doc__,
        tokens={'type': int, 'nargs': '+', 'default': [1, 3, 6, 10, 15], 'help': 'nucleotides a token'},
        ratios={'type': int, 'nargs': '+', 'default': ['auto'], 'help': 'feed-forward ratios'},
        gflop={'type': float, 'default': 4000.0, 'help': 'operations of each training, in billions'},
    )
    study = bench.read_data(options.data)
    bench.say_machine(options)
    gflop = 40.0 if options.quick else options.gflop
    table = []
    with tempfile.TemporaryDirectory() as work:
        files = unpacked(options.data, work)
        for tokens in options.tokens[-2:] if options.quick else options.tokens:
            for ratio in options.ratios:
                form = {'nucleotides_per_token': tokens, 'feed_forward_ratio': ratio}
                more = {'random_seed': options.seed, 'device': options.device.type, 'epochs': 10_000}
                config = PretrainConfig.from_flat(form | more)
                each = step_gflop(study, config, options.seed)
                steps = max(2, round(gflop / each))
                config = PretrainConfig.from_flat(form | more | {'max_steps': steps})
                found = held_out_figures(files, config, pathlib.Path(work) / f'{tokens}-{ratio}')
                table.append(
                    (str(tokens), str(ratio), f'{each:.1f}', str(steps), f'{found["distance_r2"]:.3f}')
                    + (f'{found["nucleotide_loss"]:.3f}', f'{found["nucleotide_accuracy"]:.3f}')
                )
                print(*table[-1], flush=True)
    header = ('nt a token', 'feed-forward ratio', 'GFLOP a step', 'steps', 'R2 of held-out distances')
    bench.say_table((*header, 'nucleotide loss', 'nucleotide accuracy'), table)


if __name__ == '__main__':
    main()
