"""Which nucleotides of ASVs are masked, and what stands in their place.

Shapes: U ASVs, L nucleotides, T tokens of an ASV.
"""

import dataclasses

import numpy as np
import torch

from .batches import SequenceChunk
from .sequences import A, T

# Nucleotides of a span.
MIN_SPAN, MAX_SPAN = 3, 5


def choose_masked(
    lengths: np.ndarray, nucleotides_per_token: int, ratio: float, strategy: str, generator: np.random.Generator
) -> np.ndarray:
    """Choose tokens to mask: bool [U, T], at least one in each ASV, only where a sequence has nucleotides.

    Parameters
    ----------
    lengths : int64 [U]
    nucleotides_per_token : int
    ratio : float
        Share of the tokens of each ASV; spans may take a few more.
    strategy : str
        'random', 'span' (Joshi et al. 2020, doi:10.1162/tacl_a_00300) or 'hybrid'.
    generator : numpy.random.Generator
    """
    if strategy == 'random':
        return choose_masked_tokens(lengths, nucleotides_per_token, ratio, generator)
    tokens = -(-lengths // nucleotides_per_token)
    masked = np.zeros((len(lengths), int(tokens.max())), dtype=bool)
    if strategy == 'hybrid':
        masked = choose_masked_tokens(lengths, nucleotides_per_token, ratio / 2, generator)
    goal = np.maximum(1, np.round(ratio * tokens)).astype(np.int64)
    places = np.arange(masked.shape[1])
    while (wanting := masked.sum(axis=1) < goal).any():
        # spans of all ASVs at once; those that have enough are passed over
        size = np.minimum(generator.integers(MIN_SPAN, MAX_SPAN + 1, len(lengths)), lengths)
        start = (generator.random(len(lengths)) * (lengths - size + 1)).astype(np.int64)
        end = start + size - 1
        first, last = start // nucleotides_per_token, end // nucleotides_per_token
        inside = (places >= first[:, None]) & (places <= last[:, None])
        masked |= inside & wanting[:, None]
    return masked


def with_noise(
    codes: np.ndarray, masked: np.ndarray, noise: float, nucleotides_per_token: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Give a share of the masked tokens random nucleotides in place of the mask, and leave as many as they are.

    So that the network cannot rely on the mask to know what it is asked for (Devlin et al. 2019, arXiv:1810.04805).

    Parameters
    ----------
    codes : uint8 [U, L]
    masked : bool [U, T]
    noise : float
        Of each of both.
    nucleotides_per_token : int
    generator : numpy.random.Generator

    Returns
    -------
    codes : uint8 [U, L]
    masked : bool [U, T]
        The tokens that are still masked.
    """
    fate = generator.random(masked.shape, dtype=np.float32)
    replaced = masked & (fate < noise)
    letters = np.repeat(replaced, nucleotides_per_token, axis=1)[:, : codes.shape[1]] & (codes > 0)
    random = generator.integers(A, T + 1, size=codes.shape, dtype=np.uint8)
    return np.where(letters, random, codes), masked & (fate >= 2 * noise)


def with_mask(chunks: list[SequenceChunk], masked: np.ndarray) -> list[SequenceChunk]:
    """Return chunks in which the tokens that are asked for are masked where `masked`, bool [U, T], is."""
    done, changed = 0, []
    for chunk in chunks:
        rows = slice(done, done + len(chunk.codes))
        if chunk.masked is None:
            raise ValueError('Only chunks with masked tokens can be given a mask.')
        mask = np.ascontiguousarray(masked[rows, : chunk.masked.shape[1]])
        changed.append(dataclasses.replace(chunk, masked=torch.from_numpy(mask)))
        done += len(chunk.codes)
    return changed


def choose_masked_tokens(
    lengths: np.ndarray, nucleotides_per_token: int, ratio: float, generator: np.random.Generator
) -> np.ndarray:
    """Choose tokens to mask: bool [U, T], at least one in each ASV, only where a sequence has nucleotides."""
    tokens = -(-lengths // nucleotides_per_token)
    score = generator.random((len(lengths), int(tokens.max())), dtype=np.float32)
    real = np.arange(score.shape[1]) < tokens[:, None]
    # rank within the ASV, so that the share is the same in each
    rank = np.argsort(np.argsort(np.where(real, score, 2.0), axis=1), axis=1)
    masked = np.maximum(1, np.round(ratio * tokens)).astype(np.int64)
    return (rank < masked[:, None]) & real
