"""The objective of distances: those of a matrix or of a phylogeny, of all reads or of those that were drawn."""

import io
import types

import numpy as np
import pandas as pd
import pytest
import skbio
import torch
from skbio.diversity import beta_diversity

from q2_aam.data.augmentation import make_augmentation
from q2_aam.data.batches import Batch, draw_samples
from q2_aam.errors import AAMWarning, UserError
from q2_aam.objectives import Distances
from q2_aam.objectives import distances as distances_of_objective
from q2_aam.runtime.encode import StudyReader

KINDS = ['unweighted', 'weighted_normalized']
UPPER = np.triu_indices(3, 1)


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


def counts_of(offsets, asvs, abundances, features):
    """Abundances as whole numbers [samples, ASVs] that scikit-bio takes for counts."""
    counts = np.zeros((len(offsets) - 1, features), dtype=int)
    counts[np.repeat(np.arange(len(counts)), np.diff(offsets)), asvs] = np.round(np.asarray(abundances) * 1e8)
    return counts


@pytest.fixture
def with_matrix(study_context):
    """The objective of the tiny study's distance matrix, and its Context."""

    def make(**options):
        context = study_context(distance_matrix=study_context.files.distance_matrix, **options)
        return Distances.align(context), context

    return make


@pytest.fixture
def with_tree(study_context, tiny):
    """The objective of a phylogeny, and its Context."""

    def make(**options):
        path = study_context.files.table.parent / 'tree.nwk'
        path.write_text(newick_of(list(tiny.sequences)))
        context = study_context(phylogeny=path, **options)
        return Distances.align(context), context

    return make


def labels_of(objective, drawn):
    batch = Batch(('distances',))
    objective.label(batch, drawn, None, None)
    return batch.labels['distances'].numpy()


def test_labels_are_the_distances_of_the_matrix_whatever_was_drawn(with_matrix, tiny):
    objective, context = with_matrix(rarefaction_depth=20)
    rows = np.array([5, 0, 3])
    generator = np.random.default_rng(1)
    for augment in (None, make_augmentation(context.config.data, context.config.training, generator)):
        expected = tiny.distances.to_numpy()[np.ix_(rows, rows)]
        np.testing.assert_allclose(
            labels_of(objective, draw_samples(context.study, rows, augment)), expected, rtol=1e-6
        )
    assert not objective.drawn


@pytest.mark.parametrize('kind', KINDS)
def test_labels_of_a_phylogeny_are_its_unifrac(with_tree, tiny, kind):
    objective, context = with_tree(unifrac=kind)
    rows = np.array([5, 0, 3])
    expected = by_scikit_bio(kind, tiny.counts.to_numpy().astype(int), list(tiny.counts.columns))[np.ix_(rows, rows)]
    np.testing.assert_allclose(labels_of(objective, draw_samples(context.study, rows)), expected, atol=1e-5)
    assert objective.pairs.divisor == 1 and not objective.drawn


@pytest.mark.parametrize('kind', KINDS)
def test_with_rarefaction_labels_are_those_of_the_reads_that_were_drawn(with_tree, kind):
    objective, context = with_tree(unifrac=kind, rarefaction_depth=20)
    study, rows = context.study, np.array([5, 0, 3, 20])
    augment = make_augmentation(context.config.data, context.config.training, np.random.default_rng(1))
    drawn = draw_samples(study, rows, augment)
    assert len(drawn.asvs) < len(draw_samples(study, rows).asvs)
    counts = counts_of(drawn.offsets, drawn.asvs, drawn.abundances, 30)
    np.testing.assert_allclose(labels_of(objective, drawn), by_scikit_bio(kind, counts, study.feature_ids), atol=1e-5)
    assert objective.drawn


@pytest.mark.parametrize('kind', KINDS)
def test_with_rarefaction_validation_scores_reads_that_are_drawn_once(with_tree, kind):
    objective, context = with_tree(
        unifrac=kind, rarefaction_depth=20, asv_dropout=0.5, validation=(1, 4, 8, 12, 16, 20, 23)
    )
    study, true = objective.scored.reader.study, objective.scored.true
    counts = counts_of(study.offsets, study.asvs, study.abundances, 30)
    assert true == pytest.approx(by_scikit_bio(kind, counts, study.feature_ids)[np.triu_indices(7, 1)], abs=1e-5)
    # not dropped besides: in expectation there are 20 reads, and so the smallest share is a 20th or so
    smallest = np.minimum.reduceat(study.abundances, study.offsets[:-1])
    assert 1 / 40 < smallest.min() and np.median(1 / smallest) == pytest.approx(20, abs=5)
    again = Distances.align(context).scored
    assert np.array_equal(again.true, true) and np.array_equal(again.reader.study.asvs, study.asvs)


def test_validation_samples_are_scored_and_their_pairs_plotted(with_matrix, network_of, tiny):
    objective, context = with_matrix()
    network, reader = network_of('distances', objective.head), StudyReader(context.study)
    ((plot, predicted, true),) = objective.points(network, reader)
    rows = [3, 10, 17]
    assert plot == 'distance' and list(true) == pytest.approx(tiny.distances.to_numpy()[np.ix_(rows, rows)][UPPER])
    assert list(predicted) == pytest.approx(reader.distances(network, 'distances', np.array(rows))[UPPER])
    metrics = objective.metrics(network, reader)
    assert metrics['distance_mae'] == pytest.approx(np.abs(predicted - true).mean())
    names = ('loss', 'mae', 'median_absolute_error', 'rmse', 'r2', 'r')
    assert set(metrics) == {f'distance_{name}' for name in names}
    # as that of training: in units of the variance of true distances
    assert metrics['distance_loss'] == pytest.approx(np.square(predicted - true).mean() / objective.pairs.variance)


def test_of_many_validation_samples_some_are_scored_and_one_alone_has_no_pair(with_matrix, monkeypatch):
    assert with_matrix(validation=(3,))[0].metrics(None, None) == {}
    assert list(with_matrix(validation=(3,))[0].points(None, None)) == []
    monkeypatch.setattr(distances_of_objective, 'MAX_SCORED_SAMPLES', 4)
    objective, context = with_matrix(validation=tuple(range(12)))
    assert len(objective.scored.rows) == 4 and list(objective.scored.rows) == sorted(objective.scored.rows)
    assert np.array_equal(Distances.align(context).scored.rows, objective.scored.rows)


def test_samples_that_the_matrix_lacks_are_not_scored_and_their_labels_are_unknown(with_matrix, study_context, tiny):
    kept = tiny.distances.index[4:]
    tiny.distances.loc[kept, kept].to_csv(study_context.files.distance_matrix, sep='\t')
    with pytest.warns(AAMWarning, match='lacks 4 samples of the table'):
        objective, context = with_matrix()
    assert objective.scored.rows.tolist() == [10, 17]
    labels = labels_of(objective, draw_samples(context.study, np.array([2, 10, 11])))
    assert np.isnan(labels[0]).all() and np.isnan(labels[:, 0]).all() and np.isfinite(labels[1:, 1:]).all()


def test_the_loss_is_1_for_the_mean_distance_and_weighted_as_asked(with_matrix, tiny):
    objective, context = with_matrix(distance_weight=0.25)
    training = tiny.distances.to_numpy()[np.ix_(*[context.rows['training']] * 2)]
    true = torch.from_numpy(training).float()
    batch = types.SimpleNamespace(labels={'distances': true})
    outputs = types.SimpleNamespace(heads={'distances': torch.full_like(true, objective.pairs.mean)})
    value, metrics = objective.loss(outputs, batch)
    assert value.item() == pytest.approx(1, rel=1e-4) and metrics == {'distance_loss': value.item()}
    assert objective.weight == 0.25


@pytest.mark.parametrize('given', [(), ('distance_matrix',)])
def test_without_distances_or_without_a_weight_nothing_is_learned_and_nothing_read(study_context, given):
    inputs = dict.fromkeys(given, 'no such file')
    assert Distances.align(study_context(distance_weight=0.0 if given else 1.0, **inputs)) is None


def test_a_phylogeny_without_all_features_is_refused(study_context):
    path = study_context.files.table.parent / 'tree.nwk'
    path.write_text('(feature00:1,feature01:1);')
    with pytest.raises(UserError, match='^The phylogeny lacks 28 of the 30 features in the table'):
        Distances.align(study_context(phylogeny=path))


def test_what_distances_are_is_described(with_matrix, with_tree):
    objective, _ = with_matrix()
    mean, deviation = objective.pairs.mean, objective.pairs.variance**0.5
    assert objective.describe() == (
        f'Distances: those of the distance matrix; between training samples {mean:.3f} +- {deviation:.3f}.'
    )
    assert with_tree()[0].describe().startswith('Distances: unweighted UniFrac, from the phylogeny; between ')
    drawn = with_tree(unifrac='weighted_normalized', rarefaction_depth=20)[0].describe()
    assert drawn.startswith(
        'Distances: weighted normalized UniFrac, from the phylogeny, of about 20 reads of each sample, drawn anew each '
        'time; between training samples '
    )
    any_depth = with_tree(rarefaction_depth=2000, rarefaction_range=40.0)[0].describe()
    assert ', of about 50 to 2,000 reads of each sample, drawn anew each time; ' in any_depth


def test_distances_above_1_are_scaled_by_those_of_training(with_matrix, study_context, tiny):
    larger = pd.DataFrame(4 * tiny.distances, tiny.distances.index, tiny.distances.columns)
    larger.to_csv(study_context.files.distance_matrix, sep='\t')
    with pytest.warns(AAMWarning, match='all distances are divided by it'):
        objective, context = with_matrix()
    training = larger.to_numpy()[np.ix_(*[context.rows['training']] * 2)]
    assert objective.pairs.divisor == pytest.approx(training.max())
    labels = labels_of(objective, draw_samples(context.study, np.array([2, 3])))
    assert labels[0, 1] == pytest.approx(larger.iloc[2, 3] / training.max(), rel=1e-5)
