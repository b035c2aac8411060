"""Folds are made of whole groups, are alike in the target, and are the same for the same seed."""

import numpy as np
import pytest

from q2_aam.errors import UserError
from q2_aam.evaluation.folds import assign_folds, check_classes, plan_folds, seed_of_fit, strata_of


def test_samples_of_a_group_are_never_in_two_folds_and_every_sample_is_in_one():
    random = np.random.default_rng(1)
    groups = np.array([f'infant{number}' for number in random.integers(0, 31, 126)], dtype=object)
    plan = plan_folds(random.normal(size=126), groups, folds=5, repeats=3, seed=4)
    assert plan.shape == (3, 126)
    for folds in plan:
        assert set(folds) == {0, 1, 2, 3, 4}
        assert all(len(set(folds[groups == group])) == 1 for group in set(groups))


def test_folds_have_equal_size_and_are_alike_in_the_target_where_samples_are_independent():
    values = np.arange(100.0)
    (folds,) = plan_folds(values, [f's{number}' for number in range(100)], folds=5, repeats=1, seed=1)
    assert np.bincount(folds).tolist() == [20] * 5
    # each fold has 4 of each fifth of the values, so that its mean is known to a fifth's width
    fifths = np.stack([np.bincount(folds[start : start + 20], minlength=5) for start in range(0, 100, 20)])
    assert (fifths == 4).all()


def test_classes_are_divided_evenly_as_far_as_groups_allow():
    classes = np.array(['sick'] * 10 + ['well'] * 30, dtype=object)
    (folds,) = plan_folds(classes, np.arange(40).astype(str), folds=5, repeats=1, seed=1)
    assert np.bincount(folds[:10]).tolist() == [2] * 5
    assert np.bincount(folds[10:]).tolist() == [6] * 5


def test_each_fold_gets_one_whole_group_of_each_fifth_of_the_target():
    member = np.repeat(np.arange(25), 4)
    values = np.repeat(np.arange(25.0), 4)
    folds = assign_folds(member, strata_of(values), 5, np.random.default_rng(3))
    for fold in range(5):
        assert sorted(set(member[folds == fold] // 5)) == [0, 1, 2, 3, 4]


def test_repeats_differ_and_a_seed_gives_the_same_folds_again():
    values, groups = np.arange(40.0), np.arange(40) // 2
    first, second = plan_folds(values, groups, 4, 2, seed=9)
    assert not np.array_equal(first, second)
    assert np.array_equal(plan_folds(values, groups, 4, 2, seed=9), [first, second])
    assert not np.array_equal(plan_folds(values, groups, 4, 1, seed=8)[0], first)


def test_each_group_is_a_fold_where_one_is_left_out():
    groups = np.array(list('bbacca'))
    plan = plan_folds(np.arange(6.0), groups, folds=2, repeats=2, seed=1, leave_one_group_out=True)
    assert plan.tolist() == [[1, 1, 0, 2, 2, 0]] * 2


def test_no_fold_is_empty_with_as_many_folds_as_groups():
    plan = plan_folds(np.array([1.0, 1, 1, 5]), np.arange(4), folds=4, repeats=5, seed=1)
    assert all(sorted(folds) == [0, 1, 2, 3] for folds in plan)


@pytest.mark.parametrize(
    'groups, more, sentence',
    [
        (
            list('aabb'),
            {'folds': 5},
            'Cross-validation in 5 folds needs at least 5 groups of labelled samples (each sample is a group if no '
            'groups are given), but there are 2; lower folds.',
        ),
        (
            list('aabb'),
            {'folds': 2, 'leave_one_group_out': True},
            'Cross-validation by leaving one group out needs at least 3 groups of labelled samples (each sample is a '
            'group if no groups are given), but there are 2; label samples of more groups.',
        ),
    ],
)
def test_too_few_groups_are_refused_in_one_sentence(groups, more, sentence):
    with pytest.raises(UserError) as caught:
        plan_folds(np.arange(4.0), groups, repeats=1, seed=1, **more)
    assert str(caught.value) == sentence


def test_a_fold_that_leaves_a_single_group_is_refused_in_one_sentence():
    sentence = (
        r'^Fold \d of 2 holds all groups of labelled samples but one, and training and validation need one each; raise '
        'folds, or label samples of more groups.$'
    )
    with pytest.raises(UserError, match=sentence):
        plan_folds(np.arange(6.0), list('aabbcc'), 2, 1, 1)
    assert plan_folds(np.arange(6.0), list('aabbcc'), 3, 1, 1).max() == 2


def test_a_class_that_a_fold_would_take_away_is_refused_by_name():
    classes = np.array(['rare'] * 2 + ['common'] * 6, dtype=object)
    groups = np.arange(8).astype(str)
    plan = np.array([[0, 1, 0, 1, 2, 0, 1, 2]])
    with pytest.raises(UserError) as caught:
        check_classes(classes, groups, plan)
    assert str(caught.value) == (
        'Cross-validation needs two groups of every class outside of each fold, one for training and one for '
        "validation: too small is 'rare' (2 labelled samples in 2 groups, 1 outside of fold 1); merge with other "
        'classes or leave such samples without a value.'
    )
    check_classes(classes[2:], groups[2:], plan[:, 2:])


def test_seeds_of_fits_are_different_and_positive():
    seeds = [seed_of_fit(1, repeat, fold) for repeat in range(10) for fold in range(10)]
    assert len(set(seeds)) == 100 and min(seeds) > 0
    assert seed_of_fit(1, 3, 4) == seeds[34]


def test_strata_of_numbers_are_their_fifths_and_of_words_the_words():
    assert strata_of(np.arange(10.0)).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert strata_of(np.array([0.0] * 8 + [1, 2])).max() < 5
    assert strata_of(['b', 'a', 'b']).tolist() == [1, 0, 1]


def test_all_classes_that_folds_would_take_away_are_named_with_their_worst_fold():
    classes = np.array(['rare'] * 2 + ['once'] + ['common'] * 6, dtype=object)
    plan = np.array([[0, 1, 2, 0, 1, 0, 1, 2, 2], [0, 0, 1, 0, 1, 0, 1, 2, 2]])
    with pytest.raises(UserError) as caught:
        check_classes(classes, np.arange(9).astype(str), plan)
    assert (
        "too small are 'once' (1 labelled sample in 1 group, none outside of fold 2), 'rare' (2 labelled samples in 2 "
        'groups, none outside of fold 1); '
    ) in str(caught.value)
