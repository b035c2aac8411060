"""Histories of known courses, and what is said of them."""

import pandas as pd
import pytest

from q2_aam.errors import UserError
from q2_aam.evaluation.training_summary import summarize, verdict

COLUMNS = ['step', 'epoch', 'part', 'metric', 'value']


def history(validation, training=None, best=None, final=(), more=()):
    """Four steps an epoch; `validation` are mean absolute errors, `training` losses."""
    training = training or [1 / (number + 1) for number in range(len(validation))]
    rows = []
    for epoch, (loss, error) in enumerate(zip(training, validation), 1):
        rows += [(4 * epoch, epoch, 'training', 'loss', loss), (4 * epoch, epoch, 'validation', 'mae', error)]
    if best:
        rows.append((4 * best, best, 'validation', 'best_epoch', float(best)))
    rows += [(4 * best if best else 0, best or 0, part, f'final_{metric}', value) for part, metric, value in final]
    return pd.DataFrame([*rows, *more], columns=COLUMNS)


def said(*given, planned=None, patience=None, **more):
    return verdict(summarize(history(*given, **more)), planned, patience)


FALLING = [10 - 0.4 * epoch for epoch in range(20)]
FLAT = [10 * 0.5**epoch + 3 for epoch in range(10)] + [3.2] * 10
RISING = [10, 8, 6, 5, 4, 3.5, 3.4, 3.3, 3.5, 3.8, 4.2, 4.6, 5, 5, 5, 5, 5, 5, 5, 5]


def test_a_score_that_falls_to_the_end_has_not_converged():
    first, rest = said(FALLING, best=20)
    assert first == (
        'It was still improving: the validation mean absolute error was lowest in epoch 20 (2.4), at the very end.'
    )
    assert rest.endswith('What to change: raise epochs (or max_steps), since it was improving.')


def test_a_score_that_settles_has_converged():
    first, rest = said(FLAT, best=10)
    assert first == (
        'It converged: the validation mean absolute error was lowest in epoch 10 (3.02), and no lower in the 10 epochs '
        'after.'
    )
    assert 'It did not overfit' in rest and rest.endswith('Nothing needs to be changed.')


def test_a_score_that_settles_at_its_end_has_converged():
    values = [10, 5, 4] + [3 - 0.0001 * epoch for epoch in range(17)]
    assert said(values, best=20)[0].startswith('It converged: ') and said(values, best=20)[0].endswith(
        'changed before.'
    )


def test_overfitting_is_named_with_its_numbers():
    first, rest = said(RISING, best=8)
    assert (
        'After that it overfitted: the training loss fell from 0.125 to 0.05 while the validation mean absolute error '
        'rose from 3.3 to 5; the model has the weights of epoch 8, so that it is not affected.'
    ) in rest
    assert rest.endswith('Nothing needs to be changed.')


def test_overfitting_of_a_model_that_keeps_its_last_weights_is_to_be_changed():
    assert 'What to change: lower epochs, or raise asv_dropout or weight_decay.' in said(RISING)[1]


def test_stopping_early_is_told_by_the_epochs_that_were_planned():
    first, rest = said(FLAT, best=10, planned=100, patience=10)
    assert first.startswith('It converged, and stopped early: ')
    assert rest.startswith('Training took 80 steps in 20 epochs of at most 100.')


def test_stopping_since_the_network_adds_little_is_told():
    first, _ = said(FALLING, best=20, planned=100, patience=25)
    assert first.startswith(
        'It stopped early: after epoch 20 of at most 100, the network would have lowered the error of the abundance '
        'ensemble too little to train on; '
    )


def test_errors_that_are_small_on_training_samples_alone_are_named():
    final = [('training', 'mae', 1.0), ('validation', 'mae', 4.0), ('test', 'mae', 3.0)]
    rest = said(FLAT, best=10, final=final)[1]
    assert 'The mean absolute error of test samples is 3, that of training samples 1: much of what it learned' in rest
    assert 'What to change: add labelled samples (of new groups)' in rest


def test_shares_and_the_forest_are_told():
    more = [(0, 0, 'run', 'network_weight', 0.25), (0, 0, 'run', 'ensemble_weight', 0.75)]
    final = [('training', 'mae', 3.0), ('test', 'mae', 3.0), ('test', 'random_forest_mae', 3.5)]
    rest = said(FLAT, best=10, final=final, more=more)[1]
    assert 'the network has a share of 25 % and the abundance ensemble one of 75 %' in rest
    assert 'it is ahead of a random forest (mean absolute error 3 against 3.5)' in rest


@pytest.mark.parametrize(
    'r2, sentence, change',
    [
        (0.98, '0.98 with those that it predicted: they are kept.', 'Nothing needs to be changed.'),
        (
            0.59, '0.59 with those that it predicted: much of them is not kept.',
            'What to change: keep the initial encoder for samples like those that it learned from.',
        ),
    ],
)  # fmt: skip
def test_what_is_kept_of_the_distances_of_an_initial_encoder_is_told(r2, sentence, change):
    more = [(0, 0, 'run', 'kept_distances_r2', r2)]
    rest = said(FLAT, best=10, more=more)[1]
    what = 'Distances between samples made of what the initial encoder learned from have an R2 of '
    assert what + sentence in rest and rest.endswith(change) and what not in said(FLAT, best=10)[1]


def test_the_score_is_the_metric_whose_lowest_epoch_is_the_best_one():
    rows = history([1.0, 2.0, 3.0], best=3)
    losses = pd.DataFrame(
        [(4 * e, e, 'validation', 'log_loss', v) for e, v in ((1, 3), (2, 2), (3, 1))], columns=COLUMNS
    )
    summary = summarize(pd.concat([rows, pd.DataFrame(losses, columns=COLUMNS)]))
    assert (summary.score, summary.best_epoch, summary.chosen) == ('log_loss', 3, True)


@pytest.mark.parametrize('metric, name', [('r2', 'R2'), ('balanced_accuracy', 'balanced accuracy')])
def test_a_score_that_is_to_be_large_is_highest_in_its_best_epoch(metric, name):
    values = [-one for one in RISING]
    rows = history(RISING, best=8).replace({'mae': metric})
    of_validation = rows['metric'] == metric
    rows.loc[of_validation, 'value'] = values
    summary = summarize(rows)
    assert (summary.score, summary.best_epoch, summary.larger) == (metric, 8, True)
    first, rest = verdict(summary)
    assert first == (
        f'It converged: the validation {name} was highest in epoch 8 (-3.3), and no higher in the 12 epochs after.'
    )
    assert f'while the validation {name} fell from -3.3 to -5;' in rest
    rows.loc[of_validation, 'value'] = [-one for one in FALLING]
    first, _ = verdict(summarize(rows[rows['metric'] != 'best_epoch']))
    assert first == f'It was still improving: the validation {name} was highest in epoch 20 (-2.4), at the very end.'


def test_values_that_are_not_finite_are_left_out():
    summary = summarize(history([float('nan'), 2.0, float('inf')]))
    assert list(summary.series('validation', 'mae')) == [2.0] and summary.best_epoch == 2


def test_without_validation_nothing_is_claimed():
    rows = history([1.0, 2.0])
    first, _ = verdict(summarize(rows[rows['part'] == 'training']))
    assert first == 'There was no validation, so that nothing tells whether it converged.'


def test_a_history_without_epochs_gets_one_sentence():
    with pytest.raises(UserError) as error:
        summarize(pd.DataFrame([(0, 0, 'run', 'random_seed', 1.0)], columns=COLUMNS))
    assert str(error.value) == (
        'The history has no epoch, so that there is nothing to show: give the history that pretrain, fit-regressor or '
        'fit-classifier made.'
    )
