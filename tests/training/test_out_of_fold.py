"""Outputs of members for samples that they have not learned from."""

import numpy as np
import pytest
import scipy.sparse
import torch

from q2_aam.model.linear_members import LinearMembers
from q2_aam.model.perceptrons import Perceptrons
from q2_aam.training import out_of_fold as module
from q2_aam.training.members import MemberData
from q2_aam.training.out_of_fold import out_of_fold


def data_of(samples, members, features):
    random = np.random.default_rng(2)
    known = scipy.sparse.csr_matrix(random.poisson(1, (samples, features)).astype(np.float32))
    fold = random.permutation(np.arange(samples) % members)
    return MemberData(known, random.normal(size=samples), 0, False, fold, np.arange(members))


def linear(members, features):
    random = np.random.default_rng(4)
    return LinearMembers(random.normal(size=(members, features, 2)), random.normal(size=(members, 2)))


def perceptrons(members, features):
    made = Perceptrons(features, members, 2, 8)
    made.initialise(torch.Generator().manual_seed(6))
    return made


@pytest.mark.parametrize('make', [linear, perceptrons])
def test_each_sample_has_the_outputs_of_the_member_that_has_not_learned_from_it(make, monkeypatch):
    monkeypatch.setattr(module, 'SAMPLES_AT_ONCE', 4)
    data, members = data_of(11, 3, 5), make(3, 5)
    found = out_of_fold(members, data)
    expected = [members.outputs(data.features[row])[data.fold[row], 0] for row in range(11)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    some = np.array([9, 0, 4, 7, 2])
    np.testing.assert_allclose(out_of_fold(members, data, some), found[some], rtol=1e-5, atol=1e-6)
