"""Bundles of format version 1, and what they gave when they were made: read for ever, with the same results."""

import json
import pathlib

import h5py
import numpy as np
import pandas as pd
import pytest

from q2_aam import bundle
from q2_aam.config import PredictClassesConfig, PredictConfig
from q2_aam.data.inputs import read_study
from q2_aam.errors import UserError
from q2_aam.inference.predict import predict, predict_classes
from q2_aam.runtime.encode import StudyReader

DATA = pathlib.Path(__file__).parents[1] / 'data'
FIXTURE = DATA / 'bundle-v1'


@pytest.mark.parametrize('kind', bundle.CALLS)
def test_bundles_of_format_version_1_are_read_for_ever(kind):
    model = bundle.load(FIXTURE / kind, kind)
    assert json.loads((FIXTURE / kind / bundle.CONFIG_FILE).read_text())['format_version'] == 1
    assert model.config.kind == kind


def test_a_regressor_of_format_version_1_predicts_what_it_did_when_it_was_made():
    expected = pd.read_csv(FIXTURE / 'predictions.tsv', sep='\t', index_col='id')
    config = PredictConfig.from_flat({'threads': 1, 'device': 'cpu'})
    predictions, details = predict(FIXTURE / 'table.biom', FIXTURE / 'regressor', config, say=lambda line: None)
    assert list(predictions.index) == list(expected.index)
    assert np.abs(predictions - expected['prediction']).max() < 1e-5
    for name in ('lower_bound', 'upper_bound'):
        assert np.abs(details[name] - expected[name]).max() < 1e-5
    assert list(details['flag']) == list(expected['flag'])
    # worth comparing
    assert expected['prediction'].std() > 0.1
    assert (expected['upper_bound'] - expected['lower_bound']).min() > 0.01


def test_a_classifier_of_format_version_1_predicts_what_it_did_when_it_was_made():
    expected = pd.read_csv(FIXTURE / 'probabilities.tsv', sep='\t', index_col='id')
    config = PredictClassesConfig.from_flat({'threads': 1, 'device': 'cpu'})
    predictions, probabilities, _ = predict_classes(
        FIXTURE / 'table.biom', FIXTURE / 'classifier', config, say=lambda line: None
    )
    assert list(probabilities.index) == list(expected.index) and list(probabilities.columns) == list(expected.columns)
    assert np.abs(probabilities - expected).to_numpy().max() < 1e-5
    assert list(predictions) == list(expected.idxmax(axis=1))
    # worth comparing
    assert expected['früh'].std() > 0.1 and predictions.nunique() == 2


def test_the_encoder_of_format_version_1_places_samples_where_it_did():
    expected = pd.read_csv(FIXTURE / 'distances.tsv', sep='\t', index_col=0)
    model = bundle.load(FIXTURE / 'encoder', bundle.ENCODER)
    study, _ = read_study(FIXTURE / 'table.biom', max_length=model.config.call.model.max_sequence_length)
    distances = StudyReader(study).distances(model.network, 'distances', np.arange(len(study)))
    assert study.sample_ids == list(expected.index)
    assert np.abs(distances - expected.to_numpy()).max() < 1e-5


@pytest.mark.parametrize('kind', [bundle.REGRESSOR, bundle.CLASSIFIER])
def test_both_readers_of_a_sample_have_a_part_in_the_frozen_predictions(kind):
    blend = bundle.read_config(FIXTURE / kind).blend
    assert blend.network > 0.1 and blend.ensemble > 0.1


def test_the_table_of_the_frozen_bundles_is_biom_2_1():
    with h5py.File(FIXTURE / 'table.biom') as file:
        assert tuple(file.attrs['format-version']) == (2, 1)


def test_a_bundle_of_before_the_first_release_says_that_it_must_be_made_anew():
    with pytest.raises(UserError) as error:
        bundle.load(DATA / 'bundle-before-release')
    assert str(error.value) == (
        "The model's config.json lacks the field heads of format version 1, so that it cannot be read; train the model "
        'again with this version of q2-aam.'
    )
