"""Each site is left out once, with the groups that it has, and what happens there is said in a sentence and in rows."""

import warnings

import numpy as np
import pandas as pd
import pytest

from q2_aam.errors import AAMWarning, UserError
from q2_aam.evaluation.out_of_fold import OURS, OutOfFold
from q2_aam.evaluation.sites import MAX_SITES, compare_sites, plan_sites
from q2_aam.evaluation.verdict import METRICS_COLUMNS


def refusal(*given):
    with pytest.raises(UserError) as error:
        plan_sites(*given)
    return str(error.value)


def test_samples_of_a_site_are_tested_by_those_of_others_without_a_group_in_common():
    sites = np.array(['b', 'b', 'a', 'a', None, 'c', np.nan, 'c', 'a'], dtype=object)
    groups = np.array(['1', '2', '3', '4', '5', '6', '7', '2', '3'], dtype=object)
    plan = plan_sites(sites, groups)
    assert [site.name for site in plan] == ['a', 'b', 'c']
    tested = [np.flatnonzero(site.tested).tolist() for site in plan]
    learned = [np.flatnonzero(site.learned).tolist() for site in plan]
    # samples without a site are learned from, and never tested; group 2 is at two sites
    assert tested == [[2, 3, 8], [0, 1], [5, 7]]
    assert learned == [[0, 1, 4, 5, 6, 7], [2, 3, 4, 5, 6, 8], [0, 2, 3, 4, 6, 8]]
    for site in plan:
        assert not set(groups[site.tested]) & set(groups[site.learned])


def test_less_than_two_sites_are_refused():
    groups = np.arange(3).astype(str).astype(object)
    assert refusal(np.array(['gut', 'gut', None], dtype=object), groups) == (
        "Leaving out sites needs labelled samples of 2 sites or more, but there is 1 ('gut'); give another column of "
        'sites, or none.'
    )
    assert refusal(np.array([None] * 3, dtype=object), groups).startswith(
        'Leaving out sites needs labelled samples of 2 sites or more, but there are 0; give'
    )


def test_a_site_that_has_a_sample_of_every_group_but_one_is_refused():
    sites = np.array(['gut', 'skin', 'gut', 'skin', 'skin'], dtype=object)
    groups = np.array(['1', '1', '2', '2', '3'], dtype=object)
    assert refusal(sites, groups) == (
        "Where site 'gut' is left out, 1 group without a sample there would be left, and training and validation need "
        'one each; give a column of sites that groups lie within, or give no groups.'
    )


def test_a_site_with_all_samples_of_a_class_is_refused():
    sites = np.repeat(np.array(['a', 'b', 'c'], dtype=object), 4)
    classes = np.array(['x', 'y'] * 4 + ['x', 'y', 'z', 'z'], dtype=object)
    groups = np.arange(12).astype(str).astype(object)
    assert refusal(sites, groups, classes) == (
        "Where site 'c' is left out, training needs two groups of every class without a sample there, but of 'z' there "
        'are fewer; merge classes, or give a column of sites each of which has most classes.'
    )
    classes[8:] = ['x', 'y', 'x', 'y']
    assert len(plan_sites(sites, groups, classes)) == 3
    assert len(plan_sites(sites, groups)) == 3


def test_of_many_sites_the_largest_are_left_out_with_a_warning():
    numbers = np.r_[np.arange(30), np.repeat(np.arange(5, 30), 2), np.repeat(np.arange(9, 28), 2)]
    sites = np.array([f'site{number:02d}' for number in numbers], dtype=object)
    groups = np.arange(len(sites)).astype(str).astype(object)
    with pytest.warns(AAMWarning) as messages:
        plan = plan_sites(sites, groups)
    assert [str(one.message) for one in messages] == [
        f'There are 30 sites, and each that is left out costs a fit: only the {MAX_SITES} with most labelled samples '
        'are left out, those with fewer than 3 stay in training.'
    ]
    assert [site.name for site in plan] == [f'site{number:02d}' for number in [5, *range(9, 28)]]
    assert all(site.learned.sum() == len(sites) - site.tested.sum() for site in plan)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert len(plan_sites(sites[numbers < MAX_SITES], groups[numbers < MAX_SITES])) == MAX_SITES


def out_of_fold(errors, folds, classes=()):
    ids = np.array([f's{number}' for number in range(len(folds))], dtype=object)
    true = np.zeros(len(folds)) if not classes else np.arange(len(folds)) % 2.0
    return OutOfFold('age', ids, ids, np.zeros(len(folds), int), np.array(folds), true, errors, classes)


def test_what_happens_on_sites_is_said_in_rows_and_in_a_sentence():
    folds = [0, 0, 0, 0, 1, 1]
    of_sites = out_of_fold(
        {
            OURS: np.array([2.0, 2, 2, 2, 5, 5]),
            'ridge': np.array([9.0, 9, 9, 9, 9, 9]),
            'extra_trees': np.array([1.0, 1, 1, 1, 2.5, 2.5]),
            'median': np.array([4.0, 4, 4, 4, 4, 4]),
        },
        folds,
    )
    usual = out_of_fold({OURS: np.array([0.5, 0.5, 1.0, 1.0, 0.75, 0.75])}, folds)
    rows, sentence = compare_sites(of_sites, ['Graz', 'Ulm'], [False, True, False, False, True, True], usual)
    assert sentence == (
        'On sites left out (2 of them, 6 samples), AAM has a mean absolute error of 3 (best baseline, extra trees: '
        '1.5; guessing the median: 4), and 50% of the samples are flagged; in ordinary folds '
        "AAM has 0.75, and on the site where it does worst, 'Ulm', 5."
    )
    frame = pd.DataFrame(rows, columns=METRICS_COLUMNS).set_index(['fold', 'method', 'metric'])
    assert frame.index.get_level_values('fold').unique().tolist() == ['sites', 'site: Graz', 'site: Ulm']
    values = frame['value']
    assert values['sites', OURS, 'mae'] == 3 and values['site: Graz', OURS, 'mae'] == 2
    assert values['site: Ulm', 'extra_trees', 'mae'] == 2.5 and values['site: Ulm', 'median', 'mae'] == 4
    shares = [values[part, OURS, 'share_flagged'] for part in ('sites', 'site: Graz', 'site: Ulm')]
    assert shares == [0.5, 0.25, 1.0]
    assert frame['samples']['site: Ulm', 'ridge', 'mae'] == 2 and (frame['repeat'] == 'all').all()
    assert not frame['value'].isna().any()


def test_a_guess_that_is_best_is_told_once_and_without_baselines_ours_is_told():
    of_sites = out_of_fold({OURS: np.full(4, 6.0), 'ridge': np.full(4, 9.0), 'median': np.full(4, 4.0)}, [0, 0, 1, 1])
    sentence = compare_sites(of_sites, ['a', 'b'], [False] * 4, of_sites)[1]
    assert sentence.startswith(
        'On sites left out (2 of them, 4 samples), AAM has a mean absolute error of 6 (best baseline, guessing the '
        'median: 4), and 0% of the samples are flagged; in ordinary folds AAM has 6,'
    )
    alone = out_of_fold({OURS: np.full(4, 6.0)}, [0, 0, 1, 1])
    sentence = compare_sites(alone, ['a', 'b'], [False] * 4, alone)[1]
    assert sentence.startswith('On sites left out (2 of them, 4 samples), AAM has a mean absolute error of 6, and 0% ')


def test_of_classes_it_is_the_balanced_accuracy_and_a_site_without_one_is_scored_by_those_that_it_has():
    right, wrong = np.tile([[0.9, 0.1], [0.1, 0.9]], (3, 1)), np.tile([[0.1, 0.9], [0.9, 0.1]], (3, 1))
    ours = np.concatenate([right[:4], wrong[:2]])
    of_sites = out_of_fold({OURS: ours, 'majority': np.tile([0.6, 0.4], (6, 1))}, [0, 0, 0, 0, 1, 1], ('x', 'y'))
    rows, sentence = compare_sites(of_sites, ['a', 'b'], [False] * 6, of_sites)
    assert (
        'AAM has a balanced accuracy of 0.667 (best baseline, guessing the majority class: 0.5), ' in sentence
        and sentence.endswith("'b', 0.")
    )
    values = {(row['fold'], row['method'], row['metric']): row['value'] for row in rows}
    assert values['site: a', OURS, 'balanced_accuracy'] == 1 and values['site: b', OURS, 'balanced_accuracy'] == 0
