"""Ours against forests and a linear model on 22 tasks of public studies, and from one study or run to another.

    python tests/benchmarks/studies.py [--out FOLDER] [--tasks NAME ... | chosen | reported] [--methods NAME ...]
        [--folds 5] [--seeds 1] [--seed 1] [--data FOLDER] [--encoder FOLDER] [--set width=64 ...] [--name AAM-small]
        [--transfers] [--threads 1] [--clock cpu] [--quick]

Every fold of every method is a file in the folder of --out: what is there is not computed again, so that an interrupted
run goes on, and other settings of ours (--set, --encoder) need another --name. All methods have the same folds of whole
groups. Forests learn from proportions, those named `_counts` from counts, which carry read depth; the linear model is
ridge or balanced logistic regression on log proportions. What is in the folder of --data, its README.md says.

studies_table.py says what the table shows, and prints it of what is there. Defaults are chosen on its CHOSEN_ON alone;
the other half of the tasks is what is reported.
"""

import argparse
import json
import os
import pathlib
import tempfile
import warnings

import accuracy
import bench
import numpy as np
import pandas as pd
import torch
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from studies_table import COUNTS, EXTRA, FOREST, GUESS, LINEAR, METHODS, TASKS, TRANSFERS, report
from studies_tasks import STUDIES, TRANSFER_TASKS, load_folds, load_transfer, read_tasks

from q2_aam.config import PredictClassesConfig
from q2_aam.data.counts import read_fold
from q2_aam.data.details import LOWER, UPPER
from q2_aam.errors import UserError
from q2_aam.evaluation.baselines import DEPTH, RIDGE_PENALTIES
from q2_aam.evaluation.folds import seed_of_fit
from q2_aam.evaluation.out_of_fold import OURS
from q2_aam.inference.predict import predict_classes
from q2_aam.training import perceptrons

QUICK_TASKS = ('morgan_ibd.uc', 'hmp_vaginal.posterior_fornix_ph')
MORE_METHODS = (FOREST + COUNTS, EXTRA + COUNTS)
# As in BASELINES.tsv: more trees than q2-sample-classifier's, on features that some samples share.
TREES, REGRESSION_FEATURES, MIN_SAMPLES = 300, 0.1, 3
# Of forests and of perceptrons, for --quick.
QUICK_TREES, QUICK_STEPS = 30, 20


def read_arguments():
    """Return the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('--data', type=pathlib.Path, default=STUDIES)
    parser.add_argument('--out', type=pathlib.Path, help='folder of results; without it nothing is kept')
    parser.add_argument('--tasks', nargs='*', default=[], help='names, chosen or reported; default: all')
    parser.add_argument('--methods', nargs='*', default=list(METHODS), choices=METHODS + MORE_METHODS)
    parser.add_argument('--folds', type=int, default=5)
    parser.add_argument('--seeds', type=int, default=1, help='repeats, each with other folds')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--encoder', type=pathlib.Path, help='bundle of a pretrained encoder')
    parser.add_argument('--set', nargs='*', default=[], type=accuracy.setting, metavar='NAME=VALUE')
    parser.add_argument('--name', default=OURS, help='of these settings of ours among the results')
    parser.add_argument('--transfers', action='store_true', help='to other studies and runs instead of within studies')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--device', type=torch.device, default=bench.CPU)
    parser.add_argument('--clock', choices=tuple(bench.CLOCKS), default='wall')
    parser.add_argument('--quick', action='store_true', help='two small tasks, 3 folds and small models')
    options = parser.parse_args()
    if options.quick:
        options.folds, options.tasks = 3, options.tasks or QUICK_TASKS
        perceptrons.MIN_STEPS = perceptrons.MAX_STEPS = QUICK_STEPS
    return options


def predict_ours(options, split, folder, seed):
    """Return our predictions, with bounds and flags, and the seconds of fit and prediction."""
    # elsewhere a run that was finished is not run again, and its seconds would be those of reading its result
    os.environ['AAM_WORK_DIR'] = str(folder / 'runs')
    started = bench.CLOCKS[options.clock]()
    frame = accuracy.our_predictions(options, split.files, split.training, folder, split.groups, None, seed)
    seconds = bench.CLOCKS[options.clock]() - started
    if split.training.dtype != object:
        bounds = {name: frame[name].tolist() for name in (LOWER, UPPER)}
        return frame[['prediction']], seconds, bounds | {'flag': frame['flag'].tolist()}
    config = PredictClassesConfig.from_flat({'device': options.device.type})
    files = split.files
    *_, details = predict_classes(files.test, folder / 'model', config, files.sequences, say=lambda line: None)
    return frame, seconds, {'flag': details['flag'].reindex(frame.index).tolist()}


def predict_baseline(options, method, split, seed):
    """Return what a baseline predicts, and the seconds of reading, fit and prediction."""
    started = bench.CLOCKS[options.clock]()
    training = split.training.sort_index()
    ids, counts, new_counts = read_fold(split.files.training, split.files.test, list(training.index))
    if not method.endswith(COUNTS):
        counts, new_counts = proportions(counts), proportions(new_counts)
    enough = np.flatnonzero(np.bincount(counts.indices, minlength=counts.shape[1]) >= MIN_SAMPLES)
    counts, new_counts = counts[:, enough], new_counts[:, enough]
    if method == LINEAR:
        counts, new_counts = (counts * DEPTH).log1p(), (new_counts * DEPTH).log1p()
    numeric = training.dtype != object
    model = estimator(method.removesuffix(COUNTS), numeric, QUICK_TREES if options.quick else TREES, seed, options)
    model.fit(counts, training.to_numpy())
    predicted = model.predict(new_counts)[:, None] if numeric else model.predict_proba(new_counts)
    frame = pd.DataFrame(predicted, index=ids, columns=['prediction'] if numeric else list(model.classes_))
    return frame, bench.CLOCKS[options.clock]() - started, {}


def proportions(counts):
    """Divide each sample by its reads; one without any stays empty."""
    totals = np.asarray(counts.sum(axis=1))
    return counts.multiply(1 / np.where(totals > 0, totals, 1)).tocsr()


def estimator(method, numeric, trees, seed, options):
    """Return a model of scikit-learn that is to be fitted."""
    if method == GUESS:
        return DummyRegressor(strategy='median') if numeric else DummyClassifier()
    if method == LINEAR:
        return RidgeCV(RIDGE_PENALTIES) if numeric else LogisticRegression(max_iter=5000, class_weight='balanced')
    forests = (RandomForestClassifier, RandomForestRegressor), (ExtraTreesClassifier, ExtraTreesRegressor)
    forest = forests[method == EXTRA][numeric]
    features = REGRESSION_FEATURES if numeric else 'sqrt'
    return forest(trees, max_features=features, random_state=seed, n_jobs=options.threads)


def result_file(options, task, method, repeat, fold):
    name = options.name if method == OURS else method
    return options.out / (TRANSFERS if task.elsewhere else TASKS) / task.name / f'{name}-{repeat + 1}-{fold + 1}.json'


def settings_of(options, task, method):
    """Return what a result depends on beside its task: one of other settings is not taken for it."""
    settings = {'folds': folds_of(options, task), 'seed': options.seed, 'quick': options.quick}
    if method == OURS:
        # threads change nothing
        changed = {name: value for name, value in options.set if name != 'threads'}
        settings |= {'set': changed, 'encoder': options.encoder and str(options.encoder)}
    return settings


def folds_of(options, task):
    return task.folds or options.folds


def finished(path, settings):
    """Return whether a result is there; one of other settings ends the script."""
    if not path.exists():
        return False
    others = json.loads(path.read_text())['settings']
    if others != settings:
        raise SystemExit(f'studies.py: {path} is of other settings ({others}); give another --name or --out.')
    return True


def run_task(options, task, work):
    """Compute what is not there yet of a task."""
    split_of = None
    for repeat, fold in np.ndindex(1 if task.folds else options.seeds, folds_of(options, task)):
        seed, split = seed_of_fit(options.seed, repeat, fold), None
        with tempfile.TemporaryDirectory(dir=work) as folder:
            for method in options.methods:
                path = result_file(options, task, method, repeat, fold)
                settings = settings_of(options, task, method)
                if finished(path, settings):
                    continue
                split_of = split_of or (load_transfer if task.new else load_folds)(options, task, work)
                split = split or split_of(repeat, fold, pathlib.Path(folder))
                result = compute(options, method, split, pathlib.Path(folder), seed)
                write(path, result | {'settings': settings})
                where = f'{task.name}, repeat {repeat + 1}, fold {fold + 1}'
                print(f'{where}: {method}, {result["seconds"]:.1f} seconds', flush=True)


def compute(options, method, split, folder, seed):
    """Return what a method predicts of a split, and what is true, as JSON holds it."""
    if method == OURS:
        frame, seconds, more = predict_ours(options, split, folder, seed)
    else:
        frame, seconds, more = predict_baseline(options, method, split, seed)
    ids = list(frame.index)
    groups = ids if split.test_groups is None else split.test_groups.loc[ids].tolist()
    return {
        'seconds': seconds, 'ids': ids, 'groups': groups, 'true': split.test.loc[ids].tolist(),
        'columns': list(frame.columns), 'predicted': frame.to_numpy(dtype=float).tolist(), **more,
    }  # fmt: skip


def write(path, result):
    """Write a result at once: what is there is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix('.new')
    new.write_text(json.dumps(result))
    os.replace(new, path)


def main():
    options = read_arguments()
    # what a user is told of samples and classes does not concern who compares methods
    warnings.simplefilter('ignore')
    # predictions take as many threads as the process may use
    os.environ['OMP_NUM_THREADS'] = str(options.threads)
    torch.set_num_threads(options.threads)
    bench.say_machine(options)
    options.set = [('threads', options.threads), *options.set]
    tasks = TRANSFER_TASKS if options.transfers else read_tasks(options.data, options.tasks)
    with tempfile.TemporaryDirectory() as work:
        options.out = options.out or pathlib.Path(work) / 'results'
        for task in tasks:
            try:
                run_task(options, task, work)
            except UserError as error:
                # the others go on; the report names it among those that are not finished
                print(f'{task.name}: {error}', flush=True)
        print(*report(options.out, options.methods, options.name, options.seed), sep='\n')


if __name__ == '__main__':
    main()
