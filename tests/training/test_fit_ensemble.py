"""Fitting a regressor with a profile head: what it learns from, what was left out, and every default at once."""

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


def same_model(one, two):
    names = (WEIGHTS, bundle.CONFIG_FILE)
    return all((one.folder / name).read_bytes() == (two.folder / name).read_bytes() for name in names)


def figures_of(run):
    # as text, in which NaN equals NaN and every bit of a number counts
    return repr(run.history.rows), repr(run.history.points)


def test_labels_of_validation_samples_teach_the_profile_head_and_not_the_network(tiny, fitted):
    options = {'epochs': 1, 'target_scaling': 'standard'}
    before = fitted(tiny, 'before', **options)
    tiny.target[ids_of(before, 'validation')] += 5
    after = fitted(tiny, 'after', **options)
    one, two = load_file(before.folder / WEIGHTS), load_file(after.folder / WEIGHTS)
    changed = {name for name in one if not one[name].equal(two[name])}
    assert {'profile.first.weight', 'profile.out.bias'} <= changed
    assert all(name.startswith('profile.') for name in changed) and not changed & {'profile.keys', 'profile.scale'}


def test_without_the_profile_head_the_network_is_alone(tiny, fitted, tiny_regressor):
    run = fitted(tiny, profile_head=False)
    alone, both = load_file(run.folder / WEIGHTS), load_file(tiny_regressor.folder / WEIGHTS)
    assert all(alone[name].equal(both[name]) for name in alone)
    assert {name.split('.')[0] for name in set(both) - set(alone)} == {'profile'}
    assert bundle.read_config(run.folder).blend is None and bundle.read_config(tiny_regressor.folder).blend
    assert not any('weight' in row[3] for row in run.history.rows)
    assert not any(line.startswith(('Prediction: ', 'Profile head: ')) for line in run.said)
    said = tiny_regressor.said[-2:]
    assert said[0] == 'Profile head: 10 members on 30 ASVs, 20 steps of 5 samples each.'
    network, profile = (tiny_regressor.history.series('run', f'{name}_weight')[0] for name in ('network', 'profile'))
    assert said[1] == f'Prediction: {network:.0%} the network, {profile:.0%} the profile head.'
    assert network + profile == pytest.approx(1)


def test_with_the_profile_head_intervals_are_those_of_errors_on_learned_samples_that_were_left_out(tiny, fitted):
    run = fitted(tiny, coverage=0.8)
    details = run.details
    learned = details[details['part'] != 'test']
    target = bundle.read_config(run.folder).target
    errors = (learned['prediction'] - learned['true']).abs()
    assert target.calibration.scores == pytest.approx(sorted(errors)) and len(errors) == 20
    assert target.calibration.groups == tiny.groups[learned.index].nunique() == 10
    # two samples a group; 0.8 of 11 groups is 8.8, up to which 18 errors are needed
    reach = np.sort(errors)[17]
    tested = details[details['part'] != 'training']
    assert list(tested['upper_bound'] - tested['prediction']) == pytest.approx([reach] * 8)
    assert list(tested['prediction'] - tested['lower_bound']) == pytest.approx([reach] * 8)
    # ten groups are enough for 0.9 and a little more
    with warnings.catch_warnings():
        warnings.simplefilter('error', AAMWarning)
        fitted(tiny, 'enough', coverage=0.9)
    with pytest.warns(AAMWarning, match='need 19 groups of labelled samples .* there are 10: these hold 0.95 of the '):
        fitted(tiny, 'few', coverage=0.95)


def test_quantiles_make_intervals_as_wide_as_a_sample_is_hard(tiny, fitted, predicted):
    run = fitted(tiny, loss='quantile', coverage=0.8)
    widths = (run.details['upper_bound'] - run.details['lower_bound']).dropna()
    assert widths.nunique() == len(widths) == 8 and (widths > 0).all()
    _, details = predicted(tiny, run.folder)
    tests = ids_of(run, 'test')
    for name in ('prediction', 'lower_bound', 'upper_bound'):
        assert details.loc[tests, name].to_numpy() == pytest.approx(run.details.loc[tests, name].to_numpy(), rel=1e-4)


def test_a_run_that_stops_within_the_profile_head_gives_the_same_model_when_it_is_found_again(
    tiny, fitted, tmp_path, work_dir
):
    files = tiny.write(tmp_path / 'inputs')

    def interrupt(line):
        if line.startswith('Profile head: '):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(tiny, 'interrupted', say=interrupt, files=files)
    assert len(list(work_dir.iterdir())) == 1
    resumed, whole = fitted(tiny, 'resumed', files=files), fitted(tiny, 'whole', files=files)
    assert same_model(resumed, whole) and figures_of(resumed) == figures_of(whole)
    assert 'Profile head: 10 members on 30 ASVs, 20 steps of 5 samples each.' in resumed.said


def test_with_all_its_steps_the_model_learns_and_is_the_same_once_more_and_when_it_is_saved(tiny, fitted, predicted):
    """The path of every default: the other tests here let the profile head take few steps."""
    run, again = (fitted(tiny, name, quick=False) for name in ('one', 'again'))
    assert same_model(run, again) and figures_of(run) == figures_of(again)
    assert run.said[-2] == 'Profile head: 10 members on 30 ASVs, 288 steps of 5 samples each.'
    predictions, details = predicted(tiny, run.folder)
    test = ids_of(run, 'test')
    assert list(predictions[test]) == pytest.approx(list(run.predictions), abs=1e-5)
    for name in ('lower_bound', 'upper_bound'):
        assert list(details.loc[test, name]) == pytest.approx(list(run.details.loc[test, name]), abs=1e-5)
    # ages from 0 to 12, which the mean misses by 3
    assert (run.predictions - tiny.target[test]).abs().mean() < 1.5
    learned = run.details[run.details['part'] != 'test']
    assert (learned['prediction'] - learned['true']).abs().mean() < 1.5


def test_what_details_say_of_learned_samples_was_left_out(tiny, fitted, predicted):
    options = {'epochs': 12, 'patience': 12, 'learning_rate': 0.01, 'target_scaling': 'standard'}
    run = fitted(tiny, 'both', quick=False, **options)
    predictions, _ = predicted(tiny, run.folder)
    learned = run.details.index[run.details['part'] != 'test']
    errors = [(own[learned] - tiny.target[learned]).abs().mean() for own in (predictions, run.details['prediction'])]
    # the saved head has learned them
    assert errors[0] < 0.9 * errors[1]
    run = fitted(tiny, 'network', profile_head=False, **options)
    predictions, _ = predicted(tiny, run.folder, 'again')
    assert list(predictions) == pytest.approx(list(run.details['prediction']), abs=1e-4)


def test_a_run_that_was_killed_in_the_profile_head_is_resumed_there(tiny, fitted, tmp_path, work_dir, monkeypatch):
    monkeypatch.setattr(checkpoint, 'SECONDS_BETWEEN', 0.0)
    call = {'files': tiny.write(tmp_path / 'inputs')}
    whole = fitted(tiny, 'whole', **call)
    done, tell = [], Clock.tell

    def killed(self, where, loss, step):
        done.append(where)
        if where.startswith('Profile head, step 7/'):
            raise KeyboardInterrupt
        tell(self, where, loss, step)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(progress, 'SECONDS_BETWEEN_LINES', 0)
        patched.setattr(Clock, 'tell', killed)
        fitted(tiny, 'interrupted', **call)
    resumed = fitted(tiny, 'resumed', **call)
    assert 'Resumed after 7 of 20 steps.' in resumed.said
    assert (resumed.folder / WEIGHTS).read_bytes() == (whole.folder / WEIGHTS).read_bytes()
    assert list(work_dir.iterdir()) == []
