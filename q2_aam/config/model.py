"""Parameters of the model group: the size and form of the network."""

import dataclasses

from .fields import AUTO, Group, option

# From so many training samples on, the network is twice as deep: on fewer, depth is not worth its time
# (docs/performance.md).
MANY_SAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class ModelConfig(Group):
    group = 'model'

    nucleotides_per_token: int | str = option(
        AUTO,
        'How many neighbouring nucleotides make one token of the ASV encoder: 1 reads single nucleotides, more is '
        'cheaper. auto: 10, or that of the encoder.',
        low=1,
        high=32,
    )
    width: int | str = option(
        AUTO,
        'How many numbers stand for a token, an ASV or a sample inside the model; more can hold more and cost more. '
        'auto: 128, or that of the encoder.',
        low=8,
        high=8192,
    )
    asv_layers: int | str = option(
        AUTO,
        'Transformer layers that read nucleotides into an ASV. auto: 2 from 2,000 training samples on, else 1, or '
        'those of the encoder.',
        low=1,
        high=96,
    )
    sample_layers: int | str = option(
        AUTO,
        'Transformer layers that read ASVs into a sample. auto: 4 from 2,000 training samples on, else 2, or those of '
        'the encoder.',
        low=1,
        high=96,
    )
    attention_heads: int | str = option(
        AUTO,
        'Attention heads of each layer; width must be a multiple of them. auto: one for each 32 of width, or those of '
        'the encoder.',
        low=1,
        high=256,
    )
    feed_forward_ratio: int | str = option(
        AUTO,
        'Width of the feed-forward part of each layer, as a multiple of width. auto: 2, or that of the encoder.',
        low=1,
        high=16,
    )
    memberships: int | str = option(
        AUTO,
        'Soft memberships of each ASV, which do what the branches of a tree do in UniFrac: samples that share few of '
        'them are far apart. auto: twice the width, or those of the encoder.',
        low=8,
        high=65536,
    )
    max_sequence_length: int | str = option(
        AUTO,
        'Nucleotides of each sequence that the model reads, from its first on. auto: those of the longest sequence, '
        'or as many as the encoder.',
        low=8,
        high=65536,
    )

    def __post_init__(self):
        super().__post_init__()
        width, heads = self.width, self.attention_heads
        if isinstance(width, int) and isinstance(heads, int) and width % heads:
            raise ValueError(f'Parameter width ({width}) must be a multiple of attention_heads ({heads}).')

    def resolved(self, longest_sequence, samples):
        """Return a copy in which every 'auto' has its value.

        Parameters
        ----------
        longest_sequence : int
            Nucleotides of the longest sequence.
        samples : int
            That are learned from.
        """
        width = 128 if self.width == AUTO else self.width
        asv_layers, sample_layers = (2, 4) if samples >= MANY_SAMPLES else (1, 2)
        derived = {
            # the best distances of held-out samples for the same operations (docs/performance.md)
            'nucleotides_per_token': 10,
            'width': width,
            'asv_layers': asv_layers,
            'sample_layers': sample_layers,
            'attention_heads': _heads(width),
            'feed_forward_ratio': 2,
            'memberships': 2 * width,
            'max_sequence_length': max(longest_sequence, 8),
        }
        return dataclasses.replace(self, **{k: v for k, v in derived.items() if getattr(self, k) == AUTO})


def _heads(width):
    """The largest number of heads not above one for each 32 of `width` that divides it."""
    return next(heads for heads in range(max(1, width // 32), 0, -1) if width % heads == 0)
