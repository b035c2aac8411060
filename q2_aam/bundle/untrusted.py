"""Reading JSON that anybody may have written: what is too large, too deep or no text is refused in one sentence."""

import json
import pathlib
import typing

from q2_aam.errors import MAX_SHOWN

# A configuration of 5,000 classes takes a fifth of it, a card 2 kB, the header of the weights of 192 layers a quarter.
MAX_BYTES = 2**20
# A configuration has four levels.
MAX_DEPTH = 16
# An int64 has 19; Python itself raises an error of its own from 4,300 on.
MAX_DIGITS = 19
MAX_MESSAGE = 400


def read_bytes(path: pathlib.Path) -> bytes:
    """Return the content of a file of JSON; ValueError in one sentence if it is too large, or cannot be read."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ValueError(
                f"The model's {path.name} has {size:,} bytes, of at most {MAX_BYTES:,}; use a model that this plugin "
                'has made.'
            )
        return path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"The model's {path.name} cannot be read ({error.strerror}); get the artifact again from where it was made."
        ) from error


def read_object(content: str | bytes, name: str) -> dict[str, typing.Any]:
    """Return the object that is the content of the file `name`; ValueError in one sentence if it is none."""
    try:
        text = content if isinstance(content, str) else content.decode('utf-8')
        fields = json.loads(text, parse_int=_integer)
    except UnicodeDecodeError as error:
        raise ValueError(f"The model's {name} is damaged: it is not text.") from error
    except _TooLong as error:
        raise ValueError(f"The model's {name} is damaged: it has a number of {error} digits.") from error
    except ValueError as error:
        raise ValueError(f"The model's {name} is damaged or incomplete: it is not JSON ({error}).") from error
    except RecursionError:
        raise ValueError(_too_deep(name)) from None
    if not isinstance(fields, dict):
        raise ValueError(f"The model's {name} is damaged: it holds no object.")
    _check_content(fields, name)
    return fields


class _TooLong(ValueError):
    pass


def _integer(digits):
    if len(digits.lstrip('-')) > MAX_DIGITS:
        raise _TooLong(f'{len(digits.lstrip("-")):,}')
    return int(digits)


def _too_deep(name):
    return f"The model's {name} is damaged: it is nested more than {MAX_DEPTH} levels deep."


def _check_content(fields, name):
    """Raise ValueError where something would fail only when it is shown or written."""
    rest = [(fields, 1)]
    while rest:
        value, depth = rest.pop()
        if isinstance(value, str):
            if any('\ud800' <= letter <= '\udfff' for letter in value):
                raise ValueError(f"The model's {name} is damaged: {brief(value)} is not text.")
        elif isinstance(value, (dict, list)):
            if depth > MAX_DEPTH:
                raise ValueError(_too_deep(name))
            parts = [*value, *value.values()] if isinstance(value, dict) else value
            rest.extend((part, depth + 1) for part in parts)


def brief(value: object) -> str:
    """Return what a file gives for a value as a message can hold it: its repr, escaped, on one line and not long."""
    # a long text is not written out to be cut afterwards
    text = repr(value[: MAX_SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= MAX_SHOWN else f'{text[: MAX_SHOWN - 3]}...'


def one_line(message: object) -> str:
    """Return a message, or that of an error, that may repeat names of others: escaped, on one line and not long."""
    text = str(message)
    part = ''.join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text[:MAX_MESSAGE])
    return part if len(text) <= MAX_MESSAGE and len(part) <= MAX_MESSAGE else f'{part[: MAX_MESSAGE - 3]}...'
