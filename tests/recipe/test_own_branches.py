"""Branches of their own for the ASVs of an encoder that has none."""

import importlib
import pathlib

import numpy as np
import pytest
import torch

from q2_aam import bundle
from q2_aam.config import DistancesConfig
from q2_aam.data.sequences import encode, sequence_keys
from q2_aam.inference.embed import predict_distances

RECIPE = pathlib.Path(__file__).parents[2] / 'recipe'
QUICK = DistancesConfig.from_flat({'threads': 1, 'device': 'cpu'})


def test_all_asvs_have_branches_of_the_same_length_and_all_else_is_as_it_was(tiny, tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPE))
    own_branches = importlib.import_module('own_branches')
    folder = tmp_path / 'model'
    folder.mkdir()
    own_branches.with_own_branches(tiny_encoder.folder, folder, 0.2)
    before, after = (bundle.load(place).network for place in (tiny_encoder.folder, folder))
    lengths = torch.nn.functional.softplus(after.heads['distances'].own(torch.randn(5, 16))).flatten()
    torch.testing.assert_close(lengths, torch.full((5,), 0.2))
    for name, value in before.state_dict().items():
        assert '.own.' in name or torch.equal(value, after.state_dict()[name])
    files = tiny.write(tmp_path / 'inputs')
    distances = predict_distances(files.table, folder, QUICK, files.sequences, say=lambda line: None)
    pairs = np.triu_indices(24, 1)
    # samples without an ASV in common are farther apart than any membership says
    own_branches.with_own_branches(tiny_encoder.folder, folder, 50.0)
    far = predict_distances(files.table, folder, QUICK, files.sequences, say=lambda line: None)
    present = tiny.counts.to_numpy() > 0
    apart = ~(present[:, None] & present).any(-1)[pairs]
    assert apart.any() and (far.to_numpy()[pairs][apart] > 0.9).all()
    assert (far.to_numpy()[pairs][apart] > distances.to_numpy()[pairs][apart]).all()
    assert far.to_numpy()[pairs] == pytest.approx(tiny.distances.to_numpy()[pairs], abs=0.1)


def test_asvs_that_were_learned_from_may_have_shorter_branches(tiny, tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPE))
    own_branches = importlib.import_module('own_branches')
    files = tiny.write(tmp_path / 'inputs')
    keys = own_branches.keys_of(files.table, files.sequences, 45)
    cut = [sequence[:45] for sequence in tiny.sequences.values()]
    assert sorted(keys) == sorted(sequence_keys(*encode(cut)))
    folder = tmp_path / 'model'
    folder.mkdir()
    own_branches.with_own_branches(tiny_encoder.folder, folder, 0.2, 0.05, np.repeat(keys, 2))
    known = bundle.load(folder).known_asvs
    assert known.keys.tolist() == sorted(set(keys.tolist())) and known.length[0] == pytest.approx(0.25)
