"""From a call's configuration to what QIIME 2 registers: types, defaults, descriptions and one flat signature."""

import inspect
import operator

import qiime2.plugin
from qiime2.plugin import Bool, Choices, Float, Int, Range, Str

from q2_aam.config import AUTO

from .messages import said_to_user

# How the first parameter of a pipeline is named.
PIPELINE = 'ctx'
_NUMBERS = {int: Int, float: Float}


def qiime_type(opt):
    """Return the QIIME 2 type of one :class:`~q2_aam.config.Option`, bounds and 'auto' included."""
    if opt.kind is bool:
        return Bool
    if opt.kind is str:
        return Str % Choices(list(opt.choices)) if opt.choices else Str
    if opt.name == 'threads' and _knows_threads(opt.default):
        return qiime2.plugin.Threads
    found = _NUMBERS[opt.kind]
    if (opt.low, opt.high) != (None, None):
        found = found % Range(opt.low, opt.high, inclusive_end=opt.high is not None)
    return found | Str % Choices([AUTO]) if opt.auto else found


def parameters(call):
    """Return {name: QIIME 2 type} of every parameter of the configuration class `call`, in order."""
    return {opt.name: qiime_type(opt) for opt in call.options()}


def descriptions(call):
    """Return {name: description} of every parameter of `call`; each begins with its group in brackets."""
    return {opt.name: f'[{opt.group}] {opt.help}' for opt in call.options()}


def flat(call):
    """Make a function that takes one `config` take every parameter of `call` by name instead.

    QIIME 2 wants a flat list of keywords, enforces their bounds and writes each into the provenance; the function wants
    the whole configuration. A function that takes `ctx` is a pipeline, and has no annotations. Warnings
    reach the user as :mod:`q2_aam.actions.messages` tells.

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
        options = call.options()
        signature = _flat_signature(function, options)

        def action(*context, **given):
            with said_to_user():
                values = {opt.name: _plain(opt, given.pop(opt.name)) for opt in options if opt.name in given}
                return function(*context, **given, config=call.from_flat(values))

        if PIPELINE in signature.parameters:
            action = _with_parameters(action, signature, function.__name__)
        else:
            action.__signature__ = signature
            action.__annotations__ = {name: param.annotation for name, param in signature.parameters.items()}
            action.__annotations__['return'] = signature.return_annotation
        action.__name__ = action.__qualname__ = function.__name__
        action.__module__ = function.__module__
        return action

    return decorate


def _flat_signature(function, options):
    signature = inspect.signature(function)
    kept = [param for name, param in signature.parameters.items() if name != 'config']
    if len(kept) == len(signature.parameters):
        raise TypeError(f'{function.__name__} must take a parameter named config.')
    if twice := {param.name for param in kept} & {opt.name for opt in options}:
        raise TypeError(f'{function.__name__} takes {sorted(twice)[0]} itself, but its configuration has it too.')
    # not keyword-only: the framework rebuilds the signature from names and defaults and would lose such defaults
    kept = [param.replace(kind=param.POSITIONAL_OR_KEYWORD) for param in kept]
    kept += [
        inspect.Parameter(
            opt.name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=opt.default,
            annotation=opt.kind | str if opt.auto else opt.kind,
        )
        for opt in options
    ]
    return signature.replace(parameters=kept)


def _with_parameters(action, signature, name):
    """Return a function that really has the parameters of `signature` and hands them to `action`.

    The framework takes the context off the parameters of a pipeline by making such a function itself, and copies our
    `__signature__` onto it, with the context still there.
    """
    context, *names = signature.parameters
    scope = {'action': action}
    given = ', '.join(f'{name}={name}' for name in names)
    exec(f'def {name}({context}, {", ".join(names)}): return action({context}, {given})', scope)
    scope[name].__defaults__ = tuple(
        param.default for param in signature.parameters.values() if param.default is not param.empty
    )
    return scope[name]


def _plain(opt, value):
    """Return `value` as the plain Python object that the configuration wants (a whole number may mean a float)."""
    if value == AUTO:
        # the frameworks that have a type for threads allow 'auto' there, and mean 0 by it
        return 0 if opt.name == 'threads' else AUTO
    if opt.kind is float:
        return float(value)
    # numpy's whole numbers become Python's; a fraction is an error and not cut off
    return operator.index(value) if opt.kind is int else value


def _knows_threads(default):
    """True where the framework has a type for numbers of threads (Galaxy fills it in); 2022.11 has none."""
    threads = getattr(qiime2.plugin, 'Threads', None)
    return threads is not None and default in threads
