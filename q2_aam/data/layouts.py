"""Where the tokens of sequences of unequal length stand: buckets of like length, made with the batch.

Shapes: N tokens in all, Q places of the buckets (tokens and padding), R sequences in a bucket, S its longest sequence.
"""

import dataclasses

import numpy as np
import torch

# A bucket ends where a sequence is shorter than this share of its longest: less padding against more kernel calls. On
# ECAM a seventeenth of the places are padding.
SHORTEST_IN_BUCKET = 0.85

# Work that exceeds the memory is cut into chunks of this share of it: small, so that little is computed twice.
SHARE_OF_A_CHUNK = 1 / 4


@dataclasses.dataclass
class Bucket:
    """Sequences of like length: shape (R, S), and real bool [R, S] (None: no padding)."""

    shape: tuple[int, int]
    real: torch.Tensor | None


@dataclasses.dataclass
class Layout:
    """How N tokens make sequences, and where each token stands in the padded buckets.

    Attributes
    ----------
    buckets : list of Bucket
    gather : int64 [Q], or None where the tokens are one bucket as they stand
        The token at each place of the buckets, one bucket after the other; padding repeats a token of its sequence.
    place : int64 [N], or None likewise
        The place of each token.
    ends : int32 [R + 1], or None
        Where the tokens are left as they stand, without buckets: where each of R sequences ends, and 0 before them.
    longest : int
        Tokens of the longest of these.
    """

    buckets: list[Bucket]
    gather: torch.Tensor | None
    place: torch.Tensor | None
    ends: torch.Tensor | None = None
    longest: int = 0

    def to_places(self, x_ND: torch.Tensor) -> torch.Tensor:
        """Put tokens into their places, [Q, D]."""
        # index_select, because the gradient of plain indexing is several times slower on a CPU
        return x_ND if self.gather is None else x_ND.index_select(0, self.gather)

    def to_tokens(self, x_QD: torch.Tensor) -> torch.Tensor:
        """Take tokens from their places, [N, D]."""
        return x_QD if self.place is None else x_QD.index_select(0, self.place)


def layout_of(sizes: np.ndarray, ragged: bool = False) -> Layout:
    """Sort sequences into buckets of like length.

    Parameters
    ----------
    sizes : int64 [sequences]
        Number of tokens of each sequence; those of a sequence follow one another, in the order of the sequences.
    ragged : bool
        Whether to leave all tokens as they stand, for a kernel that needs no buckets.
    """
    if ragged:
        ends = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
        return Layout([], None, None, torch.from_numpy(ends), int(sizes.max()))
    if (sizes == sizes[0]).all():
        return Layout([Bucket((len(sizes), int(sizes[0])), None)], None, None)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    order = np.argsort(-sizes, kind='stable')
    buckets, gather, is_real = [], [], []
    start = 0
    while start < len(order):
        longest = sizes[order[start]]
        end = start + int((sizes[order[start:]] >= SHORTEST_IN_BUCKET * longest).sum())
        rows = order[start:end]
        steps = np.arange(longest)
        real = steps < sizes[rows, None]
        gather.append(np.where(real, offsets[rows, None] + steps, offsets[rows, None]).ravel())
        is_real.append(real.ravel())
        buckets.append(Bucket((len(rows), int(longest)), None if real.all() else torch.from_numpy(real)))
        start = end
    token_Q, real_Q = np.concatenate(gather), np.concatenate(is_real)
    place_N = np.empty(offsets[-1], dtype=np.int64)
    place_N[token_Q[real_Q]] = np.flatnonzero(real_Q)
    return Layout(buckets, torch.from_numpy(token_Q), torch.from_numpy(place_N))


def cut(floats: np.ndarray, max_floats: int, most: int = 2**62) -> list[tuple[int, int, bool]]:
    """Cut a row of things that keep `floats` each into chunks: (start, end, whether it is kept for its gradient).

    No chunk keeps more than `most`, unless a single thing does. The last ones are kept, as many as fit into
    `max_floats`: gradients come in reverse, so that they are gone before the first ones are computed again.
    """
    if floats.sum() > max_floats:
        most = min(most, int(SHARE_OF_A_CHUNK * max_floats))
    cuts, held = [0], 0
    for number, size in enumerate(floats.tolist()):
        if held and held + size > most:
            cuts.append(number)
            held = 0
        held += size
    cuts.append(len(floats))
    behind = floats[::-1].cumsum()[::-1]
    return [(start, end, bool(behind[start] <= max_floats)) for start, end in zip(cuts[:-1], cuts[1:])]
