"""Branches of tokens: what a bundle holds of them, which samples share them, and what distances make of them."""

import dataclasses
import json
import re

import biom
import h5py
import numpy as np
import pytest
import safetensors.numpy

from q2_aam import bundle
from q2_aam.bundle.files import _bundle
from q2_aam.bundle.token_branches import ARRAYS, KEYS, LENGTHS, MAX_SHORTER, POWER, TokenBranches
from q2_aam.config import DistancesConfig, EmbedConfig
from q2_aam.data.inputs import read_study
from q2_aam.data.sequences import encode
from q2_aam.data.tokens import token_keys
from q2_aam.inference.embed import embed, predict_distances

DAMAGED = (
    "The model's branches of tokens are damaged: they must be keys, each once, and two lengths; train the model again."
)
QUICK = {'threads': 1, 'device': 'cpu'}
PAIRS = np.triu_indices(24, 1)


@pytest.mark.parametrize(
    'keys, lengths',
    [
        ([3, 3], [0.5, 1.0]), ([4, 3], [0.5, 1.0]), ([[3]], [0.5, 1.0]), ([-1, 3], [0.5, 1.0]), ([3], [-0.1, 1.0]),
        ([3], [np.nan, 1.0]), ([3], [np.inf, 1.0]), ([3], [0.5]),
    ],
)  # fmt: skip
def test_damaged_numbers_are_refused(keys, lengths):
    with pytest.raises(ValueError, match=f'^{re.escape(DAMAGED)}$'):
        TokenBranches(np.array(keys), np.array(lengths))


def test_a_model_with_half_of_them_is_refused():
    arrays = TokenBranches(np.array([1]), np.array([0.5, 1.0])).arrays()
    assert set(arrays) == set(ARRAYS) and TokenBranches.from_arrays({}) is None
    for name in ARRAYS:
        with pytest.raises(ValueError, match='^The model lacks the keys or the lengths of its branches of tokens;'):
            TokenBranches.from_arrays({name: arrays[name]})


@pytest.fixture
def files(tiny, tmp_path):
    return tiny.write(tmp_path / 'inputs')


def rows_of(study):
    return study.codes, study.asvs, study.offsets


def all_tokens(sequences, size):
    keys = np.unique(token_keys(encode(list(sequences))[0], size))
    return keys[keys >= 0]


def test_samples_have_the_tokens_of_their_asvs_once(tiny, files):
    study, _ = read_study(files.table, files.sequences)
    sequences = list(tiny.sequences.values())
    known = all_tokens(sequences[:3], 10)
    branches = TokenBranches(known, np.array([0.25, 2.0]))
    lengths, keys, _ = branches.of_samples(*rows_of(study), 10, 6)
    assert len(np.unique(keys)) == len(keys) == lengths.shape[1] == len(all_tokens(sequences, 10))
    for row, ids in enumerate(study.sample_ids):
        held = [tiny.sequences[name] for name in tiny.counts.columns[tiny.counts.loc[ids] > 0]]
        tokens = all_tokens(held, 10)
        expected = np.where(np.isin(tokens, known), 0.25, 2.0)
        assert sorted(lengths[row].data.tolist()) == sorted(expected.tolist())
    # the same in a study of other samples
    assert abs(keys.astype(float)).max() > 2**60 and 0.3 < (keys & 1).mean() < 0.7


def test_tokens_of_shorter_sequences_count_more(tiny, files):
    study, _ = read_study(files.table, files.sequences)
    branches = TokenBranches(np.zeros(0, np.int64), np.ones(2))
    *_, scale = branches.of_samples(*rows_of(study), 10, 4)
    # all of them have so many tokens
    assert (scale == 1).all()
    *_, scale = branches.of_samples(*rows_of(study), 10, 6)
    for number, name in zip(scale, study.sample_ids):
        held = [len(tiny.sequences[asv]) // 10 for asv in tiny.counts.columns[tiny.counts.loc[name] > 0]]
        assert number == pytest.approx((6 / np.mean(held)) ** 2, rel=1e-5)
    *_, scale = branches.of_samples(*rows_of(study), 10, 1000)
    assert (scale == MAX_SHORTER**POWER).all()


def test_what_two_samples_share_is_what_both_have_and_counts_more_where_sequences_are_short(files):
    study, _ = read_study(files.table, files.sequences)
    branches = TokenBranches(np.zeros(0, np.int64), np.array([1.0, 0.5])).learned_from(study.codes[:7], 10)
    lengths, _, scale = branches.of_samples(*rows_of(study), 10, 6)
    shared, own = branches.among(*rows_of(study), 10, 6)
    assert len(np.unique(scale)) > 1 and shared.dtype == own.dtype == np.float32
    dense = lengths.toarray()
    for i, j in ((0, 0), (0, 1), (2, 5)):
        both = dense[i][(dense[i] > 0) & (dense[j] > 0)].sum()
        assert shared[i, j] == pytest.approx(both * np.sqrt(scale[i] * scale[j]), rel=1e-5)
    np.testing.assert_allclose(own, dense.sum(axis=1) * scale, rtol=1e-5)


def test_tokens_that_are_learned_from_join_those_that_were():
    first, second = (encode([sequence])[0] for sequence in ('ACGT' * 6, 'ACGTACGTAC' + 'T' * 14))
    branches = TokenBranches(np.zeros(0, np.int64), np.array([0.06, 0.15])).learned_from(first, 10)
    more = branches.learned_from(second, 10)
    # the end of a sequence is no token
    assert len(branches.keys) == 2 and set(branches.keys) < set(more.keys) and len(more.keys) == 3
    assert more.lengths is branches.lengths


@pytest.fixture
def with_tokens(tiny_encoder, tmp_path):
    """Save the tiny encoder with branches of tokens: (keys, lengths) -> folder."""

    def save(keys, lengths):
        folder = tmp_path / f'tokens{len(keys)}-{lengths[0]}'
        folder.mkdir()
        branches = TokenBranches(keys, np.array(lengths))
        card = json.loads((tiny_encoder.folder / bundle.CARD_FILE).read_text())
        bundle.save(folder, dataclasses.replace(bundle.load(tiny_encoder.folder), token_branches=branches), card)
        return folder

    return save


def test_a_bundle_holds_them_and_distances_follow(tiny, tiny_encoder, with_tokens, files):
    size = bundle.read_config(tiny_encoder.folder).call.model.nucleotides_per_token
    keys = all_tokens(tiny.sequences.values(), size)
    folder = with_tokens(keys, [1000.0, 0.0])
    arrays = safetensors.numpy.load_file(folder / bundle.MODEL_FILE)
    assert arrays[KEYS].tolist() == keys.tolist() and arrays[LENGTHS].tolist() == [1000.0, 0.0]

    def distances(encoder):
        frame = predict_distances(files.table, encoder, DistancesConfig.from_flat(QUICK), files.sequences, print)
        return frame.loc[tiny.counts.index, tiny.counts.index].to_numpy()[PAIRS]

    # so long that memberships do not count: the share of tokens that one of two samples lacks
    divisor = bundle.read_config(folder).distance_divisor
    tokens = [
        set(all_tokens([tiny.sequences[name] for name in row.index[row > 0]], size))
        for _, row in tiny.counts.iterrows()
    ]
    expected = [1 - len(tokens[i] & tokens[j]) / len(tokens[i] | tokens[j]) for i, j in zip(*PAIRS)]
    np.testing.assert_allclose(distances(folder), np.array(expected) * divisor, atol=0.01)
    # new ones have another length, and where that is 0 nothing is left but memberships
    np.testing.assert_allclose(distances(with_tokens(keys[:0], [0.5, 1000.0])), distances(folder), atol=0.01)


def test_two_samples_are_as_far_apart_alone_as_in_any_table(tiny, with_tokens, files, tmp_path):
    folder = with_tokens(all_tokens(list(tiny.sequences.values())[:9], 10), [0.06, 0.15])
    ids = list(tiny.counts.index[[3, 17]])
    with h5py.File(files.table) as file:
        table = biom.Table.from_hdf5(file).filter(ids, axis='sample', inplace=False).remove_empty('observation')
    with h5py.File(tmp_path / 'two.biom', 'w') as file:
        table.to_hdf5(file, 'test')
    whole, alone = (
        predict_distances(path, folder, DistancesConfig.from_flat(QUICK), files.sequences, print).loc[ids[0], ids[1]]
        for path in (files.table, tmp_path / 'two.biom')
    )
    assert alone == pytest.approx(whole, abs=1e-6) and whole > 0


def test_an_embedding_has_them(tiny, tiny_encoder, with_tokens, files):
    def pairs(encoder):
        config = EmbedConfig.from_flat(QUICK)
        _, frame = embed(files.table, encoder, config, files.sequences, say=lambda line: None)
        return frame.loc[tiny.counts.index, tiny.counts.index].to_numpy()[PAIRS]

    folder = with_tokens(np.zeros(0, np.int64), [1.0, 1000.0])
    frame = predict_distances(files.table, folder, DistancesConfig.from_flat(QUICK), files.sequences, print)
    distances = frame.loc[tiny.counts.index, tiny.counts.index].to_numpy()[PAIRS]
    with_them, without = (np.corrcoef(pairs(encoder), distances)[0, 1] for encoder in (folder, tiny_encoder.folder))
    assert with_them > 0.99 and with_them > without


def test_a_model_whose_tokens_have_no_numbers_is_refused(tiny_encoder):
    config = bundle.read_config(tiny_encoder.folder)
    model = dataclasses.replace(config.call.model, nucleotides_per_token=32)
    config = dataclasses.replace(config, references=None, call=dataclasses.replace(config.call, model=model))
    with pytest.raises(ValueError) as error:
        _bundle(config, None, TokenBranches(np.array([1]), np.array([0.5, 1.0])).arrays())
    assert str(error.value) == (
        "The model's branches of tokens do not fit its config.json, whose tokens have 32 nucleotides, of at most 24; "
        'train the model again.'
    )
