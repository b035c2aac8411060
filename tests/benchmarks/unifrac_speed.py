"""True UniFrac of a batch's pairs, computed on the fly, against scikit-bio's for the same samples and tree.

    python tests/benchmarks/unifrac_speed.py [--data FOLDER] [--seed 1] [--quick]

Batches of 64 samples: of the study of --data, with its rooted-tree.qza, and of a made-up study whose tree has 20,000
tips. Both sides are timed in turn; values that differ by more than 1e-6 are an error. Reading the trees is not timed.
scikit-bio gets the samples' ASVs and the whole tree, as for a study whose batches all ask the same tree.
"""

import pathlib
import tempfile

import bench
import large_study
import numpy as np
import skbio
from skbio.diversity import beta_diversity

from q2_aam.data.inputs import read_study
from q2_aam.data.phylogeny import read_phylogeny
from q2_aam.data.unifrac import UnifracDistances

BATCH = 64
TOLERANCE = 1e-6
TIPS, QUICK_TIPS = 20_000, 500
# kind in ours: metric and further arguments in scikit-bio
METRICS = {
    'unweighted': ('unweighted_unifrac', {}),
    'weighted_normalized': ('weighted_unifrac', {'normalized': True}),
}


def by_scikit_bio(study, rows, tree, kind):
    """Return the distances among `rows` as scikit-bio computes them from counts, [rows, rows]."""
    batch = [slice(study.offsets[row], study.offsets[row + 1]) for row in rows]
    asvs = np.unique(np.concatenate([study.asvs[inside] for inside in batch]))
    counts = np.zeros((len(rows), len(asvs)), dtype=np.int64)
    for place, (row, inside) in enumerate(zip(rows, batch)):
        reads = study.abundances[inside].astype(np.float64) * study.reads[row]
        counts[place, np.searchsorted(asvs, study.asvs[inside])] = reads.round()
    metric, more = METRICS[kind]
    # the name of this argument changed in 0.6
    name = 'otu_ids' if skbio.__version__.startswith('0.5') else 'taxa'
    features = {name: [study.feature_ids[asv] for asv in asvs]}
    return beta_diversity(metric, counts, tree=tree, validate=False, **features, **more).data


def compare(name, study, path, options):
    """Return a row of the table for each kind: equality, seconds of both sides and their ratio."""
    phylogeny = read_phylogeny(path, study.feature_ids)
    tree = skbio.TreeNode.read(str(path), format='newick', convert_underscores=False)
    # QIIME 2 counts no branch above the root
    tree.length = None
    generator = np.random.default_rng(options.seed)
    rows = np.sort(generator.permutation(len(study))[:BATCH])
    table = []
    for kind in METRICS:
        ours = UnifracDistances(phylogeny, study, np.arange(len(study)), generator, kind)
        difference = float(np.abs(ours.among(rows) - by_scikit_bio(study, rows, tree, kind)).max())
        if not difference <= TOLERANCE:
            raise SystemExit(f'{kind} UniFrac of {name} differs from that of scikit-bio by {difference:.1e}.')
        sides = {
            'ours': lambda ours=ours: ours.among(rows),
            'theirs': lambda kind=kind: by_scikit_bio(study, rows, tree, kind),
        }
        seconds = bench.interleaved(sides, 1 if options.quick else 3, options, warm=0)
        table.append(
            (name, kind, f'{difference:.1e}', f'{seconds["ours"]:.4f}', f'{seconds["theirs"]:.3f}')
            + (f'{seconds["theirs"] / seconds["ours"]:.0f}x',)
        )
    return table


def main():
    options = bench.arguments(__doc__)
    bench.say_machine(options)
    table = []
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        tree = bench._unpack(options.data / 'rooted-tree.qza', 'data/tree.nwk', folder)
        table += compare(options.data.name, bench.read_data(options.data), tree, options)
        tips = QUICK_TIPS if options.quick else TIPS
        large_study.make(place, samples=4 * BATCH, asvs=tips, nonzeros=100 * BATCH, labelled=1, new=1)
        study, _ = read_study(place / 'table.biom', place / 'sequences.fasta')
        table += compare(f'{tips:,} tips', study, place / 'tree.nwk', options)
    header = ('', 'UniFrac', 'largest difference', 'seconds', 'scikit-bio seconds', 'ratio')
    bench.say_table(header, table)


if __name__ == '__main__':
    main()
