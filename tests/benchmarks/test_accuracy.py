"""The benchmark of accuracy reads a study as it is shared, and prints the comparison."""

import argparse
import importlib
import pathlib
import sys
import zipfile

import biom
import numpy as np
import pytest

from q2_aam.training import perceptrons

HERE = pathlib.Path(__file__).parent


@pytest.fixture
def accuracy(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    return importlib.import_module('accuracy')


@pytest.fixture
def folder(tiny, tmp_path):
    """A study as artifacts and metadata."""
    files = tiny.write(tmp_path / 'inputs')
    folder = tmp_path / 'study'
    folder.mkdir()
    for name, path, inside in (
        ('table.qza', files.table, 'data/feature-table.biom'),
        ('rep-seqs.qza', files.sequences, 'data/dna-sequences.fasta'),
        ('distances.qza', files.distance_matrix, 'data/distance-matrix.tsv'),
    ):
        with zipfile.ZipFile(folder / name, 'w') as file:
            file.write(path, f'uuid/{inside}')
    rows = [f'{name}\t{tiny.target[name]}\t{tiny.groups[name]}\n' for name in tiny.target.index]
    (folder / 'metadata.tsv').write_text('sample-id\tage\tsubject\n#q2:types\tnumeric\tcategorical\n' + ''.join(rows))
    return folder


def run(accuracy, monkeypatch, folder, *more):
    given = ['--data', folder, '--target', 'age', '--distances', folder / 'distances.qza', '--folds', 3, *more]
    monkeypatch.setattr(sys, 'argv', ['accuracy.py', *map(str, given)])
    for name in ('MIN_STEPS', 'MAX_STEPS'):
        monkeypatch.setattr(perceptrons, name, 20)
    accuracy.main()


def test_every_method_has_a_line_and_the_verdict_ends_it(accuracy, monkeypatch, folder, capsys):
    run(accuracy, monkeypatch, folder, '--quick', '--set', 'memberships=8')
    lines = capsys.readouterr().out.splitlines()
    table = [line for line in lines if line.startswith('| ')]
    methods = ['AAM', 'random_forest', 'extra_trees', 'ridge', 'nearest_neighbours', 'gaussian_process', 'median']
    assert [line.split(' | ')[0] for line in table] == ['| method', *(f'| {name}' for name in methods)]
    assert lines[-1].startswith("Best baseline for 'age': ") and 'AAM' in lines[-1]


def test_baselines_alone_are_compared_with_the_forest_over_seeds(accuracy, monkeypatch, folder, capsys):
    run(accuracy, monkeypatch, folder, '--methods', 'baselines', '--seeds', 2, '--groups', 'none')
    text = capsys.readouterr().out
    assert 'repeat 2, fold 3: ' in text and 'AAM' not in text
    lines = [line for line in text.splitlines() if line.startswith('| random_forest | ')]
    assert len(lines) == 1 and '+-' in lines[0]


def test_metadata_are_read_as_numbers_and_words(accuracy, tiny, folder):
    target, groups = accuracy.read_columns(folder, 'age', 'subject', 0)
    assert target.to_dict() == tiny.target.to_dict() and target.name == 'age'
    assert groups.to_dict() == tiny.groups.to_dict()
    assert accuracy.read_columns(folder, 'age', 'none', 0)[1] is None
    cut = accuracy.read_columns(folder, 'age', 'subject', 2)[0]
    assert cut.dtype == object and sorted(cut.groupby(tiny.target > tiny.target.median()).nunique()) == [1, 1]
    words = accuracy.read_columns(folder, 'subject', 'subject', 2)[0]
    assert words.to_dict() == tiny.groups.to_dict()
    few, same, others = (accuracy.read_columns(folder, 'age', 'subject', 0, 5, seed)[0] for seed in (1, 1, 2))
    assert few.to_dict() == same.to_dict() == tiny.target[few.index].to_dict() and len(few) == 5
    assert set(few.index) != set(others.index)
    with pytest.raises(SystemExit, match='--labels 99 are asked for, but there are '):
        accuracy.read_columns(folder, 'age', 'subject', 0, 99)


def test_a_cut_table_keeps_the_counts_of_its_samples(accuracy, tiny, tmp_path):
    table = biom.Table(tiny.counts.to_numpy().T, list(tiny.counts.columns), list(tiny.counts.index))
    chosen = list(tiny.counts.index[:3])
    part = biom.load_table(str(accuracy.cut(table, chosen, tmp_path / 'part.biom')))
    expected = tiny.counts.loc[chosen].loc[:, tiny.counts.loc[chosen].sum() > 0]
    np.testing.assert_array_equal(part.matrix_data.toarray().T, expected)
    assert list(part.ids()) == chosen


def test_parameters_are_read_by_their_type(accuracy):
    settings = [accuracy.setting(text) for text in ('width=64', 'epochs=auto', 'learning_rate=1e-3', 'freeze=none')]
    assert settings == [('width', 64), ('epochs', 'auto'), ('learning_rate', 0.001), ('freeze', 'none')]
    with pytest.raises(argparse.ArgumentTypeError, match='fit-regressor has no parameter depth'):
        accuracy.setting('depth=3')


@pytest.mark.slow
def test_intervals_are_counted(accuracy, monkeypatch, folder, capsys):
    run(accuracy, monkeypatch, folder, '--quick', '--set', 'memberships=8')
    table = [line.split(' | ') for line in capsys.readouterr().out.splitlines() if line.startswith('| ')]
    ours, others = dict(zip(table[0], table[1])), dict(zip(table[0], table[2]))
    assert 0 < float(ours['interval_coverage']) <= 1 and float(ours['interval_width']) > 0
    assert others['interval_coverage'] == ''


@pytest.mark.slow
def test_a_numeric_column_can_be_cut_into_classes(accuracy, monkeypatch, folder, capsys):
    run(accuracy, monkeypatch, folder, '--quick', '--classes', 2, '--set', 'memberships=8')
    text = capsys.readouterr().out
    table = [line.split(' | ') for line in text.splitlines() if line.startswith('| ')]
    assert 'balanced_accuracy' in table[0] and 'interval_coverage' not in table[0]
    assert {'| AAM', '| random_forest', '| logistic'} <= {row[0] for row in table}
    assert 'repeat 1, fold 3: ' in text and 'accuracy ' in text


def test_baselines_alone_are_for_numbers(accuracy, monkeypatch, folder):
    with pytest.raises(SystemExit, match='^accuracy.py: --methods baselines is for columns of numbers.$'):
        run(accuracy, monkeypatch, folder, '--methods', 'baselines', '--classes', 2)
