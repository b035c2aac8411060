"""Cross-validation has the parameters of a fit, with folds instead of a test split, and passes them on unchanged."""

import dataclasses

import pytest

from q2_aam.config import (
    CrossValidateClassifierConfig,
    CrossValidateConfig,
    FitClassifierConfig,
    FitRegressorConfig,
    PretrainConfig,
)


@pytest.mark.parametrize(
    'call, fit', [(CrossValidateConfig, FitRegressorConfig), (CrossValidateClassifierConfig, FitClassifierConfig)]
)
def test_it_has_what_a_fit_has_with_folds_instead_of_the_test_split(call, fit):
    names, of_fit = ({opt.name for opt in one.options()} for one in (call, fit))
    # one job of several machines is one training
    assert of_fit - names == {'test_fraction', 'random_forest', 'nodes', 'rendezvous'}
    assert names - of_fit == {'folds', 'leave_one_group_out', 'repeats', 'baselines'}


@pytest.mark.parametrize(
    'call', [PretrainConfig, FitRegressorConfig, CrossValidateConfig, CrossValidateClassifierConfig]
)
def test_flat_values_make_the_same_configuration_again(call):
    config = call.from_flat({'width': 64, 'random_seed': 3})
    assert call.from_flat(config.to_flat()) == config
    assert list(config.to_flat()) == [opt.name for opt in call.options()]
    assert config.to_flat()['width'] == 64


def test_a_number_of_folds_below_2_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match=r'^Parameter folds must be a whole number from 2 to 1000, but it is 1\.$'):
        CrossValidateConfig.from_flat({'folds': 1})


def test_a_bundle_holds_no_parameters_of_cross_validation():
    assert 'folds' not in dataclasses.asdict(FitRegressorConfig())
