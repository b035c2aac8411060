"""Sums, means and maxima over the parts of a whole: the ASVs of a sample, the tokens of an ASV.

Parts are told apart by `parts`: int64 [R], how many of the N rows each of R wholes has, one after the other; or, where
each has as many places and some of them are padding (as in a graph for other runtimes, which knows no ragged rows),
bool [R, S], which of its S places are real: N is then R x S.

Shapes: N rows, R wholes, S places of each.
"""

import torch


def mean_of(x: torch.Tensor, parts: torch.Tensor) -> torch.Tensor:
    """Return the mean of the parts of each whole, [R, ...] of [N, ...]."""
    if parts.dtype == torch.bool:
        real = _real(x, parts)
        return _padded(x, parts).masked_fill(~real, 0.0).sum(1) / real.sum(1)
    return torch.segment_reduce(x, 'mean', lengths=parts, axis=0, unsafe=True)


def sum_of(x: torch.Tensor, parts: torch.Tensor) -> torch.Tensor:
    """Return the sum of the parts of each whole, [R, ...] of [N, ...]."""
    if parts.dtype == torch.bool:
        return _padded(x, parts).masked_fill(~_real(x, parts), 0.0).sum(1)
    return torch.segment_reduce(x, 'sum', lengths=parts, axis=0, unsafe=True)


def largest_of(x: torch.Tensor, parts: torch.Tensor) -> torch.Tensor:
    """Return the largest of the parts of each whole, [R, ...] of [N, ...]."""
    if parts.dtype == torch.bool:
        return _padded(x, parts).masked_fill(~_real(x, parts), -torch.inf).amax(1)
    return torch.segment_reduce(x, 'max', lengths=parts, axis=0, unsafe=True)


def wholes_of(parts: torch.Tensor, rows: int) -> torch.Tensor:
    """Return the number of the whole that each of N `rows` is a part of, int64 [N]."""
    wholes = torch.arange(parts.shape[0], device=parts.device)
    if parts.dtype == torch.bool:
        return wholes[:, None].expand(parts.shape).reshape(-1)
    return torch.repeat_interleave(wholes, parts, output_size=rows)


def _padded(x, parts):
    return x.unflatten(0, parts.shape)


def _real(x, parts):
    """Return which places are real, as a mask of what :func:`_padded` returns."""
    return parts.reshape(*parts.shape, *(1 for _ in x.shape[1:]))
