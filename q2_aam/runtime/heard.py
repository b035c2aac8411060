"""The texts of our warnings that running work has given: kept with its result, because they are given with it again.

What is heard belongs to a context: work in other threads has its own.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

from q2_aam.data.names import OF_ALIKE_NAMES, OF_AMBIGUOUS, OF_MISSING_VALUES

# The words of a warning of a model that may have learned nothing, of which each fold has its own error.
OF_GUESSES = 'than by a guess'

# For each work that is going on, the outermost first: {what a warning is about: its text}. A dict, for its order.
_HEARD: contextvars.ContextVar[tuple[dict[str, str], ...]] = contextvars.ContextVar('heard', default=())


@contextlib.contextmanager
def hearing() -> Iterator[None]:
    """Keep what :func:`hear` is told until the end of the block, here and in the blocks around it."""
    token = _HEARD.set((*_HEARD.get(), {}))
    try:
        yield
    finally:
        _HEARD.reset(token)


def is_hearing() -> bool:
    """Tell whether any work that is going on keeps what it hears."""
    return bool(_HEARD.get())


def hear(text: str) -> bool:
    """Keep the text of a warning; return whether the outermost work hears for the first time what it is about."""
    works, what = _HEARD.get(), about(text)
    new = bool(works) and what not in works[0]
    for work in works:
        work.setdefault(what, text)
    return new


def heard() -> list[str]:
    """Return the texts that the innermost work has given so far, in order, each once."""
    works = _HEARD.get()
    return list(works[-1].values()) if works else []


def about(text: str) -> str:
    """Return what a warning is about: two of the same say the same to the user."""
    for words in (OF_MISSING_VALUES, OF_ALIKE_NAMES, OF_AMBIGUOUS, OF_GUESSES):
        before, found, _ = text.partition(words)
        if found:
            return before
    return text
