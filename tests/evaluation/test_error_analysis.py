"""Intervals that respect groups, and columns that explain the error."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from q2_aam.evaluation import error_analysis
from q2_aam.evaluation.error_analysis import (
    _orders,
    benjamini_hochberg,
    bins_of,
    errors_by_category,
    explain_errors,
    mean_with_interval,
    wilson_interval,
)


def by_sample(values):
    return pd.Series(values, index=[f'S{number}' for number in range(len(values))])


def test_an_interval_of_equal_samples_of_a_group_is_as_wide_as_that_of_the_groups():
    random = np.random.default_rng(3)
    errors = random.exponential(size=40)
    once = mean_with_interval(errors, np.arange(40))
    copied = mean_with_interval(np.repeat(errors, 5), np.repeat(np.arange(40), 5))
    alone = mean_with_interval(np.repeat(errors, 5), np.arange(200))
    assert copied == pytest.approx(once)
    assert alone[2] - alone[1] < 0.6 * (once[2] - once[1])


def test_the_interval_of_many_groups_agrees_with_draws(monkeypatch):
    random = np.random.default_rng(4)
    groups = random.integers(0, 250, 900)
    errors = random.exponential(size=900) + 0.2 * random.normal(size=250)[groups]
    computed = mean_with_interval(errors, groups)
    monkeypatch.setattr(error_analysis, 'MANY_GROUPS', 10**9)
    assert computed == pytest.approx(mean_with_interval(errors, groups), rel=0.02)


def test_a_single_group_has_no_interval():
    mean, lower, upper = mean_with_interval([1.0, 3.0], ['g', 'g'])
    assert mean == 2 and np.isnan(lower) and np.isnan(upper)


def test_the_interval_of_a_share_is_wilsons():
    found = scipy.stats.binomtest(7, 10).proportion_ci(method='wilson')
    assert wilson_interval(7, 10) == pytest.approx((found.low, found.high))
    assert wilson_interval(10, 10)[1] == pytest.approx(1)


def test_adjusted_p_values_follow_the_paper():
    # the fourth of these would be below the third without the minimum over the larger ones
    adjusted = benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.005]))
    assert adjusted == pytest.approx([0.02, 0.04, 0.04, 0.02])


def test_errors_by_category_are_means_with_the_largest_first():
    errors = by_sample([1.0, 3, 10, 20, 5])
    frame = errors_by_category(errors, by_sample(['a', 'a', 'b', 'b', None]), by_sample(list('ggghi')))
    assert frame[['category', 'samples', 'groups', 'value']].values.tolist() == [['b', 2, 2, 15], ['a', 2, 1, 2]]
    assert np.isnan(frame['lower'][1]) and frame['lower'][0] <= 15 <= frame['upper'][0]


def test_bins_are_named_by_the_values_in_them():
    bins = bins_of(by_sample([1.0, 2, 3, 4, 5, 6]), 3)
    assert list(bins) == ['1 to 2'] * 2 + ['3 to 4'] * 2 + ['5 to 6'] * 2


@pytest.fixture
def study():
    random = np.random.default_rng(1)
    depth = random.permutation(100).astype(float)
    site = np.where(random.random(100) < 0.5, 'gut', 'skin')
    errors = by_sample(depth / 20 + 6 * (site == 'skin') + random.random(100))
    columns = pd.DataFrame(
        {'noise': random.normal(size=100), 'depth': depth, 'site': site, 'one': 'x', 'name': errors.index},
        index=errors.index,
    )
    return errors, columns


def test_the_columns_that_make_the_error_come_first(study):
    errors, columns = study
    tested, skipped = explain_errors(errors, columns, pd.Series(errors.index, errors.index))
    assert set(tested['column'][:2]) == {'depth', 'site'} and (tested['p_adjusted'][:2] < 0.001).all()
    assert tested['column'][2] == 'noise' and tested['p_adjusted'][2] > 0.05
    findings = tested.set_index('column')['finding']
    assert findings['depth'] == 'errors are larger where it is higher'
    assert findings['site'].startswith('largest in skin (')
    assert skipped == [('one', 'one value'), ('name', 'fewer than two categories with two values or more')]


def test_p_values_are_those_of_the_tests(study):
    errors, columns = study
    tested, _ = explain_errors(errors, columns, pd.Series(errors.index, errors.index))
    tested = tested.set_index('column')
    assert tested.loc['depth', 'p'] == pytest.approx(scipy.stats.spearmanr(errors, columns['depth'])[1])
    parts = [errors[columns['site'] == site] for site in ('gut', 'skin')]
    assert tested.loc['site', 'p'] == pytest.approx(scipy.stats.kruskal(*parts)[1])


def test_a_column_of_groups_is_tested_on_groups():
    # 6 subjects of 50 samples each: between two kinds of 3 subjects, no test can find much
    random = np.random.default_rng(2)
    subject = np.repeat(np.arange(6), 50)
    errors = by_sample(random.normal(size=6)[subject] + 0.01 * random.normal(size=300))
    columns = pd.DataFrame({'kind': np.where(subject < 3, 'a', 'b')}, index=errors.index)
    alone, _ = explain_errors(errors, columns, by_sample(range(300)))
    grouped, _ = explain_errors(errors, columns, by_sample(list(subject)))
    assert alone['p'][0] < 1e-6 and alone['units'][0] == '300 samples'
    assert grouped['p'][0] > 0.04 and grouped['units'][0] == '6 groups'


def grouped_study(seed):
    """40 groups of 5 samples, whose errors and columns differ between groups, and a little within."""
    random = np.random.default_rng(seed)
    subject = np.repeat(np.arange(40), 5)
    errors = by_sample(random.normal(size=40)[subject] + 0.2 * random.normal(size=200))
    kind = (random.random(40) < 0.5)[subject] ^ (random.random(200) < 0.05)
    columns = pd.DataFrame(
        {'visits': random.normal(size=40)[subject] + 0.2 * random.normal(size=200), 'kind': np.where(kind, 'a', 'b')},
        index=errors.index,
    )
    return errors, columns, by_sample([f'S{number}' for number in subject])


def test_a_column_that_varies_within_groups_is_tested_by_permutations_that_keep_groups_together():
    found, by_chance = {'samples': 0, 'groups': 0}, 20
    for seed in range(by_chance):
        errors, columns, groups = grouped_study(seed)
        for how, given in (('samples', by_sample(range(200))), ('groups', groups)):
            found[how] += int((explain_errors(errors, columns, given)[0]['p'] < 0.05).sum())
    # of 40 tests of columns that have nothing to do with the errors, 2 are to be expected
    assert found['samples'] > 15 and found['groups'] <= 6
    tested, _ = explain_errors(errors, columns, groups)
    assert set(tested['test']) == {'Spearman, groups permuted', 'Kruskal-Wallis, groups permuted'}
    assert (tested['units'] == '200 samples of 40 groups').all()


def test_what_explains_errors_within_groups_is_found():
    errors, columns, groups = grouped_study(1)
    columns['dose'] = np.random.default_rng(9).normal(size=200)
    columns['batch'] = np.where(columns['dose'] > 0, 'x', 'y')
    tested, _ = explain_errors(errors + columns['dose'], columns, groups)
    assert set(tested['column'][:2]) == {'dose', 'batch'}
    # no permutation of 999 does as well
    assert (tested['p'][:2] == 1 / 1000).all() and (tested['p'][2:] > 0.01).all()
    again, _ = explain_errors(errors + columns['dose'], columns, groups)
    assert again.equals(tested)


def test_permutations_move_whole_blocks_of_one_size():
    block = np.array([0, 0, 1, 2, 2, 3])
    orders = _orders(block, 500, np.random.default_rng(1))
    assert (np.sort(orders, axis=1) == np.arange(6)).all() and len(np.unique(orders, axis=0)) == 2 * 2 * 2 * 2
    for order in orders:
        assert block[order[0]] == block[order[1]] and block[order[3]] == block[order[4]]
        assert set(order[[2, 5]]) == {2, 5}
