"""Fitting the profile head: what is left out is left out, sizes follow the data, and it learns."""

import dataclasses
import re
import warnings

import numpy as np
import pytest
import scipy.sparse
import torch

from q2_aam.config import FitClassifierConfig, FitConfig
from q2_aam.data.labels import Labels
from q2_aam.data.log_abundances import known_asvs, profiles_of
from q2_aam.data.study import build_study
from q2_aam.data.table import Table
from q2_aam.runtime.checkpoint import Checkpoint
from q2_aam.training import ensemble as profile
from q2_aam.training.ensemble import deal, fit_profile_head
from q2_aam.training.goals import CategoricalGoal, NumericGoal
from q2_aam.training.loop import reproducible

CPU = torch.device('cpu')


@pytest.fixture(autouse=True, scope='module')
def one_thread():
    """Tensors this small are slower on several threads, and much slower where other work is going on."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def quick(monkeypatch):
    """Few steps: enough to tell what has been learned from and what has not."""
    monkeypatch.setattr(profile, 'FEWEST_STEPS', 12)
    monkeypatch.setattr(profile, 'MOST_STEPS', 12)


def made(samples=24, asvs=12, seed=1, groups=None, counts=None):
    """A study of random counts, and a goal: how the first two ASVs, both common, stand to each other."""
    random = np.random.default_rng(seed)
    if counts is None:
        counts = random.poisson(3, (samples, asvs)) * random.integers(1, 30, (samples, asvs))
        counts[:, :2] += 1
    ids = [f's{row:04d}' for row in range(samples)]
    letters = np.random.default_rng(0)
    sequences = [''.join(letters.choice(list('ACGT'), 30)) for _ in range(asvs)]
    table = Table(ids, sequences, lambda: [scipy.sparse.csr_matrix(counts.astype(np.float32))])
    values = np.log(counts[:, 0] + 1) - np.log(counts[:, 1] + 1)
    groups = np.array(ids if groups is None else groups)
    training = dataclasses.replace(FitConfig().training, target_scaling='standard')
    goal = NumericGoal(Labels('ratio', ids, values, groups), np.arange(samples), training)
    return build_study(table, sequences)[0], goal


def made_classes(study, goal):
    """The goal of telling samples below from those above the median, of the same study."""
    names = np.where(goal.values > np.median(goal.values), 'more', 'less').astype(object)
    labels = Labels('class', study.sample_ids, names, goal.groups)
    return CategoricalGoal(labels, np.arange(len(study)), FitClassifierConfig().training)


def fitted(study, goal, rows=None, seed=3, reading=None, say=lambda line: None, checkpoint=None):
    rows = np.arange(len(study)) if rows is None else rows
    with reproducible(CPU, seed):
        return fit_profile_head(goal, study, rows, reading, seed, CPU, say, checkpoint)


def parts_of(goal, parts=profile.OF_FEW.members, seed=3):
    """Return the part of each sample as fitting deals them."""
    return deal(goal.groups, parts, np.random.default_rng([seed, profile.PROFILE]))


def known_to(head, study, reading=None):
    keys_A = study.keys
    return known_asvs(profiles_of(study, np.arange(len(study)), reading), keys_A, head.keys_C)


def same(one, two):
    one, two = one.arrays(), two.arrays()
    return all(one[name].tobytes() == two[name].tobytes() for name in one)


@pytest.mark.parametrize('kind', ['numbers', 'classes'])
@pytest.mark.parametrize('part', [0, 4, 9])
def test_left_out_outputs_know_nothing_of_the_labels_of_their_own_part(quick, kind, part):
    study, goal = made(40, groups=np.repeat([f'g{i}' for i in range(20)], 2))
    goal = goal if kind == 'numbers' else made_classes(study, goal)
    own = parts_of(goal) == part
    assert own.sum() == 4
    head, before = fitted(study, goal)
    goal.values = np.where(own, goal.values + 5 if kind == 'numbers' else 1 - goal.values, goal.values)
    changed, after = fitted(study, goal)
    assert before[own].tobytes() == after[own].tobytes()
    # every other member has learned from these labels
    assert (before[~own] != after[~own]).all()
    assert np.array_equal(changed.out.bias[part].detach(), head.out.bias[part].detach())


def test_left_out_outputs_are_those_of_the_member_that_never_saw_the_group(quick):
    study, goal = made(30, groups=[f'g{i % 15}' for i in range(30)])
    head, left_out = fitted(study, goal)
    part_N = parts_of(goal)
    assert (left_out.shape, left_out.dtype) == ((30, 1), np.float64)
    np.testing.assert_allclose(left_out, head.outputs(known_to(head, study))[part_N, np.arange(30)])
    for group in set(goal.groups):
        assert len(set(part_N[goal.groups == group])) == 1


@pytest.mark.parametrize(
    ('groups', 'parts', 'sizes'), [(25, 10, [2] * 5 + [3] * 5), (10, 10, [1] * 10), (7, 10, [1] * 7), (2, 5, [1, 1])]
)
def test_whole_groups_are_dealt_evenly(groups, parts, sizes):
    names = np.array([f'g{i % groups}' for i in range(4 * groups)])
    part_N = deal(names, parts, np.random.default_rng(0))
    by_group = {name: set(part_N[names == name]) for name in names}
    assert all(len(own) == 1 for own in by_group.values())
    assert sorted(np.bincount([own.pop() for own in by_group.values()])) == sizes
    assert any(not np.array_equal(part_N, deal(names, parts, np.random.default_rng(seed))) for seed in range(1, 9))


def test_fitting_that_takes_long_tells_how_far_it_is(quick, monkeypatch):
    monkeypatch.setattr('q2_aam.runtime.progress.SECONDS_BETWEEN_LINES', 0)
    (study, goal), said = made(6), []
    fitted(study, goal, say=said.append)
    steps = len(said) - 1
    pattern = re.compile(r'^Profile head, step (\d+)/(\d+): loss \d\.\d{3} \| \d+ s left$')
    found = [pattern.match(line).groups() for line in said[1:]]
    assert steps > 1 and found == [(str(step), str(steps)) for step in range(1, steps + 1)]


@pytest.mark.parametrize('stop', [1, 3, 4, 11, 12])
def test_fitting_that_was_killed_goes_on_as_if_it_had_never_stopped(quick, tmp_path, stop):
    study, goal = made(6)
    head, left_out = fitted(study, goal)
    calls, loss = [], goal.loss

    def killed(outputs, own):
        calls.append(own)
        if len(calls) == stop + 1:
            raise KeyboardInterrupt
        return loss(outputs, own)

    goal.loss = killed
    said, folder = [], tmp_path / 'profile'
    if stop < 12:
        with pytest.raises(KeyboardInterrupt):
            fitted(study, goal, checkpoint=Checkpoint(folder, 0))
    else:
        fitted(study, goal, checkpoint=Checkpoint(folder, 0))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        resumed, of_resumed = fitted(study, goal, say=said.append, checkpoint=Checkpoint(folder, 0))
    assert said[1:] == [f'Resumed after {stop} of 12 steps.']
    assert len(calls) - (stop < 12) == 12
    assert np.array_equal(of_resumed, left_out)
    one, same = head.arrays(), resumed.arrays()
    assert all(np.array_equal(one[name], same[name]) for name in one)


@pytest.mark.parametrize('of_first', [1, 3])
def test_two_groups_are_enough(quick, of_first):
    study, goal = made(6, groups=['a'] * of_first + ['b'] * (6 - of_first))
    said = []
    head, left_out = fitted(study, goal, say=said.append)
    assert said == ['Profile head: 2 members on 12 ASVs, 12 steps of 2 samples each.']
    # the member that has learned from more samples has more of the say
    assert sorted(head.shares.tolist()) == pytest.approx(
        [min(of_first, 6 - of_first) / 6, max(of_first, 6 - of_first) / 6]
    )
    assert len(head.out.weight) == 2 and np.isfinite(left_out).all()
    # each group by the member that has learned from the other
    own = parts_of(goal) == parts_of(goal)[0]
    goal.values = goal.values + np.where(own, 3, 0)
    _, after = fitted(study, goal)
    assert np.array_equal(after[own], left_out[own]) and (after[~own] != left_out[~own]).all()


def test_batches_hold_nothing_that_a_member_must_not_see_and_every_other_sample_as_often(monkeypatch):
    monkeypatch.setattr(profile, 'EPOCHS', 6)
    monkeypatch.setattr(profile, 'FEWEST_STEPS', 1)
    study, goal = made(20)
    rows, seen = np.arange(20), []
    loss = goal.loss
    goal.loss = lambda outputs, own: seen.append(own.reshape(10, -1)) or loss(outputs, own)
    fitted(study, goal)
    # of 18 samples 5 a time are 3 batches an epoch
    assert np.shape(seen) == (6 * 18 // 5, 10, 5)
    part_N = parts_of(goal)
    for member in range(10):
        batches = np.array(seen)[:, member]
        assert set(batches.ravel()) == set(rows[part_N != member])
        for start in range(0, len(batches), 3):
            drawn = batches[start : start + 3].ravel()
            assert len(set(drawn)) == len(drawn)


def test_samples_beside_rows_are_not_looked_at(quick):
    study, goal = made(20)
    rows = np.arange(3, 18)
    seen = []
    loss = goal.loss
    goal.loss = lambda outputs, own: seen.append(own) or loss(outputs, own)
    before = fitted(study, goal, rows)
    assert set(np.concatenate(seen)) == set(rows) and len(before[1]) == 15
    random = np.random.default_rng(9)
    other = np.setdiff1d(np.arange(20), rows)
    study.abundances[np.isin(np.repeat(np.arange(20), np.diff(study.offsets)), other)] = random.random()
    goal.values[other] = 1e6
    after = fitted(study, goal, rows)
    assert same(before[0], after[0]) and np.array_equal(before[1], after[1])


def test_asvs_of_no_learned_sample_are_not_known(quick):
    counts = np.full((8, 4), 5)
    counts[:6, 2] = 0
    study, goal = made(8, 4, counts=counts)
    head, _ = fitted(study, goal, np.arange(6))
    keys_A = study.keys
    # that of the last two samples alone
    (rare,) = np.flatnonzero(np.bincount(study.asvs, minlength=4) == 2)
    assert head.keys_C.tolist() == sorted(np.delete(keys_A, rare))


def test_the_most_common_asvs_are_kept_where_there_are_too_many(quick, monkeypatch):
    monkeypatch.setattr(profile, 'MOST_ASVS', 3)
    # found in 3, 8, 2, 8, 5 and 1 samples, the rarest in large numbers
    counts = np.where(np.arange(8)[:, None] < [3, 8, 2, 8, 5, 1], [9, 1, 900, 1, 1, 900], 0)
    study, goal = made(8, 6, counts=counts)
    head, _ = fitted(study, goal)
    keys_A = study.keys
    found = np.bincount(study.asvs, minlength=6)
    assert sorted(found) == [1, 2, 3, 5, 8, 8]
    assert head.keys_C.tolist() == sorted(keys_A[found >= 5])
    assert head.first.weight.shape[1] == 3


def test_a_reading_decides_what_is_learned_from(quick):
    study, goal = made(20)

    def reading(abundances, offsets):
        return abundances > 0.2, abundances

    head, left_out = fitted(study, goal, reading=reading)
    read = known_to(head, study, reading)
    assert 0 < read.nnz < known_to(head, study).nnz
    np.testing.assert_allclose(left_out, head.outputs(read)[parts_of(goal), np.arange(20)])
    assert head.scale.item() == pytest.approx(read.toarray().std(), rel=1e-5)


@pytest.mark.parametrize('values', [np.float32([[0, 0, 3], [1, 0, 0]]), np.float32([[9.2103405, 9.2104]]), 'drawn'])
def test_the_standard_deviation_is_that_of_the_dense_matrix(values):
    if isinstance(values, str):
        random = np.random.default_rng(4)
        values = np.float32(random.random((50, 30)) * 9 * (random.random((50, 30)) < 0.1))
    found = profile._standard_deviation(scipy.sparse.csr_matrix(values))
    assert found == pytest.approx(values.astype(np.float64).std(), rel=1e-9)


def test_profiles_that_are_all_the_same_are_divided_by_1():
    for samples in range(2, 40):
        for asvs in range(1, 8):
            profiles = np.full((samples, asvs), np.log1p(1e4 / asvs), dtype=np.float32)
            assert profile._standard_deviation(scipy.sparse.csr_matrix(profiles)) == 1.0


def test_samples_that_are_all_the_same_give_numbers(quick):
    study, goal = made(23, 7, counts=np.full((23, 7), 5))
    goal.target, goal.values = dataclasses.replace(goal.target, scale=1.0), np.arange(23.0)
    head, left_out = fitted(study, goal)
    assert head.scale.item() == 1.0 and np.isfinite(left_out).all()


def test_the_same_seed_gives_the_same_head_and_another_another(quick):
    study, goal = made()
    (one, of_one), (two, of_two), (other, _) = (fitted(study, goal, seed=seed) for seed in (3, 3, 4))
    assert same(one, two) and np.array_equal(of_one, of_two)
    assert not same(one, other)
    # members begin from weights of their own and learn from samples of their own
    assert len({weights.tobytes() for weights in one.first.weight.detach().numpy()}) == 10


@pytest.mark.parametrize(
    ('samples', 'options', 'members', 'width', 'steps', 'batch'),
    [
        # the member that leaves out fewest learns from 22; a quarter of 24 is 6; 80 times 22 samples in batches of 6
        (24, {}, 10, 128, 293, 6),
        # two samples at least, 80 times 6 // 2
        (7, {}, 7, 128, 240, 2),
        (7, {'FEWEST_STEPS': 250}, 7, 128, 250, 2),
        (24, {'MOST_STEPS': 11, 'FEWEST_STEPS': 3}, 10, 128, 11, 6),
        (40, {'LARGEST_BATCH': 8, 'EPOCHS': 2, 'FEWEST_STEPS': 3}, 10, 128, 9, 8),
        (40, {'MANY_SAMPLES': 40, 'EPOCHS': 2, 'FEWEST_STEPS': 3}, 5, 256, 6, 10),
        (39, {'MANY_SAMPLES': 40, 'EPOCHS': 2, 'FEWEST_STEPS': 3}, 10, 128, 8, 9),
    ],
)
def test_sizes_are_derived_from_the_samples_and_said(monkeypatch, samples, options, members, width, steps, batch):
    for name, value in options.items():
        monkeypatch.setattr(profile, name, value)
    study, goal = made(samples)
    said, asked = [], []
    loss = goal.loss
    goal.loss = lambda outputs, own: asked.append(outputs.shape) or loss(outputs, own)
    head, _ = fitted(study, goal, say=said.append)
    assert said == [f'Profile head: {members} members on 12 ASVs, {steps:,} steps of {batch} samples each.']
    assert asked == [(members * batch, 1)] * steps
    assert head.second.weight.shape == (members, width, width)
    assert (head.asv_dropout, head.dropout) == ((0.05, 0.1) if width == 256 else (0.1, 0.3))


def test_what_is_learned_holds_for_new_samples():
    """The logarithm of a ratio of two ASVs, which stand among ten that say nothing, from 90 samples."""
    study, goal = made(150)
    rows = np.arange(90)
    head, left_out = fitted(study, goal, rows)
    true = goal.target.scaled(goal.values)
    new = head.outputs(known_to(head, study)).mean(axis=0)[90:, 0]
    assert np.abs(new - true[90:]).mean() < 0.6 * np.abs(true[90:] - true[rows].mean()).mean()
    # left out by one member each, without what averaging takes off
    assert np.abs(left_out[:, 0] - true[rows]).mean() < 0.7 * np.abs(true[rows] - true[rows].mean()).mean()


def test_classes_are_learned_too():
    study, goal = made(150)
    goal = made_classes(study, goal)
    rows = np.arange(90)
    head, left_out = fitted(study, goal, rows)
    assert left_out.shape == (90, 2)
    new = head.outputs(known_to(head, study)).mean(axis=0)[90:].argmax(axis=1)
    assert (new == goal.values[90:]).mean() > 0.75
    assert (left_out.argmax(axis=1) == goal.values[rows]).mean() > 0.75
