"""The searches as QIIME 2 runs them: settings that a fit and a cross-validation take, and the honest figure."""

import importlib.util
import json

import pandas as pd
import pytest

from q2_aam import bundle
from q2_aam.config.search import SETTINGS_FILE, Settings, read_settings
from q2_aam.errors import AAMWarning
from q2_aam.types import AAMModelDirectoryFormat, AAMSettingsDirectoryFormat, AAMSettingsFormat

FORM = {
    'width': 16, 'memberships': 16, 'asv_layers': 1, 'sample_layers': 1, 'attention_heads': 1, 'epochs': 2,
    'threads': 1, 'device': 'cpu', 'random_seed': 5, 'abundance_ensemble': False, 'target_scaling': 'standard',
}  # fmt: skip
# `abundance_ensemble` at its default is searched
SEARCH = {'trials': 2, 'search_parameters': ['learning_rate']}


@pytest.fixture(scope='module')
def tuned(plugin, small):
    pytest.importorskip('optuna', reason='optuna is an extra (tune)')
    return plugin.pipelines['tune_regressor'](
        table=small.table, sequences=small.sequences, metadata=small.metadata.get_column('age'),
        groups=small.metadata.get_column('subject'), **FORM, **SEARCH,
    )  # fmt: skip


@pytest.fixture
def settings():
    """Settings as an artifact: {parameter: value} -> Artifact."""
    import qiime2

    def make(**parameters):
        file = AAMSettingsFormat()
        with file.open() as handle:
            handle.write(Settings('regressor', False, parameters).to_json())
        return qiime2.Artifact.import_data('AAMSettings', str(file), AAMSettingsFormat)

    return make


def content(artifact):
    return read_settings((artifact.view(AAMSettingsDirectoryFormat).path / SETTINGS_FILE).read_text('utf-8'))


@pytest.mark.slow
def test_the_verdict_is_of_the_outer_folds_and_every_trial_is_there(tuned):
    metrics = tuned.metrics.view(pd.DataFrame)
    assert metrics['metric'][0] == 'verdict' and metrics['note'][0].startswith('Tuning ')
    means = metrics[(metrics['metric'] == 'mae') & (metrics['fold'] == 'all') & (metrics['repeat'] == 'all')]
    ours, other = (means.loc[means['method'] == name, 'value'].iloc[0] for name in ('tuned', 'default'))
    assert f'{ours:.3g} with tuned parameters and {other:.3g} with the default ones' in metrics['note'][0]
    assert metrics['value'][0] == pytest.approx(ours - other)
    tried = metrics[metrics['metric'] == 'inner_mae']
    assert tried['fold'].value_counts().to_dict() == {'1': 2, '2': 2, '3': 2, 'all': 2}
    best = tried[tried['fold'] == 'all'].sort_values('value')['note'].iloc[0]
    found = content(tuned.settings).parameters
    assert best == (f'learning_rate {found["learning_rate"]}' if found else 'the default parameters')


def test_a_fit_takes_settings_but_not_where_a_parameter_is_given(plugin, small, settings):
    fit = plugin.actions['fit_regressor']
    found = settings(learning_rate=0.002, asv_dropout=0.5)
    age = small.metadata.get_column('age')
    results = fit(
        table=small.table, metadata=age, sequences=small.sequences, settings=found, random_forest=False,
        asv_dropout=0.1, **FORM,
    )  # fmt: skip
    training = bundle.read_config(str(results.regressor.view(AAMModelDirectoryFormat))).call.training
    assert (training.learning_rate, training.asv_dropout) == (0.002, 0.1)
    with pytest.raises(ValueError, match='^The settings were found for a regressor, but this is a classifier; '):
        plugin.actions['fit_classifier'](
            table=small.table, metadata=small.metadata.get_column('stage'), sequences=small.sequences, settings=found,
            random_forest=False, **{name: value for name, value in FORM.items() if name != 'target_scaling'},
        )  # fmt: skip


def test_a_cross_validation_gives_settings_to_its_fits(plugin, small, settings):
    # an encoder that is not there: each fit says so
    found = settings(freeze='encoder')
    with (
        pytest.warns(AAMWarning, match='^The settings were found by a search, which has seen the samples of every '),
        pytest.raises(ValueError, match='^Parameter freeze is encoder, but no encoder is given that could be frozen'),
    ):
        plugin.pipelines['cross_validate'](
            table=small.table, metadata=small.metadata.get_column('age'), sequences=small.sequences, settings=found,
            folds=3, **FORM,
        )  # fmt: skip


def test_a_tracker_that_is_not_installed_is_said_before_training(plugin, small, monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ValueError, match=r"^Parameter tracker is wandb, .* pip install 'q2-aam\[wandb\]', or set "):
        plugin.actions['fit_regressor'](
            table=small.table, metadata=small.metadata.get_column('age'), sequences=small.sequences, tracker='wandb',
            random_forest=False, **FORM,
        )  # fmt: skip


@pytest.mark.slow
def test_settings_are_json_that_a_person_can_read(tuned):
    text = (tuned.settings.view(AAMSettingsDirectoryFormat).path / SETTINGS_FILE).read_text('utf-8')
    assert json.loads(text)['kind'] == 'regressor' and text.endswith('}\n')


def test_trials_say_which_samples_they_are_about(small, monkeypatch, capsys):
    from q2_types.feature_table import BIOMV210Format

    from q2_aam.actions import tune_steps
    from q2_aam.training import search

    seen = []

    def searched(kind, inputs, folder, config, say, whole):
        seen.append((kind, whole))
        say('Trial 1/2: mae 3.')
        return pd.DataFrame({'metric': ['inner_mae']})

    monkeypatch.setattr(search, 'search', searched)
    given = {'table': small.table.view(BIOMV210Format), 'metadata': small.metadata.get_column('age'), 'threads': 1}
    for fold in (2, 0):
        tune_steps._search_regressor(fold=fold, **given)
    assert seen == [('regressor', False), ('regressor', True)]
    assert capsys.readouterr().out.splitlines() == [
        'Outer fold 2 of 3: Trial 1/2: mae 3.', 'All samples: Trial 1/2: mae 3.'
    ]  # fmt: skip


def test_outer_folds_are_numbered(small, monkeypatch):
    from q2_aam.actions import tune

    from .test_cross_validate import Context

    pytest.importorskip('optuna', reason='optuna is an extra (tune)')
    context = Context({'fit_regressor': 4, '_search_regressor': 2})
    tune.tune_regressor(
        context, table=small.table, metadata=small.metadata.get_column('age'), random_seed=5, trials=2, threads=1
    )
    assert [call.fold for call in context.of('_search_regressor')] == [1, 2, 3, 0]
    said = [getattr(call, 'said', None) for call in context.of('_filter_samples')]
    learned = [len(call.metadata.ids) for call in context.of('_filter_samples')[::2]]
    assert said[::2] == [
        f'Outer fold {fold} of 3: {samples} samples to learn from.' for fold, samples in zip((1, 2, 3), learned)
    ]
    tested = [len(call.metadata.ids) for call in context.of('_filter_samples')[1::2]]
    assert said[1::2] == [
        f'Outer fold {fold} of 3: fits with what was found, then by default, and predicts {samples} samples with each.'
        for fold, samples in zip((1, 2, 3), tested)
    ]
