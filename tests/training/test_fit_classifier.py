"""Fitting a classifier: what it has in common with a regressor is tested there; here are classes."""

import json

import numpy as np
import pandas as pd
import pytest

from q2_aam import bundle
from q2_aam.data.details import PROBABILITY
from q2_aam.errors import UserError
from q2_aam.runtime import checkpoint

CLASSES = ['10 weeks', 'mid way', 'später']


def ids_of(run, part):
    return list(run.details.index[run.details['part'] == part])


def probabilities_in(details):
    return details[[PROBABILITY + name for name in CLASSES]].set_axis(CLASSES, axis=1)


def same_model(one, two):
    names = (bundle.MODEL_FILE, bundle.CONFIG_FILE)
    return all((one.folder / name).read_bytes() == (two.folder / name).read_bytes() for name in names)


def test_predictions_are_the_most_probable_classes_of_the_test_split(tiny, tiny_classifier):
    run = tiny_classifier
    test = ids_of(run, 'test')
    assert list(run.predictions.index) == list(run.probabilities.index) == test and test
    assert run.predictions.name == 'stage'
    assert run.predictions.index.name == run.probabilities.index.name == run.details.index.name == 'id'
    assert list(run.probabilities.columns) == CLASSES
    assert list(run.predictions) == list(run.probabilities.idxmax(axis=1))
    assert run.probabilities.sum(axis=1).to_numpy() == pytest.approx(1)
    assert run.probabilities.equals(probabilities_in(run.details.loc[test]))
    assert run.predictions.equals(run.details.loc[test, 'prediction'].rename('stage'))
    assert list(run.details['true']) == list(tiny.stages[run.details.index])


def test_splits_are_whole_groups_and_training_has_every_class(tiny, tiny_classifier):
    parts = tiny_classifier.details['part']
    assert set(parts) == {'training', 'validation', 'test'}
    assert (parts.groupby(tiny.groups).nunique() == 1).all()
    assert set(tiny.stages[ids_of(tiny_classifier, 'training')]) == set(CLASSES)


def test_without_a_test_split_the_validation_samples_are_predicted(tiny, classified):
    run = classified(tiny, test_fraction=0.0)
    assert list(run.predictions.index) == list(run.probabilities.index) == ids_of(run, 'validation')


def test_classes_are_learned(tiny, classified):
    run = classified(tiny, epochs=20, patience=20, learning_rate=0.01, quick=False)
    training = run.details.loc[ids_of(run, 'training')]
    # out of fold, by members of the abundance ensemble
    assert (training['prediction'] == training['true']).mean() > 0.8
    card = json.loads((run.folder / bundle.CARD_FILE).read_text())
    assert (card['kind'], card['target']) == ('classifier', 'stage')
    right = (run.predictions == tiny.stages[run.predictions.index]).mean()
    assert card['metrics']['test']['accuracy'] == pytest.approx(right)
    assert card['metrics']['test'] == pytest.approx(
        {name: run.history.series('test', f'final_{name}')[0] for name in card['metrics']['test']}, nan_ok=True
    )


def test_swapping_the_classes_of_test_samples_changes_no_byte_of_the_model(tiny, classified):
    # one sample of each class a group: classes can be swapped within groups, and every split has all of them
    names = np.array(['a', 'b'], dtype=object)
    target = pd.Series(np.tile(names, 12), tiny.counts.index, name='stage')
    before = classified(tiny, 'before', target=target)
    test = ids_of(before, 'test')
    swapped = target.where(~target.index.isin(test), target.map({'a': 'b', 'b': 'a'}))
    after = classified(tiny, 'after', target=swapped)
    assert ids_of(after, 'test') == test and test
    assert same_model(before, after)
    assert after.probabilities.equals(before.probabilities)
    assert before.history.series('test', 'final_log_loss') != after.history.series('test', 'final_log_loss')


@pytest.mark.parametrize('abundance_ensemble', [True, False])
def test_the_temperature_comes_from_samples_that_were_not_learned_and_is_in_the_probabilities(
    tiny, classified, abundance_ensemble
):
    run = classified(tiny, epochs=6, patience=6, learning_rate=0.01, abundance_ensemble=abundance_ensemble)
    temperature = bundle.read_config(run.folder).target.temperature
    best = int(run.history.series('validation', 'best_epoch')[-1])
    assert min(run.history.series('validation', 'balanced_log_loss')) == pytest.approx(
        run.history.series('validation', 'balanced_log_loss')[best - 1]
    )
    # probabilities to the power of the temperature are those without it: another one has a larger loss
    # with the abundance ensemble, outputs of training samples are out of fold too
    part = run.details['part']
    calibrating = run.details[part != 'test' if abundance_ensemble else part == 'validation']
    plain = probabilities_in(calibrating).to_numpy() ** temperature
    codes = np.searchsorted(CLASSES, calibrating['true'])

    def balanced_loss(other):
        shares = plain ** (1 / other)
        losses = -np.log(shares[np.arange(len(codes)), codes] / shares.sum(axis=1))
        by_class = pd.Series(losses).groupby(codes).mean()
        return by_class.mean() + np.log(other) ** 2 / (2 * len(codes))

    assert temperature != 1.0
    assert balanced_loss(temperature) < min(balanced_loss(temperature * 1.05), balanced_loss(temperature / 1.05))


def test_class_weights_decide_how_much_rare_classes_count(tiny, classified):
    # of a class of 6 among 24, which nothing in the table tells
    target = pd.Series(np.where(np.arange(24) % 4 == 3, 'rare', 'common'), tiny.counts.index, name='stage')
    options = {'groups': False, 'target': target, 'epochs': 4, 'freeze': 'none', 'max_steps': 4}
    balanced = classified(tiny, 'balanced', **options)
    plain = classified(tiny, 'plain', class_weights='none', **options)
    assert balanced.details['probability_rare'].mean() > plain.details['probability_rare'].mean()
    assert 'balanced_log_loss' in str(balanced.history.rows) and balanced.history.series('validation', 'log_loss')


def test_the_same_seed_gives_the_same_bytes_and_order_changes_nothing(tiny, classified, tiny_classifier):
    shuffled = tiny.shuffled()
    run = classified(shuffled)
    assert same_model(run, tiny_classifier)
    assert run.details.equals(tiny_classifier.details)
    assert not same_model(classified(tiny, 'other', random_seed=8), tiny_classifier)


@pytest.mark.parametrize('freeze', ['none', 'asv'])
@pytest.mark.parametrize('abundance_ensemble', [True, False])
def test_the_saved_model_predicts_test_samples_as_the_one_in_memory_did(
    tiny, classified, predicted_classes, tiny_encoder, freeze, abundance_ensemble
):
    run = classified(tiny, encoder=tiny_encoder.folder, freeze=freeze, abundance_ensemble=abundance_ensemble)
    assert (bundle.read_config(run.folder).blend is not None) == abundance_ensemble
    _, probabilities, _ = predicted_classes(tiny, run.folder)
    test = ids_of(run, 'test')
    assert probabilities.loc[test].to_numpy() == pytest.approx(run.probabilities.to_numpy(), abs=1e-5)
    tiny.counts = tiny.counts.loc[test[:1]]
    _, alone, _ = predicted_classes(tiny, run.folder, 'alone')
    assert alone.to_numpy() == pytest.approx(run.probabilities.to_numpy()[:1], abs=1e-5)


def test_with_all_its_steps_the_model_learns_and_is_the_same_once_more_and_when_it_is_saved(
    tiny, classified, predicted_classes
):
    """The path of every default: the other tests here let the abundance ensemble take few steps."""
    run, again = (classified(tiny, name, quick=False) for name in ('one', 'again'))
    assert same_model(run, again) and run.details.equals(again.details)
    assert any(line.startswith('Abundance ensemble: ') for line in run.lines)
    assert run.lines[-1].startswith('Blend: ')
    _, probabilities, _ = predicted_classes(tiny, run.folder)
    test = ids_of(run, 'test')
    assert probabilities.loc[test].to_numpy() == pytest.approx(run.probabilities.to_numpy(), abs=1e-5)
    # out of fold; 10 of 24 samples are of the most common class
    learned = run.details[run.details['part'] != 'test']
    assert (learned['prediction'] == learned['true']).mean() > 0.6


def test_an_interrupted_run_is_found_again_and_gives_the_same_model(tiny, classified, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, 'SECONDS_BETWEEN', 0.0)
    files = tiny.write(tmp_path / 'inputs')

    def interrupt(line):
        if line.startswith('epoch 1/2'):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        classified(tiny, 'interrupted', files=files, say=interrupt)
    resumed, complete = classified(tiny, 'resumed', files=files), classified(tiny, 'complete', files=files)
    assert sum(line.startswith('epoch ') for line in resumed.lines) == 1
    assert same_model(resumed, complete) and resumed.details.equals(complete.details)


def test_an_encoder_and_distances_help_a_classifier_too(tiny, classified, tiny_encoder):
    run = classified(tiny, encoder=tiny_encoder.folder, matrix=True)
    config = bundle.read_config(run.folder)
    assert (config.kind, config.call.training.freeze, config.distance_divisor) == ('classifier', 'asv', 1.0)
    assert config.target.classes == tuple(CLASSES)
    assert len(run.history.series('training', 'distance_loss')) == 2


def test_names_of_classes_come_back_as_they_were(tiny, classified, predicted_classes):
    names = np.array(['1', '1.0', 'and, "so" on'], dtype=object)
    target = pd.Series(names[np.arange(24) // 2 % 3], tiny.counts.index, name='the "stage"')
    run = classified(tiny, target=target)
    predictions, probabilities, _ = predicted_classes(tiny, run.folder)
    assert list(probabilities.columns) == sorted(names) == list(run.probabilities.columns)
    assert predictions.name == 'the "stage"' and set(predictions) <= set(names)


def test_points_of_every_class_and_split_are_kept(tiny_classifier):
    points = {row[:2] for row in tiny_classifier.history.points}
    assert points == {(f'probability_{name}', part) for name in CLASSES for part in ('training', 'validation', 'test')}
    assert {row[3] for row in tiny_classifier.history.points} == {0.0, 1.0}


@pytest.mark.parametrize(
    ('column', 'groups', 'sentence'),
    [
        (
            ['x'] * 24,
            True,
            "Metadata column 'stage' has only the class 'x' (24 labelled samples); choose a column with at least two "
            'classes.',
        ),
        (
            ['x'] * 22 + ['y'] * 2,
            True,
            'Every class needs labelled samples in at least two groups (two samples where no groups are given): too '
            "small in metadata column 'stage' is 'y' (2 labelled samples in 1 group); merge with other classes or "
            'leave such samples without a value.',
        ),
    ],
)
def test_classes_that_cannot_be_learned_are_refused(tiny, classified, work_dir, column, groups, sentence):
    with pytest.raises(UserError) as error:
        classified(tiny, target=pd.Series(column, tiny.counts.index, name='stage'), groups=groups)
    assert str(error.value) == sentence
    assert list(work_dir.iterdir()) == []


def test_a_classifier_is_no_encoder(tiny, classified, tiny_classifier):
    with pytest.raises(UserError) as error:
        classified(tiny, encoder=tiny_classifier.folder)
    assert str(error.value) == 'The model is of the kind classifier, but encoder is needed; give a model of that kind.'
