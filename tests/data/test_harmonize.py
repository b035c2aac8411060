"""What sequences of another trimming are read as, and what becomes of their counts."""

import numpy as np
import pytest

from q2_aam.data import harmonize as module
from q2_aam.data.harmonize import describe, harmonize
from q2_aam.data.references import build_references
from q2_aam.data.sequences import encode, reverse_complement
from q2_aam.data.vocabulary import Vocabulary

START, END = 20, 120


@pytest.fixture
def full():
    """Sequences of which the model knows nucleotides 21 to 120."""
    random = np.random.default_rng(5)
    return [''.join(letters) for letters in random.choice(list('ACGT'), (30, 150))]


def cut(sequences, start=START, end=END):
    return [sequence[start:end] for sequence in sequences]


@pytest.fixture
def known(full):
    """Make what :func:`harmonize` is given of a model of these sequences: (abundances) -> keywords."""

    def make(training=None, abundance=None):
        codes, lengths = encode(training or cut(full))
        references = build_references(codes, lengths, np.random.default_rng(1))
        abundance = None if abundance is None else np.array(abundance)
        return {
            'references': references,
            'vocabulary': Vocabulary.of(codes, lengths, abundance),
            'max_length': int(lengths.max()),
        }

    return make


def read_as(harmonized):
    """Return {feature: {sequence: share}}."""
    parts = harmonized.parts.tocoo()
    result = {}
    for feature, place, share in zip(parts.row.tolist(), parts.col.tolist(), parts.data.tolist()):
        result.setdefault(feature, {})[harmonized.sequences[place]] = share
    return result


def test_training_asvs_as_they_stand_are_left_alone_and_so_are_longer_ones(full, known):
    assert harmonize(cut(full), **known()) is None
    assert harmonize(cut(full, end=END + 10), **known()) is None


@pytest.mark.parametrize('complemented', [False, True])
@pytest.mark.parametrize(
    'start, end', [(1, 1), (1, 0), (-1, -1), (-1, 0), (8, 8), (-20, 5), (0, -1), (0, -20), (3, -9)]
)
def test_reads_of_another_trimming_are_read_as_the_training_asvs(full, known, start, end, complemented):
    sequences = cut(full, START + start, END + end)
    sequences = [reverse_complement(one) for one in sequences] if complemented else sequences
    harmonized = harmonize(sequences, **known())
    assert read_as(harmonized) == {i: {one: 1.0} for i, one in enumerate(cut(full))}
    assert harmonized.mapped.all() and not harmonized.shifted.any() and set(harmonized.offset) == {start}
    assert harmonized.reverse_complement.tolist() == [complemented] * 30


def test_a_model_without_a_vocabulary_reads_them_as_its_references(full, known):
    given = known() | {'vocabulary': None}
    assert read_as(harmonize(cut(full, START + 1, END + 1), **given)) == {i: {s: 1.0} for i, s in enumerate(cut(full))}
    one = cut(full)[0]
    assert harmonize([one[:50] + ('A' if one[50] != 'A' else 'C') + one[51:]], **given) is None


def test_counts_go_to_all_asvs_that_a_read_can_be_by_their_abundance(full, known):
    one = full[0][START:END]
    other = one[:-1] + ('A' if one[-1] != 'A' else 'C')
    given = known([one, other, *cut(full[1:])], [0.3, 0.1, *[0.0] * 29])
    result = read_as(harmonize([one[:90], full[1][START : END - 9]], **given))
    # in parts of 1/1024
    assert result[0] == pytest.approx({one: 0.75, other: 0.25}, abs=1 / 1024) and sum(result[0].values()) == 1
    assert result[1] == {full[1][START:END]: 1.0}
    # none of them was ever found: alike
    given = known([one, other, *cut(full[1:])], [0.0] * 31)
    assert read_as(harmonize([one[:90]], **given)) == {0: {one: 0.5, other: 0.5}}


def test_new_asvs_of_the_same_trimming_are_left_alone_even_with_an_insertion(full, known):
    new = [one[:40] + 'ACGTACGTAC' + one[50:] for one in cut(full)]
    inserted = [one[:40] + 'A' + one[40:99] for one in cut(full)]
    deleted = [one[:40] + one[42:] for one in cut(full)]
    unrelated = [''.join(letters) for letters in np.random.default_rng(9).choice(list('ACGT'), (30, 100))]
    short = [one[:50] for one in cut(full)]
    assert harmonize(new + inserted + deleted + unrelated + short, **known()) is None


def test_new_asvs_that_begin_elsewhere_are_shifted_and_complemented(full, known):
    new = [one[:80] + 'ACGTACGTAC' + one[90:] for one in full[:3]]
    later, earlier = new[0][START + 3 : END], new[1][START - 2 : END]
    complemented = reverse_complement(new[2][START:END])
    harmonized = harmonize([later, earlier, complemented], **known())
    assert read_as(harmonized) == {
        0: {'NNN' + later: 1.0},
        1: {earlier[2:]: 1.0},
        2: {new[2][START:END]: 1.0},
    }
    assert harmonized.shifted.tolist() == [True, True, False] and not harmonized.mapped.any()
    assert harmonized.offset.tolist() == [3, -2, 0] and harmonized.reverse_complement.tolist() == [False, False, True]


def test_a_shifted_asv_is_recognised_although_some_training_asv_has_an_insertion_there(full, known):
    one = full[0]
    # of one training ASV the first nucleotide is missing, and it soon goes on as another
    training = [*cut(full), one[START + 1 : START + 27] + full[1][START + 27 : END]]
    read = list(one[START + 1 : END])
    for place in (45, 90):
        # unlike all training ASVs
        read[place] = 'A' if read[place] != 'A' else 'C'
    harmonized = harmonize([''.join(read)], known(training)['references'], None, 100)
    assert harmonized.shifted.tolist() == [True] and harmonized.offset.tolist() == [1]
    assert harmonized.sequences == [f'N{"".join(read)}']


def test_a_short_sequence_is_complemented_where_its_complement_is_a_training_asv(known):
    given = known(['ACGTTGCAAC', 'GGGTTTAACC'])
    harmonized = harmonize(['GTTGCAACGT', 'GGGTTTAACC', 'ACGTTGC'], **given)
    assert read_as(harmonized) == {0: {'ACGTTGCAAC': 1.0}, 1: {'GGGTTTAACC': 1.0}, 2: {'ACGTTGC': 1.0}}


def test_no_sequence_depends_on_the_others(full, known, monkeypatch):
    random = np.random.default_rng(2)
    sequences = [
        one[START + start : END + end] for one, start, end in zip(full, random.integers(-5, 6, 30), [0, -9, 5] * 10)
    ]
    sequences += [reverse_complement(one[:70] + 'ACGTACGTAC' + one[80:]) for one in sequences]
    sequences += [one[:30] + 'T' + one[31:] for one in cut(full)]
    together = read_as(harmonize(sequences, **known()))
    monkeypatch.setattr(module, 'SEQUENCES', 7)
    assert read_as(harmonize(sequences, **known())) == together
    for place in range(0, len(sequences), 4):
        alone = harmonize([sequences[place]], **known())
        assert (read_as(alone)[0] if alone else {sequences[place]: 1.0}) == together[place]


def test_counts_are_moved_and_add_up(full, known, table_of):
    one = full[0][START:END]
    other = one[:-1] + ('A' if one[-1] != 'A' else 'C')
    third = full[1][START:END]
    given = known([one, other, *cut(full[1:])], [0.2, 0.1, *[0.01] * 29])
    samples = {
        's1': {one: 4, one[1:90]: 99, third: 7},
        's2': {third[2:]: 5, reverse_complement(third): 6, third: 1},
        's3': {one[:40]: 0},
    }
    table, sequences = table_of(samples)
    harmonized = harmonize(sequences, **given)
    moved = harmonized.table(table)
    (counts,) = moved.blocks()
    rows = [dict(zip(harmonized.sequences, row)) for row in counts.toarray().tolist()]
    assert counts.dtype == np.float32 and moved.sample_ids == ['s1', 's2', 's3']
    # two thirds of 1/1024 parts
    share = 683 / 1024
    assert {k: v for k, v in rows[0].items() if v} == {one: 4 + 99 * share, other: 99 * (1 - share), third: 7}
    assert {k: v for k, v in rows[1].items() if v} == {third: 12}
    assert counts.sum(axis=1).ravel().tolist() == [[110, 12, 0]]
    # features whose sequences are one only now are merged: there is one of each
    assert len(set(harmonized.sequences)) == len(harmonized.sequences) == len(moved.feature_ids)
    done = harmonized.samples(table)
    assert list(done['share_of_reads_harmonized']) == pytest.approx([99 / 110, 11 / 12, 0])
    assert list(done['offset']) == [1, 0, 0] and done.index.name == 'id'
    assert list(done['reverse_complement']) == pytest.approx([0, 0.5, 0]) and set(done['shifted']) == {0.0}
    assert describe(done) == (
        'Harmonized 90% of reads: 85% are read as training ASVs, 5% are reverse-complemented; start moved by +1 in '
        'samples with 90%.'
    )
    assert describe(done.assign(mapped=0.001, reverse_complement=0.0)).startswith(
        'Harmonized 90% of reads: less than 1% are read as training ASVs, 0% are reverse-complemented; '
    )
