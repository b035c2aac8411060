"""A model whose outputs are not finite makes no prediction: it is refused when it predicts, and when it is trained."""

import dataclasses
import json
import pathlib
import shutil
import warnings

import numpy as np
import pytest

from q2_aam import bundle
from q2_aam.bundle.finite import GIVEN, TRAINED, check_finite
from q2_aam.config import DistancesConfig, EmbedConfig, PredictClassesConfig, PredictConfig
from q2_aam.errors import AAMWarning, UserError
from q2_aam.inference.embed import embed, predict_distances
from q2_aam.inference.predict import predict, predict_classes
from q2_aam.model.abundance_ensemble import AbundanceEnsemble
from q2_aam.runtime.encode import StudyReader
from q2_aam.stats.conformal import Calibration

FIXTURE = pathlib.Path(__file__).parents[1] / 'data' / 'bundle-v1'
ON_CPU = {'threads': 1, 'device': 'cpu'}
ALL = "The model gives no finite numbers for 8 samples (e.g. 'sample0'): "


@pytest.fixture
def changed(tmp_path, change_weights):
    """(kind, factor by name of tensors): a copy of a sound model whose numbers are multiplied."""

    def change(kind, factors):
        folder = shutil.copytree(FIXTURE / kind, tmp_path / kind)

        def multiply(tensors):
            for name, factor in factors.items():
                tensors[name].mul_(factor)

        change_weights(folder, multiply)
        return folder

    return change


def refusal(call, model, config, **options):
    with pytest.raises(UserError) as error, warnings.catch_warnings():
        warnings.simplefilter('error')
        warnings.simplefilter('ignore', AAMWarning)
        call(FIXTURE / 'table.biom', model, config.from_flat(ON_CPU | options), say=lambda line: None)
    return str(error.value)


@pytest.mark.parametrize(
    ('kind', 'call', 'config'),
    [
        (bundle.REGRESSOR, predict, PredictConfig),
        (bundle.CLASSIFIER, predict_classes, PredictClassesConfig),
    ],
)
def test_no_prediction_is_made_of_outputs_that_are_not_finite(changed, kind, call, config):
    of_ensemble = changed(kind, {'ensemble.out.weight': 1e38, 'ensemble.second_norm.weight': 1e30})
    bundle.check(of_ensemble)
    assert refusal(call, of_ensemble, config) == ALL + GIVEN + '.'
    shutil.rmtree(of_ensemble)
    of_network = changed(kind, {'heads.target.hidden.weight': 1e20, 'heads.target.out.weight': 1e38})
    assert refusal(call, of_network, config) == ALL + GIVEN + '.'


def test_no_interval_is_given_that_is_not_finite(tmp_path):
    model = bundle.load(FIXTURE / 'regressor')
    calibration = Calibration(np.array([1e308]), np.array([0]))
    target = dataclasses.replace(model.config.target, calibration=calibration)
    card = json.loads((FIXTURE / 'regressor' / bundle.CARD_FILE).read_text())
    bundle.save(tmp_path, dataclasses.replace(model, config=dataclasses.replace(model.config, target=target)), card)
    assert refusal(predict, tmp_path, PredictConfig) == ALL + GIVEN + '.'


@pytest.mark.parametrize('embedding', ['memberships', 'mean', 'summary'])
def test_samples_without_finite_embeddings_are_not_embedded(changed, embedding):
    model = bundle.load(FIXTURE / 'encoder')
    names = [name for name in model.network.state_dict() if name.startswith('asv_encoder.norm')]
    folder = changed('encoder', dict.fromkeys(names, 1e38))
    assert refusal(embed, folder, EmbedConfig, embedding=embedding) == ALL + GIVEN + '.'


def test_distances_that_are_not_finite_are_not_given(tmp_path, change_weights):
    folder = shutil.copytree(FIXTURE / 'encoder', tmp_path / 'encoder')
    # each is finite, their sums are not
    change_weights(folder, lambda tensors: tensors['heads.distances.weight'].fill_(3e38))
    assert refusal(predict_distances, folder, DistancesConfig).startswith('The model gives no finite numbers for ')


def test_the_first_sample_and_their_number_are_named():
    values = np.array([[1.0, 2.0], [np.nan, 1.0], [1.0, 1.0], [np.inf, -np.inf]])
    with pytest.raises(UserError) as error:
        check_finite(values, ['a', 'b', 'c', 'd'], TRAINED)
    assert str(error.value) == (
        "The model gives no finite numbers for 2 samples (e.g. 'b'): its weights have grown too large; lower "
        'learning_rate, or set precision to float32.'
    )
    with pytest.raises(UserError, match=r"^The model gives no finite numbers for 1 sample \('\\x1b'\): its weights"):
        check_finite(np.array([np.nan]), ['\x1b'], GIVEN)
    check_finite(np.zeros((0, 3)), [], GIVEN)
    check_finite(values[[0, 2]], ['a', 'c'], GIVEN)


NOT_TRAINED = (
    r'^The model gives no finite numbers for \d+ samples \(e\.g\. .*\): its weights have grown too large; lower'
)


def test_an_ensemble_without_finite_outputs_ends_training_in_a_sentence(tiny, fitted, classified, monkeypatch):
    combine = AbundanceEnsemble.combine
    monkeypatch.setattr(AbundanceEnsemble, 'combine', lambda self, by_kind: combine(self, by_kind) * np.nan)
    for train in (fitted, classified):
        with pytest.raises(UserError, match=NOT_TRAINED):
            train(tiny)


def test_a_network_without_finite_outputs_for_some_sample_ends_training_in_a_sentence(tiny, fitted, monkeypatch):
    outputs = StudyReader.outputs

    def spoil_last(self, network, head, rows):
        values = outputs(self, network, head, rows)
        # only where all samples are asked for, after training
        values[rows == len(self.study) - 1] = np.inf if len(rows) == len(self.study) else 0
        return values

    monkeypatch.setattr(StudyReader, 'outputs', spoil_last)
    with pytest.raises(UserError) as error, np.errstate(all='ignore'):
        fitted(tiny, abundance_ensemble=False)
    assert str(error.value) == (
        "The model gives no finite numbers for 1 sample ('sample-of-visit-23'): its weights have grown too large; "
        'lower learning_rate, or set precision to float32.'
    )


def test_an_encoder_without_finite_embeddings_ends_training_in_a_sentence(tiny, pretrained, monkeypatch):
    embeddings = StudyReader.embeddings

    def spoil(self, network, rows):
        parts = embeddings(self, network, rows)
        return dataclasses.replace(parts, summary=parts.summary / 0)

    monkeypatch.setattr(StudyReader, 'embeddings', spoil)
    with pytest.raises(UserError, match=NOT_TRAINED):
        pretrained(tiny, matrix=False)
