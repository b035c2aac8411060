"""Branches of their own for the ASVs of an encoder that learned memberships alone.

Memberships tell ASVs apart that were learned from, and new ones less well: these need longer branches
(docs/encoders.md). Training, which sees no new ones, would find none of them.
"""

import dataclasses
import json
import math
import pathlib

import numpy as np
import torch

from q2_aam import bundle
from q2_aam.bundle.known_asvs import KnownASVs
from q2_aam.config import HeadConfig
from q2_aam.data.sequences import encode, sequence_keys, sequences_of
from q2_aam.data.table import read_table
from q2_aam.model.network import build_network


def keys_of(table, fasta, length):
    """Return the keys of the first `length` nucleotides of the sequences of a table, int64."""
    sequences = sequences_of(read_table(table).feature_ids, fasta)
    return sequence_keys(*encode([sequence[:length] for sequence in sequences]))


def with_own_branches(encoder, folder, length, known_length=None, keys=None):
    """Write the bundle of an encoder in which each ASV has a branch of its own, and all else is as it was.

    Parameters
    ----------
    encoder : path
        Bundle of an encoder with a head for distances.
    folder : path
        Where the new one is written; it exists.
    length : float
        Of the branches, above 0; those of memberships have a length of up to about 1.
    known_length : float, optional
        Of ASVs that it learned from; at most `length`.
    keys : int64, optional
        Of these (:func:`q2_aam.data.sequences.sequence_keys`).
    """
    model = bundle.load(encoder, bundle.ENCODER)
    heads = model.config.heads | {'distances': HeadConfig('own_branches')}
    network = build_network(model.config.call.model, heads, torch.Generator().manual_seed(1))
    weights = network.state_dict() | model.network.state_dict()
    weights['heads.distances.own.weight'] = torch.zeros_like(weights['heads.distances.own.weight'])
    # softplus undone
    weights['heads.distances.own.bias'] = torch.full_like(
        weights['heads.distances.own.bias'], math.log(math.expm1(length))
    )
    network.load_state_dict(weights)
    config = dataclasses.replace(model.config, heads=heads)
    card = json.loads((pathlib.Path(encoder) / bundle.CARD_FILE).read_text(encoding='utf-8'))
    known = None
    if known_length is not None:
        known = KnownASVs(np.unique(keys), np.array([known_length / length]))
    bundle.save(folder, dataclasses.replace(model, network=network, config=config, known_asvs=known), card)
