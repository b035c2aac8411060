"""What a search is worth: the figure of the outer folds, whatever the best trial says, and whether tuning helped."""

import numpy as np
import pandas as pd
import pytest

from q2_aam.data.details import PROBABILITY
from q2_aam.evaluation.out_of_fold import gather_classes, gather_numbers
from q2_aam.evaluation.search import DEFAULT, FOLDS, as_baselines, judge, trial_rows, with_warnings
from q2_aam.evaluation.verdict import ALL, METRICS_COLUMNS

SAMPLES = 60


def trials(value):
    one = {'parameters': {'width': 64}, 'state': 'complete', 'epoch': 3, 'score': 'mae', 'samples': 9, 'error': ''}
    return trial_rows(
        [
            one | {'number': 0, 'parameters': {}, 'value': 2.0},
            one | {'number': 1, 'value': value},
            one | {'number': 2, 'state': 'stopped', 'value': np.nan},
            one | {'number': 3, 'state': 'failed', 'value': np.nan, 'error': 'The loss is nan.'},
        ]
    )


def out_of_fold(of_tuned, of_default):
    """Errors of both, by sample, on three folds; each sample is a group."""
    random = np.random.default_rng(1)
    true = pd.Series(random.uniform(0, 20, SAMPLES), [f's{i}' for i in range(SAMPLES)], name='age')
    parts = np.array_split(true.index.to_numpy(), FOLDS)
    signs = pd.Series(random.choice([-1, 1], SAMPLES), true.index)
    noise = pd.Series(random.uniform(0.5, 1.5, SAMPLES), true.index)
    tuned, default = (
        [pd.DataFrame({'part': 'new', 'prediction': (true + signs * noise * error)[ids]}) for ids in parts]
        for error in (of_tuned, of_default)
    )
    return gather_numbers(true, None, tuned, as_baselines(default, PROBABILITY), FOLDS)


@pytest.mark.parametrize(
    ('of_tuned', 'of_default', 'begins'),
    [
        (1.0, 3.0, 'Tuning helped: over the 3 outer folds, whose samples no trial has seen, the mean absolute error '),
        (3.0, 1.0, 'Tuning did harm, so that the default parameters are the better choice: over the 3 outer folds, '),
        (1.0, 1.0, 'Tuning did not help, so that the default parameters are as good a choice: over the 3 outer '),
    ],
)
def test_the_verdict_is_that_of_the_outer_folds_however_good_the_best_trial_looks(of_tuned, of_default, begins):
    given = out_of_fold(of_tuned, of_default)
    last = with_warnings(trials(0.01), ['A warning.', 'Another one.'])
    metrics, verdict = judge(given, [*[trials(0.01)] * FOLDS, last], 7, ('A warning.',))
    assert verdict.startswith(begins) and '0.01' not in verdict
    assert verdict.endswith(
        ' Scores of single trials (16 trials) are of those samples that chose among them, and too good.'
    )
    assert list(metrics.columns) == list(METRICS_COLUMNS)
    assert metrics['metric'][0] == 'verdict' and metrics['note'][0] == verdict
    errors = {
        name: np.abs(given.predicted[one] - given.true).mean() for name, one in (('tuned', 'AAM'), (DEFAULT,) * 2)
    }
    for name, error in errors.items():
        row = metrics[(metrics['method'] == name) & (metrics['metric'] == 'mae') & (metrics['fold'] == ALL)]
        assert row['value'].iloc[0] == pytest.approx(error) and f'{error:.3g}' in verdict
    assert metrics['value'][0] == pytest.approx(errors['tuned'] - errors[DEFAULT])
    assert metrics['lower'][0] <= metrics['value'][0] <= metrics['upper'][0]
    assert list(metrics.loc[metrics['metric'] == 'warning', 'note']) == ['A warning.', 'Another one.']
    assert list(metrics['metric'][:3]) == ['verdict', 'warning', 'warning']


def test_trials_say_what_was_tried_what_came_of_it_and_which_fold_they_did_not_see():
    metrics, _ = judge(out_of_fold(1.0, 2.0), [trials(1.5)] * (FOLDS + 1), 7)
    tried = metrics[metrics['metric'] == 'inner_mae']
    assert tried['fold'].tolist() == [name for name in ('1', '2', '3', ALL) for _ in range(4)]
    assert tried['method'].tolist()[:4] == ['trial_1', 'trial_2', 'trial_3', 'trial_4']
    assert tried['note'].tolist()[:4] == [
        'the default parameters', 'width 64', 'width 64; stopped after epoch 3', 'width 64; failed: The loss is nan.',
    ]  # fmt: skip
    assert tried['value'].isna().tolist()[:4] == [False, False, True, True]


def test_classes_are_compared_by_balanced_errors():
    true = pd.Series(['a', 'b'] * 12, [f's{i}' for i in range(24)], name='stage')
    parts = np.array_split(true.index.to_numpy(), FOLDS)
    sure = pd.DataFrame({'a': (true == 'a') * 0.8 + 0.1, 'b': (true == 'b') * 0.8 + 0.1})
    tuned = [sure.loc[ids] for ids in parts]
    # one whose every sample is of class a
    default = [
        pd.DataFrame({PROBABILITY + 'a': 0.9, PROBABILITY + 'b': 0.1, 'prediction': 'a'}, index=i) for i in parts
    ]
    given = gather_classes(true, None, tuned, as_baselines(default, PROBABILITY), FOLDS)
    metrics, verdict = judge(given, [trials(1.0)] * (FOLDS + 1), 7)
    assert verdict.startswith('Tuning helped: ') and 'balanced error rate' in verdict
    assert metrics['value'][0] == pytest.approx(-0.5)
