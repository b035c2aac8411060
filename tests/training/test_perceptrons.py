"""Perceptrons beside cheaper members: what they learn from, when they are worth fitting, and how a run goes on."""

import dataclasses
import re
import warnings

import numpy as np
import pytest
import scipy.sparse

from q2_aam.data.log_abundances import log_abundances
from q2_aam.model.member_arrays import EXTRA_TREES, LINEAR, PERCEPTRONS
from q2_aam.runtime import checkpoint
from q2_aam.runtime.seeds import Stream, numpy_generator
from q2_aam.training import perceptrons
from q2_aam.training.members import MemberData, deal, fit_linear
from q2_aam.training.perceptrons import batches_of, fit_perceptrons

MEMBERS = 10


@pytest.fixture
def quick(quick_members, monkeypatch):
    """Few steps, and perceptrons are kept whatever they give."""
    monkeypatch.setattr(perceptrons, 'MIN_STEPS', 12)
    monkeypatch.setattr(perceptrons, 'MAX_STEPS', 12)


def data_of(prepared, parts=MEMBERS, seed=3):
    """Return what members learn from: all ASVs of the study."""
    rows = prepared.labelled
    fold = deal(prepared.target.groups[rows], parts, numpy_generator(seed, Stream.ENSEMBLE))
    return MemberData(log_abundances(prepared.study, rows), *prepared.target.learned(rows), fold, fold)


def known_of(data):
    held = [data.abundances[data.learned(member)].toarray().any(axis=0) for member in range(data.members)]
    return np.array(held, dtype=np.uint8)


@pytest.fixture
def fitted(make_run):
    """Fit perceptrons beside no others, or beside what `by_kind` says."""

    def fit(prepared, by_kind=None, seed=3, data=None, parts=MEMBERS, **options):
        data = data or data_of(prepared, parts, seed)
        by_kind = by_kind or {}
        noises = dict.fromkeys(by_kind, 0.0)
        made = fit_perceptrons(data, known_of(data), prepared, make_run(seed, **options), by_kind, noises)
        return made and made[0]

    return fit


def linear_of(prepared, seed=3):
    """Return what linear members say out of fold."""
    data = data_of(prepared, seed=seed)
    return {LINEAR: data.out_of_fold(fit_linear(data).outputs(data.abundances))}


def same(one, two):
    one, two = one.arrays(), two.arrays()
    return one.keys() == two.keys() and all(one[name].tobytes() == two[name].tobytes() for name in one)


def either_or(counts):
    """One of the first two ASVs is rich and the other poor, or not: no sum of the two tells which."""
    rich = counts[:, :2] > 100
    return np.where(rich[:, 0] ^ rich[:, 1], 1.0, -1.0)


def balanced_counts(samples, asvs=5):
    random = np.random.default_rng(2)
    counts = random.integers(20, 30, (samples, asvs))
    counts[:, :2] = np.where(random.random((samples, 2)) < 0.5, 1, 200)
    # where one is rich another is poor, so that no total tells how many are
    counts[:, 2:4] = 201 - counts[:, :2]
    return counts


@pytest.mark.parametrize('kind', ['regressor', 'classifier'])
def test_perceptrons_are_kept_where_they_see_what_linear_members_cannot(made, fitted, kind):
    prepared = made(200, 5, counts=balanced_counts(200), values=either_or, kind=kind)
    by_kind, lines = linear_of(prepared), []
    result = fitted(prepared, by_kind, say=lines.append)
    assert lines == [] and len(result.out.weight) == MEMBERS
    data = data_of(prepared)
    outputs = data.out_of_fold(result.outputs(data.abundances))
    errors = [prepared.target.score_of(values, prepared.labelled) for values in (outputs, by_kind[LINEAR])]
    assert errors[0] < 0.6 * errors[1]


@pytest.mark.parametrize('kind', ['regressor', 'classifier'])
def test_perceptrons_that_do_not_help_are_not_fitted_beyond_the_first(made, fitted, kind, monkeypatch):
    trained, train = [], perceptrons._train
    monkeypatch.setattr(
        perceptrons,
        '_train',
        lambda model, members, *more: trained.append(list(members)) or train(model, members, *more),
    )
    # numbers that nothing tells, beside members that know them
    random = np.random.default_rng(7)
    prepared = made(60, 6, values=lambda counts: random.normal(size=len(counts)), kind=kind)
    values = prepared.target.learned(prepared.labelled)[0]
    right = np.eye(2)[values] * 4 if kind == 'classifier' else values[:, None] + 0.01
    lines = []
    monkeypatch.setattr(perceptrons, 'MIN_GROUPS', 5)
    assert fitted(prepared, {LINEAR: right}, say=lines.append) is None
    # once more, to see how members differ that have learned the same
    assert trained == [[0, 1, 2], [0, 1, 2]]
    # few groups tell nothing
    monkeypatch.setattr(perceptrons, 'MIN_GROUPS', 1000)
    assert fitted(prepared, {LINEAR: right}, name='few') is not None
    pattern = r'^Perceptrons: 3 of 10 lower the out-of-fold error by 0\.\d%, too little to fit the others\.$'
    assert len(lines) == 1 and re.match(pattern, lines[0])


def test_beside_no_others_all_are_fitted_at_once(quick, made, fitted, monkeypatch):
    trained, train = [], perceptrons._train
    monkeypatch.setattr(
        perceptrons,
        '_train',
        lambda model, members, *more: trained.append(list(members)) or train(model, members, *more),
    )
    prepared = made(24)
    assert fitted(prepared) is not None and trained == [list(range(10))]
    # else the first by themselves; of so few members there are no others
    first, others = [0, 1, 2], list(range(3, 10))
    assert fitted(prepared, linear_of(prepared)) is not None and trained[1:] == [first, first, others]
    three = made(24, groups=np.arange(24) % 3)
    assert fitted(three, linear_of(three)) is not None and trained[4:] == [first, first]


def test_the_others_go_on_from_their_own_first_weights(quick, made, fitted, monkeypatch):
    """Members learn the same whether others were tried before them, but for what is dropped at random."""
    monkeypatch.setattr(perceptrons, 'OF_FEW', perceptrons.Form(16, 0.0, 0.0, 40))
    prepared = made(24)
    alone, tried = fitted(prepared), fitted(prepared, linear_of(prepared), name='tried')
    data = data_of(prepared)
    np.testing.assert_allclose(tried.outputs(data.abundances), alone.outputs(data.abundances), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('kind', ['regressor', 'classifier'])
@pytest.mark.parametrize('member', [0, 4, 9])
def test_a_member_knows_nothing_of_the_labels_of_its_own_fold(quick, made, fitted, kind, member):
    prepared = made(40, groups=np.repeat([f'g{i}' for i in range(20)], 2), kind=kind)
    data, values = data_of(prepared), prepared.target.values
    changed = data.fold == member
    assert changed.sum() == 4
    before = fitted(prepared)
    prepared.target.values = np.where(changed, values + 5 if kind == 'regressor' else 1 - values, values)
    after = fitted(prepared, name='after')
    for name, array in before.arrays().items():
        if name != 'scale':
            assert array[member].tobytes() == after.arrays()[name][member].tobytes()
    before, after = (result.outputs(data.abundances) for result in (before, after))
    # every other member has learned from these labels
    assert (np.delete(before, member, axis=0) != np.delete(after, member, axis=0)).all()


def test_asvs_that_a_member_has_not_seen_do_not_change_what_it_says(quick, made, fitted):
    counts = np.random.default_rng(3).integers(1, 60, (16, 8))
    prepared = made(16, 8, counts=counts, values=lambda counts: np.arange(16.0))
    data = data_of(prepared, 4)
    dense = data.abundances.toarray()
    dense[data.fold != 1, 5] = 0
    lacking = MemberData(scipy.sparse.csr_matrix(dense), data.values, 0, False, data.fold, data.seeds)
    result = fitted(prepared, data=lacking)
    more = dense.copy()
    more[:, 5] += 7
    before, after = (result.outputs(scipy.sparse.csr_matrix(one)) for one in (dense, more))
    assert after[1].tobytes() == before[1].tobytes()
    assert all((after[member] != before[member]).any() for member in (0, 2, 3))


def test_fitting_that_takes_long_tells_how_far_it_is(quick, made, fitted, monkeypatch):
    monkeypatch.setattr('q2_aam.runtime.progress.SECONDS_BETWEEN_LINES', 0)
    lines = []
    fitted(made(6), say=lines.append)
    pattern = re.compile(r'^Perceptrons, step (\d+)/(\d+): loss \d+\.\d{3} \| \d+ s left$')
    steps = [pattern.match(line).groups() for line in lines]
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
    assert lines == [f'Resumed after {stop} of 12 steps.']
    assert len(calls) - (stop < 12) == 12
    assert same(resumed, complete)


def test_batches_hold_nothing_that_a_member_must_not_see_and_every_other_sample_as_often(made, fitted, monkeypatch):
    monkeypatch.setattr(perceptrons, 'OF_FEW', dataclasses.replace(perceptrons.OF_FEW, epochs=6))
    monkeypatch.setattr(perceptrons, 'MIN_STEPS', 1)
    prepared, seen = made(20), []
    labels_of = prepared.target.labels_of
    prepared.target.labels_of = lambda rows: seen.append(rows.reshape(10, -1)) or labels_of(rows)
    fitted(prepared)
    # of 18 samples 5 a time are 3 batches an epoch
    assert np.shape(seen) == (6 * 18 // 5, 10, 5)
    member_N = data_of(prepared).fold
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


@pytest.mark.parametrize('values', [np.float32([[0, 0, 3], [1, 0, 0]]), np.float32([[9.2103405, 9.2104]]), 'drawn'])
def test_the_standard_deviation_is_that_of_the_dense_matrix(values):
    if isinstance(values, str):
        random = np.random.default_rng(4)
        values = np.float32(random.random((50, 30)) * 9 * (random.random((50, 30)) < 0.1))
    result = perceptrons._standard_deviation(scipy.sparse.csr_matrix(values))
    assert result == pytest.approx(values.astype(np.float64).std(), rel=1e-9)


def test_abundances_that_are_all_the_same_are_divided_by_1():
    for samples in range(2, 40):
        for asvs in range(1, 8):
            alike = np.full((samples, asvs), np.log1p(1e4 / asvs), dtype=np.float32)
            assert perceptrons._standard_deviation(scipy.sparse.csr_matrix(alike)) == 1.0


@pytest.mark.parametrize(
    ('samples', 'options', 'parts', 'width', 'steps', 'batch'),
    [
        # the member that leaves out fewest learns from 22; a quarter of 24 is 6; 40 times 22 samples in batches of 6
        (24, {}, 10, 128, 146, 6),
        # two samples at least, 40 times 6 // 2
        (7, {}, 7, 128, 120, 2),
        (7, {'MIN_STEPS': 125}, 7, 128, 125, 2),
        (24, {'MAX_STEPS': 11, 'MIN_STEPS': 3}, 10, 128, 11, 6),
        (40, {'MAX_BATCH': 8, 'epochs': 2, 'MIN_STEPS': 3}, 10, 128, 9, 8),
        (40, {'MANY_SAMPLES': 40, 'epochs': 2, 'MIN_STEPS': 3}, 5, 256, 6, 10),
        (39, {'MANY_SAMPLES': 40, 'epochs': 2, 'MIN_STEPS': 3}, 10, 128, 8, 9),
    ],
)
def test_sizes_are_derived_from_the_samples(made, fitted, monkeypatch, samples, options, parts, width, steps, batch):
    for name in ('OF_FEW', 'OF_MANY') if 'epochs' in options else ():
        monkeypatch.setattr(
            perceptrons, name, dataclasses.replace(getattr(perceptrons, name), epochs=options['epochs'])
        )
    for name in options.keys() - {'epochs'}:
        monkeypatch.setattr(perceptrons, name, options[name])
    prepared, asked, dropped, of_asvs = made(samples), [], set(), set()
    outputs_loss, keep, drop = prepared.target.outputs_loss, perceptrons._keep, perceptrons._with_dropout
    prepared.target.outputs_loss = lambda outputs, *true: asked.append(outputs.shape) or outputs_loss(outputs, *true)
    monkeypatch.setattr(
        perceptrons, '_keep', lambda shape, share, more: dropped.add((*shape, share)) or keep(shape, share, more)
    )
    monkeypatch.setattr(
        perceptrons,
        '_with_dropout',
        lambda given, share, *more: of_asvs.add((given.shape, share)) or drop(given, share, *more),
    )
    result = fitted(prepared, parts=parts)
    assert asked == [(parts * batch, 1)] * steps
    assert result.second.weight.shape == (parts, width, width)
    assert dropped == {(parts, batch, width, 0.1 if width == 256 else 0.3)}
    assert of_asvs == {((parts * batch, 12), 0.05 if width == 256 else 0.1)}


def test_asvs_are_dropped_at_random_so_that_the_mean_stays():
    given = scipy.sparse.csr_matrix(np.ones((400, 50), dtype=np.float32))
    dropped = perceptrons._with_dropout(given.copy(), 0.2, 3, 1, 7).toarray()
    assert set(np.unique(dropped)) == {0, np.float32(1.25)}
    assert (dropped == 0).mean() == pytest.approx(0.2, abs=0.02)
    again, other = (perceptrons._with_dropout(given.copy(), 0.2, 3, 1, step).toarray() for step in (7, 8))
    assert np.array_equal(again, dropped) and not np.array_equal(other, dropped)


def test_the_same_seed_gives_the_same_perceptrons_and_another_others(quick, made, fitted):
    prepared = made()
    data = data_of(prepared)
    one, two, other = (fitted(prepared, seed=seed, data=data, name=f'{seed}') for seed in (3, 3, 4))
    assert same(one, two) and not same(one, other)
    # members begin from weights of their own
    assert len({weights.tobytes() for weights in one.first.weight.detach().numpy()}) == MEMBERS
    # training reads what it is given, and leaves it as it is
    assert np.array_equal(data.abundances.toarray(), data_of(prepared).abundances.toarray())


def test_quantiles_are_learned_by_perceptrons_alone(quick, made, fitted):
    prepared = made(30, loss='quantile')
    assert prepared.target.kinds == (PERCEPTRONS,) and EXTRA_TREES not in prepared.target.kinds
    assert fitted(prepared).out.weight.shape == (MEMBERS, 128, 3)
