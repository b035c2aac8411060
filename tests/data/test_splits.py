"""Splits are made of whole groups, by their names and sizes alone."""

import inspect

import numpy as np
import pytest

from q2_aam.data.splits import TEST, TRAINING, VALIDATION, check_classes, hold_out, split_samples
from q2_aam.errors import UserError


def generator(seed=0):
    return np.random.default_rng(seed)


def subjects(seed=1, number=30):
    """Subjects of 1 to 6 samples."""
    sizes = generator(seed).integers(1, 7, number)
    return np.repeat([f'subject-{i}' for i in range(number)], sizes).astype(object)


@pytest.mark.parametrize('seed', range(5))
def test_no_group_is_divided(seed):
    groups = subjects()
    splits = split_samples(groups, 0.2, 0.2, generator(seed))
    assert set(splits) == {TRAINING, VALIDATION, TEST}
    for group in set(groups):
        assert len(set(splits[groups == group])) == 1


@pytest.mark.parametrize('seed', range(5))
def test_the_fractions_are_met_up_to_half_a_group(seed):
    groups = subjects()
    splits = split_samples(groups, 0.2, 0.2, generator(seed))
    tests = (splits == TEST).sum()
    assert abs(tests - 0.2 * len(groups)) <= 3
    assert abs((splits == VALIDATION).sum() - 0.2 * (len(groups) - tests)) <= 3


def test_independent_samples_meet_the_fractions_exactly():
    splits = split_samples([f's{i}' for i in range(100)], 0.2, 0.25, generator())
    assert [(splits == split).sum() for split in (TRAINING, VALIDATION, TEST)] == [60, 20, 20]


def test_the_same_seed_gives_the_same_splits_and_another_seed_others():
    groups = subjects()
    one = split_samples(groups, 0.2, 0.2, generator(5))
    np.testing.assert_array_equal(split_samples(groups, 0.2, 0.2, generator(5)), one)
    assert (split_samples(groups, 0.2, 0.2, generator(6)) != one).any()


def test_the_order_of_samples_does_not_matter():
    groups = subjects()
    order = generator(9).permutation(len(groups))
    np.testing.assert_array_equal(
        split_samples(groups[order], 0.2, 0.2, generator()), split_samples(groups, 0.2, 0.2, generator())[order]
    )


def test_no_label_but_a_class_can_reach_the_choice_of_splits():
    signature = inspect.signature(split_samples)
    assert list(signature.parameters) == ['groups', 'test_fraction', 'validation_fraction', 'generator', 'classes']
    assert signature.parameters['classes'].default is None


@pytest.mark.parametrize('seed', range(5))
def test_one_class_for_all_divides_as_no_class_does(seed):
    samples = [f's{i}' for i in range(33)]
    np.testing.assert_array_equal(
        split_samples(samples, 0.2, 0.2, generator(seed), ['x'] * 33), split_samples(samples, 0.2, 0.2, generator(seed))
    )


@pytest.mark.parametrize('seed', range(5))
def test_each_split_has_its_share_of_each_class_where_samples_are_independent(seed):
    classes = np.array(['common'] * 100 + ['less'] * 50 + ['rare'] * 10, dtype=object)
    splits = split_samples([f's{i}' for i in range(160)], 0.2, 0.25, generator(seed), classes)
    for name, shares in (('common', [60, 20, 20]), ('less', [30, 10, 10]), ('rare', [6, 2, 2])):
        assert [(splits[classes == name] == split).sum() for split in (TRAINING, VALIDATION, TEST)] == shares


@pytest.mark.parametrize('seed', range(10))
def test_classes_are_shared_out_as_well_as_whole_groups_allow(seed):
    groups = subjects(seed, number=60)
    # a group is of one class, so that splits blind to classes miss many of them
    classes = np.array([f'class-{int(group.split("-")[1]) % 3}' for group in groups], dtype=object)
    splits = split_samples(groups, 0.2, 0.2, generator(seed), classes)
    for group in set(groups):
        assert len(set(splits[groups == group])) == 1
    for name in set(classes):
        of_class = splits[classes == name]
        # half of the largest group
        assert abs((of_class == TEST).sum() - 0.2 * len(of_class)) <= 3
        assert (of_class == TRAINING).sum() > 0.5 * len(of_class)


@pytest.mark.parametrize('seed', range(10))
def test_classes_of_two_samples_make_up_the_splits_and_each_can_be_learned(seed):
    classes = np.repeat([f'class-{i}' for i in range(10)], 2).astype(object)
    splits = split_samples([f's{i}' for i in range(20)], 0.2, 0.2, generator(seed), classes)
    assert [(splits == split).sum() for split in (TRAINING, VALIDATION, TEST)] == [13, 3, 4]
    assert set(classes[splits == TRAINING]) == set(classes)


def test_a_class_that_groups_leave_nothing_of_to_learn_from_is_named_with_its_numbers():
    # each class is in two of the groups, and two groups go to the test and the validation split
    groups = np.repeat(['one', 'two', 'three'], 4).astype(object)
    classes = np.array(['a', 'a', 'b', 'b', 'b', 'b', 'c', 'c', 'c', 'c', 'a', 'a'], dtype=object)
    with pytest.raises(UserError) as error:
        split_samples(groups, 0.2, 0.2, generator(), classes)
    assert str(error.value) == (
        "Every class needs training samples, but all of 'b' (4 labelled samples in 2 groups) are in the validation and "
        'test splits; label more groups of such classes, lower the fractions or merge them with other classes.'
    )


@pytest.mark.parametrize('seed', range(5))
def test_a_test_fraction_of_0_leaves_two_splits(seed):
    splits = split_samples(subjects(), 0.0, 0.2, generator(seed))
    assert set(splits) == {TRAINING, VALIDATION}


def test_a_fraction_of_0_holds_out_nothing():
    assert hold_out(subjects(), 0.0, generator()).sum() == 0


def test_no_samples_hold_out_nothing():
    assert hold_out([], 0.5, generator()).tolist() == []


@pytest.mark.parametrize('fraction', [1e-6, 0.01, 0.3])
def test_any_fraction_above_0_holds_out_one_group_at_least(fraction):
    assert hold_out(['a', 'b', 'c'], fraction, generator()).sum() == 1


@pytest.mark.parametrize('seed', range(10))
def test_a_group_that_is_far_too_large_is_passed_over_while_others_fit(seed):
    groups = np.array(['giant'] * 60 + [f's{i}' for i in range(40)], dtype=object)
    held = hold_out(groups, 0.2, generator(seed))
    assert held.sum() == 20 and not held[:60].any()


@pytest.mark.parametrize('seed', range(5))
def test_where_every_group_is_too_large_the_smallest_is_hold_out(seed):
    groups = np.repeat(['a', 'b', 'c'], [50, 30, 40]).astype(object)
    assert set(groups[hold_out(groups, 0.1, generator(seed))]) == {'b'}


@pytest.mark.parametrize('seed', range(10))
@pytest.mark.parametrize('sizes', [(1, 1, 100), (2, 2, 2), (1, 5, 50), (3, 3, 3, 90)])
def test_as_many_groups_as_splits_are_enough(sizes, seed):
    groups = np.repeat([f'g{i}' for i in range(len(sizes))], sizes).astype(object)
    assert set(split_samples(groups, 0.2, 0.2, generator(seed))) == {TRAINING, VALIDATION, TEST}


@pytest.mark.parametrize(
    'groups, test_fraction, sentence',
    [
        (
            ['a', 'b', 'c'],
            0.2,
            'Training needs at least 3 groups, one for each split (training, validation, test), and 2 training '
            'samples, but has only 3 labelled samples in 3 groups; label more samples or define smaller groups.',
        ),
        (
            ['a', 'b'],
            0.0,
            'Training needs at least 2 groups, one for each split (training, validation), and 2 training '
            'samples, but has only 2 labelled samples in 2 groups; label more samples or define smaller groups.',
        ),
        (
            ['one'] * 50,
            0.0,
            'Training needs at least 2 groups, one for each split (training, validation), and 2 training '
            'samples, but has only 50 labelled samples in 1 group; label more samples or define smaller groups.',
        ),
        (
            ['one'],
            0.2,
            'Training needs at least 3 groups, one for each split (training, validation, test), and 2 training '
            'samples, but has only 1 labelled sample in 1 group; label more samples or define smaller groups.',
        ),
    ],
)
def test_too_few_samples_or_groups_are_refused(groups, test_fraction, sentence):
    with pytest.raises(UserError) as error:
        split_samples(groups, test_fraction, 0.2, generator())
    assert str(error.value) == sentence


def test_fractions_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(UserError) as error:
        split_samples([f's{i}' for i in range(10)], 0.9, 0.9, generator())
    assert str(error.value) == (
        'With test_fraction 0.9 and validation_fraction 0.9, fewer than 2 of 10 labelled samples remain for training; '
        'lower the fractions or label more samples.'
    )


def test_all_classes_without_training_samples_are_named():
    groups = np.array(['one', 'one', 'two', 'two', 'three', 'three', 'four', 'four'], dtype=object)
    classes = np.array(['a', 'b', 'c', 'c', 'c', 'c', 'c', 'c'], dtype=object)
    with pytest.raises(UserError) as error:
        check_classes(groups, classes, np.array(['test'] * 2 + ['training'] * 6, dtype=object))
    assert str(error.value).startswith(
        "Every class needs training samples, but all of 'a' (1 labelled sample in 1 group), 'b' (1 labelled sample in "
        '1 group) are in the validation and test splits; '
    )
