"""Fitting a regressor: three splits of whole groups, no look at test labels, the best epoch, the unit of the target."""

import dataclasses
import json

import numpy as np
import pytest
from safetensors.torch import load_file

from q2_aam import bundle
from q2_aam.errors import UserError
from q2_aam.runtime import checkpoint, memory

WEIGHTS = bundle.MODEL_FILE
ENCODER = ('asv_encoder.', 'sample_encoder.', 'memberships.', 'heads.distances.')


def bytes_of(run, name=WEIGHTS):
    return (run.folder / name).read_bytes()


def logged_by(run):
    # as text, in which NaN equals NaN and every bit of a number counts
    return repr(run.history.rows), repr(run.history.points)


def same_model(one, two):
    return all(bytes_of(one, name) == bytes_of(two, name) for name in (WEIGHTS, bundle.CONFIG_FILE))


def ids_of(run, part):
    return list(run.details.index[run.details['part'] == part])


def test_splits_are_whole_groups_and_predictions_are_those_of_the_test_split(tiny, tiny_regressor):
    run = tiny_regressor
    assert run.details['part'].value_counts().to_dict() == {'training': 16, 'validation': 4, 'test': 4}
    assert (run.details['part'].groupby(tiny.groups).nunique() == 1).all()
    assert run.predictions.name == 'age' and run.predictions.index.name == run.details.index.name == 'id'
    assert list(run.predictions.index) == ids_of(run, 'test')
    assert list(run.predictions) == list(run.details.loc[ids_of(run, 'test'), 'prediction'])
    assert list(run.details['true']) == list(tiny.target[run.details.index])


def test_without_a_test_split_the_validation_samples_are_predicted(tiny, fitted):
    run = fitted(tiny, test_fraction=0.0)
    assert set(run.details['part']) == {'training', 'validation'}
    assert list(run.predictions.index) == ids_of(run, 'validation')


def test_without_groups_samples_are_independent(tiny, fitted):
    run = fitted(tiny, groups=False)
    parts = run.details['part']
    assert parts.value_counts().to_dict() == {'training': 15, 'test': 5, 'validation': 4}
    assert (parts.groupby(tiny.groups).nunique() > 1).any()


def test_labels_of_test_samples_change_no_byte_of_the_model(tiny, fitted, tiny_regressor):
    test = ids_of(tiny_regressor, 'test')
    tiny.target[test] = [1e6, -3.0, 0.5, 77.0]
    run = fitted(tiny)
    assert ids_of(run, 'test') == test
    assert same_model(run, tiny_regressor)
    assert list(run.predictions) == list(tiny_regressor.predictions)
    # only the metrics of the test split differ
    before, after = ([row for row in one.history.rows if row[2] != 'test'] for one in (tiny_regressor, run))
    assert repr(before) == repr(after)
    assert run.history.series('test', 'final_mae') != tiny_regressor.history.series('test', 'final_mae')


def test_labels_of_validation_samples_change_no_weight_of_a_given_epoch(tiny, fitted):
    options = {'epochs': 1, 'abundance_ensemble': False, 'target_scaling': 'standard'}
    before = fitted(tiny, 'before', **options)
    tiny.target[ids_of(before, 'validation')] += 5
    after = fitted(tiny, 'after', **options)
    one, two = (load_file(run.folder / WEIGHTS) for run in (before, after))
    differing = {name for name in one if not one[name].equal(two[name])}
    assert differing == {'calibration.scores'}
    assert before.history.series('validation', 'mae') != after.history.series('validation', 'mae')
    # what they are for
    targets = [bundle.load(run.folder).config.target for run in (before, after)]
    assert targets[0].calibration != targets[1].calibration
    assert dataclasses.replace(targets[0], calibration=targets[1].calibration) == targets[1]


def test_without_the_abundance_ensemble_intervals_are_those_of_errors_on_validation_samples(tiny, fitted):
    run = fitted(tiny, coverage=0.6, abundance_ensemble=False)
    details = run.details
    assert list(details.columns)[:5] == ['part', 'prediction', 'true', 'lower_bound', 'upper_bound']
    bounds = details[['lower_bound', 'upper_bound']]
    learned = details['part'] == 'training'
    assert bounds[learned].isna().all(axis=None) and bounds[~learned].notna().all(axis=None)
    # two groups of two, and 0.6 of three groups: the smallest error up to which their weights sum to 1.8 is the largest
    scored = details[details['part'] == 'validation']
    reach = (scored['prediction'] - scored['true']).abs().max()
    # no value is below 0
    for sign, name in ((-1, 'lower_bound'), (1, 'upper_bound')):
        ends = np.maximum(details['prediction'][~learned] + sign * reach, 0)
        assert list(bounds[name][~learned]) == pytest.approx(list(ends))
    tested = details[details['part'] == 'test']
    held = ((tested['prediction'] - tested['true']).abs() <= reach).mean()
    metrics = json.loads((run.folder / bundle.CARD_FILE).read_text())['metrics']
    assert metrics['test']['interval_coverage'] == pytest.approx(held)
    width = (tested['upper_bound'] - tested['lower_bound']).mean()
    assert metrics['test']['interval_width'] == pytest.approx(width)
    assert run.history.series('test', 'final_interval_width') == [pytest.approx(width)]
    # where the calibration was learned, coverage means nothing
    assert not any('interval_width' in metrics[part] for part in ('training', 'validation'))


def test_a_model_knows_the_asvs_of_its_training_samples_only(tiny, fitted, tiny_regressor):
    # parts depend on groups and the seed, not on counts
    tiny.counts.loc[ids_of(tiny_regressor, 'training'), ['feature04', 'feature10']] = 0
    run = fitted(tiny)
    assert ids_of(run, 'training') == ids_of(tiny_regressor, 'training')
    learned = tiny.counts.loc[ids_of(run, 'training')].sum() > 0
    assert (~learned).sum() == 2
    references = bundle.load(run.folder).references
    known = {''.join('-ACGTN'[code] for code in row if code) for row in references.codes}
    assert known == {tiny.sequences[name] for name in tiny.counts.columns[learned]}
    strangers = (tiny.counts.loc[:, ~learned].sum(axis=1) / tiny.counts.sum(axis=1))[run.details.index]
    assert strangers.max() > 0.1
    assert list(run.details['share_of_reads_near']) == pytest.approx(list(1 - strangers), abs=1e-6)
    assert list(run.details['share_of_reads_other_region']) == pytest.approx(list(strangers), abs=1e-6)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tiny, fitted, tiny_regressor):
    again, other = fitted(tiny, 'again'), fitted(tiny, 'other', random_seed=8)
    assert same_model(again, tiny_regressor) and logged_by(again) == logged_by(tiny_regressor)
    assert bytes_of(other) != bytes_of(again)


def test_the_order_of_samples_and_features_and_features_of_no_sample_change_nothing(tiny, fitted, tiny_regressor):
    shuffled = tiny.shuffled()
    shuffled.counts['nowhere'] = 0.0
    shuffled.sequences['nowhere'] = 'A' * 80
    run = fitted(shuffled)
    assert same_model(run, tiny_regressor)
    assert logged_by(run) == logged_by(tiny_regressor)
    assert run.details.equals(tiny_regressor.details)


@pytest.mark.parametrize(('seed', 'start'), [(7, 'scratch'), (0, 'frozen encoder')])
def test_an_interrupted_run_is_found_again_and_gives_the_same_model(
    tiny, fitted, tiny_encoder, tmp_path, work_dir, monkeypatch, seed, start
):
    monkeypatch.setattr(checkpoint, 'SECONDS_BETWEEN', 0.0)
    call = {'files': tiny.write(tmp_path / 'inputs'), 'matrix': True, 'epochs': 5, 'patience': 5}
    call['encoder'] = None if start == 'scratch' else tiny_encoder.folder

    def interrupt(line):
        if line.startswith('epoch 3/5'):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(tiny, 'interrupted', random_seed=seed, say=interrupt, **call)
    assert len(list(work_dir.glob('fit-*'))) == 1
    resumed = fitted(tiny, 'resumed', random_seed=seed, **call)
    assert any(line.startswith('Resumed after ') for line in resumed.lines)
    assert sum(line.startswith('epoch ') for line in resumed.lines) == 2
    assert list(work_dir.glob('fit-*')) == []
    drawn = json.loads((resumed.folder / bundle.CARD_FILE).read_text())['seed']
    assert seed in (0, drawn)
    complete = fitted(tiny, 'complete', random_seed=drawn, **call)
    assert bytes_of(resumed) == bytes_of(complete) and bundle.read_config(complete.folder).blend is not None
    assert logged_by(resumed) == logged_by(complete)
    assert resumed.details.equals(complete.details)


def test_memory_cuts_the_work_and_not_the_result(tiny, fitted, monkeypatch, tiny_regressor):
    monkeypatch.setattr(memory, 'SHARE_FOR_ACTIVATIONS', 1e-9)
    cut = fitted(tiny, max_memory_gb=0.1)
    assert list(cut.details['prediction']) == pytest.approx(list(tiny_regressor.details['prediction']), abs=1e-3)


def test_the_best_epoch_is_kept_and_training_stops_when_patience_is_out(tiny, fitted, predicted):
    # a rate so high that the error goes up and down
    run = fitted(tiny, epochs=30, patience=3, learning_rate=0.05, abundance_ensemble=False)
    errors = run.history.series('validation', 'mae')
    best = int(run.history.series('validation', 'best_epoch')[-1])
    assert best == 1 + int(np.argmin(errors))
    assert len(errors) == best + 3 < 30
    assert run.lines[-1] == f'Stopped after epoch {best + 3}: no better mae in 3 epochs.'
    # what is kept predicts validation samples as that epoch did; their details are of epochs that other groups chose
    scored = run.details.loc[ids_of(run, 'validation')]
    kept = predicted(tiny, run.folder)[0].loc[scored.index]
    assert (kept - scored['true']).abs().mean() == pytest.approx(min(errors), rel=1e-5)
    assert (scored['prediction'] - scored['true']).abs().mean() > min(errors)


@pytest.mark.parametrize(
    ('loss', 'scaling'),
    [
        ('mse', 'standard'),
        ('mae', 'standard'),
        ('huber', 'standard'),
        ('huber', 'sqrt'),
        ('mae', 'minmax'),
        ('mse', 'none'),
    ],
)
def test_a_target_is_learned_and_given_back_in_its_own_unit(tiny, fitted, loss, scaling):
    if scaling != 'none':
        tiny.target = 1000 + 50 * tiny.target
    # by the network: a abundance ensemble answers for training samples out of fold
    options = {'epochs': 12, 'patience': 12, 'learning_rate': 0.01, 'groups': False, 'abundance_ensemble': False}
    run = fitted(tiny, loss=loss, target_scaling=scaling, **options)
    training = ids_of(run, 'training')
    target = bundle.read_config(run.folder).target
    assert target.sqrt == (scaling == 'sqrt')
    true = tiny.target[training]
    center, scale = {
        'standard': (true.mean(), true.std(ddof=0)),
        'sqrt': (np.sqrt(true).mean(), np.sqrt(true).std(ddof=0)),
        'minmax': (true.min(), true.max() - true.min()),
        'none': (0.0, 1.0),
    }[scaling]
    assert (target.name, target.center, target.scale) == ('age', pytest.approx(center), pytest.approx(scale))
    predicted = run.details.loc[training, 'prediction']
    # far better than the mean, which errs by a quarter of the range
    assert (predicted - true).abs().mean() < 0.6 * (true - true.mean()).abs().mean()
    mae = (run.predictions - tiny.target[run.predictions.index]).abs().mean()
    assert run.history.series('test', 'final_mae') == [pytest.approx(mae)]
    card = json.loads((run.folder / bundle.CARD_FILE).read_text())
    assert card['metrics']['test']['mae'] == pytest.approx(mae)


def test_points_and_metrics_of_every_split_are_logged(tiny_regressor):
    history = tiny_regressor.history
    assert {row[:2] for row in history.points} == {('target', part) for part in ('training', 'validation', 'test')}
    assert len(history.points) == 24
    for part in ('training', 'validation', 'test'):
        assert len(history.series(part, 'final_r2')) == 1
    assert history.rows[-1] == (0, 0, 'run', 'random_seed', 7.0)


def test_training_starts_from_the_weights_of_the_encoder(tiny, fitted, tiny_encoder):
    run = fitted(tiny, encoder=tiny_encoder.folder, matrix=True, freeze='none', encoder_learning_rate_ratio=0.01)
    before, after = load_file(tiny_encoder.folder / WEIGHTS), load_file(run.folder / WEIGHTS)
    # what is read as training ASVs is no weight
    del before['references']
    assert before and all(name.startswith(ENCODER) for name in before)
    # 8 steps of at most a hundredth of the learning rate
    assert all((after[name] - before[name]).abs().max() < 8e-4 for name in before)
    for part in ENCODER:
        assert any(not after[name].equal(before[name]) for name in before if name.startswith(part))
    assert bundle.read_config(run.folder).call.model == bundle.read_config(tiny_encoder.folder).call.model


@pytest.mark.parametrize(
    ('freeze', 'frozen'), [('auto', ENCODER[:1]), ('asv', ENCODER[:1]), ('encoder', ENCODER), ('none', ())]
)
def test_frozen_parts_of_the_encoder_keep_every_byte(tiny, fitted, tiny_encoder, freeze, frozen):
    # the distance head learns where there are distances
    run = fitted(tiny, encoder=tiny_encoder.folder, freeze=freeze, matrix=True)
    before, after = load_file(tiny_encoder.folder / WEIGHTS), load_file(run.folder / WEIGHTS)
    for part in ENCODER:
        names = [name for name in before if name.startswith(part)]
        same = [before[name].numpy().tobytes() == after[name].numpy().tobytes() for name in names]
        assert all(same) if part in frozen else not all(same), part
    resolved = bundle.read_config(run.folder).call.training.freeze
    assert resolved == ('asv' if freeze == 'auto' else freeze)


@pytest.mark.parametrize(
    ('freeze', 'abundance_ensemble'),
    [(None, True), ('none', True), ('asv', True), ('encoder', True), (None, False), ('asv', False)],
)
def test_the_saved_model_predicts_test_samples_as_the_one_in_memory_did(
    tiny, fitted, predicted, tiny_encoder, freeze, abundance_ensemble
):
    given = {} if freeze is None else {'encoder': tiny_encoder.folder, 'freeze': freeze}
    run = fitted(tiny, abundance_ensemble=abundance_ensemble, **given)
    blend = bundle.read_config(run.folder).blend
    assert (blend and blend.members) == (10 if abundance_ensemble else None)
    predictions, _ = predicted(tiny, run.folder)
    test = ids_of(run, 'test')
    assert list(predictions[test]) == pytest.approx(list(run.predictions), abs=1e-5)
    tiny.counts = tiny.counts.loc[test[:1]]
    alone, _ = predicted(tiny, run.folder, 'alone')
    assert alone.iloc[0] == pytest.approx(predictions[test[0]], abs=1e-5)


def test_the_saved_model_reads_no_more_asvs_than_the_one_in_memory_did(tiny, fitted, predicted, tiny_encoder):
    run = fitted(tiny, encoder=tiny_encoder.folder, max_asvs_per_sample=6)
    assert (run.details['asvs_used'] == 6).any()
    predictions, _ = predicted(tiny, run.folder)
    assert list(predictions[ids_of(run, 'test')]) == pytest.approx(list(run.predictions), abs=1e-5)


def test_a_target_is_learned_as_its_square_root_and_said(tiny, fitted):
    tiny.target[:] = tiny.target.abs() ** 2
    run = fitted(tiny, target_scaling='sqrt')
    config = bundle.read_config(run.folder)
    assert config.call.training.target_scaling == 'sqrt' and config.target.sqrt
    assert "Target: 'age', its square root is learned, and squared again in predictions." in run.lines
    assert (run.details['prediction'] >= 0).all()


def test_a_square_root_of_negative_values_is_refused(tiny, fitted, tiny_regressor, work_dir):
    # a test sample's would do no harm, and its label is not looked at
    tiny.target[ids_of(tiny_regressor, 'test')] = -1.0
    fitted(tiny, 'sound', target_scaling='sqrt')
    validation = ids_of(tiny_regressor, 'validation')[1]
    tiny.target[validation] = -2.5
    with pytest.raises(UserError) as error:
        fitted(tiny, target_scaling='sqrt')
    assert str(error.value) == (
        f"Parameter target_scaling is sqrt, but 'age' is -2.5 for sample '{validation}'; choose standard."
    )
    assert list(work_dir.iterdir()) == []
    run = fitted(tiny, 'auto')
    assert bundle.read_config(run.folder).call.training.target_scaling == 'standard'


def test_noise_is_in_nucleotides_that_training_reads_and_in_none_that_prediction_does(
    tiny, fitted, predicted, tiny_regressor, tiny_encoder
):
    run = fitted(tiny, 'noisy', nucleotide_noise=0.3)
    assert run.history.series('training', 'loss') != tiny_regressor.history.series('training', 'loss')
    predictions, _ = predicted(tiny, run.folder)
    assert list(predictions[ids_of(run, 'test')]) == pytest.approx(list(run.predictions), abs=1e-5)
    # a frozen ASV encoder has read them once and for all
    plain, noisy = (
        fitted(tiny, name, encoder=tiny_encoder.folder, nucleotide_noise=share)
        for name, share in (('plain', 0.0), ('frozen', 0.3))
    )
    assert bytes_of(noisy) == bytes_of(plain)


def test_freezing_without_an_encoder_is_refused(tiny, fitted):
    with pytest.raises(UserError) as error:
        fitted(tiny, freeze='asv')
    assert str(error.value) == (
        'Parameter freeze is asv, but no encoder is given that could be frozen; give an encoder or leave freeze at '
        'auto.'
    )


def test_a_form_other_than_that_of_the_encoder_is_refused(tiny, fitted, tiny_encoder):
    with pytest.raises(UserError) as error:
        fitted(tiny, encoder=tiny_encoder.folder, width=24)
    assert str(error.value) == 'Parameter width is 24, but the encoder was made with 16; leave it at auto.'
    fitted(tiny, 'same', encoder=tiny_encoder.folder, width=16)


def test_a_regressor_is_no_encoder(tiny, fitted, tiny_regressor):
    with pytest.raises(UserError) as error:
        fitted(tiny, encoder=tiny_regressor.folder)
    assert str(error.value) == 'The model is of the kind regressor, but encoder is needed; give a model of that kind.'


def test_distances_are_learned_beside_the_target(tiny, fitted, tiny_regressor):
    run = fitted(tiny, matrix=True, epochs=6, patience=6, learning_rate=0.01, distance_weight=1.0)
    losses = run.history.series('training', 'distance_loss')
    assert len(losses) == 6 and min(losses[1:]) < losses[0]
    assert bundle.read_config(run.folder).distance_divisor == 1.0
    assert bundle.read_config(tiny_regressor.folder).distance_divisor is None
    total, target = run.history.series('training', 'loss'), run.history.series('training', 'target_loss')
    assert total == pytest.approx([one + two for one, two in zip(target, losses)], rel=1e-4)


def test_a_matrix_of_no_weight_is_not_read(tiny, fitted, tiny_regressor):
    tiny.distances.iloc[0, 1] = np.nan
    run = fitted(tiny, matrix=True, distance_weight=0.0)
    assert bytes_of(run) == bytes_of(tiny_regressor)


def test_what_is_derived_is_written_into_the_bundle_and_said(tiny, fitted, monkeypatch):
    monkeypatch.setattr('q2_aam.training.effort.STEPS_FROM_SCRATCH', 30)
    run = fitted(tiny, epochs='auto', patience='auto', batch_size=64)
    training = bundle.read_config(run.folder).call.training
    # batches small enough for 4 steps an epoch, epochs for 30 steps, a quarter of them patience
    assert (training.batch_size, training.epochs, training.patience) == (4, 8, 2)
    assert training.learning_rate == 3e-4
    (first,) = [place for place, line in enumerate(run.lines) if line.startswith('Samples: ')]
    lines = run.lines[first:]
    assert lines[0].startswith('Samples: 24 (16 training, 4 validation, 4 test); median richness ')
    assert lines[2] == "Target: 'age', a number."
    assert lines[4].startswith('Training: up to 8 epochs, batches of up to 4 samples, ')
    assert lines[5].startswith('epoch 1/8 loss ')


def test_a_network_that_learns_nothing_is_stopped_early_and_has_no_say(tiny, fitted):
    """As by default, but for trees: it is asked after a share of the steps what it gives."""
    options = {'epochs': 20, 'patience': 20, 'learning_rate': 1e-7, 'target_scaling': 'standard'}
    run = fitted(tiny, quick=False, **options)
    stopped = [line for line in run.lines if line.startswith('Stopped after epoch ')]
    assert len(stopped) == 1 and stopped[0].endswith(', too little to train on.')
    # 0.15 of 20 epochs
    assert stopped[0].startswith('Stopped after epoch 3: the network would lower the error of the abundance ensemble')
    assert sum(line.startswith('epoch ') for line in run.lines) == 3
    blend = bundle.read_config(run.folder).blend
    assert blend.network == 0 and blend.ensemble == 1
    # without an ensemble there is nothing that it must be better than
    alone = fitted(tiny, 'alone', abundance_ensemble=False, quick=False, **options)
    assert sum(line.startswith('epoch ') for line in alone.lines) == 20
