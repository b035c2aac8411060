"""The objective of masked nucleotides: fill in what is masked from the rest of the sequence.

Shapes: U distinct ASVs of a batch, T tokens of P nucleotides each, M masked tokens.
"""

import numpy as np
import torch

from q2_aam.config import HeadConfig
from q2_aam.data.batches import Batch, draw_samples, sequence_chunks
from q2_aam.data.masking import choose_masked, with_mask, with_noise
from q2_aam.data.splits import VALIDATION
from q2_aam.model.losses import nucleotide_loss
from q2_aam.runtime.encode import device_of
from q2_aam.runtime.seeds import Stream, numpy_generator

from .protocol import read


class MaskedNucleotides:
    """Masks tokens of some ASVs of a batch, which are read a second time for it: other objectives read them whole."""

    name = 'nucleotides'
    head = HeadConfig('nucleotides')

    def __init__(self, context):
        training = context.config.training
        self.weight = training.nucleotide_weight
        self.mask_ratio, self.asv_ratio = training.mask_ratio, training.masked_asv_ratio
        self.strategy, self.noise = training.mask_strategy, training.mask_noise
        self.seed, self.validation_rows = context.seed, context.rows[VALIDATION][: training.batch_size]

    @classmethod
    def align(cls, context):
        return cls(context) if context.config.training.nucleotide_weight > 0 else None

    def label(self, batch, drawn, budget, generator):
        codes_UL, lengths_U = drawn.codes, drawn.lengths
        few = max(1, round(self.asv_ratio * len(codes_UL)))
        chosen = np.sort(generator.permutation(len(codes_UL))[:few])
        codes_UL, lengths_U = codes_UL[chosen], lengths_U[chosen]
        per_token = budget.nucleotides_per_token
        masked_UT = choose_masked(lengths_U, per_token, self.mask_ratio, self.strategy, generator)
        # positions after the longest chosen sequence belong to none
        codes_UL = codes_UL[:, : int(lengths_U.max())]
        read_UL, read_as_masked_UT = codes_UL, masked_UT
        if self.noise:
            read_UL, read_as_masked_UT = with_noise(codes_UL, masked_UT, self.noise, per_token, generator)
        batch.masked = with_mask(sequence_chunks(read_UL, lengths_U, budget, masked_UT), read_as_masked_UT)
        padded = np.pad(codes_UL, ((0, 0), (0, -codes_UL.shape[1] % per_token)))
        codes_MP = padded.reshape(len(padded), -1, per_token)[masked_UT]
        batch.labels[self.name] = torch.from_numpy(codes_MP.astype(np.int64))

    def loss(self, outputs, batch):
        loss, accuracy = nucleotide_loss(outputs.heads[self.name], batch.labels[self.name])
        return loss, {'nucleotide_loss': loss.detach(), 'nucleotide_accuracy': accuracy.detach()}

    def metrics(self, network, reader):
        if not len(self.validation_rows):
            return {}
        drawn = draw_samples(reader.study, self.validation_rows, reader.augment, sequences=True)
        batch = Batch((self.name,))
        with torch.no_grad():
            # the same masks in every epoch
            self.label(batch, drawn, network.budget(), numpy_generator(self.seed, Stream.VALIDATION_MASK))
            batch = batch.to(device_of(network))
            return read(self.loss(network(batch), batch)[1])

    def points(self, network, reader):
        yield from ()

    def describe(self):
        how = {'random': '', 'span': ', in spans,', 'hybrid': ', half of them in spans,'}[self.strategy]
        return (
            f'Masked nucleotides: {self.mask_ratio:.0%} of the tokens{how} of {self.asv_ratio:.0%} of the ASVs of a '
            'batch.'
        )
