"""Pretraining on a phylogeny: what it learns from the matrix of the same UniFrac, or that of the reads it draws."""

import io
import types

import numpy as np
import pandas as pd
import pytest
import skbio
from skbio.diversity import beta_diversity

from q2_aam import bundle
from q2_aam.config import PretrainConfig
from q2_aam.errors import UserError
from q2_aam.training import pretrain as training
from q2_aam.training.pretrain import pretrain

ASVS = 30
SMALL = {
    'width': 16,
    'asv_layers': 1,
    'sample_layers': 1,
    'attention_heads': 2,
    'memberships': 16,
    'epochs': 3,
    'batch_size': 8,
    'validation_fraction': 0.3,
    'random_seed': 7,
    'threads': 1,
    'device': 'cpu',
}


def newick_of(names):
    # a ladder: ASVs whose times are near are near in the tree
    text = f'{names[0]}:1'
    for name in names[1:]:
        text = f'({text},{name}:1):0.5'
    return text + ';'


def by_scikit_bio(kind, counts, features):
    names = {'otu_ids' if skbio.__version__.startswith('0.5') else 'taxa': features}
    more = {'normalized': True} if kind == 'weighted_normalized' else {}
    tree = skbio.TreeNode.read(io.StringIO(newick_of(sorted(features))))
    # scikit-bio would count the length of the root as a branch
    tree.length = None
    return beta_diversity(f'{kind.split("_")[0]}_unifrac', counts, tree=tree, **names, **more).data


def counts_of(offsets, asvs, abundances):
    """Abundances of samples as numbers [samples, ASVs] that scikit-bio takes for counts."""
    counts = np.zeros((len(offsets) - 1, ASVS), dtype=int)
    counts[np.repeat(np.arange(len(counts)), np.diff(offsets)), asvs] = np.round(np.asarray(abundances) * 1e8)
    return counts


@pytest.fixture
def seen(monkeypatch):
    """What a run of pretraining works on, as it runs: batches and their true distances, and the studies it scores."""
    seen = types.SimpleNamespace(batches=[], true=[], studies=[])

    class Network(training.Network):
        def encode_samples(self, asvs_UD, asvs, abundances, offsets):
            seen.batches.append((offsets, asvs, abundances))
            return super().encode_samples(asvs_UD, asvs, abundances, offsets)

    def make_batch(study, *args, **options):
        seen.study = study
        seen.batch = training_make_batch(study, *args, **options)
        return seen.batch

    def distance_loss(predicted, true, variance):
        batch = seen.batch
        # the network has read just this batch
        assert all(one is other for one, other in zip(seen.batches[-1], (batch.offsets, batch.asvs, batch.abundances)))
        seen.true.append((seen.study, batch, true))
        return training_distance_loss(predicted, true, variance)

    def distances_among(network, study, rows, device, reading=None):
        seen.studies.append((study, rows, reading))
        return training_distances_among(network, study, rows, device, reading)

    training_make_batch, training_distance_loss = training.make_batch, training.distance_loss
    training_distances_among = training.distances_among
    for name, value in (
        ('Network', Network),
        ('make_batch', make_batch),
        ('distance_loss', distance_loss),
        ('distances_among', distances_among),
    ):
        monkeypatch.setattr(training, name, value)
    return seen


@pytest.fixture
def files(tiny, tmp_path):
    files = tiny.write(tmp_path / 'inputs')
    files.phylogeny = tmp_path / 'inputs' / 'tree.nwk'
    files.phylogeny.write_text(newick_of(list(tiny.sequences)))
    return files


def run(files, folder, said, matrix=None, phylogeny=None, **options):
    folder.mkdir()
    config = PretrainConfig.from_flat(SMALL | options)
    return pretrain(files.table, folder, config, files.sequences, matrix, phylogeny, say=said.append)


@pytest.mark.parametrize('kind', ['unweighted', 'weighted_normalized'])
def test_a_phylogeny_gives_the_losses_and_points_of_the_matrix_of_its_unifrac(tiny, files, tmp_path, kind):
    said = []
    found = run(files, tmp_path / 'tree', said, phylogeny=files.phylogeny, unifrac=kind)
    true = by_scikit_bio(kind, tiny.counts.to_numpy().astype(int), list(tiny.counts.columns))
    pd.DataFrame(true, tiny.counts.index, tiny.counts.index).to_csv(files.distance_matrix, sep='\t')
    expected = run(files, tmp_path / 'matrix', [], matrix=files.distance_matrix)
    for part, figure in (('training', 'distance_loss'), ('validation', 'distance_mae')):
        assert found.series(part, figure) == pytest.approx(expected.series(part, figure), rel=1e-3)
    assert len(found.points) == len(expected.points) > 10
    assert [point[3] for point in found.points] == pytest.approx([point[3] for point in expected.points], abs=1e-6)
    (line,) = [line for line in said if line.startswith('Distances')]
    assert line.startswith(f'Distances: {kind.replace("_", " ")} UniFrac, from the phylogeny; between training samples')
    assert bundle.read_config(tmp_path / 'tree').distance_divisor == 1.0


@pytest.mark.parametrize('kind', ['unweighted', 'weighted_normalized'])
def test_with_rarefaction_depth_distances_are_those_of_the_reads_that_the_network_reads(files, tmp_path, seen, kind):
    said = []
    options = {'phylogeny': files.phylogeny, 'unifrac': kind, 'rarefaction_depth': 20, 'nucleotide_weight': 0.0}
    run(files, tmp_path / 'drawn', said, **options)
    # 17 training samples in batches of up to 8, three times
    assert len(seen.true) == 9
    for study, batch, true in seen.true:
        counts = counts_of(batch.offsets, batch.distinct[batch.asvs], batch.abundances)
        np.testing.assert_allclose(true, by_scikit_bio(kind, counts, study.feature_ids), rtol=0, atol=1e-5)
    # drawn anew each time: about 20 reads hold fewer ASVs than the samples have
    richness = {int(row): set() for row in range(24)}
    for _, batch, _ in seen.true:
        for row, size in zip(batch.samples, np.diff(batch.offsets)):
            richness[int(row)].add(int(size))
    assert sum(len(sizes) > 1 for sizes in richness.values()) > 10
    (line,) = [line for line in said if line.startswith('Distances')]
    assert 'from the phylogeny, of about 20 reads of each sample, drawn anew each time; between training' in line


@pytest.mark.parametrize('kind', ['unweighted', 'weighted_normalized'])
def test_with_rarefaction_depth_validation_scores_one_reading_of_that_depth(files, tmp_path, seen, kind):
    options = {'phylogeny': files.phylogeny, 'unifrac': kind, 'rarefaction_depth': 20, 'asv_dropout': 0.5}
    history = run(files, tmp_path / 'drawn', [], **options)
    (study, rows, reading), *others = seen.studies
    # the same one after each epoch
    assert len(others) == 2 and all(one is study for one, _, _ in others) and reading is None
    counts = counts_of(study.offsets, study.asvs, study.abundances)
    upper = np.triu_indices(len(rows), 1)
    expected = by_scikit_bio(kind, counts, study.feature_ids)[upper]
    assert [true for _, _, _, true in history.points] == pytest.approx(expected, abs=1e-5)
    # not dropped besides: in expectation there are 20 reads, and so the smallest share is a 20th or so
    smallest = np.minimum.reduceat(study.abundances, study.offsets[:-1])
    assert len(rows) == 7 and 1 / 40 < smallest.min() and np.median(1 / smallest) == pytest.approx(20, abs=5)
    again = run(files, tmp_path / 'again', [], **options)
    assert (again.rows, again.points) == (history.rows, history.points)


def test_distances_of_a_matrix_are_learned_and_scored_as_they_are_at_any_rarefaction_depth(tiny, files, tmp_path, seen):
    history = run(files, tmp_path / 'matrix', [], matrix=files.distance_matrix, rarefaction_depth=20)
    values = tiny.distances.to_numpy()
    for study, batch, true in seen.true:
        place = [tiny.distances.index.get_loc(study.sample_ids[row]) for row in batch.samples]
        np.testing.assert_allclose(true, values[np.ix_(place, place)], rtol=1e-6)
    # with all reads, as predictions will be made
    assert all(len(study) == 24 and reading is None for study, _, reading in seen.studies)
    assert {np.float32(true) for _, _, _, true in history.points} <= set(np.float32(values).ravel())


def test_a_matrix_and_a_phylogeny_together_are_refused(files, tmp_path):
    with pytest.raises(UserError) as error:
        run(files, tmp_path / 'both', [], matrix=files.distance_matrix, phylogeny=files.phylogeny)
    assert str(error.value) == (
        'A distance_matrix and a phylogeny are both given, but distances come from one; give only one.'
    )


def test_a_phylogeny_that_lacks_features_is_refused_unless_distances_have_no_weight(files, tmp_path):
    files.phylogeny.write_text('(feature00:1,feature01:1);')
    with pytest.raises(UserError) as error:
        run(files, tmp_path / 'lacking', [], phylogeny=files.phylogeny)
    assert str(error.value).startswith('The phylogeny lacks 28 features of the 30 of the table (e.g. feature')
    said = []
    history = run(files, tmp_path / 'masked', said, phylogeny=files.phylogeny, distance_weight=0.0)
    assert 'Distances: none; hidden nucleotides alone are learned.' in said
    assert np.isfinite(history.series('training', 'nucleotide_loss')).all()
