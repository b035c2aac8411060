"""Predictions come with signs of a model that is out of its depth, of each sample by itself."""

import pathlib

import numpy as np
import pandas as pd
import pytest

from q2_aam import bundle
from q2_aam.errors import AAMWarning

SIGNS = ['vocabulary_coverage', 'share_of_reads_in_vocabulary', 'familiarity', 'disagreement']
FIXTURE = pathlib.Path(__file__).parents[1] / 'data' / 'bundle-v1'


@pytest.fixture
def regressor(tiny_regressor):
    return tiny_regressor.folder


@pytest.fixture
def foreign(tiny):
    """The tiny study with two more samples, and a third without reads.

    One has ASVs of the first and the last weeks in equal parts, which no training sample has; the other has a third of
    its reads and more than half of its ASVs in sequences that nobody knows.
    """
    random = np.random.default_rng(9)
    new = {f'new{number:02d}': ''.join(random.choice(list('ACGT'), 50)) for number in range(25)}
    tiny.sequences |= new
    counts = tiny.counts.reindex(columns=list(tiny.sequences), fill_value=0.0)
    for name in ('mixed', 'half known', 'empty'):
        counts.loc[name] = 0.0
    counts.loc['mixed', ['feature00', 'feature01', 'feature28', 'feature29']] = 500
    counts.loc['half known'] = counts.iloc[11] * (counts.columns.str.startswith('feature'))
    counts.loc['half known', list(new)] = counts.iloc[11].sum() / 2 / len(new)
    counts.loc['half known'] = counts.loc['half known'].round()
    tiny.counts = counts
    return tiny


def test_foreign_samples_are_flagged_and_others_are_not(foreign, predicted, regressor):
    lines = []
    with pytest.warns(AAMWarning, match='^Ignored: 1 sample without reads'):
        _, details = predicted(foreign, regressor, say=lines.append)
    flags = details['flag']
    assert flags['mixed'] == 'unlike_training' and flags['half known'] == 'low_vocabulary_coverage'
    assert flags['empty'] == 'no_reads' and details.loc['empty', SIGNS].isna().all()
    ordinary = flags.index.str.startswith('sample')
    assert set(flags[ordinary]) == {'ok'} and details.loc[ordinary, SIGNS].notna().all(axis=None)
    assert details.loc['mixed', 'familiarity'] > 1.5 and details.loc['mixed', 'share_of_reads_in_vocabulary'] == 1
    least = bundle.read_config(regressor).min_coverage
    assert details.loc['half known', 'vocabulary_coverage'] < least[0]
    share = details.loc['half known', 'share_of_reads_in_vocabulary']
    assert share == pytest.approx(2 / 3, abs=0.01) and share < least[1]
    assert details.loc['half known', 'share_of_reads_near'] > 0.5
    said = [line for line in lines if line.startswith('Familiarity: ')]
    assert len(said) == 1 and ' of 26 samples (' in said[0] and said[0].endswith('.')


def test_a_model_abstains_from_them(foreign, predicted, regressor):
    foreign.counts = foreign.counts.drop(index='empty')
    lines = []
    predictions, details = predicted(foreign, regressor, abstain=True, say=lines.append)
    assert set(details.index) - set(predictions.index) == {'mixed', 'half known'}
    bounds = ['prediction', 'lower_bound', 'upper_bound']
    assert details.loc[['mixed', 'half known'], bounds].isna().all(axis=None)
    # the signs, which say why, are there
    assert details.loc[['mixed', 'half known'], SIGNS].notna().all(axis=None)
    assert lines[-1] == 'Abstained: 2 samples (1 unlike_training, 1 low_vocabulary_coverage).' or lines[-1] == (
        'Abstained: 2 samples (1 low_vocabulary_coverage, 1 unlike_training).'
    )


def test_a_sample_alone_has_the_flag_the_signs_and_the_interval_that_it_has_in_any_table(foreign, predicted, regressor):
    foreign.counts = foreign.counts.drop(index='empty')
    _, together = predicted(foreign, regressor)
    counts = foreign.counts
    for name in ('mixed', 'half known', counts.index[3]):
        foreign.counts = counts.loc[[name]]
        _, alone = predicted(foreign, regressor, f'only {name}')
        assert alone.loc[name, 'flag'] == together.loc[name, 'flag']
        numbers = [*SIGNS, 'prediction', 'lower_bound', 'upper_bound']
        assert list(alone.loc[name, numbers]) == pytest.approx(list(together.loc[name, numbers]), abs=1e-4)


def test_classes_have_signs_too(foreign, predicted_classes, tiny_classifier):
    foreign.counts = foreign.counts.drop(index='empty')
    _, _, details = predicted_classes(foreign, tiny_classifier.folder)
    assert details.loc[['mixed', 'half known'], 'flag'].tolist() == ['unlike_training', 'low_vocabulary_coverage']
    foreign.counts = foreign.counts.loc[['half known']]
    _, _, alone = predicted_classes(foreign, tiny_classifier.folder, 'alone')
    assert list(alone.loc['half known', SIGNS]) == pytest.approx(list(details.loc['half known', SIGNS]), abs=1e-5)


def test_half_a_table_of_proportions_changes_no_flag(tiny, predicted, regressor):
    few = tiny.counts.iloc[10:12].div(30).round()
    assert few.sum(axis=1).max() < 100
    few.index = ['few 1', 'few 2']
    counts = pd.concat([tiny.counts, few])
    shares = counts.div(counts.sum(axis=1), axis=0)
    # sums of proportions are not quite 1
    shares *= np.linspace(0.9999, 1.0001, len(shares))[:, None]
    half = np.arange(len(counts)) % 2 == 0
    tiny.counts = counts
    _, of_counts = predicted(tiny, regressor, 'counts')
    assert of_counts.index[of_counts['flag'] == 'few_reads'].tolist() == ['few 1', 'few 2']
    tiny.counts = pd.DataFrame(np.where(half[:, None], shares, counts), counts.index, counts.columns)
    assert half[-2] and not half[-1]
    _, mixed = predicted(tiny, regressor, 'mixed')
    # whether a sample of proportions had few reads nobody knows
    assert mixed.index[mixed['flag'] == 'few_reads'].tolist() == ['few 2']
    assert mixed['flag'].drop('few 1').equals(of_counts['flag'].drop('few 1'))


def test_older_models_know_less_of_a_sample_and_say_nothing_of_the_table(foreign, predicted):
    foreign.counts = foreign.counts.drop(index='empty')
    lines = []
    with pytest.warns(UserWarning):
        _, details = predicted(foreign, FIXTURE / 'regressor', say=lines.append)
    assert details['familiarity'].isna().all() and details[SIGNS[:2]].notna().all(axis=None)
    assert not {'low_vocabulary_coverage', 'unlike_training'} & set(details['flag'])
    assert not any(line.startswith('Familiarity') for line in lines)


def test_a_model_without_an_ensemble_has_no_signs(tiny, fitted, predicted):
    with pytest.warns(AAMWarning):
        alone = fitted(tiny, abundance_ensemble=False)
    _, details = predicted(tiny, alone.folder)
    assert not set(SIGNS) & set(details.columns) and not set(SIGNS) & set(alone.details.columns)
    assert set(details['flag']) == {'ok'}


def test_test_samples_of_a_fit_have_the_signs_that_they_have_in_a_prediction(tiny, predicted, tiny_regressor):
    fitted = tiny_regressor.details
    held_out = fitted.index[fitted['part'] == 'test']
    _, details = predicted(tiny, tiny_regressor.folder)
    assert len(held_out) == 4
    for name in SIGNS:
        assert list(fitted.loc[held_out, name]) == pytest.approx(list(details.loc[held_out, name]), abs=1e-6)
    assert details.loc[held_out, 'flag'].equals(fitted.loc[held_out, 'flag'])
    # labelled samples are told as ones that a member has not seen: it knows less of them
    labelled = fitted.index.difference(held_out)
    assert (fitted.loc[labelled, 'disagreement'] != details.loc[labelled, 'disagreement']).all()
