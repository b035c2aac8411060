"""Streams of random numbers: the same from the same seed, and never confused with one another."""

import itertools

import numpy as np
import pytest
import torch

from q2_aam.runtime.seeds import Stream, numpy_generator, torch_generator


def test_every_stream_has_its_number():
    numbers = [int(stream) for stream in Stream.__members__.values()]
    assert len(set(numbers)) == len(numbers) == len(Stream)


def test_no_stream_of_a_seed_is_that_of_another():
    drawn = [tuple(numpy_generator(seed, stream).random(4)) for seed, stream in itertools.product((1, 2), Stream)]
    assert len(set(drawn)) == 2 * len(Stream)
    weights = [tuple(torch.rand(4, generator=torch_generator(1, stream)).tolist()) for stream in Stream]
    assert len(set(weights)) == len(Stream)


@pytest.mark.parametrize('more', [(), (3,), (3, 1)])
def test_one_seed_and_stream_give_the_same_numbers_again(more):
    one, two = (numpy_generator(7, Stream.STEP, *more) for _ in range(2))
    assert np.array_equal(one.random(9), two.random(9))
    one, two = (torch_generator(7, Stream.STEP, *more) for _ in range(2))
    assert torch.equal(torch.rand(9, generator=one), torch.rand(9, generator=two))


def test_steps_of_a_stream_differ():
    assert len({numpy_generator(7, Stream.STEP, step).integers(2**62) for step in range(50)}) == 50
    assert len({torch_generator(7, Stream.STEP, step).initial_seed() for step in range(50)}) == 50


def test_numbers_are_those_of_numpy_by_seed_and_number_of_the_stream():
    assert numpy_generator(7, Stream.STEP, 5).random() == np.random.default_rng([7, 1, 5]).random()


def test_the_generator_of_torch_is_on_its_device_and_leaves_the_global_one_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    generator = torch_generator(7, Stream.WEIGHTS, device=torch.device('cpu'))
    torch.rand(2, generator=generator)
    assert generator.device.type == 'cpu'
    assert torch.equal(torch.get_rng_state(), before)
