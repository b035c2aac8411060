"""Linear members: weighted sums of abundances, and a sentence for arrays of other sizes."""

import numpy as np
import pytest
import scipy.sparse

from q2_aam.model.linear_members import LinearMembers

KNOWN = np.array([[1, 1, 1, 0], [1, 0, 1, 1], [0, 1, 1, 1]], dtype=np.uint8)


@pytest.fixture
def linear():
    random = np.random.default_rng(1)
    weight = random.normal(size=(3, 4, 2)) * KNOWN[:, :, None]
    return LinearMembers(weight.astype(np.float32), random.normal(size=(3, 2)).astype(np.float32))


@pytest.fixture
def abundances_BC():
    random = np.random.default_rng(2)
    values = random.random((5, 4)) * 9 * (random.random((5, 4)) < 0.7)
    return scipy.sparse.csr_matrix(values.astype(np.float32))


def test_outputs_are_weighted_sums_and_a_constant(linear, abundances_BC):
    outputs = linear.outputs(abundances_BC)
    assert (outputs.shape, outputs.dtype) == ((3, 5, 2), np.float64)
    dense = abundances_BC.toarray().astype(np.float64)
    for member in range(3):
        expected = dense @ linear.weight[member].astype(float) + linear.bias[member]
        np.testing.assert_allclose(outputs[member], expected, rtol=1e-5, atol=1e-5)


def test_a_sample_alone_is_as_in_any_company(linear, abundances_BC):
    alone = np.concatenate([linear.outputs(abundances_BC[[row]]) for row in range(5)], axis=1)
    assert np.array_equal(alone, linear.outputs(abundances_BC))
    # nothing in a sample: the constant
    assert np.array_equal(linear.outputs(scipy.sparse.csr_matrix((1, 4), dtype=np.float32))[:, 0], linear.bias)


def test_asvs_that_no_training_sample_of_a_member_holds_have_no_effect(linear, abundances_BC):
    for member, known_C in enumerate(KNOWN):
        more = abundances_BC.toarray()
        more[:, known_C == 0] += 5
        more = scipy.sparse.csr_matrix(more)
        assert np.array_equal(linear.outputs(more)[member], linear.outputs(abundances_BC)[member])
        assert (linear.outputs(more) != linear.outputs(abundances_BC)).any()


def test_arrays_make_the_same_members_again(linear, abundances_BC):
    arrays = linear.arrays()
    assert {name: str(array.dtype) for name, array in arrays.items()} == LinearMembers.ARRAYS
    again = LinearMembers.from_arrays(arrays, KNOWN, 2)
    assert again.outputs(abundances_BC).tobytes() == linear.outputs(abundances_BC).tobytes()


@pytest.mark.parametrize(
    ('name', 'shape', 'asked'),
    [
        ('weight', (3, 5, 2), (3, 4, 2)),
        ('weight', (), (3, 4, 2)),
        ('weight', (2, 4, 2), (3, 4, 2)),
        ('weight', (3, 4, 1), (3, 4, 2)),
        ('bias', (3, 1), (3, 2)),
        ('bias', (3, 2, 1), (3, 2)),
    ],
)
def test_arrays_of_other_sizes_are_refused(linear, name, shape, asked):
    with pytest.raises(ValueError) as error:
        LinearMembers.from_arrays(linear.arrays() | {name: np.zeros(shape, np.float32)}, KNOWN, 2)
    assert str(error.value) == (
        f"The model's abundance ensemble belongs to another model: linear.{name} has the shape {shape} instead of "
        f'{asked}; train the model again.'
    )
