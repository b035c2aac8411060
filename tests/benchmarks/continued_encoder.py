"""An encoder that goes on: R2 and r of distances before and after, of the study that it learns and of all others.

    python tests/benchmarks/continued_encoder.py OUT [--table left-out.biom] [--encoder FOLDER] [--studies NAME ...]
        [--own-branches] [--scratch] [--epochs 8] [--samples 100] [--seed 1] [--quick]

OUT is what recipe/train_encoder.py has written (see zero_shot.py). From its encoder, or from --encoder, pretraining
goes on with each of the studies that were left out, or with --studies, on the one tree for all; a quarter of the
samples is held out. Then held-out samples are judged, and the other studies that were left out, as the encoder reads
them before and after, at 1,000 reads. --scratch also learns each study from no encoder; --own-branches goes on without
branches of tokens, as if the encoder had none.
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
from q2_aam.training.pretrain import pretrain

HELD_OUT = 0.25
# As an encoder of one study is trained that is compared with one of many.
LEARNED = {
    'rarefaction_depth': 2000,
    'rarefaction_range': 4.0,
    'masked_asv_ratio': 0.05,
    'batch_size': 32,
    'patience': 0,
}
FORM = {'width': 128, 'asv_layers': 1, 'sample_layers': 1, 'memberships': 512}
QUICK = {'width': 16, 'asv_layers': 1, 'sample_layers': 1, 'memberships': 16, 'rarefaction_depth': 50}
KEPT = ('kept_beyond_untrained_network', 'kept_distances_r2')


def rows_of(study, name):
    """Return the rows of the samples of one of the studies of a merged table."""
    return np.array([row for row, ids in enumerate(study.sample_ids) if ids.split('.')[0] == name])


def learn(study, encoder, out, options, folder):
    """Pretrain on a study from an encoder, or from none; return the bundle, what the history says, and seconds."""
    counts = np.round(study.abundances * np.repeat(study.reads, study.richness)).astype(np.float32)
    table = distances.write_table(dataclasses.replace(study, abundances=counts), folder / 'table.biom')
    values = LEARNED | (FORM | (QUICK if options.quick else {}) if encoder is None else {})
    values |= {'rarefaction_depth': 50} if options.quick else {}
    values |= {'epochs': options.epochs, 'random_seed': options.seed, 'validation_fraction': HELD_OUT, 'threads': 1}
    trained = folder / f'from-{"scratch" if encoder is None else "encoder"}'
    trained.mkdir()
    before = time.process_time()
    history = pretrain(
        table, trained, PretrainConfig.from_flat(values | {'device': 'cpu'}), out / 'sequences.fasta',
        phylogeny=out / 'tree.nwk', initial_encoder=encoder, say=lambda line: None,
    )  # fmt: skip
    return trained, history, time.process_time() - before


def without_tokens(encoder, folder):
    """Write the bundle of an encoder without its branches of tokens, and return its path."""
    folder.mkdir()
    card = json.loads((encoder / bundle.CARD_FILE).read_text(encoding='utf-8'))
    bundle.save(folder, dataclasses.replace(bundle.load(encoder, bundle.ENCODER), token_branches=None), card)
    return folder


def judge(study, encoder, tree, seed, folder):
    """Return r and R2 of what an encoder predicts among the samples of a study at 1,000 reads."""
    drawn = zero_shot.at_depth(study, zero_shot.DEPTH, seed)
    true = distances.unifrac(drawn, read_phylogeny(tree, drawn.feature_ids))
    return zero_shot.agreement(zero_shot.predicted(drawn, encoder, str, folder), true)


def go_on(name, study, encoder, options):
    """Return {what: (r, R2)} of held-out samples and of other studies, what is kept, and seconds of each training."""
    found, kept, seconds, tree = {}, {}, {}, options.out / 'tree.nwk'
    own = zero_shot.without_empty_columns(zero_shot.part_of(study, rows_of(study, name)))
    others = {}
    for other in sorted({ids.split('.')[0] for ids in study.sample_ids} - {name}):
        rows = np.random.default_rng(options.seed).permutation(rows_of(study, other))[: options.samples]
        others[other] = zero_shot.part_of(study, np.sort(rows))
    with tempfile.TemporaryDirectory() as work:
        folder = pathlib.Path(work)
        source = without_tokens(encoder, folder / 'memberships') if options.own_branches else encoder
        after, history, seconds['on'] = learn(own, source, options.out, options, folder)
        kept = history.last('run')
        held = sorted(own.rows_of(history.last('held_out')))
        encoders = {'before': encoder, 'after': after}
        if options.scratch:
            encoders['from scratch'], _, seconds['scratch'] = learn(own, None, options.out, options, folder)
        for when, one in encoders.items():
            found[f'held-out, {when}'] = judge(zero_shot.part_of(own, held), one, tree, options.seed, folder)
            if when == 'from scratch':
                continue
            for other, part in others.items():
                found[f'{other}, {when}'] = judge(part, one, tree, options.seed, folder)
    return found, kept, seconds


def row_of(name, found, kept, seconds, place):
    """Return a row of the table of r (place 0) or of R2 (place 1)."""
    cells = [name, *(_cell(found, f'held-out, {when}', place) for when in ('from scratch', 'before', 'after'))]
    for when in ('before', 'after'):
        values = [one[place] for what, one in found.items() if what.endswith(f', {when}') and 'held-out' not in what]
        cells += [f'{np.mean(values):.3f}', f'{min(values):.3f}'] if values else ['', '']
    return [*cells, *(f'{kept.get(what, np.nan):.3f}' for what in KEPT), f'{seconds["on"]:.0f}']


def _cell(found, what, place):
    return f'{found[what][place]:.3f}' if what in found else ''


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out', type=pathlib.Path)
    parser.add_argument('--table', default='left-out.biom')
    parser.add_argument('--encoder', type=pathlib.Path)
    parser.add_argument('--studies', nargs='*')
    parser.add_argument('--own-branches', action='store_true')
    parser.add_argument('--scratch', action='store_true')
    parser.add_argument('--epochs', type=int, default=8)
    parser.add_argument('--samples', type=int, default=100)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--quick', action='store_true', help='one epoch, few samples of other studies')
    options = parser.parse_args()
    if options.quick:
        options.samples, options.epochs = 8, 1
    study, _ = read_study(options.out / options.table, options.out / 'sequences.fasta')
    names = sorted({ids.split('.')[0] for ids in study.sample_ids})
    if unknown := sorted(set(options.studies or []) - set(names)):
        parser.error(f'there is no study {unknown[0]} in {options.table}')
    results = []
    for name in options.studies or names:
        results.append((name, *go_on(name, study, options.encoder or options.out / 'encoder', options)))
        print(f'{name}: {json.dumps(results[-1][1:])}', flush=True)
    head = ['study', 'held-out: from scratch', 'before', 'after', 'others: before', 'worst', 'after', 'worst']
    for place, title in enumerate(('r', 'R2')):
        print(f'{title}:')
        bench.say_table([*head, *KEPT, 'seconds'], [row_of(*one, place) for one in results])


if __name__ == '__main__':
    main()
