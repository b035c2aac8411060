"""The history: metrics and points in order, at most 1,000 points for a plot and part, written as two tidy files."""

import numpy as np
import pandas as pd
import pytest

from q2_aam.runtime import history as names
from q2_aam.runtime.history import HISTORY_FILE, MAX_POINTS, History


@pytest.fixture
def generator():
    return np.random.default_rng(1)


def test_metrics_are_found_by_part_and_name_in_the_order_in_which_they_were_logged():
    history = History()
    history.log(3, 1, 'training', loss=2.0, r=0.1)
    history.log(3, 1, 'validation', loss=2.5)
    history.log(6, 2, 'training', loss=np.float32(1.5))
    assert history.series('training', 'loss') == [2.0, 1.5]
    assert history.series('validation', 'loss') == [2.5]
    assert history.series('validation', 'r') == []
    assert history.rows[0] == (3, 1, 'training', 'loss', 2.0)


def test_up_to_1000_points_are_all_kept(generator):
    history = History()
    history.add_points('target', 'test', np.arange(MAX_POINTS), np.zeros(MAX_POINTS), generator)
    assert [row[2] for row in history.points] == list(range(1000))


def test_more_points_are_thinned_to_1000_for_each_plot_and_part(generator):
    history = History()
    many = np.arange(5000.0)
    history.add_points('distance', 'validation', many, many + 0.5, generator)
    history.add_points('distance', 'training', many, many, generator)
    validation = [row for row in history.points if row[1] == 'validation']
    assert len(validation) == 1000 and len(history.points) == 2000
    # pairs stay pairs, none stands twice, and none of the range is favoured
    assert all(true == predicted + 0.5 for _, _, predicted, true in validation)
    assert len({row[2] for row in validation}) == 1000
    assert abs(np.mean([row[2] for row in validation]) - 2500) < 150


def test_many_points_need_a_generator_and_few_do_not():
    history = History()
    history.add_points('target', 'test', [0.5], [1.0])
    assert history.points == [('target', 'test', 0.5, 1.0)]
    with pytest.raises(ValueError, match='^1,001 points need a generator that draws 1,000 of them$'):
        history.add_points('target', 'test', np.zeros(1001), np.zeros(1001))


def test_the_last_value_of_each_metric_of_a_part_is_at_hand():
    history = History()
    history.log(3, 1, 'validation', mae=2.0, r=0.5)
    history.log(6, 2, 'validation', mae=1.0)
    history.log(6, 2, 'training', loss=3.0)
    assert history.last('validation') == {'mae': 1.0, 'r': 0.5}


def test_both_files_are_written_with_their_columns_and_exact_numbers(tmp_path, generator):
    history = History()
    history.log(1, 1, 'training', loss=1 / 3, r=float('nan'))
    history.add_points('target', 'test', np.array([0.1]), np.array([2.0]), generator)
    history.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['history.tsv', 'points.tsv']
    rows = pd.read_csv(tmp_path / names.HISTORY_FILE, sep='\t')
    assert tuple(rows.columns) == names.HISTORY_COLUMNS == ('step', 'epoch', 'part', 'metric', 'value')
    assert rows['value'][0] == 1 / 3 and np.isnan(rows['value'][1])
    assert (tmp_path / names.POINTS_FILE).read_text() == 'plot\tpart\tpredicted\ttrue\ntarget\ttest\t0.1\t2.0\n'


def test_rows_read_from_json_are_those_that_were_logged():
    history = History()
    history.log(1, 1, 'training', loss=0.1)
    assert History([list(row) for row in history.rows]).rows == history.rows


def test_costs_of_epochs_are_in_the_file_and_no_rows_that_two_runs_share(tmp_path):
    history = History([(1, 1, 'training', 'loss', 1.0)])
    history.cost(4, 1, seconds=2, memory_gb=0.25)
    assert history.rows == [(1, 1, 'training', 'loss', 1.0)]
    history.save(tmp_path)
    lines = (tmp_path / HISTORY_FILE).read_text('utf-8').splitlines()
    assert lines[2:] == ['4\t1\trun\tseconds\t2.0', '4\t1\trun\tmemory_gb\t0.25']
