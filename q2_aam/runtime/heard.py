"""The texts of our warnings that running work has given: kept with its result, because they are given with it again.

What is heard belongs to a context: work in other threads has its own.
"""

from __future__ import annotations

import contextlib
import contextvars
import warnings
from collections.abc import Iterator

from q2_aam.data.names import OF_ALIKE_NAMES, OF_AMBIGUOUS, OF_MISSING_VALUES
from q2_aam.errors import AAMWarning

# The words of a warning of a model that may have learned nothing, of which each fold has its own error.
OF_GUESSES = 'than by a guess'
# Those before numbers of each fold: of intervals that are not guaranteed, and of long sequences.
OF_INTERVALS, OF_LONG = ', but this model has ', ' nucleotides of a sequence: '

# Whether warnings of this context are of no interest.
_IGNORED: contextvars.ContextVar[bool] = contextvars.ContextVar('ignored', default=False)
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


@contextlib.contextmanager
def ignoring() -> Iterator[None]:
    """Let nobody see or hear our warnings until the end of the block; those of other threads are as ever."""
    token = _IGNORED.set(True)
    try:
        # filters are those of all threads
        with contextlib.nullcontext() if is_hearing() else warnings.catch_warnings():
            if not is_hearing():
                warnings.simplefilter('ignore', AAMWarning)
            yield
    finally:
        _IGNORED.reset(token)


def is_ignoring() -> bool:
    """Tell whether warnings are to be ignored here."""
    return _IGNORED.get()


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
    for words in (OF_MISSING_VALUES, OF_ALIKE_NAMES, OF_AMBIGUOUS, OF_GUESSES, OF_INTERVALS, OF_LONG):
        before, found, _ = text.partition(words)
        if found:
            return before
    return text
