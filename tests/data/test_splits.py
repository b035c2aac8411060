"""Parts are made of whole groups, by their names and sizes alone."""

import inspect

import numpy as np
import pytest

from q2_aam.data.splits import TEST, TRAINING, VALIDATION, held_out, three_parts
from q2_aam.errors import UserError


def generator(seed=0):
    return np.random.default_rng(seed)


def subjects(seed=1, number=30):
    """Subjects of 1 to 6 samples."""
    sizes = generator(seed).integers(1, 7, number)
    return np.repeat([f'subject-{i}' for i in range(number)], sizes).astype(object)


@pytest.mark.parametrize('seed', range(5))
def test_no_group_is_split(seed):
    groups = subjects()
    parts = three_parts(groups, 0.2, 0.2, generator(seed))
    assert set(parts) == {TRAINING, VALIDATION, TEST}
    for group in set(groups):
        assert len(set(parts[groups == group])) == 1


@pytest.mark.parametrize('seed', range(5))
def test_the_fractions_are_met_up_to_half_a_group(seed):
    groups = subjects()
    parts = three_parts(groups, 0.2, 0.2, generator(seed))
    tests = (parts == TEST).sum()
    assert abs(tests - 0.2 * len(groups)) <= 3
    assert abs((parts == VALIDATION).sum() - 0.2 * (len(groups) - tests)) <= 3


def test_independent_samples_meet_the_fractions_exactly():
    parts = three_parts([f's{i}' for i in range(100)], 0.2, 0.25, generator())
    assert [(parts == part).sum() for part in (TRAINING, VALIDATION, TEST)] == [60, 20, 20]


def test_the_same_seed_gives_the_same_parts_and_another_seed_others():
    groups = subjects()
    one = three_parts(groups, 0.2, 0.2, generator(5))
    np.testing.assert_array_equal(three_parts(groups, 0.2, 0.2, generator(5)), one)
    assert (three_parts(groups, 0.2, 0.2, generator(6)) != one).any()


def test_the_order_of_samples_does_not_matter():
    groups = subjects()
    order = generator(9).permutation(len(groups))
    np.testing.assert_array_equal(
        three_parts(groups[order], 0.2, 0.2, generator()), three_parts(groups, 0.2, 0.2, generator())[order]
    )


def test_no_label_but_a_class_can_reach_the_choice_of_parts():
    signature = inspect.signature(three_parts)
    assert list(signature.parameters) == ['groups', 'test_fraction', 'validation_fraction', 'generator', 'classes']
    assert signature.parameters['classes'].default is None


@pytest.mark.parametrize('seed', range(5))
def test_one_class_for_all_divides_as_no_class_does(seed):
    samples = [f's{i}' for i in range(33)]
    np.testing.assert_array_equal(
        three_parts(samples, 0.2, 0.2, generator(seed), ['x'] * 33), three_parts(samples, 0.2, 0.2, generator(seed))
    )


@pytest.mark.parametrize('seed', range(5))
def test_each_part_has_its_share_of_each_class_where_samples_are_independent(seed):
    classes = np.array(['common'] * 100 + ['less'] * 50 + ['rare'] * 10, dtype=object)
    parts = three_parts([f's{i}' for i in range(160)], 0.2, 0.25, generator(seed), classes)
    for name, shares in (('common', [60, 20, 20]), ('less', [30, 10, 10]), ('rare', [6, 2, 2])):
        assert [(parts[classes == name] == part).sum() for part in (TRAINING, VALIDATION, TEST)] == shares


@pytest.mark.parametrize('seed', range(10))
def test_classes_are_shared_out_as_well_as_whole_groups_allow(seed):
    groups = subjects(seed, number=60)
    # a group is of one class, so that parts blind to classes miss many of them
    classes = np.array([f'class-{int(group.split("-")[1]) % 3}' for group in groups], dtype=object)
    parts = three_parts(groups, 0.2, 0.2, generator(seed), classes)
    for group in set(groups):
        assert len(set(parts[groups == group])) == 1
    for name in set(classes):
        own = parts[classes == name]
        # half of the largest group
        assert abs((own == TEST).sum() - 0.2 * len(own)) <= 3
        assert (own == TRAINING).sum() > 0.5 * len(own)


@pytest.mark.parametrize('seed', range(10))
def test_classes_of_two_samples_make_up_the_parts_and_each_can_be_learned(seed):
    classes = np.repeat([f'class-{i}' for i in range(10)], 2).astype(object)
    parts = three_parts([f's{i}' for i in range(20)], 0.2, 0.2, generator(seed), classes)
    assert [(parts == part).sum() for part in (TRAINING, VALIDATION, TEST)] == [13, 3, 4]
    assert set(classes[parts == TRAINING]) == set(classes)


def test_a_class_that_groups_leave_nothing_of_to_learn_from_is_named_with_its_numbers():
    # each class is in two of the groups, and two groups go to the test and the validation part
    groups = np.repeat(['one', 'two', 'three'], 4).astype(object)
    classes = np.array(['a', 'a', 'b', 'b', 'b', 'b', 'c', 'c', 'c', 'c', 'a', 'a'], dtype=object)
    with pytest.raises(UserError) as error:
        three_parts(groups, 0.2, 0.2, generator(), classes)
    assert str(error.value) == (
        'Class "b" has 4 labelled samples in 2 groups, and all of them fell into the validation or the test part, so '
        'that nothing is left to learn it from; give it more groups, lower the fractions or merge it with another '
        'class.'
    )


@pytest.mark.parametrize('seed', range(5))
def test_a_test_fraction_of_0_leaves_two_parts(seed):
    parts = three_parts(subjects(), 0.0, 0.2, generator(seed))
    assert set(parts) == {TRAINING, VALIDATION}


def test_a_fraction_of_0_holds_out_nothing():
    assert held_out(subjects(), 0.0, generator()).sum() == 0


def test_no_samples_hold_out_nothing():
    assert held_out([], 0.5, generator()).tolist() == []


@pytest.mark.parametrize('fraction', [1e-6, 0.01, 0.3])
def test_any_fraction_above_0_holds_out_one_group_at_least(fraction):
    assert held_out(['a', 'b', 'c'], fraction, generator()).sum() == 1


@pytest.mark.parametrize('seed', range(10))
def test_a_group_that_is_far_too_large_is_passed_over_while_others_fit(seed):
    groups = np.array(['giant'] * 60 + [f's{i}' for i in range(40)], dtype=object)
    held = held_out(groups, 0.2, generator(seed))
    assert held.sum() == 20 and not held[:60].any()


@pytest.mark.parametrize('seed', range(5))
def test_where_every_group_is_too_large_the_smallest_is_held_out(seed):
    groups = np.repeat(['a', 'b', 'c'], [50, 30, 40]).astype(object)
    assert set(groups[held_out(groups, 0.1, generator(seed))]) == {'b'}


@pytest.mark.parametrize('seed', range(10))
@pytest.mark.parametrize('sizes', [(1, 1, 100), (2, 2, 2), (1, 5, 50), (3, 3, 3, 90)])
def test_as_many_groups_as_parts_are_enough(sizes, seed):
    groups = np.repeat([f'g{i}' for i in range(len(sizes))], sizes).astype(object)
    assert set(three_parts(groups, 0.2, 0.2, generator(seed))) == {TRAINING, VALIDATION, TEST}


@pytest.mark.parametrize(
    'groups, test_fraction, sentence',
    [
        (
            ['a', 'b', 'c'],
            0.2,
            'Training needs 3 parts (training, validation, test) of whole groups and at least 2 training samples, but '
            'the labelled samples are 3 samples in 3 groups; give more labelled samples, or groups that are smaller.',
        ),
        (
            ['a', 'b'],
            0.0,
            'Training needs 2 parts (training, validation) of whole groups and at least 2 training samples, but the '
            'labelled samples are 2 samples in 2 groups; give more labelled samples, or groups that are smaller.',
        ),
        (
            ['one'] * 50,
            0.0,
            'Training needs 2 parts (training, validation) of whole groups and at least 2 training samples, but the '
            'labelled samples are 50 samples in 1 group; give more labelled samples, or groups that are smaller.',
        ),
        (
            ['one'],
            0.2,
            'Training needs 3 parts (training, validation, test) of whole groups and at least 2 training samples, but '
            'the labelled samples are 1 sample in 1 group; give more labelled samples, or groups that are smaller.',
        ),
    ],
)
def test_too_few_samples_or_groups_are_refused(groups, test_fraction, sentence):
    with pytest.raises(UserError) as error:
        three_parts(groups, test_fraction, 0.2, generator())
    assert str(error.value) == sentence


def test_fractions_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(UserError) as error:
        three_parts([f's{i}' for i in range(10)], 0.9, 0.9, generator())
    assert str(error.value) == (
        'With test_fraction 0.9 and validation_fraction 0.9 fewer than 2 of 10 labelled samples are left to train on; '
        'lower the fractions or label more samples.'
    )
