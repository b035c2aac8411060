"""Batches of tensors: the samples of a batch, each distinct ASV among them once, cut into chunks with their layouts.

Everything that depends on how long or how rich something is, is worked out here, on the CPU, so that the forward pass
of a network is tensors only.

Shapes: B samples, N non-zeros of the table, U distinct ASVs, L nucleotides, T tokens of an ASV, M masked tokens.
"""

import dataclasses
import functools

import numpy as np
import torch

from .covariates import Covariates
from .layouts import Layout, cut, layout_of
from .study import Study
from .tensors import moved, with_tensors


@dataclasses.dataclass(frozen=True)
class Drawn:
    """What is read of samples: all of it or, in training, a random part.

    Attributes
    ----------
    rows : int64 [B]
        Row of each sample in the study.
    asvs : int [N]
        Row in the study of the ASV of each non-zero.
    abundances : float32 [N]
        Its share of the sample's reads.
    offsets : int64 [B + 1]
        Where each sample begins in `asvs`.
    codes : uint8 [U, L], or None where sequences are not read
    lengths : int64 [U], or None
    covariates : q2_aam.data.covariates.Covariates or None
        Of the samples.
    depths : float32 [B], or None
        Reads of each sample, of which `abundances` are the shares.
    """

    rows: np.ndarray
    asvs: np.ndarray
    abundances: np.ndarray
    offsets: np.ndarray
    codes: np.ndarray | None = None
    lengths: np.ndarray | None = None
    covariates: Covariates | None = None
    depths: np.ndarray | None = None

    @functools.cached_property
    def _unique(self):
        return np.unique(self.asvs, return_inverse=True)

    @property
    def distinct(self) -> np.ndarray:
        """Row in the study of each distinct ASV, sorted, [U]."""
        return self._unique[0]

    @property
    def inverse(self) -> np.ndarray:
        """Place among the distinct ASVs of each non-zero, int64 [N]."""
        return self._unique[1]


@dataclasses.dataclass(frozen=True)
class Budget:
    """How much of a batch is computed at once; a network tells its own (:meth:`q2_aam.model.network.Network.budget`).

    Attributes
    ----------
    max_floats : int
        Floats of activations that each level may keep for its gradient.
    nucleotides_per_token : int
    per_sequence_token, per_sample_token, per_asv, per_pair : int
        Floats that are kept for each token of an ASV, each token of a sample and each ASV of a sample, and that
        attention holds for each pair of tokens.
    max_tokens : int
        Tokens of a chunk, where there is room for more: see :meth:`q2_aam.model.network.Network.budget`.
    ragged : bool
        Whether attention needs no buckets of sequences of like length.
    """

    max_floats: int
    nucleotides_per_token: int
    per_sequence_token: int
    per_sample_token: int
    per_asv: int
    per_pair: int
    max_tokens: int = 2**62
    ragged: bool = False


@dataclasses.dataclass
class SequenceChunk:
    """Distinct ASVs that are encoded together.

    Attributes
    ----------
    codes : uint8 [U, L]
    tokens : int64 [U]
        Tokens of each ASV.
    real : int64 [N]
        Place of each token among the U x T of the padded codes.
    layout : Layout
    masked : bool [U, T], or None
        Tokens whose nucleotides are masked.
    masked_tokens : int64 [M], or None
        Place of the masked tokens among the N.
    kept : bool
        Whether activations are kept for the gradient; else they are computed again.
    """

    codes: torch.Tensor
    tokens: torch.Tensor
    real: torch.Tensor
    layout: Layout
    masked: torch.Tensor | None
    masked_tokens: torch.Tensor | None
    kept: bool


@dataclasses.dataclass
class SampleChunk:
    """Samples that are encoded together.

    Attributes
    ----------
    asvs : int64 [N]
        Place of each non-zero among the distinct ASVs of the batch.
    abundances : float32 [N]
    richness : int64 [B]
    source : int64 [N + B]
        What each token is: 0 the summary token, i + 1 non-zero i.
    summaries : int64 [B]
        Place of the summary tokens among the N + B.
    members : int64 [N]
        Place of the others.
    layout : Layout
    kept : bool
    codes : int64 [B, C], or None
        Category of each categorical covariate, 0 where it is unknown; None where no covariates are read.
    numbers : float32 [B, R, 2], or None
        See :attr:`q2_aam.data.covariates.Covariates.views`.
    depths : float32 [B], or None
        Reads of each sample.
    """

    asvs: torch.Tensor
    abundances: torch.Tensor
    richness: torch.Tensor
    source: torch.Tensor
    summaries: torch.Tensor
    members: torch.Tensor
    layout: Layout
    kept: bool
    codes: torch.Tensor | None = None
    numbers: torch.Tensor | None = None
    depths: torch.Tensor | None = None


@dataclasses.dataclass
class Batch:
    """What a network is given.

    Attributes
    ----------
    heads : tuple of str
        The heads whose outputs are asked for.
    sequences : list of SequenceChunk
        Of all distinct ASVs; empty where `embeddings` are at hand or only masked sequences are read.
    embeddings : [U, D], or None
    samples : list of SampleChunk
    masked : list of SequenceChunk
        ASVs that are read for the sake of their masked tokens.
    masked_samples : list of SampleChunk
        Samples that are read for the sake of the abundances that they do not show: those are below 0.
    labels : dict
        What objectives have put in for their losses.
    given : dict
        {head: what else it is given, in order: what its hidden units are multiplied by, the category of each sample}.
    """

    heads: tuple[str, ...] = ()
    sequences: list[SequenceChunk] = dataclasses.field(default_factory=list)
    embeddings: torch.Tensor | None = None
    samples: list[SampleChunk] = dataclasses.field(default_factory=list)
    masked: list[SequenceChunk] = dataclasses.field(default_factory=list)
    masked_samples: list[SampleChunk] = dataclasses.field(default_factory=list)
    labels: dict[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    given: dict[str, list[torch.Tensor | None]] = dataclasses.field(default_factory=dict)

    def to(self, device: torch.device) -> 'Batch':
        """Return the batch on another device."""
        return moved(self, device)

    def pinned(self) -> 'Batch':
        """Return the batch in memory from which a GPU copies while it computes."""
        return with_tensors(self, lambda tensor: tensor if tensor.is_cuda else tensor.pin_memory())


def draw_samples(study: Study, rows, augment=None, sequences=False) -> Drawn:
    """Read samples of a study.

    Parameters
    ----------
    study : q2_aam.data.study.Study
    rows : int64 [B]
    augment : callable, optional
        From :func:`q2_aam.data.augmentation.make_augmentation`: what of each sample is taken.
    sequences : bool
        Whether to read the sequences too.
    """
    rows = np.asarray(rows, dtype=np.int64)
    where, offsets = positions_of(study.offsets, rows)
    abundances, depths = np.array(study.abundances[where]), study.reads[rows]
    if augment is not None:
        keep, shares = augment(abundances, offsets)
        counted, where, abundances = abundances[keep], where[keep], shares[keep]
        offsets = np.concatenate([[0], np.cumsum(keep)])[offsets]
        # shares may be those of what is left
        depths = depths * np.add.reduceat(counted, offsets[:-1]) / np.add.reduceat(abundances, offsets[:-1])
    covariates = None if study.covariates is None else study.covariates.of(rows)
    depths = depths.astype(np.float32)
    drawn = Drawn(rows, study.asvs[where], abundances, offsets, covariates=covariates, depths=depths)
    return with_sequences(drawn, study) if sequences else drawn


def with_sequences(drawn: Drawn, study: Study) -> Drawn:
    """Return what was drawn of a study with what a network reads of its ASVs."""
    codes, lengths = read_sequences(study, drawn.distinct)
    return dataclasses.replace(drawn, codes=codes, lengths=lengths)


def read_sequences(study: Study, asvs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return codes [U, L], as long as the longest, and lengths [U] of ASVs of a study; of named features, tokens."""
    if study.tokens is not None:
        tokens = study.tokens[asvs]
        lengths = np.maximum((tokens > 0).sum(axis=1), 1).astype(np.int64)
        return np.ascontiguousarray(tokens[:, : int(lengths.max())]), lengths
    lengths = study.lengths[asvs].astype(np.int64)
    return np.ascontiguousarray(study.codes[asvs, : int(lengths.max())]), lengths


def make_batch(drawn: Drawn, budget: Budget, heads=(), embeddings=None) -> Batch:
    """Return the batch of what was drawn: its samples and, unless there are `embeddings` of them, its sequences."""
    samples = sample_chunks(drawn.inverse, drawn.abundances, drawn.offsets, budget, drawn.covariates, drawn.depths)
    if embeddings is not None:
        return Batch(tuple(heads), embeddings=embeddings, samples=samples)
    if drawn.codes is None or drawn.lengths is None:
        raise TypeError('A batch needs sequences or embeddings of its ASVs; draw the samples with their sequences.')
    return Batch(tuple(heads), sequences=sequence_chunks(drawn.codes, drawn.lengths, budget), samples=samples)


def sequence_chunks(codes: np.ndarray, lengths: np.ndarray, budget: Budget, masked=None) -> list[SequenceChunk]:
    """Cut sequences into chunks that fit `budget`.

    Parameters
    ----------
    codes : uint8 [U, L]
    lengths : int64 [U]
    budget : Budget
    masked : bool [U, T], optional
        See :func:`q2_aam.data.masking.choose_masked`.
    """
    tokens_U = -(-lengths // budget.nucleotides_per_token)
    # all as long as the longest: what a chunk holds while its tokens are embedded
    tokens = int(tokens_U.max())
    floats = np.full(len(codes), budget.per_sequence_token * tokens + budget.per_pair * tokens**2)
    return [
        _sequence_chunk(
            *(codes[a:b], lengths[a:b], tokens_U[a:b], None if masked is None else masked[a:b]),
            *(kept, budget.ragged),
        )
        for a, b, kept in cut(floats, budget.max_floats, budget.max_tokens * budget.per_sequence_token)
    ]


def _sequence_chunk(codes_UL, lengths_U, tokens_U, masked_UT, kept, ragged):
    tokens = int(tokens_U.max())
    real_N = np.flatnonzero(np.arange(tokens) < tokens_U[:, None])
    masked_M = None
    if masked_UT is not None:
        masked_UT = np.ascontiguousarray(masked_UT[:, :tokens])
        masked_M = torch.from_numpy(np.flatnonzero(masked_UT.ravel()[real_N]))
    return SequenceChunk(
        codes=torch.from_numpy(np.ascontiguousarray(codes_UL[:, : int(lengths_U.max())])),
        tokens=torch.from_numpy(tokens_U),
        real=torch.from_numpy(real_N),
        layout=layout_of(tokens_U, ragged),
        masked=None if masked_UT is None else torch.from_numpy(masked_UT),
        masked_tokens=masked_M,
        kept=kept,
    )


def sample_chunks(
    asvs: np.ndarray,
    abundances: np.ndarray,
    offsets: np.ndarray,
    budget: Budget,
    covariates: Covariates | None = None,
    depths: np.ndarray | None = None,
) -> list[SampleChunk]:
    """Cut samples into chunks that fit `budget`; `asvs` [N] are places among the distinct ASVs of the batch."""
    richness_B = np.diff(offsets)
    tokens_B = richness_B + 1
    floats = budget.per_sample_token * tokens_B + budget.per_pair * tokens_B**2 + budget.per_asv * richness_B
    codes_BC, numbers_BR2 = (None, None) if covariates is None else (covariates.codes, covariates.views)
    chunks = []
    for first, end, kept in cut(floats, budget.max_floats, budget.max_tokens * budget.per_sample_token):
        inside = slice(offsets[first], offsets[end])
        # the summary token of a sample stands before its ASVs
        summaries = np.concatenate([[0], np.cumsum(tokens_B[first : end - 1])])
        is_summary = np.zeros(int(tokens_B[first:end].sum()), dtype=bool)
        is_summary[summaries] = True
        chunks.append(
            SampleChunk(
                asvs=torch.from_numpy(asvs[inside].astype(np.int64)),
                abundances=torch.from_numpy(np.ascontiguousarray(abundances[inside])),
                richness=torch.from_numpy(richness_B[first:end]),
                source=torch.from_numpy(np.where(is_summary, 0, np.cumsum(~is_summary))),
                summaries=torch.from_numpy(summaries),
                members=torch.from_numpy(np.flatnonzero(~is_summary)),
                layout=layout_of(tokens_B[first:end], budget.ragged),
                kept=kept,
                codes=None if codes_BC is None else torch.from_numpy(codes_BC[first:end]),
                numbers=None if numbers_BR2 is None else torch.from_numpy(numbers_BR2[first:end]),
                depths=None if depths is None else torch.from_numpy(depths[first:end]),
            )
        )
    return chunks


def positions_of(offsets: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of all non-zeros of `samples`, int64 [N], and where each sample begins in them, int64 [B + 1]."""
    sizes = offsets[samples + 1] - offsets[samples]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return np.arange(starts[-1]) + np.repeat(offsets[samples] - starts[:-1], sizes), starts
