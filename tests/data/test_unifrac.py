"""UniFrac of drawn samples equals that of QIIME 2 and scikit-bio, whatever is drawn and however it is chunked."""

import io
import tempfile
import zipfile
from pathlib import Path

import biom
import h5py
import numpy as np
import pytest
import scipy.sparse
import skbio
from skbio.diversity import beta_diversity

from q2_aam.config import PretrainConfig
from q2_aam.data import unifrac
from q2_aam.data.augmentation import make_augmentation
from q2_aam.data.batches import draw_samples
from q2_aam.data.phylogeny import read_phylogeny
from q2_aam.data.study import build_study
from q2_aam.data.table import Table, read_table
from q2_aam.data.unifrac import UnifracDistances
from q2_aam.errors import UserError

KINDS = ('unweighted', 'weighted_normalized')
ECAM = Path(__file__).parent / 'ecam'


def by_scikit_bio(kind, counts, features, newick):
    # the name of this argument changed in 0.6
    names = {'otu_ids' if skbio.__version__.startswith('0.5') else 'taxa': features}
    tree = skbio.TreeNode.read(io.StringIO(newick), convert_underscores=False)
    # scikit-bio counts it as a branch; what QIIME 2 computes with does not
    tree.length = None
    if kind == 'unweighted':
        return beta_diversity('unweighted_unifrac', counts, tree=tree, **names).data
    return beta_diversity('weighted_unifrac', counts, tree=tree, normalized=True, **names).data


def by_qiime_2(kind, counts, features, newick, folder):
    # what q2-diversity-lib calls; it comes with QIIME 2
    library = pytest.importorskip('unifrac')
    table = biom.Table(np.asarray(counts, dtype=float).T, list(features), [f's{i:04d}' for i in range(len(counts))])
    with h5py.File(folder / 'qiime-2.biom', 'w') as file:
        table.to_hdf5(file, 'test')
    (folder / 'qiime-2.nwk').write_text(newick)
    return getattr(library, kind)(str(folder / 'qiime-2.biom'), str(folder / 'qiime-2.nwk')).data


def make(tmp_path, counts, features, newick, kind='unweighted', training=None):
    """UniFrac of a table [samples, features] whose feature ids serve as sequences too; samples keep their order."""
    counts = np.asarray(counts, dtype=np.float32)
    names = [f's{i:04d}' for i in range(len(counts))]
    table = Table(names, list(features), lambda: [scipy.sparse.csr_matrix(counts)])
    study, _ = build_study(table, list(features))
    path = tmp_path / 'tree.nwk'
    path.write_text(newick)
    tree = read_phylogeny(path, study.feature_ids)
    training = np.arange(len(study)) if training is None else np.array(training)
    return UnifracDistances(tree, study, training, np.random.default_rng(1), kind)


def random_tree(tips, random, stem=''):
    """A random tree with two children or three at each node, as Newick; some lengths are 0."""
    nodes = [f'{name}:{random.random():.6f}' for name in tips]
    while len(nodes) > 1:
        taken = [nodes.pop(random.integers(len(nodes))) for _ in range(min(len(nodes), random.choice([2, 2, 3])))]
        if not nodes:
            # scikit-bio takes more than two children at the root for a tree that is not rooted
            taken = [taken[0], f'({",".join(taken[1:])}):0.25'] if len(taken) > 2 else taken
            return f'({",".join(taken)}){stem};'
        nodes.append(f'({",".join(taken)}):{random.random() * random.integers(2):.6f}')


@pytest.fixture
def random_study():
    """Counts [30, 60], features, and a tree that has 40 more tips."""
    random = np.random.default_rng(3)
    features = [''.join(letters) for letters in random.choice(list('ACGT'), (100, 12))]
    counts = random.poisson(random.gamma(0.2, 5.0, (30, 60)))
    counts[:, 0] += 1
    counts[0, counts.sum(axis=0) == 0] = 1
    return counts, features[:60], random_tree(features, random)


@pytest.mark.parametrize(
    ('kind', 'expected'),
    [
        # a and b lie on 1 + 4, on 2 + 4, c on 8: of a 5, of ab 7, of c 8
        ('unweighted', [[0, 2 / 7, 1, 2 / 7], [2 / 7, 0, 1, 0], [1, 1, 0, 1], [2 / 7, 0, 1, 0]]),
        # lengths times shares: a 5, half a and half b 0.5 + 1 + 4, c 8, a quarter of a 0.25 + 1.5 + 4
        (
            'weighted_normalized',
            [
                [0, 1.5 / 10.5, 1, 2.25 / 10.75],
                [1.5 / 10.5, 0, 1, 0.75 / 11.25],
                [1, 1, 0, 1],
                [2.25 / 10.75, 0.75 / 11.25, 1, 0],
            ],
        ),
    ],
)
def test_unifrac_of_a_small_tree_is_what_one_computes_by_hand(tmp_path, kind, expected):
    pairs = make(
        tmp_path, [[7, 0, 0], [5, 5, 0], [0, 0, 9], [1, 3, 0]], ['A', 'C', 'G'], '((A:1,C:2):4,(G:3,T:1):5);', kind
    )
    distances = pairs.among(np.arange(4))
    assert distances.dtype == np.float32
    np.testing.assert_allclose(distances, expected, rtol=1e-6)
    # any rows, in any order
    np.testing.assert_allclose(pairs.among(np.array([3, 0])), np.array(expected)[[3, 0]][:, [3, 0]], rtol=1e-6)


@pytest.mark.parametrize('stem', ['', ':2.5'])
@pytest.mark.parametrize('kind', KINDS)
def test_unifrac_equals_that_of_scikit_bio_with_the_whole_tree(tmp_path, random_study, kind, stem):
    counts, features, newick = random_study
    newick = newick.replace(';', stem + ';')
    pairs = make(tmp_path, counts, features, newick, kind)
    np.testing.assert_allclose(
        pairs.among(np.arange(30)), by_scikit_bio(kind, counts, features, newick), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    'newick',
    [
        '((A:1,C:1):2,(G:1,T:1):1);',
        '((A:1,C:1):2,(G:1,T:1):1):7;',
        # the last common ancestor of what the table has lies below the root
        '(((A:1,C:1):2,(G:1,T:3):1):4,N:1):7;',
        '((((A:1,C:1):2,(G:1,T:3):1):4)):7;',
        '(A:1,C:1,(G:1,T:1):1);',
    ],
    ids=['no stem', 'root with length', 'stem below the root', 'single children', 'three children'],
)
@pytest.mark.parametrize('kind', KINDS)
def test_unifrac_equals_that_of_qiime_2_whatever_stem_the_tree_has(tmp_path, kind, newick):
    counts = [[7, 0, 0, 1], [5, 5, 0, 0], [0, 0, 9, 0], [1, 3, 0, 2]]
    distances = make(tmp_path, counts, 'ACGT', newick, kind).among(np.arange(4))
    np.testing.assert_allclose(distances, by_qiime_2(kind, counts, 'ACGT', newick, tmp_path), rtol=0, atol=1e-6)


@pytest.mark.parametrize('kind', KINDS)
def test_branches_up_to_the_root_of_the_file_count(tmp_path, kind):
    counts, features, newick = [[1, 1], [0, 1]], ['A', 'C'], '((A:1,C:1):2,(G:1,T:1):1);'
    distances = make(tmp_path, [*counts, [1, 0]], features, newick, kind).among(np.array([0, 1]))
    np.testing.assert_allclose(distances, by_scikit_bio(kind, counts, features, newick), atol=1e-6)
    assert distances[0, 1] == pytest.approx(1 / 4 if kind == 'unweighted' else 1 / 6)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('limit', [0, 3])
def test_unifrac_of_drawn_samples_is_that_of_the_reads_that_were_drawn(tmp_path, random_study, kind, limit):
    counts, features, newick = random_study
    pairs = make(tmp_path, counts, features, newick, kind)
    config = PretrainConfig.from_flat({'rarefaction_depth': 40, 'max_asvs_per_sample': limit})
    augment = make_augmentation(config.data, config.training, np.random.default_rng(4))
    rows = np.random.default_rng(2).permutation(30)[:11]
    drawn = draw_samples(pairs._study, rows, augment)
    shares = scipy.sparse.csr_matrix((drawn.abundances, drawn.asvs, drawn.offsets), (11, 60)).toarray()
    if limit:
        assert (shares > 0).sum(axis=1).max() == limit
    expected = by_scikit_bio(kind, np.round(shares * 1e8).astype(int), pairs._study.feature_ids, newick)
    distances = pairs.of(drawn)
    np.testing.assert_allclose(distances, expected, rtol=0, atol=1e-6)
    # and that is not what all reads give
    assert np.abs(distances - pairs.among(rows)).max() > 0.05


@pytest.mark.parametrize('kind', KINDS)
def test_chunks_change_nothing(tmp_path, random_study, kind, monkeypatch):
    full = make(tmp_path, *random_study, kind)
    # three samples at a time
    monkeypatch.setattr(unifrac, 'FLOATS_AT_ONCE', 9 * 2 * len(full._study.asvs) // 30)
    chunked = make(tmp_path, *random_study, kind)
    rows = np.random.default_rng(2).permutation(30)[:17]
    assert chunked._samples_at_once in (2, 3)
    distances = chunked.among(rows)
    np.testing.assert_allclose(distances, full.among(rows), rtol=0, atol=1e-7)
    np.testing.assert_array_equal(distances, distances.T)
    assert not distances.diagonal().any()


def test_mean_and_variance_are_those_of_training_samples(tmp_path, random_study):
    pairs = make(tmp_path, *random_study, training=[4, 9, 2, 11])
    known = pairs.among(np.array([4, 9, 2, 11]))[np.triu_indices(4, 1)]
    np.testing.assert_allclose([pairs.mean, pairs.variance], [known.mean(), known.var()], rtol=1e-5)
    assert pairs.divisor == 1 and pairs.place.tolist() == list(range(30))


def test_mean_and_variance_are_estimated_from_a_few_samples_that_are_drawn(tmp_path, random_study, monkeypatch):
    monkeypatch.setattr(unifrac, 'SAMPLES_TO_ESTIMATE', 5)
    pairs = make(tmp_path, *random_study)
    chosen = np.sort(np.random.default_rng(1).permutation(30)[:5])
    known = pairs.among(chosen)[np.triu_indices(5, 1)]
    np.testing.assert_allclose([pairs.mean, pairs.variance], [known.mean(), known.var()], rtol=1e-5)


def test_mean_and_variance_are_of_what_the_augmentation_keeps(tmp_path, random_study):
    full = make(tmp_path, *random_study)

    def first_three(abundances, offsets):
        return np.arange(len(abundances)) - np.repeat(offsets[:-1], np.diff(offsets)) < 3, abundances

    rows = np.arange(30)
    pairs = UnifracDistances(
        full._phylogeny, full._study, rows, np.random.default_rng(1), 'unweighted', augment=first_three
    )
    known = full.of(draw_samples(full._study, rows, first_three))[np.triu_indices(30, 1)]
    np.testing.assert_allclose([pairs.mean, pairs.variance], [known.mean(), known.var()], rtol=1e-5)
    assert abs(pairs.mean - full.mean) > 0.05


@pytest.mark.parametrize('kind', KINDS)
def test_a_tree_without_lengths_is_refused(tmp_path, kind):
    with pytest.raises(UserError) as error:
        make(tmp_path, [[1, 0], [0, 1], [1, 1]], ['A', 'C'], '(A,C);', kind)
    assert str(error.value) == (
        'UniFrac distances must differ, but all between training samples are 0; check the branch lengths of the '
        'phylogeny.'
    )


def member(artifact, name, folder):
    """Extract one file of a QIIME 2 artifact; return its path."""
    with zipfile.ZipFile(ECAM / artifact) as file:
        return file.extract(next(entry for entry in file.namelist() if entry.endswith(f'data/{name}')), folder)


@pytest.fixture(scope='module')
def ecam():
    """The study, its tree in Newick and as it was read."""
    with tempfile.TemporaryDirectory() as folder:
        table = read_table(member('table.qza', 'feature-table.biom', folder))
        path = member('rooted-tree.qza', 'tree.nwk', folder)
        # what the sequences are does not matter here, if no two are the same
        letters = np.array(list('ACGT'))[np.arange(len(table.feature_ids))[:, None] // 4 ** np.arange(6) % 4]
        study, _ = build_study(table, [''.join(row) for row in letters])
        return study, Path(path).read_text(), read_phylogeny(path, study.feature_ids)


@pytest.fixture(scope='module')
def some_of_ecam(ecam):
    """24 samples: their counts, features and tree, whose root has a length, and their UniFrac of a kind."""
    study, newick, tree = ecam
    assert newick.rstrip().endswith('):0.25729;')
    rows = np.random.default_rng(2).permutation(len(study))[:24]
    shares = scipy.sparse.csr_matrix((study.abundances, study.asvs, study.offsets))[rows].toarray().astype(float)
    counts = np.round(shares * study.reads[rows, None]).astype(int)

    def of_kind(kind):
        return UnifracDistances(tree, study, np.arange(len(study)), np.random.default_rng(1), kind).among(rows)

    return (counts, study.feature_ids, newick), of_kind


@pytest.mark.parametrize('kind', KINDS)
def test_unifrac_of_ecam_equals_that_of_scikit_bio(some_of_ecam, kind):
    inputs, of_kind = some_of_ecam
    np.testing.assert_allclose(of_kind(kind), by_scikit_bio(kind, *inputs), rtol=0, atol=1e-6)


@pytest.mark.parametrize('kind', KINDS)
def test_unifrac_of_ecam_equals_that_of_qiime_2(some_of_ecam, tmp_path, kind):
    inputs, of_kind = some_of_ecam
    np.testing.assert_allclose(of_kind(kind), by_qiime_2(kind, *inputs, tmp_path), rtol=0, atol=1e-6)


def by_hand(kind, counts, lengths, tips):
    """UniFrac of two samples from its definition, branch by branch; `tips` are those below each branch."""
    shares = np.asarray(counts, dtype=float)
    shares /= shares.sum(axis=1, keepdims=True)
    below = np.array([shares[:, list(of)].sum(axis=1) for of in tips])
    difference, total, lengths = np.abs(below[:, 0] - below[:, 1]), below.sum(axis=1), np.array(lengths)
    if kind == 'weighted':
        return float((lengths * difference).sum())
    seen = total > 0
    weight = lengths[seen] * np.sqrt(total[seen])
    return float((weight * difference[seen] / total[seen]).sum() / weight.sum())


@pytest.mark.parametrize('kind', ['weighted', 'generalised'])
def test_the_other_forms_are_what_their_definitions_say(tmp_path, kind):
    features, newick = ['AAAA', 'CCCC', 'GGGG'], '((AAAA:1,CCCC:2):0.5,GGGG:3);'
    counts = [[3, 1, 0], [0, 1, 4], [1, 1, 1]]
    pairs = make(tmp_path, counts, features, newick, kind)
    found = pairs.among(np.arange(3)) * pairs.divisor
    lengths, tips = (1, 2, 0.5, 3), ((0,), (1,), (0, 1), (2,))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        expected = by_hand(kind, [counts[one], counts[other]], lengths, tips)
        assert found[one, other] == found[other, one] == pytest.approx(expected, rel=1e-6)
    assert np.diagonal(found).tolist() == [0, 0, 0]


def test_weighted_unifrac_equals_that_of_scikit_bio_and_is_divided_by_the_largest_of_training(tmp_path, random_study):
    counts, features, newick = random_study
    pairs = make(tmp_path, counts, features, newick, 'weighted')
    names = {'otu_ids' if skbio.__version__.startswith('0.5') else 'taxa': features}
    tree = skbio.TreeNode.read(io.StringIO(newick), convert_underscores=False)
    tree.length = None
    expected = beta_diversity('weighted_unifrac', counts, tree=tree, normalized=False, **names).data
    found = pairs.among(np.arange(len(counts)))
    assert pairs.divisor == pytest.approx(max(1.0, expected.max()), rel=1e-5)
    assert found * pairs.divisor == pytest.approx(expected, abs=1e-5)
    assert found.max() <= 1 + 1e-6


@pytest.mark.parametrize('kind', ['weighted', 'generalised'])
def test_chunks_change_nothing_in_the_other_forms_either(tmp_path, random_study, kind, monkeypatch):
    whole = make(tmp_path, *random_study, kind)
    expected = whole.among(np.arange(8))
    whole._samples_at_once = 4
    assert whole.among(np.arange(8)) == pytest.approx(expected, abs=1e-6)
