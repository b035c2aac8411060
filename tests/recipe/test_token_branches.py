"""Branches of tokens for an encoder that has none."""

import importlib
import pathlib

import numpy as np
import torch

from q2_aam import bundle
from q2_aam.data.sequences import encode
from q2_aam.data.tokens import token_keys

RECIPE = pathlib.Path(__file__).parents[2] / 'recipe'


def test_tokens_that_were_learned_from_have_one_length_and_all_else_is_as_it_was(
    tiny, tiny_encoder, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(str(RECIPE))
    token_branches = importlib.import_module('token_branches')
    files = tiny.write(tmp_path / 'inputs')
    folder = tmp_path / 'model'
    folder.mkdir()
    token_branches.with_token_branches(tiny_encoder.folder, folder, 0.06, 0.15, files.table, files.sequences)
    before, after = bundle.load(tiny_encoder.folder), bundle.load(folder)
    form = before.config.call.model
    longest = form.max_sequence_length
    codes, _ = encode([sequence[:longest] for sequence in tiny.sequences.values()])
    keys = np.unique(token_keys(codes, form.nucleotides_per_token))
    assert after.token_branches.keys.tolist() == keys[keys >= 0].tolist()
    assert after.token_branches.lengths.tolist() == [0.06, 0.15] and before.token_branches is None
    weights = after.network.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in before.network.state_dict().items())
