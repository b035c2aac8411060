"""Distances of studies that an encoder never saw, against UniFrac on one tree for all: Mantel's r and R2 of each study.

    python tests/benchmarks/zero_shot.py OUT [--table left-out.biom] [--encoder FOLDER ...] [--depths 200 1000 2000]
        [--samples 100] [--own-tree] [--tokens] [--seed 1] [--quick]

OUT is what recipe/train_encoder.py has written: the samples of studies that were left out, the sequences, the tree and
the encoder, to which --encoder adds others. Distances are predicted from the sequences as they are at each depth, and
at 1,000 reads from sequences that were read in another way. --own-tree also builds a tree of the study's sequences
alone: how far UniFrac on that agrees with UniFrac on the one tree is the best that can be asked for. --tokens adds what
needs no encoder: the share of tokens in which two samples differ; and how far all that agrees with weighted UniFrac.
Aim: r 0.9 on average and 0.8 at worst, R2 0.8 on average. Reads are drawn without replacement; samples with fewer give
all.
"""

import argparse
import dataclasses
import pathlib
import sys
import tempfile
import warnings

import bench
import distances
import numpy as np
import scipy.sparse
from scipy.spatial.distance import cdist

from q2_aam.config import DistancesConfig
from q2_aam.data.inputs import read_study
from q2_aam.data.phylogeny import read_phylogeny
from q2_aam.data.tokens import token_keys
from q2_aam.data.unifrac import UnifracDistances
from q2_aam.inference.embed import predict_distances

RECIPE = pathlib.Path(__file__).resolve().parents[2] / 'recipe'
LETTERS = np.array(list('?ACGTN'))
DEPTH = 1000
TOKEN = 10
TOKENS, WEIGHTED = 'Tokens alone', 'Against weighted UniFrac'
AIM_R, AIM_WORST, AIM_R2 = 0.9, 0.8, 0.8
READINGS = {
    'first 120': lambda full: full[:120],
    'first 100': lambda full: full[:100],
    'first 90': lambda full: full[:90],
    'start +1': lambda full: full[1:],
    'start +1, N in front': lambda full: 'N' + full[1:],
    'start +8, N in front': lambda full: 'N' * 8 + full[8:],
}


def part_of(study, rows):
    """Return a study of some rows of a study."""
    inside = np.concatenate([np.arange(*study.offsets[row : row + 2]) for row in rows])
    offsets = np.concatenate([[0], np.cumsum(study.richness[rows])])
    return dataclasses.replace(
        study,
        sample_ids=[study.sample_ids[row] for row in rows],
        offsets=offsets,
        asvs=study.asvs[inside],
        abundances=study.abundances[inside],
        reads=study.reads[rows],
    )


def without_empty_columns(study):
    """Return the study of only those ASVs that occur."""
    held, asvs = np.unique(study.asvs, return_inverse=True)
    return dataclasses.replace(
        study,
        feature_ids=[study.feature_ids[asv] for asv in held],
        codes=study.codes[held],
        lengths=study.lengths[held],
        truncated=study.truncated[held],
        asvs=asvs.astype(np.int32),
    )


def at_depth(study, depth, seed):
    """Return the study with `depth` reads of each sample."""
    before, distances.DEPTH = distances.DEPTH, depth
    try:
        return without_empty_columns(distances.rarefied(study, seed))
    finally:
        distances.DEPTH = before


def sequences_of(study):
    """Return the sequence of each ASV."""
    return [''.join(LETTERS[row[row > 0]]) for row in study.codes]


def predicted(study, encoder, read, folder):
    """Return the distances that an encoder predicts among the samples, from sequences as `read` gives them."""
    table = distances.write_table(study, folder / 'table.biom')
    fasta = folder / 'sequences.fasta'
    pairs = zip(study.feature_ids, sequences_of(study))
    fasta.write_text(''.join(f'>{name}\n{read(sequence)}\n' for name, sequence in pairs))
    config = DistancesConfig.from_flat({'threads': 1, 'device': 'cpu'})
    with warnings.catch_warnings():
        # ASVs that are the same once they are read in another way are merged
        warnings.simplefilter('ignore')
        frame = predict_distances(table, encoder, config, fasta, say=lambda line: None)
    return frame.loc[study.sample_ids, study.sample_ids].to_numpy().astype(float)


def agreement(one, other):
    """Return Pearson's r of the pairs of two matrices, which is Mantel's, and R2 of the first for the second."""
    pairs = np.triu_indices(len(one), 1)
    return float(np.corrcoef(one[pairs], other[pairs])[0, 1]), float(distances.r2(one[pairs], other[pairs]))


def own_tree(study, folder):
    """Return the path of a tree of the study's sequences alone, made as the one tree was."""
    sys.path.insert(0, str(RECIPE))
    import train_encoder

    pairs = zip(study.feature_ids, sequences_of(study))
    text = ''.join(f'>{name}\n{sequence}\n' for name, sequence in pairs)
    (folder / train_encoder.SEQUENCES).write_text(text)
    train_encoder.build_tree(folder, 1)
    return folder / train_encoder.TREE


def token_distances(study):
    """Return the share of tokens that one of two samples lacks, and in how much of their reads their tokens differ."""
    keys = token_keys(study.codes, TOKEN)
    asvs, _ = np.nonzero(keys >= 0)
    _, tokens = np.unique(keys[keys >= 0], return_inverse=True)
    of_asvs = scipy.sparse.csr_matrix((np.ones(len(asvs)), (asvs, tokens.ravel())))
    shares = scipy.sparse.csr_matrix((study.abundances, study.asvs, study.offsets), (len(study), of_asvs.shape[0]))
    reads = (shares @ of_asvs).toarray()
    totals = reads.sum(axis=1)
    return cdist(reads > 0, reads > 0, 'jaccard'), cdist(reads, reads, 'cityblock') / (totals[:, None] + totals)


def token_figures(drawn, true, encoders, tree, folder):
    """Yield what :func:`figures` does, of tokens, and of weighted UniFrac."""
    present, of_reads = token_distances(drawn)
    yield TOKENS, f'{DEPTH} reads', *agreement(present, true)
    rows = np.arange(len(drawn))
    phylogeny = read_phylogeny(tree, drawn.feature_ids)
    weighted = UnifracDistances(phylogeny, drawn, rows, np.random.default_rng(0), 'weighted_normalized').among(rows)
    weighted = weighted.astype(float)
    yield WEIGHTED, 'tokens, by reads', *agreement(of_reads, weighted)
    yield WEIGHTED, 'unweighted UniFrac', *agreement(true, weighted)
    for encoder in encoders:
        yield WEIGHTED, str(encoder), *agreement(predicted(drawn, encoder, str, folder), weighted)


def figures(study, encoders, tree, options):
    """Yield (encoder, what, r, R2) of a study; of the study's own tree the encoder is empty."""
    for depth in options.depths:
        drawn = at_depth(study, depth, options.seed)
        true = distances.unifrac(drawn, read_phylogeny(tree, drawn.feature_ids))
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            for encoder in encoders:
                yield encoder, f'{depth} reads', *agreement(predicted(drawn, encoder, str, folder), true)
                for what, read in READINGS.items() if depth == DEPTH else ():
                    yield encoder, what, *agreement(predicted(drawn, encoder, read, folder), true)
            if options.tokens and depth == DEPTH:
                yield from token_figures(drawn, true, encoders, tree, folder)
            if options.own_tree and depth == DEPTH:
                other = distances.unifrac(drawn, read_phylogeny(own_tree(drawn, folder), drawn.feature_ids))
                yield None, 'its own tree', *agreement(other, true)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out', type=pathlib.Path)
    parser.add_argument('--table', default='left-out.biom')
    parser.add_argument('--encoder', type=pathlib.Path, nargs='*', default=[])
    parser.add_argument('--depths', type=int, nargs='*', default=[200, DEPTH, 2000])
    parser.add_argument('--samples', type=int, default=100)
    parser.add_argument('--own-tree', action='store_true')
    parser.add_argument('--tokens', action='store_true')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--quick', action='store_true', help='few samples of each study')
    options = parser.parse_args()
    if options.quick:
        options.samples, options.depths = 8, [DEPTH]
    encoders = [path for path in [options.out / 'encoder', *options.encoder] if path.exists()]
    study, _ = read_study(options.out / options.table, options.out / 'sequences.fasta')
    names = np.array([name.split('.')[0] for name in study.sample_ids])
    results = {}
    for name in np.unique(names):
        generator = np.random.default_rng(options.seed)
        rows = np.sort(generator.permutation(np.flatnonzero(names == name))[: options.samples])
        part = part_of(study, rows)
        for encoder, what, r, r2 in figures(part, encoders, options.out / 'tree.nwk', options):
            results.setdefault(encoder, {}).setdefault(what, {})[name] = r, r2
        print(f'{name}: {len(part)} samples', flush=True)
    for encoder, found in results.items():
        say(encoder, found)


def say(encoder, found):
    """Print one table of r and one of R2: readings by study."""
    print(f'{encoder or "UniFrac on a tree of the study alone"}:')
    studies = sorted(next(iter(found.values())))
    for place, title in enumerate(('r', 'R2')):
        rows = []
        for what, values in found.items():
            numbers = [values[study][place] for study in studies]
            rows.append([what, *(f'{x:.3f}' for x in numbers), f'{np.mean(numbers):.3f}', f'{min(numbers):.3f}'])
        bench.say_table((title, *studies, 'mean', 'worst'), rows)
    if encoder and f'{DEPTH} reads' in found:
        r, r2 = np.array(list(found[f'{DEPTH} reads'].values())).T
        reached = r.mean() >= AIM_R and r.min() >= AIM_WORST and r2.mean() >= AIM_R2
        print(f'Aim: r {AIM_R} on average, {AIM_WORST} at worst, R2 {AIM_R2}: {"PASS" if reached else "FAIL"}\n')


if __name__ == '__main__':
    main()
