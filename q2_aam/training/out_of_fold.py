"""What members of the abundance ensemble say of samples that they have not learned from.

Shapes: N labelled samples, T of them, M members, B samples of a block, O outputs.
"""

import functools

import numpy as np

from q2_aam.model.abundance_ensemble import Members
from q2_aam.model.perceptrons import Perceptrons
from q2_aam.runtime.memory import with_less_memory

from .members import MemberData

# Samples whose outputs are computed at a time: with thousands of classes, those of all members for all samples would be
# gigabytes.
SAMPLES_AT_ONCE = 256


def out_of_fold(members: Members, data: MemberData, samples: np.ndarray | None = None) -> np.ndarray:
    """Return for each sample the outputs of the member that has not learned from it, float64 [T, O].

    Parameters
    ----------
    members : q2_aam.model.abundance_ensemble.Members
        Of any kind.
    data : MemberData
        Of the N labelled samples, from which they have learned.
    samples : int64 [T], optional
        Numbers of the samples among the N; all of them where they are not given.
    """
    samples = np.arange(len(data.fold)) if samples is None else samples
    blocks = []
    for start in range(0, len(samples), SAMPLES_AT_ONCE):
        samples_B = samples[start : start + SAMPLES_AT_ONCE]
        outputs = functools.partial(members.outputs, data.features[samples_B])
        # the others hold next to nothing
        outputs_MBO = with_less_memory(members, outputs) if isinstance(members, Perceptrons) else outputs()
        blocks.append(outputs_MBO[data.fold[samples_B], np.arange(len(samples_B))])
    return np.concatenate(blocks)
