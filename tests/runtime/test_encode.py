"""Many samples: each distinct ASV encoded once, chunks that change nothing, figures that one can compute by hand."""

import numpy as np
import pytest
import torch

from q2_aam import bundle
from q2_aam.data.inputs import read_study
from q2_aam.data.log_abundances import known_asvs, profiles_of
from q2_aam.runtime import encode as evaluate
from q2_aam.runtime.encode import (
    details_of,
    distances_among,
    embed_asvs,
    outputs_of,
    profile_outputs_of,
    regression_figures,
)

CPU = torch.device('cpu')


@pytest.fixture
def study(tiny, tmp_path):
    files = tiny.write(tmp_path / 'inputs')
    return read_study(files.table, files.sequences)[0]


@pytest.fixture
def network(tiny_regressor):
    return bundle.load(tiny_regressor.folder)[0]


def test_each_distinct_asv_of_the_rows_is_encoded_once_for_all_samples(study, network, monkeypatch):
    encoded = []
    encode = network.encode_asvs
    monkeypatch.setattr(network, 'encode_asvs', lambda codes, lengths: encoded.append(codes) or encode(codes, lengths))
    monkeypatch.setattr(evaluate, 'SAMPLES_AT_ONCE', 5)
    outputs_of(network, study, np.arange(len(study)), CPU)
    assert sum(map(len, encoded)) == len(study.codes) == 30
    encoded.clear()
    outputs_of(network, study, np.array([0, 1]), CPU)
    assert sum(map(len, encoded)) == len(set(study.asvs[: study.offsets[2]])) < 30


def test_the_size_of_chunks_changes_no_output(study, network, monkeypatch):
    rows = np.array([5, 0, 23, 11, 7, 8, 2])
    outputs, distances = outputs_of(network, study, rows, CPU), distances_among(network, study, rows, CPU)
    monkeypatch.setattr(evaluate, 'SAMPLES_AT_ONCE', 3)
    monkeypatch.setattr(evaluate, 'ASVS_AT_ONCE', 4)
    network.max_floats = 1
    assert outputs_of(network, study, rows, CPU) == pytest.approx(outputs, abs=1e-5)
    assert distances_among(network, study, rows, CPU) == pytest.approx(distances, abs=1e-5)


def test_outputs_come_in_the_order_of_the_rows(study, network):
    outputs = outputs_of(network, study, np.arange(len(study)), CPU)
    assert outputs.shape == (24, 1) and outputs.dtype == np.float64
    assert outputs_of(network, study, np.array([9, 3]), CPU) == pytest.approx(outputs[[9, 3]], abs=1e-5)


def test_asv_embeddings_come_in_the_order_that_is_asked_for(study, network):
    whole = embed_asvs(network, study, np.arange(30), CPU)
    assert torch.allclose(embed_asvs(network, study, np.array([20, 4, 4]), CPU), whole[[20, 4, 4]], atol=1e-5)


@pytest.fixture
def head(tiny_regressor):
    _, config, arrays = bundle.load(tiny_regressor.folder)
    return bundle.profile_head_of(arrays, config)


def test_outputs_of_a_profile_head_are_the_mean_of_its_members_in_the_order_of_the_rows(study, head):
    rows = np.array([5, 0, 23, 11, 7, 8, 2])
    found, known = profile_outputs_of(head, study, rows)
    profiles_BC = known_asvs(profiles_of(study, rows), study.keys, head.keys_C)
    of_members = head.outputs(profiles_BC)
    assert found.shape == (7, 1) and found.dtype == np.float64 and found.std() > 0.01
    assert len(of_members) == 10 and of_members.std(axis=0).min() > 0.001
    np.testing.assert_allclose(found, of_members.mean(axis=0), rtol=1e-9)
    # the study that it was fitted to
    assert known == pytest.approx(np.ones(7))


def test_the_size_of_blocks_changes_no_output_of_a_profile_head(study, head, monkeypatch):
    rows = np.array([5, 0, 23, 11, 7, 8, 2])
    head.keys_C = head.keys_C.copy()
    head.keys_C[3] += 1
    whole, known = profile_outputs_of(head, study, rows)
    assert (known < 1).any() and (known > 0).all()
    for place in range(7):
        alone, own = profile_outputs_of(head, study, rows[[place]])
        assert alone[0] == pytest.approx(whole[place], abs=1e-5) and own[0] == pytest.approx(known[place])
    monkeypatch.setattr(evaluate, 'SAMPLES_AT_ONCE', 3)
    cut, cut_known = profile_outputs_of(head, study, rows)
    assert cut == pytest.approx(whole, abs=1e-5) and cut_known == pytest.approx(known)


def test_a_profile_head_sees_what_the_reading_leaves(study, head):
    rows = np.arange(24)

    def reading(abundances, offsets):
        return abundances > 0.1, abundances

    found, known = profile_outputs_of(head, study, rows, reading)
    profiles_BC = known_asvs(profiles_of(study, rows, reading), study.keys, head.keys_C)
    np.testing.assert_allclose(found, head.outputs(profiles_BC).mean(axis=0), rtol=1e-9)
    assert not np.array_equal(found, profile_outputs_of(head, study, rows)[0])
    assert known == pytest.approx(np.ones(24))


def test_the_share_that_a_profile_head_knows_is_that_of_logarithms(study, head):
    rows = np.array([2, 20])
    keys_A = study.keys
    dense_BA = profiles_of(study, rows).toarray().astype(np.float64)
    known_A = np.arange(30) % 3 > 0
    # keys that no sequence of the study has, in the places of a third
    head.keys_C = np.where(np.isin(head.keys_C, keys_A[known_A]), head.keys_C, head.keys_C - 1)
    wanted = dense_BA[:, known_A].sum(axis=1) / dense_BA.sum(axis=1)
    found, known = profile_outputs_of(head, study, rows)
    assert 0.3 < wanted.min() and wanted.max() < 0.95
    assert known.dtype == np.float64 and known == pytest.approx(wanted, rel=1e-5)
    head.keys_C = np.arange(30)
    nothing, known = profile_outputs_of(head, study, rows)
    assert known.tolist() == [0, 0]
    # a sample of which it knows nothing is to it as one that is empty
    assert nothing[0] == pytest.approx(nothing[1]) and np.isfinite(nothing).all()


def test_distances_are_0_to_oneself_symmetric_and_bounded(study, tiny_encoder):
    network, _, _ = bundle.load(tiny_encoder.folder)
    distances = distances_among(network, study, np.arange(len(study)), CPU)
    assert np.abs(np.diagonal(distances)).max() < 1e-5
    assert np.abs(distances - distances.T).max() < 1e-5
    assert distances.min() > -1e-5 and distances.max() <= 1
    assert distances.max() > 0.01


def test_figures_are_those_of_a_hand_calculation():
    figures = regression_figures(np.array([1.0, 2.0, 6.0]), np.array([1.0, 3.0, 5.0]))
    assert figures['mae'] == pytest.approx(2 / 3)
    assert figures['rmse'] == pytest.approx((2 / 3) ** 0.5)
    assert figures['r2'] == pytest.approx(1 - 2 / 8)
    assert figures['r'] == pytest.approx(10 / (14 * 8) ** 0.5)


def test_figures_that_do_not_exist_are_not_numbers():
    constant, varied = np.array([2.0, 2.0]), np.array([1.0, 3.0])
    truth = regression_figures(varied, constant)
    assert truth['mae'] == 1 and np.isnan(truth['r2']) and np.isnan(truth['r'])
    guess = regression_figures(constant, varied)
    assert guess['r2'] == 0 and np.isnan(guess['r'])


def test_details_say_what_of_each_sample_was_read(tiny, tmp_path):
    files = tiny.write(tmp_path / 'inputs')
    with pytest.warns(UserWarning, match='reads the first 45 nucleotides'):
        study, _ = read_study(files.table, files.sequences, max_length=45)
    details = details_of(study, np.full(24, 'new', dtype=object), {'prediction': np.arange(24.0)})
    counts = tiny.counts
    too_long = [len(tiny.sequences[name]) > 45 for name in counts.columns]
    assert details.index.name == 'id' and list(details.index) == list(counts.index)
    assert list(details['reads_used']) == list(counts.sum(axis=1))
    assert list(details['asvs_used']) == list((counts > 0).sum(axis=1))
    assert list(details['asvs_cut']) == list((counts.loc[:, too_long] > 0).sum(axis=1))
    assert list(details['share_of_reads_cut']) == pytest.approx(
        list(counts.loc[:, too_long].sum(axis=1) / counts.sum(axis=1)), abs=1e-6
    )
    assert details['true'].isna().all() and set(details['part']) == {'new'}
    assert list(details['prediction']) == list(range(24))
