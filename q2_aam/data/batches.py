"""Batches of tensors: the samples of a batch, and each distinct ASV among them once."""

import dataclasses

import numpy as np
import torch


@dataclasses.dataclass
class Batch:
    """B samples with N non-zeros in all, on U distinct ASVs of up to L nucleotides.

    Attributes
    ----------
    samples : int64 [B]
        Row of each sample in the study.
    distinct : int64 [U]
        Row of each ASV in the study.
    codes : uint8 [U, L], or None where embeddings are at hand
    lengths : int64 [U], or None
    asvs : int64 [N]
        Row in `codes` of each non-zero.
    abundances : float32 [N]
    offsets : int64 [B + 1]
        Where each sample begins in `asvs`.
    """

    samples: torch.Tensor
    distinct: torch.Tensor
    codes: torch.Tensor | None
    lengths: torch.Tensor | None
    asvs: torch.Tensor
    abundances: torch.Tensor
    offsets: torch.Tensor

    def to(self, device):
        """Return the batch on another device."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return Batch(**{name: value if value is None else value.to(device) for name, value in values.items()})


def make_batch(study, samples, sequences=True, reading=None):
    """Gather samples into a :class:`Batch`.

    Parameters
    ----------
    study : q2_aam.data.study.Study
    samples : int64 [B]
        Rows of the study.
    sequences : bool
        Whether to gather the sequences too.
    reading : callable, optional
        From :func:`q2_aam.data.augmentation.reading_of`: what of each sample is taken.
    """
    samples = np.asarray(samples, dtype=np.int64)
    where, abundances, offsets = read_samples(study, samples, reading)
    distinct, inverse = np.unique(study.asvs[where], return_inverse=True)
    codes = lengths = None
    if sequences:
        lengths = torch.from_numpy(study.lengths[distinct].astype(np.int64))
        codes = torch.from_numpy(np.ascontiguousarray(study.codes[distinct, : int(lengths.max())]))
    return Batch(
        samples=torch.from_numpy(samples),
        distinct=torch.from_numpy(distinct.astype(np.int64)),
        codes=codes,
        lengths=lengths,
        asvs=torch.from_numpy(inverse.astype(np.int64)),
        abundances=torch.from_numpy(abundances),
        offsets=torch.from_numpy(offsets),
    )


def read_samples(study, samples, reading=None):
    """Return the positions in the study of what is read of `samples`, its abundances, and where each sample begins."""
    where, offsets = positions_of(study.offsets, samples)
    abundances = np.array(study.abundances[where])
    if reading is not None:
        keep, abundances = reading(abundances, offsets)
        where, abundances = where[keep], abundances[keep]
        offsets = np.concatenate([[0], np.cumsum(keep)])[offsets]
    return where, abundances, offsets


def positions_of(offsets, samples):
    """Positions of all non-zeros of `samples`, int64 [N], and where each sample begins in them, int64 [B + 1]."""
    sizes = offsets[samples + 1] - offsets[samples]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return np.arange(starts[-1]) + np.repeat(offsets[samples] - starts[:-1], sizes), starts


def batches_of_epoch(rows, batch_size, generator):
    """Yield the rows of each batch of one epoch, shuffled; batches differ in size by at most one.

    Equal sizes instead of a small last batch: no sample is dropped and, from three a batch on, none is
    too small for pairs.
    """
    rows = generator.permutation(rows)
    yield from np.array_split(rows, max(1, -(-len(rows) // batch_size)))


def masked_tokens(lengths, nucleotides_per_token, fraction, generator):
    """Choose tokens to hide: bool [U, T], at least one in each ASV, only where a sequence has nucleotides."""
    lengths = np.asarray(lengths)
    tokens = -(-lengths // nucleotides_per_token)
    score = generator.random((len(lengths), int(tokens.max())), dtype=np.float32)
    real = np.arange(score.shape[1]) < tokens[:, None]
    # rank within the ASV, so that the share is the same in each
    rank = np.argsort(np.argsort(np.where(real, score, 2.0), axis=1), axis=1)
    hidden = np.maximum(1, np.round(fraction * tokens)).astype(np.int64)
    return torch.from_numpy((rank < hidden[:, None]) & real)
