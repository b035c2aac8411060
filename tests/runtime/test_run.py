"""One run: its directory, its seed and what the process is like within it."""

import dataclasses
import threading
import time

import pytest
import torch

from q2_aam.config import PretrainConfig
from q2_aam.errors import UserError
from q2_aam.runtime.run import open_run

HASHES = {'table': 'a' * 64}


def config(**options):
    return PretrainConfig.from_flat({'device': 'cpu', 'threads': 1, 'random_seed': 7} | options)


def test_a_run_has_a_directory_a_seed_a_device_and_a_place_to_report(work_dir):
    lines, before = [], time.monotonic()
    with open_run('pretrain', config(), HASHES, lines.append) as run:
        assert run.directory.parent == work_dir and run.directory.name.startswith('pretrain-')
        assert (run.seed, run.device, run.hashes) == (7, torch.device('cpu'), HASHES)
        assert before <= run.started <= time.monotonic()
        run.recorder.say('a line')
        run.recorder.log(1, 1, 'training', loss=2.0)
    assert lines == ['a line'] and run.recorder.history.rows == [(1, 1, 'training', 'loss', 2.0)]
    # it has succeeded
    assert list(work_dir.iterdir()) == []


def test_a_run_that_was_killed_is_found_again_with_the_seed_that_it_drew(work_dir):
    with pytest.raises(KeyboardInterrupt), open_run('pretrain', config(random_seed=0), HASHES) as first:
        raise KeyboardInterrupt
    assert first.directory.exists() and first.seed > 0
    # where and with how much is computed makes it no other run
    with open_run('pretrain', config(random_seed=0, threads=2, max_memory_gb=1.0), HASHES) as second:
        assert (second.directory, second.seed) == (first.directory, first.seed)
    with open_run('pretrain', config(random_seed=0), HASHES) as third:
        assert third.seed != first.seed


@pytest.mark.parametrize(
    'other',
    [
        ('fit-regressor', config(), HASHES),
        ('pretrain', config(width=32), HASHES),
        ('pretrain', config(), {'table': 'b'}),
    ],
)
def test_another_action_configuration_or_input_is_another_run(other):
    with open_run('pretrain', config(), HASHES) as one, open_run(*other) as two:
        assert one.directory != two.directory


def test_the_same_call_twice_at_once_has_two_directories(work_dir):
    with open_run('pretrain', config(), HASHES) as one, open_run('pretrain', config(), HASHES) as two:
        assert one.directory != two.directory
    assert list(work_dir.iterdir()) == []


def test_what_the_user_must_mend_leaves_nothing_behind(work_dir):
    with pytest.raises(UserError), open_run('pretrain', config(), HASHES):
        raise UserError('No.')
    assert list(work_dir.iterdir()) == []


def test_loops_of_a_run_keep_their_states_apart():
    with open_run('pretrain', config(), HASHES) as run:
        one, other = run.checkpoint('network'), run.checkpoint('ensemble')
        assert one.folder == run.directory / 'network' != other.folder == run.directory / 'ensemble'


def test_kernels_are_deterministic_and_threads_as_asked_for_within_and_as_before_afterwards():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), open_run('pretrain', config(), HASHES):
        assert torch.are_deterministic_algorithms_enabled() and torch.get_num_threads() == 1
        raise KeyError
    assert not torch.are_deterministic_algorithms_enabled() and torch.get_num_threads() == before


def test_a_run_that_ends_beside_another_leaves_that_one_deterministic():
    inside, done = threading.Event(), threading.Event()

    def first():
        with open_run('pretrain', config(), HASHES):
            inside.set()
            done.wait(30)

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(30)
    with open_run('pretrain', config(width=32), HASHES):
        done.set()
        thread.join(30)
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()


def test_random_numbers_of_the_process_are_left_alone():
    before = torch.get_rng_state()
    with open_run('pretrain', config(), HASHES):
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_cannot_be_changed():
    with open_run('pretrain', config(), HASHES) as run, pytest.raises(dataclasses.FrozenInstanceError):
        run.seed = 8
