"""From a call's configuration to what QIIME 2 registers: types, defaults, descriptions and one flat signature."""

import dataclasses
import functools
import inspect
import operator

import qiime2.plugin
from qiime2.plugin import Bool, Choices, Float, Int, List, Range, Str

from q2_aam.config import AUTO

from .messages import warnings_to_user

# How the first parameter of a pipeline is named, and that of a visualizer.
PIPELINE, VISUALIZER = 'ctx', 'output_dir'
_NUMBERS = {int: Int, float: Float}


@functools.cache
def qiime_type(opt):
    """Return the QIIME 2 type of one :class:`~q2_aam.config.Option`, bounds and 'auto' included."""
    if opt.kind is bool:
        return Bool
    if opt.many:
        return List[qiime_type(dataclasses.replace(opt, many=False))]
    if opt.kind is str:
        return Str % Choices(list(opt.choices)) if opt.choices else Str
    if opt.name == 'threads' and _knows_threads(opt.default):
        return qiime2.plugin.Threads
    number = _NUMBERS[opt.kind]
    if (opt.low, opt.high) != (None, None):
        number = number % Range(opt.low, opt.high, inclusive_end=opt.high is not None)
    if opt.ranges:
        # their form is no list of choices
        return number | Str
    return number | Str % Choices([AUTO, *opt.words]) if opt.auto else number


def parameters(call):
    """Return {name: QIIME 2 type} of every parameter of the configuration class `call`, advanced ones last."""
    return {opt.name: qiime_type(opt) for opt in _ordered(call)}


def descriptions(call):
    """Return {name: description} of every parameter of `call`; those of advanced ones say so."""
    return {opt.name: f'[advanced] {opt.help}' if opt.advanced else opt.help for opt in _ordered(call)}


def _ordered(call):
    return sorted(call.options(), key=lambda opt: opt.advanced)


def flat(call):
    """Make a function that takes one `config` take every parameter of `call` by name instead.

    QIIME 2 needs a flat list of keywords, enforces their bounds and records each in the provenance; the function gets
    the whole configuration. A function that takes `ctx` is a pipeline, and has no annotations; one that takes
    `output_dir` is a visualizer. Warnings reach the user as :mod:`q2_aam.actions.messages` describes.

    Parameters
    ----------
    call : type
        A :class:`~q2_aam.config.Call`, for example ``PretrainConfig``.

    Returns
    -------
    callable
        A decorator for functions whose last parameter is ``config``.

    Raises
    ------
    TypeError
        When the function has no parameter ``config``, or one that is named like a parameter of `call`.
    """

    def decorate(function):
        options = _ordered(call)
        signature = _flat_signature(function, options)

        def action(*context, **given):
            with warnings_to_user():
                values = {opt.name: _plain(opt, given.pop(opt.name)) for opt in options if opt.name in given}
                return function(*context, **given, config=call.from_flat(values))

        attributes = _Attributes if {PIPELINE, VISUALIZER} & set(signature.parameters) else dict
        action.__dict__ = attributes(__signature__=signature)
        if PIPELINE not in signature.parameters:
            action.__annotations__ = {name: param.annotation for name, param in signature.parameters.items()}
            action.__annotations__['return'] = signature.return_annotation
        action.__name__ = action.__qualname__ = function.__name__
        action.__module__ = function.__module__
        return action

    return decorate


class _Attributes(dict):
    """Attributes of a pipeline or a visualizer, of which a copy lacks `__signature__`.

    Frameworks before rachis take the first parameter off those of a pipeline (the context) or a visualizer (its folder)
    by making a function that has the others, and then copy the attributes onto it (DropFirstParameter, by way of the
    package decorator): with a copied `__signature__` that function would ask for the first one again.
    """

    def copy(self):
        return {name: value for name, value in self.items() if name != '__signature__'}


def _flat_signature(function, options):
    signature = inspect.signature(function)
    kept = [param for name, param in signature.parameters.items() if name != 'config']
    if len(kept) == len(signature.parameters):
        raise TypeError(f'{function.__name__} must take a parameter named config.')
    if twice := {param.name for param in kept} & {opt.name for opt in options}:
        raise TypeError(f'{function.__name__} takes {sorted(twice)[0]} itself, but its configuration has it too.')
    # not keyword-only: the framework rebuilds the signature from names and defaults and would lose such defaults
    kept = [param.replace(kind=param.POSITIONAL_OR_KEYWORD) for param in kept]
    annotate = _no_annotation if PIPELINE in signature.parameters else _annotation
    kept += [
        inspect.Parameter(
            opt.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default_of(opt), annotation=annotate(opt)
        )
        for opt in options
    ]
    return signature.replace(parameters=kept)


def default_of(opt):
    """Return the default that is registered: the framework has no empty lists."""
    return None if opt.many else opt.default


def _annotation(opt):
    if opt.many:
        return opt.kind
    return opt.kind | str if opt.auto or opt.ranges else opt.kind


def _no_annotation(opt):
    # the framework refuses annotations of pipelines
    return inspect.Parameter.empty


def _plain(opt, value):
    """Return `value` as the plain Python object that the configuration takes (a whole number may mean a float)."""
    if value == AUTO:
        # the frameworks that have a type for threads allow 'auto' there, meaning 0
        return 0 if opt.name == 'threads' else AUTO
    if opt.many:
        return tuple(_plain(dataclasses.replace(opt, many=False), one) for one in value or ())
    if opt.ranges and isinstance(value, str):
        return value
    if opt.kind is float and value not in opt.words:
        return float(value)
    # numpy's whole numbers become Python's; a fraction is an error and not rounded
    return operator.index(value) if opt.kind is int else value


def _knows_threads(default):
    """Return whether the framework has a type for numbers of threads; 2022.11 has none."""
    threads = getattr(qiime2.plugin, 'Threads', None)
    return threads is not None and default in threads
