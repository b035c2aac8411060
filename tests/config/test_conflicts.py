"""Options that contradict each other, and lists that cannot be read: one sentence each, before anything is read."""

import pytest

from q2_aam.config import FitClassifierConfig, FitRegressorConfig, PretrainConfig

RANGE = {'output_activation': 'sigmoid', 'output_range': [0, 1]}


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (
            {'quantiles': [0.5]},
            'Parameter quantiles is of no use where loss is huber; set loss to quantile, or leave quantiles at its '
            'default.',
        ),
        (
            {'loss': 'quantile', 'quantiles': [0.9, 0.1]},
            'Parameter quantiles must be numbers above 0 and below 1 in ascending order, each of them once, but it is '
            '0.9 0.1.',
        ),
        (
            {'loss': 'quantile', 'quantiles': [0.0, 0.1]},
            'Parameter quantiles must be numbers above 0 and below 1 in ascending order, each of them once, but it is '
            '0 0.1.',
        ),
        (
            {'loss': 'quantile', 'quantiles': [0.1, 0.1]},
            'Parameter quantiles must be numbers above 0 and below 1 in ascending order, each of them once, but it is '
            '0.1 0.1.',
        ),
        (
            {'loss': 'quantile', 'quantiles': [0.1, 1.1]},
            'Each of quantiles must be a number from 0.0 to 1.0, but it is 1.1.',
        ),
        (
            {'over_penalty': 2.0},
            'Parameter over_penalty is of no use where loss is huber; set loss to asymmetric, or leave over_penalty at '
            'its default.',
        ),
        (
            {'loss': 'asymmetric', 'over_penalty': 0.0},
            'Parameters over_penalty (0) and under_penalty (1) must both be above 0: errors in a direction that costs '
            'nothing would grow without limit.',
        ),
        (
            {'output_activation': 'sigmoid'},
            'Parameter output_activation is sigmoid, which needs an output_range: give the lowest and the highest '
            'value that the target can have.',
        ),
        (
            {'output_range': [0, 1]},
            'Parameter output_range is of no use where output_activation is none; set output_activation to relu or '
            'softplus or exp or sigmoid, or leave output_range at its default.',
        ),
        (
            RANGE | {'output_range': [1, 0]},
            'Parameter output_range must be two numbers, the lower one first, but it is 1 0.',
        ),
        (
            RANGE | {'output_range': [1]},
            'Parameter output_range must be two numbers, the lower one first, but it is 1.',
        ),
        (
            {'head_layers': 0, 'residual_head': True},
            'Parameter residual_head is True, but head_layers is 0, so that the head is linear; raise head_layers, or '
            'leave residual_head at its default.',
        ),
        (
            {'head_layers': 0, 'head_dropout': 0.1},
            'Parameter head_dropout is 0.1, but head_layers is 0, so that the head is linear; raise head_layers, or '
            'leave head_dropout at its default.',
        ),
        (
            {'momentum': 0.5},
            'Parameter momentum is of no use where optimizer is adamw; set optimizer to sgd, or leave momentum at its '
            'default.',
        ),
        (
            {'restarts': 3},
            'Parameter restarts is of no use where schedule is warmup_cosine; set schedule to cosine_restarts, or '
            'leave restarts at its default.',
        ),
        (
            {'plateau_factor': 0.1, 'schedule': 'constant'},
            'Parameter plateau_factor is of no use where schedule is constant; set schedule to plateau, or leave '
            'plateau_factor at its default.',
        ),
        (
            {'max_asvs_per_sample': 2.5},
            'Parameter max_asvs_per_sample must be a whole number of ASVs, or a share of the reads below 1, but it is '
            '2.5.',
        ),
        (
            {'select_by': 'accuracy'},
            "Parameter select_by must be one of auto, loss, mae, rmse, r2, but it is 'accuracy'.",
        ),
        (
            {'learning_rate': 'seek'},
            "Parameter learning_rate must be a number from 1e-08 to 1.0 or 'auto' or 'find', but it is 'seek'.",
        ),
    ],
)
def test_a_regressor_that_contradicts_itself_is_refused_in_one_sentence(options, sentence):
    with pytest.raises(ValueError) as error:
        FitRegressorConfig.from_flat(options)
    assert str(error.value) == sentence


WEIGHTS = {'class_weights': 'given', 'weights_of_classes': ['a=1', 'b=2']}


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (
            {'class_weights': 'given'},
            'Parameter class_weights is given, but weights_of_classes is not given; set class_weights to given and '
            'give a weight for every class, or neither.',
        ),
        (
            WEIGHTS | {'class_weights': 'balanced'},
            'Parameter class_weights is balanced, but weights_of_classes is given; set class_weights to given and '
            'give a weight for every class, or neither.',
        ),
        (
            WEIGHTS | {'weights_of_classes': ['a=1', 'b']},
            'Each of weights_of_classes must be the name of another class, =, and a number, such as case=3, but one is '
            "'b'.",
        ),
        (
            WEIGHTS | {'weights_of_classes': ['a=1', 'a=2']},
            'Each of weights_of_classes must be the name of another class, =, and a number, such as case=3, but one is '
            "'a=2'.",
        ),
        (
            WEIGHTS | {'weights_of_classes': ['a=1', 'b=-2']},
            "Each weight of weights_of_classes must be a number from 0 to 1e+06, but that of 'b' is -2.",
        ),
        (
            WEIGHTS | {'weights_of_classes': ['a=0', 'b=0']},
            'The weights of weights_of_classes must not all be 0.',
        ),
    ],
)
def test_weights_of_classes_that_make_no_sense_are_refused_in_one_sentence(options, sentence):
    with pytest.raises(ValueError) as error:
        FitClassifierConfig.from_flat(options)
    assert str(error.value) == sentence


def test_a_name_of_a_class_may_hold_an_equals_sign():
    options = WEIGHTS | {'weights_of_classes': ['pH=7=2', 'pH=8=0.5']}
    assert FitClassifierConfig.from_flat(options).training.class_weight_of == {'pH=7': 2.0, 'pH=8': 0.5}


def test_lists_may_be_given_as_lists_or_as_nothing_and_come_back_so():
    options = {'loss': 'quantile', 'quantiles': [0.1, 0.9]}
    config = FitRegressorConfig.from_flat(options)
    assert config.training.quantiles == (0.1, 0.9)
    assert config.to_flat()['quantiles'] == [0.1, 0.9] and config.to_flat()['output_range'] is None
    assert FitRegressorConfig.from_flat(config.to_flat()) == config
    for nothing in (None, []):
        assert FitRegressorConfig.from_flat({'quantiles': nothing}) == FitRegressorConfig()


def test_every_training_knows_its_learning_rate_can_be_found():
    assert PretrainConfig.from_flat({'learning_rate': 'find'}).training.learning_rate == 'find'
