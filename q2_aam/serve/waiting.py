"""Requests one after another: a bounded number is let in, one is computed at a time, none waits for ever."""

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from .limits import Limits, Refused

RETRY_AFTER = '5'


class Waiting:
    """Who may come in, and the one thread that computes.

    A model computes with all the threads it is given: two requests at a time would only take turns.

    Attributes
    ----------
    inside : int
        Requests that are read, wait or are computed.
    """

    def __init__(self, limits: Limits):
        self.limits, self.inside = limits, 0
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix='predict')

    @contextlib.contextmanager
    def place(self) -> Iterator['Place']:
        """Give a request a place, from before its body is read; Refused where there is none."""
        if self.inside >= self.limits.max_waiting:
            raise Refused(
                503,
                f'The server has {self.inside:,} requests to answer and takes no more; send the request again later.',
            )
        self.inside += 1
        place = Place(self)
        try:
            yield place
        finally:
            place.leave()

    def close(self) -> None:
        """End, when what is being computed is done."""
        self._thread.shutdown(wait=True, cancel_futures=True)


class Place:
    """The place of one request. It is free again when the request is answered and nothing is computed for it."""

    def __init__(self, waiting: Waiting):
        self.waiting = waiting
        self.work: concurrent.futures.Future | None = None

    async def run(self, function: Callable[[], Any]) -> Any:
        """Return what a function returns, called in the thread when it is its turn; Refused if that takes too long."""
        waiting = self.waiting
        self.work = waiting._thread.submit(function)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self.work), waiting.limits.max_seconds)
        except asyncio.TimeoutError:
            raise Refused(
                503,
                f'The request was not answered within {waiting.limits.max_seconds:,} seconds; send it again later, or '
                'fewer samples.',
            ) from None

    def leave(self) -> None:
        """Give the place back, when what is computed has ended: a thread cannot be stopped, but must not be crowded."""
        if self.work is None or self.work.cancel() or self.work.done():
            self.waiting.inside -= 1
            return
        loop = asyncio.get_running_loop()
        self.work.add_done_callback(lambda _: _soon(loop, self._left))

    def _left(self):
        self.waiting.inside -= 1


def _soon(loop, function):
    # the server may have ended before
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function)
