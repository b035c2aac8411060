"""Errors and warnings for users: one sentence that says what is wrong, where, and what to do."""

import importlib.util
from collections.abc import Iterable

# Characters of a name in a message, and names in a list.
MAX_SHOWN, MAX_LISTED = 80, 10


class UserError(ValueError):
    """An error that the user can fix: one sentence that says what is wrong, in which input, and what to do."""


class MachineError(UserError):
    """A :class:`UserError` whose cause is the machine (disk or memory) and not an input.

    The same call can succeed later: what it has done so far is kept.
    """


class AAMWarning(UserWarning):
    """Some input is ignored or changed, and the call continues."""


def missing_package(names: Iterable[str]) -> str | None:
    """Return the first of these Python packages that is not installed, without importing any; None if all are."""
    return next((name for name in names if importlib.util.find_spec(name) is None), None)


def counted(number, singular, plural=None):
    """Return '1 sample', '1,234 samples': a number with its noun."""
    return f'{number:,} {singular if number == 1 else plural or singular + "s"}'


def have(number):
    """Return the verb that goes with :func:`counted`: 1 sample has, 2 samples have."""
    return 'has' if number == 1 else 'have'


def shown(name, maximum=MAX_SHOWN):
    """Return a name or value that others have chosen as a message can hold it: on one line, escaped and not long.

    These come from tables, metadata and models, which may be anyone's: raw, one could clear the terminal, forge a
    second line, or fill the screen. Text is quoted.
    """
    if not isinstance(name, str):
        written = repr(name)
        return written if len(written) <= maximum else written[: maximum - 3] + '...'
    # of a class that writes itself otherwise, too
    written = repr(str(name[:maximum]))
    if len(name) <= maximum and len(written) <= maximum:
        return written
    return written[: maximum - 4] + written[0] + '...'


def listed(items, maximum=MAX_LISTED):
    """Return 'a, b, c' or, of more than `maximum` items, 'a, b and 1,234 more'."""
    items = list(items)
    text = ', '.join(items[:maximum])
    return text if len(items) <= maximum else f'{text} and {len(items) - maximum:,} more'
