"""Requests take turns: those beyond the bound are refused at once, and none waits for ever."""

import asyncio
import threading

import pytest

from q2_aam.serve.app import read_body
from q2_aam.serve.limits import Limits, Refused
from q2_aam.serve.waiting import Waiting


def status_of(error):
    return error.value.status, error.value.sentence


def test_one_is_computed_at_a_time_in_the_order_in_which_they_came():
    waiting, order, at_once = Waiting(Limits()), [], []

    def compute(number):
        at_once.append(number)
        assert len(at_once) == 1
        order.append(number)
        at_once.remove(number)
        return number

    async def ask(number):
        with waiting.place() as place:
            return await place.run(lambda: compute(number))

    async def all_of_them():
        return await asyncio.gather(*(ask(number) for number in range(20)))

    assert asyncio.run(all_of_them()) == order == list(range(20))
    assert waiting.inside == 0
    waiting.close()


def test_who_finds_no_place_is_refused_before_anything_of_the_request_is_read():
    waiting = Waiting(Limits(max_waiting=2))
    with waiting.place(), waiting.place():
        with pytest.raises(Refused) as error, waiting.place():
            pass
        status, sentence = status_of(error)
        assert status == 503
        assert sentence == 'The server has 2 requests to answer and takes no more; send the request again later.'
        assert waiting.inside == 2
    assert waiting.inside == 0


def test_a_place_is_free_again_only_when_the_thread_is():
    waiting, goes_on = Waiting(Limits(max_waiting=2, max_seconds=0.05)), threading.Event()

    async def ask(function):
        with waiting.place() as place:
            return await place.run(function)

    async def story():
        with pytest.raises(Refused) as slow:
            await ask(goes_on.wait)
        # what is still computed takes its place; what only waited does not
        assert waiting.inside == 1
        with pytest.raises(Refused):
            await ask(lambda: None)
        assert waiting.inside == 1
        goes_on.set()
        for _ in range(100):
            if waiting.inside == 0:
                break
            await asyncio.sleep(0.01)
        assert waiting.inside == 0 and await ask(lambda: 'answer') == 'answer'
        return status_of(slow)

    status, sentence = asyncio.run(story())
    assert status == 503 and sentence.startswith('The request was not answered within 0.05 seconds; send it again')
    waiting.close()


def test_what_a_function_raises_reaches_who_asked_and_frees_the_place():
    waiting = Waiting(Limits())

    async def ask():
        with waiting.place() as place:
            await place.run(lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(ask())
    assert waiting.inside == 0
    waiting.close()


class Slow:
    """A request whose body never ends."""

    headers = {}

    async def stream(self):
        yield b'{'
        await asyncio.sleep(30)


def test_a_body_that_does_not_come_is_not_waited_for():
    with pytest.raises(Refused) as error:
        asyncio.run(read_body(Slow(), Limits(max_seconds=0.05)))
    assert status_of(error) == (408, 'The body of the request did not come within 0.05 seconds; send it again.')
