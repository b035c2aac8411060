"""Splits and folds that the user names: taken as they are, others ignored and counted, one sentence for what lacks."""

import numpy as np
import pandas as pd
import pytest

from q2_aam.data.given_splits import aligned_to, folds_of, parts_of, plan_of, rows_of
from q2_aam.data.labels import Labels, align_numbers
from q2_aam.errors import AAMWarning, UserError

NAMES = ['training', 'Training ', 'training', 'validation', 'validation', 'test', 'other', None]
IDS = [f's{number}' for number in range(8)]


def column(names=NAMES, name='part'):
    return pd.Series(names, index=IDS[: len(names)], dtype=object, name=name)


def labels_of(number, groups=None):
    ids = IDS[:number]
    return Labels('age', ids, np.arange(float(number)), np.array(ids if groups is None else groups, dtype=object))


def test_parts_are_read_whatever_their_case_and_anything_else_is_none():
    assert parts_of(column()).isna().tolist() == [False] * 6 + [True] * 2
    rows = rows_of(labels_of(6), parts_of(column()), 0.2)
    assert {part: of.tolist() for part, of in rows.items()} == {
        'training': [0, 1, 2], 'validation': [3, 4], 'test': [5],
    }  # fmt: skip


def test_samples_of_other_names_are_ignored_and_counted_once():
    target = pd.Series(np.arange(8.0), index=IDS, name='age')
    align = aligned_to(align_numbers, parts_of(column()), 'training or validation or test')
    with pytest.warns(AAMWarning) as warned:
        labels = align(IDS, target)
    assert [str(one.message) for one in warned] == [
        "Ignored: 2 labelled samples for which metadata column 'part' (split) is no training or validation or test "
        "(e.g. 's6')."
    ]
    assert labels.sample_ids == IDS[:6]


def test_a_column_that_names_no_part_is_refused():
    align = aligned_to(align_numbers, parts_of(column(['a'] * 8)), 'fold')
    with pytest.warns(AAMWarning), pytest.raises(UserError) as error:
        align(IDS, pd.Series(np.arange(8.0), index=IDS, name='age'))
    assert str(error.value) == (
        "Metadata column 'part' (split) names no fold for any sample of the feature table; choose another column."
    )


@pytest.mark.parametrize(
    ('names', 'part', 'found', 'rest'),
    [
        (
            ['training', 'validation', 'test'],
            '2 training samples',
            '1 training, 1 validation, 1 test',
            '',
        ),
        (['training'] * 3 + ['test'], '1 validation sample', '3 training, 0 validation, 1 test', ''),
        (
            ['training'] * 3 + ['validation'],
            '1 test sample',
            '3 training, 1 validation, 0 test',
            ', or set test_fraction to 0 to do without',
        ),
    ],
)
def test_a_part_that_is_missing_is_told_in_one_sentence(names, part, found, rest):
    with pytest.raises(UserError) as error:
        rows_of(labels_of(len(names)), parts_of(column(names)), 0.2)
    assert str(error.value) == (
        f"Metadata column 'part' (split) must name at least {part}, but of the labelled samples it names {found}; name "
        f'some{rest}.'
    )


def test_without_a_test_fraction_there_need_be_no_test_samples():
    rows = rows_of(labels_of(4), parts_of(column(['training'] * 3 + ['validation'])), 0.0)
    assert [len(of) for of in rows.values()] == [3, 1, 0]


def test_a_class_without_training_samples_is_refused():
    with pytest.raises(UserError, match=r"^Every class needs training samples, but all of 'b' \(1 labelled sample"):
        rows_of(labels_of(6), parts_of(column()), 0.2, np.array(list('aaaaab'), dtype=object))


def test_groups_that_are_divided_are_warned_of():
    groups = ['x', 'x', 'y', 'y', 'z', 'z']
    with pytest.warns(AAMWarning) as warned:
        rows_of(labels_of(6, groups), parts_of(column()), 0.2)
    assert str(warned[0].message) == (
        "Metadata column 'part' (split) puts samples of 2 groups (e.g. 'y') into more than one split: scores will be "
        'too good where samples of a group are alike.'
    )


def test_folds_are_those_of_the_names_in_order():
    folds = folds_of(column(['late', 'early', 'late', ' early', 'mid', 'mid', '', None]))
    assert folds.isna().tolist() == [False] * 6 + [True] * 2
    assert plan_of(labels_of(6), folds).tolist() == [[1, 0, 1, 0, 2, 2]]


def test_a_single_fold_or_one_of_all_groups_but_one_is_refused():
    with pytest.raises(UserError, match=r"^Metadata column 'part' \(split\) names only the fold 'a'; name two or more"):
        plan_of(labels_of(4), folds_of(column(['a'] * 4)))
    with pytest.raises(UserError) as error:
        plan_of(labels_of(4), folds_of(column(['a', 'a', 'a', 'b'])))
    assert str(error.value) == (
        "The fold 'a' holds all groups of labelled samples but one, and training and validation need one each; make "
        'smaller folds.'
    )
