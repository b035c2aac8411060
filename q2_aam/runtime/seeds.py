"""Where random numbers come from: each use has a stream of its own, so that what one draws never changes another."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


@enum.unique
class Stream(enum.IntEnum):
    """Every stream of random numbers of a run. Changing a number changes what all models learn from a given seed."""

    # the training loop: the order of an epoch's samples; augmentation and masking of one step
    SHUFFLE = 0
    STEP = 1
    # the data: splits; the masked tokens of validation; points of plots
    SPLIT = 10
    VALIDATION_MASK = 11
    POINTS = 12
    # distances from a phylogeny: mean and variance; the samples that are scored; their rarefied reads
    ESTIMATE = 13
    SCORED = 14
    DRAWN = 15
    # the ASVs that represent the training samples
    REFERENCES = 16
    # the network: the samples that its memberships start from; its first weights
    INITIALISE = 17
    WEIGHTS = 18
    # the abundance ensemble: the groups that each member leaves out; batches; dropout; first weights; trees;
    # dropped ASVs
    ENSEMBLE = 20
    ENSEMBLE_BATCHES = 21
    ENSEMBLE_DROPOUT = 22
    ENSEMBLE_WEIGHTS = 23
    ENSEMBLE_TREES = 24
    ENSEMBLE_ASVS = 25
    # how far samples lie from training samples; hidden ASVs; how hard samples are to predict
    FAMILIARITY = 26
    THINNED = 27
    DIFFICULTY = 28
    # the seed of members that are fitted once more, to see how they differ
    ENSEMBLE_AGAIN = 29
    # the random forest: the samples that it learns from where there are many; its first seed
    FOREST = 30
    CHOSEN = 31
    # folds by which a scaling of the target is chosen
    CHOICE = 40
    # covariates that perceptrons do without
    ENSEMBLE_COVARIATES = 50
    # the parameters that each trial of a search draws
    SEARCH = 60
    # the masked abundances of validation samples; the ASVs that a pass of a prediction reads
    VALIDATION_ABUNDANCES = 70
    PASSES = 71


def numpy_generator(seed: int, stream: Stream, *more: int) -> np.random.Generator:
    """Return the numpy generator of one stream.

    Parameters
    ----------
    seed : int
        Of the run.
    stream : Stream
    *more : int
        Which part of the stream, e.g. the step; always as many for one stream: numpy takes (1,) and (1, 0) as the same.
    """
    return np.random.default_rng([seed, int(stream), *more])


def torch_generator(seed: int, stream: Stream, *more: int, device: str | torch.device = 'cpu') -> torch.Generator:
    """Return the torch generator of one stream; see :func:`numpy_generator`.

    Parameters
    ----------
    device : str or torch.device
        Where it draws. The numbers of a CPU and of a GPU differ.
    """
    import torch

    return torch.Generator(device).manual_seed(int(numpy_generator(seed, stream, *more).integers(2**63)))
