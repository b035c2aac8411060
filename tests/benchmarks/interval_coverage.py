"""Coverage of prediction intervals: on simulated groups, and on a study with ridge regression standing in for a model.

    python tests/benchmarks/interval_coverage.py [--data FOLDER] [--seed 1] [--quick]
        [--column month_of_life] [--groups subject] [--folds NAME]

Each line: the coverage asked for, the share of samples that lay within their intervals with its 95 % binomial interval
(which takes samples for independent; those of a group are not, so that it is too narrow where there are groups), the
mean width, and the coverage that the number of groups allows. `by sample` counts each sample, `by group` each group.
The folder holds metadata.tsv too; with the column `fold` of oral-age as folds, results can be compared with others.
"""

import warnings

import bench
import numpy as np
import pandas as pd
import scipy.stats
from sklearn.linear_model import RidgeCV

from q2_aam.data.splits import hold_out
from q2_aam.stats.conformal import calibrate

COVERAGES = (0.5, 0.8, 0.9, 0.95)
# What the coverage may be off by.
AIM = 0.03
SIMULATED_GROUPS = (12, 50)
FOLDS = 5
HEADER = ('intervals', 'asked', 'observed', '95 % interval', 'mean width', 'allowed')


def simulated_study(groups, random):
    """Return the errors and groups of samples to calibrate with, and the errors of 20 new groups, one sample each.

    What is wrong for a group is wrong for all its samples; groups of many samples are easier than those of few.
    """
    sizes = random.choice([1, 3, 30], size=groups + 20)
    spread = np.where(sizes == 30, 1.0, 3.0)
    of_group = spread * random.normal(size=len(sizes))
    member = np.repeat(np.arange(groups), sizes[:groups])
    errors = of_group[member] + 0.3 * random.normal(size=len(member))
    return errors, member, of_group[groups:] + 0.3 * random.normal(size=20)


def simulate(groups, repeats, random):
    """Return lines on simulated groups: those by group should have what was asked for."""
    hits = {}
    for _ in range(repeats):
        errors, member, new = simulated_study(groups, random)
        for name, calibration in {'by sample': calibrate(errors), 'by group': calibrate(errors, member)}.items():
            for coverage in COVERAGES:
                lower, upper = calibration.bounds(np.zeros(len(new)), coverage)
                seen = hits.setdefault((name, coverage), ([], [], calibration.attainable(coverage)))
                seen[0].extend((lower <= new) & (new <= upper))
                seen[1].extend(upper - lower)
    return [line(*key, *seen) for key, seen in hits.items()]


def line(name, coverage, hit, width, attainable):
    hit = np.array(hit)
    interval = scipy.stats.binomtest(int(hit.sum()), len(hit)).proportion_ci(0.95)
    return (
        name,
        f'{coverage:.2f}',
        f'{hit.mean():.3f}',
        f'{interval.low:.3f} to {interval.high:.3f}',
        f'{np.mean(width):.2f}',
        f'{attainable:.2f}',
    )


def log_proportions(study):
    """Return log(1e4 p + 1) of each ASV, float64 [samples, ASVs]."""
    values = np.zeros((len(study), len(study.codes)))
    values[np.repeat(np.arange(len(study)), study.richness), study.asvs] = np.log(1e4 * study.abundances + 1)
    return values


def ridge(inputs, values):
    """Return a function that predicts: ridge regression whose strength is chosen without one sample at a time."""
    return RidgeCV(np.geomspace(1, 1e5, 11)).fit(inputs, values).predict


def folds_of(groups, number, random):
    """Return the fold of each sample, whole groups at a time."""
    names, member = np.unique(groups, return_inverse=True)
    return (random.permutation(len(names)) % number)[member]


def intervals_of_fold(inputs, values, groups, new, random):
    """Yield (name, calibration, predictions for `new`) of a model that learns from most of `inputs`."""
    calibrating = hold_out(groups, 0.2, random)
    model = ridge(inputs[~calibrating], values[~calibrating])
    errors = model(inputs[calibrating]) - values[calibrating]
    predictions = model(new)
    yield 'by sample', calibrate(errors), predictions
    yield 'by group', calibrate(errors, groups[calibrating]), predictions


def on_study(inputs, values, groups, folds, random, quick):
    """Return lines on all samples of a study, each predicted by models that saw nothing of its fold."""
    hits = {}
    for fold in np.unique(folds)[: 1 if quick else None]:
        new = folds == fold
        made = intervals_of_fold(inputs[~new], values[~new], groups[~new], inputs[new], random)
        for name, calibration, predictions in made:
            for coverage in COVERAGES:
                lower, upper = calibration.bounds(predictions, coverage)
                seen = hits.setdefault((name, coverage), ([], [], []))
                seen[0].extend((lower <= values[new]) & (values[new] <= upper))
                seen[1].extend(upper - lower)
                seen[2].append(calibration.attainable(coverage))
    return [line(*key, hit, width, np.mean(attainable)) for key, (hit, width, attainable) in hits.items()]


def say_verdict(lines, name):
    """Say whether coverage is what it should be in the lines of `name`: within the aim, or within what chance does."""
    missed = []
    for called, asked, observed, chance, _, allowed in lines:
        low, high = map(float, chance.split(' to '))
        aimed = min(float(asked), float(allowed))
        too_low = high < aimed and float(observed) < aimed - AIM
        # where groups are too few nothing is promised
        too_high = low > aimed == float(asked) and float(observed) > aimed + AIM
        if called == name and (too_low or too_high):
            missed.append(asked)
    print(f'{name}, within {AIM:g} or its 95 % interval: {"FAIL at " + ", ".join(missed) if missed else "PASS"}')


def main():
    names = {
        'column': {'default': 'month_of_life', 'help': 'metadata column of numbers'},
        'groups': {'default': 'subject', 'help': 'metadata column; without it in the file each sample is a group'},
        'folds': {'help': 'metadata column; by default whole groups are drawn'},
    }
    options = bench.arguments(__doc__, **names)
    random = np.random.default_rng(options.seed)
    for groups in SIMULATED_GROUPS:
        print(f'{groups} simulated groups to calibrate with')
        lines = simulate(groups, 100 if options.quick else 2000, random)
        bench.say_table(HEADER, lines)
    say_verdict(lines, 'by group')
    study = bench.read_data(options.data)
    metadata = pd.read_csv(options.data / 'metadata.tsv', sep='\t', index_col=0, dtype={0: str})
    metadata = metadata[metadata.index.isin(study.sample_ids)].sort_index()
    values = metadata[options.column].to_numpy(dtype=float)
    groups = np.array(metadata[options.groups] if options.groups in metadata else metadata.index, dtype=str)
    folds = metadata[options.folds].to_numpy() if options.folds else folds_of(groups, FOLDS, random)
    inputs = log_proportions(study)[study.rows_of(metadata.index)]
    print(f'{options.data.name}: {len(values)} samples in {len(np.unique(groups))} groups')
    with warnings.catch_warnings():
        # of scikit-learn, on strengths at the end of the range
        warnings.simplefilter('ignore')
        lines = on_study(inputs, values, groups, folds, random, options.quick)
    bench.say_table(HEADER, lines)
    say_verdict(lines, 'by group')


if __name__ == '__main__':
    main()
