"""The benchmark of few labels: what is drawn, what heads on embeddings say, and what its table counts."""

import importlib
import json
import pathlib

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def few_labels(monkeypatch):
    """Import the script as it is when it runs."""
    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).parent))
    return importlib.import_module('few_labels')


def test_some_labels_of_each_class_are_drawn(few_labels):
    values = np.array(['rare'] * 4 + ['common'] * 96, dtype=object)
    rows = np.arange(2, 100)
    for seed in range(5):
        drawn = few_labels.drawn(values, rows, 20, np.random.default_rng(seed))
        assert len(set(drawn)) == 20 and set(drawn) <= set(rows) and (values[drawn] == 'rare').sum() == 2
    numbers = few_labels.drawn(np.arange(100.0), rows, 20, np.random.default_rng(1))
    assert len(set(numbers)) == 20 and set(numbers) <= set(rows)


def test_nearest_prototypes_are_means_of_groups(few_labels, monkeypatch):
    monkeypatch.setattr(few_labels, 'NEAREST', 1)
    one = np.array([[0.0], [2.0], [10.0], [11.0]])
    groups = np.array(['a', 'a', 'b', 'c'], dtype=object)
    # those of a are at 1, though its samples are at 0 and 2
    values = few_labels.nearest_prototypes(one, np.array([[2.4], [10.9]]), np.array([4.0, 6.0, 1.0, 3.0]), groups)
    assert values.ravel().tolist() == [5.0, 3.0]
    labels = np.array(['x', 'x', 'y', 'y'], dtype=object)
    assert few_labels.nearest_prototypes(one, np.array([[2.4], [10.9]]), labels, groups).tolist() == [[1, 0], [0, 1]]


def test_a_linear_head_finds_what_is_linear(few_labels):
    random = np.random.default_rng(3)
    one, other = random.normal(size=(40, 5)), random.normal(size=(30, 5))
    line = random.normal(size=5)
    predicted = few_labels.linear_head(one, other, one @ line, 1)
    assert predicted.ravel() == pytest.approx(other @ line, abs=0.05)
    labels = np.where(one @ line > 0, 'up', 'down').astype(object)
    probabilities = few_labels.linear_head(one, other, labels, 1)
    assert ((probabilities[:, 1] > 0.5) == (other @ line > 0)).mean() > 0.9


def test_the_table_has_means_of_draws_and_only_finished_tasks(few_labels, tmp_path, capsys):
    methods = ['AAM', 'extra_trees', 'embedding_linear']
    for task, errors in (('first', (1, 2, 4)), ('second', (3, 1, 2)), ('open', (1, 1))):
        (tmp_path / task).mkdir()
        for method, error in zip(methods, errors):
            for draw in (1, 2):
                # errors of the two draws are on both sides of their mean
                predicted = [[5.0 + error + (-1) ** draw * 0.5]] * 2
                result = {
                    'settings': {'folds': 1}, 'ids': ['a', 'b'], 'groups': ['a', 'b'], 'true': [5.0, 5.0],
                    'columns': ['prediction'], 'predicted': predicted,
                }  # fmt: skip
                (tmp_path / task / f'{method}-{draw}-1.json').write_text(json.dumps(result))
    errors = few_labels.errors_of(tmp_path, methods, 2)
    expected = pd.DataFrame([[1.0, 2.0, 4.0], [3.0, 1.0, 2.0]], ['first', 'second'], methods)
    pd.testing.assert_frame_equal(errors, expected)
    few_labels.say(20, errors)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-3:] for line in lines if line.startswith('mean rank')] == [['2.00', '1.50', '2.50']]
    assert [line.split()[-3:] for line in lines if line.startswith('less than')] == [['1', '0', '0']]
