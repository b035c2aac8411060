"""The configuration of a call travels whole: out as a dictionary, back as the same objects."""

import dataclasses
import json

import pytest

from q2_aam.config import (
    Call,
    ClusterRuntime,
    CrossValidateClassifierConfig,
    CrossValidateConfig,
    DistancesConfig,
    EmbedConfig,
    FitClassifierConfig,
    FitRegressorConfig,
    Group,
    ModelConfig,
    PredictClassesConfig,
    PredictConfig,
    PretrainConfig,
    RuntimeConfig,
    option,
)
from tests.values import another_than_default, sets_of_values

CALLS = [
    PretrainConfig,
    FitRegressorConfig,
    FitClassifierConfig,
    PredictConfig,
    PredictClassesConfig,
    DistancesConfig,
    EmbedConfig,
    CrossValidateConfig,
    CrossValidateClassifierConfig,
]


@pytest.mark.parametrize('call', CALLS)
def test_the_default_is_what_a_call_without_values_gets(call):
    assert call.from_flat({}) == call()
    assert {opt.name: opt.default for opt in call.options()} == {
        name: value for group in dataclasses.asdict(call()).values() for name, value in group.items()
    }


@pytest.mark.parametrize('call', CALLS)
def test_every_field_at_another_value_than_its_default_comes_back_through_json(call):
    changed = set()
    for values in sets_of_values(call, another_than_default):
        changed |= {opt.name for opt in call.options() if values.get(opt.name, opt.default) != opt.default}
        config = call.from_flat(values)
        again = call.from_dict(json.loads(json.dumps(dataclasses.asdict(config))))
        assert again == config
        flat = {name: value for group in dataclasses.asdict(again).values() for name, value in group.items()}
        assert {name: flat[name] for name in values} == values
    assert changed == {opt.name for opt in call.options()}


@pytest.mark.parametrize('call', CALLS)
def test_a_parameter_stands_in_one_group_only(call):
    names = [opt.name for opt in call.options()]
    assert len(set(names)) == len(names)
    assert [opt.group for opt in call.options()] == [
        name for name, group in call.groups().items() for _ in group.options()
    ]


def test_flat_values_go_to_their_groups_and_the_others_keep_their_default():
    config = FitRegressorConfig.from_flat({'width': 64, 'test_fraction': 0.0, 'threads': 3})
    assert config == FitRegressorConfig(
        data=dataclasses.replace(FitRegressorConfig().data, test_fraction=0.0),
        model=ModelConfig(width=64),
        runtime=ClusterRuntime(threads=3),
    )


def test_flat_values_are_checked():
    with pytest.raises(ValueError, match='^Parameter threads must be a whole number from 0 to 4096, but it is -1.$'):
        PredictConfig.from_flat({'threads': -1})


def nested():
    return dataclasses.asdict(DistancesConfig())


@pytest.mark.parametrize(
    'change, sentence',
    [
        (
            lambda d: d | {'magic': {}},
            "The configuration has a field that this version does not know: 'magic'; use the version of q2-aam that "
            'made it, or a later one.',
        ),
        (lambda d: [d], "The configuration must be an object, but it is [{'data': "),
        (lambda d: None, 'The configuration must be an object, but it is None.'),
        (lambda d: {'runtime': 'cpu'}, "The configuration group runtime must be an object, but it is 'cpu'."),
        (
            lambda d: {'runtime': d['runtime'] | {'speed': 1, 'zeal': 2}},
            "The configuration group runtime has a field that this version does not know: 'speed'; use the ",
        ),
        (
            lambda d: {'runtime': d['runtime'] | {'device': 'tpu'}},
            "Parameter device must be one of auto, cpu, cuda, but it is 'tpu'.",
        ),
        (
            lambda d: {'runtime': d['runtime'] | {'threads': None}},
            'Parameter threads must be a whole number from 0 to 4096, but it is None.',
        ),
    ],
)
def test_a_dictionary_of_unknown_fields_or_wrong_values_is_refused_by_name(change, sentence):
    with pytest.raises(ValueError) as error:
        DistancesConfig.from_dict(change(nested()))
    assert str(error.value).startswith(sentence)


@dataclasses.dataclass(frozen=True)
class NewerGroup(Group):
    group = 'newer'
    changed: bool = option(True, 'What earlier versions did not do.', absent=False)
    same: int = option(3, 'What earlier versions did as the default does.', low=1, high=9)


@dataclasses.dataclass(frozen=True)
class NewerCall(Call):
    runtime: RuntimeConfig = RuntimeConfig()
    newer: NewerGroup = NewerGroup()


@pytest.mark.parametrize(
    'written, expected',
    [
        ({'runtime': {'threads': 2}, 'newer': {'same': 5}}, NewerGroup(changed=False, same=5)),
        ({'runtime': {'threads': 2}, 'newer': {'changed': True}}, NewerGroup(changed=True, same=3)),
        ({'runtime': {'threads': 2}}, NewerGroup(changed=False, same=3)),
    ],
)
def test_what_an_older_version_did_not_write_takes_the_value_that_means_as_it_was_then(written, expected):
    assert NewerCall.from_dict(written) == NewerCall(RuntimeConfig(threads=2), expected)


def test_a_call_that_gives_no_value_gets_the_default_and_not_the_value_of_older_versions():
    assert NewerCall.from_flat({}).newer.changed is True
