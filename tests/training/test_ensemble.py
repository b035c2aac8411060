"""Fitting the abundance ensemble: what is out of fold stays so, kinds are weighed by what they give, and it learns."""

import dataclasses
import re

import numpy as np
import pytest

from q2_aam.data.log_abundances import log_abundances, to_vocabulary
from q2_aam.model.member_arrays import EXTRA_TREES, KINDS, LINEAR, PERCEPTRONS
from q2_aam.runtime.limits import available_cpus
from q2_aam.runtime.seeds import Stream, numpy_generator
from q2_aam.training import ensemble, members, perceptrons
from q2_aam.training.ensemble import fit_ensemble
from q2_aam.training.members import deal


@pytest.fixture
def quick(quick_members, monkeypatch):
    """Few steps: enough to tell what has been learned from and what has not. One penalty for all that is learned."""
    monkeypatch.setattr(perceptrons, 'MIN_STEPS', 12)
    monkeypatch.setattr(perceptrons, 'MAX_STEPS', 12)
    monkeypatch.setattr(members, 'RIDGE_PENALTIES', np.array([0.1]))
    monkeypatch.setattr(members, 'LOGISTIC_C', (0.1,))


@pytest.fixture
def fitted(make_run):
    return lambda prepared, seed=3, **options: fit_ensemble(prepared, make_run(seed, **options))


@pytest.fixture
def few_trees(monkeypatch):
    """All steps, and fewer trees: a hundred are as good as five."""
    monkeypatch.setitem(
        ensemble.FITS,
        EXTRA_TREES,
        lambda data, *_: ensemble._with_noise(members.fit_extra_trees(data, 100), lambda made: 0.0),
    )


def members_of(prepared, members=10, seed=3):
    """Return the member that each labelled sample is out of fold for."""
    groups = prepared.target.groups[prepared.labelled]
    return deal(groups, members, numpy_generator(seed, Stream.ENSEMBLE))


def in_vocabulary(fitted, prepared, rows=None):
    study = prepared.study
    rows = np.arange(len(study)) if rows is None else rows
    return to_vocabulary(log_abundances(study, rows, prepared.augment), study.keys, fitted.vocabulary.keys)


def same(one, two):
    one, two = one.model.arrays(), two.model.arrays()
    return one.keys() == two.keys() and all(one[name].tobytes() == two[name].tobytes() for name in one)


def coverage_of(fitted):
    return fitted.signs.vocabulary_coverage


@pytest.mark.parametrize('kind', ['regressor', 'classifier'])
@pytest.mark.parametrize('member', [0, 4, 9])
def test_out_of_fold_outputs_know_nothing_of_the_labels_of_their_own_groups(quick, made, fitted, kind, member):
    prepared = made(40, groups=np.repeat([f'g{i}' for i in range(20)], 2), kind=kind)
    values = prepared.target.values
    changed = members_of(prepared) == member
    assert changed.sum() == 4
    before = fitted(prepared)
    prepared.target.values = np.where(changed, values + 5 if kind == 'regressor' else 1 - values, values)
    after = fitted(prepared)
    assert set(before.by_kind) == set(after.by_kind) == set(KINDS)
    for kind in KINDS:
        one, two = before.by_kind[kind], after.by_kind[kind]
        assert one[changed].tobytes() == two[changed].tobytes()
        # all other members have learned from these labels
        others = (one[~changed] != two[~changed]).any(axis=1)
        assert others.mean() > (0.3 if kind == EXTRA_TREES else 0.99)


def test_out_of_fold_outputs_are_those_of_the_member_that_never_saw_the_group(quick, made, fitted):
    prepared = made(30, groups=[f'g{i % 15}' for i in range(30)])
    result, member_N = fitted(prepared), members_of(prepared)
    assert (result.outputs.shape, result.outputs.dtype) == ((30, 1), np.float64)
    expected = result.model.outputs(in_vocabulary(result, prepared))[member_N, np.arange(30)]
    np.testing.assert_allclose(result.outputs, expected, rtol=0, atol=2e-6)
    for group in set(prepared.target.groups):
        assert len(set(member_N[prepared.target.groups == group])) == 1


def private_counts(shares):
    """Counts of 8 groups of two samples: 6 ASVs that all hold, and two more that the first group alone holds."""
    counts = np.random.default_rng(3).integers(1, 60, (16, 8))
    counts[:, 6:] = 0
    counts[:2, 6:] = shares
    return counts


def test_out_of_fold_outputs_ignore_asvs_that_their_own_group_alone_holds(quick, made, fitted):
    groups = np.repeat([f'g{i}' for i in range(8)], 2)
    # other reads of private ASVs, as many in all: no share of another ASV changes
    before, after = (made(16, 8, groups=groups, counts=private_counts(shares)) for shares in ([5, 900], [900, 5]))
    for prepared in (before, after):
        # the same labels, though counts differ
        prepared.target.values = np.arange(16.0)
    one, two = fitted(before), fitted(after)
    member_N = members_of(before)
    (private,) = np.nonzero(np.isin(one.vocabulary.keys, private_keys(before)))
    assert len(private) == 2
    # the member that has not learned from the group does not know them, all others do
    assert (one.model.known[:, private] == (np.arange(8) != member_N[0])[:, None]).all()
    assert one.model.known.sum() == 8 * 8 - 2
    for kind in KINDS:
        np.testing.assert_array_equal(one.by_kind[kind][:2], two.by_kind[kind][:2])
    # members that do know them read them
    everyone = [
        result.model.outputs_by_kind(in_vocabulary(result, case))[PERCEPTRONS][:, 0]
        for result, case in ((one, before), (two, after))
    ]
    assert (np.abs(everyone[0] - everyone[1]).max(axis=1) > 1e-6).tolist() == (np.arange(8) != member_N[0]).tolist()


def private_keys(prepared):
    study = prepared.study
    samples = np.bincount(study.asvs, minlength=len(study.codes))
    return study.keys[samples == 2]


def test_coverage_is_that_of_the_member_that_a_sample_is_out_of_fold_for(quick, made, fitted):
    groups = np.repeat([f'g{i}' for i in range(8)], 2)
    prepared = made(16, 8, groups=groups, counts=private_counts([50, 900]))
    result = fitted(prepared)
    logs = log_abundances(prepared.study, np.arange(16)).toarray().astype(np.float64)
    private = np.isin(prepared.study.keys, private_keys(prepared))
    expected = logs[:, ~private].sum(axis=1) / logs.sum(axis=1)
    coverage = coverage_of(result)
    assert coverage.dtype == np.float64
    assert coverage == pytest.approx(expected, rel=1e-5)
    assert (coverage[:2] < 0.8).all() and coverage[2:] == pytest.approx(np.ones(14), rel=1e-6)


@pytest.mark.parametrize('of_first', [1, 3])
def test_two_groups_are_enough(quick, made, fitted, of_first):
    prepared = made(6, groups=['a'] * of_first + ['b'] * (6 - of_first))
    lines = []
    result = fitted(prepared, say=lines.append)
    # there are too few samples for a leaf of five
    assert set(result.by_kind) == {LINEAR, PERCEPTRONS}
    assert re.match(
        r'Abundance ensemble: \d+% linear \(.*\), \d+% perceptrons \(.*\); out-of-fold mae together ', lines[-1]
    )
    # the member that has learned from more samples counts for more
    assert sorted(result.model.shares.tolist()) == pytest.approx(
        [min(of_first, 6 - of_first) / 6, max(of_first, 6 - of_first) / 6]
    )
    assert len(result.model.shares) == 2 and np.isfinite(result.outputs).all()
    # each group by the member that has learned from the other
    first = members_of(prepared) == members_of(prepared)[0]
    prepared.target.values = prepared.target.values + np.where(first, 3, 0)
    after = fitted(prepared, name='after')
    for kind, before in result.by_kind.items():
        assert np.array_equal(after.by_kind[kind][first], before[first])
        assert (after.by_kind[kind][~first] != before[~first]).all()


def test_samples_beside_labelled_ones_are_not_looked_at(quick, made, fitted):
    rows, seen = np.arange(3, 18), []
    prepared = made(20, rows=rows)
    labels_of = prepared.target.labels_of
    prepared.target.labels_of = lambda chosen: seen.append(chosen) or labels_of(chosen)
    before = fitted(prepared)
    assert set(np.concatenate(seen)) == set(rows) and len(before.outputs) == len(coverage_of(before)) == 15
    random, study = np.random.default_rng(9), prepared.study
    other = np.setdiff1d(np.arange(20), rows)
    study.abundances[np.isin(np.repeat(np.arange(20), np.diff(study.offsets)), other)] = random.random()
    prepared.target.values[other] = 1e6
    after = fitted(prepared)
    assert same(before, after) and np.array_equal(before.outputs, after.outputs)


def test_asvs_of_no_labelled_sample_are_not_in_the_vocabulary(quick, made, fitted):
    counts = np.full((8, 4), 5)
    counts[:, 0] += np.arange(8)
    counts[:6, 2] = 0
    prepared = made(8, 4, counts=counts, rows=np.arange(6))
    # that of the last two samples alone
    (rare,) = np.flatnonzero(np.bincount(prepared.study.asvs, minlength=4) == 2)
    assert fitted(prepared).vocabulary.keys.tolist() == sorted(np.delete(prepared.study.keys, rare))


def test_the_most_common_asvs_are_kept_where_there_are_too_many(quick, made, fitted, monkeypatch):
    monkeypatch.setattr(ensemble, 'MAX_VOCABULARY', 3)
    # in 3, 8, 2, 8, 5 and 1 samples, the rarest in large numbers
    counts = np.where(np.arange(8)[:, None] < [3, 8, 2, 8, 5, 1], [9, 1, 900, 1, 1, 900], 0)
    prepared = made(8, 6, counts=counts)
    result = fitted(prepared)
    samples = np.bincount(prepared.study.asvs, minlength=6)
    assert sorted(samples) == [1, 2, 3, 5, 8, 8]
    assert result.vocabulary.keys.tolist() == sorted(prepared.study.keys[samples >= 5])
    assert result.model.members[PERCEPTRONS].first.weight.shape[1] == 3
    assert result.model.members[LINEAR].weight.shape[1] == result.model.known.shape[1] == 3


def test_asvs_beyond_the_vocabulary_lower_the_coverage(quick, made, fitted, monkeypatch):
    monkeypatch.setattr(ensemble, 'MAX_VOCABULARY', 3)
    prepared = made(20)
    result = fitted(prepared)
    known = in_vocabulary(result, prepared).sum(axis=1) / log_abundances(prepared.study, np.arange(20)).sum(axis=1)
    assert coverage_of(result) == pytest.approx(np.asarray(known).ravel(), rel=1e-5)
    assert coverage_of(result).max() < 0.7


def test_what_is_not_read_of_a_sample_is_not_learned_from(quick, made, fitted):
    prepared = made(20, max_asvs_per_sample=4)
    result = fitted(prepared)
    read, everything = (
        in_vocabulary(result, prepared),
        in_vocabulary(result, dataclasses.replace(prepared, config=made(20).config)),
    )
    assert 0 < read.nnz == 80 < everything.nnz
    expected = result.model.outputs(read)[members_of(prepared), np.arange(20)]
    np.testing.assert_allclose(result.outputs, expected, rtol=0, atol=2e-6)
    assert result.model.members[PERCEPTRONS].scale.item() == pytest.approx(read.toarray().std(), rel=1e-5)


def test_samples_that_are_all_the_same_give_numbers(quick, made, fitted):
    prepared = made(23, 7, counts=np.full((23, 7), 5))
    prepared.target.values = np.arange(23.0)
    result = fitted(prepared)
    assert result.model.members[PERCEPTRONS].scale.item() == 1.0 and np.isfinite(result.outputs).all()


def test_the_same_seed_gives_the_same_ensemble_and_another_another(quick, made, fitted):
    prepared = made()
    one, two, other = (fitted(prepared, seed=seed) for seed in (3, 3, 4))
    assert same(one, two) and np.array_equal(one.outputs, two.outputs)
    assert not same(one, other)
    # members learn from samples of their own
    assert len({weights.tobytes() for weights in one.model.members[LINEAR].weight}) == 10


@pytest.mark.parametrize(('many', 'parts'), [(1000, 10), (40, 5)])
def test_studies_of_many_samples_have_fewer_members(quick, made, fitted, monkeypatch, many, parts):
    monkeypatch.setattr(ensemble, 'MANY_SAMPLES', many)
    assert len(fitted(made(40)).model.shares) == parts


def test_shares_and_errors_of_all_kinds_are_said_and_logged(quick, made, make_run):
    lines = []
    prepared, run = made(40), make_run(3, say=lines.append)
    result, history = fit_ensemble(prepared, run), run.recorder.history
    shares = {kind: history.series('run', f'{kind}_share')[0] for kind in KINDS}
    assert sum(shares.values()) == pytest.approx(1)
    # of numbers nothing is scaled
    assert result.model.weights == pytest.approx(shares)
    errors = {kind: history.series('run', f'out_of_fold_{kind}_mae')[0] for kind in (*KINDS, 'ensemble')}
    true = prepared.target.target.scaled(prepared.target.values)
    scale = prepared.target.target.scale
    for kind in KINDS:
        assert errors[kind] == pytest.approx(scale * np.abs(result.by_kind[kind][:, 0] - true).mean())
    assert errors['ensemble'] == pytest.approx(scale * np.abs(result.outputs[:, 0] - true).mean())
    parts = ', '.join(
        f'{shares[kind]:.0%} {name} ({errors[kind]:.3g})'
        for kind, name in ((LINEAR, 'linear'), (EXTRA_TREES, 'extra trees'), (PERCEPTRONS, 'perceptrons'))
    )
    assert lines[-1] == f'Abundance ensemble: {parts}; out-of-fold mae together {errors["ensemble"]:.3g}.'


@pytest.mark.parametrize('kind', ['regressor', 'classifier'])
def test_a_kind_of_no_share_is_not_kept_and_what_it_says_is_not_told(quick, made, fitted, kind, monkeypatch):
    prepared = made(24, kind=kind)
    combine = prepared.target.combine

    def without_trees(outputs, rows, *more):
        shares, scales, cost = combine(outputs, rows, *more)
        return (np.array([0.4, 0.0, 0.6]) if len(outputs) == 3 else shares), scales, cost

    monkeypatch.setattr(prepared.target, 'combine', without_trees)
    result, lines = fitted(prepared), []
    assert list(result.model.members) == list(result.model.weights) == list(result.by_kind) == [LINEAR, PERCEPTRONS]
    assert not any(EXTRA_TREES in name for name in result.model.arrays())
    expected = sum(result.model.weights[kind] * result.by_kind[kind] for kind in result.by_kind)
    assert result.outputs == pytest.approx(expected)
    # but what it would have said
    fitted(prepared, say=lines.append, name='again')
    assert ', 0% extra trees (' in lines[-1]


def test_kinds_that_are_not_worth_it_are_left_out(made, fitted, monkeypatch):
    """What a sum over logarithms tells leaves nothing to perceptrons."""
    monkeypatch.setattr(perceptrons, 'MIN_GROUPS', 5)
    monkeypatch.setattr(perceptrons, 'MIN_GAIN', 0.05)
    monkeypatch.setitem(
        ensemble.FITS,
        EXTRA_TREES,
        lambda data, *_: ensemble._with_noise(members.fit_extra_trees(data, 20), lambda made: 0.0),
    )
    lines = []
    result = fitted(made(60), say=lines.append)
    assert PERCEPTRONS not in result.model.members and not any('first' in name for name in result.model.weights)
    assert lines[0].startswith('Perceptrons: 3 of 10 lower the out-of-fold error by ')
    assert 'perceptrons' not in lines[1]


def test_quantiles_are_told_by_perceptrons_alone(quick, made, fitted):
    result = fitted(made(24, loss='quantile'))
    assert list(result.by_kind) == [PERCEPTRONS] and result.model.weights == {PERCEPTRONS: 1}
    assert result.outputs.shape == (24, 3)


@pytest.mark.parametrize('kind', ['regressor', 'classifier'])
def test_the_number_of_threads_changes_nothing(quick, made, fitted, kind):
    one, two = (fitted(made(40, kind=kind, threads=threads), name=f'{threads}') for threads in (1, 2))
    assert same(one, two) and np.array_equal(one.outputs, two.outputs)
    # 0 are all there are
    assert ensemble._data(made(8, threads=0), log_abundances(made(8).study, np.arange(8)), make_seed()).threads == (
        available_cpus()
    )


def make_seed():
    return type('Run', (), {'seed': 3})()


@pytest.mark.parametrize('kind', ['regressor', 'classifier'])
def test_nothing_that_is_kept_is_a_sample(made, fitted, quick, kind):
    """No row of an array is what a sample holds, as it is, in part, or times anything; no leaf is of one sample."""
    random = np.random.default_rng(8)
    counts = random.integers(1, 90, (24, 30)) * (random.random((24, 30)) < 0.6)
    prepared = made(24, 30, kind=kind, counts=counts)
    result = fitted(prepared)
    held = in_vocabulary(result, prepared).toarray().astype(np.float64)
    profiles = [held, np.expm1(held), held > 0]
    for name, array in result.model.arrays().items():
        if 30 not in array.shape:
            # or they are no numbers of ASVs; thresholds and values of trees may not be a run of a sample's either
            runs = (
                np.lib.stride_tricks.sliding_window_view(array.ravel().astype(np.float64), 30)
                if (array.size >= 30)
                else np.empty((0, 30))
            )
        else:
            runs = np.moveaxis(array, array.shape.index(30), -1).reshape(-1, 30).astype(np.float64)
        if name == 'known':
            # which ASVs some sample of nearly all holds
            assert runs.sum(axis=1).min() > (held > 0).sum(axis=1).max()
            continue
        for profile in profiles:
            one = runs / np.maximum(np.linalg.norm(runs, axis=1), 1e-12)[:, None]
            two = profile / np.linalg.norm(profile, axis=1)[:, None]
            assert (np.abs(one @ two.T) < 0.999).all(), name
    trees = result.model.members[EXTRA_TREES]
    for member in range(10):
        learned = result.data.learned(member)
        leaves = trees._leaves(result.data.abundances[learned].toarray())[:, 2 * member : 2 * member + 2]
        assert min(np.unique(tree, return_counts=True)[1].min() for tree in leaves.T) >= 5


def test_what_is_learned_holds_for_new_samples(made, fitted, few_trees):
    """The logarithm of a ratio of two ASVs, which stand among ten that say nothing, from 90 samples."""
    rows, new = np.arange(90), np.arange(90, 150)
    prepared = made(150, rows=rows)
    result = fitted(prepared)
    true = prepared.target.target.scaled(prepared.target.values)
    mean = result.model.outputs(in_vocabulary(result, prepared, new)).mean(axis=0)[:, 0]
    assert np.abs(mean - true[new]).mean() < 0.6 * np.abs(true[new] - true[rows].mean()).mean()
    # out of fold by one member each, without what averaging takes off
    assert np.abs(result.outputs[:, 0] - true[rows]).mean() < 0.7 * np.abs(true[rows] - true[rows].mean()).mean()


def test_classes_are_learned_too(made, fitted, few_trees):
    rows, new = np.arange(90), np.arange(90, 150)
    prepared = made(150, rows=rows, kind='classifier')
    result = fitted(prepared)
    assert result.outputs.shape == (90, 2)
    likeliest = result.model.outputs(in_vocabulary(result, prepared, new)).mean(axis=0).argmax(axis=1)
    assert (likeliest == prepared.target.values[new]).mean() > 0.75
    assert (result.outputs.argmax(axis=1) == prepared.target.values[rows]).mean() > 0.75
