"""What a batch of training is made of, and its loss; and batches made by a thread while the network is busy."""

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from q2_aam.data.augmentation import make_augmentation, vary_sequences
from q2_aam.data.batches import Batch
from q2_aam.data.readable import draw_readable
from q2_aam.data.shares import ALONE, Alone
from q2_aam.model.heads import HEADS
from q2_aam.model.network import Network
from q2_aam.runtime.encode import StudyReader, device_of
from q2_aam.runtime.limits import is_out_of_memory

from .prepare import Prepared


@dataclasses.dataclass(frozen=True)
class Made:
    """A batch on the CPU with all its labels.

    Attributes
    ----------
    rows : int64 [B]
        Its samples, of the study.
    batch : Batch
    share : Alone
        What this process computes of it, which the network is to be given with it.
    max_floats : int
        Of the network for which it was cut into chunks.
    """

    rows: np.ndarray
    batch: Batch
    share: Alone
    max_floats: int

    def __len__(self) -> int:
        return len(self.rows)


def make(network: Network, prepared: Prepared, reader: StudyReader, rows, generator, share: Alone = ALONE) -> Made:
    """Return the batch of some samples: drawn, varied, cut and labelled, all by `generator`."""
    training, objectives, max_floats = prepared.config.training, prepared.objectives, network.max_floats
    augment = make_augmentation(prepared.config.data, training, generator)
    drawn = draw_readable(prepared.study, rows, augment, sequences=reader.asvs is None)
    drawn = vary_sequences(drawn, training, generator)
    if drawn.covariates is not None:
        # so that the network can do without
        dropout = prepared.config.covariates.covariate_dropout
        drawn = dataclasses.replace(drawn, covariates=drawn.covariates.dropped(dropout, generator))
    batch, budget = _batch(network, objectives, reader, drawn, share)
    for objective in objectives:
        objective.label(batch, drawn, budget, generator)
    share.divide_masked(batch, budget)
    device = device_of(network)
    if device.type == 'cuda':
        # so that it is copied while the GPU computes; a thread of its own would begin on the first GPU
        torch.cuda.set_device(device)
        batch = batch.pinned()
    return Made(rows, batch, share, max_floats)


def _batch(network, objectives, reader, drawn, share):
    heads, budget = [objective.name for objective in objectives], network.budget()
    if not reads_samples(objectives):
        # ASVs are read for the sake of their masked tokens only
        return Batch(tuple(heads)), budget
    embeddings = None
    if reader.asvs is not None:
        distinct = torch.from_numpy(drawn.distinct.astype(np.int64))
        embeddings = reader.asvs[distinct.to(reader.asvs.device)]
    return share.make_batch(drawn, budget, heads, embeddings), budget


def reads_samples(objectives) -> bool:
    """Tell whether any of the objectives reads samples or their ASVs, and not only masked ones."""
    return any(HEADS[objective.head.kind].reads != 'masked' for objective in objectives)


def loss_of_made(network: Network, prepared: Prepared, made: Made):
    """Return the loss of a batch, the metrics of its objectives, and its number of samples.

    All of it is computed here but what other processes, each with its share, compute of the network.
    """
    batch = made.batch.to(device_of(network))
    outputs = network(batch, made.share)
    total, metrics = 0.0, {}
    for objective in prepared.objectives:
        loss, logged = objective.loss(outputs, batch)
        total, metrics = total + objective.weight * loss, metrics | logged
    return total, metrics, len(made)


def loss_of(network: Network, prepared: Prepared, reader: StudyReader, rows, generator, share: Alone = ALONE):
    """Return what :func:`loss_of_made` gives of the batch that :func:`make` makes."""
    return loss_of_made(network, prepared, make(network, prepared, reader, rows, generator, share))


def made_ahead(
    make: Callable[[Any, int], Any], batches: Iterator, numbers: Iterator[int], by_thread: bool = True
) -> Iterator:
    """Yield `make(batch, number)` of each batch; with a thread, the next one is made while the caller computes.

    Each batch follows from its number, so that it does not matter who makes it, nor when.

    Parameters
    ----------
    make : callable
    batches : iterator
    numbers : iterator of int
    by_thread : bool
    """
    if not by_thread:
        yield from (make(batch, number) for batch, number in zip(batches, numbers))
        return
    with ThreadPoolExecutor(1, 'batches') as thread:
        coming = None
        for batch, number in zip(batches, numbers):
            made, coming = coming, (thread.submit(make, batch, number), batch, number)
            if made is not None:
                yield _result(make, *made)
        if coming is not None:
            yield _result(make, *coming)


def _result(make, made, batch, number):
    try:
        return made.result()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    # the caller computed meanwhile, and holds none of that now
    return make(batch, number)
