"""Pretraining on a phylogeny: what it learns from the matrix of the same UniFrac, or that of the reads it draws."""

import io

import numpy as np
import pandas as pd
import pytest
import skbio
import torch
from skbio.diversity import beta_diversity

from q2_aam import bundle
from q2_aam.config import PretrainConfig
from q2_aam.errors import UserError
from q2_aam.objectives import Distances
from q2_aam.training.pretrain import pretrain

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
KINDS = ['unweighted', 'weighted_normalized']


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


@pytest.fixture
def files(tiny, tmp_path):
    files = tiny.write(tmp_path / 'inputs')
    files.phylogeny = tmp_path / 'inputs' / 'tree.nwk'
    files.phylogeny.write_text(newick_of(list(tiny.sequences)))
    return files


def run(files, folder, lines, matrix=None, phylogeny=None, **options):
    folder.mkdir()
    config = PretrainConfig.from_flat(SMALL | options)
    return pretrain(files.table, folder, config, files.sequences, matrix, phylogeny, say=lines.append)


@pytest.mark.parametrize('kind', KINDS)
def test_a_phylogeny_gives_the_losses_and_points_of_the_matrix_of_its_unifrac(tiny, files, tmp_path, kind):
    lines = []
    history = run(files, tmp_path / 'tree', lines, phylogeny=files.phylogeny, unifrac=kind)
    true = by_scikit_bio(kind, tiny.counts.to_numpy().astype(int), list(tiny.counts.columns))
    pd.DataFrame(true, tiny.counts.index, tiny.counts.index).to_csv(files.distance_matrix, sep='\t')
    expected = run(files, tmp_path / 'matrix', [], matrix=files.distance_matrix)
    for part, metric in (('training', 'distance_loss'), ('validation', 'distance_mae')):
        assert history.series(part, metric) == pytest.approx(expected.series(part, metric), rel=1e-3)
    assert len(history.points) == len(expected.points) > 10
    assert [point[3] for point in history.points] == pytest.approx([point[3] for point in expected.points], abs=1e-6)
    (line,) = [line for line in lines if line.startswith('Distances')]
    assert line.startswith(f'Distances: {kind.replace("_", " ")} UniFrac, from the phylogeny; between training samples')
    assert bundle.read_config(tmp_path / 'tree').distance_divisor == 1.0


def test_with_rarefaction_distances_are_those_of_the_reads_that_the_network_reads(files, tmp_path, monkeypatch):
    batches, richness = [], {}
    label = Distances.label

    def recording(self, batch, drawn, budget, generator):
        label(self, batch, drawn, budget, generator)
        batches.append((self, batch, drawn))

    monkeypatch.setattr(Distances, 'label', recording)
    options = {'phylogeny': files.phylogeny, 'rarefaction_depth': 20, 'nucleotide_weight': 0.0}
    history = run(files, tmp_path / 'drawn', [], **options)
    # 17 training samples in batches of up to 8, three times
    assert len(batches) == 9
    for objective, batch, drawn in batches:
        # the network reads just this
        (chunk,) = batch.samples
        assert np.array_equal(chunk.abundances.numpy(), drawn.abundances)
        assert np.array_equal(drawn.distinct[chunk.asvs.numpy()], drawn.asvs)
        assert torch.equal(batch.labels['distances'], torch.from_numpy(objective.pairs.of(drawn)))
        for row, size in zip(drawn.rows, np.diff(drawn.offsets)):
            richness.setdefault(int(row), set()).add(int(size))
    # drawn anew each time: about 20 reads hold fewer ASVs than the samples have
    assert sum(len(sizes) > 1 for sizes in richness.values()) > 10
    # and the same again by the same seed
    again = run(files, tmp_path / 'again', [], **options)
    assert (again.rows, again.points) == (history.rows, history.points)


def test_distances_of_a_matrix_are_learned_and_scored_as_they_are_at_any_rarefaction_depth(tiny, files, tmp_path):
    history = run(files, tmp_path / 'matrix', [], matrix=files.distance_matrix, rarefaction_depth=20)
    assert {np.float32(true) for _, _, _, true in history.points} <= set(np.float32(tiny.distances.to_numpy()).ravel())


def test_a_matrix_and_a_phylogeny_together_are_refused(files, tmp_path):
    with pytest.raises(UserError) as error:
        run(files, tmp_path / 'both', [], matrix=files.distance_matrix, phylogeny=files.phylogeny)
    assert str(error.value) == (
        'Give either a distance_matrix or a phylogeny: distances can be learned from one of them only.'
    )


def test_a_phylogeny_that_lacks_features_is_refused_unless_distances_have_no_weight(files, tmp_path):
    files.phylogeny.write_text('(feature00:1,feature01:1);')
    with pytest.raises(UserError) as error:
        run(files, tmp_path / 'lacking', [], phylogeny=files.phylogeny)
    assert str(error.value).startswith("The phylogeny lacks 28 of the 30 features in the table (e.g. 'feature")
    lines = []
    history = run(files, tmp_path / 'masked', lines, phylogeny=files.phylogeny, distance_weight=0.0)
    assert not [line for line in lines if line.startswith('Distances')]
    # as without any distances
    assert 'Masked nucleotides: 15% of the tokens of 100% of the ASVs of a batch.' in lines
    assert np.isfinite(history.series('training', 'nucleotide_loss')).all()
