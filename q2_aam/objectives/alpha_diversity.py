"""The objective of alpha diversity: several numbers of each sample, each scaled on the training split.

Shapes: B samples of a batch, M measures.
"""

import numpy as np
import torch

from q2_aam.config import HeadConfig
from q2_aam.data.splits import TRAINING, VALIDATION
from q2_aam.errors import UserError, counted, listed, shown
from q2_aam.model.losses import known_loss
from q2_aam.stats.metrics import regression_metrics


class AlphaDiversity:
    """Learn alpha diversities of samples; a sample that a measure lacks counts for nothing in it.

    Attributes
    ----------
    names : list of str
        Of the measures.
    values : float64 [samples of the study, M]
        NaN where unknown.
    """

    name = 'alpha_diversity'

    def __init__(self, context):
        self.weight = context.config.training.alpha_diversity_weight
        measures = context.inputs.alpha_diversity
        self.names = [str(name) for name in measures]
        self.values = measures.reindex(context.study.sample_ids).to_numpy(dtype=np.float64)
        learned = self.values[context.rows[TRAINING]]
        for name, column in zip(self.names, learned.T):
            known = column[np.isfinite(column)]
            if len(known) < 2 or np.ptp(known) == 0:
                raise UserError(
                    f'The alpha diversity {shown(name)} has {counted(len(np.unique(known)), "value")} among the '
                    'training samples of the table, and learning needs two or more that differ; give the alpha '
                    'diversity of the samples of this table.'
                )
        self.center, self.scale = np.nanmean(learned, axis=0), np.nanstd(learned, axis=0)
        self.head = HeadConfig('sample_numbers', len(self.names))
        self.validation_rows = context.rows[VALIDATION]

    @classmethod
    def align(cls, context):
        if context.inputs.alpha_diversity is None or context.config.training.alpha_diversity_weight == 0:
            return None
        return cls(context)

    def label(self, batch, drawn, budget, generator):
        batch.labels[self.name] = torch.from_numpy(self._scaled(drawn.rows))

    def _scaled(self, rows):
        return ((self.values[rows] - self.center) / self.scale).astype(np.float32)

    def loss(self, outputs, batch):
        loss = known_loss(outputs.heads[self.name], batch.labels[self.name])
        return loss, {'alpha_diversity_loss': loss.detach()}

    def metrics(self, network, reader):
        if not len(self.validation_rows):
            return {}
        outputs = reader.outputs(network, self.name, self.validation_rows)
        true = torch.from_numpy(self._scaled(self.validation_rows))
        if not torch.isfinite(true).any():
            return {}
        metrics = {'alpha_diversity_loss': known_loss(torch.from_numpy(outputs).float(), true).item()}
        for name, predicted, values in self._known(outputs):
            metrics[f'{name}_r2'] = regression_metrics(predicted, values)['r2']
        return metrics

    def _known(self, outputs):
        """Yield the name of each measure with predicted and true values of the validation samples that have it."""
        predicted = outputs * self.scale + self.center
        for name, column, true in zip(self.names, predicted.T, self.values[self.validation_rows].T):
            known = np.isfinite(true)
            if known.any():
                yield name, column[known], true[known]

    def points(self, network, reader):
        if len(self.validation_rows):
            yield from self._known(reader.outputs(network, self.name, self.validation_rows))

    def describe(self):
        return f'Alpha diversity: {listed(self.names)}.'
