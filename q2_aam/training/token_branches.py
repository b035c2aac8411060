"""Pretraining that goes on from an encoder with branches of tokens: they are kept, and memberships learn beside them.

Added after training instead, with whatever lengths, they do worse on held-out samples of the study, and on other
studies (docs/encoders.md). Lengths fitted to the training samples afterwards are those that were there, so that none
are fitted.
"""

import warnings

import numpy as np

from q2_aam.bundle.token_branches import TokenBranches
from q2_aam.data.batches import positions_of
from q2_aam.data.splits import TRAINING
from q2_aam.errors import AAMWarning, counted
from q2_aam.runtime.recorder import Recorder

from .prepare import Prepared


def keep_token_branches(prepared: Prepared, recorder: Recorder) -> None:
    """Let an encoder that goes on learn distances with the branches of tokens that it has, and say so.

    Tokens of the training samples join those that it has learned from, as far as it reads sequences; lengths stay.

    Parameters
    ----------
    prepared : q2_aam.training.prepare.Prepared
        Nothing is done where it begins from no encoder, or from one without branches of tokens.
    recorder : q2_aam.runtime.recorder.Recorder

    Warns
    -----
    AAMWarning
        If there are such branches, but no distances to learn.
    """
    source = prepared.source
    if source is None or source.token_branches is None:
        return
    if prepared.distances is None:
        warnings.warn(
            'The initial encoder predicts distances between samples, but the new one will not, because it learns none: '
            'give a distance_matrix or a phylogeny, and leave distance_weight above 0.',
            AAMWarning,
            stacklevel=2,
        )
        return
    study, form = prepared.study, source.config.call.model
    where, _ = positions_of(study.offsets, prepared.rows[TRAINING])
    known = source.token_branches
    branches = known.learned_from(study.codes[np.unique(study.asvs[where])], form.nucleotides_per_token)
    prepared.distances.use(branches, form)
    more = len(branches.keys) - len(known.keys)
    recorder.say(
        f'Branches of tokens: those of the initial encoder are kept, and {counted(more, "token")} of the training '
        f'samples {"joins" if more == 1 else "join"} the {len(known.keys):,} that it has learned from.'
    )


def token_branches_of(prepared: Prepared) -> TokenBranches | None:
    """Return the branches of tokens that the new encoder has; where it learns no distances, those from before."""
    distances = prepared.distances
    if distances is not None:
        return None if distances.tokens is None else distances.tokens.branches
    return None if prepared.source is None else prepared.source.token_branches
