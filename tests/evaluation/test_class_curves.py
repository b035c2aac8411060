"""Curves of probabilities, compared with scikit-learn's and with answers known by hand."""

import numpy as np
import pytest

from q2_aam.evaluation.class_curves import (
    curves_of_class,
    precision_on_grid,
    precision_recall_curve,
    reliability,
    roc_curve,
    roc_on_grid,
)

metrics = pytest.importorskip('sklearn.metrics')


@pytest.fixture
def scored():
    random = np.random.default_rng(5)
    positive = random.random(200) < 0.3
    # with ties
    return np.round(random.random(200) * 0.6 + 0.4 * positive, 2), positive


def test_the_roc_curve_is_scikit_learns(scored):
    false, true, _ = metrics.roc_curve(scored[1], scored[0], drop_intermediate=False)
    ours = roc_curve(*scored)
    assert ours[0] == pytest.approx(false) and ours[1] == pytest.approx(true)


def test_precision_and_recall_are_scikit_learns(scored):
    precision, recall, _ = metrics.precision_recall_curve(scored[1], scored[0])
    ours = precision_recall_curve(*scored)
    # theirs begins at the lowest score, and ends in (0, 1), where nothing is found
    assert ours[0] == pytest.approx(recall[-2::-1]) and ours[1] == pytest.approx(precision[-2::-1])


def test_on_the_grid_perfect_scores_are_perfect():
    positive = np.arange(10) < 4
    assert (roc_on_grid(positive.astype(float), positive) == 1).all()
    assert (precision_on_grid(positive.astype(float), positive) == 1).all()


def test_on_the_grid_equal_scores_are_guesses():
    positive = np.arange(10) < 4
    assert roc_on_grid(np.zeros(10), positive) == pytest.approx(np.linspace(0, 1, 101))
    assert precision_on_grid(np.zeros(10), positive) == pytest.approx(np.full(101, 0.4))


def test_the_area_on_the_grid_is_that_of_the_curve(scored):
    values = roc_on_grid(*scored)
    area = (values[1:] + values[:-1]).sum() / 2 / 100
    assert area == pytest.approx(metrics.roc_auc_score(scored[1], scored[0]), abs=0.005)


def test_the_band_is_of_folds_that_have_both_kinds(scored):
    folds = np.arange(200) % 4
    banded = curves_of_class('roc', *scored, folds)
    middles = [roc_on_grid(scored[0][folds == fold], scored[1][folds == fold]) for fold in range(4)]
    spread = np.std(middles, axis=0, ddof=1)
    assert banded['upper'].to_numpy() == pytest.approx(np.clip(np.mean(middles, axis=0) + spread, 0, 1))
    assert (banded['lower'] <= banded['upper']).all()
    alone = curves_of_class('roc', *scored, np.where(scored[1], 0, 1))
    assert alone['lower'].isna().all()


def test_reliability_is_the_share_that_is_right_of_like_confidence():
    confidence = np.repeat([0.6, 0.9], 50)
    right = np.r_[np.arange(50) < 30, np.arange(50) < 45]
    bins = reliability(confidence, right)
    assert bins['confidence'].tolist() == pytest.approx([0.6, 0.9])
    assert bins['value'].tolist() == pytest.approx([0.6, 0.9]) and bins['samples'].tolist() == [50, 50]
    assert (bins['lower'] < bins['value']).all() and (bins['value'] < bins['upper']).all()
