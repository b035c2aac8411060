"""Fitting a regressor: three parts of whole groups, no look at test labels, the best epoch, the unit of the target."""

import dataclasses
import json

import numpy as np
import pytest
from safetensors.torch import load_file

from q2_aam import bundle
from q2_aam.errors import UserError
from q2_aam.runtime import checkpoint, devices

WEIGHTS = bundle.MODEL_FILE
ENCODER = ('asv_encoder.', 'sample_encoder.', 'distance_head.')


def bytes_of(run, name=WEIGHTS):
    return (run.folder / name).read_bytes()


def figures_of(run):
    # as text, in which NaN equals NaN and every bit of a number counts
    return repr(run.history.rows), repr(run.history.points)


def same_model(one, two):
    return all(bytes_of(one, name) == bytes_of(two, name) for name in (WEIGHTS, bundle.CONFIG_FILE))


def ids_of(run, part):
    return list(run.details.index[run.details['part'] == part])


def test_parts_are_whole_groups_and_predictions_are_those_of_the_test_part(tiny, tiny_regressor):
    run = tiny_regressor
    assert run.details['part'].value_counts().to_dict() == {'training': 16, 'validation': 4, 'test': 4}
    assert (run.details['part'].groupby(tiny.groups).nunique() == 1).all()
    assert run.predictions.name == 'age' and run.predictions.index.name == run.details.index.name == 'id'
    assert list(run.predictions.index) == ids_of(run, 'test')
    assert list(run.predictions) == list(run.details.loc[ids_of(run, 'test'), 'prediction'])
    assert list(run.details['true']) == list(tiny.target[run.details.index])


def test_without_a_test_part_the_validation_samples_are_predicted(tiny, fitted):
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
    # only the scores of the test part differ
    before, after = ([row for row in one.history.rows if row[2] != 'test'] for one in (tiny_regressor, run))
    assert repr(before) == repr(after)
    assert run.history.series('test', 'final_mae') != tiny_regressor.history.series('test', 'final_mae')


def test_labels_of_validation_samples_change_no_weight_of_a_given_epoch(tiny, fitted):
    options = {'epochs': 1, 'profile_head': False, 'target_scaling': 'standard'}
    before = fitted(tiny, 'before', **options)
    tiny.target[ids_of(before, 'validation')] += 5
    after = fitted(tiny, 'after', **options)
    assert bytes_of(before) == bytes_of(after)
    assert before.history.series('validation', 'mae') != after.history.series('validation', 'mae')
    # what they are for
    targets = [bundle.read_config(run.folder).target for run in (before, after)]
    assert targets[0].calibration != targets[1].calibration
    assert dataclasses.replace(targets[0], calibration=targets[1].calibration) == targets[1]


def test_without_the_profile_head_intervals_are_those_of_errors_on_validation_samples(tiny, fitted):
    run = fitted(tiny, coverage=0.6, profile_head=False)
    details = run.details
    assert list(details.columns)[:5] == ['part', 'prediction', 'true', 'lower_bound', 'upper_bound']
    bounds = details[['lower_bound', 'upper_bound']]
    learned = details['part'] == 'training'
    assert bounds[learned].isna().all(axis=None) and bounds[~learned].notna().all(axis=None)
    # two groups of two, and 0.6 of three groups: the smallest error up to which their weights sum to 1.8 is the largest
    own = details[details['part'] == 'validation']
    reach = (own['prediction'] - own['true']).abs().max()
    for sign, name in ((-1, 'lower_bound'), (1, 'upper_bound')):
        assert list(bounds[name][~learned]) == pytest.approx(list(details['prediction'][~learned] + sign * reach))
    tested = details[details['part'] == 'test']
    held = ((tested['prediction'] - tested['true']).abs() <= reach).mean()
    figures = json.loads((run.folder / bundle.CARD_FILE).read_text())['figures']
    assert figures['test']['interval_coverage'] == pytest.approx(held)
    assert figures['test']['interval_width'] == pytest.approx(2 * reach)
    assert run.history.series('test', 'final_interval_width') == [pytest.approx(2 * reach)]
    # where the calibration was learned, coverage means nothing
    assert not any('interval_width' in figures[part] for part in ('training', 'validation'))


def test_a_model_knows_the_asvs_of_its_training_samples_only(tiny, fitted, tiny_regressor):
    # parts depend on groups and the seed, not on counts
    tiny.counts.loc[ids_of(tiny_regressor, 'training'), ['feature04', 'feature10']] = 0
    run = fitted(tiny)
    assert ids_of(run, 'training') == ids_of(tiny_regressor, 'training')
    learned = tiny.counts.loc[ids_of(run, 'training')].sum() > 0
    assert (~learned).sum() == 2
    _, _, arrays = bundle.load(run.folder)
    known = {''.join('-ACGTN'[code] for code in row if code) for row in arrays['references']}
    assert known == {tiny.sequences[name] for name in tiny.counts.columns[learned]}
    strangers = (tiny.counts.loc[:, ~learned].sum(axis=1) / tiny.counts.sum(axis=1))[run.details.index]
    assert strangers.max() > 0.1
    assert list(run.details['share_of_reads_near']) == pytest.approx(list(1 - strangers), abs=1e-6)
    assert list(run.details['share_of_reads_other_region']) == pytest.approx(list(strangers), abs=1e-6)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tiny, fitted, tiny_regressor):
    again, other = fitted(tiny, 'again'), fitted(tiny, 'other', random_seed=8)
    assert same_model(again, tiny_regressor) and figures_of(again) == figures_of(tiny_regressor)
    assert bytes_of(other) != bytes_of(again)


def test_the_order_of_samples_and_features_and_features_of_no_sample_change_nothing(tiny, fitted, tiny_regressor):
    shuffled = tiny.shuffled()
    shuffled.counts['nowhere'] = 0.0
    shuffled.sequences['nowhere'] = 'A' * 80
    run = fitted(shuffled)
    assert same_model(run, tiny_regressor)
    assert figures_of(run) == figures_of(tiny_regressor)
    assert run.details.equals(tiny_regressor.details)


@pytest.mark.parametrize('seed', [7, 0])
@pytest.mark.parametrize('start', ['scratch', 'frozen encoder'])
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
    assert len(list(work_dir.iterdir())) == 1
    resumed = fitted(tiny, 'resumed', random_seed=seed, **call)
    assert any(line.startswith('Resumed after ') for line in resumed.said)
    assert sum(line.startswith('epoch ') for line in resumed.said) == 2
    assert list(work_dir.iterdir()) == []
    drawn = json.loads((resumed.folder / bundle.CARD_FILE).read_text())['seed']
    assert seed in (0, drawn)
    whole = fitted(tiny, 'whole', random_seed=drawn, **call)
    assert bytes_of(resumed) == bytes_of(whole) and bundle.read_config(whole.folder).blend is not None
    assert figures_of(resumed) == figures_of(whole)
    assert resumed.details.equals(whole.details)


def test_memory_cuts_the_work_and_not_the_result(tiny, fitted, monkeypatch, tiny_regressor):
    monkeypatch.setattr(devices, 'SHARE_FOR_ACTIVATIONS', 1e-9)
    cut = fitted(tiny, max_memory_gb=0.1)
    assert list(cut.details['prediction']) == pytest.approx(list(tiny_regressor.details['prediction']), abs=1e-3)


def test_the_best_epoch_is_kept_and_training_stops_when_patience_is_out(tiny, fitted):
    # a rate so high that the error goes up and down
    run = fitted(tiny, epochs=30, patience=3, learning_rate=0.05, profile_head=False)
    errors = run.history.series('validation', 'mae')
    best = int(run.history.series('validation', 'best_epoch')[-1])
    assert best == 1 + int(np.argmin(errors))
    assert len(errors) == best + 3 < 30
    assert run.said[-1] == f'Stopped after epoch {best + 3}: no better mae in 3 epochs.'
    own = run.details.loc[ids_of(run, 'validation')]
    assert (own['prediction'] - own['true']).abs().mean() == pytest.approx(min(errors))


@pytest.mark.parametrize('loss', ['mse', 'mae', 'huber'])
@pytest.mark.parametrize('scaling', ['standard', 'root', 'minmax', 'none'])
def test_a_target_is_learned_and_given_back_in_its_own_unit(tiny, fitted, loss, scaling):
    if scaling != 'none':
        tiny.target = 1000 + 50 * tiny.target
    # by the network: a profile head has its say of learned samples without having learned them
    options = {'epochs': 12, 'patience': 12, 'learning_rate': 0.01, 'groups': False, 'profile_head': False}
    run = fitted(tiny, loss=loss, target_scaling=scaling, **options)
    training = ids_of(run, 'training')
    target = bundle.read_config(run.folder).target
    assert target.root == (scaling == 'root')
    own = tiny.target[training]
    center, scale = {
        'standard': (own.mean(), own.std(ddof=0)),
        'root': (np.sqrt(own).mean(), np.sqrt(own).std(ddof=0)),
        'minmax': (own.min(), own.max() - own.min()),
        'none': (0.0, 1.0),
    }[scaling]
    assert (target.name, target.center, target.scale) == ('age', pytest.approx(center), pytest.approx(scale))
    predicted = run.details.loc[training, 'prediction']
    # far better than the mean, which errs by a quarter of the range
    assert (predicted - own).abs().mean() < 0.6 * (own - own.mean()).abs().mean()
    mae = (run.predictions - tiny.target[run.predictions.index]).abs().mean()
    assert run.history.series('test', 'final_mae') == [pytest.approx(mae)]
    card = json.loads((run.folder / bundle.CARD_FILE).read_text())
    assert card['figures']['test']['mae'] == pytest.approx(mae)


def test_points_and_figures_of_every_part_are_logged(tiny_regressor):
    history = tiny_regressor.history
    assert {row[:2] for row in history.points} == {('target', part) for part in ('training', 'validation', 'test')}
    assert len(history.points) == 24
    for part in ('training', 'validation', 'test'):
        assert len(history.series(part, 'final_r2')) == 1
    assert history.rows[-1] == (0, 0, 'run', 'random_seed', 7.0)


def test_training_starts_from_the_weights_of_the_encoder(tiny, fitted, tiny_encoder):
    run = fitted(tiny, encoder=tiny_encoder.folder, freeze='none', encoder_learning_rate_ratio=0.01)
    before, after = load_file(tiny_encoder.folder / WEIGHTS), load_file(run.folder / WEIGHTS)
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
    run = fitted(tiny, encoder=tiny_encoder.folder, freeze=freeze)
    before, after = load_file(tiny_encoder.folder / WEIGHTS), load_file(run.folder / WEIGHTS)
    for part in ENCODER:
        own = [name for name in before if name.startswith(part)]
        same = [before[name].numpy().tobytes() == after[name].numpy().tobytes() for name in own]
        assert all(same) if part in frozen else not all(same), part
    resolved = bundle.read_config(run.folder).call.training.freeze
    assert resolved == ('asv' if freeze == 'auto' else freeze)


@pytest.mark.parametrize('freeze', [None, 'none', 'asv', 'encoder'])
@pytest.mark.parametrize('profile_head', [True, False])
def test_the_saved_model_predicts_test_samples_as_the_one_in_memory_did(
    tiny, fitted, predicted, tiny_encoder, freeze, profile_head
):
    given = {} if freeze is None else {'encoder': tiny_encoder.folder, 'freeze': freeze}
    run = fitted(tiny, profile_head=profile_head, **given)
    blend = bundle.read_config(run.folder).blend
    assert (blend and blend.members) == (10 if profile_head else None)
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


def test_a_skewed_target_is_learned_as_its_square_root_and_said(tiny, fitted):
    tiny.target **= 3
    run = fitted(tiny)
    config = bundle.read_config(run.folder)
    assert config.call.training.target_scaling == 'root' and config.target.root
    assert 'Target: the square root of "age" is learned, and squared again in predictions.' in run.said
    assert (run.details['prediction'] >= 0).all()


def test_a_square_root_of_negative_values_is_refused(tiny, fitted, tiny_regressor, work_dir):
    # a test sample's would do no harm, and its label is not looked at
    tiny.target[ids_of(tiny_regressor, 'test')] = -1.0
    fitted(tiny, 'sound', target_scaling='root')
    validation = ids_of(tiny_regressor, 'validation')[1]
    tiny.target[validation] = -2.5
    with pytest.raises(UserError) as error:
        fitted(tiny, target_scaling='root')
    assert str(error.value) == (
        f'Parameter target_scaling is root, but "age" is -2.5 for sample {validation}; choose standard.'
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
    assert str(error.value) == 'The model is of the kind regressor, but encoder is wanted; give a model of that kind.'


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
    monkeypatch.setattr('q2_aam.training.fit.STEPS', 30)
    run = fitted(tiny, epochs='auto', patience='auto', batch_size=64)
    training = bundle.read_config(run.folder).call.training
    # batches small enough for 4 steps an epoch, epochs for 30 steps, a quarter of them patience
    assert (training.batch_size, training.epochs, training.patience) == (4, 8, 2)
    assert training.learning_rate == 3e-4
    assert run.said[0].startswith('Samples: 24 (16 training, 4 validation, 4 test); median richness ')
    assert run.said[3].startswith('Training: 8 epochs at most, batches of up to 4 samples, ')
    assert run.said[4].startswith('epoch 1/8 loss ')
