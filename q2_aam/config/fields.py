"""How one parameter is written down: name, type, default, bounds and one-line help, once, as a dataclass field."""

import dataclasses
import typing

from q2_aam.errors import shown

AUTO = 'auto'


def option(
    default: object,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    advanced: bool = False,
    absent: object = None,
) -> typing.Any:
    """Declare a parameter as a dataclass field.

    Parameters
    ----------
    default : int, float, bool or str
        Its value when the user gives none; ``'auto'`` where the value is derived from the data.
    help : str
        One line for the user.
    low, high : int or float, optional
        Inclusive bounds of a number (`high` None: unbounded).
    choices : tuple of str, optional
        The allowed words, for a parameter whose annotation is ``str``.
    advanced : bool, optional
        Whether hardly anybody needs to change it: it then comes last, and its description says so.
    absent : int, float, bool or str, optional
        Its value in a bundle written before this field existed: the value that means "as it was then". None: the
        default means that.
    """
    metadata = {
        'help': help,
        'low': low,
        'high': high,
        'choices': tuple(choices),
        'advanced': advanced,
        'absent': default if absent is None else absent,
    }
    return dataclasses.field(default=default, metadata=metadata)


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
    choices: tuple[str, ...]
    advanced: bool
    absent: object


@dataclasses.dataclass(frozen=True)
class Group:
    """A group of parameters: a frozen dataclass whose fields are all declared with :func:`option`.

    A field annotated ``int | str`` (or ``float | str``) is a number or the word 'auto'.
    """

    group: typing.ClassVar[str] = ''

    def __post_init__(self) -> None:
        for opt in self.options():
            check_value(opt, getattr(self, opt.name))

    @classmethod
    def options(cls) -> list[Option]:
        """Return the declared parameters, an :class:`Option` each, in order."""
        hints = typing.get_type_hints(cls)
        options = []
        for field in dataclasses.fields(cls):
            kinds = typing.get_args(hints[field.name]) or (hints[field.name],)
            auto = len(kinds) > 1 and str in kinds
            options.append(Option(cls.group, field.name, kinds[0], auto, field.default, **field.metadata))
        return options


def check_value(opt: Option, value: object) -> None:
    """Raise ValueError in one sentence if `value` is not allowed for the :class:`Option` `opt`."""
    if opt.auto and value == AUTO:
        return
    if not (_is_of_kind(opt.kind, value) and _is_in_bounds(opt, value) and (not opt.choices or value in opt.choices)):
        raise ValueError(f'Parameter {opt.name} must be {_allowed(opt)}, but it is {shown(value)}.')


def _is_of_kind(kind, value):
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, kind)


def _is_in_bounds(opt, value):
    # written so that NaN is out of bounds
    return opt.kind not in (int, float) or (
        (opt.low is None or value >= opt.low) and (opt.high is None or value <= opt.high)
    )


def _allowed(opt):
    if opt.choices:
        return 'one of ' + ', '.join(opt.choices)
    words = {int: 'a whole number', float: 'a number', bool: 'True or False', str: 'text'}[opt.kind]
    if opt.low is not None and opt.high is not None:
        words += f' from {opt.low} to {opt.high}'
    elif opt.low is not None:
        words += f' of at least {opt.low}'
    return words + (" or 'auto'" if opt.auto else '')
