"""A parameter is written down once, in config/: all that QIIME 2 shows and checks follows from it."""

import ast
import dataclasses
import inspect
import pathlib

import numpy as np
import pandas as pd
import pytest
import qiime2
from qiime2.plugin import Bool
from qiime2.sdk.util import parse_primitive

import q2_aam
from q2_aam.actions import cross_validate, fit, predict, pretrain
from q2_aam.actions.signature import default_of, descriptions, flat, parameters, qiime_type
from q2_aam.config import (
    AUTO,
    Call,
    CrossValidateClassifierConfig,
    CrossValidateConfig,
    FitClassifierConfig,
    FitRegressorConfig,
    Group,
    PredictConfig,
    PretrainConfig,
    RuntimeConfig,
    option,
)
from tests.values import sets_of_values

CALLS = {'pretrain': PretrainConfig, 'fit_regressor': FitRegressorConfig, 'predict': PredictConfig}
FUNCTIONS = {'pretrain': pretrain.pretrain, 'fit_regressor': fit.fit_regressor, 'predict': predict.predict}
OPTIONS = [(name, opt) for name, call in CALLS.items() for opt in call.options()]
IDS = [f'{name}-{opt.name}' for name, opt in OPTIONS]


@dataclasses.dataclass(frozen=True)
class LongerRuntime(RuntimeConfig):
    """The group runtime with one more field: all that a new parameter needs."""

    spare_gb: float | str = option(AUTO, 'Memory to leave alone.', low=0.5, high=8.0)


@dataclasses.dataclass(frozen=True)
class Switches(Group):
    group = 'switches'
    sorted_first: bool = option(True, 'Whether to sort.', advanced=True)


@dataclasses.dataclass(frozen=True)
class LongerCall(Call):
    runtime: LongerRuntime = LongerRuntime()
    switches: Switches = Switches()


def other_value(opt):
    """A value that is allowed and is not the default."""
    # width must be a multiple of attention_heads, and a number of ASVs whole
    chosen = {'width': 24, 'attention_heads': 3, 'max_asvs_per_sample': 7.0}
    if opt.name in chosen:
        return chosen[opt.name]
    if opt.choices:
        return next(word for word in opt.choices if word != opt.default)
    if opt.kind is bool:
        return not opt.default
    return opt.kind(opt.low + (opt.high - opt.low) / 3)


@pytest.mark.parametrize('name, opt', OPTIONS, ids=IDS)
def test_default_and_help_come_from_the_field(plugin, name, opt):
    spec = plugin.actions[name].signature.parameters[opt.name]
    assert spec.default == default_of(opt)
    assert spec.description == ('[advanced] ' if opt.advanced else '') + opt.help


@pytest.mark.parametrize('name', CALLS)
def test_parameters_keep_the_order_of_the_fields_with_advanced_ones_last(plugin, name):
    views = ('metadata', 'groups', 'covariates', 'split', 'extra_targets', 'scale_by', 'sample_weights')
    names = [key for key in plugin.actions[name].signature.parameters if key not in views]
    options = CALLS[name].options()
    plain, advanced = ([opt.name for opt in options if opt.advanced is last] for last in (False, True))
    assert plain and advanced and names == plain + advanced


@pytest.mark.parametrize(
    'name', ['width', 'learning_rate', 'coverage', 'test_fraction', 'random_seed', 'class_weights', 'folds', 'abstain']
)
def test_what_users_choose_is_not_advanced(name):
    calls = [*CALLS.values(), FitClassifierConfig, CrossValidateConfig]
    options = [opt for call in calls for opt in call.options() if opt.name == name]
    assert options and not any(opt.advanced for opt in options)


@pytest.mark.parametrize('name, opt', [pair for pair in OPTIONS if pair[1].kind in (int, float) and not pair[1].many])
def test_bounds_are_part_of_the_type_and_inclusive(name, opt):
    kind = qiime_type(opt)
    assert opt.low in kind
    assert opt.low - 1 not in kind
    if opt.name != 'threads':
        assert opt.high in kind
        assert opt.high + 1 not in kind


def test_a_value_out_of_bounds_is_refused_before_anything_runs(plugin, small, recorded):
    for bad in ({'width': 7}, {'learning_rate': 2.0}, {'epochs': 'many'}, {'device': 'tpu'}, {'batch_size': 2.5}):
        name, value = next(iter(bad.items()))
        with pytest.raises(TypeError, match=f"Parameter '{name}' received {value!r}"):
            plugin.actions['pretrain'](table=small.table, **bad)
    assert recorded == []


def test_what_no_type_can_say_is_refused_in_one_sentence_before_anything_runs(plugin, small, recorded):
    with pytest.raises(ValueError, match=r'^Parameter width \(16\) must be a multiple of attention_heads \(5\)\.$'):
        plugin.actions['pretrain'](table=small.table, width=16, attention_heads=5)
    with pytest.raises(ValueError, match=r'^Parameter learning_rate must be a number .* but it is nan\.$'):
        plugin.actions['pretrain'](table=small.table, learning_rate=float('nan'))
    assert recorded == []


@pytest.mark.parametrize(
    'name, text, value',
    [
        ('width', '64', 64),
        ('width', 'auto', 'auto'),
        ('learning_rate', '0.5', 0.5),
        ('learning_rate', '1e-3', 0.001),
        ('learning_rate', '1', 1),
        ('learning_rate', 'auto', 'auto'),
        ('learning_rate', 'find', 'find'),
        ('random_seed', '7', 7),
        ('weight_decay', '1', 1),
        ('device', 'cpu', 'cpu'),
    ],
)
def test_a_value_typed_on_the_command_line_is_understood(name, text, value):
    kind = parameters(PretrainConfig)[name]
    parsed = parse_primitive(kind, text)
    assert parsed == value
    assert parsed in kind


@pytest.mark.parametrize('name', CALLS)
def test_every_value_reaches_the_library_inside_one_configuration(small, recorded, name):
    call, function = CALLS[name], FUNCTIONS[name]
    views = {'metadata': small.metadata.get_column('age')} if name == 'fit_regressor' else {}
    views |= {'regressor': 'a folder'} if name == 'predict' else {}
    arrived = set()
    for values in sets_of_values(call, other_value):
        function(table='a file', **views, **values)
        config = next(part for part in recorded.pop().given if isinstance(part, Call))
        assert config == call.from_flat(values)
        for group, kind in call.groups().items():
            arrived |= {opt.name for opt in kind.options() if getattr(getattr(config, group), opt.name) != opt.default}
    assert arrived == {opt.name for opt in call.options()}


def test_a_new_field_appears_with_no_other_line_changed():
    @flat(LongerCall)
    def act(table: str, *, config: LongerCall) -> (str,):
        return config

    assert set(parameters(LongerCall)) - set(parameters(PredictConfig)) == {'spare_gb', 'sorted_first'}
    assert descriptions(LongerCall)['spare_gb'] == 'Memory to leave alone.'
    assert descriptions(LongerCall)['sorted_first'] == '[advanced] Whether to sort.'
    assert list(parameters(LongerCall))[-1] == 'sorted_first'
    assert 8.0 in parameters(LongerCall)['spare_gb'] and 'auto' in parameters(LongerCall)['spare_gb']
    assert 8.1 not in parameters(LongerCall)['spare_gb']
    assert parameters(LongerCall)['sorted_first'] == Bool
    assert act.__annotations__['spare_gb'] == float | str
    assert act(table='t').runtime.spare_gb == 'auto'
    config = act(table='t', spare_gb=2, sorted_first=False)
    assert (config.runtime.spare_gb, config.switches.sorted_first) == (2.0, False)


def test_what_takes_no_configuration_or_a_parameter_twice_is_refused():
    with pytest.raises(TypeError, match='act must take a parameter named config'):

        @flat(PredictConfig)
        def act(table: str) -> (str,):
            return table

    with pytest.raises(TypeError, match='twice takes device itself'):

        @flat(PredictConfig)
        def twice(device: str, *, config: PredictConfig) -> (str,):
            return device


def test_the_signature_of_an_action_is_its_own():
    @flat(PredictConfig)
    def act(table: str, *, config: PredictConfig) -> (str,):
        return table

    # the framework would follow it back to the function that takes a config
    assert not hasattr(act, '__wrapped__')
    assert act.__name__ == 'act'
    assert list(act.__annotations__) == ['table', *parameters(PredictConfig), 'return']


def test_numbers_of_numpy_become_plain_ones_and_a_fraction_is_not_rounded():
    @flat(PretrainConfig)
    def act(*, config: PretrainConfig) -> (str,):
        return config

    config = act(batch_size=np.int64(8), learning_rate=1)
    assert type(config.training.batch_size) is int and type(config.training.learning_rate) is float
    with pytest.raises(TypeError, match='float'):
        act(batch_size=8.5)


def test_auto_threads_of_newer_frameworks_mean_all():
    @flat(PredictConfig)
    def act(*, config: PredictConfig) -> (str,):
        return config

    assert act(threads='auto').runtime.threads == 0


PIPELINES = {
    'cross_validate': (cross_validate.cross_validate, CrossValidateConfig),
    'cross_validate_classifier': (cross_validate.cross_validate_classifier, CrossValidateClassifierConfig),
}
INPUTS = [
    'table', 'metadata', 'sequences', 'encoder', 'distance_matrix', 'groups', 'covariates', 'sites', 'split',
    'extra_targets', 'scale_by', 'sample_weights', 'settings', 'taxonomy', 'phylogeny',
]  # fmt: skip


def inputs_of(name):
    """Classes are scaled by nothing."""
    return [one for one in INPUTS if one != 'scale_by' or name == 'cross_validate']


@pytest.mark.parametrize('name', PIPELINES)
def test_a_pipeline_has_its_parameters_with_order_and_defaults_but_no_annotations(name):
    function, call = PIPELINES[name]
    signature = inspect.signature(function)
    assert list(signature.parameters) == ['ctx', *inputs_of(name), *parameters(call)]
    defaults = {key: param.default for key, param in signature.parameters.items() if param.default is not param.empty}
    assert defaults == dict.fromkeys(inputs_of(name)[2:]) | {opt.name: default_of(opt) for opt in call.options()}
    assert all(param.annotation is param.empty for param in signature.parameters.values())
    assert function.__annotations__ == {}


@pytest.mark.parametrize('name', PIPELINES)
def test_the_framework_gives_a_pipeline_the_same_parameters_without_the_context(plugin, name):
    function, call = PIPELINES[name]
    action = plugin.pipelines[name]
    for caller in (action.__call__, action.asynchronous):
        parameters_of_caller = inspect.signature(caller).parameters
        assert list(parameters_of_caller) == [*inputs_of(name), *parameters(call)]
        for opt in call.options():
            assert parameters_of_caller[opt.name].default == default_of(opt)
    assert list(action.signature.parameters) == [
        'metadata',
        'groups',
        'covariates',
        'sites',
        'split',
        # artifacts are no parameters
        *inputs_of(name)[9:-3],
        *parameters(call),
    ]


def test_a_pipeline_called_through_the_framework_gets_context_inputs_and_one_configuration(plugin, small, monkeypatch):
    calls = []

    def record(ctx, kind, config, *given):
        calls.append((ctx, config, given))
        raise NotImplementedError('recorded')

    monkeypatch.setattr(cross_validate, '_cross_validate', record)
    age = small.metadata.get_column('age')
    for given, more in (((), {'table': small.table, 'metadata': age}), ((small.table, age), {})):
        with pytest.raises(NotImplementedError, match='recorded'):
            plugin.pipelines['cross_validate'](*given, **more, folds=3, learning_rate=1)
    for ctx, config, given in calls:
        assert hasattr(ctx, 'get_action')
        assert config == CrossValidateConfig.from_flat({'folds': 3, 'learning_rate': 1.0})
        pd.testing.assert_series_equal(given[1].to_series(), age.to_series())
        assert isinstance(given[0], qiime2.Artifact) and given[2:9] == (None,) * 7
        assert {'extra_targets', 'scale_by', 'sample_weights'} <= set(given[9]) and set(given[9].values()) == {None}


def test_no_code_is_made_from_text():
    root = pathlib.Path(q2_aam.__file__).parent
    calls = [
        (path.name, node.func.id)
        for path in root.rglob('*.py')
        for node in ast.walk(ast.parse(path.read_text('utf-8')))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    assert len(calls) > 100
    assert [call for call in calls if call[1] in ('exec', 'eval', 'compile')] == []
