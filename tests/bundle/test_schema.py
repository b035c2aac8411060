"""What a model's configuration may say, and the sentence in which everything else is refused."""

import json
import pathlib

import pytest

from q2_aam import bundle
from q2_aam.bundle import BundleConfig
from q2_aam.config import AUTO, HeadConfig, PretrainConfig

FIXTURE = pathlib.Path(__file__).parents[1] / 'data' / 'bundle-v1'
UNKNOWN = (
    "The model's {} has a field that format version 1 does not know: {!r}; use the version of q2-aam that made it, or "
    'train the model again.'
)
LACKS = (
    "The model's {} lacks the field {} of format version 1, so that it cannot be read; train the model again with this "
    'version of q2-aam.'
)


def fields_of(kind):
    return json.loads((FIXTURE / kind / bundle.CONFIG_FILE).read_text())


def refusal(fields):
    with pytest.raises(ValueError) as error:
        BundleConfig.from_json(json.dumps(fields))
    return str(error.value)


def whole(old, new):
    """Tell whether an object has all that another has, and each object in it, too."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(name in new and whole(value, new[name]) for name, value in old.items())
    return old == new


@pytest.mark.parametrize('kind', bundle.CALLS)
def test_what_was_read_is_written_as_it_was(kind):
    text = (FIXTURE / kind / bundle.CONFIG_FILE).read_text()
    config, checksum = BundleConfig.from_json(text), json.loads(text)['weights_sha256']
    again = config.to_json(checksum)
    assert BundleConfig.from_json(again) == config and config.to_json(checksum) == again
    # newer versions say more, and nothing else
    assert whole(json.loads(text), json.loads(again))
    # an encoder has nothing that only models with a target have
    there = {name for name in ('target', 'references', 'blend') if json.loads(text).get(name) is not None}
    assert there == (set() if kind == bundle.ENCODER else {'target', 'references', 'blend'})


@pytest.mark.parametrize(
    'place, change, sentence',
    [
        (
            'model',
            {'depth': 3},
            "The configuration group model has a field that this version does not know: 'depth'; use the version of "
            'q2-aam that made it, or a later one.',
        ),
        ('model', {'width': [16]}, "Parameter width must be a whole number from 8 to 8192 or 'auto', but it is [16]."),
        ('training', {'mask_ratio': 7}, 'Parameter mask_ratio must be a number from 0.01 to 0.9, but it is 7.'),
    ],
)
def test_a_parameter_that_is_unknown_or_out_of_bounds_is_named(place, change, sentence):
    fields = fields_of('encoder')
    fields['call'][place].update(change)
    assert refusal(fields) == f"In the model's config.json: {sentence}"


def test_a_parameter_that_a_bundle_lacks_takes_its_default():
    fields = fields_of('encoder')
    fields['call']['training'].pop('mask_ratio')
    fields['call'].pop('runtime')
    call = BundleConfig.from_json(json.dumps(fields)).call
    assert call.training.mask_ratio == PretrainConfig().training.mask_ratio
    assert call.runtime == PretrainConfig().runtime


def test_a_parameter_that_meant_something_else_before_it_was_there_takes_the_value_of_then(monkeypatch):
    field = PretrainConfig().training.__dataclass_fields__['weight_decay']
    monkeypatch.setattr(field, 'metadata', {**field.metadata, 'absent': 0.5})
    # what was declared is read once
    monkeypatch.setattr('q2_aam.config.fields._OPTIONS', {})
    fields = fields_of('encoder')
    del fields['call']['training']['weight_decay']
    assert BundleConfig.from_json(json.dumps(fields)).call.training.weight_decay == 0.5 != field.default


@pytest.mark.parametrize(
    ('place', 'name', 'default'),
    [
        ((), 'distance_divisor', None),
        ((), 'blend', None),
        (('target',), 'sqrt', False),
        (('target',), 'quantiles', False),
    ],
)
def test_a_field_that_a_bundle_lacks_takes_its_default(place, name, default):
    fields = fields_of('regressor')
    of_place, value = fields, None
    for part in place:
        of_place = of_place[part]
    del of_place[name]
    value = BundleConfig.from_json(json.dumps(fields))
    for part in place:
        value = getattr(value, part)
    assert getattr(value, name) is default


@pytest.mark.parametrize('name', ['kind', 'call', 'heads'])
def test_a_field_that_every_bundle_has_is_named_where_it_is_missing(name):
    fields = fields_of('encoder')
    del fields[name]
    assert refusal(fields) == LACKS.format('config.json', name)


@pytest.mark.parametrize(
    ('place', 'where'),
    [
        ((), 'config.json'),
        (('target',), 'target of config.json'),
        (('blend',), 'blend of config.json'),
        (('references',), 'references of config.json'),
        (('heads', 'target'), "head 'target' of config.json"),
    ],
)
def test_an_unknown_field_is_named_wherever_it_stands(place, where):
    fields = fields_of('regressor')
    inside = fields
    for part in place:
        inside = inside[part]
    inside['flavour'] = 'sweet'
    assert refusal(fields) == UNKNOWN.format(where, 'flavour')


def test_a_newer_format_version_is_refused_whatever_else_it_says():
    assert refusal(fields_of('encoder') | {'format_version': 2, 'more': 1}) == (
        'The model has format version 2, but this version of q2-aam reads up to 1; update q2-aam.'
    )


OF_ANOTHER_TARGET = (
    "The model's config.json must have a head of {} outputs for its target; use a model that this plugin has made."
)


@pytest.mark.parametrize(
    ('heads', 'sentence'),
    [
        (['target'], "The heads of the model's config.json must be objects by name, but they are ['target']."),
        ({'target': 3}, "The heads of the model's config.json must be objects by name, but they are {'target': 3}."),
        ({'target': {'outputs': 1}}, LACKS.format("head 'target' of config.json", 'kind')),
        (
            {'target': {'kind': 'memory'}},
            OF_ANOTHER_TARGET.format(1),
        ),
        (
            {'target': {'kind': 'target', 'outputs': 0}},
            OF_ANOTHER_TARGET.format(1),
        ),
    ],
)
def test_heads_that_cannot_be_told_are_refused(heads, sentence):
    assert refusal(fields_of('regressor') | {'heads': heads}) == sentence


@pytest.mark.parametrize('heads', [{}, {'target': {'kind': 'target', 'outputs': 2}}, {'age': {'kind': 'target'}}])
def test_a_target_without_a_head_of_as_many_outputs_is_refused(heads):
    for head in heads.values():
        head.setdefault('outputs', 1)
    assert refusal(fields_of('regressor') | {'heads': heads}) == OF_ANOTHER_TARGET.format(1)
    fields = fields_of('classifier')
    fields['target']['classes'].append('adult')
    assert refusal(fields) == OF_ANOTHER_TARGET.format(3)


def test_a_distance_divisor_without_a_head_for_distances_is_refused():
    assert refusal(fields_of('encoder') | {'heads': {}}) == (
        "The model's config.json has a distance divisor, but no head for distances; use a model that this plugin has "
        'made.'
    )


def test_heads_are_read_by_their_names():
    assert BundleConfig.from_json(json.dumps(fields_of('regressor'))).heads == {
        'distances': HeadConfig('distances'),
        'target': HeadConfig('target', 1),
    }


def test_a_form_of_the_model_that_is_left_to_be_derived_is_refused():
    fields = fields_of('encoder')
    fields['call']['model']['width'] = AUTO
    assert refusal(fields) == "The model's config.json gives 'auto' for width, where a value must stand."


@pytest.mark.parametrize('kind', ['clusterer', ['encoder'], None])
def test_an_unknown_kind_is_refused(kind):
    assert refusal(fields_of('encoder') | {'kind': kind}) == (
        f'The kind of a model must be one of encoder, regressor, classifier, but it is {kind!r}.'
    )


@pytest.mark.parametrize('divisor', [0, -1.5, 'two', True, float('nan'), 5e-324, 1e39])
def test_a_distance_divisor_that_distances_cannot_have_is_refused(divisor):
    assert refusal(fields_of('encoder') | {'distance_divisor': divisor}) == (
        "The distance divisor of the model's config.json must be a number above 0 and at most 3e+38, but it is "
        f'{divisor!r}.'
    )


SCALING = (
    'The target must have a center from -1e+18 to 1e+18 and a scale from 1e-30 to 1e+19, but it has the center {} and '
    'the scale {}.'
)


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        ({'scale': 0, 'center': 1.5}, SCALING.format(1.5, 0)),
        ({'scale': 1e308, 'center': 1.5}, SCALING.format(1.5, '1e+308')),
        ({'scale': 5e-324, 'center': 1.5}, SCALING.format(1.5, '5e-324')),
        ({'scale': 2, 'center': float('inf')}, SCALING.format('inf', 2)),
        ({'scale': 2, 'center': 'middle'}, SCALING.format("'middle'", 2)),
        ({'unit': 'years'}, UNKNOWN.format('target of config.json', 'unit')),
        # its arrays stand beside the weights
        ({'calibration': {'scores': [1.0]}}, UNKNOWN.format('target of config.json', 'calibration')),
        ({'sqrt': 1}, 'sqrt of the target must be true or false, but it is 1.'),
        ({'quantiles': None}, 'quantiles of the target must be true or false, but it is None.'),
        ({'coverage': 1}, 'The coverage of the target must lie between 0 and 1, but it is 1.'),
        ({'coverage': 'most'}, "The coverage of the target must lie between 0 and 1, but it is 'most'."),
        (
            {'coverage': None},
            "The target of the model's config.json has no coverage for its intervals; train it again.",
        ),
    ],
)
def test_a_target_that_cannot_be_told_is_refused(change, sentence):
    fields = fields_of('regressor')
    fields['target'].update(change)
    assert refusal(fields) == sentence


def test_what_goes_with_a_kind_of_model_is_there_with_it_only():
    of_regressor = fields_of('regressor')
    sentence = "The model's config.json must have target if, and only if, it is a regressor or a classifier."
    for kind in ('regressor', 'classifier'):
        assert refusal(fields_of(kind) | {'target': None}) == sentence
        assert refusal(fields_of(kind) | {'references': None}) == (
            f"The model's config.json lacks references, which a {kind} must have; train the model again."
        )
    assert refusal(fields_of('encoder') | {'target': of_regressor['target']}) == sentence


def test_an_encoder_may_have_references_and_need_not():
    fields = fields_of('encoder')
    assert BundleConfig.from_json(json.dumps(fields)).references is None
    numbers = fields_of('regressor')['references']
    assert BundleConfig.from_json(json.dumps(fields | {'references': numbers})).references == numbers


def test_references_with_other_numbers_are_refused_by_name():
    fields = fields_of('classifier')
    fields['references']['radius'] = 2
    assert refusal(fields) == UNKNOWN.format('references of config.json', 'radius')
    del fields['references']['radius'], fields['references']['kmer']
    assert refusal(fields) == LACKS.format('references of config.json', 'kmer')


def test_a_model_with_a_target_needs_no_blend_and_an_encoder_has_none():
    fields = fields_of('regressor')
    blend = fields.pop('blend')
    config = BundleConfig.from_json(json.dumps(fields))
    assert config.blend is None
    assert refusal(fields_of('encoder') | {'blend': blend}) == (
        "The model's config.json has a blend, but an encoder predicts nothing."
    )


WEIGHT = 'The weight {} of a blend must be a number from {} to 1e+06, but it is {}.'
MEMBERS = 'The members of a blend must be a whole number from 1 to 1,024, but they are {}.'
KINDS = 'The kinds of a blend must be some of perceptrons, linear, extra_trees, but they are {}.'
KIND = 'The weight of the kind {} of a blend must be a number from 1e-06 to 1e+06, but it is {}.'


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        ({'network': -0.5, 'ensemble': 1}, WEIGHT.format('network', 0, -0.5)),
        ({'network': 1.7e308, 'ensemble': 1}, WEIGHT.format('network', 0, '1.7e+308')),
        ({'network': 1, 'ensemble': float('nan')}, WEIGHT.format('ensemble', 0, 'nan')),
        ({'network': 1, 'ensemble': True}, WEIGHT.format('ensemble', 0, True)),
        ({'kinds': {}}, KINDS.format('{}')),
        ({'kinds': {'forest': 1.0}}, KINDS.format("{'forest': 1.0}")),
        ({'kinds': {'linear': 1.0, 'Linear': 1.0}}, KINDS.format("{'linear': 1.0, 'Linear': 1.0}")),
        ({'kinds': ['linear']}, KINDS.format("['linear']")),
        ({'kinds': None}, KINDS.format('None')),
        ({'kinds': {'linear': 0}}, KIND.format('linear', 0)),
        ({'kinds': {'linear': 1.0, 'extra_trees': -1}}, KIND.format('extra_trees', -1)),
        ({'kinds': {'linear': 1e7}}, KIND.format('linear', '10000000.0')),
        ({'kinds': {'linear': '1'}}, KIND.format('linear', "'1'")),
        ({'kinds': {'linear': True}}, KIND.format('linear', 'True')),
        ({'network': 0, 'ensemble': 0}, 'The weights network and ensemble of a blend must not both be 0.'),
        ({'network': 0, 'ensemble': 5e-324}, 'The weights network and ensemble of a blend must not both be 0.'),
        ({'network_alone': 0}, WEIGHT.format('network_alone', 1e-06, 0)),
        ({'ensemble_alone': 'all'}, WEIGHT.format('ensemble_alone', 1e-06, "'all'")),
        ({'ensemble_alone': 1.7e308}, WEIGHT.format('ensemble_alone', 1e-06, '1.7e+308')),
        ({'members': 0}, MEMBERS.format(0)),
        ({'members': 1025}, MEMBERS.format(1025)),
        ({'members': 3.0}, MEMBERS.format('3.0')),
        ({'members': True}, MEMBERS.format(True)),
        ({'members': [3]}, MEMBERS.format([3])),
    ],
)
def test_a_blend_that_cannot_be_told_is_refused(change, sentence):
    fields = fields_of('regressor')
    fields['blend'].update(change)
    assert refusal(fields) == sentence


def test_a_blend_that_is_no_object_or_lacks_a_field_is_refused():
    fields = fields_of('classifier')
    assert refusal(fields | {'blend': 0.5}) == "The model's blend of config.json must be an object, but it is 0.5."
    del fields['blend']['members']
    assert refusal(fields) == LACKS.format('blend of config.json', 'members')


TEMPERATURE = 'The temperature must be a number from 1e-06 to 1e+06, but it is {}.'
CLASSES = 'The target must have two different classes or more, but it has {}.'


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        ({'temperature': 0}, TEMPERATURE.format(0)),
        ({'temperature': float('nan')}, TEMPERATURE.format('nan')),
        ({'temperature': '1'}, TEMPERATURE.format("'1'")),
        ({'temperature': 5e-324}, TEMPERATURE.format('5e-324')),
        ({'temperature': 1e7}, TEMPERATURE.format('10000000.0')),
        ({'classes': ['a', 'b', 'a']}, CLASSES.format("('a', 'b', 'a')")),
        ({'classes': 'ab'}, CLASSES.format("'ab'")),
        ({'classes': [1, 2, 3]}, CLASSES.format((1, 2, 3))),
        ({'classes': [['a'], ['b']]}, CLASSES.format((['a'], ['b']))),
        ({'center': 1.0}, UNKNOWN.format('target of config.json', 'center')),
    ],
)
def test_classes_that_cannot_be_told_are_refused(change, sentence):
    fields = fields_of('classifier')
    fields['target'].update(change)
    assert refusal(fields) == sentence
