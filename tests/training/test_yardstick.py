"""The random forest beside a model: that of q2-sample-classifier, on the same samples, and what its user is told."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from q2_aam.config import FitClassifierConfig, FitConfig
from q2_aam.data.labels import Labels
from q2_aam.training.goals import CategoricalGoal, NumericGoal
from q2_aam.training.yardstick import forest_figures

LEARNED, TESTED = np.arange(16), np.arange(16, 24)


@pytest.fixture
def counts(tiny, tmp_path):
    """The study of all samples, and its counts with features in the order of the study."""
    from q2_aam.data.inputs import read_study

    files = tiny.write(tmp_path / 'forest')
    study, _ = read_study(files.table, files.sequences)
    return study, tiny.counts.loc[study.sample_ids, study.feature_ids].to_numpy(float)


def seen(counts):
    return counts[:, counts[LEARNED].sum(axis=0) > 0]


def test_numbers_are_predicted_as_by_the_forest_itself(counts):
    study, counts = counts
    values = np.arange(len(study)) % 7 / 2
    labels = Labels('age', study.sample_ids, values, np.array(study.sample_ids))
    goal = NumericGoal(labels, LEARNED, FitConfig.from_flat({'target_scaling': 'standard'}).training)
    found, limits = forest_figures(goal, study, LEARNED, TESTED, seed=3, threads=1)
    assert limits == ''
    own = seen(counts)
    forest = RandomForestRegressor(n_estimators=100, random_state=3).fit(own[LEARNED], values[LEARNED])
    # shares times depth are counts up to rounding, which can move a split
    assert found['mae'] == pytest.approx(np.abs(forest.predict(own[TESTED]) - values[TESTED]).mean(), rel=0.1)


def test_classes_are_predicted_as_by_the_forest_itself(counts):
    study, counts = counts
    values = np.array(['a', 'b', 'c'])[(np.arange(len(study)) // 2) % 3].astype(object)
    labels = Labels('stage', study.sample_ids, values, np.array(study.sample_ids))
    goal = CategoricalGoal(labels, LEARNED, FitClassifierConfig().training)
    found, limits = forest_figures(goal, study, LEARNED, TESTED, seed=3, threads=1)
    assert limits == ''
    own = seen(counts)
    forest = RandomForestClassifier(n_estimators=100, random_state=3, class_weight='balanced')
    forest.fit(own[LEARNED], values[LEARNED].astype(str))
    assert found['accuracy'] == pytest.approx((forest.predict(own[TESTED]) == values[TESTED]).mean(), abs=0.13)


def test_no_more_samples_and_asvs_than_a_yardstick_needs(counts, monkeypatch):
    study, _ = counts
    monkeypatch.setattr('q2_aam.training.yardstick.MOST_SAMPLES', 4)
    fitted = []
    monkeypatch.setattr('q2_aam.training.yardstick.MOST_ASVS', 3)
    fit = RandomForestRegressor.fit
    monkeypatch.setattr(RandomForestRegressor, 'fit', lambda self, x, y: fitted.append(x.shape) or fit(self, x, y))
    labels = Labels('age', study.sample_ids, np.arange(24.0), np.array(study.sample_ids))
    goal = NumericGoal(labels, LEARNED, FitConfig.from_flat({'target_scaling': 'standard'}).training)
    limits = forest_figures(goal, study, LEARNED, TESTED, seed=3, threads=1)[1]
    assert fitted == [(4, 3)]
    # its user is told
    assert limits == ' that was given 4 samples and 3 ASVs only'
    monkeypatch.setattr('q2_aam.training.yardstick.MOST_SAMPLES', 16)
    limits = forest_figures(goal, study, LEARNED, TESTED, seed=3, threads=1)[1]
    assert limits == ' that was given 3 ASVs only'


def test_a_class_that_is_not_among_the_samples_drawn_has_no_probability(counts, monkeypatch):
    study, _ = counts
    monkeypatch.setattr('q2_aam.training.yardstick.MOST_SAMPLES', 4)
    values = np.array(['b', 'c'])[np.arange(len(study)) % 2].astype(object)
    # the first of the classes, of which the tested samples have one
    values[[0, 16]] = 'a'
    labels = Labels('stage', study.sample_ids, values, np.array(study.sample_ids))
    goal = CategoricalGoal(labels, LEARNED, FitClassifierConfig().training)
    seen = []
    monkeypatch.setattr(goal, 'figures_of', lambda shares, rows: seen.append(shares) or {})
    for seed in range(3):
        forest_figures(goal, study, LEARNED, TESTED, seed=seed, threads=1)
    assert all(shares.shape == (8, 3) for shares in seen)
    np.testing.assert_allclose([shares.sum(axis=1) for shares in seen], 1)
    assert any((shares[:, 0] == 0).all() and (shares[:, 1:] > 0).any() for shares in seen)


@pytest.mark.parametrize('kind, headline', [('numbers', 'mae'), ('classes', 'balanced_accuracy')])
@pytest.mark.parametrize('wanted', [True, False])
def test_its_user_is_told_unless_it_is_not_wanted(fitted, classified, tiny, kind, headline, wanted):
    fit = {'numbers': fitted, 'classes': classified}[kind]
    done = fit(tiny, 'one', random_forest=wanted)
    told = [line for line in done.said if line.startswith('Test samples: ')]
    logged = [row for row in done.history.rows if str(row[3]).startswith('final_random_forest_')]
    assert len(told) == wanted == bool(logged)
    if wanted:
        theirs = done.history.series('test', f'final_random_forest_{headline}')[-1]
        ours = done.history.series('test', f'final_{headline}')[-1]
        assert told[0] == (
            f'Test samples: {headline.replace("_", " ")} {ours:.3g}; a random forest on the same samples: '
            f'{theirs:.3g}. One split of few samples proves little; cross-validate tells more.'
        )
