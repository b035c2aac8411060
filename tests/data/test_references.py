"""ASVs like those of training are near, changed and new ones too; other regions and reverse complements are flagged."""

import io
import json
import zipfile

import numpy as np
import pytest

from q2_aam.data import references
from q2_aam.data.references import References, build_references
from q2_aam.data.sequences import encode


def random_sequences(random, number, length):
    return [''.join(random.choice(list('ACGT'), length)) for _ in range(number)]


def changed(sequences, share, random):
    """Replace a share of the nucleotides by others."""
    out = []
    for sequence in sequences:
        hit = random.random(len(sequence)) < share
        out.append(''.join(random.choice(list('ACGT'.replace(old, ''))) if h else old for old, h in zip(sequence, hit)))
    return out


def reverse_complements(sequences):
    return [sequence[::-1].translate(str.maketrans('ACGT', 'TGCA')) for sequence in sequences]


def built(sequences, seed=1):
    return build_references(*encode(sequences), np.random.default_rng(seed))


def similarity(known, sequences):
    return known.similarity(*encode(sequences))


@pytest.fixture(scope='module')
def ecam(request):
    """Sequences and families of ECAM, in order of the FASTA."""
    folder = request.path.parent / 'ecam'
    texts = {}
    for artifact, name in (('rep-seqs.qza', 'dna-sequences.fasta'), ('taxonomy.qza', 'taxonomy.tsv')):
        with zipfile.ZipFile(folder / artifact) as file:
            path = next(path for path in file.namelist() if path.endswith('data/' + name))
            texts[name] = file.read(path).decode()
    taxa = dict(line.rstrip('\n').split('\t')[:2] for line in io.StringIO(texts['taxonomy.tsv']))
    records = [record.split('\n', 1) for record in texts['dna-sequences.fasta'].split('>')[1:]]
    families = np.array(['; '.join(taxa[name.split()[0]].split('; ')[:5]) for name, _ in records])
    return np.array([sequence.replace('\n', '') for _, sequence in records]), families


def test_similarity_is_the_share_of_the_k_mers_that_a_reference_has():
    known = References(encode(['ACGTAC', 'GGGGGG'])[0], 3, 0.9, 0.1, 5, 7)
    # ACG CGT GTA TAC: all; ACG CGT GTT TTT: half; one that repeats counts once; GGG GGA GAC: a third
    result = similarity(known, ['ACGTAC', 'ACGTTT', 'TTTTTT', 'GGGAC', 'ACGTA'])
    assert result.similarity.tolist() == pytest.approx([1, 0.5, 0, 1 / 3, 1])
    assert result.similarity.dtype == np.float32
    assert result.near.tolist() == [True, False, False, False, True]


def test_k_mers_with_an_unknown_nucleotide_do_not_count():
    known = References(encode(['ACGTAC'])[0], 3, 0.9, 0.1, 1, 9)
    assert similarity(known, ['ACGNAC', 'ANGNAC', 'AC', 'ACGTACNNN']).similarity.tolist() == [1, 0, 0, 1]


def test_what_is_padded_is_read_as_what_is_not():
    known = References(encode(['ACGTACGG'])[0], 3, 0.9, 0.1, 1, 9)
    alone = similarity(known, ['GTTC'])
    among = similarity(known, ['GTTC', 'ACGTACGGACGTACGG'])
    assert alone.similarity[0] == among.similarity[0] and alone.reverse_complement[0] == among.reverse_complement[0]


@pytest.mark.parametrize('length, kmer', [(60, 5), (150, 5), (171, 6), (250, 6), (450, 6), (1500, 7)])
def test_k_mers_are_long_enough_that_unrelated_sequences_share_few(length, kmer):
    random = np.random.default_rng(3)
    known = built(random_sequences(random, 40, length))
    assert known.kmer == kmer
    strangers = similarity(known, random_sequences(random, 40, length))
    assert strangers.similarity.max() < 0.5 and not strangers.near.any()


def test_training_asvs_are_near_even_where_they_have_nothing_in_common():
    sequences = random_sequences(np.random.default_rng(4), 30, 50)
    result = similarity(built(sequences), sequences)
    assert result.near.all() and not (result.reverse_complement | result.other_region | result.other_length).any()


def test_new_asvs_of_the_same_kind_are_near(ecam):
    sequences, families = ecam
    random = np.random.default_rng(5)
    third = random.random(len(sequences)) < 1 / 3
    names = random.permutation(np.unique(families))
    foreign = np.isin(families, names[: len(names) // 3])
    near = {}
    for name, held_out in {'ASVs': third, 'families': foreign}.items():
        known = built(sequences[~held_out])
        result = similarity(known, sequences[held_out])
        near[name] = result.near.mean()
        assert held_out.sum() > 100 and result.other_region.mean() < 0.02 and not result.reverse_complement.any()
        for share in (0.01, 0.03, 0.05):
            assert similarity(known, changed(sequences[~held_out], share, random)).near.mean() > 0.98
    assert near['ASVs'] > 0.95 and 0.5 < near['families'] < near['ASVs']


def test_other_regions_and_random_sequences_are_not_near(ecam):
    sequences, _ = ecam
    starts, ends = [s[:75] for s in sequences], [s[75:] for s in sequences]
    known = built(starts)
    for strangers in (ends, random_sequences(np.random.default_rng(6), 500, 75)):
        result = similarity(known, strangers)
        assert (
            result.near.mean() < 0.01 and result.other_region.mean() > 0.97 and result.reverse_complement.mean() < 0.01
        )


def test_reverse_complements_are_recognised(ecam):
    sequences, _ = ecam
    known, new = built(sequences[::2]), list(sequences[1::2])
    result = similarity(known, reverse_complements(new))
    assert result.reverse_complement.mean() > 0.99 and not result.near.any()
    assert not similarity(known, new).reverse_complement.any()
    mixed = new[:100] + reverse_complements(new[100:200])
    seen = similarity(known, mixed).reverse_complement
    assert seen[100:].mean() > 0.99 and not seen[:100].any()


def test_reverse_complements_with_unknown_nucleotides_are_recognised():
    sequence = random_sequences(np.random.default_rng(7), 1, 80)[0]
    known = built([sequence])
    result = similarity(known, ['RYSWKMBDHVN' + reverse_complements([sequence])[0], 'RYSWKMBDHVN' + sequence])
    assert result.reverse_complement.tolist() == [True, False]


def test_a_library_of_mixed_orientation_is_near_in_both(ecam):
    sequences, _ = ecam
    known = built([*sequences[:400], *reverse_complements(sequences[400:800])])
    for part in (sequences[800:], reverse_complements(sequences[800:])):
        assert similarity(known, part).near.mean() > 0.9


def test_lengths_beyond_those_of_training_are_seen():
    random = np.random.default_rng(8)
    # two strays widen nothing, and what they are stored with neither
    known = built([*random_sequences(random, 500, 100), 'ACGT' * 5, random_sequences(random, 1, 2000)[0]])
    assert (known.shortest, known.longest, known.kmer, known.codes.shape[1]) == (95, 105, 5, 105)
    lengths = [94, 95, 100, 105, 106]
    result = similarity(known, [random_sequences(random, 1, length)[0] for length in lengths])
    assert result.other_length.tolist() == [True, False, False, False, True]


def test_references_are_few_and_far_from_each_other(ecam, monkeypatch):
    sequences, _ = ecam
    monkeypatch.setattr(references, 'MAX_REFERENCES', 64)
    spread = built(sequences)
    assert spread.codes.shape == (64, 150) and spread.codes.dtype == np.uint8
    assert set(map(bytes, spread.codes)) <= set(map(bytes, encode(list(sequences))[0]))
    assert len(set(map(bytes, spread.codes))) == 64
    # a change of 3 % in any training ASV, most of which are not references, keeps it near
    assert similarity(spread, changed(sequences, 0.03, np.random.default_rng(9))).near.mean() > 0.9


def test_few_of_very_many_training_asvs_are_looked_at(ecam, monkeypatch):
    sequences, _ = ecam
    for name, value, number in (('MAX_CANDIDATES', 300, 300), ('MAX_CANDIDATE_FLOATS', 4**5 * 200, 200)):
        monkeypatch.setattr(references, name, value)
        known = built(sequences)
        assert len(known.codes) == number
        assert similarity(known, sequences).near.mean() > 0.93


def test_the_same_seed_gives_the_same_references_and_any_order_the_same_answer(ecam, monkeypatch):
    sequences = ecam[0][:500]
    monkeypatch.setattr(references, 'MAX_REFERENCES', 50)
    one, two = built(sequences), built(sequences)
    assert np.array_equal(one.codes, two.codes) and (one.near, one.chance) == (two.near, two.chance)
    order = np.random.default_rng(10).permutation(500)
    full, shuffled = similarity(one, sequences), similarity(one, sequences[order])
    assert np.array_equal(full.similarity[order], shuffled.similarity)
    monkeypatch.setattr(references, 'FLOATS', 4**5 * 7)
    assert np.array_equal(similarity(one, sequences).similarity, full.similarity)


def test_a_single_training_asv_is_its_own_reference():
    known = built(['ACGTTGCAAGGCTTACGGAT' * 3])
    assert similarity(known, ['ACGTTGCAAGGCTTACGGAT' * 3, 'GATTACA' * 8]).near.tolist() == [True, False]


def test_no_asvs_have_no_similarity():
    result = built(['ACGTTGCAAGGCTTACGGAT' * 3]).similarity(*encode([]))
    assert len(result.near) == len(result.reverse_complement) == 0


def test_all_but_the_sequences_is_json_and_comes_back():
    known = built(random_sequences(np.random.default_rng(11), 20, 50))
    numbers = json.loads(json.dumps(known.numbers))
    again = References(known.codes, **numbers)
    assert sorted(numbers) == ['chance', 'kmer', 'longest', 'near', 'shortest']
    assert again.codes is known.codes and again.numbers == known.numbers


@pytest.mark.parametrize(
    'change',
    [
        {'kmer': 0},
        {'kmer': 9},
        {'kmer': 5.0},
        {'near': 1.5},
        {'near': float('nan')},
        {'chance': 'x'},
        {'shortest': 106},
        {'codes': np.zeros((0, 9), np.uint8)},
        {'codes': np.full((2, 9), 6, np.uint8)},
        {'codes': np.ones((2, 9), np.float32)},
        {'codes': np.ones(9, np.uint8)},
    ],
)
def test_damaged_references_are_refused(change):
    sound = {'codes': np.ones((2, 9), np.uint8), 'kmer': 5, 'near': 0.5, 'chance': 0.4, 'shortest': 95, 'longest': 105}
    assert References(**sound).kmer == 5
    with pytest.raises(ValueError) as error:
        References(**sound | change)
    assert str(error.value) == (
        'The applicability references of the model are damaged: they must be sequences and thresholds; train the '
        'model again.'
    )
