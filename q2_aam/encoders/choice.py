"""Which encoder reads a table: the one that is given, or one that comes with the package."""

import dataclasses
import pathlib
import warnings

import numpy as np

from q2_aam import bundle
from q2_aam.config import AUTO
from q2_aam.config.default_encoder import NONE
from q2_aam.data.applicability import MAJORITY
from q2_aam.data.harmonize import harmonize
from q2_aam.data.sequences import encode, sequences_of
from q2_aam.data.study import Study
from q2_aam.data.table import read_table
from q2_aam.errors import AAMWarning, UserError

from . import NEWEST, path_of

# Sequences that are compared with references at a time.
BLOCK = 2**14


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The encoder that reads a table.

    Attributes
    ----------
    path : path
        Its bundle.
    name : str or None
        Where it is one that comes with the package.
    asked_for : bool
        Whether the user named it or gave it.
    """

    path: pathlib.Path
    name: str | None
    asked_for: bool

    def check(self, share: float, say) -> None:
        """Say how much of a table it can read; `share` is that of the reads that are near what it learned from.

        Raises
        ------
        UserError
            If it is too little, and nobody asked for this encoder.
        """
        if self.name is not None:
            say(
                f'Encoder: {self.name}, which comes with q2-aam; {share:.0%} of the reads are in sequences near those '
                'that it learned from.'
            )
        if share >= MAJORITY:
            return
        few = f'{share:.0%} of the reads of the table are in sequences near those that the encoder'
        if not self.asked_for:
            raise UserError(
                f'Only {few} {self.name} learned from (16S V4 from primer 515F on): give an encoder of the region of '
                f'the table (pretrain makes one), or set default_encoder to {self.name} to use it all the same.'
            )
        warnings.warn(
            f'Only {few} learned from, so that what it makes of the others may be far off: give an encoder that was '
            'trained on such sequences.',
            AAMWarning,
            stacklevel=2,
        )


def choose(given, default_encoder: str) -> Chosen | None:
    """Return the encoder that is `given` (a path), else the one that `default_encoder` names; None for neither.

    Raises
    ------
    UserError
        If both are asked for, or if the one that comes with the package is damaged.
    """
    if given is not None:
        if default_encoder not in (AUTO, NONE):
            raise UserError(
                f'Two encoders are asked for at once: give no encoder, or leave default_encoder ({default_encoder}) at '
                'auto.'
            )
        return Chosen(pathlib.Path(given), None, True)
    if default_encoder == NONE:
        return None
    name = NEWEST if default_encoder == AUTO else default_encoder
    return Chosen(path_of(name), name, default_encoder != AUTO)


def choose_to_read(given, default_encoder: str) -> Chosen:
    """Return what :func:`choose` does, for an action that cannot do without an encoder."""
    chosen = choose(given, default_encoder)
    if chosen is None:
        raise UserError(
            'No encoder is given and default_encoder is none; give an encoder or set default_encoder to auto.'
        )
    return chosen


def share_near(study: Study, model: bundle.Bundle) -> float:
    """Return the share of the reads of a study that are in ASVs near those that a model learned from."""
    near = model.similarity(study).near
    reads = study.abundances * np.repeat(study.reads, study.richness)
    return float(np.average(near[study.asvs], weights=reads))


def share_readable(table, sequences, model: bundle.Bundle) -> float:
    """Return the share of the reads of a table that a fit can read as they stand.

    They are in sequences near the encoder's references, which begin where these do and run in the same direction: a fit
    reads sequences as they are.

    Parameters
    ----------
    table : path
        BIOM 2.1 HDF5.
    sequences : path or None
        FASTA with the sequence of each feature; without it the feature ids are the sequences.
    model : q2_aam.bundle.Bundle
        The encoder.

    Raises
    ------
    UserError
        If an input cannot be used.
    """
    references, max_length = model.references, model.config.call.model.max_sequence_length
    if references is None:
        return 0.0
    opened = read_table(table)
    of_features = sequences_of(opened.feature_ids, sequences)
    read = [sequence[:max_length] for sequence in of_features]
    starts = range(0, len(read), BLOCK)
    near = np.concatenate([references.similarity(*encode(read[start : start + BLOCK])).near for start in starts])
    harmonized = harmonize(of_features, references, None, max_length)
    if harmonized is not None:
        near &= (harmonized.offset == 0) & ~harmonized.reverse_complement
    reads = np.zeros(len(near))
    for counts in opened.blocks():
        reads += np.asarray(counts.sum(axis=0), dtype=np.float64).ravel()
    return float(np.average(near, weights=reads)) if reads.sum() > 0 else 0.0
