"""Parameters of the importance group: of how many ASVs, in how many samples, importance is worked out."""

import dataclasses

from .fields import Group, option


@dataclasses.dataclass(frozen=True)
class ImportanceConfig(Group):
    group = 'importance'

    feature_ids: tuple[str, ...] = option(
        (), 'IDs of the ASVs whose importance is worked out. By default all, as far as max_asvs allows.'
    )
    max_asvs: int = option(
        1000,
        'Maximum number of ASVs whose importance is worked out: those that make up most of the samples, by the '
        'logarithms of their abundances. At each taxonomic level, as many clades.',
        low=1,
        high=1000000,
    )
    max_samples: int = option(
        1000,
        'Maximum number of samples that are used; of a larger table, this many are drawn at random, the same at each '
        'call.',
        low=1,
        high=1000000,
    )
    max_samples_per_asv: int = option(
        100,
        'Maximum number of samples from which an ASV or a clade is taken away, among those that have it. Time grows '
        'with it.',
        low=1,
        high=1000000,
    )
    taxonomy_level: int = option(
        6,
        'Level of the taxonomy (1 is the highest, 6 the genus, 7 the species) whose clades stand beside the ASVs in '
        'importance_details; where it is not named, the deepest level above. All levels are worked out and shown by '
        'visualize-importance.',
        low=1,
        high=15,
    )
    gradient_steps: int = option(
        16,
        'Steps of the integrated gradients of the network, which are taken in max_samples_per_asv samples; 0 leaves '
        'them out.',
        low=0,
        high=1000,
        advanced=True,
    )


@dataclasses.dataclass(frozen=True)
class AttentionConfig(Group):
    group = 'attention'

    sample_ids: tuple[str, ...] = option(
        (),
        'IDs of the samples whose attention is shown. By default three: those with the lowest, the median and the '
        'highest prediction (of classes, the probability of the one that is predicted).',
    )
    feature_ids: tuple[str, ...] = option(
        (),
        'IDs of the ASVs whose nucleotides are shown. By default three: the most important ones, or those that change '
        'the predictions of these samples most.',
    )
