"""What the benchmark of distances calls error, draws and true distances."""

import importlib
import inspect
import io
import pathlib

import numpy as np
import pytest
import skbio
from skbio.diversity.beta import unweighted_unifrac


@pytest.fixture
def distances(monkeypatch):
    """The benchmark as it is when it runs as a script."""
    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).parent))
    return importlib.import_module('distances')


@pytest.fixture
def study(distances):
    return distances.bench.make_up(samples=6, asvs=20, richness=5, length=30, seed=3)


def test_an_error_of_samples_is_told_from_one_of_pairs(distances):
    effect = np.array([0.3, -0.1, 0.0, -0.2, 0.0])
    assert distances.parts_of_error(effect[:, None] + effect) == pytest.approx((0, 1, 0), abs=1e-12)
    assert distances.parts_of_error(np.full((5, 5), 0.2)) == pytest.approx((1, 0, 0), abs=1e-12)
    square = np.zeros((4, 4))
    # no sample errs on average
    square[[0, 1, 2, 3], [1, 0, 3, 2]], square[[0, 2, 1, 3], [2, 0, 3, 1]] = 1, -1
    assert distances.parts_of_error(square) == pytest.approx((0, 0, 1), abs=1e-12)


def test_r2_is_0_for_the_mean_and_1_for_the_truth(distances):
    true = np.array([0.1, 0.4, 0.7])
    assert distances.r2(true, true) == 1 and distances.r2(np.full(3, 0.4), true) == pytest.approx(0)


def test_a_draw_has_the_reads_that_were_asked_for_and_comes_back_from_its_table(
    distances, study, tmp_path, monkeypatch
):
    monkeypatch.setattr(distances, 'DEPTH', 100)
    drawn = distances.rarefied(study, 1)
    reads = np.add.reduceat(drawn.abundances * 100.0, drawn.offsets[:-1])
    assert reads == pytest.approx([100] * 6) and (drawn.richness <= 5).all() and (drawn.abundances > 0).all()
    again, _ = distances.read_study(distances.write_table(drawn, tmp_path / 'drawn.biom'))
    assert again.sample_ids == drawn.sample_ids and (again.richness == drawn.richness).all()
    assert again.abundances == pytest.approx(drawn.abundances)
    # a sample of fewer reads keeps all
    monkeypatch.setattr(distances, 'DEPTH', 10**9)
    all_reads = distances.rarefied(study, 1)
    assert (all_reads.asvs == study.asvs).all() and all_reads.abundances == pytest.approx(study.abundances)


def test_true_distances_are_those_of_scikit_bio_but_for_a_length_of_the_root(distances, study, tmp_path):
    ladder = f'{study.feature_ids[0]}:1'
    for name in study.feature_ids[1:]:
        ladder = f'({ladder},{name}:1):0.5'
    # QIIME 2 counts no branch above the root
    (tmp_path / 'tree.nwk').write_text(f'{ladder};')
    ours = distances.unifrac(study, distances.read_phylogeny(tmp_path / 'tree.nwk', study.feature_ids))
    tree = skbio.TreeNode.read(io.StringIO(ladder.rsplit(':', 1)[0] + ';'))
    names = 'taxa' if 'taxa' in inspect.signature(unweighted_unifrac).parameters else 'otu_ids'
    present = np.zeros((6, len(study.feature_ids)), dtype=int)
    present[np.repeat(np.arange(6), study.richness), study.asvs] = 1
    known = skbio.diversity.beta_diversity(
        'unweighted_unifrac', present, study.sample_ids, tree=tree, **{names: study.feature_ids}
    )
    assert ours == pytest.approx(known.data, abs=1e-6)
