"""The benchmark of many studies: what it has computed stays, what its table says of it can be computed by hand."""

import argparse
import dataclasses
import hashlib
import importlib
import json
import pathlib
import sys
import zipfile

import biom
import h5py
import numpy as np
import pytest
import scipy.sparse

from q2_aam.training import perceptrons

INSIDE = 'uuid-of-first/data/dna-sequences.fasta'
BASELINES = ('random_forest', 'extra_trees', 'linear', 'guess')


@pytest.fixture
def load(monkeypatch):
    """Import a script as it is when it runs."""
    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).parent))
    return importlib.import_module


@pytest.fixture
def studies(load, monkeypatch):
    module = load('studies')
    monkeypatch.setenv('AAM_WORK_DIR', '')
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    # --quick sets them
    monkeypatch.setattr(perceptrons, 'MIN_STEPS', perceptrons.MIN_STEPS)
    monkeypatch.setattr(perceptrons, 'MAX_STEPS', perceptrons.MAX_STEPS)
    return module


@pytest.fixture
def tasks(load):
    return load('studies_tasks')


@pytest.fixture
def table(load):
    return load('studies_table')


@pytest.fixture
def data(tiny, tmp_path):
    """Two studies with the same samples, as ../shared/data/studies has them, and tasks of both kinds."""
    files = tiny.write(tmp_path / 'inputs')
    folder = tmp_path / 'studies'
    for study in ('first', 'second'):
        (folder / study).mkdir(parents=True)
        for name, path, inside in (
            ('table.qza', files.table, 'data/feature-table.biom'),
            ('rep-seqs.qza', files.sequences, 'data/dna-sequences.fasta'),
        ):
            with zipfile.ZipFile(folder / study / name, 'w') as file:
                file.write(path, f'uuid-of-{study}/{inside}')
        stages = tiny.stages.fillna('')
        rows = [f'{name}\t{tiny.target[name]}\t{stages[name]}\t{tiny.groups[name]}' for name in tiny.target.index]
        lines = ['sample-id\tage\tstage\tsubject', *(row.replace('nan', '') for row in rows)]
        (folder / study / 'metadata.tsv').write_text('\n'.join(lines) + '\n')
    tasks = [
        {'task': 'age', 'column': 'age', 'kind': 'reg', 'group': 'subject'},
        {'task': 'stage', 'column': 'stage', 'kind': 'cls', 'group': None},
        {'task': 'noise', 'column': 'age', 'kind': 'reg', 'group': None},
    ]
    (folder / 'TASKS.json').write_text(json.dumps({'first': tasks}))
    rows = ['first\tage\t24\t30\tusable', 'first\tstage\t24\t20\tusable', 'first\tnoise\t24\t30\tno signal']
    (folder / 'BASELINES.tsv').write_text('\n'.join(['study\ttask\tn\tfeatures_used\tflag', *rows]) + '\n')
    return folder


def run(studies, monkeypatch, data, out, *more, methods=BASELINES):
    given = ['--data', data, '--out', out, '--quick', '--tasks', 'reported', '--methods', *methods, *more]
    monkeypatch.setattr(sys, 'argv', ['studies.py', *map(str, given)])
    studies.main()


def made_up(values, true, seconds=1.0, folds=1, ids=None):
    """Return the result of one fold, as studies.py writes it: one group a sample, numbers."""
    ids = ids or [f'S{i}' for i in range(len(true))]
    return {
        'settings': {'folds': folds, 'seed': 1, 'quick': False}, 'seconds': seconds, 'ids': ids, 'groups': ids,
        'true': list(true), 'columns': ['prediction'], 'predicted': [[value] for value in values],
        'lower_bound': [value - 1 for value in values], 'upper_bound': [value + 1 for value in values],
        'flag': ['ok'] * len(ids),
    }  # fmt: skip


def put(folder, task, **results):
    (folder / 'tasks' / task).mkdir(parents=True)
    for method, result in results.items():
        (folder / 'tasks' / task / f'{method}-1-1.json').write_text(json.dumps(result))


def test_holm_multiplies_by_the_tests_that_are_left_and_never_falls(table):
    assert table.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert table.holm([0.6, 0.7]).tolist() == [1, 1]


def test_half_is_every_other_task_that_can_be_used(table, studies):
    assert list(table.CHOSEN_ON) == sorted(table.CHOSEN_ON) and len(table.CHOSEN_ON) == 11
    if not studies.STUDIES.exists():
        pytest.skip('the studies are not there')
    names = sorted(task.name for task in studies.read_tasks(studies.STUDIES))
    assert len(names) == 22 and tuple(names[::2]) == table.CHOSEN_ON
    chosen = studies.read_tasks(studies.STUDIES, ['chosen'])
    assert {task.name for task in chosen} == set(table.CHOSEN_ON)
    costs = [task.cost for task in chosen]
    assert costs == sorted(costs)


def test_a_difference_of_the_same_sign_in_3_groups_has_p_of_a_quarter(table):
    true = np.zeros(6)
    ours, other = made_up([1] * 6, true), made_up([2] * 6, true)
    for one in (ours, other):
        one['groups'] = ['a', 'a', 'b', 'b', 'c', 'c']
    out_of_fold = table.gather('task', {'AAM': [ours], 'linear': [other]})
    assert table.sign_flip_p(out_of_fold, 'linear', np.random.default_rng(1)) == pytest.approx(0.25, abs=0.02)


def test_classes_that_a_fold_did_not_learn_count_as_impossible(table):
    ours, other = ({**made_up([0, 0], ['x', 'z']), 'columns': ['x', 'y']} for _ in range(2))
    ours['predicted'], other['predicted'] = [[0.9, 0.1], [0.2, 0.8]], [[0.3, 0.7], [0.4, 0.6]]
    # the same samples in another order
    other['ids'], other['true'] = ['S1', 'S0'], ['z', 'x']
    out_of_fold = table.gather('task', {'linear': [other], 'AAM': [ours]})
    assert out_of_fold.classes == ('x', 'y', 'z') and list(out_of_fold.predicted) == ['AAM', 'linear']
    assert out_of_fold.sample_ids.tolist() == ['S1', 'S0']
    assert out_of_fold.predicted['AAM'].tolist() == [[0.2, 0.8, 0], [0.9, 0.1, 0]]
    assert out_of_fold.errors('AAM').tolist() == [1, 0] and out_of_fold.errors('linear').tolist() == [1, 1]


def test_folds_of_other_samples_are_not_compared(table):
    results = {'AAM': [made_up([1], [1])], 'linear': [made_up([1], [1], ids=['other'])]}
    with pytest.raises(SystemExit, match='^studies_table.py: the methods of age have other folds; compute it anew.$'):
        table.gather('age', results)


def test_the_table_says_what_made_up_results_are(table, tmp_path):
    true = np.arange(20.0)
    put(
        tmp_path, 'soils88.soil_ph',
        AAM=made_up(true + 0.5, true, 10), linear=made_up(true + 2, true, 3), guess=made_up(true - 4, true),
    )  # fmt: skip
    put(tmp_path, 'soils88.biome', AAM=made_up(true + 2, true), linear=made_up(true + 1, true))
    put(
        tmp_path, 'morgan_ibd.uc',
        AAM=made_up(true + 2, true), linear=made_up(true + 1, true), guess=made_up(true + 2, true),
    )  # fmt: skip
    lines = table.report(tmp_path, ('AAM', 'linear', 'guess'))
    rows = [line for line in lines if line.startswith('| ')]
    assert rows[1] == (
        '| morgan_ibd.uc | chosen | 20 | 20 | MAE | 2 | 1 | 2 | 1 (1 to 1) | linear | 1, 1, 1 |'
    ) and rows[2] == (
        '| soils88.soil_ph | reported | 20 | 20 | MAE | 0.5 | 2 | 4 | -1.5 (-1.5 to -1.5) | linear | 10, 3, 1 |'
    )  # fmt: skip
    text = '\n'.join(lines)
    assert 'chosen (1 task): mean rank linear 1.00, AAM 2.50, guess 2.50.' in text
    assert '- AAM against linear: 0 wins, 0 ties, 1 loss (morgan_ibd.uc).' in text
    assert '- AAM against guess: 0 wins, 1 tie, 0 losses.' in text
    assert '- AAM against linear: 1 win, 0 ties, 0 losses.' in text
    assert 'Flagged: 0.0% of 40 samples.' in text and '90 % intervals hold 50.0% of 40 samples' in text
    assert 'Not finished: soils88.biome.' in text


def test_the_picture_shows_each_task(table, tmp_path):
    pytest.importorskip('matplotlib')
    true = np.arange(20.0)
    put(tmp_path, 'soils88.soil_ph', AAM=made_up(true + 0.5, true), linear=made_up(true + 2, true))
    assert table.report(tmp_path, ('AAM', 'linear'))[-1] == f'Picture: {tmp_path}/AAM.png'
    assert (tmp_path / 'AAM.png').read_bytes()[:4] == b'\x89PNG'


def test_what_is_there_is_not_computed_again(studies, monkeypatch, data, tmp_path, capsys):
    out = tmp_path / 'out'
    run(studies, monkeypatch, data, out)
    files = sorted(out.glob('tasks/*/*.json'))
    # two tasks, three folds; the third task is of no use
    assert len(files) == 2 * 3 * len(BASELINES) and {path.parent.name for path in files} == {'first.age', 'first.stage'}
    first = capsys.readouterr().out
    computed, compute = [], studies.compute
    monkeypatch.setattr(studies, 'compute', lambda *given: computed.append(given[1]) or compute(*given))
    run(studies, monkeypatch, data, out)
    assert computed == []
    lines = [[line for line in text.splitlines() if line[:1] in '|-'] for text in (first, capsys.readouterr().out)]
    assert lines[0] == lines[1] and len(lines[0]) >= 4
    before = (out / 'tasks' / 'first.age' / 'linear-1-2.json').read_text()
    (out / 'tasks' / 'first.age' / 'linear-1-2.json').unlink()
    run(studies, monkeypatch, data, out)
    assert computed == ['linear']
    again = json.loads((out / 'tasks' / 'first.age' / 'linear-1-2.json').read_text())
    assert again | {'seconds': 0} == json.loads(before) | {'seconds': 0}
    with pytest.raises(SystemExit, match='linear-1-1.json is of other settings .*; give another --name or --out.$'):
        run(studies, monkeypatch, data, out, '--seed', 2, methods=('linear',))


def test_folds_keep_groups_together_and_hold_every_labelled_sample_once(studies, monkeypatch, data, tiny, tmp_path):
    run(studies, monkeypatch, data, tmp_path / 'out', methods=('guess',))
    results = [json.loads(path.read_text()) for path in sorted((tmp_path / 'out').glob('tasks/first.age/*.json'))]
    ids = [name for one in results for name in one['ids']]
    assert len(ids) == len(set(ids)) and {*ids} <= {*tiny.target.dropna().index}
    groups = [{tiny.groups[name] for name in one['ids']} for one in results]
    assert not set.intersection(*groups) and all(one['true'] == tiny.target[one['ids']].tolist() for one in results)


@pytest.mark.slow
def test_ours_leaves_bounds_and_flags(studies, monkeypatch, data, tmp_path, capsys):
    run(studies, monkeypatch, data, tmp_path / 'out', '--set', 'memberships=8', methods=('AAM', 'guess'))
    for path in (tmp_path / 'out').glob('tasks/*/AAM-*.json'):
        result = json.loads(path.read_text())
        assert len(result['flag']) == len(result['ids']) and result['seconds'] > 0
        assert ('lower_bound' in result) == (path.parent.name == 'first.age')
        assert result['settings']['set']['memberships'] == 8
    text = capsys.readouterr().out
    assert '- AAM against guess: ' in text and '90 % intervals hold ' in text


def test_a_transfer_predicts_all_samples_of_other_studies(studies, tasks, monkeypatch, data, tiny, tmp_path, capsys):
    side = tasks.Side
    transfers = (
        tasks.Task('age', True, side('first', 'age', 'subject'), (side('second', 'age', 'subject'),), folds=1),
        tasks.Task(
            'site', False, side('first', 'stage', 'subject', {'10 weeks': 'skin', 'mid way': 'gut'}),
            (side('first', 'stage', 'subject', everywhere='skin'), side('second', 'age', 'subject', everywhere='gut')),
            folds=1,
        ),
    )  # fmt: skip
    monkeypatch.setattr(studies, 'TRANSFER_TASKS', transfers)
    run(studies, monkeypatch, data, tmp_path / 'out', '--transfers')
    age, site = (
        json.loads((tmp_path / 'out' / 'transfers' / name / 'extra_trees-1-1.json').read_text())
        for name in ('age', 'site')
    )
    assert age['true'] == tiny.target[[name.removeprefix('second.') for name in age['ids']]].tolist()
    assert set(site['true']) == {'skin', 'gut'} and {'skin', 'gut'} <= set(site['columns'])
    assert set(site['groups']) == {f'{study}.{name}' for study in ('first', 'second') for name in set(tiny.groups)}
    assert '| age | transfer | ' in capsys.readouterr().out


def test_each_group_is_left_out_once_of_so_many_labels(studies, tasks, monkeypatch, data, tiny, tmp_path):
    groups = len(set(tiny.groups))
    task = tasks.Task('age', True, tasks.Side('first', 'age', 'subject'), folds=groups, leave_out=True, labels=20)
    monkeypatch.setattr(studies, 'TRANSFER_TASKS', (task,))
    (data / 'first' / 'rep-seqs.qza').unlink()
    run(studies, monkeypatch, data, tmp_path / 'out', '--transfers', methods=('guess',))
    results = [json.loads(path.read_text()) for path in (tmp_path / 'out' / 'transfers' / 'age').iterdir()]
    assert sum(len(one['ids']) for one in results) == 20 and len(results) == groups
    assert all(len(set(one['groups'])) == 1 for one in results)
    task = dataclasses.replace(task, folds=2)
    monkeypatch.setattr(studies, 'TRANSFER_TASKS', (task,))
    with pytest.raises(SystemExit, match=f'^studies.py: age has {groups} groups instead of 2.$'):
        run(studies, monkeypatch, data, tmp_path / 'other', '--transfers', methods=('guess',))


def test_new_reads_are_trimmed_in_another_way(studies, tasks, monkeypatch, data, tmp_path):
    monkeypatch.setattr(tasks, 'TRAINED_LENGTH', 12)
    task = tasks.Task('age', True, tasks.Side('first', 'age', 'subject'), window=(1, 13))
    options = argparse.Namespace(data=data, folds=2, seeds=1, seed=1)
    split = tasks.load_folds(options, task, tmp_path)(0, 0, tmp_path)
    whole = set(tasks.read_fasta(zipfile.ZipFile(data / 'first' / 'rep-seqs.qza').extract(INSIDE, tmp_path)).values())
    sequences = tasks.read_fasta(split.files.sequences)
    for part, start in (('training', 0), ('test', 1)):
        with h5py.File(getattr(split.files, part)) as file:
            table = biom.Table.from_hdf5(file)
        assert {sequences[name] for name in table.ids('observation')} <= {one[start : start + 12] for one in whole}
        assert sorted(table.ids()) == sorted(getattr(split, part).index)
        with h5py.File(getattr(split.files, part)) as file:
            assert set(file['observation/ids'].asstr()[:]) == {
                hashlib.md5(sequences[name].encode()).hexdigest() for name in table.ids('observation')
            }


def test_proportions_sum_to_1_and_a_sample_without_reads_stays_empty(studies):
    counts = scipy.sparse.csr_matrix([[1.0, 3.0], [0.0, 0.0]])
    assert studies.proportions(counts).toarray().tolist() == [[0.25, 0.75], [0, 0]]


def test_unknown_names_and_absent_studies_are_said(studies, data, tmp_path):
    with pytest.raises(SystemExit, match='^studies.py: there is no task first.noise; there are first.age, first.stage'):
        studies.read_tasks(data, ['first.noise'])
    with pytest.raises(SystemExit, match='give --data their folder'):
        studies.read_tasks(tmp_path)


def test_a_task_that_cannot_be_divided_stops_no_other(studies, monkeypatch, data, tiny, tmp_path, capsys):
    # of 24 samples, the single one of its class
    metadata = data / 'first' / 'metadata.tsv'
    metadata.write_text(metadata.read_text().replace('10 weeks', 'other', 1))
    run(studies, monkeypatch, data, tmp_path / 'out', methods=('guess',))
    text = capsys.readouterr().out
    assert 'first.stage: Every class needs labelled samples in at least two groups' in text and 'other' in text
    assert '| first.age | reported |' in text and 'first.stage |' not in text
