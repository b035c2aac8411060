"""Inputs that are given and not learned from are named."""

import dataclasses
import types
import warnings

import pytest

from q2_aam.config import FitRegressorConfig, PretrainConfig
from q2_aam.errors import AAMWarning
from q2_aam.objectives import Inputs, warn_of_unused


def context(config, named=False, **inputs):
    return types.SimpleNamespace(
        inputs=Inputs('table.biom', **inputs), config=config, study=types.SimpleNamespace(named=named)
    )


@pytest.mark.parametrize(
    ('call', 'name', 'weights', 'words'),
    [
        (PretrainConfig, 'distance_matrix', ['distance_weight'], 'distance_weight is 0'),
        (PretrainConfig, 'taxonomy', ['taxonomy_weight'], 'taxonomy_weight is 0'),
        (PretrainConfig, 'alpha_diversity', ['alpha_diversity_weight'], 'alpha_diversity_weight is 0'),
        (FitRegressorConfig, 'distance_matrix', ['distance_weight'], 'distance_weight is 0'),
        (FitRegressorConfig, 'extra_targets', ['extra_target_weight'], 'extra_target_weight is 0'),
    ],
)
def test_an_input_whose_weight_is_0_is_named(call, name, weights, words):
    config = call.from_flat(dict.fromkeys(weights, 0.0))
    with pytest.warns(AAMWarning) as warned:
        warn_of_unused(context(config, **{name: 'given'}))
    assert [str(one.message) for one in warned] == [
        f'Input {name} is given, but {words}, so that the model learns nothing from it; raise it, or leave {name} out.'
    ]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warn_of_unused(context(config))
        warn_of_unused(context(call.from_flat({}), **{name: 'given'}))


def test_a_phylogeny_serves_two_objectives():
    config = PretrainConfig.from_flat({'distance_weight': 0.0, 'faith_pd_weight': 0.0})
    with pytest.warns(AAMWarning) as warned:
        warn_of_unused(context(config, phylogeny='given'))
    assert str(warned[0].message) == (
        'Input phylogeny is given, but distance_weight and faith_pd_weight are 0, so that the model learns nothing '
        'from it; raise one of them, or leave phylogeny out.'
    )
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        one = PretrainConfig.from_flat({'distance_weight': 0.0, 'faith_pd_weight': 0.5})
        warn_of_unused(context(one, phylogeny='given'))
        # what features without sequences share is used anyway
        warn_of_unused(context(config, named=True, phylogeny='given'))


def test_every_weight_of_an_input_is_looked_at():
    """A weight of a loss that needs an input is in the table, or it needs none."""
    from q2_aam.objectives.unused import WEIGHTS_OF

    names = {opt.name for call in (PretrainConfig, FitRegressorConfig) for opt in call.options()}
    weights = {name for name in names if name.endswith('_weight')}
    known = {name for of_input in WEIGHTS_OF.values() for name in of_input}
    assert weights - known == {'nucleotide_weight', 'abundance_weight'} and known <= weights
    assert set(WEIGHTS_OF) <= {field.name for field in dataclasses.fields(Inputs)}
