"""Studies that are transplanted to other leaves of a tree, the V4 of a database, and its sequences in the tree."""

import gzip
import importlib
import io
import pathlib

import numpy as np
import pytest
import scipy.sparse
import skbio

RECIPE = pathlib.Path(__file__).parents[2] / 'recipe'
PRIMER = 'GTGCCAGCAGCCGCGGTAA'


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPE))
    return importlib.import_module


@pytest.fixture
def synthetic(load):
    return load('synthetic_studies')


@pytest.fixture
def insertion(load):
    return load('insert_sequences')


def test_fragments_begin_after_the_primer_and_are_whole_and_new(synthetic, tmp_path):
    random = np.random.default_rng(1)
    genes = [''.join(random.choice(list('ACGT'), 400)) for _ in range(6)]
    whole = [gene[:100] + PRIMER + gene[100:] for gene in genes]
    unclear = genes[2][:100] + PRIMER + 'N' + genes[2][101:]
    records = {'1': whole[0], '2': whole[1], '3': unclear, '4': genes[3], '5': whole[4][:200], '6 a name': whole[5]}
    path = tmp_path / 'genes.fasta.gz'
    with gzip.open(path, 'wt') as file:
        for name, gene in records.items():
            file.write(f'>{name}\n{gene[:70]}\n{gene[70:]}\n')
    known = {genes[1][100:250]}
    found = synthetic.v4_fragments(path, 10, known, np.random.default_rng(1))
    assert found == {'greengenes1': genes[0][100:250], 'greengenes6': genes[5][100:250]}
    assert len(synthetic.v4_fragments(path, 1, known, np.random.default_rng(1))) == 1


def test_leaves_are_named_in_the_order_of_the_tree(synthetic):
    assert synthetic.leaves_of('((a:1,b_2:0.5):1,(c:1e-3,(d:0,e:2)0.9:1):3);') == ['a', 'b_2', 'c', 'd', 'e']


@pytest.mark.parametrize('seed', range(20))
def test_a_transplanted_study_shares_what_it_shared_and_relatives_stay_relatives(synthetic, seed):
    random = np.random.default_rng(seed)
    counts = scipy.sparse.random(12, 40, 0.3, 'csr', random_state=seed, data_rvs=lambda n: random.integers(1, 9, n))
    places = random.permutation(90)[:40]
    leaves = np.sort(random.permutation(90)[:70])
    moved = synthetic.transplant(counts, places, leaves, random)
    held = np.unique(counts.indices)
    in_order = held[np.argsort(places[held])]
    became = np.unique(moved.indices)
    assert set(became) <= set(leaves) and len(became) == len(held)
    # the same numbers, in the order of the tree
    assert (moved[:, became].toarray() == counts[:, in_order].toarray()).all()


def test_leaves_that_only_left_out_studies_have_are_taken_by_none(synthetic):
    names = [f'leaf{i}' for i in range(30)]
    newick = f'({",".join(f"{name}:1" for name in names)});'
    sequences = {name: f'sequence of {name}' for name in names}
    counts = scipy.sparse.csr_matrix(np.eye(5, dtype=np.int64))
    given = [('gut', names[:5], counts)]
    left_out = {'leaf7', 'leaf8'}
    parts = list(synthetic.synthetic_studies(given, newick, sequences, left_out, 8, np.random.default_rng(3)))
    assert [ids[0] for ids, _, _ in parts] == [f'gut-synthetic{i}.0' for i in range(1, 9)]
    taken = {read[column] for _, read, moved in parts for column in moved.indices}
    assert len(taken) > 10 and taken <= {sequences[name] for name in names if name not in left_out}


def rows(*sequences):
    return np.array([np.frombuffer(sequence.encode(), dtype=np.uint8) for sequence in sequences])


def test_the_nearest_is_among_those_before_by_the_columns_that_both_have(insertion, monkeypatch):
    monkeypatch.setattr(insertion, 'BLOCK', 2)
    aligned = rows('aacca', 'ggttg', 'ggtta', '-gttg', 'ccggt', 'gg--a')
    places, distances = insertion.nearest(aligned, 2)
    assert places.tolist()[:2] == [1, 1] and places[3] == 2
    assert distances[0] == pytest.approx(-0.75 * np.log(1 - 4 / 3 * 0.2)) and distances[1] == distances[3] == 0
    # nothing in common
    assert distances[2] == insertion.MAX_DISTANCE


def test_a_sequence_joins_the_lineage_of_its_nearest_halfway(insertion):
    names = ['a', 'b', 'c', 'd', 'e', 'f']
    newick = insertion.insert('((a:1,b:1):2,c:3);', names, np.array([0, 0, 2]), np.array([1.0, 4.0, 0.0]))
    tree = skbio.TreeNode.read(io.StringIO(newick))
    assert {leaf.name for leaf in tree.tips()} == set(names)

    def apart(one, other):
        return tree.find(one).distance(tree.find(other))

    # on the branch of its nearest, above it, and at a leaf
    assert apart('a', 'd') == pytest.approx(1) and apart('a', 'e') == pytest.approx(4)
    assert apart('c', 'f') == 0 and apart('b', 'e') == pytest.approx(4)
    # what was there is as it was
    assert apart('a', 'b') == pytest.approx(2) and apart('a', 'c') == pytest.approx(6)


def test_a_sequence_older_than_the_root_begins_there(insertion):
    newick = insertion.insert('(a:1,b:1);', ['a', 'b', 'c'], np.array([0]), np.array([6.0]))
    tree = skbio.TreeNode.read(io.StringIO(newick))
    assert tree.find('c').length == 3 and tree.find('c').parent.is_root()
