"""The verdict is in plain words, and the metrics have every number that it rests on."""

import numpy as np
import pytest

from q2_aam.evaluation.out_of_fold import OURS, OutOfFold
from q2_aam.evaluation.verdict import METRICS_COLUMNS, SEEN, compare, table_of

SAMPLES = 40


def made(ours, others, classes=(), true=None, repeats=1):
    """Five folds; without `true` it is 0, so that predictions are errors."""
    rows = SAMPLES * repeats
    ids = np.tile([f's{number:02d}' for number in range(SAMPLES)], repeats).astype(object)
    true = np.zeros(rows) if true is None else true
    predicted = {OURS: np.asarray(ours, dtype=float)} | others
    return OutOfFold(
        'age', ids, ids, np.repeat(np.arange(repeats), SAMPLES), np.arange(rows) % 5, true, predicted, classes
    )


@pytest.fixture
def noise():
    return np.random.default_rng(1).uniform(-0.5, 0.5, SAMPLES)


def test_it_says_that_a_baseline_is_better_by_how_much_and_how_sure(noise):
    metrics, verdict = compare(made(np.full(SAMPLES, 3.5), {'ridge': noise + 9, 'extra_trees': noise + 3}), 1)
    row = metrics[metrics['metric'] == 'verdict'].iloc[0]
    assert verdict == row['note']
    size, low, high, theirs = (f'{x:.3g}' for x in (row['value'], row['lower'], row['upper'], noise.mean() + 3))
    assert verdict == (
        f"Best baseline for 'age': extra trees. Compared with extra trees, AAM is worse by {size} in mean absolute "
        f'error (3.5 against {theirs}; 95 % interval {low} to {high}).'
    )
    assert row['value'] == pytest.approx(0.5 - noise.mean())
    assert 0.3 < row['lower'] < row['value'] < row['upper'] < 0.7
    assert row['against'] == 'extra_trees'


def test_it_says_that_ours_is_better_with_bounds_that_go_up(noise):
    metrics, verdict = compare(made(np.full(SAMPLES, 3.0), {'random_forest': noise + 5}), 1)
    row = metrics[metrics['metric'] == 'verdict'].iloc[0]
    assert verdict == (
        f"Best baseline for 'age': random forest. Compared with random forest, AAM is better by {-row['value']:.3g} in "
        f'mean absolute error (3 against {noise.mean() + 5:.3g}; 95 % interval {-row["upper"]:.3g} to '
        f'{-row["lower"]:.3g}).'
    )


def test_it_says_that_there_is_no_clear_difference(noise):
    noise = noise - noise.mean()
    _, verdict = compare(made(np.full(SAMPLES, 3.0), {'ridge': noise + 3}), 1)
    assert verdict.startswith(
        "Best baseline for 'age': ridge. Compared with ridge, AAM is not clearly different in mean absolute error (3 "
        'against 3; 95 % interval of the difference -0.'
    )


def test_it_always_says_how_ours_compares_with_the_guess_that_looks_at_no_sample(noise):
    _, verdict = compare(made(np.full(SAMPLES, 3.5), {'ridge': noise + 3, 'median': noise * 0 + 2.5}), 1)
    # as the best baseline it is told of once
    assert verdict == (
        "Best baseline for 'age': median. Compared with guessing the median, which looks at no sample, AAM is worse by "
        '1 in mean absolute error (3.5 against 2.5; 95 % interval 1 to 1).'
    )
    _, verdict = compare(made(np.full(SAMPLES, 3.5), {'median': noise * 0 + 9, 'ridge': noise + 3}), 1)
    assert verdict.startswith("Best baseline for 'age': ridge. Compared with ridge, AAM is worse by 0.")
    assert verdict.endswith(
        '. Compared with guessing the median, which looks at no sample, AAM is better by 5.5 in mean absolute error '
        '(3.5 against 9; 95 % interval 5.5 to 5.5).'
    )


def test_it_says_that_the_majority_class_has_fewer_errors_though_a_forest_is_the_best_baseline():
    # 20 of 200 are of the rare class. Ours is wrong about 4 of these and 36 others, the forest about 8 and 36
    true, number = np.repeat([0.0, 1.0], [20, 180]), np.arange(200)
    ids = np.array([f's{one:03d}' for one in number], dtype=object)
    wrong = {
        OURS: (number < 4) | (number >= 164),
        'random_forest': (number < 8) | (number >= 164),
        'majority': number < 20,
    }
    predicted = {name: np.eye(2)[np.where(errors, 1 - true, true).astype(int)] for name, errors in wrong.items()}
    zeros = np.zeros(200, int)
    result = OutOfFold('stage', ids, ids, zeros, number % 5, true, predicted, ('sick', 'well'))
    metrics, verdict = compare(result, 1)
    assert verdict.startswith("Best baseline for 'stage': random forest. Compared with random forest, AAM is ")
    rows = metrics[metrics['against'] == 'majority'].set_index('metric')
    bounds = [
        '{:.3g} to {:.3g}'.format(*sorted(abs(rows.loc[name, ['lower', 'upper']])))
        for name in ('balanced_error_rate_difference', 'error_rate_difference')
    ]
    assert verdict.endswith(
        'Compared with guessing the majority class, which looks at no sample, AAM is better by 0.3 in balanced error '
        f'rate (0.2 against 0.5; 95 % interval {bounds[0]}) and worse by 0.1 in error rate (0.2 against 0.1; 95 % '
        f'interval {bounds[1]}).'
    )


def test_it_says_what_an_encoder_has_seen(noise):
    result = made(np.full(SAMPLES, 3.0), {'ridge': noise + 3})
    assert compare(result, 1, pretrained=True)[1] == compare(result, 1)[1] + SEEN


def test_with_nothing_to_compare_with_it_gives_the_metrics():
    metrics, verdict = compare(made(np.full(SAMPLES, 3.0), {}), 1)
    assert verdict == (
        "AAM for 'age', out of fold: mae 3, median_absolute_error 3, rmse 3; there was no baseline to compare with."
    )
    assert metrics.iloc[0]['note'] == verdict


def test_a_method_that_could_not_predict_is_said_so(noise):
    nothing = np.full(SAMPLES, np.nan)
    metrics, verdict = compare(made(np.full(SAMPLES, 3.0), {'gaussian_process': nothing, 'ridge': noise + 3}), 1)
    row = metrics[metrics['against'] == 'gaussian_process'].iloc[0]
    assert row['note'] == 'AAM and gaussian process predicted no sample in common.'
    assert row['samples'] == 0 and 'ridge' in verdict


def test_a_single_group_has_no_interval():
    result = made(np.full(SAMPLES, 3.0), {'ridge': np.full(SAMPLES, 2.0)})
    result.groups[:] = 'one'
    assert compare(result, 1)[1] == (
        "Best baseline for 'age': ridge. Compared with ridge, AAM has mean absolute error 3 against 2; a single group "
        'gives no interval.'
    )


def test_metrics_are_of_each_fold_each_repeat_and_in_the_mean():
    ours = np.concatenate([np.full(SAMPLES, 1.0), np.full(SAMPLES, 2.0)])
    metrics, _ = compare(made(ours, {'ridge': ours + 1}, repeats=2), 1)
    assert tuple(metrics) == METRICS_COLUMNS
    mae = metrics[(metrics['metric'] == 'mae') & (metrics['method'] == OURS)]
    values = {(row.repeat, row.fold): (row.value, row.samples) for row in mae.itertuples()}
    assert values == {
        **{(str(repeat), str(fold)): (float(repeat), 8) for repeat in (1, 2) for fold in range(1, 6)},
        ('1', 'all'): (1.0, 40), ('2', 'all'): (2.0, 40), ('all', 'all'): (1.5, 40),
    }  # fmt: skip
    assert mae.iloc[0]['sd'] == pytest.approx(0.5**0.5)
    difference = metrics[metrics['metric'] == 'mae_difference'].iloc[0]
    assert (difference['value'], difference['samples'], difference['against']) == (-1.0, 40, 'ridge')


def test_classes_are_compared_by_balanced_and_by_plain_error_rate():
    true = np.repeat([0.0, 1.0], [10, 30])
    always = np.tile([0.1, 0.9], (SAMPLES, 1))
    right = np.stack([1 - true, true], axis=1)
    # ours has the rare class right and 9 of 30 of the common one wrong
    ours = right.copy()
    ours[10:19] = [1, 0]
    metrics, verdict = compare(made(ours, {'majority': always}, ('sick', 'well'), true), 1)
    rows = metrics[metrics['against'] == 'majority'].set_index('metric')
    assert rows.loc['balanced_error_rate_difference', 'value'] == pytest.approx(0.15 - 0.5)
    assert rows.loc['error_rate_difference', 'value'] == pytest.approx(0.225 - 0.25)
    assert verdict.startswith(
        "Best baseline for 'age': majority. Compared with guessing the majority class, which looks at no sample, AAM "
        'is better by 0.35 in balanced error rate (0.15 against 0.5; 95 % interval 0.'
    )
    assert ') and not clearly different in error rate (0.225 against 0.25; 95 % interval of the difference -' in verdict
    lines = table_of(metrics)
    assert lines[0].endswith(
        '| AAM minus method: balanced_error_rate (95 % interval) | AAM minus method: error_rate (95 % interval) |'
    )
    assert all(line.count('|') == lines[0].count('|') for line in lines)
    assert '| -0.35 (-0.' in lines[-1] and '| -0.025 (-' in lines[-1]


def test_the_table_has_a_line_for_each_method():
    ours = np.concatenate([np.full(SAMPLES, 1.0), np.full(SAMPLES, 2.0)])
    lines = table_of(compare(made(ours, {'ridge': ours + 1}, repeats=2), 1)[0])
    assert lines == [
        '| method | mae | median_absolute_error | rmse | AAM minus method: mae (95 % interval) |',
        '|---|---|---|---|---|',
        '| AAM | 1.5 +- 0.71 | 1.5 +- 0.71 | 1.5 +- 0.71 |  |',
        '| ridge | 2.5 +- 0.71 | 2.5 +- 0.71 | 2.5 +- 0.71 | -1 (-1 to -1) |',
    ]
