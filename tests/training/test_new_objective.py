"""A stranger's objective is learned without a change of training."""

import numpy as np
import pytest
import torch

from q2_aam import bundle
from q2_aam.config import HeadConfig
from q2_aam.data.splits import TRAINING, VALIDATION
from q2_aam.training import prepare


class Richness:
    """Learn the logarithm of the number of ASVs of a sample, standardised."""

    name, weight = 'richness', 1.0
    head = HeadConfig('target', 1)

    def __init__(self, context):
        logs = np.log(context.study.richness)
        training = logs[context.rows[TRAINING]]
        self.values = ((logs - training.mean()) / training.std()).astype(np.float32)
        self.validation_rows = context.rows[VALIDATION]

    @classmethod
    def align(cls, context):
        return cls(context)

    def label(self, batch, drawn, budget, generator):
        batch.labels[self.name] = torch.from_numpy(self.values[drawn.rows])

    def loss(self, outputs, batch):
        loss = (outputs.heads[self.name][:, 0] - batch.labels[self.name]).square().mean()
        return loss, {'richness_loss': loss.detach()}

    def metrics(self, network, reader):
        ((_, predicted, true),) = self.points(network, reader)
        return {'richness_mae': float(np.abs(predicted - true).mean())}

    def points(self, network, reader):
        yield (
            'richness',
            reader.outputs(network, self.name, self.validation_rows)[:, 0],
            self.values[self.validation_rows],
        )

    def describe(self):
        return 'Richness: its logarithm.'


@pytest.mark.parametrize('matrix', [True, False])
def test_a_new_objective_is_learned_scored_said_and_saved(tiny, pretrained, monkeypatch, matrix):
    monkeypatch.setattr(prepare, 'PRETRAINING', (*prepare.PRETRAINING, Richness))
    # samples of unlike richness
    thin = np.random.default_rng(1).random(tiny.counts.shape) < np.linspace(0, 0.7, 24)[:, None]
    tiny.counts = tiny.counts.mask(thin, 0.0)
    run = pretrained(tiny, matrix=matrix, epochs=15, learning_rate=0.01, validation_fraction=0.25)
    losses = run.history.series('training', 'richness_loss')
    assert len(losses) == 15 and np.mean(losses[-3:]) < 0.5 * losses[0]
    errors = run.history.series('validation', 'richness_mae')
    assert len(errors) == 15 and errors[-1] < errors[0]
    assert 'Richness: its logarithm.' in run.lines
    assert [point[0] for point in run.history.points if point[0] != 'distance'] == ['richness'] * 6
    parts = ['richness_loss', 'nucleotide_loss', *(['distance_loss'] if matrix else [])]
    total = np.sum([run.history.series('training', part) for part in parts], axis=0)
    assert run.history.series('training', 'loss') == pytest.approx(list(total), rel=1e-4)
    assert bundle.read_config(run.folder).heads['richness'] == HeadConfig('target', 1)
    assert 'richness' in bundle.load(run.folder).network.heads
