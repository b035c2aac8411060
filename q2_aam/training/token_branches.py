"""Branches of tokens in pretraining: memberships learn beside them.

Those of an encoder that it goes on from are kept, and an encoder may begin with some.

Added after training instead, with whatever lengths, they do worse on held-out samples of the study, and on other
studies (docs/encoders.md). Lengths fitted to the training samples afterwards are those that were there, so that none
are fitted.
"""

import warnings

import numpy as np

from q2_aam.bundle.token_branches import TokenBranches
from q2_aam.data.batches import positions_of
from q2_aam.data.splits import TRAINING
from q2_aam.data.tokens import MAX_SIZE
from q2_aam.errors import AAMWarning, UserError, counted
from q2_aam.runtime.recorder import Recorder

from .prepare import Prepared

# Branches of tokens with which an encoder begins are so long, divided by its memberships: with 256 of these, 0.06, so
# that half of what samples have is tokens at first (docs/encoders.md).
LENGTH_BY_MEMBERSHIPS = 15.36


def keep_token_branches(prepared: Prepared, recorder: Recorder) -> None:
    """Let an encoder learn distances with the branches of tokens that it goes on from, or begins with, and say so.

    Tokens of the training samples join those that it has learned from, as far as it reads sequences; lengths stay. What
    begins without has those of the training samples alone.

    Parameters
    ----------
    prepared : q2_aam.training.prepare.Prepared
        Nothing is done where token_branches is off, or is auto and there is no initial encoder that has some.
    recorder : q2_aam.runtime.recorder.Recorder

    Warns
    -----
    AAMWarning
        If there are such branches, but no distances to learn.

    Raises
    ------
    UserError
        If token_branches is on and there can be none: no distances, no sequences, or tokens that are too long.
    """
    source, wanted = prepared.source, prepared.config.training.token_branches
    known = None if source is None else source.token_branches
    if wanted == 'off' or known is None:
        if wanted == 'on':
            _begin(prepared, recorder)
        return
    if prepared.distances is None:
        warnings.warn(
            'The initial encoder predicts distances between samples, but the new one will not, because it learns none: '
            'give a distance_matrix or a phylogeny, and leave distance_weight above 0.',
            AAMWarning,
            stacklevel=2,
        )
        return
    form = prepared.config.model
    branches = _learned_from(known, prepared, form)
    prepared.distances.use(branches, form)
    more = len(branches.keys) - len(known.keys)
    recorder.say(
        f'Branches of tokens: those of the initial encoder are kept, and {counted(more, "token")} of the training '
        f'samples {"joins" if more == 1 else "join"} the {len(known.keys):,} that it has learned from.'
    )


def _begin(prepared, recorder):
    """Let an encoder learn distances beside branches of the tokens of its training samples, and say so."""
    form = prepared.config.model
    if prepared.distances is None:
        raise UserError(
            'Parameter token_branches is on, but no distances are learned: give a distance_matrix or a phylogeny, and '
            'leave distance_weight above 0, or set it to off.'
        )
    if prepared.study.named:
        raise UserError(
            'Parameter token_branches is on, but the features have no sequences, and so no tokens; give sequences, or '
            'set it to off.'
        )
    if form.nucleotides_per_token > MAX_SIZE:
        raise UserError(
            f'Parameter token_branches is on, which takes tokens of at most {MAX_SIZE} nucleotides, but '
            f'nucleotides_per_token is {form.nucleotides_per_token}; lower it, or set token_branches to off.'
        )
    lengths = np.full(2, LENGTH_BY_MEMBERSHIPS / form.memberships)
    branches = _learned_from(TokenBranches(np.zeros(0, np.int64), lengths), prepared, form)
    prepared.distances.use(branches, form)
    recorder.say(
        f'Branches of tokens: {counted(len(branches.keys), "token")} of the training samples, each of length '
        f'{lengths[0]:.2g}.'
    )


def _learned_from(branches, prepared, form):
    """Return the branches of an encoder that has learned from the training samples, too."""
    study = prepared.study
    where, _ = positions_of(study.offsets, prepared.rows[TRAINING])
    return branches.learned_from(study.codes[np.unique(study.asvs[where])], form.nucleotides_per_token)


def token_branches_of(prepared: Prepared) -> TokenBranches | None:
    """Return the branches of tokens that the new encoder has; where it learns no distances, those from before."""
    distances = prepared.distances
    if distances is not None:
        return None if distances.tokens is None else distances.tokens.branches
    return None if prepared.source is None else prepared.source.token_branches
