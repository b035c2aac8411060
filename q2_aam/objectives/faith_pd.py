"""The objective of Faith's phylogenetic diversity: that of the very reads that a batch draws, from a phylogeny."""

import numpy as np
import torch

from q2_aam.config import HeadConfig
from q2_aam.data.batches import draw_samples
from q2_aam.data.faith_pd import faith_pd
from q2_aam.data.phylogeny import read_phylogeny
from q2_aam.data.splits import TRAINING, VALIDATION
from q2_aam.errors import UserError
from q2_aam.model.losses import known_loss
from q2_aam.runtime.seeds import Stream, numpy_generator
from q2_aam.stats.metrics import regression_metrics

from .distances import rarefaction

# Training samples that tell mean and spread.
SAMPLES_TO_ESTIMATE = 256


class FaithPD:
    """Learn the phylogenetic diversity of what is drawn of each sample, scaled on the training split."""

    name = 'faith_pd'
    head = HeadConfig('sample_numbers', 1)

    def __init__(self, context):
        self.weight = context.config.training.faith_pd_weight
        self.tree = read_phylogeny(context.inputs.phylogeny, context.study.feature_ids)
        generator = numpy_generator(context.seed, Stream.ESTIMATE, 2)
        chosen = np.sort(generator.permutation(context.rows[TRAINING])[:SAMPLES_TO_ESTIMATE])
        augment = rarefaction(context.config, numpy_generator(context.seed, Stream.ESTIMATE, 3))
        values = faith_pd(self.tree, draw_samples(context.study, chosen, augment))
        if np.ptp(values) == 0:
            raise UserError(
                f"Faith's phylogenetic diversity is {values[0]:g} for all training samples, so that there is nothing "
                'to learn; set faith_pd_weight to 0, or check the branch lengths of the phylogeny.'
            )
        self.center, self.scale = values.mean(), values.std()
        self.validation_rows = context.rows[VALIDATION]

    @classmethod
    def align(cls, context):
        if context.config.training.faith_pd_weight == 0:
            return None
        if context.inputs.phylogeny is None:
            raise UserError(
                f'Parameter faith_pd_weight is {context.config.training.faith_pd_weight:g}, which needs a phylogeny; '
                'give one, or set it to 0.'
            )
        return cls(context)

    def label(self, batch, drawn, budget, generator):
        scaled = (faith_pd(self.tree, drawn) - self.center) / self.scale
        batch.labels[self.name] = torch.from_numpy(scaled[:, None].astype(np.float32))

    def loss(self, outputs, batch):
        loss = known_loss(outputs.heads[self.name], batch.labels[self.name])
        return loss, {'faith_pd_of_reads_loss': loss.detach()}

    def metrics(self, network, reader):
        if not len(self.validation_rows):
            return {}
        predicted, true = self._validation(network, reader)
        loss = float(np.square((predicted - true) / self.scale).mean())
        return {'faith_pd_of_reads_loss': loss, 'faith_pd_of_reads_r2': regression_metrics(predicted, true)['r2']}

    def _validation(self, network, reader):
        """Return predicted and true diversity of the validation samples, with all their reads."""
        outputs = reader.outputs(network, self.name, self.validation_rows)
        true = faith_pd(self.tree, draw_samples(reader.study, self.validation_rows, reader.augment))
        return outputs[:, 0] * self.scale + self.center, true

    def points(self, network, reader):
        if len(self.validation_rows):
            yield self.name, *self._validation(network, reader)

    def describe(self):
        return f"Faith's phylogenetic diversity of the reads drawn: {self.center:.3g} +- {self.scale:.2g}."
