"""How much a fit is worth: steps from what one costs, and a network that is stopped where it adds nothing."""

import types

import numpy as np
import pytest
import torch

from q2_aam.config import ModelConfig
from q2_aam.data.labels import Labels
from q2_aam.data.splits import TEST, TRAINING, VALIDATION
from q2_aam.training import effort
from q2_aam.training.effort import MIN_BATCH, MIN_STEPS, Trial, batch_and_steps, gain_of_kind

MODEL = ModelConfig().resolved(150, 100)
ROWS = np.arange(60)


def study_of(richness, samples=60, asvs=6000, longest=150):
    """A study whose samples hold as many ASVs, drawn from all."""
    random = np.random.default_rng(1)
    held = np.concatenate([random.choice(asvs, richness, replace=False) for _ in range(samples)])
    return types.SimpleNamespace(asvs=held, offsets=np.arange(samples + 1) * richness, longest=longest)


def test_an_encoder_has_400_steps_and_random_weights_half_as_many():
    study = study_of(40)
    assert batch_and_steps(MODEL, study, ROWS, 16, True, True) == (16, effort.STEPS) == (16, 400)
    poor = study_of(3)
    assert batch_and_steps(MODEL, poor, ROWS, 16, False, False) == (16, effort.STEPS_FROM_SCRATCH) == (16, 200)


def test_rich_samples_get_smaller_batches_first_and_then_fewer_steps():
    found = [batch_and_steps(MODEL, study_of(richness), ROWS, 16, False, False) for richness in (3, 40, 100, 400, 3000)]
    sizes, steps = zip(*found)
    assert list(sizes) == sorted(sizes, reverse=True) and sizes[0] == 16 and sizes[-1] == MIN_BATCH == 8
    # as long as batches can become smaller, steps are not fewer than the least
    assert min(steps) == steps[-1] == MIN_STEPS and max(steps) == 200
    # never more than is given, however little a step costs
    assert batch_and_steps(MODEL, study_of(3), ROWS, 5, False, False)[0] == 5
    assert batch_and_steps(MODEL, study_of(3000), ROWS, 5, False, False) == (5, MIN_STEPS)


def test_what_a_step_costs_decides(monkeypatch):
    study = study_of(100)
    work = effort._work(MODEL, study, ROWS, 8, False)
    monkeypatch.setattr(effort, 'MAX_WORK', 150.5 * work)
    monkeypatch.setattr(effort, 'WORK_PER_SAMPLE', work)
    # from random weights as many steps as there are samples
    assert batch_and_steps(MODEL, study, ROWS, 8, False, False) == (8, 60)
    assert batch_and_steps(MODEL, study, np.repeat(ROWS, 9), 8, False, False)[1] == 150
    assert batch_and_steps(MODEL, study, ROWS, 8, True, False) == (8, 150)


def test_work_grows_with_what_a_batch_holds():
    rich, poor = study_of(200), study_of(20)
    for frozen in (True, False):
        assert effort._work(MODEL, rich, ROWS, 8, frozen) > 5 * effort._work(MODEL, poor, ROWS, 8, frozen)
        assert effort._work(MODEL, poor, ROWS, 16, frozen) > 1.5 * effort._work(MODEL, poor, ROWS, 8, frozen)
    # sequences are read in every step where the encoder of ASVs learns
    assert effort._work(MODEL, rich, ROWS, 8, False) > 3 * effort._work(MODEL, rich, ROWS, 8, True)
    # an ASV that all samples hold is read once
    same = study_of(20, asvs=20)
    assert effort._work(MODEL, same, ROWS, 16, False) < 0.5 * effort._work(MODEL, poor, ROWS, 16, False)
    assert effort._work(MODEL, study_of(0), ROWS, 8, True) == 1


@pytest.fixture
def target_of(prepare_labels):
    """Make a target of 60 samples, of one group each, learned as it is: (values, kind of model)."""

    def make(values, kind='regressor', groups=None):
        ids = [f's{row}' for row in ROWS]
        labels = Labels('age', ids, values, np.array(ids if groups is None else groups))
        rows = {TRAINING: ROWS, VALIDATION: ROWS, TEST: ROWS[:0]}
        study = types.SimpleNamespace(sample_ids=ids)
        return prepare_labels(study, labels, rows, kind, target_scaling='none', class_weights='none').target

    return make


@pytest.fixture
def numbers(target_of):
    """A target, its true values, and outputs of an ensemble that are half of them and half noise."""
    random = np.random.default_rng(5)
    true = random.normal(size=60)
    return target_of(true), true, (true / 2 + 0.5 * random.normal(size=60))[:, None]


def trial_of(target, ensemble, coverage=1.0, steps=10):
    return Trial(target, ROWS, ensemble, np.full(60, coverage), steps)


def outputs_of(values, epochs=4):
    return {epoch: torch.as_tensor(values).clone() for epoch in range(1, epochs + 1)}


def test_training_goes_on_where_the_network_lowers_the_error(numbers):
    target, true, ensemble = numbers
    trial, network = trial_of(target, ensemble), (true + 0.3 * np.random.default_rng(6).normal(size=60))[:, None]
    assert trial.gain(network) > 0.2
    assert trial.verdict(10, outputs_of(network)) is None and trial.reason(outputs_of(network)) is None


def test_training_stops_where_the_network_is_noise(numbers):
    target, _, ensemble = numbers
    trial = trial_of(target, ensemble)
    for seed in range(8):
        network = np.random.default_rng(100 + seed).normal(size=(60, 1))
        assert trial.gain(network) < 0.02
        assert trial.verdict(10, outputs_of(network)).endswith(', too little to train on')
    # or says the same, or nothing
    for network in (ensemble, 0 * ensemble):
        assert trial.verdict(10, outputs_of(network)) == (
            'the network would lower the error of the abundance ensemble by 0.0%, too little to train on'
        )


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_training_stops_where_the_network_gives_no_finite_numbers(numbers, value):
    target, true, ensemble = numbers
    trial, network = trial_of(target, ensemble), true[:, None].copy()
    # one epoch that is right does not make up for one that is not finite
    outputs = outputs_of(network)
    outputs[4][7] = value
    for ask in (trial.reason, lambda values: trial.verdict(10, values)):
        assert ask(outputs) == (
            'the network gives no finite numbers, which cannot be blended with the abundance ensemble'
        )


def test_nothing_is_asked_before_the_trial_is_over_or_where_outputs_are_not_kept(numbers):
    target, _, ensemble = numbers
    trial, noise = trial_of(target, ensemble), outputs_of(0 * ensemble)
    assert trial.verdict(9, noise) is None and trial.verdict(10, noise) is not None
    assert trial.verdict(10, {}) is None


def test_the_mean_of_the_later_half_of_the_epochs_is_asked(numbers):
    target, true, ensemble = numbers
    trial = trial_of(target, ensemble)
    right, nothing = torch.as_tensor(true)[:, None], torch.zeros(60, 1, dtype=torch.float64)
    assert trial.verdict(10, {1: nothing, 2: nothing, 3: right, 4: right}) is None
    assert trial.verdict(10, {1: right, 2: right, 3: nothing, 4: nothing}) is not None
    # one epoch that is right by chance is one of several
    halved = {3: 2 * true[:, None] - ensemble, 4: ensemble}
    assert trial.gain(right.numpy()) == pytest.approx(trial.gain(np.mean(list(halved.values()), axis=0)))


def test_of_samples_outside_the_vocabulary_the_network_speaks_either_way(numbers):
    target, true, ensemble = numbers
    # both are then the network alone
    assert trial_of(target, ensemble, coverage=0.0).gain(true[:, None]) >= 0
    assert trial_of(target, np.asarray(true)[:, None]).gain(ensemble) == 0


@pytest.mark.parametrize('right', [True, False])
def test_classes_are_tried_by_their_log_loss(target_of, right):
    random = np.random.default_rng(7)
    codes = random.integers(0, 3, 60)
    target = target_of(np.array(['a', 'b', 'c'], dtype=object)[codes], 'classifier')
    ensemble = np.eye(3)[codes] + random.normal(size=(60, 3))
    network = 2 * np.eye(3)[codes] + random.normal(size=(60, 3)) if right else random.normal(size=(60, 3))
    reason = trial_of(target, ensemble).verdict(10, outputs_of(network))
    assert (reason is None) == right


def test_one_more_kind_gains_what_it_takes_from_the_error(numbers):
    target, true, ensemble = numbers
    assert gain_of_kind(target, ROWS, [ensemble], true[:, None], np.zeros(2)) > 0.2
    assert gain_of_kind(target, ROWS, [ensemble], ensemble, np.zeros(2)) == pytest.approx(0, abs=1e-9)
    noise = 3 * np.random.default_rng(9).normal(size=(60, 1))
    assert gain_of_kind(target, ROWS, [ensemble, ensemble], noise, np.zeros(3)) < 0.02
    # nothing is better than no error
    assert gain_of_kind(target, ROWS, [true[:, None]], ensemble, np.zeros(2)) == 0
