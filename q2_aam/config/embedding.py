"""Parameters of the embedding group: what stands for a sample, and how it is laid out."""

import dataclasses

from .fields import AUTO, Group, option


@dataclasses.dataclass(frozen=True)
class EmbeddingConfig(Group):
    group = 'embedding'

    embedding: str = option(
        'memberships',
        'What stands for a sample. memberships: what the encoder compares when it predicts distances, scaled so that '
        'richness drops out. mean: the mean of its ASVs as the encoder sees them. summary: the summary token.',
        choices=('memberships', 'mean', 'summary'),
    )
    number_of_dimensions: int | str = option(
        AUTO, 'Axes of the ordination, from the first on. auto: all that the embedding has.', low=1, high=1000000000
    )
    max_samples_in_matrix: int = option(
        10000,
        'Most samples that distance_matrix holds, because it grows with their square (10,000 are 1 GB of text). From '
        'a larger table so many are drawn at random, the same at each call. The ordination holds all samples.',
        low=2,
        high=1000000000,
    )
