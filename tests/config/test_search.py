"""What is searched, and settings: read from JSON with every value checked, and put where a user gave nothing."""

import dataclasses
import json

import pytest

from q2_aam.config import FitClassifierConfig, FitRegressorConfig
from q2_aam.config.fields import check_value
from q2_aam.config.search import SPACE, SearchConfig, Settings, calls, read_settings, space_of
from q2_aam.errors import UserError


def names(config, encoder=False, distances=False, **search):
    return [space.name for space in space_of(config, SearchConfig(**search), encoder, distances)]


@pytest.mark.parametrize('space', SPACE, ids=lambda space: space.name)
def test_every_value_that_is_tried_is_allowed_in_every_fit(space):
    for call in calls().values():
        known = {opt.name: opt for opt in call.options()}
        assert set(space.with_default) <= set(known)
        for value in space.choices or (space.low, space.high):
            check_value(known[space.name], value)
            call.from_flat({space.name: value})


def test_what_is_searched_follows_from_what_is_given():
    alone, started = names(FitRegressorConfig()), names(FitClassifierConfig(), encoder=True)
    assert {'width', 'asv_layers', 'learning_rate', 'abundance_ensemble'} <= set(alone)
    assert not {'freeze', 'distance_weight'} & set(alone)
    assert 'freeze' in started and not {'width', 'nucleotide_weight'} & set(started)
    assert 'distance_weight' in names(FitRegressorConfig(), distances=True)


def test_what_is_given_otherwise_than_by_default_is_not_searched():
    config = FitRegressorConfig.from_flat({'learning_rate': 0.002, 'attention_heads': 4, 'head_layers': 0})
    assert not {'learning_rate', 'width', 'head_dropout'} & set(names(config))
    assert names(config, search_parameters=('asv_dropout',)) == ['asv_dropout']


@pytest.mark.parametrize(
    ('given', 'asked', 'message'),
    [
        ({'width': 64}, 'width', 'names width, but width is given; leave width at its default.'),
        ({'attention_heads': 2}, 'width', 'names width, but attention_heads is given; leave attention_heads at its '),
        ({}, 'freeze', 'names freeze, but that needs an encoder; leave it out.'),
        ({}, 'distance_weight', 'names distance_weight, but that needs a distance matrix; leave it out.'),
    ],
)
def test_what_is_asked_for_and_does_not_apply_is_said(given, asked, message):
    with pytest.raises(UserError, match=f'^Parameter search_parameters {message}'):
        names(FitRegressorConfig.from_flat(given), search_parameters=(asked,))


def test_nothing_left_to_search_is_said():
    given = {space.name: (space.choices or (space.high,))[-1] for space in SPACE}
    config = FitRegressorConfig.from_flat(given | {'nucleotide_weight': 0.3, 'abundance_ensemble': False})
    with pytest.raises(UserError, match='^There is nothing to search: every parameter of the search is given; leave '):
        names(config)


def test_settings_come_back_as_they_were_written():
    settings = Settings('classifier', True, {'freeze': 'none', 'learning_rate': 0.001, 'weights_of_classes': []})
    assert read_settings(settings.to_json()) == settings


GOOD = {'format_version': 1, 'kind': 'regressor', 'encoder': False, 'parameters': {'width': 64}}


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{', 'The settings are not JSON.'),
        ('[' * 100000, 'The settings are not JSON.'),
        ('[]', 'The settings must be an object with the fields encoder, format_version, kind, parameters.'),
        ({'more': 1}, 'The settings must be an object with the fields encoder, format_version, kind, parameters.'),
        ({'format_version': 2}, 'The settings must have format_version 1; use the version of q2-aam that made them, '),
        ({'format_version': True}, 'The settings must have format_version 1; '),
        ({'kind': 'encoder'}, 'The kind of settings must be regressor or classifier, and encoder true or false.'),
        ({'kind': []}, 'The kind of settings must be regressor or classifier, and encoder true or false.'),
        ({'encoder': 1}, 'The kind of settings must be regressor or classifier, and encoder true or false.'),
        ({'parameters': []}, 'The parameters of settings must be an object.'),
        ({'parameters': {'depth': 1}}, "The settings have a parameter that no fit takes from them: 'depth'."),
        # where work is done is not theirs to say
        ({'parameters': {'rendezvous': 'a:1'}}, "The settings have a parameter that no fit takes from them: 'rende"),
        ({'parameters': {'tracker': 'wandb'}}, "The settings have a parameter that no fit takes from them: 'tracker'"),
        ({'parameters': {'random_seed': 1}}, "The settings have a parameter that no fit takes from them: 'random_s"),
        ({'parameters': {'width': 'wide'}}, "Parameter width must be a whole number from 8 to .* but it is 'wide'."),
        ({'parameters': {'asv_dropout': 2.0}}, 'Parameter asv_dropout must be a number from 0.0 to 0.9, but it is 2.0'),
        ({'parameters': {'asv_dropout': float('nan')}}, 'Parameter asv_dropout must be a number from 0.0 to 0.9, but'),
        (
            {'parameters': {'width': 60, 'attention_heads': 7}},
            r'Parameter width \(60\) must be a multiple of attention',
        ),
    ],
)
def test_other_settings_are_refused_in_one_sentence(text, message):
    given = text if isinstance(text, str) else json.dumps(GOOD | text)
    with pytest.raises(ValueError, match=f'^{message}'):
        read_settings(given)
    assert read_settings(json.dumps(GOOD)).parameters == {'width': 64}


def test_settings_take_the_place_of_defaults_alone():
    settings = Settings('regressor', False, {'width': 64, 'learning_rate': 0.001, 'abundance_ensemble': False})
    config = settings.applied(FitRegressorConfig.from_flat({'learning_rate': 0.003, 'epochs': 5}), encoder=False)
    assert config.training.learning_rate == 0.003 and config.training.epochs == 5
    assert config.model.width == 64 and not config.training.abundance_ensemble


def test_one_line_says_what_settings_change_and_what_is_given_all_the_same():
    settings = Settings('regressor', False, {'width': 64, 'learning_rate': 0.001})
    assert settings.describe(FitRegressorConfig.from_flat({'learning_rate': 0.003})) == (
        'Settings: width 64; as given, all the same: learning_rate 0.003 (found: 0.001).'
    )
    assert Settings('regressor', False, {}).describe(FitRegressorConfig()) == 'Settings: all is as by default.'


@pytest.mark.parametrize(
    ('settings', 'encoder', 'given', 'message'),
    [
        ({'kind': 'classifier'}, False, {}, 'were found for a classifier, but this is a regressor; search again with '),
        ({'encoder': True}, False, {}, 'were found with an encoder, but none is given; search again, or fit as the '),
        ({}, True, {}, 'were found without an encoder, but one is given; search again, or fit as the search did.'),
        ({}, False, {'attention_heads': 7}, 'do not go with the parameters that are given: Parameter width .64. must '),
    ],
)
def test_settings_that_do_not_fit_are_said(settings, encoder, given, message):
    one = dataclasses.replace(Settings('regressor', False, {'width': 64}), **settings)
    with pytest.raises(UserError, match=f'^The settings {message}'):
        one.applied(FitRegressorConfig.from_flat(given), encoder)
