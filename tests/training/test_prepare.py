"""Preparing a run: every 'auto' has its value, splits hold what they should, and what is prepared is said."""

import dataclasses

import numpy as np
import pytest

from q2_aam import bundle
from q2_aam.config import AUTO, FitClassifierConfig, FitRegressorConfig, PretrainConfig
from q2_aam.data.inputs import read_study
from q2_aam.data.splits import TEST, TRAINING, VALIDATION
from q2_aam.objectives import Classification, Distances, Inputs, MaskedNucleotides, Regression
from q2_aam.training.prepare import prepare_fit, prepare_pretraining
from q2_aam.training.train import describe, describe_study, start

CALLS = {
    bundle.ENCODER: PretrainConfig,
    bundle.REGRESSOR: FitRegressorConfig,
    bundle.CLASSIFIER: FitClassifierConfig,
}


@pytest.fixture
def inputs(tiny, tmp_path):
    """Inputs of a call of a kind: (kind, further inputs)."""
    files = tiny.write(tmp_path / 'inputs')
    targets = {bundle.ENCODER: None, bundle.REGRESSOR: tiny.target, bundle.CLASSIFIER: tiny.stages}

    def make(kind, matrix=False, **more):
        groups = None if kind == bundle.ENCODER else tiny.groups
        matrix = files.distance_matrix if matrix else None
        return Inputs(files.table, files.sequences, targets[kind], groups, distance_matrix=matrix, **more)

    return make


@pytest.fixture
def prepared(inputs, make_run):
    """Prepare a run of a kind: (kind, whether with a matrix, the encoder, parameters)."""

    def make(kind, matrix=False, encoder=None, say=lambda line: None, **options):
        config = CALLS[kind].from_flat({'threads': 1, 'device': 'cpu'} | options)
        given, run = inputs(kind, matrix, encoder=encoder), make_run(say=say)
        if kind == bundle.ENCODER:
            return prepare_pretraining(given, config, run)
        return prepare_fit(kind, given, config, run)

    return make


def unresolved(config):
    groups = (config.data, config.model, config.training)
    return [name for group in groups for name, value in dataclasses.asdict(group).items() if value == AUTO]


@pytest.mark.parametrize('matrix', [False, True])
@pytest.mark.parametrize('kind', CALLS)
def test_nothing_is_left_to_be_derived(prepared, kind, matrix):
    assert unresolved(CALLS[kind]()) != []
    result = prepared(kind, matrix)
    assert unresolved(result.config) == [] and result.kind == kind


@pytest.mark.parametrize('kind', [bundle.REGRESSOR, bundle.CLASSIFIER])
def test_nothing_is_left_to_be_derived_with_an_encoder_whose_form_is_taken(prepared, kind, tiny_encoder):
    result = prepared(kind, encoder=tiny_encoder.folder)
    assert unresolved(result.config) == []
    assert result.config.model == bundle.read_config(tiny_encoder.folder).call.model
    assert result.config.training.freeze == 'asv' and prepared(kind).config.training.freeze == 'none'


def test_what_is_given_is_left_as_it_is(prepared):
    given = {'epochs': 3, 'learning_rate': 0.0123, 'patience': 2, 'width': 32, 'target_scaling': 'minmax'}
    flat = prepared(bundle.REGRESSOR, **given).config.to_flat()
    assert {name: flat[name] for name in given} == given
    assert prepared(bundle.ENCODER, masked_asv_ratio=0.3).config.training.masked_asv_ratio == 0.3


def test_masks_are_on_an_eighth_of_the_asvs_beside_distances_and_else_on_all(prepared):
    ratios = [prepared(bundle.ENCODER, matrix).config.training.masked_asv_ratio for matrix in (True, False)]
    assert ratios == [0.125, 1.0]
    assert prepared(bundle.ENCODER, True, distance_weight=0.0).config.training.masked_asv_ratio == 1.0


def test_objectives_are_those_that_have_an_input_and_a_weight(prepared):
    def kinds(*inputs, **options):
        return [type(objective) for objective in prepared(*inputs, **options).objectives]

    assert kinds(bundle.ENCODER, True) == [Distances, MaskedNucleotides]
    assert kinds(bundle.ENCODER) == [MaskedNucleotides]
    assert kinds(bundle.ENCODER, True, nucleotide_weight=0.0) == [Distances]
    assert kinds(bundle.REGRESSOR) == [Regression]
    assert kinds(bundle.CLASSIFIER, True) == [Classification, Distances]
    assert kinds(bundle.CLASSIFIER, True, distance_weight=0.0) == [Classification]


def test_every_sample_is_in_one_split_and_labelled_ones_are_in_order(prepared):
    result = prepared(bundle.REGRESSOR)
    rows = result.rows
    assert sorted(np.concatenate([rows[part] for part in (TRAINING, VALIDATION, TEST)])) == list(range(24))
    assert result.labelled.tolist() == sorted([*rows[TRAINING], *rows[VALIDATION]])
    assert {part: (result.parts == part).sum() for part in rows} == {part: len(rows[part]) for part in rows}


def test_labels_of_test_samples_prepare_nothing(prepared, tiny):
    before = prepared(bundle.REGRESSOR)
    # the median is far from the mean with them, and no square root can be taken
    tiny.target.iloc[before.rows[TEST]] = -1e9
    after = prepared(bundle.REGRESSOR)
    assert after.config == before.config and after.target.target == before.target.target
    assert all(np.array_equal(after.rows[part], before.rows[part]) for part in before.rows)


def from_logarithms(tiny):
    """Numbers above 0 that are a weighted sum of the logarithms of abundances of each sample."""
    shares = tiny.counts.div(tiny.counts.sum(axis=1), axis=0)
    logs = np.log1p(1e4 * shares)
    sums = logs.to_numpy() @ np.random.default_rng(11).normal(size=logs.shape[1])
    return (sums - sums.min()) / np.ptp(sums) + 0.02


@pytest.mark.parametrize(
    ('made_of', 'chosen'),
    [
        (lambda numbers: numbers, 'standard'),
        (np.square, 'sqrt'),
        # below 0 there is no square root
        (lambda numbers: np.square(numbers) - 0.1, 'standard'),
        (lambda numbers: -np.square(numbers), 'standard'),
    ],
    ids=['linear', 'square', 'some below 0', 'all below 0'],
)
def test_the_scaling_is_that_by_which_left_out_groups_are_predicted_best(prepared, tiny, made_of, chosen):
    tiny.target[:] = made_of(from_logarithms(tiny))
    result = prepared(bundle.REGRESSOR)
    assert result.config.training.target_scaling == chosen and result.target.target.sqrt == (chosen == 'sqrt')


def test_labels_of_test_samples_choose_no_scaling(prepared, tiny):
    tiny.target[:] = np.square(from_logarithms(tiny))
    before = prepared(bundle.REGRESSOR)
    assert before.config.training.target_scaling == 'sqrt'
    for value in (-1.0, 1e9):
        tiny.target.iloc[before.rows[TEST]] = value
        after = prepared(bundle.REGRESSOR)
        assert after.config == before.config and after.target.target == before.target.target


def test_a_scaling_that_is_given_needs_no_models(prepared, monkeypatch):
    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr('q2_aam.training.prepare.quick_predictions', refuse)
    assert prepared(bundle.REGRESSOR, target_scaling='sqrt').config.training.target_scaling == 'sqrt'
    assert prepared(bundle.CLASSIFIER).config.training.class_weights == 'balanced'
    with pytest.raises(AssertionError):
        prepared(bundle.REGRESSOR)


def test_the_data_are_said_with_their_splits(tiny, tmp_path):
    files = tiny.write(tmp_path / 'described')
    lines = []
    describe_study(read_study(files.table, files.sequences)[0], {'training': 1200, 'test': 4}, lines.append)
    richness = (tiny.counts > 0).sum(axis=1).median()
    assert lines == [
        f'Samples: 24 (1,200 training, 4 test); median richness {richness:.0f}.',
        'ASVs: 30 distinct, of 40 to 60 nucleotides.',
    ]


def test_sequences_of_one_length_are_said_as_such(tiny, tmp_path):
    tiny.sequences = {name: sequence[:40] for name, sequence in tiny.sequences.items()}
    files = tiny.write(tmp_path / 'described')
    lines = []
    describe_study(read_study(files.table, files.sequences)[0], {'new': 24}, lines.append)
    assert lines[1] == 'ASVs: 30 distinct, of 40 nucleotides.'


def test_the_model_and_what_was_derived_are_said(prepared, make_run):
    form = {'width': 16, 'memberships': 8, 'asv_layers': 1, 'sample_layers': 2, 'epochs': 9, 'learning_rate': 0.004}
    result, lines = prepared(bundle.REGRESSOR, **form), []
    run = make_run(seed=12, say=lines.append)
    network = start(result, run)
    describe(network, result, run)
    parameters = sum(value.numel() for value in network.state_dict().values())
    assert lines[2:] == [
        "Target: 'age', a number.",
        'Model: width 16, 1 ASV layer on tokens of 10 nucleotides, 2 sample layers, 1 attention head, 8 memberships; '
        f'{parameters:,} parameters.',
        'Training: up to 9 epochs, batches of up to 4 samples, peak learning rate 0.004, seed 12, on cpu.',
    ]
