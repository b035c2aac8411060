"""The kernel head: exact distances, samples on their own, arrays that survive a round trip."""

import numpy as np
import pytest
import scipy.sparse

from q2_aam.data.composition import Composition
from q2_aam.model.kernel_head import ASVS, MEAN, KernelHead, View, known_asvs, radial, squared_distances

KEYS = np.array([-5, 3, 40])


def composition(rows, keys=(40, -5, 7), mean=None):
    asvs_BA = scipy.sparse.csr_matrix(np.array(rows, dtype=np.float32))
    return Composition(asvs_BA, np.array(keys), None if mean is None else np.array(mean, dtype=np.float32))


def head(mean=True):
    landmarks = scipy.sparse.csr_matrix(np.array([[1.0, 0, 2], [0, 3, 0]], dtype=np.float32))
    views = {ASVS: View(landmarks, np.array([[1.0], [-2.0]]), 1.5)}
    if mean:
        views[MEAN] = View(np.array([[0.0, 1], [2, 2]], dtype=np.float32), np.array([[0.5], [4.0]]), 0.7)
    return KernelHead(np.array([10.0]), KEYS, views)


def test_known_asvs_are_found_by_key_and_the_rest_is_summed():
    known, rest = known_asvs(composition([[2.0, 1, 0], [0, 0, 3]]), KEYS)
    np.testing.assert_array_equal(known.toarray(), [[1, 0, 2], [0, 0, 0]])
    np.testing.assert_array_equal(rest, [0, 9])


@pytest.mark.parametrize('form', [np.asarray, scipy.sparse.csr_matrix])
def test_squared_distances_are_those_of_the_definition(form):
    generator = np.random.default_rng(1)
    a, b = generator.normal(size=(4, 3)), generator.normal(size=(5, 3))
    wanted = ((a[:, None] - b[None]) ** 2).sum(-1)
    np.testing.assert_allclose(squared_distances(form(a), form(b)), wanted, atol=1e-12)
    np.testing.assert_allclose(squared_distances(form(a), form(b), np.arange(4.0)), wanted + np.arange(4)[:, None])
    np.testing.assert_allclose(radial(form(a), form(b), 2.0), np.exp(-wanted / 8))


def test_outputs_are_the_center_and_what_each_landmark_adds():
    # the sample is the first landmark but for an ASV that no landmark holds
    found = head(mean=False).outputs(composition([[2.0, 1, 2]]))
    wanted = 10 + np.exp(-4 / 4.5) * (1 - 2 * np.exp(-14 / 4.5))
    np.testing.assert_allclose(found, [[wanted]], rtol=1e-12)


def test_far_from_every_landmark_the_output_is_the_center():
    np.testing.assert_allclose(head(mean=False).outputs(composition([[0, 0, 1e3]])), [[10.0]])


def test_a_sample_alone_is_as_in_any_company(monkeypatch):
    monkeypatch.setattr('q2_aam.model.kernel_head.SAMPLES_AT_ONCE', 2)
    generator = np.random.default_rng(2)
    rows, mean = generator.random((5, 3)), generator.random((5, 2))
    together = head().outputs(composition(rows, mean=mean))
    alone = [head().outputs(composition(rows[[i]], mean=mean[[i]]))[0] for i in range(5)]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


@pytest.mark.parametrize('mean', [True, False])
def test_arrays_make_the_same_head_again(mean):
    one = head(mean)
    again = KernelHead.from_arrays(one.arrays(), width=2, outputs=1)
    samples = composition([[2.0, 1, 0]], mean=[[0.1, 0.2]])
    np.testing.assert_array_equal(again.outputs(samples), one.outputs(samples))


WHOLE, DAMAGED, ANOTHER = (
    "The model's kernel head is not whole: see {}; train the model again.",
    "The model's kernel head is damaged in {}; train the model again.",
    "The model's kernel head is that of another model: see {}; train the model again.",
)


@pytest.mark.parametrize(
    'change, sentence, name',
    [
        ({'keys': None}, WHOLE, 'keys'),
        ({'other': np.zeros(1)}, WHOLE, 'other'),
        ({'center': np.zeros(1, np.float32)}, DAMAGED, 'center'),
        ({'mean.length': np.array([np.nan])}, DAMAGED, 'mean.length'),
        ({'mean.length': np.array([-1.0])}, ANOTHER, 'mean'),
        ({'asvs.coefficients': np.zeros((3, 1))}, ANOTHER, 'asvs'),
        ({'keys': KEYS[::-1].copy()}, DAMAGED.replace(' in {}', ' ({})'), 'keys are not sorted'),
    ],
)
def test_a_damaged_head_is_refused(change, sentence, name):
    arrays = {key: value for key, value in (head().arrays() | change).items() if value is not None}
    with pytest.raises(ValueError) as error:
        KernelHead.from_arrays(arrays, width=2, outputs=1)
    assert str(error.value) == sentence.format(name)


def test_columns_beyond_the_keys_are_refused():
    arrays = head().arrays()
    arrays['asvs.columns'] = arrays['asvs.columns'] + 1
    with pytest.raises(ValueError, match=r"^The model's kernel head is damaged \(.*\); train the model again\.$"):
        KernelHead.from_arrays(arrays, width=2, outputs=1)


def test_a_head_of_another_width_is_refused():
    with pytest.raises(ValueError, match='that of another model: see mean'):
        KernelHead.from_arrays(head().arrays(), width=3, outputs=1)
