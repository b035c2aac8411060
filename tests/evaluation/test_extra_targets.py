"""Extra targets: tables of what was predicted of them."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from q2_aam.evaluation.evaluated import evaluated
from q2_aam.evaluation.extra_targets import MAX_FORESTS, forests, table_of_details, table_of_metrics
from q2_aam.evaluation.verdict import METRICS_COLUMNS, metrics_row


def test_metrics_become_one_row_a_target():
    rows = [
        metrics_row('AAM', 'all', 'all', 'mae', 9, 7.0),
        metrics_row(
            'AAM', 'all', 'all', 'extra_mae_difference', 5, -2.0, against='median', lower=-3, upper=-1, note='b'
        ),
        *(metrics_row('AAM', 'all', 'all', f'extra_{name}', 5, value, note='b') for name, value in
          (('mae', 1.0), ('r2', 0.5), ('r', 0.7))),
        metrics_row('median', 'all', 'all', 'extra_mae', 5, 3.0, note='b'),
        metrics_row('AAM', 'all', 'all', 'extra_mae', 4, 2.0, note='a'),
        metrics_row('random_forest', 'all', 'all', 'extra_mae', 4, 1.5, note='a'),
    ]  # fmt: skip
    table = table_of_metrics(pd.DataFrame(rows, columns=METRICS_COLUMNS))
    assert table.index.tolist() == ['b', 'a'] and table.index.name == 'extra target'
    assert table.loc['b'].dropna().to_dict() == {
        'mae': 1.0, 'r2': 0.5, 'r': 0.7, 'samples': 5, 'mae of guessing the median': 3.0,
        'difference from guessing the median': '-3 to -1',
    }  # fmt: skip
    assert table.loc['a'].dropna().to_dict() == {'mae': 2.0, 'samples': 4, 'mae of a random forest': 1.5}
    assert table_of_metrics(pd.DataFrame(rows[:1], columns=METRICS_COLUMNS)).empty


def test_details_become_one_row_a_target_of_known_values():
    details = pd.DataFrame(
        {'extra_b': [1.0, 2, 3, 4], 'true_extra_b': [2.0, 4, 3, np.nan], 'extra_trees': 9.0, 'true_extra_c': 1.0},
        index=list('wxyz'),
    )
    table = table_of_details(details)
    assert table.index.tolist() == ['b']
    assert table.loc['b', ['mae', 'samples', 'mae of guessing the median']].tolist() == [1.0, 3, pytest.approx(2 / 3)]
    # only samples that are evaluated
    details = details.assign(part='test', prediction=[1.0, 2, 3, 4], true=[1.0, 2, 3, 5])
    details.loc['w', 'part'] = 'validation'
    found = evaluated(details['prediction'].map(str).rename('age'), details=details)
    assert found.extra_targets['samples'].tolist() == [2]
    assert evaluated(details['prediction'].map(str).rename('age'), details['true']).extra_targets.empty


def test_a_forest_a_target_up_to_a_limit_learns_from_samples_of_weight():
    random = np.random.default_rng(1)
    counts = scipy.sparse.csr_matrix(random.integers(0, 9, (12, 5)).astype(float))
    values = pd.DataFrame({f't{number}': np.arange(12.0) * (number + 1) for number in range(MAX_FORESTS + 2)})
    values['t1'] = np.nan
    made = forests(counts, values, counts, list('abcdefghijkl'), 1, 1)
    assert list(made) == [f'random_forest_extra_t{number}' for number in range(MAX_FORESTS) if number != 1]
    weights = (np.arange(12) < 6).astype(float)
    assert forests(counts, values[['t0']], counts[6:], list('abcdef'), 1, 1, weights=weights).to_numpy().max() <= 5
    assert forests(counts, values[['t0']], counts, list('abcdefghijkl'), 1, 1, weights=0 * weights).empty


def test_an_extra_target_named_like_a_baseline_is_not_taken_for_it():
    details = pd.DataFrame(
        {
            'part': 'test',
            'prediction': [1.0, 2, 3],
            'true': [1.0, 2, 4],
            'extra_trees': 7.0,
            'true_extra_trees': [6, 8, 8],
        },
        index=list('abc'),
    )
    predictions = details['prediction'].map(str).rename('age')
    found = evaluated(predictions, details=details)
    assert 'extra_trees' not in found.frame and found.extra_targets['mae'].tolist() == [1.0]
    both = details.assign(random_forest=2.0, **{'extra_trees of the model': 8.0})
    found = evaluated(predictions, details=both)
    assert found.baselines == ['random_forest', 'extra_trees']
    assert found.extra_targets['mae'].tolist() == [pytest.approx(2 / 3)]
