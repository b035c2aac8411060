"""Which ASVs an encoder learned from: what a bundle holds of it, and what it does to their own branches."""

import dataclasses
import json
import re

import numpy as np
import pytest
import safetensors.numpy

from q2_aam import bundle
from q2_aam.bundle.known_asvs import ARRAYS, KEYS, LENGTH, KnownASVs
from q2_aam.config import DistancesConfig
from q2_aam.data.sequences import encode, sequence_keys
from q2_aam.inference.embed import predict_distances

DAMAGED = "The model's known ASVs are damaged: they must be keys, each once, and a share; train the model again."
QUICK = DistancesConfig.from_flat({'threads': 1, 'device': 'cpu'})


def test_own_branches_of_known_asvs_are_shorter():
    known = KnownASVs(np.array([-5, 3, 9]), np.array([0.25]))
    assert known.factors(np.array([3, 4, -5])).tolist() == [0.25, 1.0, 0.25]


@pytest.mark.parametrize(
    'keys, length',
    [([3, 3], [0.5]), ([4, 3], [0.5]), ([[3]], [0.5]), ([3], [1.5]), ([3], [-0.1]), ([3], [np.nan]), ([3], [0.5, 0.5])],
)
def test_damaged_numbers_are_refused(keys, length):
    with pytest.raises(ValueError, match=f'^{re.escape(DAMAGED)}$'):
        KnownASVs(np.array(keys), np.array(length))


def test_a_model_with_half_of_them_is_refused():
    arrays = KnownASVs(np.array([1]), np.array([0.5])).arrays()
    assert set(arrays) == set(ARRAYS) and KnownASVs.from_arrays({}) is None
    for name in ARRAYS:
        with pytest.raises(ValueError, match='^The model lacks the keys or the length of its known ASVs;'):
            KnownASVs.from_arrays({name: arrays[name]})


@pytest.fixture
def with_known(tiny_encoder, tmp_path):
    """Save the tiny encoder with known ASVs: (keys, length) -> folder."""

    def save(keys, length):
        folder = tmp_path / f'known{len(keys)}'
        folder.mkdir()
        known = KnownASVs(np.unique(keys), np.array([length]))
        card = json.loads((tiny_encoder.folder / bundle.CARD_FILE).read_text())
        bundle.save(folder, dataclasses.replace(bundle.load(tiny_encoder.folder), known_asvs=known), card)
        return folder

    return save


def test_a_bundle_holds_them_and_distances_follow(tiny, tiny_encoder, with_known, tmp_path):
    length = bundle.read_config(tiny_encoder.folder).call.model.max_sequence_length
    keys = sequence_keys(*encode([sequence[:length] for sequence in tiny.sequences.values()]))
    folder = with_known(keys, 0.0)
    arrays = safetensors.numpy.load_file(folder / bundle.MODEL_FILE)
    assert arrays[KEYS].tolist() == sorted(keys.tolist()) and arrays[LENGTH].tolist() == [0.0]
    files = tiny.write(tmp_path / 'inputs')

    def distances(encoder):
        frame = predict_distances(files.table, encoder, QUICK, files.sequences, say=lambda line: None)
        return frame.to_numpy()[np.triu_indices(24, 1)]

    others = distances(with_known(keys[:0], 0.0))
    np.testing.assert_array_equal(others, distances(tiny_encoder.folder))
    # without own branches, memberships are all that tells samples apart
    changed = distances(folder)
    assert changed.mean() < others.mean() and np.abs(changed - others).max() > 0.05
