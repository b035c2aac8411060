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

# Where the texts of warnings of this context go, which nobody else is to see or hear.
_NOTED: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar('noted', default=None)
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
def noting() -> Iterator[list[str]]:
    """Give a list that gets the texts of our warnings until the end of the block, which nobody else sees or hears.

    Those of other threads are as ever.
    """
    texts: list[str] = []
    token = _NOTED.set(texts)
    try:
        if is_hearing():
            yield texts
            return
        # what catches them is that of all threads, which is why actions have a hook
        with warnings.catch_warnings():
            warnings.simplefilter('always', AAMWarning)
            show = warnings.showwarning

            def showwarning(message, category, *where, **more):
                if not (issubclass(category, AAMWarning) and note(message)):
                    show(message, category, *where, **more)

            warnings.showwarning = showwarning
            yield texts
    finally:
        _NOTED.reset(token)


@contextlib.contextmanager
def ignoring() -> Iterator[None]:
    """Let nobody see or hear our warnings until the end of the block; those of other threads are as ever."""
    with noting():
        yield


def note(message: object) -> bool:
    """Keep the text of a warning where warnings are noted; return whether they are."""
    texts = _NOTED.get()
    if texts is None:
        return False
    texts.append(str(message))
    return True


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
            # that a model is hardly better and that it may be so by chance are one matter: do not rely on it
            return words if words == OF_GUESSES else before
    return text
