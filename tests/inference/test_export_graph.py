"""A model as a function of tensors gives what prediction gives: no package of ONNX is needed to see that."""

import dataclasses
import pathlib

import numpy as np
import pandas as pd
import pytest
import torch

from q2_aam import bundle
from q2_aam.bundle.card import CARD_FILE
from q2_aam.bundle.untrusted import read_object
from q2_aam.config import DistancesConfig, EmbedConfig, PredictClassesConfig, PredictConfig
from q2_aam.data.signs import Signs
from q2_aam.encoders import path_of
from q2_aam.inference.embed import embed_samples, predict_distances
from q2_aam.inference.export_ensemble import SignsOf, depth
from q2_aam.inference.export_graph import ModelGraph
from q2_aam.inference.export_target import NumberGraph
from q2_aam.inference.predict import predict, predict_classes
from q2_aam.model.covariates import FUSIONS, CovariateForm
from q2_aam.model.network import build_network
from q2_aam.stats.conformal import calibrate
from q2_aam.stats.difficulty import FEATURES, Difficulty

from .exported import assert_columns, inputs_of, samples_of

FROZEN = pathlib.Path(__file__).parents[1] / 'data' / 'bundle-v1'
AS_THEY_ARE = {'harmonize': 'off', 'device': 'cpu', 'threads': 1}
SIGNS = ['vocabulary_coverage', 'share_of_reads_in_vocabulary', 'familiarity', 'disagreement']
INTERVAL = ['prediction', 'lower_bound', 'upper_bound']


def silent(line):
    pass


def run_graph(model, samples, sequences, covariates=None):
    """Return {output: array} of the graph of a model for samples as its reader gives them."""
    graph = ModelGraph(model).eval()
    given = inputs_of(graph, model, samples, sequences, covariates)
    with torch.no_grad():
        found = graph(**{name: torch.from_numpy(values) for name, values in given.items()})
    return dict(zip(graph.columns, (values.numpy() for values in found)))


def changed(folder, place, **fields):
    """Return the folder of a copy of a model with other fields of its data configuration."""
    model = bundle.load(folder)
    call = dataclasses.replace(model.config.call, data=dataclasses.replace(model.config.call.data, **fields))
    model = dataclasses.replace(model, config=dataclasses.replace(model.config, call=call))
    place.mkdir()
    bundle.save(place, model, read_object((pathlib.Path(folder) / CARD_FILE).read_bytes(), CARD_FILE))
    return place


@pytest.mark.parametrize('limit', [0, 3, 0.8])
def test_a_regressor_s_graph_gives_predictions_and_intervals(tmp_path, limit):
    folder, table = changed(FROZEN / 'regressor', tmp_path / 'model', max_asvs_per_sample=limit), FROZEN / 'table.biom'
    _, details = predict(table, folder, PredictConfig.from_flat(AS_THEY_ARE), say=silent)
    samples, sequences = samples_of(table)
    found = run_graph(bundle.load(folder), {name: samples[name] for name in details.index}, sequences)
    assert_columns(found, details, [*INTERVAL, *SIGNS], 1e-5)
    if limit:
        assert details['share_of_reads_left_out'].max() > 0.05


def test_a_classifier_s_graph_gives_probabilities_and_the_number_of_the_class(tmp_path):
    folder, table = FROZEN / 'classifier', FROZEN / 'table.biom'
    config = PredictClassesConfig.from_flat(AS_THEY_ARE)
    predicted, probabilities, details = predict_classes(table, folder, config, say=silent)
    samples, sequences = samples_of(table)
    model = bundle.load(folder)
    found = run_graph(model, {name: samples[name] for name in details.index}, sequences)
    np.testing.assert_allclose(found['probabilities'], probabilities.to_numpy(), atol=1e-6)
    assert [model.config.target.classes[number] for number in found['prediction']] == list(predicted)
    assert_columns(found, details, SIGNS, 1e-5)


def test_all_kinds_of_members_familiarity_and_difficulty_are_in_the_graph(tiny, tiny_regressor, tmp_path):
    model = bundle.load(tiny_regressor.folder)
    assert set(model.ensemble.members) == {'perceptrons', 'linear', 'extra_trees'} and model.domain is not None
    files = tiny.write(tmp_path / 'inputs')
    config = PredictConfig.from_flat(AS_THEY_ARE)
    _, details = predict(files.table, tiny_regressor.folder, config, files.sequences, say=silent)
    samples, sequences = samples_of(files.table, files.sequences)
    found = run_graph(model, {name: samples[name] for name in details.index}, sequences)
    assert_columns(found, details, [*INTERVAL, *SIGNS], 1e-5)


def test_covariates_are_inputs_and_may_be_unknown(facility_regressor, tmp_path):
    study = facility_regressor
    files = study.tiny.write(tmp_path / 'inputs')
    covariates = study.covariates.copy()
    covariates.iloc[::5, covariates.columns.get_loc('visit')] = np.nan
    covariates.iloc[::7, covariates.columns.get_loc('facility')] = 'moon'
    config = PredictConfig.from_flat(AS_THEY_ARE)
    _, details = predict(files.table, study.folder, config, files.sequences, silent, covariates)
    samples, sequences = samples_of(files.table, files.sequences)
    rows = {name: {key: value for key, value in row.items() if value == value} for name, row in covariates.T.items()}
    names = list(details.index[:40])
    found = run_graph(bundle.load(study.folder), {name: samples[name] for name in names}, sequences, rows)
    assert_columns(found, details.loc[names], [*INTERVAL, *SIGNS], 1e-5)
    unknown = run_graph(bundle.load(study.folder), {name: samples[name] for name in names}, sequences, {})
    assert np.abs(unknown['prediction'] - found['prediction']).max() > 0.1


@pytest.mark.parametrize('fusion', sorted(FUSIONS))
def test_every_fusion_of_covariates_reads_padded_samples_as_ragged_ones(facility_regressor, tmp_path, fusion):
    from q2_aam.data.inputs import read_study
    from q2_aam.inference.covariates import with_covariates
    from q2_aam.runtime.encode import StudyReader

    model = bundle.load(facility_regressor.folder)
    form = CovariateForm.of(model.config.covariates, fusion)
    network = build_network(model.config.call.model, model.config.heads, torch.Generator().manual_seed(3), form).eval()
    with torch.no_grad():
        for weights in network.parameters():
            weights += torch.randn(weights.shape, generator=torch.Generator().manual_seed(len(weights))) / 5
    config = dataclasses.replace(model.config, blend=None)
    config = dataclasses.replace(config, target=dataclasses.replace(config.target, difficulty=None, calibration=None))
    model = dataclasses.replace(model, config=config, network=network, ensemble=None)
    files = facility_regressor.tiny.write(tmp_path / 'inputs')
    study, _ = read_study(files.table, files.sequences)
    study = with_covariates(study, config.covariates, facility_regressor.covariates, silent)
    ragged = StudyReader(study).outputs(network, 'target', np.arange(9))
    samples, sequences = samples_of(files.table, files.sequences)
    rows = facility_regressor.covariates.T.to_dict()
    names = study.sample_ids[:9]
    found = run_graph(model, {name: samples[name] for name in names}, sequences, rows)
    np.testing.assert_allclose(found['prediction'], config.target.predictions(ragged), rtol=1e-5, atol=1e-5)


def test_an_encoder_s_graph_gives_embeddings_and_distances(tmp_path):
    folder, table = FROZEN / 'encoder', FROZEN / 'table.biom'
    samples, sequences = samples_of(table)
    distances = predict_distances(table, folder, DistancesConfig.from_flat(AS_THEY_ARE), say=silent)
    found = run_graph(bundle.load(folder), {name: samples[name] for name in distances.index}, sequences)
    np.testing.assert_allclose(found['distances'], distances.to_numpy(), atol=1e-5)
    for how in ('summary', 'mean', 'memberships'):
        config = EmbedConfig.from_flat(AS_THEY_ARE | {'embedding': how})
        embedded = embed_samples(table, folder, config, say=silent)
        np.testing.assert_allclose(found[how], embedded.to_numpy(), atol=1e-5)


def test_own_branches_are_shorter_for_asvs_that_the_encoder_learned_from(tiny, tmp_path):
    folder = path_of('v4')
    model = bundle.load(folder)
    few = dataclasses.replace(tiny, counts=tiny.counts.iloc[::6])
    files = few.write(tmp_path / 'inputs')
    with pytest.warns(Warning, match='learned from'):
        distances = predict_distances(
            files.table, folder, DistancesConfig.from_flat(AS_THEY_ARE), files.sequences, say=silent
        )
    samples, sequences = samples_of(files.table, files.sequences)
    ordered = {name: samples[name] for name in distances.index}
    found = run_graph(model, ordered, sequences)
    np.testing.assert_allclose(found['distances'], distances.to_numpy(), atol=1e-5)
    assert model.known_asvs is not None and 'memberships' not in found
    # as if it had learned from all of these
    from q2_aam.data.sequences import encode, sequence_keys

    keys = np.sort(sequence_keys(*encode(list(sequences.values()))))
    known = run_graph(
        dataclasses.replace(model, known_asvs=dataclasses.replace(model.known_asvs, keys=keys)), ordered, sequences
    )
    assert np.abs(known['distances'] - found['distances']).max() > 1e-3


@pytest.mark.parametrize(
    'how',
    [
        {},
        {'sqrt': True, 'lowest': 0.5},
        {'log': True, 'highest': 9.0},
        {'quantiles': True},
        {'quantiles': True, 'levels': (0.5, 0.1, 0.9, 0.25), 'shown': (0.25,), 'sqrt': True},
    ],
)
@pytest.mark.parametrize('by_difficulty', [False, True])
def test_outputs_are_read_as_the_target_reads_them(how, by_difficulty):
    random = np.random.default_rng(4)
    target = bundle.NumericTarget('age', 3.0, 2.0, 0.8, **how)
    outputs = random.normal(size=(50, target.outputs)) * 2
    signs = Signs(*(random.uniform(0, 1, 50) for _ in range(4)))
    signs.familiarity[::3] = np.nan
    difficulty = None
    if by_difficulty and not target.quantiles:
        lowest, highest = np.full(FEATURES, -0.5), np.full(FEATURES, 0.9)
        difficulty = Difficulty(random.uniform(0, 1, FEATURES), lowest, highest, np.array([0.1]))
    hardness = random.uniform(0.5, 2, 30) if target.quantiles or difficulty is not None else None
    calibration = calibrate(random.normal(size=30), difficulty=hardness)
    target = dataclasses.replace(target, calibration=calibration, difficulty=difficulty)
    expected = target.columns(outputs, signs)
    graph = NumberGraph(target)
    tensors = SignsOf(**{name: torch.from_numpy(values) for name, values in vars(signs).items()})
    found = dict(zip(graph.columns, graph(torch.from_numpy(outputs), tensors)))
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name].numpy(), values, rtol=1e-9, err_msg=name)


def test_a_sample_without_reads_has_no_prediction_and_padding_changes_nothing():
    model = bundle.load(FROZEN / 'regressor')
    samples, sequences = samples_of(FROZEN / 'table.biom')
    first, other = sorted(samples, key=lambda name: len(samples[name]))[:: len(samples) - 1]
    alone = run_graph(model, {first: samples[first]}, sequences)
    beside = run_graph(model, {'empty': {}, first: samples[first], other: samples[other]}, sequences)
    assert np.isnan(beside['prediction'][0]) and np.isfinite(beside['prediction'][1:]).all()
    assert beside['prediction'][1] == pytest.approx(alone['prediction'][0], abs=1e-6)


@pytest.mark.parametrize('kind', ['regressor', 'classifier', 'encoder'])
def test_nothing_is_said_of_a_sample_without_reads_whatever_the_model_is(tmp_path, kind):
    # without a limit NaN would come from a division by no reads
    model = bundle.load(changed(FROZEN / kind, tmp_path / 'model', max_asvs_per_sample=3))
    samples, sequences = samples_of(FROZEN / 'table.biom')
    first = next(iter(samples))
    found = run_graph(model, {'empty': {}, first: samples[first]}, sequences)
    for name, values in found.items():
        nothing = np.isnan(values) if values.dtype.kind == 'f' else values == -1
        assert nothing[0].all(), name
        assert not nothing[1].all() or name == 'familiarity', name
    if kind == 'encoder':
        assert np.isnan(found['distances'][1]).tolist() == [True, False]


def test_features_of_one_sequence_are_one_asv_and_long_ones_are_cut():
    model = bundle.load(FROZEN / 'regressor')
    samples, sequences = samples_of(FROZEN / 'table.biom')
    name = max(samples, key=lambda name: len(samples[name]))
    whole = run_graph(model, {name: samples[name]}, sequences)
    feature = next(iter(samples[name]))
    halves = samples[name] | {feature: samples[name][feature] / 2, 'again': samples[name][feature] / 2}
    parted = run_graph(model, {name: halves}, sequences | {'again': sequences[feature].lower()})
    assert parted['prediction'][0] == pytest.approx(whole['prediction'][0], abs=1e-6)
    longest = model.config.call.model.max_sequence_length
    full = {key: value.ljust(longest, 'A') for key, value in sequences.items()}
    longer = {key: value + 'ACGT' for key, value in full.items()}
    one, two = (run_graph(model, {name: samples[name]}, given)['prediction'][0] for given in (full, longer))
    assert one == two


def test_the_deepest_path_of_trees_is_followed():
    # two trees: a leaf alone, and a root whose right child has two leaves
    first = np.array([0, 1], dtype=np.int32)
    asv = np.array([-1, 0, -1, 1, -1, -1], dtype=np.int16)
    right = np.array([0, 3, 1, 5, 2, 3], dtype=np.int32)
    assert depth(first, asv, right) == 2 and depth(first[:1], asv, right) == 0


def test_counts_and_shares_give_the_same():
    model = bundle.load(FROZEN / 'classifier')
    samples, sequences = samples_of(FROZEN / 'table.biom')
    shares = {name: dict(zip(row, pd.Series(row) / sum(row.values()))) for name, row in samples.items()}
    one, two = (run_graph(model, given, sequences)['probabilities'] for given in (samples, shares))
    np.testing.assert_allclose(one, two, atol=1e-6)
