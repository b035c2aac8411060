"""The kernel head beside the network: which scaling suits a target, what is left out, who has a say in it."""

import dataclasses

import numpy as np
import pytest

from q2_aam.config import FitClassifierConfig, FitConfig
from q2_aam.data.composition import composition_of, sequence_keys
from q2_aam.data.inputs import read_study
from q2_aam.data.targets import align_classes, align_labels
from q2_aam.errors import UserError
from q2_aam.model.kernel_head import ASVS, MEAN
from q2_aam.training import blend as module
from q2_aam.training import kernel
from q2_aam.training.blend import NETWORK_WEIGHT, blend_in_kernel_head, choose_scaling
from q2_aam.training.goals import CategoricalGoal, NumericGoal

# subjects, of two samples each, of the tiny study
ROWS = {
    'training': np.array([0, 1, 4, 5, 6, 7, 10, 11, 14, 15, 16, 17, 20, 21]),
    'validation': np.array([2, 3, 12, 13, 22, 23]),
    'test': np.array([8, 9, 18, 19]),
}
LEARNED = np.setdiff1d(np.arange(24), ROWS['test'])


@pytest.fixture
def study(tiny, tmp_path):
    files = tiny.write(tmp_path / 'inputs')
    return read_study(files.table, files.sequences)[0]


def labels_of(tiny, study, change=lambda values: values):
    labels = align_labels(study.sample_ids, tiny.target, tiny.groups)
    return dataclasses.replace(labels, values=change(labels.values))


def scaling(tiny, study, change, how='auto', reading=None):
    return choose_scaling(study, labels_of(tiny, study, change), ROWS, how, reading, 7)


@pytest.mark.parametrize(
    ('change', 'chosen'),
    [
        # the ASVs of the tiny study follow its ages
        (lambda ages: ages, 'standard'),
        (lambda ages: ages**3, 'root'),
        (lambda ages: np.exp(ages / 2), 'root'),
        (lambda ages: 12**3 - ages**3, 'standard'),
        (lambda ages: ages**3 - 1, 'standard'),
        (lambda ages: np.full_like(ages, 4.0), 'standard'),
    ],
)
def test_the_square_root_is_taken_of_a_target_that_it_suits(tiny, study, change, chosen):
    assert scaling(tiny, study, change) == chosen


@pytest.mark.parametrize('how', ['standard', 'root', 'minmax', 'none'])
def test_a_scaling_that_is_given_is_taken_unseen(tiny, study, how, monkeypatch):
    monkeypatch.setattr(module, 'left_out_error', None)
    assert scaling(tiny, study, lambda ages: ages**3, how) == how


@pytest.mark.parametrize('better, chosen', [(0.97, 'root'), (0.99, 'standard')])
def test_a_square_root_that_is_hardly_better_is_not_taken(tiny, study, monkeypatch, better, chosen):
    errors = iter([2.0, 2.0 * better])
    monkeypatch.setattr(module, 'left_out_error', lambda *_: next(errors))
    assert scaling(tiny, study, lambda ages: ages) == chosen


def test_both_scalings_are_tried_on_what_may_be_learned_from_and_on_nothing_else(tiny, study, monkeypatch):
    seen = []

    def record(composition, targets, groups, unscaled, generator):
        seen.append((composition.asvs_BA.toarray(), unscaled(targets), list(groups), generator.random()))
        return 1.0

    monkeypatch.setattr(module, 'left_out_error', record)
    for change in (lambda ages: ages, lambda ages: np.where(np.isin(np.arange(24), ROWS['test']), -1e6, ages)):
        assert scaling(tiny, study, change) == 'standard'
    assert len(seen) == 4
    for composition, values, groups, drawn in seen:
        assert np.array_equal(composition, seen[0][0]) and len(composition) == 20
        assert values == pytest.approx(tiny.target.to_numpy()[LEARNED])
        assert groups == list(tiny.groups.iloc[LEARNED]) and drawn == seen[0][3]


def test_a_reading_decides_what_a_scaling_is_tried_on(tiny, study, monkeypatch):
    held = []
    monkeypatch.setattr(module, 'left_out_error', lambda composition, *_: held.append(composition.asvs_BA.nnz) or 1.0)
    scaling(tiny, study, lambda ages: ages, reading=lambda abundances, offsets: (abundances > 0.1, abundances))
    own = [study.abundances[study.offsets[row] : study.offsets[row + 1]] for row in LEARNED]
    assert held == [(np.concatenate(own) > 0.1).sum()] * 2


@pytest.mark.parametrize('row', [ROWS['training'][3], ROWS['validation'][3]])
def test_a_square_root_of_a_negative_value_is_refused(tiny, study, row):
    with pytest.raises(UserError) as error:
        scaling(tiny, study, lambda ages: np.where(np.arange(24) == row, -0.5, ages), 'root')
    assert str(error.value) == (
        f'Parameter target_scaling is root, but "age" is -0.5 for sample sample-of-visit-{row:02d}; choose standard.'
    )


def numeric(tiny, study, change=lambda values: values):
    """The goal of the tiny study's ages, whose scaling is that of its true ones whatever `change` makes of them."""
    goal = NumericGoal(
        labels_of(tiny, study), ROWS['training'], dataclasses.replace(FitConfig().training, target_scaling='standard')
    )
    goal.values = change(goal.values)
    return goal


def blended(goal, study, network=None, asvs_AD=None, reading=None, seed=7):
    network = np.zeros((24, goal.outputs)) if network is None else network
    return blend_in_kernel_head(goal, study, network, ROWS, asvs_AD, reading, seed)


def same_head(one, two):
    one, two = one.arrays(), two.arrays()
    return one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)


@pytest.fixture
def fixed(monkeypatch):
    """Let nothing that is chosen on all labels tell one sample of the label of another."""
    monkeypatch.setattr(kernel, 'LENGTHS', (1.0,))
    monkeypatch.setattr(kernel, 'NOISES', (0.1,))
    monkeypatch.setattr(kernel, 'blend', lambda members, targets: np.full(len(members), 1 / len(members)))


@pytest.mark.parametrize('part', ['training', 'validation'])
@pytest.mark.parametrize('mean', [True, False])
def test_labels_of_a_group_reach_its_own_outputs_by_the_center_alone(tiny, study, fixed, part, mean):
    asvs_AD = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32) if mean else None
    own = ROWS[part][2:4]
    assert tiny.groups.iloc[own].nunique() == 1

    def kernel_outputs(change):
        goal = numeric(tiny, study, change)
        goal.weights = lambda *_: (0.0, 1.0)
        return goal.target.unscaled(blended(goal, study, asvs_AD=asvs_AD)[2][:, 0])

    before = kernel_outputs(lambda ages: ages)
    # one of its labels is higher, the other lower: the mean of all, which is the center, stays
    swung = kernel_outputs(lambda ages: ages + 10 * (np.arange(24) == own[0]) - 10 * (np.arange(24) == own[1]))
    np.testing.assert_allclose(swung[own], before[own], atol=1e-9)
    others = np.setdiff1d(np.arange(24), own)
    assert np.abs(swung - before)[others].max() > 1
    # both are higher: the center is, by a tenth of it
    higher = kernel_outputs(lambda ages: ages + 10 * np.isin(np.arange(24), own))
    assert np.abs(higher - before)[own].max() < 1
    assert np.abs(higher - before)[others].max() > 2


def test_test_samples_get_outputs_of_the_head_and_the_others_those_of_one_that_has_not_seen_them(tiny, study):
    goal = numeric(tiny, study)
    blend, head, outputs = blended(goal, study)
    assert blend.views == tuple(head.views) == (ASVS,)
    whole = head.outputs(composition_of(study, np.arange(24), sequence_keys(study.codes, study.lengths)))
    found = outputs / blend.kernel
    np.testing.assert_allclose(found[ROWS['test']], whole[ROWS['test']], rtol=1e-9)
    true = goal.target.scaled(goal.values)[:, None]
    errors = [np.abs(own - true)[LEARNED].mean() for own in (whole, found)]
    assert 0.01 < errors[0] < 0.9 * errors[1]
    # it predicts those that it has not seen
    assert np.abs(found - true).mean() < 0.3


@pytest.mark.parametrize('mean', [True, False])
def test_labels_of_test_samples_change_nothing(tiny, study, mean):
    asvs_AD = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32) if mean else None
    network = np.random.default_rng(2).normal(size=(24, 1))
    before = blended(numeric(tiny, study), study, network, asvs_AD)
    goal = numeric(tiny, study, lambda ages: np.where(np.isin(np.arange(24), ROWS['test']), 1e6, ages))
    after = blended(goal, study, network, asvs_AD)
    assert before[0] == after[0] and same_head(before[1], after[1]) and np.array_equal(before[2], after[2])
    # those of the validation samples do teach it
    goal = numeric(tiny, study, lambda ages: np.where(np.isin(np.arange(24), ROWS['validation']), 6.0, ages))
    assert not same_head(blended(goal, study, network, asvs_AD)[1], before[1])


@pytest.mark.parametrize('mean', [True, False])
def test_network_and_kernel_head_are_weighed_on_validation_samples(tiny, study, mean):
    asvs_AD = np.ones((30, 4), dtype=np.float32) if mean else None
    goal, asked = numeric(tiny, study), []
    network = np.random.default_rng(2).normal(size=(24, 1))

    def weights(network, kernel, rows, prior):
        asked.append((network, kernel, rows, prior))
        return 0.25, 0.5

    goal.weights = weights
    blend, head, outputs = blended(goal, study, network, asvs_AD)
    ((own, others, rows, prior),) = asked
    assert (blend.network, blend.kernel) == (0.25, 0.5)
    assert blend.views == tuple(head.views) == ((ASVS, MEAN) if mean else (ASVS,))
    assert prior == NETWORK_WEIGHT
    # weighed on validation samples, none of which either has learned
    assert list(rows) == list(ROWS['validation'])
    assert np.array_equal(own, network[rows])
    np.testing.assert_allclose(outputs[rows], 0.25 * own + 0.5 * others)


def test_a_network_that_is_right_gets_more_weight_than_one_that_is_wrong(tiny, study):
    goal = numeric(tiny, study)
    right = goal.target.scaled(goal.values)[:, None]
    good, bad = blended(goal, study, right)[0], blended(goal, study, -right)[0]
    assert good.network > NETWORK_WEIGHT > bad.network and bad.kernel > good.kernel
    assert good.network + good.kernel == pytest.approx(1) == bad.network + bad.kernel


def test_a_reading_decides_what_the_head_sees(tiny, study):
    def reading(abundances, offsets):
        return abundances > 0.1, abundances

    blend, head, outputs = blended(numeric(tiny, study), study, reading=reading)
    whole = blended(numeric(tiny, study), study)[1]
    assert 0 < head.views[ASVS].landmarks.nnz < whole.views[ASVS].landmarks.nnz
    read = composition_of(study, ROWS['test'], sequence_keys(study.codes, study.lengths), reading=reading)
    np.testing.assert_allclose(outputs[ROWS['test']], blend.kernel * head.outputs(read), rtol=1e-9)


def test_the_same_seed_gives_the_same_head_and_another_another(tiny, study):
    one, same, other = (blended(numeric(tiny, study), study, seed=seed)[1] for seed in (7, 7, 8))
    assert same_head(one, same) and not same_head(one, other)


def test_classes_that_the_kernel_head_tells_apart_are_likeliest(tiny, study):
    labels = align_classes(study.sample_ids, tiny.stages, tiny.groups)
    goal = CategoricalGoal(labels, ROWS['training'], FitClassifierConfig().training)
    blend, head, outputs = blended(goal, study)
    assert (
        head.outputs(composition_of(study, np.arange(24), sequence_keys(study.codes, study.lengths))).shape
        == outputs.shape
        == (24, 3)
    )
    assert (outputs.argmax(axis=1) == goal.values).mean() > 0.8
    # a network that says nothing leaves the least weight of a logarithm
    assert outputs.min() >= blend.kernel * np.log(0.01) - 1e-9
    # labels of test samples change nothing
    goal.values = np.where(np.isin(np.arange(24), ROWS['test']), 0, goal.values)
    again = blended(goal, study)
    assert again[0] == blend and same_head(again[1], head) and np.array_equal(again[2], outputs)
