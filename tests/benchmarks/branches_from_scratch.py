"""Memberships learned from scratch, with branches of ASVs or beside branches of tokens: R2 and r of held-out samples.

    python tests/benchmarks/branches_from_scratch.py OUT [--table table.biom] [--studies NAME ...] [--data FOLDER]
        [--samples 200] [--reads 0] [--unifrac unweighted] [--ratios 1.5 2.5] [--seed 1] [--quick]

OUT is what recipe/train_encoder.py has written (see zero_shot.py); --data is a folder with a table, sequences and a
tree as artifacts, such as ECAM, in place of OUT's studies. With the default parameters an encoder is pretrained on
three quarters of the samples of a study, at most --samples, on UniFrac from the tree: with token_branches off, where
ASVs have branches of their own, and on. It is judged by the distances among the other samples, which it never saw; once
more with branches of new tokens that are --ratios as long. --reads draws so many reads of each sample first.
"""

import argparse
import dataclasses
import json
import pathlib
import tempfile
import time

import bench
import distances
import numpy as np
import zero_shot

from q2_aam import bundle
from q2_aam.config import PretrainConfig
from q2_aam.data.inputs import read_study
from q2_aam.data.phylogeny import read_phylogeny
from q2_aam.data.unifrac import UnifracDistances
from q2_aam.training.pretrain import pretrain

HELD_OUT = 4
# Streams of chance beside the seed.
CHOSEN, DIVIDED = 0, 7


def longer_if_new(encoder, ratio, folder):
    """Write the bundle of an encoder in which the branches of new tokens are `ratio` as long; return its path."""
    folder.mkdir()
    model, card = bundle.load(encoder, bundle.ENCODER), json.loads((encoder / bundle.CARD_FILE).read_text('utf-8'))
    tokens = model.token_branches
    tokens = dataclasses.replace(tokens, lengths=tokens.lengths[0] * np.array([1, ratio]))
    bundle.save(folder, dataclasses.replace(model, token_branches=tokens), card)
    return folder


def with_counts(study):
    """Return a study whose abundances are numbers of reads, without ASVs that do not occur."""
    counts = np.round(study.abundances * np.repeat(study.reads, study.richness)).astype(np.float32)
    return zero_shot.without_empty_columns(dataclasses.replace(study, abundances=counts))


def true_distances(study, tree, unifrac):
    """Return UniFrac among all samples, [samples, samples]."""
    rows, tree = np.arange(len(study)), read_phylogeny(tree, study.feature_ids)
    pairs = UnifracDistances(tree, study, rows, np.random.default_rng(0), unifrac)
    return pairs.among(rows).astype(float) * pairs.divisor


def compare(study, fasta, tree, options):
    """Return {token_branches: (r, R2, seconds)} of the held-out samples of a study."""
    order = np.random.default_rng([options.seed, DIVIDED]).permutation(len(study))
    number = len(study) // HELD_OUT
    learned, held = (zero_shot.part_of(study, np.sort(rows)) for rows in (order[number:], order[:number]))
    held, found = zero_shot.without_empty_columns(held), {}
    true = true_distances(held, tree, options.unifrac)
    values = {'random_seed': options.seed, 'threads': 1, 'device': 'cpu', 'unifrac': options.unifrac}
    for branches in ('off', 'on'):
        config = PretrainConfig.from_flat(
            values | (distances.QUICK if options.quick else {}) | {'token_branches': branches}
        )
        with tempfile.TemporaryDirectory() as work:
            folder = pathlib.Path(work)
            table, encoder = distances.write_table(with_counts(learned), folder / 'learned.biom'), folder / 'encoder'
            encoder.mkdir()
            before = time.process_time()
            pretrain(table, encoder, config, fasta, phylogeny=tree, say=distances.quiet)
            seconds = time.process_time() - before
            encoders = {branches: encoder}
            for ratio in options.ratios if branches == 'on' else ():
                encoders[f'on, new {ratio:g} as long'] = longer_if_new(encoder, ratio, folder / str(ratio))
            for name, one in encoders.items():
                predicted = zero_shot.predicted(with_counts(held), one, str, folder)
                found[name] = *zero_shot.agreement(predicted, true), seconds
    return found


def studies_of(options, work):
    """Yield (name, study, sequences, tree), the samples drawn of each study."""
    if options.data is not None:
        table, fasta, tree = distances.files_of(options.data, work)
        study, _ = read_study(table, fasta)
        rows = {options.data.name: np.arange(len(study))}
    else:
        fasta, tree = options.out / 'sequences.fasta', options.out / 'tree.nwk'
        study, _ = read_study(options.out / options.table, fasta)
        names = np.array([name.split('.')[0] for name in study.sample_ids])
        rows = {str(name): np.flatnonzero(names == name) for name in options.studies or np.unique(names)}
    for name, of in rows.items():
        if len(of) > options.samples:
            of = np.sort(np.random.default_rng(CHOSEN).permutation(of)[: options.samples])
        part = zero_shot.without_empty_columns(zero_shot.part_of(study, of))
        if options.reads:
            part = zero_shot.at_depth(part, options.reads, 1)
            part = dataclasses.replace(part, reads=np.minimum(part.reads, options.reads))
        yield name, part, fasta, tree


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out', type=pathlib.Path, nargs='?')
    parser.add_argument('--table', default='table.biom')
    parser.add_argument('--studies', nargs='*')
    parser.add_argument('--data', type=pathlib.Path)
    parser.add_argument('--samples', type=int, default=200)
    parser.add_argument('--reads', type=int, default=0)
    parser.add_argument('--unifrac', default='unweighted')
    parser.add_argument('--ratios', type=float, nargs='*', default=[1.5, 2.5])
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--quick', action='store_true', help='one epoch of a tiny network')
    options = parser.parse_args()
    if (options.out is None) == (options.data is None):
        parser.error('give either OUT or --data')
    with tempfile.TemporaryDirectory() as work:
        for name, study, fasta, tree in studies_of(options, pathlib.Path(work)):
            found = compare(study, fasta, tree, options)
            print(f'{name}: {len(study)} samples, seed {options.seed}')
            rows = [[what, f'{r:.3f}', f'{r2:.3f}', f'{seconds:.0f}'] for what, (r, r2, seconds) in found.items()]
            bench.say_table(('token_branches', 'r', 'R2', 'seconds'), rows)


if __name__ == '__main__':
    main()
