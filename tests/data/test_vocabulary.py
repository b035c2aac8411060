"""The vocabulary of a model: sequences in the order of their keys, whatever these are."""

import numpy as np
import pytest

from q2_aam.data import vocabulary
from q2_aam.data.sequences import encode, sequence_keys
from q2_aam.data.vocabulary import Vocabulary

SEQUENCES = ['ACGT', 'GG', 'TTTTT', 'ACG', 'NNA', 'CATG']
DAMAGED = "The model's vocabulary is damaged: its sequences are not sorted; train the model again."


def test_sequences_are_sorted_by_their_keys_whatever_their_order():
    codes, lengths = encode(SEQUENCES)
    made = Vocabulary.of(codes, lengths)
    keys = sequence_keys(codes, lengths)
    assert len(made) == 6
    assert made.keys.tolist() == sorted(keys.tolist())
    assert made.codes.tolist() == codes[np.argsort(keys)].tolist()
    order = [3, 1, 5, 0, 4, 2]
    assert Vocabulary.of(codes[order], lengths[order]).codes.tolist() == made.codes.tolist()


def test_codes_end_with_the_longest_sequence():
    codes, lengths = encode(SEQUENCES)
    short = lengths < 4
    made = Vocabulary.of(codes[short], lengths[short])
    assert made.codes.shape == (3, 3) and made.codes.dtype == np.uint8
    assert made.keys.tolist() == sorted(sequence_keys(codes, lengths)[short].tolist())


def test_keys_farther_apart_than_int64_can_tell_are_sorted_all_the_same(monkeypatch):
    # their differences overflow to numbers below 0
    keys = np.array([-(2**63), -(2**62), 2**62, 2**63 - 1])
    monkeypatch.setattr(vocabulary, 'sequence_keys', lambda codes, lengths=None: keys[codes[:, 0] - 1])
    with np.errstate(over='ignore'):
        assert np.diff(keys).min() < 0
    codes = np.array([[3], [1], [4], [2]], dtype=np.uint8)
    made = Vocabulary.of(codes, np.ones(4, dtype=np.int64))
    assert made.codes.ravel().tolist() == [1, 2, 3, 4] and made.keys.tolist() == keys.tolist()


def test_keys_of_real_sequences_can_be_that_far_apart():
    random = np.random.default_rng(1)
    codes = random.integers(1, 5, (50, 20), dtype=np.uint8)
    keys = Vocabulary.of(codes, np.full(50, 20)).keys
    assert int(keys[-1]) - int(keys[0]) > 2**63


def test_sequences_that_are_not_sorted_or_occur_twice_are_refused():
    codes = Vocabulary.of(*encode(SEQUENCES)).codes
    for wrong in (codes[::-1], codes[[0, 1, 1, 2]]):
        with pytest.raises(ValueError) as error:
            Vocabulary(wrong)
        assert str(error.value) == DAMAGED


@pytest.mark.parametrize(
    'codes',
    [
        np.array([[1, 6]], dtype=np.uint8),
        np.array([[1, 2]], dtype=np.int64),
        np.zeros((0, 3), dtype=np.uint8),
        np.zeros((2, 0), dtype=np.uint8),
        np.array([1, 2], dtype=np.uint8),
    ],
)
def test_what_is_no_sequences_is_refused(codes):
    with pytest.raises(ValueError) as error:
        Vocabulary(codes)
    assert str(error.value) == "The model's vocabulary is damaged: it must be sequences; train the model again."


def test_abundances_are_sorted_with_their_sequences():
    codes, lengths = encode(SEQUENCES)
    abundance = np.array([0.3, 0.1, 0.2, 0.0, 0.05, 0.35])
    made = Vocabulary.of(codes, lengths, abundance)
    order = np.argsort(sequence_keys(codes, lengths))
    assert made.abundance.dtype == np.float32 and made.abundance.tolist() == pytest.approx(list(abundance[order]))
    assert Vocabulary.of(codes, lengths).abundance is None


@pytest.mark.parametrize('abundance', [[0.1] * 5, [0.1] * 5 + [-0.1], [0.1] * 5 + [1.5], [0.1] * 5 + [np.nan]])
def test_abundances_that_are_no_shares_are_refused(abundance):
    codes = Vocabulary.of(*encode(SEQUENCES)).codes
    with pytest.raises(ValueError) as error:
        Vocabulary(codes, np.array(abundance, dtype=np.float32))
    assert str(error.value) == (
        "The model's vocabulary is damaged: the abundances of its sequences must be shares, one for each; train the "
        'model again.'
    )
