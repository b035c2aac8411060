"""The visualizer summarize_training, on a history of known course and on a real model."""

import json

import pandas as pd
import pytest

from q2_aam.evaluation.training_summary import summarize
from q2_aam.runtime.history import History
from q2_aam.types import AAMModelDirectoryFormat, AAMTrainingHistoryDirectoryFormat
from q2_aam.visualizers.summarize_training import _facts, summarize_training


def as_format(history):
    folder = AAMTrainingHistoryDirectoryFormat()
    history.save(str(folder))
    return folder


@pytest.fixture
def history():
    logged = History([(0, 0, 'warning', 'Ignored: 3 samples.', 1.0)])
    for epoch in range(1, 11):
        logged.log(epoch, epoch, 'training', loss=1 / epoch, learning_rate_share=0.5)
        logged.log(epoch, epoch, 'validation', mae=3 + 1 / epoch if epoch < 6 else 3.4)
    logged.log(5, 5, 'validation', best_epoch=5)
    logged.log(5, 5, 'test', final_mae=2.0)
    return logged


def test_the_page_begins_with_whether_it_converged(tmp_path, history):
    summarize_training(str(tmp_path), as_format(history))
    text = (tmp_path / 'index.html').read_text('ascii')
    assert text.split('aam-verdict">')[1].startswith('It converged: the validation mean absolute error was lowest in ')
    assert 'Ignored: 3 samples.' in text
    # what it lacks is said
    assert 'The history has no points of predicted against true values.' in text
    assert 'With the model, this page also shows its parameters' in text


def test_what_is_kept_of_an_initial_encoder_has_a_table_with_its_floor(tmp_path, history):
    history.log(0, 0, 'run', kept_of_initial_encoder=0.998, kept_in_untrained_network=0.83, random_seed=1.0)
    summarize_training(str(tmp_path), as_format(history))
    table = pd.read_csv(tmp_path / 'tables' / 'kept.tsv', sep='\t', index_col='what')['value']
    assert table['the same r of an untrained network: what that figure begins at'] == 0.83 and len(table) == 2
    # it is no share of network and ensemble
    assert not (tmp_path / 'tables' / 'shares.tsv').exists()


def test_every_epoch_is_drawn_and_in_the_table(tmp_path, history, specs):
    summarize_training(str(tmp_path), as_format(history))
    found = specs(tmp_path)
    assert list(found) == ['epochs', 'learning_rate_share']
    assert [one['label'] for one in found['epochs']['variants']] == [
        'training loss and validation score', 'loss', 'mean absolute error'
    ]  # fmt: skip
    assert len(found['epochs']['spec']['datasets']['rows']) == 20
    table = pd.read_csv(tmp_path / 'tables' / 'epochs.tsv', sep='\t', index_col='epoch')
    assert table['validation mae'][5] == pytest.approx(3.2) and len(table) == 10


def test_seconds_and_memory_of_epochs_are_drawn(tmp_path, history, specs):
    for epoch in range(1, 11):
        history.cost(epoch, epoch, seconds=2.0 + epoch, memory_gb=0.5)
    summarize_training(str(tmp_path), as_format(history))
    found = specs(tmp_path)
    assert list(found) == ['epochs', 'learning_rate_share', 'seconds', 'memory_gb']
    assert [row['c1'] for row in found['seconds']['spec']['datasets']['rows']] == [3.0 + epoch for epoch in range(10)]
    table = pd.read_csv(tmp_path / 'tables' / 'epochs.tsv', sep='\t', index_col='epoch')
    assert table['run seconds'][4] == 6.0 and (table['run memory_gb'] == 0.5).all()
    assert '<h3>Memory (GB)</h3>' in (tmp_path / 'index.html').read_text('ascii')
    # they are no shares of network and ensemble
    assert not (tmp_path / 'tables' / 'shares.tsv').exists()


def test_a_real_model_brings_its_points_its_parameters_and_its_card(tmp_path, tiny_regressor, specs):
    model = AAMModelDirectoryFormat(str(tiny_regressor.folder), mode='r')
    summarize_training(str(tmp_path), as_format(tiny_regressor.history), model)
    found = specs(tmp_path)
    assert found['points-1']['spec']['description'].startswith('Scatter plot of predicted age against true age')
    assert len(found['points-1']['spec']['datasets']['rows']) == len(tiny_regressor.history.points)
    parameters = pd.read_csv(tmp_path / 'tables' / 'parameters.tsv', sep='\t', index_col='parameter')
    assert parameters['value']['width'] == '16' and parameters['can be derived']['width'] == 'auto'
    card = pd.read_csv(tmp_path / 'tables' / 'card.tsv', sep='\t', index_col='field')
    assert card['value']['kind'] == 'regressor' and card['value']['target'] == 'age'


def test_an_encoder_has_a_summary(tmp_path, tiny_encoder, specs):
    model = AAMModelDirectoryFormat(str(tiny_encoder.folder), mode='r')
    summarize_training(str(tmp_path), as_format(tiny_encoder.history), model)
    assert {'epochs', 'losses', 'points-1'} <= set(specs(tmp_path))
    card = pd.read_csv(tmp_path / 'tables' / 'card.tsv', sep='\t', index_col='field')
    assert card['value']['kind'] == 'encoder' and 'None' not in set(card['value']) and 'target' not in card.index


def test_a_model_without_sequences_has_features_of_no_length(history, tiny_encoder):
    summary = summarize(as_format(history).history.view(pd.DataFrame))
    card = json.loads((tiny_encoder.folder / 'card.json').read_text())
    rows = [
        {row[0]: row[1:] for row in _facts(summary, card | {'amplicon_length': lengths}).items}
        for lengths in (card['amplicon_length'], None)
    ]
    assert rows[0]['ASVs'][1].endswith(' nucleotides (median)') and 'Features' not in rows[0]
    assert rows[1]['Features'] == ('30', 'features without sequences') and 'ASVs' not in rows[1]


@pytest.mark.slow
def test_a_summary_opens_in_a_browser(tmp_path, history, specs, browser):
    history.add_points('target', 'validation', [1.0, 2.0], [1.5, 2.5])
    summarize_training(str(tmp_path), as_format(history))
    asked = browser(tmp_path, 'return document.querySelectorAll("svg.marks").length;')
    assert asked.faults == [] and asked.answer == len(specs(tmp_path))
