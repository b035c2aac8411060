"""Sequences are looked up for each feature, checked and encoded; what is no sequence is refused by name."""

import hashlib

import numpy as np
import pytest

from q2_aam.data.sequences import (
    PAD,
    UNKNOWN,
    encode,
    read_fasta,
    reverse_codes,
    reverse_complement,
    reverse_complement_codes,
    sequence_keys,
    sequences_of,
)
from q2_aam.errors import AAMWarning, UserError


@pytest.fixture
def fasta(tmp_path):
    def write(text):
        path = tmp_path / 'sequences.fasta'
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_a_fasta_file_is_read_by_the_first_word_of_each_header(fasta):
    path = fasta('>a first one\nACGT\nAC\n\n>b\r\nnnTT\r\n')
    assert read_fasta(path) == {'a': 'ACGTAC', 'b': 'nnTT'}


@pytest.mark.parametrize(
    'text, sentence',
    [
        ('', 'The input sequences are empty; '),
        ('ACGT\n', 'The input sequences are not a FASTA file: line 1 comes before the first header; '),
        ('>a\nAC\n>\nGT\n', 'The input sequences have a header without an ID at line 3; '),
        (
            '>a\nAC\n>a x\nGT\n',
            "Feature IDs must be unique: 'a' occurs twice in the input sequences, where an ID ends at the first ",
        ),
        (b'\x80\x04\x95\xff', 'The input sequences are not a FASTA file: they are not text; '),
    ],
)
def test_a_file_that_is_not_fasta_is_refused(fasta, text, sentence):
    with pytest.raises(UserError) as error:
        read_fasta(fasta(text))
    assert str(error.value).startswith(sentence)


def test_sequences_come_in_the_order_of_the_features_in_one_spelling(fasta):
    path = fasta('>x\nacgu\n>unused\n---\n>y\nTTNN\n')
    assert sequences_of(['y', 'x'], path) == ['TTNN', 'ACGT']
    assert sequences_of(['y', 'x'], read_fasta(path)) == ['TTNN', 'ACGT']


def test_ids_that_are_sequences_need_no_fasta():
    assert sequences_of(['ACGT', 'acgu', 'RYSWKMBDHVN']) == ['ACGT', 'ACGT', 'RYSWKMBDHVN']


def test_hashed_ids_without_sequences_are_refused_with_an_example():
    hashed = hashlib.md5(b'ACGT').hexdigest()
    with pytest.raises(UserError) as error:
        sequences_of(['ACGT', hashed])
    assert str(error.value) == (
        f"The feature IDs of the table are not sequences (e.g. '{hashed}'); provide the representative sequences of "
        'the features as the input "sequences".'
    )


def test_missing_sequences_are_counted_with_an_example():
    with pytest.raises(UserError) as error:
        sequences_of(['a', 'b', 'c'], {'b': 'ACGT'})
    assert str(error.value).startswith("The input sequences lack 2 of the 3 features in the table (e.g. 'a'); ")


@pytest.mark.parametrize(
    'sequence, sentence',
    [
        ('', "The sequence of feature 'bad' is empty; "),
        ('AC-T', "The sequence of feature 'bad' has a gap ('-') at position 3; provide unaligned sequences."),
        ('.CGT', "The sequence of feature 'bad' has a gap ('.') at position 1; "),
        ('ACGJ', "The sequence of feature 'bad' has 'J' at position 4, which is no IUPAC nucleotide code; "),
        ('AC T', "The sequence of feature 'bad' has ' ' at position 3, "),
        ('ACé☃', "The sequence of feature 'bad' has 'é' at position 3, "),
    ],
)
def test_what_is_no_sequence_is_refused_by_name(sequence, sentence):
    with pytest.raises(UserError) as error:
        sequences_of(['good', 'bad', 'worse'], {'good': 'ACGT', 'bad': sequence, 'worse': 'ZZ'})
    assert str(error.value).startswith(sentence)
    with pytest.raises(UserError, match='^The sequence .* (is empty|has)'):
        encode(['ACGT', sequence])


def test_letters_have_their_codes_and_short_sequences_are_padded():
    codes, lengths = encode(['ACGTU', 'acgtu', 'N', 'RYSWKMBDHVNn'])
    assert codes.dtype == np.uint8 and lengths.dtype == np.int32
    assert lengths.tolist() == [5, 5, 1, 12]
    assert codes[0, :5].tolist() == codes[1, :5].tolist() == [1, 2, 3, 4, 4]
    assert codes[2].tolist() == [UNKNOWN] + [PAD] * 11
    assert codes[3].tolist() == [UNKNOWN] * 12
    assert not codes[0, 5:].any()


def test_no_sequences_encode_to_nothing():
    codes, lengths = encode([])
    assert (codes.shape, lengths.shape) == ((0, 0), (0,))


def test_encoding_agrees_with_a_letter_by_letter_reading():
    generator = np.random.default_rng(7)
    sequences = [''.join(generator.choice(list('ACGTN'), size)) for size in generator.integers(1, 40, 200)]
    codes, lengths = encode(sequences)
    decoded = [''.join('?ACGTN'[code] for code in row[:size]) for row, size in zip(codes, lengths)]
    assert decoded == sequences


def test_sequences_of_any_length_are_reversed_about_their_ends():
    sequences = ['AACGN', 'GT', 'TTTACC']
    codes, lengths = encode(sequences)
    assert np.array_equal(reverse_codes(codes, lengths), encode(['NGCAA', 'TG', 'CCATTT'])[0])
    complement = reverse_complement_codes(codes, lengths)
    assert complement.dtype == np.uint8 and np.array_equal(complement, encode(['NCGTT', 'AC', 'GGTAAA'])[0])
    assert np.array_equal(reverse_complement_codes(complement, lengths), codes)


def test_letters_for_several_nucleotides_have_complements_too():
    assert reverse_complement('ACGTRYSWKMBDHVN') == 'NBDHVKMWSRYACGT'


def test_keys_do_not_depend_on_padding_on_blocks_or_on_whether_lengths_are_given(monkeypatch):
    generator = np.random.default_rng(8)
    codes, lengths = encode([''.join(generator.choice(list('ACGTN'), size)) for size in generator.integers(1, 30, 50)])
    keys = sequence_keys(codes, lengths)
    assert keys.dtype == np.int64 and len(set(keys)) == len({row.tobytes() for row in codes})
    monkeypatch.setattr('q2_aam.data.sequences._BLOCK', 7)
    padded = np.pad(codes, ((0, 0), (0, 5)))
    for again in (sequence_keys(padded, lengths), sequence_keys(padded), sequence_keys(codes[:, :])):
        np.testing.assert_array_equal(again, keys)
    assert len(sequence_keys(codes[:0])) == 0


TAXA = ['k__Bacteria;p__Firmicutes;c__Bacilli', 'd__Bacteria;__', 'Bacteria;Bacteroidetes', 'Unassigned']


@pytest.mark.parametrize('fasta', [None, {'x': 'ACGT'}])
def test_a_table_that_was_collapsed_by_taxonomy_is_recognised(fasta):
    with pytest.raises(UserError) as error:
        sequences_of(TAXA, fasta)
    assert str(error.value) == (
        "The features of the table are taxa (e.g. 'k__Bacteria;p__Firmicutes;c__Bacilli') and have no sequences, which "
        'the model reads; provide the table of ASVs from before it was collapsed by taxonomy, and their sequences.'
    )


def test_ids_with_a_size_are_no_taxa():
    with pytest.raises(UserError, match='^The input sequences lack 2 of the 2 features '):
        sequences_of(['seq1;size=9', 'seq2;size=8;'], {'x': 'ACGT'})


def test_an_id_that_fasta_cuts_is_recognised():
    with pytest.raises(UserError) as error:
        sequences_of(['a', 'ASV 7'], {'a': 'ACGT', 'ASV': 'ACGT'})
    assert str(error.value) == (
        "An ID in the input sequences ends at the first blank: feature 'ASV 7' of the table is 'ASV' there; use "
        'feature IDs without blanks in both.'
    )


def test_ids_that_fasta_cuts_to_the_same_word_are_recognised(fasta):
    with pytest.raises(UserError) as error:
        read_fasta(fasta('>ASV 1\nAC\n>ASV 2\nGT\n'))
    assert str(error.value) == (
        "Feature IDs must be unique: 'ASV' occurs twice in the input sequences, where an ID ends at the first blank; "
        'keep one sequence for it, or rename it.'
    )


def test_a_few_odd_ids_among_sequences_are_counted():
    with pytest.raises(UserError) as error:
        sequences_of(['ACGT' * 20 + 'ACGT'[i] for i in range(4)] + ['', 'spike-in', 'ACGU'])
    assert str(error.value) == (
        'Without the input "sequences", the feature IDs of the table must be sequences, but 2 IDs of 7 are not (e.g. '
        "''); filter such features from the table, or provide the sequences of all features."
    )


@pytest.mark.parametrize('name', ['NA', 'nan', 'NaN'])
def test_a_missing_value_is_no_sequence(name):
    with pytest.raises(UserError) as error:
        sequences_of(['ACGT', name])
    assert str(error.value) == (
        f'The feature ID {name!r} of the table stands for a missing value, but would be read as {len(name)} '
        'nucleotides; filter this feature from the table, or provide the input "sequences".'
    )
    # where sequences are given, it is a name like any other
    assert sequences_of([name], {name: 'ACGT'}) == ['ACGT']


def test_a_word_that_reads_as_nucleotides_is_warned_of():
    with pytest.warns(AAMWarning) as caught:
        sequences_of(['ACGT' * 30, 'ACGA' * 30, 'ACGT' * 31, 'bad'])
    assert [str(one.message) for one in caught] == [
        "1 feature ID of the table is read as sequences of fewer than 20 nucleotides (e.g. 'bad'), where half of the "
        'others have 120 or more; filter such features from the table if these are no sequences.'
    ]


@pytest.mark.parametrize('fasta', [None, {'N' * 40: 'N' * 40, 'ACDGHKMNRSTVWYACDGHKMN': 'ACDGHKMNRSTVWYACDGHKMN'}])
def test_sequences_of_which_little_can_be_read_are_warned_of(fasta):
    # nothing but N, as a failed read has, and a protein whose amino acids are all codes of nucleotides, too
    names = ['N' * 40, 'ACDGHKMNRSTVWYACDGHKMN', 'ACGTN' * 8, 'ACGTRYKM' * 5]
    given = None if fasta is None else dict(zip(names, names)) | fasta
    messages = []
    with pytest.warns(AAMWarning) as caught:
        assert sequences_of(names, given, messages) == names
    assert messages == [str(one.message) for one in caught]
    assert messages == [
        'Most letters of some sequences are ambiguous codes such as N, of which a model reads nothing: those of 2 of 4 '
        f"features (e.g. '{'N' * 40}'); make sure that the sequences are DNA, and filter such features from the table."
    ]
