"""The objective of phylogenetic diversity: that of scikit-bio, of what is drawn, scaled on the training split."""

import io
import types

import numpy as np
import pytest
import skbio
from skbio.diversity.alpha import faith_pd as by_scikit_bio

from q2_aam.data.batches import draw_samples
from q2_aam.data.faith_pd import faith_pd
from q2_aam.data.phylogeny import read_phylogeny
from q2_aam.errors import UserError
from q2_aam.objectives import FaithPD
from q2_aam.runtime.encode import StudyReader


@pytest.fixture
def phylogeny(tmp_path, tiny):
    """A tree of the tiny study: pairs of features, all of them at the root, with a length for each branch."""
    names = list(tiny.sequences)
    pairs = [f'({one}:{i + 1},{other}:2):{0.5 * i}' for i, (one, other) in enumerate(zip(names[::2], names[1::2]))]
    while len(pairs) > 1:
        pairs = [f'({",".join(pairs[i : i + 2])}):0.25' for i in range(0, len(pairs), 2)]
    path = tmp_path / 'tree.nwk'
    path.write_text(f'{pairs[0]};')
    return path


@pytest.fixture
def objective(study_context, phylogeny):
    def make(**options):
        context = study_context(phylogeny=phylogeny, **{'faith_pd_weight': 1.0} | options)
        return FaithPD.align(context), context

    return make


def test_it_is_that_of_scikit_bio(study_context, phylogeny, tiny):
    study = study_context().study
    tree = read_phylogeny(phylogeny, study.feature_ids)
    found = faith_pd(tree, draw_samples(study, np.arange(len(study))))
    node = skbio.TreeNode.read(io.StringIO(phylogeny.read_text()), convert_underscores=False)
    node.length = None
    names = 'otu_ids' if skbio.__version__.startswith('0.5') else 'taxa'
    counts = tiny.counts.loc[study.sample_ids].astype(int)
    expected = [by_scikit_bio(row.to_numpy(), **{names: list(counts)}, tree=node) for _, row in counts.iterrows()]
    assert found == pytest.approx(expected) and np.ptp(found) > 1


def test_labels_are_those_of_what_is_drawn_and_scaled_on_the_training_split(objective):
    made, context = objective()
    batch = types.SimpleNamespace(labels={})
    rows = context.rows['training']
    made.label(batch, draw_samples(context.study, rows), None, None)
    labels = batch.labels['faith_pd']
    assert labels.shape == (len(rows), 1)
    assert labels.mean().item() == pytest.approx(0, abs=1e-5) and labels.std(unbiased=False).item() == pytest.approx(1)
    few = draw_samples(context.study, rows, lambda shares, offsets: (np.isin(np.arange(len(shares)), offsets), shares))
    made.label(batch, few, None, None)
    assert (batch.labels['faith_pd'] < labels).all()


def test_validation_samples_are_scored(objective, network_of):
    made, context = objective()
    network, reader = network_of('faith_pd', made.head), StudyReader(context.study)
    ((plot, predicted, true),) = made.points(network, reader)
    metrics = made.metrics(network, reader)
    assert plot == 'faith_pd' and len(true) == 3 and set(metrics) == {'faith_pd_of_reads_loss', 'faith_pd_of_reads_r2'}
    assert metrics['faith_pd_of_reads_loss'] == pytest.approx((((predicted - true) / made.scale) ** 2).mean())
    assert objective(validation=())[0].metrics(None, None) == {}


def test_it_is_off_by_default_and_needs_a_phylogeny(objective, study_context):
    assert objective(faith_pd_weight=0.0)[0] is None
    with pytest.raises(UserError) as error:
        FaithPD.align(study_context(faith_pd_weight=0.5))
    assert str(error.value) == ('Parameter faith_pd_weight is 0.5, which needs a phylogeny; give one, or set it to 0.')


def test_a_diversity_that_is_always_the_same_is_refused(objective, phylogeny):
    import re

    phylogeny.write_text(re.sub(r':[0-9.]+', ':0', phylogeny.read_text()))
    with pytest.raises(UserError, match="^Faith's phylogenetic diversity is 0 for all training samples, so that"):
        objective()
