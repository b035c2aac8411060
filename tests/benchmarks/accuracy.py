"""Errors of cross-validation on real labels, beside those of the methods that researchers have already.

    python tests/benchmarks/accuracy.py [--data FOLDER --target COLUMN --groups COLUMN] [--seeds 5]
        [--classes 3] [--labels 150] [--folds 5 | --leave-one-group-out] [--encoder FOLDER] [--distances FILE]
        [--methods all|baselines] [--covariates COLUMN ...] [--set width=64 epochs=20] [--seed 1] [--quick]

FOLDER of --data holds table.qza, metadata.tsv and, unless feature ids are sequences, rep-seqs.qza; that of --encoder is
the bundle of a pretrained encoder. What is run is what `qiime aam cross-validate` runs: the same folds, the same
baselines, the same intervals. Metrics are means over seeds, +- the standard deviation over them. A column of words is
one of classes; so is a column of numbers that --classes cuts into as many of about equal size. With --labels, that many
labelled samples are drawn, and the labels of all others are forgotten: what would have come of a smaller study.
"""

import argparse
import pathlib
import tempfile

import bench
import biom
import h5py
import pandas as pd

from q2_aam.config import FitClassifierConfig, FitRegressorConfig, PredictClassesConfig, PredictConfig
from q2_aam.data.counts import read_fold, read_fold_distances
from q2_aam.data.covariate_schema import columns_of_fold
from q2_aam.data.labels import align_classes, align_numbers, labels_with_reads
from q2_aam.evaluation.baselines import predict_fold
from q2_aam.evaluation.folds import plan_folds, seed_of_fit
from q2_aam.evaluation.out_of_fold import OURS, gather_classes, gather_numbers
from q2_aam.evaluation.verdict import compare, table_of
from q2_aam.inference.predict import predict, predict_classes
from q2_aam.training.fit import fit_classifier, fit_regressor

QUICK = {'width': 16, 'asv_layers': 1, 'sample_layers': 1, 'attention_heads': 2, 'memberships': 16, 'epochs': 1}


def read_arguments():
    """Return the arguments."""
    return bench.arguments(
        __doc__,
        **{
            'target': {'default': 'month_of_life', 'help': 'column of metadata.tsv'},
            'classes': {'type': int, 'default': 0, 'help': 'that a numeric column is cut into; 0: it is not'},
            'labels': {'type': int, 'default': 0, 'help': 'labelled samples to draw; 0: all'},
            'groups': {'default': 'subject', 'help': 'column of metadata.tsv; none: every sample is a group'},
            'seeds': {'type': int, 'default': 1, 'help': 'repeats, each with other folds (unless groups are left out)'},
            'folds': {'type': int, 'default': 5},
            'leave-one-group-out': {'action': 'store_true'},
            'encoder': {'type': pathlib.Path},
            'distances': {'type': pathlib.Path, 'help': 'distance matrix, tab-separated or .qza'},
            'methods': {'choices': ('all', 'baselines'), 'default': 'all'},
            'covariates': {'nargs': '*', 'default': [], 'help': 'columns of metadata.tsv'},
            'set': {'nargs': '*', 'default': [], 'type': setting, 'metavar': 'NAME=VALUE', 'help': 'of fit-regressor'},
        },
    )


def setting(text):
    """Return (name, value) of a parameter of fit-regressor, given as name=value."""
    name, _, value = text.partition('=')
    known = {opt.name: opt for opt in FitRegressorConfig.options()}
    if name not in known:
        raise argparse.ArgumentTypeError(f'fit-regressor has no parameter {name}')
    opt = known[name]
    if opt.kind is bool:
        return name, value == 'True'
    return name, value if opt.kind is str or (opt.auto and value == 'auto') else opt.kind(value)


def read_columns(folder, target, groups, classes, labels=0, seed=1):
    """Return the target (numbers, or words for classes) and the groups (words or None) by sample id."""
    frame = pd.read_csv(folder / 'metadata.tsv', sep='\t', index_col=0, dtype=str)
    frame = frame[~frame.index.str.startswith('#')].rename_axis('id')
    named = None if groups == 'none' else frame[groups].dropna().astype(object)
    values = frame[target].dropna()
    if labels > len(values):
        raise SystemExit(f'accuracy.py: --labels {labels} are asked for, but there are {len(values)}.')
    if labels:
        values = values.sample(labels, random_state=seed).sort_index()
    try:
        numbers = values.astype(float)
    except ValueError:
        return values.astype(object), named
    if not classes:
        return numbers, named
    return pd.qcut(numbers, classes).astype(str).astype(object), named


def read_covariates(folder, names):
    """Return columns of the metadata as numbers, where all are, or as words; None without names."""
    if not names:
        return None
    frame = pd.read_csv(folder / 'metadata.tsv', sep='\t', index_col=0, comment='#')
    return frame[names].rename_axis('id')


def cut(table, ids, path):
    """Write those samples of a table, and the features they have, as BIOM 2.1."""
    part = table.filter(set(ids), axis='sample', inplace=False).remove_empty(axis='observation')
    with h5py.File(path, 'w') as file:
        part.to_hdf5(file, 'accuracy.py')
    return path


def our_predictions(options, files, training, folder, groups, covariates, seed):
    """Fit on the training part of a fold; return the details of its test part, for classes their probabilities."""
    runtime = {'device': options.device.type}
    settings = runtime | (QUICK if options.quick else {}) | dict(options.set)
    fit, call, new, predict_config = (
        (fit_classifier, FitClassifierConfig, predict_classes, PredictClassesConfig)
        if training.dtype == object
        else (fit_regressor, FitRegressorConfig, predict, PredictConfig)
    )
    config = call.from_flat(settings | {'test_fraction': 0.0, 'random_seed': seed})
    model = folder / 'model'
    model.mkdir()
    given = {'sequences': files.sequences, 'say': lambda line: None, 'covariates': covariates}
    fit(
        files.training, training, model, config, encoder=options.encoder, groups=groups,
        distance_matrix=files.distances, **given,
    )  # fmt: skip
    *_, probabilities, details = new(files.test, model, predict_config.from_flat(runtime), **given)
    return probabilities if training.dtype == object else details


def baseline_predictions(files, training, covariates, seed):
    """Return what every baseline predicts of the test part of a fold, one column a method."""
    # as cross-validate does: the same samples in another order must give the same forests
    training = training.sort_index()
    ids = list(training.index)
    test_ids, counts, new_counts = read_fold(files.training, files.test, ids)
    distances = None if files.distances is None else read_fold_distances(files.distances, ids, test_ids)
    beside = None if covariates is None else columns_of_fold(covariates, ids, test_ids)
    return predict_fold(counts, training, new_counts, test_ids, seed, 1, distances, beside)


def run(options, work):
    """Return what every method predicts of every sample, out of fold."""
    files = argparse.Namespace(
        table=bench._unpack(options.data / 'table.qza', 'data/feature-table.biom', work), sequences=None
    )
    if (options.data / 'rep-seqs.qza').exists():
        files.sequences = bench._unpack(options.data / 'rep-seqs.qza', 'data/dna-sequences.fasta', work)
    files.distances = options.distances
    if options.distances and options.distances.suffix == '.qza':
        files.distances = bench._unpack(options.distances, 'data/distance-matrix.tsv', work)
    target, groups = read_columns(
        options.data, options.target, options.groups, options.classes, options.labels, options.seed
    )
    covariates = read_covariates(options.data, options.covariates)
    of_classes = target.dtype == object
    if of_classes and options.methods == 'baselines':
        raise SystemExit('accuracy.py: --methods baselines is for columns of numbers.')
    labels = labels_with_reads(files.table, target, groups, align_classes if of_classes else align_numbers)
    plan = plan_folds(
        labels.values, labels.groups, options.folds, options.seeds, options.seed, options.leave_one_group_out
    )
    target = pd.Series(labels.values, pd.Index(labels.sample_ids, name='id'), name=labels.name)
    with h5py.File(files.table) as file:
        table = biom.Table.from_hdf5(file)
    ours, baselines = [], []
    for repeat, of_repeat in enumerate(plan):
        for fold in range(of_repeat.max() + 1):
            folder = work / f'{repeat}-{fold}'
            folder.mkdir()
            training, test = target[of_repeat != fold], target[of_repeat == fold]
            files.training = cut(table, training.index, folder / 'training.biom')
            files.test = cut(table, test.index, folder / 'test.biom')
            seed = seed_of_fit(options.seed, repeat, fold)
            baselines.append(baseline_predictions(files, training, covariates, seed))
            if options.methods == 'all':
                predicted = our_predictions(options, files, training, folder, groups, covariates, seed)
            else:
                # then it is forests, as users have them, that the others are compared with
                predicted = baselines[-1][['random_forest']].rename(columns={'random_forest': 'prediction'})
                del baselines[-1]['random_forest']
            ours.append(predicted)
            print(f'repeat {repeat + 1}, fold {fold + 1}: {len(test)} samples, {error_of(predicted, test)}', flush=True)
    gather = gather_classes if of_classes else gather_numbers
    return gather(target, groups, ours, baselines, int(plan.max()) + 1)


def error_of(predicted, true):
    """Return, in words, how far predictions, or probabilities of classes, are from what is true."""
    if true.dtype == object:
        return f'accuracy {(predicted.idxmax(axis=1) == true).mean():.3g}'
    return f'mean absolute error {(predicted["prediction"] - true).abs().mean():.3g}'


def main():
    options = read_arguments()
    bench.say_machine(options)
    with tempfile.TemporaryDirectory() as work:
        out_of_fold = run(options, pathlib.Path(work))
    metrics, verdict = compare(out_of_fold, options.seed, options.encoder is not None)
    lines = [*table_of(metrics), verdict]
    if options.methods == 'baselines':
        lines = [line.replace(OURS, 'random_forest') for line in lines]
    print(*lines, sep='\n')


if __name__ == '__main__':
    main()
