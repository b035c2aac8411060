"""The objective of taxonomy: the clade of each ASV, from its sequence.

Shapes: U distinct ASVs of a batch, A ASVs of the study, C clades.
"""

import numpy as np
import torch

from q2_aam.config import HeadConfig
from q2_aam.data.batches import draw_samples, make_batch, positions_of
from q2_aam.data.splits import TRAINING, VALIDATION
from q2_aam.data.taxonomy import clade_at, grouped, short_name
from q2_aam.errors import UserError, counted, shown
from q2_aam.model.losses import clade_loss
from q2_aam.runtime.encode import device_of

from .protocol import read

# Names of no clade in particular.
UNKNOWN = ('uncultured', 'unidentified', 'unknown', 'metagenome', 'ambiguous', 'incertae', 'unclassified')


class Taxonomy:
    """Learn the clade of each ASV of a batch at one level; those without a name there count for nothing.

    Attributes
    ----------
    codes : int64 [A]
        The clade of each ASV of the study, -1 where it is unknown.
    names : list of str
        Of the clades, each of an ASV of a training sample at least.
    """

    name = 'taxonomy'

    def __init__(self, context):
        training, study = context.config.training, context.study
        self.weight, self.level = training.taxonomy_weight, training.taxonomy_level
        taxa = context.inputs.taxonomy.reindex(study.feature_ids)
        missing = int(taxa.isna().sum())
        if missing == len(taxa):
            raise UserError(
                f'The taxonomy names none of the {counted(len(taxa), "feature")} of the table (e.g. '
                f'{shown(study.feature_ids[0])}); give the taxonomy of these features.'
            )
        groups = grouped(known_clade(taxon, self.level) for taxon in taxa.fillna('').astype(str))
        where, _ = positions_of(study.offsets, context.rows[TRAINING])
        trained = np.unique(groups.codes[study.asvs[where]])
        trained = trained[trained >= 0]
        if len(trained) < 2:
            raise UserError(
                f'ASVs of the training samples are of {counted(len(trained), "known clade")} at level {self.level} of '
                'the taxonomy, and learning needs two or more; choose another taxonomy_level.'
            )
        # clades of validation samples alone cannot be learned
        place = np.full(len(groups.names) + 1, -1, dtype=np.int64)
        place[trained] = np.arange(len(trained))
        self.codes, self.names = place[groups.codes], [groups.names[code] for code in trained]
        self.head = HeadConfig('asv_classes', len(self.names))
        self.validation_rows = context.rows[VALIDATION][: training.batch_size]

    @classmethod
    def align(cls, context):
        if context.inputs.taxonomy is None or context.config.training.taxonomy_weight == 0:
            return None
        return cls(context)

    def label(self, batch, drawn, budget, generator):
        batch.labels[self.name] = torch.from_numpy(self.codes[drawn.distinct])

    def loss(self, outputs, batch):
        loss, accuracy = clade_loss(outputs.heads[self.name], batch.labels[self.name])
        return loss, {'taxonomy_loss': loss.detach(), 'taxonomy_accuracy': accuracy.detach()}

    def metrics(self, network, reader):
        if not len(self.validation_rows):
            return {}
        drawn = draw_samples(reader.study, self.validation_rows, reader.augment, sequences=True)
        if not (self.codes[drawn.distinct] >= 0).any():
            return {}
        with torch.no_grad():
            batch = make_batch(drawn, network.budget(), (self.name,))
            self.label(batch, drawn, None, None)
            batch = batch.to(device_of(network))
            return read(self.loss(network(batch), batch)[1])

    def points(self, network, reader):
        yield from ()

    def describe(self):
        known = int((self.codes >= 0).sum())
        return (
            f'Taxonomy: {counted(len(self.names), "clade")} at level {self.level} (e.g. {short_name(self.names[0])}), '
            f'of {known:,} of {len(self.codes):,} ASVs.'
        )


def known_clade(taxon: str, level: int) -> str:
    """Return the clade of a taxon at a level in full, '' where it has no name there or one that says nothing."""
    clade = clade_at(taxon, level)
    last = clade.rpartition(';')[2].lower()
    return '' if any(word in last for word in UNKNOWN) else clade
