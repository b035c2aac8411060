"""Branches of tokens for an encoder that learned memberships alone: what tells sequences apart that it never saw.

Memberships are smooth in the sequence. Samples share the branch of a token if both have these nucleotides at this
place. Tokens that were learned from are in memberships already, and need shorter branches (docs/encoders.md).
"""

import dataclasses
import json
import pathlib

import numpy as np

from q2_aam import bundle
from q2_aam.bundle.token_branches import TokenBranches
from q2_aam.data.sequences import encode, sequences_of
from q2_aam.data.table import read_table


def with_token_branches(encoder, folder, known_length, new_length, table, fasta):
    """Write the bundle of an encoder in which tokens have branches, and all else is as it was.

    Parameters
    ----------
    encoder : path
        Bundle of an encoder with a head for distances by memberships alone.
    folder : path
        Where the new one is written; it exists.
    known_length, new_length : float
        Of the branches of tokens that it learned from, and of others; those of memberships have a length of up to
        about 1.
    table, fasta : path
        What it learned from.
    """
    model = bundle.load(encoder, bundle.ENCODER)
    form = model.config.call.model
    sequences = sequences_of(read_table(table).feature_ids, fasta)
    codes, _ = encode([sequence[: form.max_sequence_length] for sequence in sequences])
    none = TokenBranches(np.zeros(0, np.int64), np.array([known_length, new_length]))
    branches = none.learned_from(codes, form.nucleotides_per_token)
    card = json.loads((pathlib.Path(encoder) / bundle.CARD_FILE).read_text(encoding='utf-8'))
    bundle.save(folder, dataclasses.replace(model, token_branches=branches), card)
