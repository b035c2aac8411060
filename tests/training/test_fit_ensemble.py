"""Fitting a regressor with an abundance ensemble: what it learns from, what is out of fold, and every default."""

import warnings

import numpy as np
import pytest
from safetensors.torch import load_file

from q2_aam import bundle
from q2_aam.errors import AAMWarning
from q2_aam.runtime import checkpoint, progress
from q2_aam.runtime.progress import Clock

WEIGHTS = bundle.MODEL_FILE


def ids_of(run, part):
    return list(run.details.index[run.details['part'] == part])


def line_of(run, beginning):
    (line,) = [line for line in run.lines if line.startswith(beginning)]
    return line


def same_model(one, two):
    names = (WEIGHTS, bundle.CONFIG_FILE)
    return all((one.folder / name).read_bytes() == (two.folder / name).read_bytes() for name in names)


def logged_by(run):
    # as text, in which NaN equals NaN and every bit of a number counts
    return repr(run.history.rows), repr(run.history.points)


def test_labels_of_validation_samples_teach_the_abundance_ensemble_and_not_the_network(tiny, fitted):
    options = {'epochs': 1, 'target_scaling': 'standard'}
    before = fitted(tiny, 'before', **options)
    tiny.target[ids_of(before, 'validation')] += 5
    after = fitted(tiny, 'after', **options)
    one, two = load_file(before.folder / WEIGHTS), load_file(after.folder / WEIGHTS)
    changed = {name for name in one if not one[name].equal(two[name])}
    of_members = {'ensemble.first.weight', 'ensemble.linear.weight', 'ensemble.extra_trees.value'}
    assert of_members | {'calibration.scores'} <= changed
    unchanged = {'ensemble.vocabulary', 'ensemble.scale', 'ensemble.known', 'ensemble.shares'}
    assert all(name.startswith(('ensemble.', 'calibration.', 'difficulty.')) for name in changed)
    assert not changed & unchanged


def test_without_the_abundance_ensemble_the_network_is_alone(tiny, fitted, tiny_regressor):
    run = fitted(tiny, abundance_ensemble=False)
    alone, both = load_file(run.folder / WEIGHTS), load_file(tiny_regressor.folder / WEIGHTS)
    assert all(alone[name].equal(both[name]) for name in alone if not name.startswith('calibration.'))
    assert 'ensemble' in {name.split('.')[0] for name in set(both) - set(alone)}
    assert bundle.read_config(run.folder).blend is None and bundle.read_config(tiny_regressor.folder).blend
    assert not any('weight' in row[3] or 'blend' in row[3] for row in run.history.rows)
    assert not any(line.startswith(('Blend: ', 'Abundance ensemble: ')) for line in run.lines)
    # what is cheap comes first: it tells how long the network is worth training
    assert tiny_regressor.lines[0].startswith('Abundance ensemble: ')
    assert any(line.startswith('Blend: ') for line in tiny_regressor.lines[-3:])


def test_what_the_network_contributes_is_logged_and_said(tiny, tiny_regressor):
    history = tiny_regressor.history
    (network,), (ensemble,) = (history.series('run', f'{name}_weight') for name in ('network', 'ensemble'))
    assert 0 <= network < 1 and network + ensemble == pytest.approx(1)
    blend = bundle.read_config(tiny_regressor.folder).blend
    assert (blend.network, blend.ensemble) == pytest.approx((network * blend.network_alone, ensemble))
    # the kinds of members have shares of their own
    shares = {kind: history.series('run', f'{kind}_share')[0] for kind in blend.kinds}
    assert blend.kinds == pytest.approx(shares) and sum(shares.values()) == pytest.approx(1)
    (of_network,), (of_ensemble,), (of_both,) = (
        history.series('validation', f'{name}_mae') for name in ('network', 'ensemble', 'blend')
    )
    # the network alone is shrunk to the mean, both are what details say
    assert of_network != pytest.approx(min(history.series('validation', 'mae')))
    assert of_both == pytest.approx(history.series('validation', 'final_mae')[0])
    assert len({of_network, of_ensemble, of_both}) == 3
    assert (line_of(tiny_regressor, 'Blend: ')) == (
        f'Blend: {network:.0%} network, {ensemble:.0%} abundance ensemble; mae of validation samples: network '
        f'{of_network:.3g}, ensemble {of_ensemble:.3g}, both {of_both:.3g}.'
    )


def test_what_the_network_contributes_to_classes_is_logged_too(tiny_classifier):
    history = tiny_classifier.history
    (network,), (ensemble,) = (history.series('run', f'{name}_weight') for name in ('network', 'ensemble'))
    assert network + ensemble == pytest.approx(1)
    for name in ('network', 'ensemble', 'blend'):
        (loss,) = history.series('validation', f'{name}_balanced_log_loss')
        assert 0 < loss < 10
    assert 'balanced log loss of validation samples: network ' in line_of(tiny_classifier, 'Blend: ')


def test_with_the_abundance_ensemble_intervals_are_those_of_out_of_fold_errors(tiny, fitted):
    run = fitted(tiny, coverage=0.8)
    details = run.details
    learned = details[details['part'] != 'test']
    target = bundle.load(run.folder).config.target
    assert len(learned) == 20
    assert target.calibration.number_of_groups == tiny.groups[learned.index].nunique() == 10
    tested = details[details['part'] != 'training']
    reach = tested['upper_bound'] - tested['prediction']
    # ages are never below the lowest
    lowest = np.maximum(tested['prediction'] - reach, 0)
    assert (reach > 0).all() and list(tested['lower_bound']) == pytest.approx(list(lowest), abs=1e-6)
    # intervals as wide as these hold what was asked of the samples that they come from
    errors = (learned['prediction'] - learned['true']).abs()
    assert (errors <= reach.max()).mean() >= 0.8
    # ten groups are enough for 0.9 and a little more
    with warnings.catch_warnings():
        warnings.simplefilter('error', AAMWarning)
        fitted(tiny, 'enough', coverage=0.9)
    with pytest.warns(
        AAMWarning, match='need at least 19 groups of .* has 10 groups: its intervals are wide enough for 0.95'
    ):
        fitted(tiny, 'few', coverage=0.95)


def test_quantiles_make_intervals_as_wide_as_a_sample_is_hard(tiny, fitted, predicted):
    run = fitted(tiny, loss='quantile', coverage=0.8)
    widths = (run.details['upper_bound'] - run.details['lower_bound']).dropna()
    assert widths.nunique() == len(widths) == 8 and (widths > 0).all()
    _, details = predicted(tiny, run.folder)
    tests = ids_of(run, 'test')
    for name in ('prediction', 'lower_bound', 'upper_bound'):
        assert details.loc[tests, name].to_numpy() == pytest.approx(run.details.loc[tests, name].to_numpy(), rel=1e-4)


def test_a_run_that_stops_within_the_abundance_ensemble_gives_the_same_model_when_it_is_found_again(
    tiny, fitted, tmp_path, work_dir
):
    files = tiny.write(tmp_path / 'inputs')

    def interrupt(line):
        if line.startswith('Abundance ensemble: '):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(tiny, 'interrupted', say=interrupt, files=files)
    assert len(list(work_dir.iterdir())) == 1
    resumed, complete = fitted(tiny, 'resumed', files=files), fitted(tiny, 'complete', files=files)
    assert same_model(resumed, complete) and logged_by(resumed) == logged_by(complete)
    assert line_of(resumed, 'Abundance ensemble: ') == line_of(complete, 'Abundance ensemble: ')


def test_with_all_its_steps_the_model_learns_and_is_the_same_once_more_and_when_it_is_saved(tiny, fitted, predicted):
    """The path of every default: the other tests here let the abundance ensemble take few steps."""
    run, again = (fitted(tiny, name, quick=False) for name in ('one', 'again'))
    assert same_model(run, again) and logged_by(run) == logged_by(again)
    assert 'linear' in line_of(run, 'Abundance ensemble: ')
    predictions, details = predicted(tiny, run.folder)
    test = ids_of(run, 'test')
    assert list(predictions[test]) == pytest.approx(list(run.predictions), abs=1e-5)
    for name in ('lower_bound', 'upper_bound'):
        assert list(details.loc[test, name]) == pytest.approx(list(run.details.loc[test, name]), abs=1e-5)
    # ages from 0 to 12, which the mean misses by 3
    assert (run.predictions - tiny.target[test]).abs().mean() < 1.5
    learned = run.details[run.details['part'] != 'test']
    assert (learned['prediction'] - learned['true']).abs().mean() < 1.5


def test_what_details_say_of_training_samples_is_out_of_fold(tiny, fitted, predicted):
    options = {'epochs': 12, 'patience': 12, 'learning_rate': 0.01, 'target_scaling': 'standard'}
    run = fitted(tiny, 'both', quick=False, **options)
    predictions, _ = predicted(tiny, run.folder)
    learned = run.details.index[run.details['part'] != 'test']
    both = predictions, run.details['prediction']
    errors = [(values[learned] - tiny.target[learned]).abs().mean() for values in both]
    # most members of the saved ensemble have learned them
    assert errors[0] < 0.9 * errors[1]
    run = fitted(tiny, 'network', abundance_ensemble=False, **options)
    predictions, _ = predicted(tiny, run.folder, 'again')
    assert list(predictions) == pytest.approx(list(run.details['prediction']), abs=1e-4)


def test_a_run_that_was_killed_in_the_abundance_ensemble_is_resumed_there(
    tiny, fitted, tmp_path, work_dir, monkeypatch
):
    monkeypatch.setattr(checkpoint, 'SECONDS_BETWEEN', 0.0)
    call = {'files': tiny.write(tmp_path / 'inputs')}
    complete = fitted(tiny, 'complete', **call)
    done, tell = [], Clock.tell

    def killed(self, where, loss, step):
        done.append(where)
        if where.startswith('Perceptrons, step 7/'):
            raise KeyboardInterrupt
        tell(self, where, loss, step)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(progress, 'SECONDS_BETWEEN_LINES', 0)
        patched.setattr(Clock, 'tell', killed)
        fitted(tiny, 'interrupted', **call)
    resumed = fitted(tiny, 'resumed', **call)
    assert 'Resumed after 6 of 20 steps.' in resumed.lines
    assert (resumed.folder / WEIGHTS).read_bytes() == (complete.folder / WEIGHTS).read_bytes()
    assert list(work_dir.iterdir()) == []


@pytest.mark.parametrize('abundance_ensemble', [True, False])
def test_intervals_of_a_square_root_widen_with_the_value_and_stay_above_0(tiny, fitted, predicted, abundance_ensemble):
    tiny.target **= 3
    run = fitted(
        tiny, target_scaling='sqrt', coverage=0.6, abundance_ensemble=abundance_ensemble, epochs=8, learning_rate=0.01
    )
    details = run.details[run.details['part'] != 'training']
    lower, upper, prediction = (details[name].to_numpy() for name in ('lower_bound', 'upper_bound', 'prediction'))
    assert (lower >= 0).all() and (lower <= prediction).all() and (prediction <= upper).all()
    # on the scale of the square root all reach as far up as down, and down to 0 at most
    reach = np.sqrt(upper) - np.sqrt(prediction)
    if not abundance_ensemble:
        # nothing tells that some are harder
        assert reach == pytest.approx(np.full(len(reach), reach[0]))
    assert (reach > 0).all()
    assert np.sqrt(lower) == pytest.approx(np.maximum(np.sqrt(prediction) - reach, 0), abs=1e-6)
    order = np.argsort(prediction)
    widths = (upper - lower)[order]
    assert abundance_ensemble or (np.diff(widths) >= 0).all()
    assert widths[-1] > 1.2 * widths[0]
    _, again = predicted(tiny, run.folder)
    assert (again['lower_bound'] >= 0).all()
    test = ids_of(run, 'test')
    for name in ('lower_bound', 'upper_bound'):
        assert list(again.loc[test, name]) == pytest.approx(list(run.details.loc[test, name]), rel=1e-4, abs=1e-4)
