"""Covariates in a bundle: they come back as they were, and what anybody may have written is refused by name."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from q2_aam import bundle
from q2_aam.bundle.schema import WEIGHTS_SHA256
from q2_aam.data.covariates import Covariates
from q2_aam.errors import UserError

WEIGHTS = 'a' * 64


def text_of(folder, change=lambda fields: None):
    """Return config.json of a bundle whose covariates are changed."""
    fields = json.loads((folder / bundle.CONFIG_FILE).read_text())
    change(fields['covariates'])
    return json.dumps(fields)


def test_a_schema_comes_back_as_it_was(facility_regressor):
    config = bundle.read_config(facility_regressor.folder)
    assert config.covariates.names == ['facility', 'visit']
    again = bundle.BundleConfig.from_json(config.to_json(WEIGHTS))
    assert again == config and again.covariates.categorical[0].categories == ('north', 'south', 'west')
    read = config.covariates.read(facility_regressor.covariates, list(facility_regressor.covariates.index))
    assert isinstance(read, Covariates) and (read.codes > 0).all() and read.known.all()


def test_the_whole_model_comes_back(facility_regressor, tmp_path):
    model = bundle.load(facility_regressor.folder)
    card = json.loads((facility_regressor.folder / bundle.CARD_FILE).read_text())
    bundle.save(tmp_path, model, {name: value for name, value in card.items() if name != 'config_sha256'})
    one, two = (load_file(folder / bundle.MODEL_FILE) for folder in (facility_regressor.folder, tmp_path))
    assert set(one) == set(two) and all(np.array_equal(one[name], two[name]) for name in one)
    assert bundle.read_config(tmp_path).covariates == model.config.covariates
    assert model.ensemble.covariates == model.config.covariates
    assert model.ensemble.known.shape[1] == model.ensemble.asvs + model.config.covariates.width


def set_in(kind, name, value):
    return lambda fields: fields[kind][0].update({name: value})


@pytest.mark.parametrize(
    'change, sentence',
    [
        (
            lambda fields: fields.update(more=1),
            "The model's covariates of config.json has a field that format version 1 does not know: 'more'; use the "
            'version of q2-aam that made it, or train the model again.',
        ),
        (
            set_in('numeric', 'unit', 'g'),
            "The model's covariates of config.json has a field that format version 1 does not know: 'unit'; use the "
            'version of q2-aam that made it, or train the model again.',
        ),
        (
            lambda fields: fields.update(numeric=3),
            "The numeric columns in the model's covariates of config.json must be a list, but they are 3.",
        ),
        (
            lambda fields: fields.update(numeric=[3]),
            "The model's covariates of config.json must be an object, but it is",
        ),
        (
            lambda fields: fields.update(numeric=[], categorical=[]),
            'The model must have 1 to 64 covariates, but it has 0.',
        ),
        (
            lambda fields: fields.update(numeric=fields['numeric'] * 64),
            'The model must have 1 to 64 covariates, but it has 65.',
        ),
        (
            set_in('numeric', 'name', 'facility'),
            "Covariates of the model must have different names, but two are named 'facility'.",
        ),
        (set_in('numeric', 'name', 7), 'Covariates of the model must have names of text, but one is 7.'),
        (
            set_in('numeric', 'name', 'a\x1b[2J'),
            r'Covariates of the model must not contain tabs, line breaks or other control characters, but one is named '
            r"'a\x1b[2J'.",
        ),
        (
            set_in('numeric', 'scale', 0.0),
            "Covariate 'visit' of the model must have a center from -1e+18 to 1e+18 and a scale from 1e-18 to 1e+18, "
            'but it has the center',
        ),
        (set_in('numeric', 'center', 'mean'), "but it has the center 'mean' and the scale"),
        (
            set_in('categorical', 'categories', []),
            "The covariate 'facility' of the model must have 1 to 1,000 categories, but they are [].",
        ),
        (
            set_in('categorical', 'categories', ['a', 'a', 'b']),
            "Categories of covariate 'facility' of the model must have different names, but two are named 'a'.",
        ),
        (
            set_in('categorical', 'categories', ['a', 'nan', 'b']),
            "Categories of covariate 'facility' of the model must not be words that QIIME 2 reads as a missing value, "
            "but one is named 'nan'.",
        ),
        (
            set_in('categorical', 'shares', [0.5, 0.5]),
            "The covariate 'facility' of the model must have a share for each category, with a sum of 1, but has "
            '[0.5, 0.5].',
        ),
        (set_in('categorical', 'shares', [1.0, 1.0, -1.0]), 'with a sum of 1, but has [1.0, 1.0, -1.0].'),
        (
            lambda fields: fields.update(ensemble_scale=0),
            'The scale of covariates of the model must be a number from 1e-06 to 1e+06, but it is 0.',
        ),
        (
            lambda fields: fields['categorical'].extend(
                {'name': f'c{n}', 'categories': [f'x{k}' for k in range(1000)], 'shares': [0.001] * 1000}
                for n in range(4)
            ),
            'The covariates of the model have 4,010 entries, of at most 4,000.',
        ),
    ],
)
def test_a_schema_that_could_not_have_been_learned_is_refused(facility_regressor, change, sentence):
    with pytest.raises(ValueError) as error:
        bundle.BundleConfig.from_json(text_of(facility_regressor.folder, change))
    assert sentence in str(error.value)
    assert '\n' not in str(error.value) and '\x1b' not in str(error.value)


def test_an_encoder_has_no_covariates(facility_regressor, tiny_encoder):
    fields = json.loads((tiny_encoder.folder / bundle.CONFIG_FILE).read_text())
    fields['covariates'] = json.loads(text_of(facility_regressor.folder))['covariates']
    with pytest.raises(ValueError, match="^The model's config.json has covariates, but an encoder reads none.$"):
        bundle.BundleConfig.from_json(json.dumps(fields))


def test_a_schema_of_another_model_is_refused_by_the_shapes_of_its_weights(facility_regressor, tmp_path):
    folder = tmp_path / 'other'
    shutil.copytree(facility_regressor.folder, folder)

    def longer(fields):
        fields['categorical'][0].update(categories=['a', 'b', 'c', 'd'], shares=[0.25] * 4)

    content = text_of(folder, longer).encode()
    (folder / bundle.CONFIG_FILE).write_bytes(content)
    card = json.loads((folder / bundle.CARD_FILE).read_text())
    card['config_sha256'] = hashlib.sha256(content).hexdigest()
    (folder / bundle.CARD_FILE).write_text(json.dumps(card))
    with pytest.raises(UserError, match='^The weights covariates.category of the model have the shape'):
        bundle.load(folder)


def test_older_models_have_no_covariates(tiny_regressor):
    fields = json.loads((tiny_regressor.folder / bundle.CONFIG_FILE).read_text())
    assert fields.pop('covariates') is None and fields['call'].pop('covariates')
    config = bundle.BundleConfig.from_json(json.dumps(fields | {WEIGHTS_SHA256: WEIGHTS}))
    assert config.covariates is None and config == bundle.read_config(tiny_regressor.folder)
