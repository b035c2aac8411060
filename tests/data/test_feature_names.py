"""Names of features are told from forgotten sequences, and are known by what a reader sees of them."""

import hashlib

import numpy as np
import pytest

from q2_aam.data.feature_names import LETTERS, are_names, are_sequences, ids_in_names, name_keys, stand_ins
from q2_aam.data.sequences import encode, sequence_keys

MD5 = hashlib.md5(b'ACGT').hexdigest()
V4 = 'TACGGAGGATGCGAGCGTTATCCGGATTTATTGGG'


@pytest.mark.parametrize(
    'ids, named',
    [
        (['OTU1', 'OTU2'], True),
        (['GCF_000005845', 'G000006925'], True),
        (['k__Bacteria;p__Firmicutes', 'Unassigned'], True),
        # genes and a word for a missing value that read as nucleotides, beside others
        (['CAT', 'GAG', 'K00001', 'NA'], True),
        (['1109', '4479944'], True),
        ([V4, V4[:-1]], False),
        # hashes stand for sequences in a file that was forgotten, and so does one among names
        ([MD5, hashlib.sha1(b'x').hexdigest()], False),
        (['OTU1', MD5], False),
        # sequences and names
        ([V4, 'OTU1'], False),
    ],
)
def test_names_are_told_from_sequences_and_from_hashes_of_forgotten_ones(ids, named):
    assert are_names(ids) is named


@pytest.mark.parametrize('ids, sure', [([V4], True), ([MD5], True), (['CAT'], False), (['OTU1'], False)])
def test_what_is_surely_a_sequence_is_no_name_even_for_a_model_of_names(ids, sure):
    assert are_sequences(ids) is sure


def test_what_stands_for_a_name_is_a_sequence_that_depends_on_what_is_seen_of_it_alone():
    one, two, three, other = stand_ins(['k__A; p__B', 'k__A;p__B', ' k__A;\u200bp__B', 'k__A;p__C'])
    assert one == two == three != other
    assert {len(text) for text in (one, other)} == {LETTERS} and set(one + other) <= set('ACGT')
    codes, lengths = encode([one, other])
    np.testing.assert_array_equal(name_keys(['k__A;p__B', 'k__A;p__C']), sequence_keys(codes, lengths))
    assert len(set(name_keys([f'OTU{number}' for number in range(1000)]).tolist())) == 1000
    assert name_keys([]).shape == (0,)


def test_ids_are_found_in_names_as_whole_parts():
    names = ['S12.bin4', 'bin4_S12', 'k__A;g__S12', 'A.S1.b_x', 'S123.bin4', 'ab', '.'.join('c' * 20) + '.S12']
    assert ids_in_names(names, {'S12', 'S1', 'A.S1.b', 'ab'}) == {
        'S12.bin4': 'S12', 'bin4_S12': 'S12', 'k__A;g__S12': 'S12', 'A.S1.b_x': 'A.S1.b',
    }  # fmt: skip
