"""Tree members: paths by hand, and a sentence for arrays whose paths would not end."""

import numpy as np
import pytest
import scipy.sparse

from q2_aam.model import tree_members
from q2_aam.model.tree_members import LEAF, SMOOTHING, TreeMembers

# Two members of two trees each on three ASVs. The first tree asks for ASV 1 at 0.5, then to the right for ASV 0 at 2;
# the second is a leaf; the third asks for ASV 2 at 0; the fourth is a leaf.
FIRST = np.array([0, 5, 6, 9], dtype=np.int32)
ASV = np.array([1, LEAF, 0, LEAF, LEAF, LEAF, 2, LEAF, LEAF, LEAF], dtype=np.int16)
THRESHOLD = np.array([0.5, 0, 2, 0, 0, 0, 0, 0, 0, 0], dtype=np.float32)
RIGHT = np.array([2, 0, 4, 1, 2, 3, 8, 4, 5, 6], dtype=np.int32)
VALUE = np.array([[1.0], [2], [3], [10], [20], [30], [40]], dtype=np.float32)
SAMPLES = np.array([[0, 0.5, 0], [2, 1, 0], [2.5, 1, 1], [9, 0, 3]], dtype=np.float32)
EXPECTED = [[(1 + 10) / 2, (2 + 10) / 2, (3 + 10) / 2, (1 + 10) / 2], [30.0, 30, 35, 35]]
KNOWN = np.ones((2, 3), dtype=np.uint8)


def arrays(**changed):
    return {'first': FIRST, 'asv': ASV, 'threshold': THRESHOLD, 'right': RIGHT, 'value': VALUE} | changed


def read(outputs=1, known=KNOWN, **changed):
    return TreeMembers.from_arrays(arrays(**changed), known, outputs)


def test_the_outputs_of_a_member_are_the_mean_of_its_trees():
    outputs = read().outputs(scipy.sparse.csr_matrix(SAMPLES))
    assert (outputs.shape, outputs.dtype) == ((2, 4, 1), np.float64)
    assert outputs[:, :, 0].tolist() == EXPECTED


def test_what_lies_exactly_on_a_threshold_goes_to_the_left():
    above = np.nextafter(np.float32(0.5), np.float32(1))
    rows = scipy.sparse.csr_matrix(np.array([[0, 0.5, 0], [0, above, 0]], dtype=np.float32))
    assert read().outputs(rows)[0, :, 0].tolist() == [5.5, 6.0]


def test_a_sample_alone_is_as_in_any_company_and_in_any_block(monkeypatch):
    samples = scipy.sparse.csr_matrix(SAMPLES)
    assert [read().outputs(samples[[row]])[0, 0, 0] for row in range(4)] == EXPECTED[0]
    monkeypatch.setattr(tree_members, 'SAMPLES_AT_ONCE', 3)
    assert read().outputs(samples)[:, :, 0].tolist() == EXPECTED


def test_shares_of_classes_become_logarithms_none_of_which_is_infinite():
    shares = np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1]] + [[0, 1, 0]] * 4, dtype=np.float32)
    logits = read(3, value=shares).outputs(scipy.sparse.csr_matrix(SAMPLES))
    mean = np.array([0.5, 0.5, 0])
    assert logits[0, 0] == pytest.approx(np.log((1 - SMOOTHING) * mean + SMOOTHING / 3))
    assert np.isfinite(logits).all() and np.exp(logits).sum(axis=2) == pytest.approx(np.ones((2, 4)))


def test_arrays_make_the_same_members_again():
    members = read()
    assert {name: str(array.dtype) for name, array in members.arrays().items()} == TreeMembers.ARRAYS
    assert all(array is arrays()[name] for name, array in members.arrays().items())


def changed(array, place, value):
    copy = array.copy()
    copy[place] = value
    return copy


PATHS = "The model's abundance ensemble is damaged: its trees have paths that do not end; train the model again."
LARGEST, SMALLEST = 2**31 - 1, -(2**31)


@pytest.mark.parametrize(
    'change',
    [
        # loops: to itself, back, to the left child
        {'right': changed(RIGHT, 2, 2)},
        {'right': changed(RIGHT, 2, 0)},
        {'right': changed(RIGHT, 2, 3)},
        # out of the tree, out of all, and below all
        {'right': changed(RIGHT, 2, 5)},
        {'right': changed(RIGHT, 6, 10)},
        {'right': changed(RIGHT, 6, LARGEST)},
        {'right': changed(RIGHT, 6, -1)},
        # a last node that is no leaf has no left child
        {'asv': changed(ASV, 9, 0)},
        {'asv': changed(ASV, 5, 0)},
        # values of leaves that are not there
        {'right': changed(RIGHT, 9, 7)},
        {'right': changed(RIGHT, 1, -1)},
        {'right': changed(RIGHT, 1, SMALLEST)},
        # ASVs that are not in the vocabulary
        {'asv': changed(ASV, 0, 3)},
        {'asv': changed(ASV, 0, -2)},
        # trees that do not begin where they should
        {'first': changed(FIRST, 0, 1)},
        {'first': changed(FIRST, 1, 0)},
        {'first': changed(FIRST, 1, 7)},
        {'first': changed(FIRST, 3, 10)},
        {'first': changed(FIRST, 3, LARGEST)},
        # differences of which are no numbers of int32
        {'first': np.array([0, 1, LARGEST, SMALLEST], np.int32)},
        {'first': np.array([0, SMALLEST, LARGEST, 5], np.int32)},
        {'first': np.zeros(0, np.int32)},
        # no two members have as many
        {'first': FIRST[:3]},
        {'value': VALUE[:0]},
        {name: arrays()[name][:0] for name in ('asv', 'threshold', 'right')},
    ],
)
def test_trees_whose_paths_do_not_end_are_refused(change):
    with pytest.raises(ValueError) as error:
        read(**change)
    assert str(error.value) == PATHS


def test_more_trees_than_training_ever_makes_are_refused(monkeypatch):
    read()
    monkeypatch.setattr(tree_members, 'MAX_TREES', 3)
    with pytest.raises(ValueError, match='^' + PATHS):
        read()


@pytest.mark.parametrize('share', [-0.1, 1.1, np.nan, np.inf])
def test_shares_of_classes_out_of_range_are_refused(share):
    value = np.full((7, 2), 0.5, np.float32)
    read(2, value=value)
    with pytest.raises(ValueError) as error:
        read(2, value=changed(value, (3, 1), share))
    assert str(error.value) == (
        "The model's abundance ensemble is damaged: its trees have shares of classes outside 0 to 1; train the model "
        'again.'
    )


@pytest.mark.parametrize(
    ('change', 'name', 'shape', 'asked'),
    [
        ({'threshold': THRESHOLD[1:]}, 'threshold', (9,), (10,)),
        ({'right': RIGHT[:, None]}, 'right', (10, 1), (10,)),
        ({'asv': ASV[None]}, 'asv', (1, 10), (10,)),
        ({'asv': ASV[0]}, 'asv', (), (1,)),
        ({'first': FIRST[:, None]}, 'first', (4, 1), (4,)),
        ({'first': FIRST[0]}, 'first', (), (1,)),
        ({'value': VALUE[:, 0]}, 'value', (7,), (7, 1)),
        ({'value': VALUE[0, 0]}, 'value', (), (0, 1)),
        ({'value': VALUE, 'outputs': 2}, 'value', (7, 1), (7, 2)),
    ],
)
def test_arrays_of_other_shapes_are_refused(change, name, shape, asked):
    with pytest.raises(ValueError) as error:
        read(**change)
    assert str(error.value) == (
        f"The model's abundance ensemble belongs to another model: extra_trees.{name} has the shape {shape} instead of "
        f'{asked}; train the model again.'
    )


def test_noise_is_the_variance_of_the_mean_of_so_few_trees():
    # samples of the first member find 1 and 10 and 3 and 10 in its trees, the one of the second 40 and 30
    members = np.array([0, 0, 1])
    rows = scipy.sparse.csr_matrix(SAMPLES[[0, 2, 3]])
    expected = np.mean([np.var([1, 10], ddof=1) / 2, np.var([3, 10], ddof=1) / 2, np.var([40, 30], ddof=1) / 2])
    assert read().noise(rows, members) == pytest.approx(expected)


def test_noise_of_logarithms_is_that_of_repeated_draws():
    """Forests of few trees, drawn again and again from one pool of leaves, differ by as much as one of them tells."""
    random, trees, draws = np.random.default_rng(1), 50, 2000
    pool = np.column_stack([random.beta(4, 3, 400)] * 2) * [1, -1] + [0, 1]
    drawn = pool[random.integers(400, size=(draws, trees))]
    logits = np.log((1 - SMOOTHING) * drawn.mean(axis=1) + SMOOTHING / 2)
    first = np.arange(trees, dtype=np.int32)
    leaf = np.full(trees, LEAF, dtype=np.int16)
    told = TreeMembers(1, first, leaf, np.zeros(trees, np.float32), first, drawn[0].astype(np.float32))
    noise = told.noise(scipy.sparse.csr_matrix((1, 3), dtype=np.float32), np.zeros(1, dtype=np.int64))
    assert noise == pytest.approx(logits.var(axis=0).mean(), rel=0.3)
