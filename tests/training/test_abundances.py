"""Abundances: as an objective, and as counts that the network is told of, from a table to predictions."""

import biom
import h5py
import numpy as np
import pytest

from q2_aam import bundle
from q2_aam.config import PredictConfig
from q2_aam.errors import UserError
from q2_aam.inference.predict import predict

ALONE = {'abundance_ensemble': False, 'epochs': 1}


def test_a_network_learns_which_share_of_the_reads_a_masked_asv_has(tiny, pretrained):
    # each ASV is rare or common wherever it is
    random = np.random.default_rng(1)
    present = tiny.counts > 0
    tiny.counts = present * (1.0 + random.poisson(50 * np.exp(random.normal(0, 2, 30)), present.shape))
    run = pretrained(
        tiny, matrix=False, nucleotide_weight=0.0, abundance_weight=1.0, masked_abundance_ratio=0.3, batch_size=8,
        epochs=15, patience=0, learning_rate=0.01,
    )  # fmt: skip
    losses = run.history.series('validation', 'abundance_loss')
    assert losses[-1] < 0.6 * losses[0] and run.history.last('training')['loss'] < 0.5
    assert {row[0] for row in run.history.points} == {'log10_share_of_reads'}
    assert set(bundle.read_config(run.folder).heads) == set()
    said = 'Masked abundances: those of 30% of the ASVs of 25% of the samples of a batch.'
    assert said in run.lines


def test_it_stays_beside_a_target_unless_nothing_that_reads_abundances_learns(tiny, fitted, tiny_encoder):
    run = fitted(tiny, abundance_weight=0.5, **ALONE)
    last = run.history.last('training')
    assert last['loss'] == pytest.approx(last['target_loss'] + 0.5 * last['abundance_loss'], rel=1e-4)
    with pytest.raises(UserError) as error:
        fitted(tiny, 'frozen', encoder=tiny_encoder.folder, freeze='encoder', abundance_weight=0.5)
    assert str(error.value) == (
        'Parameter abundance_weight is 0.5, but freeze is encoder, so that nothing that reads abundances learns; set '
        'freeze to asv or none, or abundance_weight to 0.'
    )


@pytest.mark.parametrize('told, changes', [('log_counts', True), ('shares', False)])
def test_the_depth_of_a_sample_tells_something_where_counts_are_told(tiny, fitted, predicted, told, changes):
    run = fitted(tiny, abundance_as=told, **ALONE)
    before, _ = predicted(tiny, run.folder, 'before')
    tests = run.predictions.index
    np.testing.assert_allclose(before[tests], run.predictions, rtol=1e-4)
    tiny.counts *= 10
    after, _ = predicted(tiny, run.folder, 'after')
    assert (np.abs(after - before).max() > 1e-4) == changes


def test_without_counts_none_can_be_told(tiny, fitted, tmp_path):
    run = fitted(tiny, abundance_as='log_counts', **ALONE)
    shares = tiny.counts.div(tiny.counts.sum(axis=1), axis=0)
    table = biom.Table(shares.to_numpy().T, list(shares.columns), list(shares.index))
    with h5py.File(tmp_path / 'shares.biom', 'w') as file:
        table.to_hdf5(file, 'test')
    with pytest.raises(UserError) as error:
        predict(tmp_path / 'shares.biom', run.folder, PredictConfig(), run.files.sequences, say=lambda line: None)
    assert str(error.value) == (
        'The network is told of counts (abundance_as log_counts), but no sample of the feature table has more than 1 '
        'read: give a table of counts and not of relative frequencies, or train with abundance_as shares.'
    )
    with pytest.raises(UserError) as error:
        fitted(tiny, 'rarefied', abundance_as='log_counts', rarefaction_depth=500, **ALONE)
    assert str(error.value) == (
        'Parameter abundance_as is log_counts, but rarefaction_depth is 500, so that the depth that the network is '
        'told of is not that of its reads; set rarefaction_depth to 0, or abundance_as to shares.'
    )
