"""Pretraining on the UniFrac of a phylogeny learns what it learns from the matrix of the same distances."""

import io

import numpy as np
import pandas as pd
import pytest
import skbio
from skbio.diversity import beta_diversity

from q2_aam import bundle
from q2_aam.config import PretrainConfig
from q2_aam.errors import UserError
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


def newick_of(names):
    # a ladder: ASVs whose times are near are near in the tree
    text = f'{names[0]}:1'
    for name in names[1:]:
        text = f'({text},{name}:1):0.5'
    return text + ';'


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
    counts, features = tiny.counts.to_numpy().astype(int), list(tiny.counts.columns)
    names = {'otu_ids' if skbio.__version__.startswith('0.5') else 'taxa': features}
    more = {'normalized': True} if kind == 'weighted_normalized' else {}
    tree = skbio.TreeNode.read(io.StringIO(newick_of(features)))
    true = beta_diversity(f'{kind.split("_")[0]}_unifrac', counts, tree=tree, **names, **more).data
    pd.DataFrame(true, tiny.counts.index, tiny.counts.index).to_csv(files.distance_matrix, sep='\t')
    expected = run(files, tmp_path / 'matrix', [], matrix=files.distance_matrix)
    for part, figure in (('training', 'distance_loss'), ('validation', 'distance_mae')):
        assert found.series(part, figure) == pytest.approx(expected.series(part, figure), rel=1e-3)
    assert len(found.points) == len(expected.points) > 10
    assert [point[3] for point in found.points] == pytest.approx([point[3] for point in expected.points], abs=1e-6)
    (line,) = [line for line in said if line.startswith('Distances')]
    assert line.startswith(f'Distances: {kind.replace("_", " ")} UniFrac, from the phylogeny; between training samples')
    assert bundle.read_config(tmp_path / 'tree').distance_divisor == 1.0


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
