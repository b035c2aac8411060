"""A cross-validation that was killed goes on where it was, also where no seed was given, and warns in its artifacts."""

import json

import pandas as pd
import pytest
import qiime2

from q2_aam.actions.examples_cross_validate import QUICK
from q2_aam.errors import AAMWarning
from q2_aam.training import fit

OPTIONS = {name: value for name, value in QUICK.items() if name != 'random_seed'} | {'baselines': False}


class Killed(BaseException):
    """Ends a process between two steps, as a signal does; nothing catches it."""


@pytest.fixture
def trained(monkeypatch):
    """Seeds of the models that were trained, which `trained.kill` (a number of models) ends."""
    monkeypatch.setattr('q2_aam.runtime.run_directory.DAYS_KEPT', 7)

    class Seeds(list):
        kill = None

    seeds, train = Seeds(), fit.train_fit

    def counting(prepared, run):
        if len(seeds) == seeds.kill:
            raise Killed
        seeds.append(run.seed)
        return train(prepared, run)

    monkeypatch.setattr(fit, 'train_fit', counting)
    return seeds


@pytest.fixture
def validate(plugin, small):
    def validate(column='age', **more):
        of_numbers = column == 'age'
        return plugin.pipelines['cross_validate' if of_numbers else 'cross_validate_classifier'](
            table=small.table,
            sequences=small.sequences,
            metadata=small.metadata.get_column(column),
            groups=small.metadata.get_column('subject'),
            **OPTIONS,
            **more,
        )

    return validate


@pytest.mark.filterwarnings('ignore::q2_aam.errors.AAMWarning')
@pytest.mark.parametrize('column', ['age', pytest.param('stage', marks=pytest.mark.slow)])
def test_finished_folds_are_kept_without_a_seed_too(column, validate, trained, work_dir, tmp_path, monkeypatch):
    trained.kill = 1
    with pytest.raises(Killed):
        validate(column)
    (kept,) = work_dir.glob('cross-validate*/seed.json')
    seed = json.loads(kept.read_text())['seed']
    trained.kill = None
    resumed = validate(column)
    assert len(trained) == len(set(trained)) == 3, 'a fold was trained twice'
    assert not kept.exists()
    # and it is the undisturbed cross-validation with this seed
    monkeypatch.setenv('AAM_WORK_DIR', str(tmp_path / 'other'))
    undisturbed = validate(column, random_seed=seed)
    assert trained[3:] == trained[:3]
    pd.testing.assert_frame_equal(resumed.details.view(pd.DataFrame), undisturbed.details.view(pd.DataFrame))
    # what is done is forgotten: the same call again is a new one
    trained.kill = len(trained) + 1
    with pytest.raises(Killed):
        validate(column)
    assert trained[-1] not in trained[:-1]


def test_warnings_of_fits_are_the_first_rows_of_histories_and_follow_the_verdict(validate, plugin, small):
    with pytest.warns(UserWarning, match='^Prediction intervals with a guaranteed coverage') as caught:
        metrics = validate(random_seed=1).metrics.view(pd.DataFrame)
    texts = {str(warning.message) for warning in caught if 'coverage' in str(warning.message)}
    assert metrics['metric'].tolist()[:2] == ['verdict', 'warning']
    rows = metrics[metrics['metric'] == 'warning']
    assert set(rows['note']) == texts and rows['value'].sum() == 3
    with pytest.warns(UserWarning, match='^Prediction intervals'):
        fitted = plugin.methods['fit_regressor'](
            table=small.table,
            sequences=small.sequences,
            metadata=small.metadata.get_column('age'),
            groups=small.metadata.get_column('subject'),
            **{name: value for name, value in QUICK.items() if name != 'folds'},
        )
    first, second = fitted.history.view(pd.DataFrame).iloc[:2].to_dict('records')
    assert first['part'] == 'warning' and first['metric'].startswith('Prediction intervals') and first['value'] == 1
    assert second['part'] != 'warning'
    assert fitted.history.view(qiime2.Metadata).get_column('part').to_series().iloc[0] == 'warning'


def test_a_result_that_is_taken_again_warns_again(trained, plugin, small):
    def fit_again():
        with pytest.warns(UserWarning, match='^Prediction intervals') as caught:
            fitted = plugin.methods['fit_regressor'](
                table=small.table,
                sequences=small.sequences,
                metadata=small.metadata.get_column('age'),
                groups=small.metadata.get_column('subject'),
                **{name: value for name, value in QUICK.items() if name != 'folds'},
            )
        texts = [str(warning.message) for warning in caught if issubclass(warning.category, AAMWarning)]
        return texts, fitted.history.view(pd.DataFrame)

    (texts, history), (again, history_again) = fit_again(), fit_again()
    assert len(trained) == 1, 'the second takes the result of the first'
    assert texts == again and len(set(texts)) == len(texts)
    pd.testing.assert_frame_equal(history, history_again)
    assert history.loc[history['part'] == 'warning', 'metric'].tolist() == texts
