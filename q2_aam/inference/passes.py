"""Predictions as the mean of several passes, each of which reads a random subset of the ASVs of every sample.

The subset of a sample follows from its id and the pass alone: whatever else is in the table changes nothing.

Shapes: N samples of a study, Z their non-zeros, O outputs, P passes.
"""

import dataclasses
import hashlib
from collections.abc import Callable

import numpy as np

from q2_aam.bundle import Bundle, NumericTarget
from q2_aam.data.augmentation import largest_of_each
from q2_aam.data.study import Study
from q2_aam.runtime.encode import StudyReader
from q2_aam.runtime.seeds import Stream, numpy_generator

# Column of the standard deviation over passes: of a number in its unit, of classes of the probability of the one that
# is predicted.
SPREAD = 'passes_sd'
# Share of the ASVs that a pass leaves out where training left out none.
USUAL_DROPOUT = 0.2


def mean_of_passes(
    model: Bundle, reader: StudyReader, number: int, outputs_of: Callable[[StudyReader], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean outputs of several passes, float64 [N, O], and those of each, float64 [P, N, O].

    A pass leaves out as many ASVs as a step of training, and reads no more of a sample than a step that draws them.

    Parameters
    ----------
    model : Bundle
    reader : StudyReader
        Of the whole samples; its ASVs are remembered.
    number : int
        P.
    outputs_of : callable
        Returns the outputs of the model for all samples of a reader's study.
    """
    call = model.config.call
    limit = int(call.data.max_asvs_per_sample) if call.data.asv_choice == 'random' else 0
    passes = []
    for one in range(number):
        some = StudyReader(
            random_subset(reader.study, one, call.training.asv_dropout or USUAL_DROPOUT, limit), reader.augment
        )
        some.asvs, some.given = reader.asvs, reader.given
        passes.append(outputs_of(some))
    return np.mean(passes, axis=0), np.stack(passes)


def spread(target, columns: dict[str, np.ndarray], passes_PNO: np.ndarray) -> np.ndarray:
    """Return the column SPREAD for the samples of which `columns` tell what is predicted, float64 [N]."""
    if isinstance(target, NumericTarget):
        return np.std([target.predictions(outputs) for outputs in passes_PNO], axis=0)
    place = np.array([target.classes.index(name) for name in columns['prediction']])
    every = np.arange(len(place))
    return np.std([target.probabilities(outputs)[every, place] for outputs in passes_PNO], axis=0)


def random_subset(study: Study, number: int, dropout: float, limit: int = 0) -> Study:
    """Return a study of the same samples with a random subset of the ASVs of each, at least one.

    Parameters
    ----------
    study : Study
    number : int
        Of the pass.
    dropout : float
        Probability that an ASV is left out.
    limit : int
        Number of ASVs of a sample at most; 0: there is no limit.
    """
    asvs, shares = np.asarray(study.asvs), np.asarray(study.abundances)
    drawn_Z = np.concatenate(
        [
            _drawn(name, number, asvs[begin:end])
            for name, begin, end in zip(study.sample_ids, study.offsets[:-1], study.offsets[1:])
        ]
    )
    keep_Z = drawn_Z >= dropout
    if limit:
        keep_Z &= largest_of_each(drawn_Z, study.offsets, limit)
    sample_Z = np.repeat(np.arange(len(study)), study.richness)
    empty_N = np.bincount(sample_Z[keep_Z], minlength=len(study)) == 0
    # a sample of which nothing is left keeps its most abundant ASV
    keep_Z |= largest_of_each(shares, study.offsets, 1) & empty_N[sample_Z]
    kept = shares[keep_Z].astype(np.float64)
    total_N = np.bincount(sample_Z[keep_Z], kept, minlength=len(study))
    subset = dataclasses.replace(
        study,
        offsets=np.concatenate([[0], np.cumsum(keep_Z)])[study.offsets],
        asvs=asvs[keep_Z],
        abundances=(kept / total_N[sample_Z[keep_Z]]).astype(np.float32),
        reads=study.reads * total_N,
    )
    # its ASVs are the same
    subset.__dict__['keys'] = study.keys
    return subset


def _drawn(name, number, asvs):
    """Return a random number for each ASV of a sample, in the order of the ASVs themselves."""
    digest = int.from_bytes(hashlib.sha256(name.encode(errors='surrogatepass')).digest()[:8], 'big')
    drawn = numpy_generator(0, Stream.PASSES, number, digest).random(len(asvs))
    return drawn[np.argsort(np.argsort(asvs, kind='stable'), kind='stable')]
