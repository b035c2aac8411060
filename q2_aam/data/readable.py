"""What a network can read of samples: all of their ASVs, and of named features those that it knows or can place."""

import dataclasses

import numpy as np

from .batches import Drawn, draw_samples, with_sequences
from .study import Study


def draw_readable(study: Study, rows, augment=None, sequences=False) -> Drawn:
    """Read samples as :func:`q2_aam.data.batches.draw_samples` does, but leave out named features that have no tokens.

    Of a sample that has no others, they stay: the network is then told how many they are and no more.
    """
    drawn = draw_samples(study, rows, augment)
    if study.tokens is not None:
        keep = study.readable[drawn.asvs]
        none = np.add.reduceat(keep, drawn.offsets[:-1], dtype=np.int64) == 0
        keep |= np.repeat(none, np.diff(drawn.offsets))
        drawn = dataclasses.replace(
            drawn,
            asvs=drawn.asvs[keep],
            abundances=drawn.abundances[keep],
            offsets=np.concatenate([[0], np.cumsum(keep)])[drawn.offsets],
        )
    return with_sequences(drawn, study) if sequences else drawn
