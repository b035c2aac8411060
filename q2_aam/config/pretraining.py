"""Parameters of learning without labels: the objectives of an encoder."""

import dataclasses

from .fields import AUTO, option
from .schedule import Schedule


@dataclasses.dataclass(frozen=True)
class MaskedTraining(Schedule):
    """What training with masked nucleotides takes, alone or beside other objectives."""

    nucleotide_weight: float = option(
        1.0, 'Weight of the masked-nucleotide loss; 0 turns it off.', low=0.0, high=1e6, advanced=True
    )
    mask_ratio: float = option(
        0.15, 'Share of the tokens of a sequence that is masked, to be predicted.', low=0.01, high=0.9, advanced=True
    )
    mask_strategy: str = option(
        'random',
        'Which tokens are masked: random ones, those of spans of 3 to 5 nucleotides, or hybrid, half of them random '
        'and half in spans. Spans differ from random tokens where a token has few nucleotides (nucleotides_per_token).',
        choices=('random', 'span', 'hybrid'),
        advanced=True,
    )
    mask_noise: float = option(
        0.0,
        'Share of the masked tokens that has random nucleotides in place of the mask, and share of them that stays as '
        'it is; with 0.1, 80 % are masked, 10 % random and 10 % left, as in BERT.',
        low=0.0,
        high=0.5,
        advanced=True,
    )
    masked_asv_ratio: float | str = option(
        AUTO,
        'Share of the ASVs of a batch that is masked; other objectives learn from unmasked sequences. auto: 0.125, or '
        '1 where nucleotides are all that is learned.',
        low=0.001,
        high=1.0,
        advanced=True,
    )
    abundance_weight: float = option(
        0.0,
        'Weight of the loss of masked abundances: which share of the reads of its sample an ASV has, from the other '
        'ASVs. A quarter of the samples of a batch is read a second time for it. 0 turns it off.',
        low=0.0,
        high=1e6,
        advanced=True,
    )
    masked_abundance_ratio: float = option(
        0.15,
        'Share of the ASVs of a sample whose abundance is masked, with abundance_weight.',
        low=0.01,
        high=0.99,
        advanced=True,
    )


@dataclasses.dataclass(frozen=True)
class PretrainTraining(MaskedTraining):
    distance_weight: float = option(
        1.0, 'Weight of the distance loss; 0 turns it off.', low=0.0, high=1e6, advanced=True
    )
    unifrac: str = option(
        'unweighted',
        'Which UniFrac to learn from a phylogeny: unweighted (presence and absence), weighted_normalized (relative '
        'abundances), weighted (the same, not divided by the branches that samples have) or generalised (between '
        'unweighted and weighted_normalized: alpha 0.5).',
        choices=('unweighted', 'weighted_normalized', 'weighted', 'generalised'),
    )
    token_branches: str = option(
        AUTO,
        'What samples share in predicted distances beside memberships: tokens of sequences (on) or whole ASVs (off). '
        'auto: off, or as in the encoder.',
        choices=(AUTO, 'on', 'off'),
        advanced=True,
    )
    taxonomy_weight: float = option(
        1.0,
        'Weight of the taxonomy loss, where a taxonomy is given; 0 turns it off.',
        low=0.0,
        high=1e6,
        advanced=True,
    )
    taxonomy_level: int = option(
        6,
        'Level of the taxonomy that is learned for each ASV (1 is the highest, 6 mostly the genus). ASVs without a '
        'name there teach nothing.',
        low=1,
        high=15,
        advanced=True,
    )
    alpha_diversity_weight: float = option(
        1.0,
        'Weight of the loss of alpha diversities, where some are given; 0 turns it off.',
        low=0.0,
        high=1e6,
        advanced=True,
    )
    faith_pd_weight: float = option(
        0.0,
        "Weight of the loss of Faith's phylogenetic diversity of the very reads that are drawn, from a phylogeny; 0 "
        'turns it off.',
        low=0.0,
        high=1e6,
        advanced=True,
    )
    patience: int | str = option(
        AUTO,
        'Number of epochs without a smaller validation loss (that of all objectives, weighted) after which training '
        'stops; the best epoch is kept. 0 trains all epochs and keeps the last. auto: a quarter of epochs, but 10 at '
        'least; 0 without held-out samples.',
        low=0,
        high=1000000,
        advanced=True,
        absent=0,
    )

    def branches_beside(self, known: bool) -> str:
        """Return token_branches without 'auto', where an encoder that training goes on from has some or not."""
        if self.token_branches != AUTO:
            return self.token_branches
        return 'on' if known else 'off'
