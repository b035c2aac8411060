"""Few labels: ours from scratch and from an encoder that left the study out, beside classical models and simple heads.

    python tests/benchmarks/few_labels.py --encoders OUT [OUT ...] [--out FOLDER] [--labels 20 50] [--draws 2]
        [--tasks NAME ...] [--methods NAME ...] [--seed 1] [--data FOLDER] [--quick]

Each OUT is what recipe/train_encoder.py --leave-out has written; the tasks are those of studies.py whose study one of
them has left out. In each draw a fifth of the groups is tested (at most 150 samples), and that many labels are drawn
from all others, the same for each method. Every result is a file in the folder of --out: what is there is not computed
again, so that an interrupted run goes on.

Beside the methods of studies.py: heads on what the encoder says of samples (embed), `embedding_linear` (ridge or
logistic regression) and `embedding_neighbours` (the nearest prototypes of training groups), and `trees_and_embedding`,
the mean of extra trees and the linear head, which is what a member of the ensemble could give. The table has the error
of each method, its mean rank over tasks, and how many tasks it errs less in than the best of the classical models.
"""

import argparse
import functools
import json
import pathlib
import tempfile
import warnings

import accuracy
import bench
import numpy as np
import pandas as pd
import studies
import torch
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from studies_table import EXTRA, FOREST, LINEAR, gather
from studies_tasks import STUDIES, Labelled, Split, read_tasks

from q2_aam.config import EmbedConfig
from q2_aam.data.table import read_table
from q2_aam.errors import UserError
from q2_aam.evaluation.comparison import metrics_of
from q2_aam.evaluation.folds import plan_folds, seed_of_fit
from q2_aam.evaluation.out_of_fold import OURS
from q2_aam.inference.embed import embed_samples

FROM_ENCODER = f'{OURS} from the encoder'
HEAD, NEIGHBOURS, BLEND = 'embedding_linear', 'embedding_neighbours', 'trees_and_embedding'
CLASSICAL, HEADS = (FOREST, EXTRA, LINEAR), (HEAD, NEIGHBOURS, BLEND)
METHODS = (OURS, FROM_ENCODER, *CLASSICAL, *HEADS)
# Of the groups, one part is tested; of it so many samples at most. So many labels of each class, where there are.
PARTS, MAX_TEST, MIN_OF_CLASS = 5, 150, 3
NEAREST = 5
PENALTIES, STRENGTHS = np.logspace(-6, 1, 15), np.logspace(-1, 4, 6)


def read_arguments():
    """Return the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('--encoders', type=pathlib.Path, nargs='+', required=True, metavar='OUT')
    parser.add_argument('--data', type=pathlib.Path, default=STUDIES)
    parser.add_argument('--out', type=pathlib.Path, help='folder of results; without it nothing is kept')
    parser.add_argument('--labels', type=int, nargs='+', default=[20, 50])
    parser.add_argument('--draws', type=int, default=2)
    parser.add_argument('--tasks', nargs='*', default=[], help='names; default: all whose study was left out')
    parser.add_argument('--methods', nargs='*', default=list(METHODS), choices=METHODS)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--device', type=torch.device, default=bench.CPU)
    parser.add_argument('--quick', action='store_true', help='small models')
    options = parser.parse_args()
    options.set, options.clock, options.encoder = [('threads', options.threads)], 'cpu', None
    return options


def left_out(folders):
    """Return {study: bundle of the encoder that has left it out}."""
    found = {}
    for folder in folders:
        for name in read_table(folder / 'left-out.biom').sample_ids:
            found.setdefault(name.split('.')[0], folder / 'encoder')
    return found


def drawn(values, rows, number, generator):
    """Return `number` of the rows at random, some of each class among them where `values` are classes."""
    rows = generator.permutation(rows)
    if values.dtype != object:
        return np.sort(rows[:number])
    before = pd.Series(values[rows]).groupby(values[rows]).cumcount().to_numpy()
    return np.sort(rows[np.argsort(before >= MIN_OF_CLASS, kind='stable')][:number])


def split_of(study, number, plan, seed, folder):
    """Return the split of a draw: `number` labels of all parts of the plan but the first, and samples of that."""
    generator = np.random.default_rng([seed, number])
    values = study.labels.to_numpy()
    test = study.labels.iloc[np.sort(generator.permutation(np.flatnonzero(plan == 0))[:MAX_TEST])]
    training = study.labels.iloc[drawn(values, np.flatnonzero(plan != 0), number, generator)]
    files = argparse.Namespace(
        training=accuracy.cut(study.table, training.index, folder / 'training.biom'),
        test=accuracy.cut(study.table, test.index, folder / 'test.biom'),
        sequences=study.sequences, distances=None,
    )  # fmt: skip
    return Split(files, training, test, study.groups, study.groups)


def embedded(encoder, split, options):
    """Return embeddings of training and test samples, indexed by sample id."""
    config = EmbedConfig.from_flat({'threads': options.threads, 'device': options.device.type})
    files = split.files
    parts = [embed_samples(table, encoder, config, files.sequences, quiet) for table in (files.training, files.test)]
    return [part.loc[labels.index] for part, labels in zip(parts, (split.training, split.test))]


def quiet(line):
    """Say nothing."""


def linear_head(one, other, labels, seed):
    """Return what a linear model of embeddings predicts: a number or the probabilities of classes, in order."""
    center = one.mean(axis=0)
    one, other = one - center, other - center
    if labels.dtype != object:
        return RidgeCV(PENALTIES * len(one)).fit(one, labels.astype(float)).predict(other)[:, None]
    folds = min(3, int(pd.Series(labels).value_counts().min()))
    if folds < 2:
        return nearest_prototypes(one, other, labels, np.arange(len(one)))
    model = LogisticRegressionCV(
        Cs=STRENGTHS, class_weight='balanced', max_iter=2000, cv=folds, scoring='neg_log_loss', random_state=seed
    )
    return model.fit(one, labels).predict_proba(other)


def nearest_prototypes(one, other, labels, groups):
    """Return what the nearest prototypes say: means of the samples of a group, for classes of each class in it."""
    numeric = labels.dtype != object
    keys = [pd.Series(groups)] + ([] if numeric else [pd.Series(labels)])
    of_each = pd.DataFrame(one).groupby([key.astype(str).to_numpy() for key in keys])
    place = of_each.ngroup().to_numpy()
    prototypes = of_each.mean().to_numpy()
    values = labels.astype(float)[:, None] if numeric else pd.get_dummies(labels).to_numpy(dtype=float)
    means = np.stack([values[place == number].mean(axis=0) for number in range(len(prototypes))])
    if not numeric:
        # as many votes for each class
        means = means / means.sum(axis=0)
    squares = ((other[:, None] - prototypes) ** 2).sum(axis=-1)
    nearest = np.argsort(squares, axis=1)[:, :NEAREST]
    votes = means[nearest].mean(axis=1)
    return votes if numeric else votes / votes.sum(axis=1, keepdims=True)


def predict_head(options, method, split, encoder, seed):
    """Return what a head on embeddings predicts, and the seconds it took."""
    started = bench.CLOCKS[options.clock]()
    one, other = embedded(encoder, split, options)
    labels = split.training.to_numpy()
    if method == NEIGHBOURS:
        groups = split.training.index if split.groups is None else split.groups.loc[split.training.index]
        values = nearest_prototypes(one.to_numpy(), other.to_numpy(), labels, np.asarray(groups))
    else:
        values = linear_head(one.to_numpy(), other.to_numpy(), labels, seed)
    columns = ['prediction'] if labels.dtype != object else sorted(set(labels))
    frame = pd.DataFrame(values, index=split.test.index, columns=columns)
    if method == BLEND:
        trees, *_ = studies.predict_baseline(options, EXTRA, split, seed)
        frame = (frame + trees.loc[frame.index, columns]) / 2
    return frame, bench.CLOCKS[options.clock]() - started


def compute(options, method, split, folder, seed, encoder):
    """Return the result of a method, as JSON holds it."""
    if method in HEADS:
        frame, seconds = predict_head(options, method, split, encoder, seed)
        ids = list(frame.index)
        groups = ids if split.groups is None else split.groups.loc[ids].tolist()
        return {
            'seconds': seconds, 'ids': ids, 'groups': groups, 'true': split.test.loc[ids].tolist(),
            'columns': list(frame.columns), 'predicted': frame.to_numpy(dtype=float).tolist(),
        }  # fmt: skip
    if method == FROM_ENCODER:
        options = argparse.Namespace(**vars(options) | {'encoder': encoder})
    place = folder / method.replace(' ', '-')
    place.mkdir()
    return studies.compute(options, OURS if method == FROM_ENCODER else method, split, place, seed)


def settings_of(options, method, encoder):
    """Return what a result depends on."""
    settings = {'seed': options.seed, 'quick': options.quick, 'folds': 1}
    return settings | ({'encoder': str(encoder)} if method not in (OURS, *CLASSICAL) else {})


def run_task(options, task, encoder, work):
    """Compute what is not there yet of a task."""
    study = Labelled.read(options.data, task.side, task.numeric, work)
    groups = np.array(study.labels.index, object)
    if study.groups is not None:
        groups = study.groups.loc[groups].to_numpy(object)
    plans = plan_folds(study.labels.to_numpy(), groups, PARTS, options.draws, options.seed)
    for draw, number in np.ndindex(options.draws, len(options.labels)):
        number, seed = options.labels[number], seed_of_fit(options.seed, draw, 0)
        with tempfile.TemporaryDirectory(dir=work) as name:
            split = functools.cache(lambda: split_of(study, number, plans[draw], seed, pathlib.Path(name)))  # noqa: B023
            for method in options.methods:
                path = options.out / str(number) / task.name / f'{method.replace(" ", "-")}-{draw + 1}-1.json'
                settings = settings_of(options, method, encoder)
                if studies.finished(path, settings):
                    continue
                result = compute(options, method, split(), pathlib.Path(name), seed, encoder)
                studies.write(path, result | {'settings': settings})
                print(f'{task.name}, {number} labels, draw {draw + 1}: {method}, {result["seconds"]:.1f} s', flush=True)


def errors_of(folder, methods, draws):
    """Return a table: the error of each method in each task of a folder of results, mean of draws.

    That is the mean absolute error, or what the balanced accuracy lacks of 1. Tasks that are not finished are left out.
    """
    rows = {}
    for task in sorted(folder.iterdir()) if folder.exists() else ():
        errors = {}
        for method in methods:
            files = [task / f'{method.replace(" ", "-")}-{draw + 1}-1.json' for draw in range(draws)]
            if all(file.exists() for file in files):
                errors[method] = np.mean([error_of(task.name, json.loads(file.read_text())) for file in files])
        if len(errors) == len(methods):
            rows[task.name] = errors
    return pd.DataFrame.from_dict(rows, orient='index', columns=list(methods))


def error_of(name, result):
    """Return the error of one result."""
    one = gather(name, {OURS: [result]})
    metrics = metrics_of(one, OURS, np.arange(len(one.true)))[0]
    return 1 - metrics['balanced_accuracy'] if one.classes else metrics['mae']


def say(number, errors):
    """Print the table of one number of labels, mean ranks, and in how many tasks a method errs less."""
    if errors.empty:
        print(f'{number} labels: no task is finished.')
        return
    print(f'{number} labels: mean absolute error, or 1 - balanced accuracy')
    rows = [[task, *(f'{value:.3f}' for value in of_task)] for task, of_task in zip(errors.index, errors.to_numpy())]
    ranks = errors.rank(axis=1)
    rows.append(['mean rank', *(f'{rank:.2f}' for rank in ranks.mean())])
    classical = [method for method in CLASSICAL if method in errors]
    if classical:
        best = errors[classical].min(axis=1)
        rows.append(['less than every classical', *(str(int((errors[method] < best).sum())) for method in errors)])
        relative = np.exp(np.log(errors.div(best, axis=0)).mean())
        rows.append(['error / best classical', *(f'{value:.3f}' for value in relative)])
    bench.say_table(('task', *errors.columns), rows)
    print()


def main():
    options = read_arguments()
    warnings.simplefilter('ignore')
    torch.set_num_threads(options.threads)
    bench.say_machine(options)
    encoders = left_out(options.encoders)
    tasks = [task for task in read_tasks(options.data, options.tasks) if task.side.study in encoders]
    with tempfile.TemporaryDirectory() as work:
        options.out = options.out or pathlib.Path(work) / 'results'
        for task in tasks:
            try:
                run_task(options, task, encoders[task.side.study], work)
            except UserError as error:
                # a class of few groups has too few of them among so few labels
                print(f'{task.name}: {error}', flush=True)
        for number in options.labels:
            say(number, errors_of(options.out / str(number), options.methods, options.draws))


if __name__ == '__main__':
    main()
