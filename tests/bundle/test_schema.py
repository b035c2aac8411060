"""What a model's configuration may say, and the sentence in which everything else is refused."""

import json
import pathlib
import re

import numpy as np
import pytest

from q2_aam import bundle
from q2_aam.bundle.schema import BundleConfig, Target
from q2_aam.config import AUTO
from q2_aam.stats.conformal import Calibration, calibrate

FIXTURE = pathlib.Path(__file__).parent / 'data' / 'bundle-v1'


def fields_of(kind):
    return json.loads((FIXTURE / kind / bundle.CONFIG_FILE).read_text())


def refusal(fields):
    with pytest.raises(ValueError) as error:
        BundleConfig.from_json(json.dumps(fields))
    return str(error.value)


@pytest.mark.parametrize('kind', bundle.CALLS)
def test_what_was_read_is_written_as_it_was(kind):
    text = (FIXTURE / kind / bundle.CONFIG_FILE).read_text()
    assert BundleConfig.from_json(text).to_json() == text
    # an encoder has no part that only models with a target have
    assert {'references', 'blend'} & set(json.loads(text)) == (
        set() if kind == bundle.ENCODER else {'references', 'blend'}
    )


@pytest.mark.parametrize(
    'place, change, sentence',
    [
        ('model', {'depth': 3}, 'The configuration group model has a field that this version does not know: depth.'),
        ('model', {'width': [16]}, "Parameter width must be a whole number from 8 to 8192 or 'auto', but it is [16]."),
        ('training', {'mask_fraction': 7}, 'Parameter mask_fraction must be a number from 0.01 to 0.9, but it is 7.'),
    ],
)
def test_a_parameter_that_is_unknown_or_out_of_bounds_is_named(place, change, sentence):
    fields = fields_of('encoder')
    fields['call'][place].update(change)
    assert refusal(fields) == f"In the model's config.json: {sentence}"


def test_a_parameter_that_is_missing_is_named():
    fields = fields_of('encoder')
    del fields['call']['training']['mask_fraction']
    assert refusal(fields) == (
        "In the model's config.json: The configuration group training lacks the field mask_fraction."
    )


def test_a_form_of_the_model_that_is_left_to_be_derived_is_refused():
    fields = fields_of('encoder')
    fields['call']['model']['width'] = AUTO
    assert refusal(fields) == "The model's config.json gives 'auto' for width, where a value must stand."


@pytest.mark.parametrize('kind', ['clusterer', ['encoder'], None])
def test_an_unknown_kind_is_refused(kind):
    assert refusal(fields_of('encoder') | {'kind': kind}) == (
        f'The kind of a model must be one of encoder, regressor, classifier, but it is {kind!r}.'
    )


@pytest.mark.parametrize('divisor', [0, -1.5, 'two', True, float('nan')])
def test_a_distance_divisor_that_is_not_above_0_is_refused(divisor):
    assert refusal(fields_of('encoder') | {'distance_divisor': divisor}) == (
        f"The model's config.json has the distance divisor {divisor!r}, which is not above 0."
    )


NO_COVERAGE = 'The target must have a calibration and a coverage above 0 and below 1, or neither, but its coverage is '


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        (
            {'scale': 0, 'center': 1.5},
            'The target must have a name, a finite center and a scale above 0, but it has the name '
            "'age', the center 1.5 and the scale 0.",
        ),
        (
            {'scale': 2, 'center': float('inf')},
            'The target must have a name, a finite center and a scale above 0, but it has the name '
            "'age', the center inf and the scale 2.",
        ),
        ({'unit': 'years'}, "The model's target of config.json has a field that format version 1 does not know: unit."),
        ({'root': 1}, 'The target must say true or false of its root, but it says 1.'),
        ({'quantiles': None}, 'The target must say true or false of its quantiles, but it says None.'),
        (
            {'quantiles': True},
            'The calibration of the target must be by difficulty if, and only if, it has quantiles.',
        ),
        ({'coverage': 1}, f'{NO_COVERAGE}1.'),
        ({'coverage': None}, f'{NO_COVERAGE}None.'),
        ({'coverage': 'most'}, f"{NO_COVERAGE}'most'."),
        ({'calibration': None}, f'{NO_COVERAGE}0.9.'),
        ({'calibration': [1]}, f'{NO_COVERAGE}0.9.'),
        (
            {'calibration': {}},
            "The model's calibration of config.json lacks the field by_difficulty of format version 1.",
        ),
        (
            {'calibration': None, 'coverage': None},
            "The target of the model's config.json has no calibration for its prediction intervals; train it again.",
        ),
    ],
)
def test_a_target_that_cannot_be_told_is_refused(change, sentence):
    fields = fields_of('regressor')
    fields['target'].update(change)
    assert refusal(fields) == sentence


@pytest.mark.parametrize(
    'change',
    [
        {'scores': 3},
        {'members': 0},
        {'members': [0]},
        {'scores': []},
        {'scores': [1.0]},
        {'scores': [float('nan')] * 6},
        {'group': [2] * 6},
        {'group': '1'},
        {'group': [0, 1, 10**9, 2, 3, 4]},
    ],
)
def test_a_calibration_that_is_none_is_refused(change):
    fields = fields_of('regressor')
    assert len(fields['target']['calibration']['scores']) == 6
    fields['target']['calibration'].update(change)
    assert refusal(fields).startswith('The calibration of a model must be sorted scores of 0 or more, ')


@pytest.mark.parametrize('part, called', [('target', 'a target'), ('references', 'references')])
def test_a_part_that_goes_with_a_kind_of_model_is_there_with_it_only(part, called):
    of_regressor = fields_of('regressor')
    sentence = f"The model's config.json must have {called} if, and only if, it is a regressor or a classifier."
    for kind in ('regressor', 'classifier'):
        assert refusal(fields_of(kind) | {part: None}) == sentence
    assert refusal(fields_of('encoder') | {part: of_regressor[part]}) == sentence


def test_references_with_other_numbers_are_refused_by_name():
    fields = fields_of('classifier')
    fields['references']['radius'] = 2
    assert refusal(fields) == (
        "The model's references of config.json has a field that format version 1 does not know: radius."
    )
    del fields['references']['radius'], fields['references']['kmer']
    assert refusal(fields) == "The model's references of config.json lacks the field kmer of format version 1."


def test_a_model_with_a_target_needs_no_blend_and_an_encoder_has_none():
    fields = fields_of('regressor')
    blend = fields.pop('blend')
    config = BundleConfig.from_json(json.dumps(fields))
    assert config.blend is None and list(config.arrays) == ['references']
    assert refusal(fields_of('encoder') | {'blend': blend}) == (
        "The model's config.json has a blend, but an encoder predicts nothing."
    )


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        (
            {'network': -0.5, 'profile': 1},
            'The weights of a blend must be numbers of at least 0 and not both 0, but it is '
            'Blend(network=-0.5, profile=1, alone=1.0, members=3).',
        ),
        (
            {'network': 0, 'profile': 0},
            'The weights of a blend must be numbers of at least 0 and not both 0, but it is '
            'Blend(network=0, profile=0, alone=1.0, members=3).',
        ),
        (
            {'network': 'half', 'profile': True},
            'The weights of a blend must be numbers of at least 0 and not both 0, but it is '
            "Blend(network='half', profile=True, alone=1.0, members=3).",
        ),
        ({'alone': 0}, 'The weight of a network alone must be a number above 0, but it is 0.'),
        ({'alone': 'all'}, "The weight of a network alone must be a number above 0, but it is 'all'."),
        ({'members': 0}, 'The members of a blend must be a whole number above 0, but they are 0.'),
        ({'members': 3.0}, 'The members of a blend must be a whole number above 0, but they are 3.0.'),
        ({'members': True}, 'The members of a blend must be a whole number above 0, but they are True.'),
        ({'members': [3]}, 'The members of a blend must be a whole number above 0, but they are [3].'),
        ({'forest': 1}, "The model's blend of config.json has a field that format version 1 does not know: forest."),
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
    assert refusal(fields) == "The model's blend of config.json lacks the field members of format version 1."


@pytest.mark.parametrize(('known', 'share'), [(1.0, 1.0), (0.8, 1.0), (0.5, 1.0), (0.25, 0.5), (0.1, 0.2), (0.0, 0.0)])
def test_a_blend_is_each_output_times_its_weight_and_leaves_to_the_network_what_is_not_known(known, share):
    network, profile = np.array([[1.0, 2.0]]), np.array([[-4.0, 8.0]])
    found = bundle.Blend(0.5, 0.25, 3.0, 3).outputs(network, profile, np.array([known]))
    assert found == pytest.approx(share * (0.5 * network + 0.25 * profile) + (1 - share) * 3 * network)


def test_a_blend_leaves_to_the_network_what_of_each_sample_is_not_known():
    found = bundle.Blend(0.5, 0.5, 1.0, 3).outputs(np.zeros((3, 1)), np.full((3, 1), 8.0), np.array([1.0, 0.25, 0.0]))
    assert found.tolist() == [[4], [2], [0]]


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        ({'temperature': 0}, 'The temperature must be a number above 0, but it is 0.'),
        ({'temperature': float('nan')}, 'The temperature must be a number above 0, but it is nan.'),
        ({'temperature': '1'}, "The temperature must be a number above 0, but it is '1'."),
        (
            {'classes': ['a', 'b', 'a'], 'temperature': 1},
            "The target must have a name and two different classes or more, but it is Classes(name='stage', "
            "classes=('a', 'b', 'a'), temperature=1).",
        ),
        (
            {'classes': 'ab', 'temperature': 1},
            "The target must have a name and two different classes or more, but it is Classes(name='stage', "
            "classes='ab', temperature=1).",
        ),
        (
            {'classes': [1, 2, 3], 'temperature': 1},
            "The target must have a name and two different classes or more, but it is Classes(name='stage', "
            'classes=(1, 2, 3), temperature=1).',
        ),
        ({'center': 1.0}, "The model's target of config.json has a field that format version 1 does not know: center."),
    ],
)
def test_classes_that_cannot_be_told_are_refused(change, sentence):
    fields = fields_of('classifier')
    fields['target'].update(change)
    assert refusal(fields) == sentence


def test_columns_of_a_target_are_prediction_and_interval_in_its_unit():
    outputs = np.array([[0.0], [1.5]])
    assert {name: list(column) for name, column in Target('age', 10.0, 2.0).columns(outputs).items()} == {
        'prediction': [10, 13]
    }
    # of 4 groups and a new one, 3 of 5 have an error up to the third
    target = Target('age', 10.0, 2.0, calibrate([0.5, -1.0, 2.0, 4.0]), 0.6)
    assert {name: list(column) for name, column in target.columns(outputs).items()} == {
        'prediction': [10, 13],
        'lower_bound': [8, 11],
        'upper_bound': [12, 15],
    }


def test_intervals_of_quantiles_are_as_wide_as_these_are_apart():
    calibration = calibrate([1.0, 2.0], difficulty=[0.5, 0.5])
    target = Target('age', 10.0, 2.0, calibration, 0.5, quantiles=True)
    assert target.outputs == 3
    # outer quantiles 4 and 16, 9 and 10; crossed ones count as a tenth of a standard deviation
    outputs = np.array([[0.0, -3.0, 3.0], [1.0, -0.5, 0.0], [2.0, 1.0, -1.0]])
    assert target.difficulty(outputs) == pytest.approx([6, 0.5, 0.2])
    columns = target.columns(outputs)
    assert columns['prediction'] == pytest.approx([10, 12, 14])
    # three quarters of two groups and a new one: the larger of the scores 2 and 4
    assert columns['upper_bound'] - columns['prediction'] == pytest.approx([6 * 4, 0.5 * 4, 0.2 * 4])
    assert columns['prediction'] - columns['lower_bound'] == pytest.approx([6 * 4, 0.5 * 4, 0.2 * 4])
    assert Target('age', 0.0, 1.0).difficulty(outputs) is None


def test_a_square_root_is_scaled_and_squared_again_and_never_predicts_below_0():
    target = Target('age', 2.0, 0.5, calibrate([1.0]), 0.5, root=True)
    values = np.array([0.0, 4.0, 9.0])
    assert target.scaled(values).tolist() == [-4, 0, 2]
    assert target.unscaled(target.scaled(values)).tolist() == [0, 4, 9]
    # below the root of 0 nothing is left to be squared
    columns = target.columns(np.array([[-4.5], [-100.0], [4.0]]))
    assert columns['prediction'].tolist() == [0, 0, 16]
    # intervals are in the unit of the column
    assert columns['upper_bound'].tolist() == [1, 1, 17]


def test_a_calibration_without_coverage_is_no_target():
    with pytest.raises(ValueError, match=re.escape(f'{NO_COVERAGE}None.')):
        Target('age', 0.0, 1.0, Calibration([0.5], [0]))
