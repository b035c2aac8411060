"""How many true values prediction intervals hold where most ASVs of a sample are its own group's alone.

    python tests/benchmarks/private_asvs.py [--seeds 20] [--private 5 40] [--groups 60] [--quick]

Made-up studies: groups of three samples; a dozen ASVs are shared and follow the target, and every group has some of its
own, which nobody else has and which say nothing. A regressor is fitted on each study, whole groups at a time, and its
90 % intervals are asked about the samples of the test groups. Aim: 85 to 98 % of them, all seeds pooled.
"""

import pathlib
import tempfile

import bench
import h5py
import numpy as np
import pandas as pd
import scipy.stats

from q2_aam.config import FitRegressorConfig
from q2_aam.training.fit import fit_regressor

SAMPLES_PER_GROUP, SHARED, LENGTH = 3, 12, 60
AIM = (0.85, 0.98)
SMALL = {'width': 32, 'asv_layers': 1, 'sample_layers': 1, 'memberships': 32, 'device': 'cpu', 'random_forest': False}
HEADER = ('private ASVs', 'test samples', 'held', '95 % interval', 'mean width', 'mean error', 'aim')


def make_study(groups, private, folder, random):
    """Write the table of a study; return its target and its groups by sample id."""
    samples, asvs = groups * SAMPLES_PER_GROUP, SHARED + groups * private
    group = np.repeat(np.arange(groups), SAMPLES_PER_GROUP)
    target = random.normal(0, 2, groups)[group] + random.normal(0, 1, samples)
    loadings = random.normal(0, 0.7, SHARED)
    expected = np.zeros((samples, asvs))
    expected[:, :SHARED] = np.exp(target[:, None] * loadings + random.normal(0, 1, (samples, SHARED)))
    for number in range(groups):
        columns = slice(SHARED + number * private, SHARED + (number + 1) * private)
        members = group == number
        expected[members, columns] = np.exp(
            random.normal(0, 1, private) + random.normal(0, 0.5, (members.sum(), private))
        )
    counts = random.poisson(5000 * expected / expected.sum(axis=1, keepdims=True))
    sequences = [''.join(letters) for letters in random.choice(list('ACGT'), (asvs, LENGTH))]
    ids = [f's{number:03d}' for number in range(samples)]
    _write(folder / 'table.biom', counts, ids, sequences)
    named = pd.Series([f'g{number:02d}' for number in group], ids, name='group')
    return pd.Series(target - target.min() + 1, ids, name='target'), named


def _write(path, counts, ids, features):
    import biom

    with h5py.File(path, 'w') as file:
        biom.Table(counts.T.astype(float), features, ids).to_hdf5(file, 'private_asvs.py')


def intervals_of(groups, private, seed, settings):
    """Return the details of the test samples of one made-up study."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        target, named = make_study(groups, private, folder, np.random.default_rng([seed, private]))
        (folder / 'model').mkdir()
        config = FitRegressorConfig.from_flat(SMALL | settings | {'random_seed': seed})
        _, details, _ = fit_regressor(
            folder / 'table.biom', target, folder / 'model', config, groups=named, say=lambda line: None
        )
    return details[details['part'] == 'test']


def main():
    more = {
        'seeds': {'type': int, 'default': 20},
        'private': {'type': int, 'nargs': '+', 'default': [5, 40], 'help': 'ASVs of each group alone'},
        'groups': {'type': int, 'default': 60},
        'threads': {'type': int, 'default': 1},
    }
    options = bench.arguments(__doc__, **more)
    settings = {'threads': options.threads} | ({'epochs': 1} if options.quick else {})
    rows = []
    for private in options.private:
        seeds = range(options.seed, options.seed + (1 if options.quick else options.seeds))
        details = pd.concat([intervals_of(options.groups, private, seed, settings) for seed in seeds])
        held = details['true'].between(details['lower_bound'], details['upper_bound'])
        width = details['upper_bound'] - details['lower_bound']
        error = (details['prediction'] - details['true']).abs()
        chance = scipy.stats.binomtest(int(held.sum()), len(held)).proportion_ci(0.95)
        verdict = 'PASS' if AIM[0] <= held.mean() <= AIM[1] else 'FAIL'
        rows.append(
            (
                f'{private}',
                f'{len(held)}',
                f'{held.mean():.3f}',
                f'{chance.low:.3f} to {chance.high:.3f}',
                f'{width.mean():.2f}',
                f'{error.mean():.2f}',
                verdict,
            )  # fmt: skip
        )
    bench.say_table(HEADER, rows)


if __name__ == '__main__':
    main()
