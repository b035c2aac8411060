"""The profile head beside the network: what is left out, how both are weighed, who has a say in it."""

import dataclasses

import numpy as np
import pytest
import torch

from q2_aam import bundle
from q2_aam.bundle.schema import KNOWN_ENOUGH
from q2_aam.config import FitClassifierConfig, FitConfig
from q2_aam.data.inputs import read_study
from q2_aam.data.labels import align_classes, align_labels
from q2_aam.runtime.encode import profile_outputs_of
from q2_aam.training import ensemble as profile
from q2_aam.training.blend import NETWORK_WEIGHT, blend_in_profile_head, learned_rows
from q2_aam.training.ensemble import fit_profile_head
from q2_aam.training.goals import CategoricalGoal, NumericGoal, best_temperature
from q2_aam.training.loop import reproducible

# subjects, of two samples each, of the tiny study
ROWS = {
    'training': np.array([0, 1, 4, 5, 6, 7, 10, 11, 14, 15, 16, 17, 20, 21]),
    'validation': np.array([2, 3, 12, 13, 22, 23]),
    'test': np.array([8, 9, 18, 19]),
}
LEARNED = np.setdiff1d(np.arange(24), ROWS['test'])
CPU = torch.device('cpu')


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Some steps: enough to learn something, which most tests here do not ask about."""
    monkeypatch.setattr(profile, 'FEWEST_STEPS', 40)
    monkeypatch.setattr(profile, 'MOST_STEPS', 40)


@pytest.fixture
def study(tiny, tmp_path):
    files = tiny.write(tmp_path / 'inputs')
    return read_study(files.table, files.sequences)[0]


def numeric(tiny, study, change=lambda values: values):
    """The goal of the tiny study's ages, whose scaling is that of its true ones whatever `change` makes of them."""
    labels = align_labels(study.sample_ids, tiny.target, tiny.groups)
    goal = NumericGoal(labels, ROWS['training'], dataclasses.replace(FitConfig().training, target_scaling='standard'))
    goal.values = change(goal.values)
    return goal


def blended(goal, study, network=None, reading=None, seed=7, say=lambda line: None):
    network = np.zeros((24, goal.outputs)) if network is None else network
    with reproducible(CPU, seed):
        return blend_in_profile_head(goal, study, network, ROWS, reading, seed, CPU, say)


def same_head(one, two):
    one, two = one.arrays(), two.arrays()
    return one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)


def test_rows_that_may_be_learned_from_are_those_of_two_parts_in_order():
    assert learned_rows(ROWS).tolist() == LEARNED.tolist()


def test_learned_samples_have_outputs_of_a_member_that_was_not_told_of_their_group(tiny, study):
    goal, network = numeric(tiny, study), np.random.default_rng(2).normal(size=(24, 1))
    blend, head, outputs = blended(goal, study, network)
    with reproducible(CPU, 7):
        same, left_out = fit_profile_head(goal, study, LEARNED, None, 7, CPU, lambda line: None)
    assert same_head(same, head)
    of_learned = np.full((24, 1), np.nan)
    of_learned[LEARNED] = left_out
    own = ROWS['validation']
    np.testing.assert_allclose(outputs[own], blend.network * network[own] + blend.profile * of_learned[own])
    # the network has learned from training samples: it has no say
    np.testing.assert_allclose(outputs[ROWS['training']], of_learned[ROWS['training']])
    # the head has learned from no test sample: all its members speak
    mean, known = profile_outputs_of(head, study, ROWS['test'])
    assert known == pytest.approx(np.ones(4))
    np.testing.assert_allclose(outputs[ROWS['test']], blend.network * network[ROWS['test']] + blend.profile * mean)


@pytest.mark.parametrize('part', ['training', 'validation'])
def test_labels_of_a_group_do_not_reach_its_own_outputs(tiny, study, part):
    own = ROWS[part][2:4]
    assert tiny.groups.iloc[own].nunique() == 1

    def outputs(change):
        goal = numeric(tiny, study, change)
        goal.weights = lambda *_: (0.0, 1.0, 1.0)
        return blended(goal, study)[2]

    before = outputs(lambda ages: ages)
    after = outputs(lambda ages: ages + 50 * np.isin(np.arange(24), own))
    assert np.array_equal(after[own], before[own])
    assert (after[ROWS['test']] != before[ROWS['test']]).all()
    # but for the other group of its part, whose member was not told of this one either
    assert (after != before).sum() >= 24 - 2 * 2


def test_labels_of_test_samples_change_nothing(tiny, study):
    network = np.random.default_rng(2).normal(size=(24, 1))
    before = blended(numeric(tiny, study), study, network)
    goal = numeric(tiny, study, lambda ages: np.where(np.isin(np.arange(24), ROWS['test']), 1e6, ages))
    after = blended(goal, study, network)
    assert before[0] == after[0] and same_head(before[1], after[1]) and np.array_equal(before[2], after[2])
    # those of the validation samples do teach it
    goal = numeric(tiny, study, lambda ages: np.where(np.isin(np.arange(24), ROWS['validation']), 6.0, ages))
    assert not same_head(blended(goal, study, network)[1], before[1])


def test_network_and_profile_head_are_weighed_on_validation_samples(tiny, study):
    goal, asked = numeric(tiny, study), []
    network = np.random.default_rng(2).normal(size=(24, 1))

    def weights(network, profile, rows, prior):
        asked.append((network, profile, rows, prior))
        return 0.25, 2.0, 4.0

    goal.weights = weights
    blend, head, outputs = blended(goal, study, network)
    ((own, others, rows, prior),) = asked
    assert blend == bundle.Blend(0.5, 3.0, 2.0, len(head.out.weight))
    assert prior == NETWORK_WEIGHT
    # weighed on validation samples, none of which either has learned
    assert list(rows) == list(ROWS['validation'])
    assert np.array_equal(own, network[rows])
    np.testing.assert_allclose(outputs[rows], 0.5 * own + 3 * others)
    # of training samples the profile head alone speaks
    left_out = fit_profile_head(goal, study, LEARNED, None, 7, CPU, lambda line: None)[1]
    training = np.isin(LEARNED, ROWS['training'])
    np.testing.assert_array_equal(outputs[LEARNED[training]], 4 * left_out[training])


def test_a_network_that_is_right_gets_more_weight_than_one_that_is_wrong(tiny, study):
    goal = numeric(tiny, study)
    right = goal.target.scaled(goal.values)[:, None]
    good, bad = blended(goal, study, right)[0], blended(goal, study, -right)[0]
    assert good.network > NETWORK_WEIGHT > bad.network >= 0 and bad.profile > good.profile
    assert good.network + good.profile == pytest.approx(1) == bad.network + bad.profile


def test_a_reading_decides_what_the_head_sees(tiny, study):
    def reading(abundances, offsets):
        return abundances > 0.1, abundances

    blend, head, outputs = blended(numeric(tiny, study), study, reading=reading)
    # fewer ASVs are known than without it, and what is read of a test sample is not known in whole
    mean, known = profile_outputs_of(head, study, ROWS['test'], reading)
    assert (known < 0.99).any() and known.min() > KNOWN_ENOUGH
    np.testing.assert_allclose(outputs[ROWS['test']], blend.profile * mean, rtol=1e-9)
    assert not same_head(head, blended(numeric(tiny, study), study)[1])


def test_of_samples_that_the_head_does_not_know_the_network_speaks(tiny, tmp_path):
    # of two test samples one has an ASV of its own alone, and the other has it beside what it had
    tiny.counts['new'] = 0.0
    tiny.sequences['new'] = 'ACGT' * 12
    tiny.counts.iloc[19] *= 0
    tiny.counts.iloc[18:20, -1] = 5.0
    files = tiny.write(tmp_path / 'inputs')
    study, _ = read_study(files.table, files.sequences)
    blend, head, outputs = blended(numeric(tiny, study), study, np.full((24, 1), 3.0))
    assert len(head.keys_C) == 30
    mean, known = profile_outputs_of(head, study, np.array([18, 19]))
    assert known[0] > KNOWN_ENOUGH and known[1] == 0
    assert outputs[18, 0] == pytest.approx(blend.network * 3 + blend.profile * mean[0, 0])
    assert outputs[19, 0] == pytest.approx(3.0)


def test_the_same_seed_gives_the_same_head_and_another_another(tiny, study):
    one, same, other = (blended(numeric(tiny, study), study, seed=seed)[1] for seed in (7, 7, 8))
    assert same_head(one, same) and not same_head(one, other)


def test_what_is_fitted_is_said(tiny, study):
    said = []
    blended(numeric(tiny, study), study, say=said.append)
    # 20 samples of 10 groups; anew, the same
    blend = blended(numeric(tiny, study), study, say=said.append)[0]
    share = blend.network / blend.alone
    assert (
        said[:2]
        == said[2:]
        == [
            'Profile head: 10 members on 30 ASVs, 40 steps of 5 samples each.',
            f'Prediction: {share:.0%} the network, {1 - share:.0%} the profile head.',
        ]
    )


def test_classes_that_the_profile_head_tells_apart_are_likeliest(tiny, study, monkeypatch):
    monkeypatch.setattr(profile, 'FEWEST_STEPS', 200)
    monkeypatch.setattr(profile, 'MOST_STEPS', 200)
    labels = align_classes(study.sample_ids, tiny.stages, tiny.groups)
    goal = CategoricalGoal(labels, ROWS['training'], FitClassifierConfig().training)
    blend, head, outputs = blended(goal, study)
    assert outputs.shape == (24, 3)
    assert (outputs.argmax(axis=1) == goal.values).mean() > 0.8
    # of a sample that the head does not know the network says all, as sure as it may be
    network = np.random.default_rng(1).normal(0, 3, (24, 3))
    own = ROWS['validation']
    alone = blended(goal, study, network)[0].alone
    assert alone == pytest.approx(1 / best_temperature(network[own], goal.values[own], True))
    # labels of test samples change nothing
    goal.values = np.where(np.isin(np.arange(24), ROWS['test']), 0, goal.values)
    again = blended(goal, study)
    assert again[0] == blend and same_head(again[1], head) and np.array_equal(again[2], outputs)
