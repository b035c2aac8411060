"""Parameters of the embedding group: which vector represents a sample, and how samples are ordinated."""

import dataclasses

from .fields import AUTO, Group, option


@dataclasses.dataclass(frozen=True)
class EmbeddingConfig(Group):
    group = 'embedding'

    embedding: str = option(
        'memberships',
        'Vector that represents a sample. memberships: what the encoder compares to predict distances, scaled so that '
        'richness drops out. mean: the mean of the embeddings of its ASVs. summary: the embedding of its summary '
        'token.',
        choices=('memberships', 'mean', 'summary'),
    )
    number_of_dimensions: int | str = option(
        AUTO, 'Number of axes of the ordination, the first ones. auto: all.', low=1, high=1000000000
    )
    max_samples_in_matrix: int = option(
        10000,
        'Maximum number of samples in distance_matrix, whose size grows with their square (10,000 samples are 1 GB of '
        'text). Of a larger table, this many are drawn at random, the same at each call. The ordination holds all '
        'samples.',
        low=2,
        high=1000000000,
        advanced=True,
    )
