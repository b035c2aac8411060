"""Intervals are wider for samples that are hard to predict, hold what they promise, and stay within the target."""

import numpy as np
import pytest

from q2_aam.bundle import Blend
from q2_aam.data.signs import Signs
from q2_aam.data.splits import TEST
from q2_aam.model.member_arrays import EXTRA_TREES, LINEAR
from q2_aam.runtime.encode import StudyReader
from q2_aam.training.blend import Blended, blended_outputs
from q2_aam.training.ensemble import fit_ensemble
from q2_aam.training.finish import _calibrated

SAMPLES, LABELLED = 600, 300


def noisy(counts):
    """Return a target that is 0 or more, known well where it is low and badly where it is high, and its noise."""
    random = np.random.default_rng(4)
    logs = np.log(counts + 1.0)
    expected = 8 + 2 * (logs[:, 0] - logs[:, 1])
    noise = 0.2 + 0.4 * np.clip(expected - 4, 0, 12)
    return np.maximum(expected + noise * random.normal(size=len(counts)), 0), noise


@pytest.fixture
def planted(made, make_run, quick_members, monkeypatch):
    """Calibrate on such a target; return it, the outputs and signs of all samples and how noisy each is."""
    monkeypatch.setattr('q2_aam.objectives.protocol.TargetObjective.kinds', (LINEAR, EXTRA_TREES))
    random = np.random.default_rng(3)
    counts = random.poisson(3, (SAMPLES, 12)) * random.integers(1, 30, (SAMPLES, 12))
    counts[:, :2] += 1
    groups = np.array([f'g{number // 2:04d}' for number in range(SAMPLES)])
    prepared = made(
        SAMPLES, 12, groups=groups, counts=counts, rows=np.arange(LABELLED), values=lambda counts: noisy(counts)[0]
    )
    run = make_run(3)
    ensemble = fit_ensemble(prepared, run)
    weights = Blend(0.0, 1.0, 1.0, 1.0, len(ensemble.model.shares), ensemble.model.weights)
    network = np.zeros((SAMPLES, 1))
    outputs, signs = ensemble.outputs, ensemble.signs
    told, found = blended_outputs(
        StudyReader(prepared.study, prepared.augment), ensemble.model, ensemble.vocabulary, weights, ensemble.domain,
        network, prepared.rows[TEST],
    )  # fmt: skip
    everything = np.concatenate([outputs, told])
    every = Signs.unknown(SAMPLES)
    every.put(prepared.labelled, signs)
    every.put(prepared.rows[TEST], found)
    blended = Blended(everything, weights, prepared.labelled, network, every)
    target = _calibrated(prepared, blended, ensemble, run)
    return prepared, target, everything, every, noisy(counts)[1]


def test_intervals_are_wider_for_harder_samples_and_hold_their_share_of_all(planted):
    prepared, target, outputs, signs, noise = planted
    tested = prepared.rows[TEST]
    columns = target.columns(outputs[tested], signs.of(tested))
    lower, upper, true = columns['lower_bound'], columns['upper_bound'], prepared.target.values[tested]
    held, width = (lower <= true) & (true <= upper), upper - lower
    assert held.mean() == pytest.approx(0.9, abs=0.05)
    hard = noise[tested] > np.quantile(noise, 0.75)
    easy = noise[tested] < np.quantile(noise, 0.5)
    # less than they are harder: what 150 groups say is shrunk
    assert width[hard].mean() > 1.2 * width[easy].mean()
    # intervals that are all as wide hold fewer of the hard ones
    flat = np.quantile(np.abs(columns['prediction'] - true), held.mean())
    assert (np.abs(columns['prediction'] - true) <= flat)[hard].mean() < held[hard].mean()
    assert metrics_of(prepared, target, outputs, signs)['interval_coverage'] == held.mean()


def metrics_of(prepared, target, outputs, signs):
    tested = prepared.rows[TEST]
    return prepared.target.test_metrics(target, outputs[tested], tested, signs.of(tested))


def test_neither_predictions_nor_bounds_are_below_0_where_no_label_is(planted):
    prepared, target, outputs, signs, _ = planted
    assert target.lowest == 0.0
    low = np.array([[-50.0], [outputs.min() - 1], [0.0]])
    columns = target.columns(low, signs.of(np.arange(3)))
    assert columns['prediction'].tolist()[:2] == [0, 0] and columns['prediction'][2] > 0
    for values in columns.values():
        assert (values >= 0).all()
    tested = prepared.rows[TEST]
    told = target.columns(outputs[tested], signs.of(tested))
    assert min(values.min() for values in told.values()) == 0 and (told['lower_bound'] <= told['prediction']).all()
    assert (told['prediction'] <= told['upper_bound']).all()


def test_no_sign_of_being_out_of_its_depth_makes_an_interval_narrower(planted):
    _, target, outputs, signs, _ = planted
    rows = np.arange(50)
    before = target.difficulty_of(outputs[rows], signs.of(rows))
    for name, worse in (('disagreement', 5.0), ('familiarity', 9.0), ('vocabulary_coverage', 0.0)):
        changed = signs.of(rows)
        getattr(changed, name)[:] = worse
        assert (target.difficulty_of(outputs[rows], changed) >= before).all()
    # the hidden vocabulary has taught it that unknown ASVs make a sample harder
    changed = signs.of(rows)
    changed.vocabulary_coverage[:] = 0.3
    assert (target.difficulty_of(outputs[rows], changed) > 1.05 * before).mean() > 0.9


def test_a_target_with_a_difficulty_needs_signs(planted):
    _, target, outputs, _, _ = planted
    with pytest.raises(ValueError, match='^Intervals of this target need the signs of the samples.$'):
        target.columns(outputs)
