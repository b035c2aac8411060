"""What a model knows of its samples comes back from a bundle, and a part of it or a damaged one is refused."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
import torch

from q2_aam import bundle
from q2_aam.bundle.domain import ARRAYS, Domain
from q2_aam.bundle.files import array_types
from q2_aam.bundle.tensors import DIFFICULTIES
from q2_aam.data.signs import Signs
from q2_aam.errors import UserError
from q2_aam.stats.familiarity import Familiarity
from q2_aam.stats.separation import distance_quantiles

FIXTURE = pathlib.Path(__file__).parents[1] / 'data' / 'bundle-v1'


@pytest.fixture
def domain():
    """Of 40 samples of 20 groups, on 12 ASVs."""
    random = np.random.default_rng(3)
    samples, groups = random.gamma(0.5, 2, (40, 12)), np.repeat(np.arange(20), 2)
    familiarity, distances = Familiarity.fit(samples, groups, random, unit_length=True)
    return Domain(familiarity, distance_quantiles(distances, groups))


def refusal(folder):
    with pytest.raises(UserError) as error:
        bundle.load(folder)
    return str(error.value)


def test_its_arrays_give_it_back(domain):
    arrays = domain.arrays()
    assert {name: str(array.dtype) for name, array in arrays.items()} == ARRAYS
    again = Domain.from_arrays(arrays | {'calibration.scores': np.ones(3)}, 12)
    new = np.random.default_rng(4).gamma(0.5, 2, (7, 12))
    assert again.familiarity.distance(new).tolist() == domain.familiarity.distance(new).tolist()
    assert again.quantiles.tolist() == domain.quantiles.tolist()
    # no sample, and nothing of which there is one for each sample
    assert not any(40 in array.shape or 20 in array.shape for array in arrays.values())


def test_it_is_none_where_there_are_no_arrays():
    assert Domain.from_arrays({'calibration.scores': np.ones(3)}, 12) is None


@pytest.mark.parametrize('name', ARRAYS)
def test_a_part_of_its_arrays_is_refused_by_name(domain, name):
    arrays = domain.arrays()
    del arrays[name]
    with pytest.raises(ValueError) as error:
        Domain.from_arrays(arrays, 12)
    assert str(error.value) == f'The model lacks the numbers {name}; train it again.'


def test_one_of_other_features_or_with_damaged_quantiles_is_refused(domain):
    with pytest.raises(ValueError, match='it has 12 features instead of 11; train the model again'):
        Domain.from_arrays(domain.arrays(), 11)
    for damaged in (domain.quantiles[::-1].copy(), domain.quantiles - 1, domain.quantiles[:50]):
        with pytest.raises(ValueError, match='distances of left-out groups of the model are damaged'):
            Domain(domain.familiarity, damaged)


def test_a_bundle_gives_back_how_far_and_how_hard_samples_are(regressor, tmp_path):
    model = bundle.load(regressor)
    folder = tmp_path / 'again'
    folder.mkdir()
    bundle.save(folder, model, json.loads((regressor / bundle.CARD_FILE).read_text()))
    again = bundle.load(folder)
    for one, two in (
        (model.domain.arrays(), again.domain.arrays()),
        (model.config.target.difficulty.arrays(), again.config.target.difficulty.arrays()),
    ):
        assert {name: array.tolist() for name, array in one.items()} == {
            name: array.tolist() for name, array in two.items()
        }
    assert again.config.min_coverage == model.config.min_coverage and 0 < min(model.config.min_coverage) < 1
    assert again.config.target.lowest == 0.0 and again.config.target.calibration == model.config.target.calibration


@pytest.mark.parametrize('name', [*ARRAYS, *DIFFICULTIES])
def test_a_bundle_that_lacks_a_part_is_refused_by_name(regressor, change_weights, name):
    change_weights(regressor, lambda tensors: tensors.pop(name))
    assert refusal(regressor) == f'The model lacks the numbers {name}; train it again.'


@pytest.mark.parametrize(
    'name, value, expected',
    [
        ('familiarity.units', torch.full((5,), torch.nan).double(), 'are not all numbers; train it again.'),
        ('familiarity.units', torch.zeros(5).double(), 'The familiarity of the model is damaged'),
        ('familiarity.center', torch.zeros(3), 'The familiarity of the model is damaged'),
        ('familiarity.quantiles', torch.arange(101.0, 0, -1).double(), 'left-out groups of the model are damaged'),
        ('difficulty.coefficients', torch.full((6,), -1.0).double(), 'The difficulty of the model is damaged'),
        ('difficulty.intercept', torch.zeros(1), 'are of the type F32 instead of F64'),
    ],
)  # fmt: skip
def test_a_damaged_one_is_refused_in_one_sentence(regressor, change_weights, name, value, expected):
    change_weights(regressor, lambda tensors: tensors.update({name: value}))
    message = refusal(regressor)
    assert expected in message and message.count('. ') == 0 and message.endswith('.') and '\n' not in message


def test_a_difficulty_of_other_features_is_refused(regressor, change_weights):
    def cut(tensors):
        for name in ('coefficients', 'lowest', 'highest'):
            tensors[f'difficulty.{name}'] = tensors[f'difficulty.{name}'][:4].clone()

    change_weights(regressor, cut)
    assert refusal(regressor) == (
        'The difficulty of the model belongs to another model: it has 4 features instead of 6; train the model again.'
    )


def test_without_an_ensemble_a_bundle_can_have_neither(regressor):
    config = bundle.read_config(regressor)
    with_one, without = array_types(config), array_types(dataclasses.replace(config, blend=None))
    both = {*ARRAYS, *DIFFICULTIES}
    assert both <= set(with_one) and not both & set(without)


@pytest.mark.parametrize('kind', [bundle.REGRESSOR, bundle.CLASSIFIER])
def test_older_bundles_are_read_as_before(kind):
    model = bundle.load(FIXTURE / kind)
    fields = json.loads((FIXTURE / kind / bundle.CONFIG_FILE).read_text())
    assert 'min_coverage' not in fields and model.config.min_coverage == (0.0, 0.0)
    assert model.ensemble is not None and model.domain is None
    if kind == bundle.REGRESSOR:
        target = model.config.target
        assert 'lowest' not in fields['target'] and target.lowest is None and target.difficulty is None
        assert target.sqrt and not target.calibration.by_difficulty
        # on the scale of the calibration all intervals are as wide, without signs and with any
        outputs = np.array([[-0.5], [0.0], [3.0]])
        columns, roots = target.columns(outputs), {}
        for name, values in target.columns(outputs, Signs.unknown(3)).items():
            assert values.tolist() == columns[name].tolist()
            roots[name] = np.sqrt(values)
        assert np.ptp(roots['upper_bound'] - roots['prediction']) == pytest.approx(0)


@pytest.mark.parametrize('shares', [[0.5], [0.5, 1.5], ['a', 0.1], 0.5, None])
def test_a_least_coverage_that_is_none_is_refused(regressor, change_json, shares):
    change_json(regressor / bundle.CONFIG_FILE, lambda fields: fields.update(min_coverage=shares))
    assert refusal(regressor).startswith(
        "The least coverage of the model's config.json must be two numbers from 0 to 1"
    )


@pytest.mark.parametrize('lowest', ['0', True, 1e30])
def test_a_lowest_value_that_is_none_is_refused(regressor, change_json, lowest):
    change_json(regressor / bundle.CONFIG_FILE, lambda fields: fields['target'].update(lowest=lowest))
    assert refusal(regressor).startswith('The lowest value of the target must be a number')
