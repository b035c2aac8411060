"""How one parameter is written down: name, type, default, bounds and one-line help, once, as a dataclass field."""

import dataclasses
import re
import typing

from q2_aam.errors import shown

AUTO = 'auto'
RANGE = re.compile(r'([0-9]{1,9}):([0-9]{1,9})')


def option(
    default: object,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    advanced: bool = False,
    absent: object = None,
    words: tuple[str, ...] = (),
    ranges: bool = False,
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
    words : tuple of str, optional
        Words that are allowed beside numbers and 'auto'.
    ranges : bool, optional
        Whether, beside a whole number, a range of them is allowed, such as '2:4'; 'auto' is not.
    """
    metadata = {
        'help': help,
        'low': low,
        'high': high,
        'choices': tuple(choices),
        'advanced': advanced,
        'absent': default if absent is None else absent,
        'words': tuple(words),
        'ranges': ranges,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Option:
    """A parameter as it was declared.

    `kind` is int, float, bool or str, `auto` tells whether 'auto' is allowed too, `many` whether it is a list of them,
    `ranges` whether a range of numbers is allowed.
    """

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
    words: tuple[str, ...] = ()
    many: bool = False
    ranges: bool = False


@dataclasses.dataclass(frozen=True)
class Group:
    """A group of parameters: a frozen dataclass whose fields are all declared with :func:`option`.

    A field annotated ``int | str`` (or ``float | str``) is a number or the word 'auto', one annotated
    ``tuple[float, ...]`` (or ``tuple[str, ...]``) a list, which may be given as one, or as None where it is empty.
    """

    group: typing.ClassVar[str] = ''

    def __post_init__(self) -> None:
        for opt in self.options():
            value = getattr(self, opt.name)
            if opt.many and (value is None or isinstance(value, list)):
                object.__setattr__(self, opt.name, tuple(value or ()))
            check_value(opt, getattr(self, opt.name))

    def check_needs(self, names: tuple[str, ...], other: str, *values: object) -> None:
        """Raise ValueError, in one sentence, where one of `names` is changed though `other` is none of the values."""
        defaults = {opt.name: opt.default for opt in self.options()}
        given = getattr(self, other)
        for name in names:
            if given not in values and getattr(self, name) != defaults[name]:
                needed = ' or '.join(map(str, values))
                raise ValueError(
                    f'Parameter {name} is of no use where {other} is {given}; set {other} to {needed}, or leave {name} '
                    'at its default.'
                )

    @classmethod
    def options(cls) -> list[Option]:
        """Return the declared parameters, an :class:`Option` each, in order."""
        # read once: the actions of a plugin ask for each group a dozen times when it loads
        if cls not in _OPTIONS:
            _OPTIONS[cls] = _options_of(cls)
        return list(_OPTIONS[cls])


# Of each group that was asked for.
_OPTIONS: dict[type[Group], tuple[Option, ...]] = {}


def _options_of(group):
    hints = typing.get_type_hints(group)
    options = []
    for field in dataclasses.fields(group):
        kinds = typing.get_args(hints[field.name]) or (hints[field.name],)
        many = typing.get_origin(hints[field.name]) is tuple
        auto = not many and len(kinds) > 1 and str in kinds and not field.metadata['ranges']
        options.append(Option(group.group, field.name, kinds[0], auto, field.default, **field.metadata, many=many))
    return tuple(options)


def check_value(opt: Option, value: object) -> None:
    """Raise ValueError in one sentence if `value` is not allowed for the :class:`Option` `opt`."""
    if opt.auto and isinstance(value, str) and value in (AUTO, *opt.words):
        return
    if opt.ranges and isinstance(value, str):
        least, most = limits_of(value) if RANGE.fullmatch(value) else (1, 0)
        if least < most and _is_in_bounds(opt, least) and _is_in_bounds(opt, most):
            return
    if opt.many and not isinstance(value, tuple):
        raise ValueError(f'Parameter {opt.name} must be a list, but it is {shown(value)}.')
    values = value if isinstance(value, tuple) else (value,)
    for one in values:
        if not (_is_of_kind(opt.kind, one) and _is_in_bounds(opt, one) and (not opt.choices or one in opt.choices)):
            each = 'Each of ' if opt.many else 'Parameter '
            raise ValueError(f'{each}{opt.name} must be {_allowed(opt)}, but it is {shown(one)}.')


def limits_of(value: int | str) -> tuple[int, int]:
    """Return the least and the most that a number, or a range such as '2:4', means."""
    least, _, most = str(value).partition(':')
    return int(least), int(most or least)


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
    if opt.ranges:
        words += ", or a range of them from low to high, such as '2:4'"
    return words + ''.join(f" or '{word}'" for word in (AUTO, *opt.words) if opt.auto)
