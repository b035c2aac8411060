"""Memory and time on a study of 100,000 samples, 300,000 ASVs and 20 million non-zeros: large_study.py [--scale 0.01]

Makes a study whose ASVs evolved down a random tree, then prepares it, pretrains with the tree, fits a regressor and
predicts, each in a process of its own whose peak resident memory is measured, and fails if one is above the limit.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

LIMIT_GIB = 6.0
NUCLEOTIDES = 150
# substitutions per site of an average branch; some 20 branches lead to a tip
RATE = 0.03
# draws for each non-zero: at full size one of a hundred finds an ASV again
DRAWS = 1.0105
# samples that are drawn and written at a time
AT_A_TIME = 1000
STAGES = ('make', 'prepare', 'pretrain', 'fit', 'predict')


def make(folder, samples, asvs, nonzeros, labelled, new):
    """Write table.biom, new.biom, sequences.fasta, tree.nwk and target.tsv; return what was made, in words."""
    import numpy as np

    generator = np.random.default_rng(1)
    evolve(folder, asvs, generator)
    times = generator.random(samples)
    sizes = generator.lognormal(0, 0.5, samples)
    sizes = np.clip(DRAWS * nonzeros * sizes / sizes.sum(), 1, asvs / 4).astype(np.int64)
    stored = write_tables(folder, times, sizes, asvs, new, generator)
    chosen = np.sort(generator.permutation(samples)[:labelled])
    lines = [f'{name_of(row)}\t{100 * times[row] + generator.normal():.4f}\n' for row in chosen]
    (folder / 'target.tsv').write_text('id\ttime\n' + ''.join(lines), encoding='utf-8')
    return f'{samples:,} samples, {asvs:,} ASVs, {stored:,} non-zeros'


def name_of(row):
    return f'sample{row:07d}'


def evolve(folder, asvs, generator):
    """Write a tree of `asvs` tips, split at random from the root down, and the sequences that evolve along it."""
    import numpy as np

    # nodes of one generation: the tips below each are those from low up to, without, high
    low, high = np.array([0]), np.array([asvs])
    codes = generator.integers(0, 4, (1, NUCLEOTIDES), dtype=np.uint8)
    tips = np.empty((asvs, NUCLEOTIDES), dtype=np.uint8)
    # text before and after the name of each tip, in the order of the tips
    opened, closed = [''] * asvs, [''] * asvs
    while len(low):
        alone = high - low == 1
        tips[low[alone]] = codes[alone]
        low, high, codes = low[~alone], high[~alone], codes[~alone]
        cut = low + np.maximum(1, ((high - low) * generator.uniform(0.2, 0.8, len(low))).astype(np.int64))
        low, high = np.stack([low, cut], 1).ravel(), np.stack([cut, high], 1).ravel()
        lengths = generator.exponential(RATE, len(low))
        codes = np.repeat(codes, 2, axis=0)
        changed = generator.random(codes.shape, dtype=np.float32) < lengths[:, None]
        # an ASV is a sequence of its own
        changed[np.arange(len(low)), generator.integers(0, NUCLEOTIDES, len(low))] = True
        codes[changed] = (codes[changed] + generator.integers(1, 4, int(changed.sum()), dtype=np.uint8)) % 4
        for node, (first, last) in enumerate(zip(low, high - 1)):
            comma = ',' if node % 2 else ''
            brackets = ('(', ')') if last > first else ('', '')
            opened[first] += comma + brackets[0]
            # what is nearer to the root closes later
            closed[last] = f'{brackets[1]}:{lengths[node]:.5f}' + closed[last]
    letters = np.frombuffer(b'ACGT', dtype=np.uint8)[tips]
    with open(folder / 'sequences.fasta', 'w') as fasta, open(folder / 'tree.nwk', 'w') as tree:
        tree.write('(')
        for tip in range(asvs):
            fasta.write(f'>asv{tip:07d}\n{letters[tip].tobytes().decode()}\n')
            tree.write(f'{opened[tip]}asv{tip:07d}{closed[tip]}')
        tree.write(');\n')


def draw(times, sizes, asvs, generator):
    """Draw the ASVs of some samples: half from a part of the tree that moves with time, half from a few common ones."""
    import numpy as np

    sample = np.repeat(np.arange(len(sizes)), sizes)
    near = (times[sample] * asvs + generator.normal(0, 0.02 * asvs, len(sample))).astype(np.int64) % asvs
    # a step that shares no factor with most numbers strews common ASVs over the tree
    common = (asvs * generator.random(len(sample)) ** 3).astype(np.int64) * 7919 % asvs
    distinct = np.unique(sample * asvs + np.where(generator.random(len(sample)) < 0.5, near, common))
    sample, column = np.divmod(distinct, asvs)
    return sample, column.astype(np.int32), np.ceil(generator.lognormal(1, 1.5, len(distinct)))


def write_tables(folder, times, sizes, asvs, new, generator):
    """Write all samples into table.biom and the first `new` into new.biom too; return the number of non-zeros."""
    import h5py
    import numpy as np

    with h5py.File(folder / 'table.biom', 'w') as table, h5py.File(folder / 'new.biom', 'w') as few:
        files = ((table, len(sizes)), (few, new))
        for file, samples in files:
            begin_table(file, samples, asvs)
        offsets = [0]
        for start in range(0, len(sizes), AT_A_TIME):
            block = slice(start, start + AT_A_TIME)
            sample, column, counts = draw(times[block], sizes[block], asvs, generator)
            richness = np.bincount(sample, minlength=len(sizes[block]))
            ends = offsets[-1] + np.cumsum(richness)
            for file, samples in files:
                inside = sample + start < samples
                append(file['sample/matrix/indices'], column[inside])
                append(file['sample/matrix/data'], counts[inside])
            offsets.extend(ends.tolist())
        for file, samples in files:
            file['sample/matrix/indptr'] = np.array(offsets[: samples + 1], dtype=np.int32)
    return offsets[-1]


def begin_table(file, samples, asvs):
    """Begin what a reader by sample needs of BIOM 2.1 (the transposed matrix is left out)."""
    import h5py
    import numpy as np

    text = h5py.string_dtype()
    file.create_dataset('sample/ids', data=[name_of(row) for row in range(samples)], dtype=text)
    file.create_dataset('observation/ids', data=[f'asv{tip:07d}' for tip in range(asvs)], dtype=text)
    for name, dtype in (('data', np.float64), ('indices', np.int32)):
        file.create_dataset(f'sample/matrix/{name}', (0,), dtype, maxshape=(None,), chunks=(2**16,), compression='gzip')


def append(dataset, values):
    end = len(dataset)
    dataset.resize(end + len(values), axis=0)
    dataset[end:] = values


def prepare(folder, options):
    from q2_aam.data.inputs import read_study

    study, _ = read_study(folder / 'table.biom', folder / 'sequences.fasta', folder=folder)
    return f'{len(study):,} samples, {len(study.codes):,} ASVs, {len(study.asvs):,} non-zeros'


def pretrain(folder, options):
    from q2_aam.config import PretrainConfig
    from q2_aam.training import pretrain as training

    (folder / 'encoder').mkdir()
    config = PretrainConfig.from_flat({'random_seed': 1, 'max_steps': options.steps})
    training.pretrain(
        folder / 'table.biom', folder / 'encoder', config, folder / 'sequences.fasta',
        phylogeny=folder / 'tree.nwk', say=say,
    )  # fmt: skip
    return f'{options.steps} steps with the phylogeny'


def fit(folder, options):
    import pandas as pd

    from q2_aam.config import FitRegressorConfig
    from q2_aam.training.fit import fit_regressor

    (folder / 'regressor').mkdir()
    target = pd.read_csv(folder / 'target.tsv', sep='\t', index_col='id')['time']
    config = FitRegressorConfig.from_flat({'random_seed': 1, 'epochs': options.epochs})
    _, details, _ = fit_regressor(
        folder / 'table.biom', target, folder / 'regressor', config, folder / 'sequences.fasta', folder / 'encoder',
        say=say,
    )  # fmt: skip
    return f'{len(details):,} labelled samples, {options.epochs} epochs'


def predict(folder, options):
    from q2_aam.config import PredictConfig
    from q2_aam.inference import predict as inference

    predictions, _ = inference.predict(
        folder / 'new.biom', folder / 'regressor', PredictConfig.from_flat({}), folder / 'sequences.fasta', say=say
    )
    return f'{len(predictions):,} samples'


def say(line):
    print(f'    {line}', file=sys.stderr, flush=True)


def run_stage(name, folder, options):
    """Run one stage in this process; print its metrics as a line of JSON."""
    started = time.monotonic()
    if name == 'make':
        samples, asvs = (max(200, round(n * options.scale)) for n in (options.samples, options.asvs))
        nonzeros = round(options.nonzeros * options.scale)
        parts = (min(samples, max(60, round(n * options.scale))) for n in (options.labelled, options.new))
        what = make(folder, samples, asvs, nonzeros, *parts)
    else:
        what = {'prepare': prepare, 'pretrain': pretrain, 'fit': fit, 'predict': predict}[name](folder, options)
    # Linux counts in KiB, macOS in bytes
    gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**3 if sys.platform == 'darwin' else 1024**2)
    print(json.dumps({'stage': name, 'what': what, 'seconds': time.monotonic() - started, 'gib': gib}))


def run_all(folder, options):
    """Run each stage in a fresh process, which begins small: a child is charged what its parent held when it began."""
    rows = []
    for name in STAGES[: STAGES.index(options.until) + 1]:
        print(f'{name} ...', file=sys.stderr, flush=True)
        command = [sys.executable, __file__, *sys.argv[1:], '--stage', name, '--folder', str(folder)]
        environment = os.environ | {'AAM_WORK_DIR': str(folder / 'work')}
        done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, text=True)
        if done.returncode:
            sys.exit(f'FAIL: {name} ended with status {done.returncode}.')
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    print(f'{"stage":10}{"seconds":>9}{"peak GiB":>10}  ')
    for row in rows:
        print(f'{row["stage"]:10}{row["seconds"]:9.1f}{row["gib"]:10.2f}  {row["what"]}')
    highest = max(row['gib'] for row in rows[1:])
    passed = highest < LIMIT_GIB
    print(f'{"PASS" if passed else "FAIL"}: highest peak {highest:.2f} GiB, limit {LIMIT_GIB:g} GiB.')
    return 0 if passed else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--samples', type=int, default=100_000)
    parser.add_argument('--asvs', type=int, default=300_000)
    parser.add_argument('--nonzeros', type=int, default=20_000_000)
    parser.add_argument('--labelled', type=int, default=2_000, help='samples that have a target')
    parser.add_argument('--new', type=int, default=10_000, help='samples to predict')
    parser.add_argument('--scale', type=float, default=1.0, help='factor of all the numbers above')
    parser.add_argument('--steps', type=int, default=200, help='steps of pretraining')
    parser.add_argument('--epochs', type=int, default=3, help='epochs of fitting')
    parser.add_argument('--until', choices=STAGES[1:], default=STAGES[-1], help='last stage to run')
    parser.add_argument('--stage', choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument('--folder', type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        run_stage(options.stage, options.folder, options)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return run_all(pathlib.Path(folder), options)


if __name__ == '__main__':
    sys.exit(main())
