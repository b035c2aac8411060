"""Tokens of sequences by numbers: the same nucleotides at the same place, and nothing else, have the same."""

import numpy as np
import pytest

from q2_aam.data.sequences import encode
from q2_aam.data.tokens import MAX_SIZE, NOT_WHOLE, token_keys


def test_a_token_is_its_nucleotides_and_its_place():
    codes, _ = encode(['ACGTACGT', 'ACGTTCGT', 'TACGTACG'])
    keys = token_keys(codes, 4)
    assert keys[0, 0] == keys[1, 0] == 0b00011011 and len(np.unique(keys)) == 5
    # the same nucleotides at another place are another token
    assert keys[0, 1] == keys[0, 0] + 4**4


def test_what_is_not_whole_has_no_number():
    codes, _ = encode(['ACGTACGTAC', 'ANGTACG', 'ACG'])
    keys = token_keys(codes, 4)
    assert keys.shape == (3, 2) and (keys == NOT_WHOLE).tolist() == [[False, False], [True, True], [True, True]]
    assert token_keys(codes[:, :3], 4).shape == (3, 0)


def test_the_largest_tokens_have_numbers_and_larger_ones_are_refused():
    codes, _ = encode(['T' * 4 * MAX_SIZE] * 2)
    assert (np.diff(token_keys(codes, MAX_SIZE)[0]) == 4**MAX_SIZE).all() and (token_keys(codes, MAX_SIZE) > 0).all()
    with pytest.raises(ValueError, match='^Tokens of 25 nucleotides have no numbers: at most 24 are allowed.$'):
        token_keys(codes, MAX_SIZE + 1)
