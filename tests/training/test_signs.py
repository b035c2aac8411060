"""Signs of labelled samples are those of members that have not seen them, and nothing of test samples is learned."""

import dataclasses

import numpy as np
import pytest

from q2_aam.bundle import Blend
from q2_aam.data.applicability import least_coverage
from q2_aam.data.log_abundances import log_abundances, shares_of, to_vocabulary
from q2_aam.data.splits import TEST, TRAINING, VALIDATION
from q2_aam.model.member_arrays import EXTRA_TREES, LINEAR
from q2_aam.objectives.regression import Regression
from q2_aam.runtime.encode import StudyReader
from q2_aam.runtime.seeds import Stream, numpy_generator
from q2_aam.training.blend import Blended, blended_outputs, thinned_outputs
from q2_aam.training.ensemble import fit_ensemble
from q2_aam.training.finish import _calibrated, _min_coverage

GROUPS = np.repeat([f'g{number:02d}' for number in range(20)], 2)


@pytest.fixture
def sparse(made, quick_members):
    """Prepare 40 samples of 20 groups, the last 10 samples test samples, where each group has an ASV of its own."""

    def prepare(change=None, **options):
        random = np.random.default_rng(2)
        counts = random.poisson(3, (40, 32)) * random.integers(1, 30, (40, 32))
        counts[:, :2] += 1
        counts[:, 12:] = 0
        counts[np.arange(40), 12 + np.arange(40) // 2] = random.integers(1, 200, 40)
        if change is not None:
            change(counts)
        return made(40, 32, groups=GROUPS, counts=counts, rows=np.arange(30), **options)

    return prepare


@pytest.fixture(params=['regressor', 'classifier'])
def fitted(request, sparse, make_run, monkeypatch):
    monkeypatch.setattr('q2_aam.objectives.protocol.TargetObjective.kinds', (LINEAR, EXTRA_TREES))
    prepared = sparse(kind=request.param)
    return prepared, fit_ensemble(prepared, make_run(3))


def test_signs_of_a_labelled_sample_are_of_the_member_that_has_not_learned_from_its_group(fitted):
    prepared, ensemble = fitted
    study, rows = prepared.study, prepared.labelled
    every = log_abundances(study, rows)
    known = to_vocabulary(every, study.keys, ensemble.vocabulary.keys)
    coverage, reads = np.empty(30), np.empty(30)
    for number, row in enumerate(rows):
        others = np.flatnonzero(ensemble.data.fold != ensemble.data.fold[number])
        assert GROUPS[row] not in GROUPS[rows[others]]
        seen = np.asarray(known[others].sum(axis=0)).ravel() > 0
        sample, shares = known[number].toarray()[0], shares_of(known[number]).toarray()[0]
        coverage[number], reads[number] = sample[seen].sum() / every[number].sum(), shares[seen].sum()
    signs = ensemble.signs
    assert signs.vocabulary_coverage == pytest.approx(coverage, abs=1e-6)
    assert signs.share_of_reads_in_vocabulary == pytest.approx(reads, abs=1e-6)
    # the ASV that no other group has is unknown
    assert signs.vocabulary_coverage.max() < 1 and np.ptp(signs.share_of_reads_in_vocabulary) > 0.1
    numbers = np.stack(list(ensemble.by_kind.values()))
    if prepared.kind == 'classifier':
        numbers = np.exp(numbers) / np.exp(numbers).sum(axis=-1, keepdims=True)
    assert signs.disagreement == pytest.approx(numbers.std(axis=0).mean(axis=-1), abs=1e-9)
    # out of fold, a twentieth of them lies beyond 1
    within = ensemble.domain.familiarity.distance(known, ensemble.outside)
    assert np.isfinite(signs.familiarity).all() and (within != signs.familiarity).mean() > 0.8
    assert np.mean(signs.familiarity > 1) <= 0.1 and ensemble.domain.quantiles[-1] == signs.familiarity.max()


def test_nothing_of_test_samples_is_in_signs_domain_and_bounds(sparse, make_run, monkeypatch):
    monkeypatch.setattr('q2_aam.objectives.protocol.TargetObjective.kinds', (LINEAR,))

    def spoil(counts):
        counts[30:] = 0
        counts[30:, 5] = 9

    found = []
    for number, change in enumerate((None, spoil)):
        prepared = sparse(change)
        ensemble = fit_ensemble(prepared, make_run(3, name=f'run{number}'))
        found.append((ensemble.vocabulary.codes, *ensemble.domain.arrays().values(), *vars(ensemble.signs).values()))
    for one, two in zip(*found):
        assert one.tobytes() == two.tobytes()


def blended_of(prepared, ensemble):
    """Return what is told of all samples, with a network that says little, and its outputs."""
    outputs = ensemble.outputs.shape[1]
    network = np.random.default_rng(8).normal(0, 0.1, (40, outputs))
    reader = StudyReader(prepared.study, prepared.augment)
    weights = Blend(0.25, 0.75, 0.5, 1.0, len(ensemble.model.shares), ensemble.model.weights)
    told, signs = blended_outputs(
        reader, ensemble.model, ensemble.vocabulary, weights, ensemble.domain, network, np.arange(40)
    )
    return weights, network, told, signs


def test_signs_of_new_samples_do_not_depend_on_the_others_of_the_table(fitted, monkeypatch):
    prepared, ensemble = fitted
    weights, network, outputs, signs = blended_of(prepared, ensemble)
    reader = StudyReader(prepared.study, prepared.augment)
    model = reader, ensemble.model, ensemble.vocabulary, weights, ensemble.domain, network
    for rows in (np.array([33]), np.array([39, 2, 33])):
        alone, found = blended_outputs(*model, rows)
        np.testing.assert_allclose(alone, outputs[rows], rtol=0, atol=1e-12)
        for name, values in vars(found).items():
            np.testing.assert_allclose(values, getattr(signs, name)[rows], rtol=0, atol=1e-12)
    monkeypatch.setattr('q2_aam.runtime.encode.SAMPLES_AT_ONCE', 7)
    in_blocks, found = blended_outputs(*model, np.arange(40))
    np.testing.assert_allclose(in_blocks, outputs, rtol=0, atol=1e-12)
    for name, values in vars(found).items():
        np.testing.assert_allclose(values, getattr(signs, name), rtol=0, atol=1e-12)


def test_the_least_coverage_follows_from_labelled_samples_alone(fitted):
    prepared, ensemble = fitted
    _, network, outputs, signs = blended_of(prepared, ensemble)
    signs.put(prepared.labelled, ensemble.signs)
    blended = Blended(outputs, None, prepared.labelled, network, signs)
    least = _min_coverage(prepared, blended)
    groups = GROUPS[:30]
    assert least == (
        least_coverage(ensemble.signs.vocabulary_coverage, groups),
        least_coverage(ensemble.signs.share_of_reads_in_vocabulary, groups),
    )
    assert 0 < min(least) and max(least) < 0.95
    # few of them are below both
    coverage = ensemble.signs
    low = (coverage.vocabulary_coverage < least[0]) & (coverage.share_of_reads_in_vocabulary < least[1])
    assert low.mean() <= 0.05
    signs.vocabulary_coverage[prepared.rows[TEST]] = 0
    signs.share_of_reads_in_vocabulary[prepared.rows[TEST]] = 0
    assert _min_coverage(prepared, blended) == least
    assert _min_coverage(prepared, dataclasses.replace(blended, signs=None)) == (0.0, 0.0)


def test_with_few_groups_there_is_no_domain_and_familiarity_is_unknown(made, make_run, quick_members):
    groups = np.repeat(['a', 'b', 'c', 'd'], 6)
    ensemble = fit_ensemble(made(groups=groups), make_run(3))
    assert ensemble.domain is None and np.isnan(ensemble.signs.familiarity).all()
    assert np.isfinite(ensemble.signs.disagreement).all()
    # and all samples are as hard
    for _, signs in ensemble.thinned(np.random.default_rng(0)):
        assert np.isnan(signs.familiarity).all() and np.isfinite(signs.vocabulary_coverage).all()


def test_thinned_outputs_of_training_samples_hear_no_network_and_less_is_known_of_all(fitted):
    prepared, ensemble = fitted
    weights, network, outputs, signs = blended_of(prepared, ensemble)
    signs.put(prepared.labelled, ensemble.signs)
    blended = Blended(outputs, weights, prepared.labelled, network, signs)
    training = np.isin(prepared.labelled, prepared.rows[TRAINING])
    generator = lambda: numpy_generator(3, Stream.THINNED)  # noqa: E731
    whole = ensemble.signs
    parts = list(thinned_outputs(prepared, blended, ensemble, generator()))
    assert len(parts) == 4
    for told, found in parts:
        assert told.shape == ensemble.outputs.shape and np.isfinite(told).all()
        assert (found.vocabulary_coverage < whole.vocabulary_coverage + 1e-6).all()
        # as far as ASVs are hidden a sample is farther from what is known
        assert found.familiarity.mean() > whole.familiarity.mean()
    assert np.mean(parts[-1][1].vocabulary_coverage) < np.mean(parts[0][1].vocabulary_coverage)
    # what the network says of training samples, whose answer it knows, changes nothing for them
    network[prepared.rows[TRAINING]] = 1e6
    network[prepared.rows[TEST]] = 1e6
    for (told, _), (again, _) in zip(parts, thinned_outputs(prepared, blended, ensemble, generator())):
        np.testing.assert_array_equal(told, again)
    network[prepared.rows[VALIDATION]] += 1
    again, _ = next(thinned_outputs(prepared, blended, ensemble, generator()))
    np.testing.assert_array_equal(again[training], parts[0][0][training])
    assert (again[~training] != parts[0][0][~training]).all()


def test_a_validation_sample_below_0_lets_predictions_fall_below_0(made):
    def shifted(counts, row):
        values = np.arange(24.0) + 1
        values[row] = -1.0
        return values

    # row 4 is a validation sample, row 5 a training sample, row 22 a test sample
    rows = np.arange(20)
    for row, expected in ((4, None), (5, None), (22, 0.0)):
        prepared = made(rows=rows, values=lambda counts, row=row: shifted(counts, row))
        assert isinstance(prepared.target, Regression) and prepared.target.target.lowest == expected


def test_calibration_takes_no_label_and_no_sign_of_test_samples(sparse, make_run, monkeypatch):
    monkeypatch.setattr('q2_aam.objectives.protocol.TargetObjective.kinds', (LINEAR, EXTRA_TREES))
    prepared = sparse()
    run = make_run(3)
    ensemble = fit_ensemble(prepared, run)
    weights, network, outputs, signs = blended_of(prepared, ensemble)
    signs.put(prepared.labelled, ensemble.signs)
    blended = Blended(outputs, weights, prepared.labelled, network, signs)
    before = _calibrated(prepared, blended, ensemble, run)
    assert before.calibration.number_of_groups == 15 and before.difficulty is not None
    prepared.target.values[prepared.rows[TEST]] = 1e9
    outputs[prepared.rows[TEST]], network[prepared.rows[TEST]] = -1e9, 1e9
    for values in vars(signs).values():
        values[prepared.rows[TEST]] = 0.5
    after = _calibrated(prepared, blended, ensemble, run)
    assert before.calibration == after.calibration
    for name, array in before.difficulty.arrays().items():
        assert array.tolist() == after.difficulty.arrays()[name].tolist()


def test_the_disagreement_of_a_new_sample_is_the_mean_over_members(fitted):
    prepared, ensemble = fitted
    study = prepared.study
    known = to_vocabulary(log_abundances(study, np.arange(40)), study.keys, ensemble.vocabulary.keys)
    outputs = np.stack(list(ensemble.model.outputs_by_kind(known).values()))
    if prepared.kind == 'classifier':
        outputs = np.exp(outputs) / np.exp(outputs).sum(axis=-1, keepdims=True)
    # by kinds, then over outputs and members
    expected = outputs.std(axis=0).mean(axis=-1).mean(axis=0)
    _, _, _, signs = blended_of(prepared, ensemble)
    assert signs.disagreement == pytest.approx(expected, abs=1e-9) and np.ptp(expected) > 0.01
