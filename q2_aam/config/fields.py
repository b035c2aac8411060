"""How one parameter is written down: name, type, default, bounds and one-line help, once, as a dataclass field."""

import dataclasses
import typing

AUTO = 'auto'


def option(default, help, *, low=None, high=None, choices=()):
    """Declare a parameter as a dataclass field.

    Parameters
    ----------
    default : int, float, bool or str
        Its value when the user says nothing; ``'auto'`` where the value is derived from the data.
    help : str
        One line for the user.
    low, high : int or float, optional
        Inclusive bounds of a number (`high` None: unbounded).
    choices : tuple of str, optional
        The words that are allowed, for a parameter whose annotation is ``str``.
    """
    return dataclasses.field(
        default=default, metadata={'help': help, 'low': low, 'high': high, 'choices': tuple(choices)}
    )


@dataclasses.dataclass(frozen=True)
class Option:
    """A parameter as it was declared; `kind` is int, float, bool or str, `auto` tells whether 'auto' is allowed too."""

    group: str
    name: str
    kind: type
    auto: bool
    default: object
    help: str
    low: float | None
    high: float | None
    choices: tuple


@dataclasses.dataclass(frozen=True)
class Group:
    """A group of parameters: a frozen dataclass whose fields are all declared with :func:`option`.

    A field annotated ``int | str`` (or ``float | str``) is a number or the word 'auto'.
    """

    group: typing.ClassVar[str] = ''

    def __post_init__(self):
        for opt in self.options():
            check_value(opt, getattr(self, opt.name))

    @classmethod
    def options(cls):
        """Return the declared parameters, an :class:`Option` each, in order."""
        hints = typing.get_type_hints(cls)
        found = []
        for field in dataclasses.fields(cls):
            kinds = typing.get_args(hints[field.name]) or (hints[field.name],)
            auto = len(kinds) > 1 and str in kinds
            found.append(Option(cls.group, field.name, kinds[0], auto, field.default, **field.metadata))
        return found


def check_value(opt, value):
    """Raise ValueError in one sentence if `value` is not allowed for the :class:`Option` `opt`."""
    if opt.auto and value == AUTO:
        return
    wanted = _wanted(opt)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if opt.kind is float:
        fits = number
    elif opt.kind is int:
        fits = number and isinstance(value, int)
    else:
        fits = isinstance(value, opt.kind)
    if fits and opt.kind in (int, float):
        # written so that NaN fails
        fits = (opt.low is None or value >= opt.low) and (opt.high is None or value <= opt.high)
    if fits and opt.choices:
        fits = value in opt.choices
    if not fits:
        raise ValueError(f'Parameter {opt.name} must be {wanted}, but it is {value!r}.')


def _wanted(opt):
    if opt.choices:
        return 'one of ' + ', '.join(opt.choices)
    words = {int: 'a whole number', float: 'a number', bool: 'True or False', str: 'text'}[opt.kind]
    if opt.low is not None and opt.high is not None:
        words += f' from {opt.low} to {opt.high}'
    elif opt.low is not None:
        words += f' of at least {opt.low}'
    return words + (" or 'auto'" if opt.auto else '')
