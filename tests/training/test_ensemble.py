"""Fitting the abundance ensemble: what is out of fold stays so, sizes follow the data, and it learns."""

import dataclasses
import re
import warnings

import numpy as np
import pytest
import scipy.sparse

from q2_aam.data.labels import Labels
from q2_aam.data.log_abundances import log_abundances, to_vocabulary
from q2_aam.data.splits import TEST, TRAINING, VALIDATION
from q2_aam.data.study import build_study
from q2_aam.data.table import Table
from q2_aam.runtime import checkpoint
from q2_aam.runtime.seeds import Stream, numpy_generator
from q2_aam.training import ensemble
from q2_aam.training.ensemble import OF_FEW, batches_of, deal, fit_ensemble


@pytest.fixture
def quick(monkeypatch):
    """Few steps: enough to tell what has been learned from and what has not."""
    monkeypatch.setattr(ensemble, 'MIN_STEPS', 12)
    monkeypatch.setattr(ensemble, 'MAX_STEPS', 12)


@pytest.fixture
def made(prepare_labels):
    """Prepare random counts and a target: how the first two ASVs, both common, stand to each other.

    `rows` are labelled, the other samples are test samples.
    """

    def make(samples=24, asvs=12, seed=1, groups=None, counts=None, rows=None, kind='regressor', **options):
        random = np.random.default_rng(seed)
        if counts is None:
            counts = random.poisson(3, (samples, asvs)) * random.integers(1, 30, (samples, asvs))
            counts[:, :2] += 1
        ids = [f's{row:04d}' for row in range(samples)]
        letters = np.random.default_rng(0)
        sequences = [''.join(letters.choice(list('ACGT'), 30)) for _ in range(asvs)]
        table = Table(ids, sequences, lambda: [scipy.sparse.csr_matrix(counts.astype(np.float32))])
        values = np.log(counts[:, 0] + 1) - np.log(counts[:, 1] + 1)
        if kind == 'classifier':
            values = np.where(values > np.median(values), 'more', 'less').astype(object)
        labels = Labels('ratio', ids, values, np.array(ids if groups is None else groups))
        every = np.arange(samples)
        rows = every if rows is None else rows
        # of every four labelled samples one is a validation sample, which makes no difference here
        parts = {TRAINING: rows[rows % 4 > 0], VALIDATION: rows[rows % 4 == 0], TEST: np.setdiff1d(every, rows)}
        return prepare_labels(build_study(table, sequences)[0], labels, parts, kind, **options)

    return make


@pytest.fixture
def fitted(make_run):
    return lambda prepared, seed=3, **options: fit_ensemble(prepared, make_run(seed, **options))


def members_of(prepared, members=OF_FEW.members, seed=3):
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
    assert before.outputs[changed].tobytes() == after.outputs[changed].tobytes()
    # every other member has learned from these labels
    assert (before.outputs[~changed] != after.outputs[~changed]).all()
    assert np.array_equal(*(one.model.out.bias[member].detach() for one in (before, after)))


def test_out_of_fold_outputs_are_those_of_the_member_that_never_saw_the_group(quick, made, fitted):
    prepared = made(30, groups=[f'g{i % 15}' for i in range(30)])
    result, member_N = fitted(prepared), members_of(prepared)
    assert (result.outputs.shape, result.outputs.dtype) == ((30, 1), np.float64)
    expected = result.model.outputs(in_vocabulary(result, prepared))[member_N, np.arange(30)]
    np.testing.assert_allclose(result.outputs, expected)
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
    assert (one.model.known.numpy()[:, private] == (np.arange(8) != member_N[0])[:, None]).all()
    assert one.model.known.numpy().sum() == 8 * 8 - 2
    np.testing.assert_array_equal(one.outputs[:2], two.outputs[:2])
    # members that do know them read them
    everyone = [
        result.model.outputs(in_vocabulary(result, case))[:, 0] for result, case in ((one, before), (two, after))
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
    assert result.coverage.dtype == np.float64
    assert result.coverage == pytest.approx(expected, rel=1e-5)
    assert (result.coverage[:2] < 0.8).all() and result.coverage[2:] == pytest.approx(np.ones(14), rel=1e-6)


@pytest.mark.parametrize(
    ('groups', 'parts', 'sizes'), [(25, 10, [2] * 5 + [3] * 5), (10, 10, [1] * 10), (7, 10, [1] * 7), (2, 5, [1, 1])]
)
def test_complete_groups_are_dealt_evenly(groups, parts, sizes):
    names = np.array([f'g{i % groups}' for i in range(4 * groups)])
    part_N = deal(names, parts, np.random.default_rng(0))
    by_group = {name: set(part_N[names == name]) for name in names}
    assert all(len(parts_of_group) == 1 for parts_of_group in by_group.values())
    assert sorted(np.bincount([part for parts_of_group in by_group.values() for part in parts_of_group])) == sizes
    assert any(not np.array_equal(part_N, deal(names, parts, np.random.default_rng(seed))) for seed in range(1, 9))


def test_fitting_that_takes_long_tells_how_far_it_is(quick, made, fitted, monkeypatch):
    monkeypatch.setattr('q2_aam.runtime.progress.SECONDS_BETWEEN_LINES', 0)
    lines = []
    fitted(made(6), say=lines.append)
    pattern = re.compile(r'^Abundance ensemble, step (\d+)/(\d+): loss \d+\.\d{3} \| \d+ s left$')
    steps = [pattern.match(line).groups() for line in lines[1:]]
    assert steps == [(str(step), '12') for step in range(1, 12)]


@pytest.mark.parametrize('stop', [1, 3, 4, 11, 12])
def test_fitting_that_was_killed_goes_on_as_if_it_had_never_stopped(quick, made, fitted, monkeypatch, stop):
    monkeypatch.setattr(checkpoint, 'SECONDS_BETWEEN', 0.0)
    prepared = made(6)
    complete = fitted(prepared, name='complete')
    calls, labels_of = [], prepared.target.labels_of

    def killed(rows):
        calls.append(rows)
        if len(calls) == stop + 1:
            raise KeyboardInterrupt
        return labels_of(rows)

    prepared.target.labels_of = killed
    lines = []
    if stop < 12:
        with pytest.raises(KeyboardInterrupt):
            fitted(prepared)
    else:
        fitted(prepared)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        resumed = fitted(prepared, say=lines.append)
    assert lines[1:] == [f'Resumed after {stop} of 12 steps.']
    assert len(calls) - (stop < 12) == 12
    assert np.array_equal(resumed.outputs, complete.outputs) and same(resumed, complete)


@pytest.mark.parametrize('of_first', [1, 3])
def test_two_groups_are_enough(quick, made, fitted, of_first):
    prepared = made(6, groups=['a'] * of_first + ['b'] * (6 - of_first))
    lines = []
    result = fitted(prepared, say=lines.append)
    assert lines == ['Abundance ensemble: 2 members on 12 ASVs, 12 steps of 2 samples each.']
    # the member that has learned from more samples counts for more
    assert sorted(result.model.shares.tolist()) == pytest.approx(
        [min(of_first, 6 - of_first) / 6, max(of_first, 6 - of_first) / 6]
    )
    assert len(result.model.out.weight) == 2 and np.isfinite(result.outputs).all()
    # each group by the member that has learned from the other
    first = members_of(prepared) == members_of(prepared)[0]
    prepared.target.values = prepared.target.values + np.where(first, 3, 0)
    after = fitted(prepared).outputs
    assert np.array_equal(after[first], result.outputs[first]) and (after[~first] != result.outputs[~first]).all()


def test_batches_hold_nothing_that_a_member_must_not_see_and_every_other_sample_as_often(made, fitted, monkeypatch):
    monkeypatch.setattr(ensemble, 'EPOCHS', 6)
    monkeypatch.setattr(ensemble, 'MIN_STEPS', 1)
    prepared, seen = made(20), []
    labels_of = prepared.target.labels_of
    prepared.target.labels_of = lambda rows: seen.append(rows.reshape(10, -1)) or labels_of(rows)
    fitted(prepared)
    # of 18 samples 5 a time are 3 batches an epoch
    assert np.shape(seen) == (6 * 18 // 5, 10, 5)
    member_N = members_of(prepared)
    for member in range(10):
        batches = np.array(seen)[:, member]
        assert set(batches.ravel()) == set(np.flatnonzero(member_N != member))
        for start in range(0, len(batches), 3):
            drawn = batches[start : start + 3].ravel()
            assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize(('samples', 'size'), [(18, 5), (10, 5), (3, 5), (5, 5)])
def test_batches_that_are_skipped_are_those_that_would_have_come_first(samples, size):
    def first(number, skip):
        return [batch.tolist() for batch, _ in zip(batches_of(np.arange(samples), size, 3, 1, skip), range(number))]

    every = first(20, 0)
    assert all(len(batch) == size for batch in every)
    for skip in (1, 2, 3, 7, 12):
        assert first(20 - skip, skip) == every[skip:]


def test_samples_beside_labelled_ones_are_not_looked_at(quick, made, fitted):
    rows, seen = np.arange(3, 18), []
    prepared = made(20, rows=rows)
    labels_of = prepared.target.labels_of
    prepared.target.labels_of = lambda chosen: seen.append(chosen) or labels_of(chosen)
    before = fitted(prepared)
    assert set(np.concatenate(seen)) == set(rows) and len(before.outputs) == len(before.coverage) == 15
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
    assert result.model.first.weight.shape[1] == 3


def test_asvs_beyond_the_vocabulary_lower_the_coverage(quick, made, fitted, monkeypatch):
    monkeypatch.setattr(ensemble, 'MAX_VOCABULARY', 3)
    prepared = made(20)
    result = fitted(prepared)
    known = in_vocabulary(result, prepared).sum(axis=1) / log_abundances(prepared.study, np.arange(20)).sum(axis=1)
    assert result.coverage == pytest.approx(np.asarray(known).ravel(), rel=1e-5)
    assert result.coverage.max() < 0.7


def test_what_is_not_read_of_a_sample_is_not_learned_from(quick, made, fitted):
    prepared = made(20, max_asvs_per_sample=4)
    result = fitted(prepared)
    read, everything = (
        in_vocabulary(result, prepared),
        in_vocabulary(result, dataclasses.replace(prepared, config=made(20).config)),
    )
    assert 0 < read.nnz == 80 < everything.nnz
    expected = result.model.outputs(read)[members_of(prepared), np.arange(20)]
    np.testing.assert_allclose(result.outputs, expected)
    assert result.model.scale.item() == pytest.approx(read.toarray().std(), rel=1e-5)


@pytest.mark.parametrize('values', [np.float32([[0, 0, 3], [1, 0, 0]]), np.float32([[9.2103405, 9.2104]]), 'drawn'])
def test_the_standard_deviation_is_that_of_the_dense_matrix(values):
    if isinstance(values, str):
        random = np.random.default_rng(4)
        values = np.float32(random.random((50, 30)) * 9 * (random.random((50, 30)) < 0.1))
    result = ensemble._standard_deviation(scipy.sparse.csr_matrix(values))
    assert result == pytest.approx(values.astype(np.float64).std(), rel=1e-9)


def test_abundances_that_are_all_the_same_are_divided_by_1():
    for samples in range(2, 40):
        for asvs in range(1, 8):
            alike = np.full((samples, asvs), np.log1p(1e4 / asvs), dtype=np.float32)
            assert ensemble._standard_deviation(scipy.sparse.csr_matrix(alike)) == 1.0


def test_samples_that_are_all_the_same_give_numbers(quick, made, fitted):
    prepared = made(23, 7, counts=np.full((23, 7), 5))
    prepared.target.values = np.arange(23.0)
    result = fitted(prepared)
    assert result.model.scale.item() == 1.0 and np.isfinite(result.outputs).all()


def test_the_same_seed_gives_the_same_ensemble_and_another_another(quick, made, fitted):
    prepared = made()
    one, two, other = (fitted(prepared, seed=seed) for seed in (3, 3, 4))
    assert same(one, two) and np.array_equal(one.outputs, two.outputs)
    assert not same(one, other)
    # members begin from weights of their own and learn from samples of their own
    assert len({weights.tobytes() for weights in one.model.first.weight.detach().numpy()}) == 10


@pytest.mark.parametrize(
    ('samples', 'options', 'members', 'width', 'steps', 'batch'),
    [
        # the member that leaves out fewest learns from 22; a quarter of 24 is 6; 80 times 22 samples in batches of 6
        (24, {}, 10, 128, 293, 6),
        # two samples at least, 80 times 6 // 2
        (7, {}, 7, 128, 240, 2),
        (7, {'MIN_STEPS': 250}, 7, 128, 250, 2),
        (24, {'MAX_STEPS': 11, 'MIN_STEPS': 3}, 10, 128, 11, 6),
        (40, {'MAX_BATCH': 8, 'EPOCHS': 2, 'MIN_STEPS': 3}, 10, 128, 9, 8),
        (40, {'MANY_SAMPLES': 40, 'EPOCHS': 2, 'MIN_STEPS': 3}, 5, 256, 6, 10),
        (39, {'MANY_SAMPLES': 40, 'EPOCHS': 2, 'MIN_STEPS': 3}, 10, 128, 8, 9),
    ],
)
def test_sizes_are_derived_from_the_samples_and_said(
    made, fitted, monkeypatch, samples, options, members, width, steps, batch
):
    for name, value in options.items():
        monkeypatch.setattr(ensemble, name, value)
    prepared, lines, asked, dropped = made(samples), [], [], set()
    outputs_loss, keep = prepared.target.outputs_loss, ensemble._keep
    prepared.target.outputs_loss = lambda outputs, true: asked.append(outputs.shape) or outputs_loss(outputs, true)
    monkeypatch.setattr(
        ensemble, '_keep', lambda shape, share, generator: dropped.add((*shape, share)) or keep(shape, share, generator)
    )
    result = fitted(prepared, say=lines.append)
    assert lines == [f'Abundance ensemble: {members} members on 12 ASVs, {steps:,} steps of {batch} samples each.']
    assert asked == [(members * batch, 1)] * steps
    assert result.model.second.weight.shape == (members, width, width)
    of_asvs, of_hidden = (0.05, 0.1) if width == 256 else (0.1, 0.3)
    assert dropped == {(members, batch, 12, of_asvs), (members, batch, width, of_hidden)}


def test_what_is_learned_holds_for_new_samples(made, fitted):
    """The logarithm of a ratio of two ASVs, which stand among ten that say nothing, from 90 samples."""
    rows, new = np.arange(90), np.arange(90, 150)
    prepared = made(150, rows=rows)
    result = fitted(prepared)
    true = prepared.target.target.scaled(prepared.target.values)
    mean = result.model.outputs(in_vocabulary(result, prepared, new)).mean(axis=0)[:, 0]
    assert np.abs(mean - true[new]).mean() < 0.6 * np.abs(true[new] - true[rows].mean()).mean()
    # out of fold by one member each, without what averaging takes off
    assert np.abs(result.outputs[:, 0] - true[rows]).mean() < 0.7 * np.abs(true[rows] - true[rows].mean()).mean()


def test_classes_are_learned_too(made, fitted):
    rows, new = np.arange(90), np.arange(90, 150)
    prepared = made(150, rows=rows, kind='classifier')
    result = fitted(prepared)
    assert result.outputs.shape == (90, 2)
    likeliest = result.model.outputs(in_vocabulary(result, prepared, new)).mean(axis=0).argmax(axis=1)
    assert (likeliest == prepared.target.values[new]).mean() > 0.75
    assert (result.outputs.argmax(axis=1) == prepared.target.values[rows]).mean() > 0.75
