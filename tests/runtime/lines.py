"""Processes that train together, as threads of one process: what they exchange goes through memory."""

import contextlib
import threading

import torch

from q2_aam.runtime.ranks import OthersFailed, Parted, Several


class Threads:
    """What carries tensors between threads; see :class:`q2_aam.runtime.ranks.Lines`.

    Parameters
    ----------
    size : int
    """

    def __init__(self, size):
        self.size, self.barrier, self.given = size, threading.Barrier(size, timeout=20), [None] * size

    def of(self, rank):
        return _Line(self, rank)

    def exchange(self, rank, value):
        """Return the values of all, in order of ranks."""
        self.given[rank] = value
        self.barrier.wait()
        every = list(self.given)
        # nobody gives the next before all have taken this one
        self.barrier.wait()
        return every


class _Line:
    def __init__(self, threads, rank):
        self.threads, self.rank = threads, rank

    def _of_all(self, value):
        return self.threads.exchange(self.rank, value)

    def most(self, number):
        return max(self._of_all(number))

    def gather(self, part):
        return torch.cat(self._of_all(part.detach().clone()))

    def add(self, whole):
        whole.copy_(sum(self._of_all(whole.clone())))

    def add_own(self, whole):
        return sum(self._of_all(whole.clone())).chunk(self.threads.size)[self.rank].clone()

    def send(self, text):
        return self._of_all(text)[0]

    def copy(self, tensor):
        tensor.copy_(self._of_all(tensor.clone())[0])


def run_threads(size, work):
    """Return what `work`, which takes the ranks of a thread, returns or raises in each of as many threads."""
    threads, results = Threads(size), [None] * size

    def one(rank):
        ranks = Several(rank, size, threads.of(rank))
        try:
            results[rank] = work(ranks)
        except (Parted, OthersFailed) as error:
            results[rank] = error
        except Exception as error:
            results[rank] = error
            with contextlib.suppress(threading.BrokenBarrierError):
                ranks.fail()

    started = [threading.Thread(target=one, args=(rank,)) for rank in range(size)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return results
