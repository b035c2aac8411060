"""How well an encoder tells distances of samples it never saw: R2 and Mantel's r against true unweighted UniFrac.

    python tests/benchmarks/distances.py [--data FOLDER] [--seed 1] [--encoder FOLDER] [--held 100] [--rarefied]

Needs rooted-tree.qza beside the table. True distances are UniFrac on 1,000 reads of each sample, drawn at random. An
encoder is pretrained with the default parameters on all samples but --held, with all reads or, with --rarefied, with
those that were drawn; it is scored on those it held out. One that is given must be of the same samples. "Another draw"
is UniFrac on other 1,000 reads of each sample: who sees all reads cannot know which were drawn, and "mean of draws" is
the best that could be said of them.
"""

import dataclasses
import json
import pathlib
import tempfile

import bench
import h5py
import numpy as np
import pandas as pd
from skbio import DistanceMatrix
from skbio.stats.distance import mantel
from sklearn.isotonic import IsotonicRegression

from q2_aam import bundle
from q2_aam.config import DistancesConfig, EmbedConfig, PretrainConfig
from q2_aam.data.inputs import read_study
from q2_aam.data.phylogeny import read_phylogeny
from q2_aam.data.splits import hold_out
from q2_aam.data.unifrac import UnifracDistances
from q2_aam.inference.embed import embed, predict_distances
from q2_aam.runtime.seeds import Stream, numpy_generator
from q2_aam.training.pretrain import pretrain

DEPTH = 1000
PERMUTATIONS = 999
DRAWS = 10
AIM = 0.95
EMBEDDINGS = ('memberships', 'mean', 'summary')
QUICK = {'width': 16, 'asv_layers': 1, 'sample_layers': 1, 'attention_heads': 2, 'memberships': 16, 'epochs': 1}


def rarefied(study, seed):
    """Return the study with DEPTH reads of each sample, drawn without replacement (all of them where it has less)."""
    generator = np.random.default_rng([seed, 1])
    counts = np.round(study.abundances * np.repeat(study.reads, study.richness)).astype(np.int64)
    drawn = [
        generator.multivariate_hypergeometric(reads, min(DEPTH, int(reads.sum())))
        for reads in np.split(counts, study.offsets[1:-1])
    ]
    kept = np.concatenate(drawn) > 0
    offsets = np.concatenate([[0], np.cumsum([(reads > 0).sum() for reads in drawn])])
    shares = np.concatenate([reads[reads > 0] / reads.sum() for reads in drawn]).astype(np.float32)
    return dataclasses.replace(study, offsets=offsets, asvs=study.asvs[kept], abundances=shares)


def write_table(study, path):
    """Write a study as the layout of BIOM 2.1 that every reader of tables knows; return the path."""
    with h5py.File(path, 'w') as file:
        file.attrs['shape'] = (len(study.feature_ids), len(study))
        file['observation/ids'], file['sample/ids'] = study.feature_ids, study.sample_ids
        file['sample/matrix/data'] = study.abundances.astype(np.float64)
        file['sample/matrix/indices'], file['sample/matrix/indptr'] = study.asvs, study.offsets
    return path


def unifrac(study, tree):
    """Return unweighted UniFrac [samples, samples], as QIIME 2 has it."""
    rows, generator = np.arange(len(study)), np.random.default_rng(0)
    return UnifracDistances(tree, study, rows, generator).among(rows).astype(float)


def r2(predicted, true):
    """Return R2: 1 - squared error / variance."""
    return 1 - ((predicted - true) ** 2).mean() / true.var()


def parts_of_error(errors):
    """Divide the squared error of a symmetric matrix [n, n] into shares: of all pairs alike, of samples, of pairs."""
    n = len(errors)
    pairs = np.triu_indices(n, 1)
    hollow = errors - np.diag(np.diagonal(errors))
    mean = hollow.sum() / (n * (n - 1))
    # least squares of errors by an effect of each sample
    effect = (hollow.sum(axis=1) - (n - 1) * mean) / (n - 2)
    rest = (hollow - mean - effect[:, None] - effect)[pairs]
    total = (hollow[pairs] ** 2).mean()
    return mean**2 / total, 1 - (mean**2 + (rest**2).mean()) / total, (rest**2).mean() / total


def files_of(folder, work):
    """Unpack the artifacts of `folder` and return (table, sequences or None, tree), paths."""
    sequences = folder / 'rep-seqs.qza'
    return (
        bench._unpack(folder / 'table.qza', 'data/feature-table.biom', work),
        bench._unpack(sequences, 'data/dna-sequences.fasta', work) if sequences.exists() else None,
        bench._unpack(folder / 'rooted-tree.qza', 'data/tree.nwk', work),
    )


def pretrained(table, sequences, true, ids, options, work):
    """Pretrain on all samples but those held out and return the folder of the encoder."""
    pd.DataFrame(true, index=ids, columns=ids).to_csv(work / 'true.tsv', sep='\t')
    values = {
        'random_seed': options.seed,
        'validation_fraction': options.held / len(ids),
        'device': options.device.type,
        **(QUICK if options.quick else {}),
    }
    encoder = work / 'encoder'
    encoder.mkdir()
    pretrain(table, encoder, PretrainConfig.from_flat(values), sequences, work / 'true.tsv')
    return encoder


def pairs_of(matrix, held):
    """Return the pairs among held-out samples, between them and training samples, and among training samples."""
    among, other = matrix[np.ix_(held, held)], matrix[np.ix_(~held, ~held)]
    return (
        among[np.triu_indices(len(among), 1)],
        matrix[np.ix_(held, ~held)].ravel(),
        other[np.triu_indices(len(other), 1)],
    )


def metrics_row(name, matrix, true, held, seed):
    """Return a row of the table; a matrix in a unit of its own has no R2."""
    np.random.seed(seed)
    both = [DistanceMatrix(square[np.ix_(held, held)]) for square in (matrix, true)]
    correlation, p, _ = mantel(*both, permutations=PERMUTATIONS)
    cells = [name]
    for one, other in zip(pairs_of(matrix, held), pairs_of(true, held)):
        cells += ['' if name.startswith('embed') else f'{r2(one, other):.4f}', f'{np.corrcoef(one, other)[0, 1]:.4f}']
    return [*cells, f'{correlation:.4f}', f'{p:.3g}']


def say_limits(reads, predicted, true, held):
    """Print what limits R2: would another scale help, and does the error belong to samples or to pairs?"""
    (one, _, learned), (other, _, known) = pairs_of(predicted, held), pairs_of(true, held)
    scale = IsotonicRegression(out_of_bounds='clip').fit(learned, known)
    among = np.ix_(held, held)
    constant, samples, pairs = parts_of_error(predicted[among] - true[among])
    score = r2(one, other)
    print(f'From {reads}: held-out R2 {score:.4f} (aim {AIM}) {"PASS" if score >= AIM else "FAIL"}')
    print(f'    {r2(scale.predict(one), other):.4f} if recalibrated by an isotonic curve on training pairs')
    print(f'    squared error: {constant:.0%} the same for all, {samples:.0%} of samples, {pairs:.0%} of pairs')


def compare(options, work):
    """Pretrain where no encoder is given, predict, and print all metrics."""
    table, sequences, tree = files_of(options.data, work)
    study, _ = read_study(table, sequences)
    tree = read_phylogeny(tree, study.feature_ids)
    drawn = rarefied(study, options.seed)
    true, few = unifrac(drawn, tree), write_table(drawn, work / 'drawn.biom')
    draws = [
        unifrac(rarefied(study, options.seed + draw), tree) for draw in range(1, 1 + (2 if options.quick else DRAWS))
    ]
    ids = study.sample_ids
    encoder = options.encoder or pretrained(few if options.rarefied else table, sequences, true, ids, options, work)
    seed = json.loads((encoder / bundle.CARD_FILE).read_text())['seed']
    fraction = bundle.read_config(encoder).call.data.validation_fraction
    held = hold_out(ids, fraction, numpy_generator(seed, Stream.SPLIT))
    predicted = {}
    for reads, given in (('all reads', table), ('drawn reads', few)):
        predicted |= predictions(given, sequences, encoder, reads, options.device.type)
    predicted |= {'UniFrac: another draw': draws[0], f'UniFrac: mean of {len(draws)} draws': np.mean(draws, axis=0)}
    print(f'{held.sum()} held-out and {(~held).sum()} training samples; pairs against true unweighted UniFrac')
    bench.say_table(
        ('', 'held R2', 'r', 'held-training R2', 'r', 'training R2', 'r', 'Mantel r', 'p'),
        [metrics_row(name, matrix, true, held, options.seed) for name, matrix in predicted.items()],
    )
    for reads in ('all reads', 'drawn reads'):
        say_limits(reads, predicted[f'predicted: {reads}'], true, held)


def predictions(table, sequences, encoder, reads, device):
    """Return {name: matrix}: predicted distances, and Euclidean distances of every kind of embedding."""
    config = DistancesConfig.from_flat({'device': device})
    matrices = {f'predicted: {reads}': predict_distances(table, encoder, config, sequences, say=quiet).to_numpy(float)}
    for name in EMBEDDINGS:
        config = EmbedConfig.from_flat({'device': device, 'embedding': name, 'max_samples_in_matrix': 10**9})
        matrices[f'embed: {name}, {reads}'] = embed(table, encoder, config, sequences, say=quiet)[1].to_numpy(float)
    return matrices


def quiet(line):
    """Say nothing."""


def main():
    options = bench.arguments(
        __doc__,
        encoder={'type': pathlib.Path, 'help': 'folder of an encoder that was pretrained on the same samples'},
        held={'type': int, 'default': 100, 'help': 'samples to hold out'},
        rarefied={'action': 'store_true', 'help': 'pretrain on the drawn reads, too'},
    )
    bench.say_machine(options)
    with tempfile.TemporaryDirectory() as work:
        compare(options, pathlib.Path(work))


if __name__ == '__main__':
    main()
