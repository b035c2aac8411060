"""Many samples: each distinct ASV encoded once, chunks that change nothing, figures that one can compute by hand."""

import numpy as np
import pytest
import torch

from q2_aam import bundle
from q2_aam.data.composition import composition_of, sequence_keys
from q2_aam.data.inputs import read_study
from q2_aam.training import evaluate
from q2_aam.training.evaluate import (
    details_of,
    distances_among,
    embed_asvs,
    interval_figures,
    kernel_outputs_of,
    outputs_of,
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


def test_outputs_of_a_kernel_head_come_in_the_order_of_the_rows_however_they_are_cut(
    study, tiny_regressor, monkeypatch
):
    _, config, arrays = bundle.load(tiny_regressor.folder)
    head = bundle.kernel_head_of(arrays, config)
    rows = np.array([5, 0, 23, 11, 7, 8, 2])
    whole = kernel_outputs_of(head, study, rows)
    assert whole.shape == (7, 1) and whole.dtype == np.float64 and whole.std() > 0.1
    monkeypatch.setattr(evaluate, 'SAMPLES_AT_ONCE', 3)
    assert kernel_outputs_of(head, study, rows) == pytest.approx(whole, abs=1e-12)
    keys_A = sequence_keys(study.codes, study.lengths)
    alone = [head.outputs(composition_of(study, [row], keys_A))[0] for row in rows]
    assert np.array(alone) == pytest.approx(whole, abs=1e-12)


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


def test_the_coverage_of_intervals_counts_their_ends():
    lower, upper = np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0, 7.0])
    figures = interval_figures(lower, upper, np.array([0.0, 2.0, 4.5, 2.5]))
    assert figures == {'interval_coverage': 0.5, 'interval_width': 2.0}


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
