"""Charts: their marks are counted in their specifications."""

import numpy as np
import pandas as pd
import pytest

from q2_aam.visualizers import charts
from q2_aam.visualizers.chart_parts import MAX_MARKS, PALETTE, few_values, thinned


def patched(spec, variant):
    """Return what a specification becomes when a reader chooses a variant."""
    import copy

    spec = copy.deepcopy(spec)
    for path, value in variant.patches:
        place = spec
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
    return spec


def marks(spec):
    return [layer['mark']['type'] for layer in spec['layer']]


@pytest.fixture
def samples():
    random = np.random.default_rng(1)
    return pd.DataFrame(
        {
            'true': random.random(30), 'predicted': random.random(30), 'low': 0.0, 'high': 1.0,
            'site.a[0]': np.where(np.arange(30) % 2, 'gut', 'skin'), 'weight': np.where(np.arange(30), 1.5, np.nan),
        }
    )  # fmt: skip


def scatter(samples, **more):
    columns = ['site.a[0]', 'weight']
    return charts.scatter(samples, 'true', 'predicted', ('true', 'predicted'), ['true'], columns, **more)


def test_a_scatter_plot_has_a_point_a_sample_with_its_interval(samples):
    spec, _ = scatter(samples, bounds=('low', 'high'), diagonal=True)
    assert marks(spec) == ['line', 'rule', 'point'] and len(spec['datasets']['rows']) == 30
    assert spec['layer'][1]['encoding']['y2']['field'] == 'c3'
    assert spec['width'] == 'container' and '30 samples' in spec['description']


def test_points_take_the_colours_of_a_column_and_so_do_their_intervals(samples):
    spec, variants = scatter(samples, bounds=('low', 'high'))
    assert [variant.label for variant in variants] == ['one colour', 'site.a[0]', 'weight']
    for layer in patched(spec, variants[1])['layer']:
        scale = layer['encoding']['color']['scale']
        assert (scale['domain'], scale['range']) == (['gut', 'skin'], list(PALETTE[:2]))
    coloured = patched(spec, variants[2])['layer'][1]['encoding']['color']
    assert coloured['condition']['test'] == 'isValid(datum.c5)'


def test_names_of_columns_are_in_no_expression(samples):
    spec, variants = scatter(samples)
    fields = {name for row in spec['datasets']['rows'] for name in row}
    assert fields == {f'c{number}' for number in range(4)}


def test_values_that_are_missing_or_infinite_are_null():
    columns = charts.Columns(pd.DataFrame({'x': [1.23456789, np.nan, np.inf], 'y': ['a', None, pd.NA]}))
    assert columns.values == [{'c0': 1.23457, 'c1': 'a'}, {'c0': None, 'c1': None}, {'c0': None, 'c1': None}]


def test_many_samples_are_thinned_and_it_is_said():
    frame = pd.DataFrame({'x': range(10_000)})
    drawn, said = thinned(frame)
    assert len(drawn) == MAX_MARKS and drawn['x'].is_monotonic_increasing
    assert said == ' 1,000 of 10,000 samples are drawn; the table has all of them.'
    assert thinned(frame[:MAX_MARKS])[1] == '' and thinned(frame)[0].equals(drawn)


def test_rare_values_share_a_colour():
    column = few_values(pd.Series([*'aaabbbccddeeffgghij', None]))
    assert column.nunique() == len(PALETTE)
    assert set(column) >= {'a', 'b', 'other (4 values)'} and column.iloc[-1] == 'other (4 values)'


def test_rows_without_an_interval_are_drawn_and_it_is_said():
    one = pd.DataFrame({'label': ['a', 'b'], 'value': [1.0, 2], 'lower': [0.5, np.nan], 'upper': [2.0, np.nan]})
    spec, variants = charts.intervals({'first': one, 'second': one[:1]}, 'error', marked=0.0)
    assert marks(spec) == ['rule', 'point', 'rule']
    rows = [list(row.values()) for row in spec['datasets']['rows']]
    assert rows == [['a', 1.0, '0.5 to 2', 0.5, 2.0], ['b', 2.0, 'unknown', 2.0, 2.0]]
    second = patched(spec, variants[1])
    assert len(second['datasets']['rows']) == 1 and second['layer'][0]['encoding']['y']['sort'] == ['a']


def test_a_matrix_has_a_cell_for_each_pair():
    frame = pd.DataFrame([[1, 2, 3], [4, 5, 6]], index=['a', 'b'], columns=['x', 'y', 'z'])
    spec = charts.heatmap(frame, ('row', 'column'))
    assert marks(spec) == ['rect', 'text'] and [row['c2'] for row in spec['datasets']['rows']] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize('names, angle', [(['bd', 'fd'], 0), (['vaginal posterior fornix', 'vaginal introitus'], -40)])
def test_names_of_columns_are_level_where_there_is_room_for_them_on_a_phone(names, angle):
    spec = charts.heatmap(pd.DataFrame(np.eye(2), names, names), ('true class', 'predicted class'))
    assert spec['layer'][0]['encoding']['x']['axis']['labelAngle'] == angle


def test_lines_have_a_band_where_there_is_one():
    frame = pd.DataFrame({'x': [0, 1], 'y': [0, 1], 'series': 'a'})
    assert marks(charts.curves(frame, ('x', 'y'))) == ['line']
    banded = charts.curves(frame.assign(lower=0.0, upper=1.0), ('x', 'y'), (0, 1), (0, 1))
    assert marks(banded) == ['line', 'area', 'line']
