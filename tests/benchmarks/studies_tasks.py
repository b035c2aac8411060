"""The tasks of studies.py: which labels are to be predicted from which samples, and their splits as files.

    python tests/benchmarks/studies_tasks.py [FOLDER OF STUDIES]

lists them.
"""

import argparse
import dataclasses
import hashlib
import json
import pathlib
import sys

import accuracy
import bench
import biom
import h5py
import numpy as np
import pandas as pd
from studies_table import half_of

from q2_aam.data.labels import align_classes, align_numbers, labels_with_reads
from q2_aam.data.sequences import read_fasta
from q2_aam.evaluation.folds import check_classes, plan_folds

STUDIES = pathlib.Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'studies'
# Nucleotides that a model learns from where new reads are trimmed in another way: 1 to 140.
TRAINED_LENGTH = 140


@dataclasses.dataclass(frozen=True)
class Side:
    """Where labels are: a column of a study, whose classes may get other names, or one class for all samples."""

    study: str
    column: str
    group: str | None
    names: dict = dataclasses.field(default_factory=dict)
    everywhere: str = ''


@dataclasses.dataclass(frozen=True)
class Task:
    """Labels to predict within one study, or, where `new` has other studies, in those.

    Attributes
    ----------
    folds : int
        How many there are; 0: as many as are asked for.
    leave_out : bool
        Whether each group is a fold of its own.
    labels : int
        How many are drawn, all others forgotten; 0: all are used.
    window : tuple of int
        First nucleotide (from 0) and end of the reads of test samples, where training samples have the first 140; empty
        where all reads are as they are.
    """

    name: str
    numeric: bool
    side: Side
    new: tuple = ()
    cost: float = 0.0
    folds: int = 0
    leave_out: bool = False
    labels: int = 0
    window: tuple = ()

    @property
    def elsewhere(self):
        """Whether test samples are of other studies or runs."""
        return bool(self.new or self.leave_out or self.window)


SITES = {'hand skin': 'skin', 'skin of head': 'skin', 'tongue': 'oral', 'feces': 'gut'}
HALFVARSON, MORGAN = Side('halfvarson_ibd', 'uc_vs_cd', 'subject'), Side('morgan_ibd', 'uc_vs_cd', 'participant')
ECAM = Side('../ecam', 'month_of_life', 'subject')
TRANSFER_TASKS = (
    Task('uc_vs_cd.halfvarson_to_morgan', False, HALFVARSON, (MORGAN,), folds=1),
    Task('uc_vs_cd.morgan_to_halfvarson', False, MORGAN, (HALFVARSON,), folds=1),
    Task(
        'age.yatsunenko_to_claesson', True, Side('yatsunenko_global', 'age_years', 'family'),
        (Side('claesson_elderly', 'age', 'subject'),), folds=1,
    ),
    Task(
        'body_site.pgp_to_hmp_and_twins', False, Side('pgp_sites', 'site', 'subject', SITES),
        (
            Side('hmp_skin', 'sex', 'subject', everywhere='skin'),
            Side('hmp_throat', 'subsite', 'subject', everywhere='oral'),
            Side('turnbaugh_twins', 'obesity', 'family', everywhere='gut'),
        ),
        folds=1,
    ),
    Task(
        'age.oral_by_study', True, Side('../oral-age', 'age', 'study'), folds=9, leave_out=True, labels=400,
    ),
    Task('age.ecam_start_1_later', True, ECAM, window=(1, 141)),
    Task('age.ecam_end_20_less', True, ECAM, window=(0, 120)),
)  # fmt: skip


def read_tasks(data, names=()):
    """Return the usable tasks of a folder of studies, the cheapest first: all, or those that `names` choose."""
    if not (data / 'TASKS.json').exists():
        raise SystemExit(f'studies.py: there are no studies in {data}; give --data their folder.')
    rows = pd.read_csv(data / 'BASELINES.tsv', sep='\t').query('flag == "usable"')
    costs = {f'{row.study}.{row.task}': float(row.n * row.features_used) for row in rows.itertuples()}
    tasks = []
    for study, listed in json.loads((data / 'TASKS.json').read_text()).items():
        for one in listed:
            if (name := f'{study}.{one["task"]}') in costs:
                side = Side(study, one['column'], one['group'])
                tasks.append(Task(name, one['kind'] == 'reg', side, cost=costs[name]))
    if unknown := set(names) - {'chosen', 'reported', *costs}:
        raise SystemExit(f'studies.py: there is no task {min(unknown)}; there are {", ".join(sorted(costs))}.')
    return sorted(
        (one for one in tasks if not names or {one.name, half_of(one.name)} & set(names)), key=lambda one: one.cost
    )


@dataclasses.dataclass(frozen=True)
class Split:
    """Samples to learn from and to predict: tables (BIOM), sequences (FASTA), labels and groups by sample id."""

    files: argparse.Namespace
    training: pd.Series
    test: pd.Series
    groups: pd.Series | None
    test_groups: pd.Series | None


@dataclasses.dataclass(frozen=True)
class Labelled:
    """The samples of a study that have a label and reads; their groups are None where each is one by itself.

    There is no file of sequences where feature ids are sequences.
    """

    table: biom.Table
    sequences: pathlib.Path | None
    labels: pd.Series
    groups: pd.Series | None

    @classmethod
    def read(cls, data, side, numeric, work, drawn=0, seed=1):
        folder = data / side.study
        table = bench._unpack(folder / 'table.qza', 'data/feature-table.biom', work)
        target, groups = accuracy.read_columns(folder, side.column, side.group or 'none', 0, drawn, seed)
        if side.everywhere:
            labels = pd.Series(side.everywhere, groups.index, dtype=object)
        else:
            target = target if numeric else target.astype(str).replace(side.names).astype(object)
            aligned = labels_with_reads(table, target, groups, align_numbers if numeric else align_classes)
            labels = pd.Series(aligned.values, pd.Index(aligned.sample_ids, name='id'), name=aligned.name)
        with h5py.File(table) as file:
            opened = biom.Table.from_hdf5(file)
        labels = labels[labels.index.isin(opened.ids())]
        sequences = None
        if (folder / 'rep-seqs.qza').exists():
            sequences = pathlib.Path(bench._unpack(folder / 'rep-seqs.qza', 'data/dna-sequences.fasta', work))
        return cls(opened, sequences, labels, groups)


def load_folds(options, task, work):
    """Return what makes the split of a repeat and a fold of a task, in a folder."""
    study = Labelled.read(options.data, task.side, task.numeric, work, task.labels, options.seed)
    labels, groups = study.labels.to_numpy(), np.array(study.labels.index, object)
    if study.groups is not None:
        groups = study.groups.loc[groups].to_numpy(object)
    plan = plan_folds(labels, groups, options.folds, options.seeds, options.seed, task.leave_out)
    if task.leave_out and plan.max() + 1 != task.folds:
        raise SystemExit(f'studies.py: {task.name} has {plan.max() + 1} groups instead of {task.folds}.')
    if not task.numeric:
        check_classes(labels, groups, plan)

    def split(repeat, fold, folder):
        training, test = study.labels[plan[repeat] != fold], study.labels[plan[repeat] == fold]
        files = argparse.Namespace(
            training=accuracy.cut(study.table, training.index, folder / 'training.biom'),
            test=accuracy.cut(study.table, test.index, folder / 'test.biom'),
            sequences=study.sequences, distances=None,
        )  # fmt: skip
        if task.window:
            trim(files, task.window, folder)
        return Split(files, training, test, study.groups, study.groups)

    return split


def trim(files, window, folder):
    """Trim the reads of test samples to a window of the whole ones, and those of training samples to the first 140.

    New sequences have new feature ids, as they have after denoising.
    """
    whole, records = read_fasta(files.sequences), {}
    for part, (start, end) in (('training', (0, TRAINED_LENGTH)), ('test', window)):
        path = getattr(files, part)
        with h5py.File(path) as file:
            table = biom.Table.from_hdf5(file)
        cut = {name: whole[name][start:end] for name in table.ids(axis='observation')}
        ids = {name: hashlib.md5(sequence.encode()).hexdigest() for name, sequence in cut.items()}
        records |= {ids[name]: sequence for name, sequence in cut.items()}
        # what differed beyond the window only is one feature now
        merged = table.collapse(lambda name, _, ids=ids: ids[name], norm=False, axis='observation')
        with h5py.File(path, 'w') as file:
            merged.to_hdf5(file, 'studies_tasks.py')
    files.sequences = folder / 'trimmed.fasta'
    files.sequences.write_text(''.join(f'>{name}\n{sequence}\n' for name, sequence in records.items()))


def load_transfer(options, task, work):
    """Return what makes the one split of a transfer, in a folder: the samples of all its new studies are one test."""
    study = Labelled.read(options.data, task.side, task.numeric, work)
    others = [Labelled.read(options.data, side, task.numeric, work) for side in task.new]
    tables, labels, groups = [], [], []
    for side, other in zip(task.new, others):
        # ids of samples and groups of several studies may be the same
        names = {name: f'{side.study}.{name}' for name in other.labels.index}
        table = other.table.filter(set(names), axis='sample', inplace=False)
        tables.append(table.update_ids(names, axis='sample', inplace=False))
        labels.append(other.labels.rename(names))
        groups.append((side.study + '.' + other.groups.loc[other.labels.index]).rename(names))
    table, test, test_groups = tables[0].concat(tables[1:], axis='sample'), pd.concat(labels), pd.concat(groups)

    def split(repeat, fold, folder):
        # feature ids are hashes of the sequences: the same in all studies
        records = {text.rstrip() for one in (study, *others) for text in one.sequences.read_text().split('>')} - {''}
        (folder / 'sequences.fasta').write_text(''.join(f'>{record}\n' for record in sorted(records)))
        files = argparse.Namespace(
            training=accuracy.cut(study.table, study.labels.index, folder / 'training.biom'),
            test=accuracy.cut(table, test.index, folder / 'test.biom'),
            sequences=folder / 'sequences.fasta', distances=None,
        )  # fmt: skip
        return Split(files, study.labels, test, study.groups, test_groups)

    return split


def main():
    data = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else STUDIES
    rows = [
        (task.name, 'transfer' if task.elsewhere else half_of(task.name), 'numbers' if task.numeric else 'classes')
        for task in (*read_tasks(data), *TRANSFER_TASKS)
    ]
    bench.say_table(('task', 'half', 'what'), rows)


if __name__ == '__main__':
    main()
