"""Many samples: each distinct ASV encoded once, chunks that change nothing, coverage that one can compute by hand."""

import dataclasses

import numpy as np
import pytest
import torch

from q2_aam import bundle
from q2_aam.data.log_abundances import log_abundances, to_vocabulary
from q2_aam.data.vocabulary import Vocabulary
from q2_aam.errors import MachineError
from q2_aam.model.member_arrays import PERCEPTRONS
from q2_aam.runtime import encode, memory
from q2_aam.runtime.encode import StudyReader, device_of, embed_asvs

SOME = np.array([5, 0, 23, 11, 7, 8, 2])


@pytest.fixture
def reader(study):
    return StudyReader(study)


@pytest.fixture
def model(tiny_regressor):
    return bundle.load(tiny_regressor.folder)


@pytest.fixture
def network(model):
    return model.network


@pytest.fixture
def encoder(tiny_encoder):
    """The network of an encoder, which has a head for distances."""
    return bundle.load(tiny_encoder.folder).network


@pytest.fixture
def encoded(network):
    """The number of ASVs of each chunk that the network encodes, in order."""
    sizes = []
    network.asv_encoder.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0].codes)))
    return sizes


def test_each_distinct_asv_of_the_rows_is_encoded_once_for_all_samples(study, reader, network, encoded, monkeypatch):
    monkeypatch.setattr(encode, 'SAMPLES_AT_ONCE', 5)
    reader.outputs(network, 'target', np.arange(len(study)))
    assert sum(encoded) == len(study.codes) == 30
    encoded.clear()
    reader.outputs(network, 'target', np.array([0, 1]))
    assert sum(encoded) == len(set(study.asvs[: study.offsets[2]])) < 30


def test_a_reader_that_remembers_encodes_nothing_again(study, reader, network, encoded):
    before = reader.outputs(network, 'target', SOME)
    encoded.clear()
    reader.remember(network)
    assert sum(encoded) == 30 and reader.asvs.shape == (30, 16) and not reader.asvs.requires_grad
    encoded.clear()
    assert reader.outputs(network, 'target', SOME) == pytest.approx(before, abs=1e-5)
    assert encoded == []


@pytest.mark.parametrize(
    'work', ['remember', 'outputs'], ids=['of all ASVs, which are kept', 'of those that the samples have']
)
def test_without_room_for_the_embeddings_it_is_said_before_the_first_is_computed(
    work, study, reader, network, encoded, monkeypatch
):
    # 30 ASVs of 16 numbers; what is held already takes the rest
    monkeypatch.setattr(encode, 'LEAST_CPU_GB', 1e-6)
    monkeypatch.setattr(memory, 'available_memory_gb', lambda: 2.0)
    monkeypatch.setattr(memory, 'held_memory_gb', lambda: 2.0 - 1e-6)
    with pytest.raises(MachineError) as error:
        reader.remember(network) if work == 'remember' else reader.outputs(network, 'target', np.arange(24))
    assert str(error.value) == (
        'Keeping the embeddings of 30 ASVs takes 0.00 GB of memory, but 0.00 GB are left for this process; give more '
        'memory, or divide the samples of the table among several tables.'
    )
    assert encoded == [] and reader.asvs is None
    # 1,920 bytes
    monkeypatch.setattr(memory, 'held_memory_gb', lambda: 2.0 - 1.93e-6)
    reader.remember(network)
    assert len(reader.asvs) == 30


def test_few_embeddings_are_not_asked_about(reader, network, monkeypatch):
    monkeypatch.setattr(memory, 'available_memory_gb', lambda: 0.0)
    reader.remember(network)
    assert len(reader.asvs) == 30


def test_the_size_of_chunks_changes_no_output(reader, network, monkeypatch):
    outputs = reader.outputs(network, 'target', SOME)
    assert outputs.std() > 0.001
    monkeypatch.setattr(encode, 'SAMPLES_AT_ONCE', 3)
    monkeypatch.setattr(encode, 'ASVS_AT_ONCE', 4)
    network.max_floats = 1
    assert reader.outputs(network, 'target', SOME) == pytest.approx(outputs, abs=1e-5)


def test_the_size_of_chunks_changes_no_distance(reader, encoder, monkeypatch):
    distances = reader.distances(encoder, 'distances', SOME)
    assert distances.shape == (7, 7) and distances.dtype == np.float32 and distances.std() > 0.01
    monkeypatch.setattr(encode, 'SAMPLES_AT_ONCE', 3)
    monkeypatch.setattr(encode, 'ASVS_AT_ONCE', 4)
    encoder.max_floats = 1
    assert reader.distances(encoder, 'distances', SOME) == pytest.approx(distances, abs=1e-5)


def test_outputs_come_in_the_order_of_the_rows(study, reader, network):
    outputs = reader.outputs(network, 'target', np.arange(len(study)))
    assert outputs.shape == (24, 1) and outputs.dtype == np.float64
    assert reader.outputs(network, 'target', np.array([9, 3])) == pytest.approx(outputs[[9, 3]], abs=1e-5)


def test_embeddings_come_in_the_order_of_the_rows(study, reader, network, monkeypatch):
    every = reader.embeddings(network, np.arange(len(study)))
    monkeypatch.setattr(encode, 'SAMPLES_AT_ONCE', 3)
    some = reader.embeddings(network, SOME)
    for field in dataclasses.fields(every):
        expected = getattr(every, field.name)[torch.from_numpy(SOME)]
        torch.testing.assert_close(getattr(some, field.name), expected, rtol=0, atol=1e-5)
        assert not expected.requires_grad


def test_asv_embeddings_come_in_the_order_that_is_asked_for(study, network):
    every = embed_asvs(network, study, np.arange(30))
    assert torch.allclose(embed_asvs(network, study, np.array([20, 4, 4])), every[[20, 4, 4]], atol=1e-5)


def test_a_network_reads_what_the_augmentation_leaves(study, network):
    def augment(abundances, offsets):
        return abundances > 0.1, abundances

    outputs = StudyReader(study, augment).outputs(network, 'target', SOME)
    assert np.abs(outputs - StudyReader(study).outputs(network, 'target', SOME)).max() > 1e-4
    # as if the samples had nothing else
    keep = study.abundances > 0.1
    rest = dataclasses.replace(
        study,
        offsets=np.concatenate([[0], np.cumsum(keep)])[study.offsets],
        asvs=study.asvs[keep],
        abundances=study.abundances[keep],
    )
    assert outputs == pytest.approx(StudyReader(rest).outputs(network, 'target', SOME), abs=1e-5)


def test_a_network_is_where_its_weights_are(network):
    assert device_of(network) == torch.device('cpu') and device_of(network.to('meta')) == torch.device('meta')


def test_distances_are_0_to_oneself_symmetric_and_bounded(study, reader, encoder):
    distances = reader.distances(encoder, 'distances', np.arange(len(study)))
    assert np.abs(np.diagonal(distances)).max() < 1e-5
    assert np.abs(distances - distances.T).max() < 1e-5
    assert distances.min() > -1e-5 and distances.max() <= 1
    assert distances.max() > 0.01


def ensemble_outputs(reader, model, rows, vocabulary=None):
    """Outputs of every member [M, N, O] and its coverage [M, N], of all blocks."""
    parts = list(reader.ensemble_outputs(model.ensemble, vocabulary or model.vocabulary, rows))
    assert np.concatenate([part.rows for part in parts]).tolist() == list(rows)
    outputs = [model.ensemble.combine(part.by_kind) for part in parts]
    return np.concatenate(outputs, axis=1), np.concatenate([part.coverage for part in parts], axis=1)


def test_outputs_of_an_ensemble_are_those_of_its_members_in_the_order_of_the_rows(study, reader, model):
    outputs, coverage = ensemble_outputs(reader, model, SOME)
    abundances_BC = to_vocabulary(log_abundances(study, SOME), study.keys, model.vocabulary.keys)
    assert outputs.shape == (10, 7, 1) and outputs.dtype == np.float64
    assert np.array_equal(outputs, model.ensemble.outputs(abundances_BC))
    assert outputs.std(axis=0).min() > 0.001 and outputs.mean(axis=0).std() > 0.01
    assert coverage.shape == (10, 7) and coverage.dtype == np.float64


def test_the_coverage_of_a_member_is_the_share_of_logarithms_in_asvs_that_it_knows(study, reader, model):
    rows = np.array([2, 20])
    random = np.random.default_rng(3)
    known_MC = (random.random((10, 30)) < np.linspace(0, 1, 10)[:, None]).astype(np.uint8)
    model.ensemble.known[:] = known_MC
    # 10,000 times the share of reads, plus 1; columns of the vocabulary are in the order of their keys
    dense_BA = np.log(1e4 * dense_shares(study, rows) + 1)
    place_C = [study.keys.tolist().index(key) for key in model.vocabulary.keys.tolist()]
    expected_MB = known_MC @ dense_BA[:, place_C].T / dense_BA.sum(axis=1)
    _, coverage = ensemble_outputs(reader, model, rows)
    assert coverage == pytest.approx(expected_MB, abs=1e-6)
    assert coverage[0].tolist() == [0, 0] and coverage[-1] == pytest.approx([1, 1])
    assert coverage.std(axis=0).min() > 0.2


def dense_shares(study, rows):
    shares_BA = np.zeros((len(rows), len(study.codes)))
    for place, row in enumerate(rows):
        inside = slice(study.offsets[row], study.offsets[row + 1])
        shares_BA[place, study.asvs[inside]] = study.abundances[inside]
    return shares_BA


def test_asvs_that_the_vocabulary_lacks_are_covered_by_no_member(study, reader, model):
    rows = np.array([2, 20])
    # sequences of no ASV of the study in the places of a third
    codes = model.vocabulary.codes.copy()
    foreign = np.arange(30) % 3 == 0
    codes[foreign] = np.where(codes[foreign] > 0, codes[foreign] % 4 + 1, 0)
    lengths = (codes > 0).sum(axis=1)
    vocabulary = Vocabulary.of(codes, lengths)
    model.ensemble.known[:] = 1
    shared_A = np.isin(study.keys, vocabulary.keys)
    assert shared_A.sum() == 20
    logs_BA = np.log(1e4 * dense_shares(study, rows) + 1)
    expected = logs_BA[:, shared_A].sum(axis=1) / logs_BA.sum(axis=1)
    _, coverage = ensemble_outputs(reader, model, rows, vocabulary)
    assert coverage == pytest.approx(np.tile(expected, (10, 1)), abs=1e-6)
    assert 0.3 < expected.min() and expected.max() < 0.95


def test_a_sample_of_which_a_member_knows_nothing_is_to_it_as_one_that_is_empty(reader, model):
    # of the kinds, perceptrons have weights for ASVs that they do not read
    perceptrons = model.ensemble.members[PERCEPTRONS]
    model.ensemble.known[3] = perceptrons.known[3] = 0
    alone = dataclasses.replace(model.ensemble, members={PERCEPTRONS: perceptrons}, weights={PERCEPTRONS: 1.0})
    model = dataclasses.replace(model, ensemble=alone)
    outputs, coverage = ensemble_outputs(reader, model, SOME)
    assert coverage[3].tolist() == [0] * 7 and np.isfinite(outputs).all()
    assert outputs[3].ravel() == pytest.approx(np.full(7, outputs[3, 0, 0])) and outputs[2].std() > 1e-3


def test_the_size_of_blocks_changes_no_output_of_an_ensemble(reader, model, monkeypatch):
    model.ensemble.known[:, ::2] = 0
    in_one, coverage = ensemble_outputs(reader, model, SOME)
    assert (coverage < 1).any() and (coverage > 0).all()
    for place in range(7):
        alone, alone_coverage = ensemble_outputs(reader, model, SOME[[place]])
        assert alone[:, 0] == pytest.approx(in_one[:, place], abs=1e-5)
        assert alone_coverage[:, 0] == pytest.approx(coverage[:, place])
    monkeypatch.setattr(encode, 'SAMPLES_AT_ONCE', 3)
    in_blocks, coverage_in_blocks = ensemble_outputs(reader, model, SOME)
    assert in_blocks == pytest.approx(in_one, abs=1e-5) and coverage_in_blocks == pytest.approx(coverage)


def test_an_ensemble_reads_what_the_augmentation_leaves(study, reader, model):
    def augment(abundances, offsets):
        return abundances > 0.1, abundances

    model.ensemble.known[:] = 1
    outputs, coverage = ensemble_outputs(StudyReader(study, augment), model, SOME)
    abundances_BC = to_vocabulary(log_abundances(study, SOME, augment), study.keys, model.vocabulary.keys)
    assert np.array_equal(outputs, model.ensemble.outputs(abundances_BC))
    assert not np.array_equal(outputs, ensemble_outputs(reader, model, SOME)[0])
    assert coverage == pytest.approx(np.ones((10, 7)))
