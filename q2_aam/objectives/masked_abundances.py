"""The objective of masked abundances: which share of its sample's reads an ASV has, from what else is in the sample.

Some samples of a batch are read a second time for it, with abundances masked: other objectives read them whole. What
is shown is given as shares of what is shown, and the answer is the logarithm of the share of all reads.

Shapes: N non-zeros of the samples that are read again.
"""

import numpy as np
import torch

from q2_aam.config import HeadConfig
from q2_aam.data.batches import make_batch, positions_of, sample_chunks
from q2_aam.data.masked_abundances import mask_abundances
from q2_aam.data.readable import draw_readable
from q2_aam.data.splits import TRAINING, VALIDATION
from q2_aam.errors import UserError
from q2_aam.model.losses import known_loss
from q2_aam.model.sample_encoder import MIN_SHARE
from q2_aam.runtime.encode import device_of
from q2_aam.runtime.seeds import Stream, numpy_generator

from .protocol import read

# Share of the samples of a batch that is read again.
SHARE_OF_SAMPLES = 0.25


class MaskedAbundances:
    """Hides abundances of a share of the ASVs of some samples of a batch."""

    name = 'abundances'
    head = HeadConfig('abundances')

    def __init__(self, context):
        training, study = context.config.training, context.study
        self.weight, self.ratio = training.abundance_weight, training.masked_abundance_ratio
        where, _ = positions_of(study.offsets, context.rows[TRAINING])
        logs = _logarithms(study.abundances[where].astype(np.float64))
        if not np.ptp(logs) > 0:
            raise UserError(
                'Parameter abundance_weight is above 0, but all ASVs of the training samples have the same share of '
                'reads, so that there is nothing to learn of abundances; set it to 0.'
            )
        self.center, self.scale = float(logs.mean()), float(logs.std())
        self.seed, self.validation_rows = context.seed, context.rows[VALIDATION][: training.batch_size]

    @classmethod
    def align(cls, context):
        training = context.config.training
        if training.abundance_weight == 0:
            return None
        if getattr(training, 'freeze', 'none') == 'encoder':
            raise UserError(
                f'Parameter abundance_weight is {training.abundance_weight:g}, but freeze is encoder, so that nothing '
                'that reads abundances learns; set freeze to asv or none, or abundance_weight to 0.'
            )
        return cls(context)

    def label(self, batch, drawn, budget, generator):
        samples = max(1, round(SHARE_OF_SAMPLES * len(drawn.rows)))
        self._mask(batch, drawn, samples, budget, generator)

    def _mask(self, batch, drawn, samples, budget, generator):
        masked = mask_abundances(drawn, samples, self.ratio, generator)
        batch.masked_samples = sample_chunks(
            masked.places, masked.abundances, masked.offsets, budget, None, masked.depths
        )
        scaled = (_logarithms(masked.true) - self.center) / self.scale
        batch.labels[self.name] = torch.from_numpy(scaled.astype(np.float32))

    def loss(self, outputs, batch):
        loss = known_loss(outputs.heads[self.name], batch.labels[self.name])
        return loss, {'abundance_loss': loss.detach()}

    def _validation(self, network, reader):
        """Return outputs and labels of the validation split; the same abundances are masked in every epoch."""
        drawn = draw_readable(reader.study, self.validation_rows, reader.augment, sequences=True)
        generator = numpy_generator(self.seed, Stream.VALIDATION_ABUNDANCES)
        with torch.no_grad():
            budget = network.budget()
            batch = make_batch(drawn, budget, (self.name,))
            self._mask(batch, drawn, len(drawn.rows), budget, generator)
            batch = batch.to(device_of(network))
            return network(batch), batch

    def metrics(self, network, reader):
        return read(self.loss(*self._validation(network, reader))[1]) if len(self.validation_rows) else {}

    def points(self, network, reader):
        """Yield logarithms to the base of 10."""
        if not len(self.validation_rows):
            return
        outputs, batch = self._validation(network, reader)
        predicted, true = (
            one.double().cpu().numpy() * self.scale + self.center
            for one in (outputs.heads[self.name], batch.labels[self.name])
        )
        known = np.isfinite(true)
        if known.any():
            yield 'log10_share_of_reads', predicted[known], true[known]

    def describe(self):
        return (
            f'Masked abundances: those of {self.ratio:.0%} of the ASVs of {SHARE_OF_SAMPLES:.0%} of the samples of a '
            'batch.'
        )


def _logarithms(shares):
    return np.log10(np.maximum(shares, MIN_SHARE))
