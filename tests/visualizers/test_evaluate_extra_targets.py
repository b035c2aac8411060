"""The section of an evaluation's page on extra targets, and its sentence on weights."""

import numpy as np
import pandas as pd
import pytest

from .test_evaluate import METRICS, given, metrics, page  # noqa: F401


def of_extra_targets():
    rows = [
        ('AAM', np.nan, 'all', 'all', 'weights', 0, np.nan, np.nan, np.nan, np.nan, 'They learn with weights.'),
        ('AAM', 'median', 'all', 'all', 'extra_mae_difference', 50, -0.25, np.nan, -0.5, -0.125, 'size'),
        ('AAM', np.nan, 'all', 'all', 'extra_mae', 50, 1.25, np.nan, np.nan, np.nan, 'size'),
        ('median', np.nan, 'all', 'all', 'extra_mae', 50, 1.5, np.nan, np.nan, np.nan, 'size'),
    ]
    return pd.concat([metrics(), pd.DataFrame(rows, columns=METRICS)], ignore_index=True)


def test_extra_targets_have_a_table_and_weights_a_sentence(numbers, page):  # noqa: F811
    made = page(**given(numbers, metrics=of_extra_targets()))
    assert '>Extra targets<' in made.text and 'They learn with weights.' in made.text
    table = pd.read_csv(made.folder / 'tables' / 'extra-targets.tsv', sep='\t')
    assert table.to_dict('records') == [
        {
            'extra target': 'size', 'mae': 1.25, 'r2': pytest.approx(np.nan, nan_ok=True),
            'r': pytest.approx(np.nan, nan_ok=True), 'samples': 50, 'mae of guessing the median': 1.5,
            'difference from guessing the median': '-0.5 to -0.125',
        }
    ]  # fmt: skip
    # those of the target are told of the target alone
    methods = pd.read_csv(made.folder / 'tables' / 'methods.tsv', sep='\t')
    assert list(methods) == ['method', 'mae'] and methods['mae'].tolist() == [3, 4]


def test_extra_targets_of_a_fit_are_told_from_its_details(numbers, page):  # noqa: F811
    details = numbers.details.assign(extra_size=1.0, true_extra_size=np.arange(60.0))
    made = page(**given(numbers) | {'details': details})
    table = pd.read_csv(made.folder / 'tables' / 'extra-targets.tsv', sep='\t')
    assert table['samples'].tolist() == [60] and table['mae of guessing the median'].tolist() == [15]


def test_nothing_is_said_where_there_are_none(numbers, page):  # noqa: F811
    assert '>Extra targets<' not in page(**given(numbers, metrics=metrics())).text
