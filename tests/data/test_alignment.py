"""Alignment without gaps: offsets and agreeing training ASVs, against those that sequences were made with."""

import numpy as np
import pytest

from q2_aam.data import alignment
from q2_aam.data.alignment import KMER, MAX_OFFSET, Aligner, kmers_of
from q2_aam.data.sequences import encode

LENGTH = 100


@pytest.fixture
def random():
    return np.random.default_rng(3)


def drawn(random, number, length=LENGTH + 60):
    return [''.join(letters) for letters in random.choice(list('ACGT'), (number, length))]


def aligned(training, reads, max_mismatches=1):
    """Return [(read, training ASV, offset)] that agree, and the votes."""
    aligner = Aligner(encode(training)[0], max_mismatches)
    codes, _ = encode(reads)
    votes = aligner.votes(codes)
    pairs = aligner.agreeing(codes, votes)
    return list(zip(pairs.rows.tolist(), pairs.asvs.tolist(), pairs.offsets.tolist())), votes


@pytest.mark.parametrize('offset', [-30, -1, 0, 1, 8, 30])
def test_a_read_is_placed_where_it_begins(random, offset):
    full = drawn(random, 40)
    training = [one[30 : 30 + LENGTH] for one in full]
    pairs, votes = aligned(training, [one[30 + offset : 30 + offset + LENGTH] for one in full])
    assert pairs == [(i, i, offset) for i in range(40)]
    assert set(votes.argmax(axis=1)) == {MAX_OFFSET + offset}
    assert set(votes.max(axis=1)) == {LENGTH - abs(offset) - KMER + 1}


@pytest.mark.parametrize('length, agrees', [(60, True), (59, False), (100, True), (130, True)])
def test_there_must_be_60_nucleotides_in_common_and_half_of_both(random, length, agrees):
    full = drawn(random, 5)
    pairs, _ = aligned([one[:LENGTH] for one in full], [one[:length] for one in full])
    assert pairs == [(i, i, 0) for i in range(5) if agrees]
    # of 130 nucleotides 60 are less than half
    assert aligned([one[:130] for one in full], [one[70:130] for one in full])[0] == []


def changed(sequence, places):
    letters = list(sequence)
    for place in places:
        letters[place] = 'CGTA'['ACGT'.index(letters[place])]
    return ''.join(letters)


@pytest.mark.parametrize('mismatches', [0, 1, 3])
def test_as_many_mismatches_as_allowed_wherever_they_are(random, mismatches):
    training = [one[:LENGTH] for one in drawn(random, 30)]
    for more, expected in ((0, [(i, i, 0) for i in range(30)]), (1, [])):
        reads = [changed(one, random.choice(LENGTH, mismatches + more, replace=False)) for one in training]
        assert aligned(training, reads, mismatches)[0] == expected


def test_unknown_nucleotides_are_no_mismatches(random):
    training = [one[:LENGTH] for one in drawn(random, 10)]
    reads = [one[:30] + 'NNNNN' + one[35:] for one in training]
    assert aligned(training, reads, 0)[0] == [(i, i, 0) for i in range(10)]
    # too few are left of it
    assert aligned(training, ['N' * 41 + one[41:] for one in training], 0)[0] == []


def test_a_read_agrees_with_all_asvs_that_it_can_be_and_only_with_the_best(random):
    one = drawn(random, 1)[0][:LENGTH]
    training = [one, one[:-1] + 'A', changed(one, [50]), changed(one, [20, 70])]
    training[1] = changed(one, [99])
    assert aligned(training, [one[:90]])[0] == [(0, 0, 0), (0, 1, 0)]
    assert aligned(training, [changed(one, [50])[:90]])[0] == [(0, 2, 0)]
    # as many mismatches with three of them
    assert aligned(training, [changed(one, [10])])[0] == [(0, 0, 0)]
    assert aligned(training, [changed(one, [10])[:95]])[0] == [(0, 0, 0), (0, 1, 0)]


def test_training_asvs_may_have_different_lengths(random):
    full = drawn(random, 30)
    training = [one[: 70 + i] for i, one in enumerate(full)]
    assert aligned(training, [one[2 : 70 + i] for i, one in enumerate(full)])[0] == [(i, i, 2) for i in range(30)]


def test_what_is_unrelated_is_left_alone_and_so_is_what_is_short(random):
    training, others = drawn(random, 20), drawn(random, 20)
    pairs, votes = aligned(training, others)
    assert pairs == [] and votes.max() == 0
    assert aligned(['ACGT', 'GG'], ['ACGT', 'GGA'])[0] == []


def test_blocks_change_nothing(random, monkeypatch):
    full = drawn(random, 40)
    given = [one[:LENGTH] for one in full], [one[3 : LENGTH + 3] for one in full]
    before, _ = aligned(*given)
    monkeypatch.setattr(alignment, 'NUCLEOTIDES', 250)
    assert aligned(*given)[0] == before


def test_kmers_with_an_unknown_nucleotide_are_none(random):
    numbers, unambiguous = kmers_of(encode(['ACGT' * 5, 'ACGT' * 4 + 'NACG', 'A' * 17])[0])
    assert numbers.shape == (3, 5)
    assert unambiguous.tolist() == [[True] * 5, [True] + [False] * 4, [True] * 2 + [False] * 3]
    assert numbers[0, 0] == numbers[0, 4] == numbers[1, 0] != numbers[0, 1] and numbers[2, 0] == 0


def test_common_kmers_are_no_seeds_but_the_rarest_is(random, monkeypatch):
    training = [one[:LENGTH] for one in drawn(random, 10)]
    # all of them begin alike, and so do the reads
    training = [training[0][:40] + one[40:] for one in training]
    monkeypatch.setattr(alignment, 'MAX_SEEDED', 0)
    assert aligned(training, [one[2:] for one in training], 0)[0] == [(i, i, 2) for i in range(10)]
